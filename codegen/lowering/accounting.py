"""Every tensor of a checkpoint has one place, every parameter one source; anything else is an error that names the tensors.

Only names, shapes and types are looked at, never the data.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from codegen.diagnostics import CompileError, Diagnostic, Severity
from codegen.lowering import layouts
from codegen.lowering.checkpoint_names import Matched, Model, compact, counted, match_checkpoint, published
from codegen.lowering.conversion_table import LEGACY, Conversion, Submodel, conversions_of, read_conversions
from codegen.lowering.layouts import Layout, Misfit, Shape
from ir.graph import DType
from ir.records import dataclass, field, replace

FLOATS = frozenset(("F64", "F32", "F16", "BF16"))
INTEGERS = frozenset(("I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"))
INTEGRAL = frozenset((DType.INT64, DType.INT32, DType.INT16, DType.INT8, DType.UINT8, DType.BOOL))


class Stored(Protocol):
    """A tensor of a checkpoint; None where the source does not say."""

    @property
    def shape(self) -> tuple[int, ...] | None: ...
    @property
    def dtype(self) -> str | None: ...


class Place(Protocol):
    """A tensor of the module tree. `tied` is the path of the first tensor that it is one with."""

    @property
    def name(self) -> str: ...
    @property
    def sizes(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> DType: ...
    @property
    def tied(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Naming:
    """How the library names tensors: its conversions, the prefix that may be missing, patterns of what it drops, the
    configuration, the shapes of the parameters by path. `table` is the text of the library's table and what spans call it; it
    is parsed where it matters.
    """

    conversions: tuple[Conversion, ...] = ()
    base: str = ""
    dropped: tuple[str, ...] = ()
    table: tuple[str, str] = ("", "")
    config: Mapping[str, object] = field(default_factory=dict)
    parameters: Mapping[str, Shape] = field(default_factory=dict)
    stacks: Mapping[str, tuple[str, int]] = field(default_factory=dict)

    def with_stacks(self, stacks: Iterable[tuple[str, str, int]]) -> Naming:
        """With parameters that are several of those of the module tree: path, the others' with `*` for the number, their number."""
        found: dict[str, tuple[str, int]] = {}
        for path, template, count in stacks:
            steps = path.split(".")
            found[path] = template, count
            for at, step in enumerate(steps):  # as all layers have it
                if step.isdigit() and template.split(".")[at] == step:
                    generic = [".".join([*p[:at], "{}", *p[at + 1 :]]) for p in (steps, template.split("."))]
                    found[generic[0]] = generic[1], count
        return replace(self, stacks=found)

    @staticmethod
    def read(
        text: str,
        file: str,
        submodels: Sequence[Submodel],
        base: str,
        dropped: tuple[str, ...],
        config: Mapping[str, object],
        parameters: Mapping[str, Shape],
    ) -> Naming:
        """By the library's table of conversions.

        Raises:
            CompileError: `weight-conversion`.
        """
        known = [name for model in submodels for name in (model.class_name, model.model_type) if name]
        found: tuple[Conversion, ...] = ()
        if any(f'"{name}"' in text for name in known):  # parsing it takes a while
            found = conversions_of(read_conversions(ast.parse(text), file), submodels, base)
        return Naming(found, base, dropped, (text, file), config, parameters)

    def model(self, *, stored: bool = False) -> Model:
        """What tensors are matched with: those of a fresh model, or `stored`, perhaps by an older version."""
        legacy: tuple[Conversion, ...] = ()
        text, file = self.table
        if stored and text:
            legacy = read_conversions(ast.parse(text), file).find(LEGACY) or ()
        return Model((*self.conversions, *legacy), self.base, self.parameters, self.config)

    def published(self, path: str) -> Layout:
        """What a fresh checkpoint stores for the parameter at a path; `{}` may stand for the layer.

        Raises:
            CompileError: `weight-operation`.
        """
        if path in self.stacks:
            return _stacked(path, self.stacks[path], self.published)
        return published(path, self.model())


