"""What the layers keep of the tokens before, beyond keys and values: which states each has, their shapes and types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from codegen.diagnostics import CompileError, Diagnostic
from codegen.lowering.instances import Instance
from codegen.lowering.torch_dialect import over_kinds, over_layers, question
from codegen.lowering.views import StateView
from ir.expressions import Const, Dim, Expr, Local, leaves, substitute
from ir.graph import BEGUN, Branch, Call, DType, Loop, Number, Op, Region, Scan, Value, within
from ir.records import dataclass

if TYPE_CHECKING:
    from codegen.lowering.program import Lowering

KEYS = ("k", "v")
ZERO = Const(0)
BATCH = Dim("B")


@dataclass(frozen=True, slots=True)
class State:
    """One state of one layer. The length of keys and values is that of the cache."""

    name: str
    shape: tuple[Expr, ...]  # the batch first
    dtype: DType
    start: Expr = ZERO  # what is everywhere in it before the first token


def layer_states(instances: Mapping[str, Instance], count: int) -> tuple[tuple[State, ...], ...]:
    """The states of every layer, keys and values among them; nothing where no layer has any but those."""
    found: list[dict[str, State]] = [{} for _ in range(count)]
    for path, instance in instances.items():
        layer = next((int(part) for part in path.split(".") if part.isdigit()), None)
        if layer is None or layer >= count:
            continue
        for regions in instance.methods.values():
            for region in regions:
                for state in _states(region):
                    found[layer].setdefault(state.name, state)
    if all(name in KEYS for layer in found for name in layer):
        return ()
    order = list(dict.fromkeys([*KEYS, *(name for layer in found for name in layer)]))
    return tuple(tuple(layer[name] for name in order if name in layer) for layer in found)


def sizes_of(states: Sequence[Sequence[State]]) -> Iterator[Expr]:
    """The sizes of all states."""
    for layer in states:
        for state in layer:
            yield from (size for size in state.shape if not isinstance(size, Dim))


def _states(region: Region) -> Iterator[State]:
    for node in region.nodes:
        match node:
            case Op("state_read", (Number(Const(str() as name)), _, *start), (result,)):
                yield State(name, result.shape, result.dtype, start_of(start))
            case Op("state_write", (Number(Const(str() as name)), _, Value(shape=shape, dtype=dtype))):
                yield State(name, shape, dtype)
            case Op("state_extend", (Number(Const(str() as name)), _, Value(shape=shape, dtype=dtype), Number(size))):
                yield State(name, (*shape[:-1], size), dtype)
            case Op("state_append", (Number(Const(str() as name)), *_), (Value(shape=shape, dtype=dtype),)):
                yield State(name, shape, dtype)
            case Op("cache_update", (Value(shape=key, dtype=dtype), Value(shape=value), _)):
                yield State("k", key, dtype)
                yield State("v", value, dtype)
            case Call(region=inner):
                yield from _states(inner)
            case Loop() | Scan() | Branch():
                for inner in within(node):
                    yield from _states(inner)
            case _:
                pass


def states_view(states: Sequence[Sequence[State]], lowering: Lowering) -> tuple[tuple[StateView, ...], str]:
    """The states beyond keys and values, one by one, and the expression of those of all layers in Flax."""
    options = list(dict.fromkeys(states))
    names = list(dict.fromkeys(s.name for layer in states for s in layer))
    path, length = lowering.layers()
    layers = f"range({lowering.over_cfg(lowering.count(path, length))})"
    if len(options) == 1:
        labels: list[object] = [None]
        (each, kind), each_alone = (f"layer in {layers}", "kind"), f"_ in {layers}"
    else:
        kinds = lowering.patterns.finer(tuple(options.index(layer) for layer in states))
        labels = list(dict.fromkeys(kinds.labels))
        options = [states[kinds.labels.index(label)] for label in labels]
        sequence = lowering.sequence(kinds)
        (each, kind), (each_alone, _) = over_layers(sequence), over_kinds(sequence)
    made = [f"State({', '.join(f'{s.name}={_flax(s, lowering)}' for s in option)})" for option in options]
    flax = f"[{_choice(labels, made, kind)} for {each_alone}]"
    views = []
    for name in names:
        if name in KEYS:
            continue
        holders = [(label, s) for label, option in zip(labels, options, strict=True) for s in option if s.name == name]
        zeros = _choice([label for label, _ in holders], [_torch(s, lowering) for _, s in holders], kind)
        only = "" if len(holders) == len(options) else f" if {_any([label for label, _ in holders], kind)}"
        grows = Dim("S") in holders[0][1].shape
        views.append(StateView(name, _note(holders[0][1], lowering), f"{{layer: {zeros} for {each}{only}}}", grows))
    return tuple(views), flax


def _choice(labels: Sequence[object], texts: Sequence[str], kind: str) -> str:
    """`a if kind == "x" else b`; the last without a question."""
    merged: dict[str, list[object]] = {}
    for label, text in zip(labels, texts, strict=True):
        merged.setdefault(text, []).append(label)
    *others, (result, _) = merged.items()
    for text, asked in reversed(others):
        result = f"{text} if {_any(asked, kind)} else {result}"
    return result


def _any(labels: Sequence[object], kind: str) -> str:
    if len(labels) > 1 and all(isinstance(label, str) for label in labels):
        return f"{kind} in {tuple(labels)!r}"
    return " or ".join(question(kind, label) for label in labels)


def start_of(operands: Sequence[object]) -> Expr:
    """What a state is before the first token, of the operands of a read behind its name and layer."""
    return next((operand.expr for operand in operands if isinstance(operand, Number)), ZERO)


def _shape(state: State, lowering: Lowering) -> list[str]:
    out = []
    for axis, size in enumerate(state.shape):
        if (state.name in KEYS and axis == 2) or size == Dim("S"):
            out.append("max_length")
        elif any(isinstance(leaf, Dim) and leaf != BATCH for leaf in leaves(size)):
            message = f"the state `{state.name}` has an axis that depends on the input"
            raise CompileError(Diagnostic("unknown-state", message))
        else:
            out.append(lowering.over_cfg(substitute(size, {BATCH: Local("batch_size")})))
    return out


def _torch(state: State, lowering: Lowering) -> str:
    shape = _shape(state, lowering)
    zeros = f"new_zeros({', '.join(shape)}"
    made = zeros if state.start == ZERO else f"new_full({_tuple(shape)}, {lowering.over_cfg(state.start)}"
    match state.dtype:
        case DType.MODEL:
            return f"x.{made})"
        case DType.PROMOTED:
            return f"x.{made}, dtype=torch.promote_types(x.dtype, torch.float32))"
        case other:
            return f"x.{made}, dtype=torch.{other.value})"


def _flax(state: State, lowering: Lowering) -> str:
    shape = _tuple(_shape(state, lowering))
    match state.dtype:
        case DType.MODEL:
            dtype = "dtype"
        case DType.PROMOTED:
            dtype = "jnp.promote_types(dtype, jnp.float32)"
        case other:
            dtype = f"jnp.{other.value}"
    if state.start != ZERO:
        return f"jnp.full({shape}, {lowering.over_cfg(state.start)}, {dtype})"
    return f"jnp.zeros({shape}, {dtype})"


def _tuple(items: Sequence[str]) -> str:
    return f"({', '.join(items)}{',' if len(items) == 1 else ''})"


_MEANINGS = {
    "indexer": "the keys by which tokens are selected",
    "conv": "the last inputs of the convolution",
    "recurrent": "the state of the recurrence",
    BEGUN: "one where there were tokens before",
}


def _note(state: State, lowering: Lowering) -> str:
    meaning = _MEANINGS.get(state.name.rstrip("0123456789"), "the state")
    letters = {axis.size: axis.letter for axis in lowering.axes} | {Dim("S"): "S"}
    axes = ["B", *(letters.get(size, "-") for size in state.shape[1:])]
    return meaning if "-" in axes else f"{meaning}, [{', '.join(axes)}]"
