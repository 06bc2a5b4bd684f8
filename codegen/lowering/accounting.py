"""Every tensor of a checkpoint has one place, every parameter one source; anything else is an error that names the tensors.

Only names, shapes and types are looked at, never the data.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from codegen.diagnostics import CompileError, Diagnostic, Severity
from codegen.lowering.checkpoint_names import (
    LEGACY,
    Conversion,
    Submodel,
    compact,
    conversions_of,
    match_checkpoint,
    published_name,
    read_conversions,
)
from ir.graph import DType

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
    """How the library names tensors: its conversions, the prefix that may be missing, patterns of what it drops. `table` is
    the text of the library's table and what spans call it; it is parsed where it matters.
    """

    conversions: tuple[Conversion, ...] = ()
    base: str = ""
    dropped: tuple[str, ...] = ()
    table: tuple[str, str] = ("", "")

    @staticmethod
    def read(text: str, file: str, submodels: Sequence[Submodel], base: str, dropped: tuple[str, ...]) -> Naming:
        """By the library's table of conversions.

        Raises:
            CompileError: `weight-conversion`.
        """
        known = [name for model in submodels for name in (model.class_name, model.model_type) if name]
        if not any(f'"{name}"' in text for name in known):  # parsing it takes a while
            return Naming((), base, dropped, (text, file))
        table = read_conversions(ast.parse(text), file)
        return Naming(conversions_of(table, submodels, base), base, dropped, (text, file))

    def legacy(self) -> tuple[Conversion, ...]:
        """Conversions of checkpoints that older versions wrote."""
        text, file = self.table
        return read_conversions(ast.parse(text), file).find(LEGACY) or () if text else ()

    def published(self, path: str) -> str:
        """What a fresh checkpoint calls the tensor at a path of the module tree; `{}` may stand for a layer.

        Raises:
            CompileError: `weight-operation`.
        """
        found = published_name(path, self.conversions)
        if isinstance(found, str):
            return found
        raise CompileError(
            Diagnostic("weight-operation", f"`{path}` is stored in another form, which is not supported yet")
        )


@dataclass(frozen=True, slots=True)
class Accounts:
    """Where every tensor of a checkpoint went. `names`: module path -> checkpoint name; `ignored`: name -> reason."""

    names: Mapping[str, str]
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
            said = "stored as well, and must hold the same numbers" if alias in self.names else "not stored"
            text = f"`{alias}` is one tensor with `{source}`: {said}"
            found.append(Diagnostic("weights-tied", text, severity=Severity.NOTE))
        return tuple(found)


def _note(code: str, names: Sequence[str], said: str) -> Diagnostic:
    shown = compact(names)
    return Diagnostic(code, f"{_count(names)} of the checkpoint {said}", notes=tuple(shown), severity=Severity.NOTE)


def account(
    tensors: Mapping[str, Stored], places: Sequence[Place], computed: Sequence[Place], naming: Naming
) -> Accounts:
    """Match a checkpoint with the module tree: `places` are what it must hold, `computed` what no checkpoint needs to.

    Raises:
        CompileError: `unknown-tensor`, `doubled-tensor`, `weight-operation`, `missing-tensor`, `tensor-shape`,
            `tensor-type`; every finding of every tensor.
    """
    findings: list[Diagnostic] = []
    ignored = dict(_ignored(tensors, places, computed, naming))
    names: dict[str, str] = {}
    try:
        held = (name for name in tensors if name not in ignored)
        names = match_checkpoint(
            held, [place.name for place in places], (*naming.conversions, *naming.legacy()), naming.base
        )
    except CompileError as error:
        findings += error.diagnostics
    if not findings:
        findings += _missing(places, names, naming)
    by_path = {place.name: place for place in places}
    found = [(by_path[path], name, tensors[name]) for path, name in names.items()]
    findings += _faults("tensor-shape", "of another shape", found, _shape_fault)
    findings += _faults("tensor-type", "of a type that this model does not have", found, _type_fault)
    if findings:
        raise CompileError(*findings)
    return Accounts(names, {place.name: place.tied for place in places if place.tied is not None}, ignored)


def ignored_patterns(computed: Iterable[Place], naming: Naming) -> tuple[str, ...]:
    """Regular expressions for tensors that a checkpoint may hold and no model reads."""
    modules: dict[str, dict[str, None]] = {}
    for place in computed:
        module, _, buffer = _tail(place.name).rpartition(".")
        modules.setdefault(re.escape(f"{module}.") if module else "", {}).setdefault(re.escape(buffer))
    return (*(rf"(^|\.){module}{_any_of(buffers)}$" for module, buffers in modules.items()), *naming.dropped)


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


def _missing(places: Sequence[Place], names: Mapping[str, str], naming: Naming) -> Iterator[Diagnostic]:
    wanted = [place.name for place in places if place.name not in names and place.tied is None]
    if wanted:
        shown = compact([naming.published(path) for path in wanted])
        yield Diagnostic("missing-tensor", f"the checkpoint lacks {_count(wanted)}", notes=tuple(shown))


Found = tuple[Place, str, Stored]


def _faults(
    code: str, said: str, found: Sequence[Found], fault: Callable[[Place, Stored], str]
) -> Iterator[Diagnostic]:
    """One finding for all tensors with the same kind of fault, those with the same fault on a line."""
    lines: dict[str, list[str]] = {}
    for place, name, stored in found:
        if what := fault(place, stored):
            lines.setdefault(what, []).append(name)
    if lines:
        notes = [f"{name}: {what}" for what, names in lines.items() for name in compact(names)]
        total = [name for names in lines.values() for name in names]
        yield Diagnostic(
            code, f"{_count(total)} of the checkpoint {'is' if len(total) == 1 else 'are'} {said}", notes=tuple(notes)
        )


def _shape_fault(place: Place, stored: Stored) -> str:
    if stored.shape is None or stored.shape == place.sizes:
        return ""
    return f"{list(stored.shape)}, the model has {list(place.sizes)}"


def _type_fault(place: Place, stored: Stored) -> str:
    wanted = INTEGERS if place.dtype in INTEGRAL else FLOATS
    if stored.dtype is None or stored.dtype in wanted:
        return ""
    kind = "whole numbers" if wanted is INTEGERS else "floating-point numbers of 16 to 64 bits"
    return f"{stored.dtype}, the model has {kind}"


def _count(names: Sequence[str]) -> str:
    return f"{len(names)} tensor{'' if len(names) == 1 else 's'}"


# Names as the checkpoint has them


def stored_names(accounts: Accounts, naming: Naming) -> Callable[[str], str]:
    """As `Naming.published`, but by the names of one checkpoint; `{}` stands for the layer on either side.

    Raises (when called):
        CompileError: `weight-names` where layers are named in different ways.
    """
    layered: dict[str, list[tuple[str, str]]] = {}
    for path, name in accounts.names.items():
        steps = path.split(".")
        for at, step in enumerate(steps):
            if step.isdigit():
                layered.setdefault(".".join([*steps[:at], "{}", *steps[at + 1 :]]), []).append((step, name))

    def named(path: str) -> str:
        if path in accounts.names:
            return accounts.names[path]
        if path not in layered:
            return naming.published(path)
        (layer, first), *_ = layered[path]
        for template in _templates(first, layer):
            if all(template.replace("{}", step) == name for step, name in layered[path]):
                return template
        raise CompileError(Diagnostic("weight-names", f"the checkpoint names the layers of `{path}` in different ways"))

    return named


def _templates(name: str, layer: str) -> Iterator[str]:
    steps = name.split(".")
    for at, step in enumerate(steps):
        if step == layer:
            yield ".".join([*steps[:at], "{}", *steps[at + 1 :]])


def recorded_names(names: Mapping[str, str], naming: Naming) -> Callable[[str], str]:
    """As `stored_names`, from what `renamed` said when the package was compiled."""
    return lambda path: names[path] if path in names else naming.published(path)


def renamed(names: Callable[[str], str], naming: Naming, paths: Iterable[str]) -> dict[str, str]:
    """The paths, `{}` for the layer, that a checkpoint names otherwise than a fresh one would be."""
    return {path: name for path in paths if (name := names(path)) != _or_none(naming, path)}


def _or_none(naming: Naming, path: str) -> str | None:
    try:
        return naming.published(path)
    except CompileError:
        return None