def _stacked(path: str, items: tuple[str, int], stored: Callable[[str], Layout]) -> Layout:
    """The layout of a parameter whose parts along the first axis are stored as parameters of their own.

    Raises:
        CompileError: `weight-names` where the parts are stored in different ways.
    """
    template, count = items
    first, *others = (stored(template.replace("*", str(number))) for number in range(count))
    most = max(name.split(".").count("0") for name in layouts.names(first))
    for nth in range(most):
        made = layouts.with_names(first, lambda name, nth=nth: _template(name, "0", nth, "*"))  # type: ignore[misc]
        if all(layouts.with_names(made, _starred(number)) == other for number, other in enumerate(others, 1)):
            return layouts.Stack(made)
    raise CompileError(Diagnostic("weight-names", f"the checkpoint stores the parts of `{path}` in different ways"))


def _starred(number: int) -> Callable[[str], str]:
    return lambda name: name.replace("*", str(number))


@dataclass(frozen=True, slots=True)
class Accounts:
    """Where every tensor of a checkpoint went. `layouts`: path -> how the parameter is stored; `ignored`: name -> reason."""

    layouts: Mapping[str, Layout]
    tied: Mapping[str, str]
    ignored: Mapping[str, str]

    @property
    def notes(self) -> tuple[Diagnostic, ...]:
        """What was left out, and why that is right."""
        reasons: dict[str, list[str]] = {}
        for name, reason in self.ignored.items():
            reasons.setdefault(reason, []).append(name)
        found = [_note("weights-ignored", names, f"not read: {reason}") for reason, names in reasons.items()]
        for alias, source in self.tied.items():
            said = "stored as well, and must hold the same numbers" if alias in self.layouts else "not stored"
            text = f"`{alias}` is one tensor with `{source}`: {said}"
            found.append(Diagnostic("weights-tied", text, severity=Severity.NOTE))
        return tuple(found)


def _note(code: str, names: Sequence[str], said: str) -> Diagnostic:
    shown = compact(names)
    return Diagnostic(code, f"{counted(names)} of the checkpoint {said}", notes=tuple(shown), severity=Severity.NOTE)


def account(
    tensors: Mapping[str, Stored], places: Sequence[Place], computed: Sequence[Place], naming: Naming
) -> Accounts:
    """Match a checkpoint with the module tree: `places` are what it must hold, `computed` what no checkpoint needs to.

    Raises:
        CompileError: `unknown-tensor`, `doubled-tensor`, `weight-operation`, `missing-tensor`, `tensor-shape`,
            `tensor-type`, `weights-quantised`; every finding of every tensor.
    """
    ignored = dict(_ignored(tensors, places, computed, naming))
    held = {name: stored for name, stored in tensors.items() if name not in ignored}
    model = replace(naming.model(stored=True), parameters={place.name: place.sizes for place in places})
    matched = match_checkpoint({name: stored.shape for name, stored in held.items()}, model)
    findings = [*matched.findings, *_unfit(places, matched, held, model), *_missing(places, matched, naming)]
    if findings:
        raise CompileError(*findings)
    return Accounts(matched.layouts, {place.name: place.tied for place in places if place.tied is not None}, ignored)


NO_PART = "no part of the model"
DROPPED = "not loaded by the original either"
COMPUTED = "follow from the configuration; what a checkpoint stores of them is not read"


def ignored_patterns(computed: Iterable[Place], naming: Naming) -> dict[str, str]:
    """Regular expressions for tensors that a checkpoint may hold and no model reads, each with the reason."""
    modules: dict[str, dict[str, None]] = {}
    for place in computed:
        module, _, buffer = _tail(place.name).rpartition(".")
        modules.setdefault(re.escape(f"{module}.") if module else "", {}).setdefault(re.escape(buffer))
    own = (rf"(^|\.){module}{_any_of(buffers)}$" for module, buffers in modules.items())
    return {**dict.fromkeys(own, COMPUTED), **dict.fromkeys(naming.dropped, DROPPED)}


def _any_of(patterns: Iterable[str]) -> str:
    first, *others = patterns
    return f"({'|'.join([first, *others])})" if others else first


def _ignored(
    tensors: Mapping[str, Stored], places: Sequence[Place], computed: Sequence[Place], naming: Naming
) -> Iterator[tuple[str, str]]:
    """Stored tensors that are none of the model's parameters, with the reason."""
    wanted = {place.name for place in places}
    tails = {_tail(place.name): place for place in computed}
    for name, stored in tensors.items():
        place = tails.get(_tail(name))
        if name in wanted:
            continue
        if place is not None and stored.shape in (None, place.sizes):
            yield name, f"the model computes `{_tail(name)}` from its configuration"
        elif any(re.search(pattern, name) for pattern in naming.dropped):
            yield name, "the source lists them among those that its model drops"


