"""What the library's conversion operations do to the tensors of a checkpoint, as layouts of the parameters that come out.

Follows the `ConversionOps` of core_model_loading.py: an operation takes tensors by the pattern that found them and gives
tensors by the pattern that names them. What it does to numbers is not computed but written down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from codegen.diagnostics import CompileError, Diagnostic
from codegen.lowering.conversion_table import Convert, Operation
from codegen.lowering.layouts import Chunk, Deinterleaved, Layout, Shape, Split, Stack, Transposed, concatenated
from ir.records import dataclass


@dataclass(frozen=True, slots=True)
class Series:
    """Tensors that differ in a number, `*` in the name: as many as `count` says, if that is known."""

    name: str
    count: int | None = None


Collected = Mapping[str, Layout | Series]
"""Tensors by pattern: one, or a series."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What operations may ask for: the configuration, the shape of the first parameter and of the tensor, if they are known.
    `path_of` gives the full path of a target."""

    config: Mapping[str, object]
    parameter: Shape | None
    tensor: Shape | None
    path_of: Callable[[str], str]


def convert(conversion: Convert, targets: tuple[str, ...], collected: Collected, known: Surroundings) -> Collected:
    """The layouts of what a conversion makes, by target pattern. `targets` are the patterns as replacements.

    Raises:
        CompileError: `weight-operation` for what has no meaning here.
    """
    state = collected
    for operation in conversion.operations:
        if operation.name not in OPERATIONS:
            raise _fault(conversion, f"the operation {operation.name} has no meaning here")
        step = Step(conversion, operation, targets, known)
        state = OPERATIONS[operation.name](step, state)
    return state


@dataclass(frozen=True, slots=True)
class Step:
    """An operation in its place."""

    conversion: Convert
    operation: Operation
    targets: tuple[str, ...]
    known: Surroundings

    def argument(self, name: str, position: int, default: object = None) -> object:
        given = self.operation.arguments
        return dict(self.operation.options).get(name, given[position] if position < len(given) else default)

    def number(self, name: str, position: int) -> int:
        value = self.argument(name, position, 0)
        if not isinstance(value, int) or value < 0:
            raise self.fault(f"`{name}` is {value!r}")
        return value

    def single(self, state: Collected) -> Layout:
        """The only tensor."""
        if len(state) != 1:
            raise self.fault(f"{len(state)} tensors where it takes one")
        (layout,) = state.values()
        if isinstance(layout, Series):
            raise self.fault("many tensors where it takes one")
        return layout

    def only_target(self) -> str:
        if len(self.targets) != 1:
            raise self.fault(f"{len(self.targets)} targets where it has one")
        return self.targets[0]

    def here(self, state: Collected) -> str:
        """Where the result of an operation on one tensor goes: to the target, or on to the next operation."""
        (pattern,) = state
        return self.targets[0] if len(self.targets) == 1 else pattern

    def setting(self, name: str, holder: str = "") -> object:
        """An attribute of the configuration, of a part of it, or of its text model."""
        config = self.known.config
        inner = config.get(holder) if holder else config.get("text_config")
        for candidate in (inner, config):
            if isinstance(candidate, Mapping) and name in candidate:
                return candidate[name]
        return None

    def fault(self, message: str) -> CompileError:
        return _fault(self.conversion, f"{self.operation.name} of {message}")


def _fault(conversion: Convert, message: str) -> CompileError:
    where = f"{', '.join(conversion.sources)} -> {', '.join(conversion.targets)}"
    return CompileError(Diagnostic("weight-operation", f"cannot follow a conversion of tensors: {message} ({where})"))


def _merge(step: Step, state: Collected) -> Collected:
    """`MergeModulelist`: each series becomes one tensor."""
    if step.number("dim", 0) != 0:
        raise step.fault(f"an axis that is not the first, {step.number('dim', 0)}")
    made: dict[str, Layout | Series] = {}
    for pattern, series in state.items():
        if not isinstance(series, Series):
            raise step.fault("a single tensor")
        made[pattern if len(state) > 1 else step.only_target()] = Stack(series.name)
    return made


def _concatenate(step: Step, state: Collected) -> Collected:
    parts: list[Layout] = []
    for pattern in step.conversion.sources:
        if pattern in state:
            parts += _listed(step, state[pattern])
    return {step.only_target(): concatenated(tuple(parts), step.number("dim", 0))}


def _listed(step: Step, found: Layout | Series) -> list[Layout]:
    if not isinstance(found, Series):
        return [found]
    count: object = found.count
    if count is None:
        count = step.setting(str(step.argument("num_shards_attribute", 1)))
    if not isinstance(count, int):
        raise step.fault(f"a number of tensors that is not known, {found.name}")
    return [found.name.replace("*", str(index)) for index in range(count)]


def _chunk(step: Step, state: Collected) -> Collected:
    whole, axis, targets = step.single(state), step.number("dim", 0), step.targets
    attribute = step.argument("num_shards_attribute", 1)
    if attribute is not None:
        count = step.setting(str(attribute))
        if not isinstance(count, int):
            raise step.fault(f"a number of parts that is not known, {attribute}")
        targets = tuple(step.only_target().replace("*", str(index)) for index in range(count))
    return {target: _part(whole, index, len(targets), axis) for index, target in enumerate(targets)}


def _part(whole: Layout, index: int, count: int, axis: int) -> Layout:
    return whole if count == 1 else Chunk(whole, index, count, axis)


def _split(step: Step, state: Collected) -> Collected:
    whole, axis = step.single(state), step.number("dim", 0)
    parts = tuple(map(step.known.path_of, step.targets))
    return {target: Split(whole, index, parts, axis) for index, target in enumerate(step.targets)}


def _transpose(step: Step, state: Collected) -> Collected:
    whole, first, second = step.single(state), step.number("dim0", 0), step.number("dim1", 1)
    if not step.argument("check_dims", 2, False):
        return {step.here(state): Transposed(whole, first, second)}
    known = step.known
    if known.tensor is None or known.tensor == known.parameter:  # stored as the model has it, as it saves it too
        return {step.here(state): whole}
    return {step.here(state): Transposed(whole, first, second)}


def _interleave(step: Step, state: Collected) -> Collected:
    if step.argument("inverse", 1, False):
        raise step.fault("the other direction")
    return {step.here(state): Deinterleaved(step.single(state), step.number("dim", 0))}


def _permute(step: Step, state: Collected) -> Collected:
    """`PermuteForRope`: rows of a head from pairs to halves, for those tensors that are named, or all."""
    if step.argument("inverse", 2, False):
        raise step.fault("the other direction")
    holder, chosen = step.argument("subconfig_key", 0), step.argument("permute_layer_names", 1)
    heads = step.setting("num_attention_heads", str(holder or ""))
    made: dict[str, Layout | Series] = {}
    for pattern, layout in state.items():
        target = step.targets[0] if len(step.targets) == len(step.conversion.sources) == 1 else pattern
        wanted = chosen is None or (isinstance(chosen, tuple) and any(name in pattern for name in chosen))
        if isinstance(layout, Series):
            raise step.fault("many tensors where it takes one")
        made[target] = Deinterleaved(layout, 0, heads if isinstance(heads, int) else 1) if wanted else layout
    return made


OPERATIONS: Mapping[str, Callable[[Step, Collected], Collected]] = {
    "MergeModulelist": _merge,
    "Concatenate": _concatenate,
    "Chunk": _chunk,
    "Split": _split,
    "Transpose": _transpose,
    "Interleave": _interleave,
    "PermuteForRope": _permute,
}