def _tail(name: str) -> str:
    """A buffer by its module's name and its own: it may have moved from the layers to the top."""
    return ".".join(name.split(".")[-2:])


def _missing(places: Sequence[Place], matched: Matched, naming: Naming) -> Iterator[Diagnostic]:
    known = matched.layouts.keys() | matched.failed
    wanted = [place.name for place in places if place.name not in known and place.tied is None]
    if wanted:
        lacking = [name for path in wanted for name in layouts.names(naming.published(path))]
        said = f"the checkpoint lacks {counted(wanted)}"
        yield Diagnostic("missing-tensor", said, notes=tuple(compact(list(dict.fromkeys(lacking)))))


def _unfit(places: Sequence[Place], matched: Matched, held: Mapping[str, Stored], model: Model) -> Iterator[Diagnostic]:
    """What is of another shape or type than the model's, absent, or left over."""
    shapes = {name: stored.shape for name, stored in held.items() if stored.shape is not None}
    bent, odd = (
        _Faults("tensor-shape", "of another shape"),
        _Faults("tensor-type", "of a type that the model does not have"),
    )
    used: dict[str, None] = {}
    for place in places:
        if place.name not in matched.layouts:
            continue
        layout = matched.layouts[place.name]
        try:
            expected = dict(layouts.tensors(layout, place.sizes, shapes, model.parameters))
        except Misfit as error:
            bent.add(place.name, str(error))
            expected = {}
        used |= dict.fromkeys([*expected, *layouts.names(layout)])
        for name in expected.keys() & held.keys():
            bent.add(name, _shape_fault(expected[name], held[name]))
            odd.add(name, _type_fault(place, held[name]))
    beyond = held.keys() - used.keys() - matched.blamed
    yield from _strays(sorted({*matched.strays, *beyond}), held, model)
    if absent := [name for name in used if name not in held and "*" not in name]:
        yield Diagnostic("missing-tensor", f"the checkpoint lacks {counted(absent)}", notes=tuple(compact(absent)))
    yield from bent.findings()
    yield from odd.findings()


def _strays(strays: list[str], held: Mapping[str, Stored], model: Model) -> Iterator[Diagnostic]:
    """Tensors without a place, those apart that belong to the weights of a quantised checkpoint."""
    quantised = model.config.get("quantization_config")
    beside = {name.rpartition(".")[0] for name in held.keys() - set(strays)}
    beside |= {path.rpartition(".")[0] for path in model.parameters}
    scales = {name: None for name in strays if quantised and name.rpartition(".")[0] in beside}
    others = [name for name in strays if name not in scales]
    if scales:
        method = quantised.get("quant_method") if isinstance(quantised, Mapping) else None
        said = (
            f"the checkpoint is quantised{f' ({method})' if method else ''}: {counted(scales)} belong to packed weights"
        )
        yield Diagnostic(
            "weights-quantised",
            said,
            notes=tuple(compact(list(scales))),
            help="compile a checkpoint of the same model whose weights are floating-point numbers of 16 bits or more",
        )
    if others:
        said = f"{counted(others)} of the checkpoint {'has' if len(others) == 1 else 'have'} no place in the model"
        shown = compact(others)
        yield Diagnostic("unknown-tensor", f"{said}: {shown[0]}{', ...' if shown[1:] else ''}", notes=tuple(shown))


class _Faults:
    """One finding for all tensors with the same kind of fault, those with the same fault on a line."""

    def __init__(self, code: str, said: str) -> None:
        self.code, self.said = code, said
        self.lines: dict[str, dict[str, None]] = {}

    def add(self, name: str, fault: str) -> None:
        if fault:
            self.lines.setdefault(fault, {})[name] = None

    def findings(self) -> Iterator[Diagnostic]:
        if self.lines:
            notes = [f"{name}: {fault}" for fault, names in self.lines.items() for name in compact(list(names))]
            total = [name for names in self.lines.values() for name in names]
            are = "is" if len(total) == 1 else "are"
            yield Diagnostic(self.code, f"{counted(total)} of the checkpoint {are} {self.said}", notes=tuple(notes))


def _shape_fault(shape: Shape, stored: Stored) -> str:
    if stored.shape is None or stored.shape == shape:
        return ""
    return f"{list(stored.shape)}, the model has {list(shape)}"


def _type_fault(place: Place, stored: Stored) -> str:
    wanted = INTEGERS if place.dtype in INTEGRAL else FLOATS
    if stored.dtype is None or stored.dtype in wanted:
        return ""
    kind = "whole numbers" if wanted is INTEGERS else "floating-point numbers of 16 to 64 bits"
    return f"{stored.dtype}, the model has {kind}"


# Names as the checkpoint has them


def stored_layouts(accounts: Accounts, naming: Naming) -> Callable[[str], Layout]:
    """As `Naming.published`, but by the names of one checkpoint; `{}` stands for the layer on either side.

    Raises (when called):
        CompileError: `weight-names` where layers are stored in different ways.
    """
    layered: dict[str, list[tuple[str, Layout]]] = {}
    for path, layout in accounts.layouts.items():
        steps = path.split(".")
        for at, step in enumerate(steps):
            if step.isdigit():
                layered.setdefault(".".join([*steps[:at], "{}", *steps[at + 1 :]]), []).append((step, layout))

    def stored(path: str) -> Layout:
        if path in accounts.layouts:
            return accounts.layouts[path]
        if path in naming.stacks:
            return _stacked(path, naming.stacks[path], stored)
        if path not in layered:
            return naming.published(path)
        (layer, first), *_ = layered[path]
        for template in (*_templates(first, layer), *_shifted(first, layer)):
            if all(layouts.with_names(template, _layer(step)) == layout for step, layout in layered[path]):
                return template
        raise CompileError(
            Diagnostic("weight-names", f"the checkpoint stores the layers of `{path}` in different ways")
        )

    return stored


def _layer(step: str) -> Callable[[str], str]:
    return lambda name: layouts.numbered(name, int(step))


def _shifted(layout: Layout, layer: str) -> Iterator[Layout]:
    """The layout with another number in the place of a number in its names, as far from the layer as that."""
    numbers = {step for name in layouts.names(layout) for step in name.split(".") if step.isdigit() and step != layer}
    for number in sorted(numbers, key=lambda number: abs(int(number) - int(layer))):
        place = f"{{{int(number) - int(layer):+d}}}"
        yield layouts.with_names(layout, lambda name, number=number, place=place: _put(name, number, place))  # type: ignore[misc]


def _put(name: str, number: str, place: str) -> str:
    return ".".join(place if step == number else step for step in name.split("."))


def _templates(layout: Layout, layer: str) -> Iterator[Layout]:
    """The layout with `{}` for the layer: for its first number in each name that is the same, then for its second, ..."""
    most = max(name.split(".").count(layer) for name in layouts.names(layout))
    for nth in range(most):
        yield layouts.with_names(layout, lambda name, nth=nth: _template(name, layer, nth))  # type: ignore[misc]


def _template(name: str, layer: str, nth: int, mark: str = "{}") -> str:
    steps = name.split(".")
    found = [at for at, step in enumerate(steps) if step == layer]
    at = found[min(nth, len(found) - 1)] if found else len(steps)
    return ".".join([*steps[:at], *([mark] if found else []), *steps[at + 1 :]])


def recorded_layouts(recorded: Mapping[str, object], naming: Naming) -> Callable[[str], Layout]:
    """As `stored_layouts`, from what `departures` said when the package was compiled.

    Raises:
        CompileError: `not-a-package` if that is not what it says.
    """
    try:
        known = {path: layouts.from_data(data) for path, data in recorded.items()}
    except (TypeError, ValueError) as error:
        raise CompileError(
            Diagnostic("not-a-package", f"the record of how parameters are stored is broken: {error}")
        ) from None
    return lambda path: known[path] if path in known else naming.published(path)


def departures(stored: Callable[[str], Layout], naming: Naming, paths: Iterable[str]) -> dict[str, object]:
    """The paths, `{}` for the layer, that a checkpoint stores otherwise than a fresh one would be, as JSON keeps it."""
    return {path: layouts.to_data(made) for path in paths if (made := stored(path)) != _or_none(naming, path)}


def _or_none(naming: Naming, path: str) -> Layout | None:
    try:
        return naming.published(path)
    except CompileError:
        return None
