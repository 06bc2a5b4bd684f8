"""Where every fact of a package came from: stored in source.json when it is compiled, so that explaining compiles nothing.

A place is `file:line` of the source. Keys are those of config.json.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from codegen.lowering.card_view import phrase
from codegen.lowering.fields import Path, keys_in, numbers_in
from codegen.lowering.instances import walk
from codegen.lowering.program import Lowering
from codegen.lowering.views import RowView, WeightsView
from ir.arch import Arch, Part
from ir.expressions import Expr, Key, Raw, leaves
from ir.graph import Branch, Call, Loop, Module, Op, Raised, Region, Scan, within
from ir.records import dataclass, field
from ir.spans import Span

Table = dict[str, dict[str, object]]


@dataclass(frozen=True, slots=True)
class Origins:
    """What lowering does not know: how resolved attributes follow from the keys, and where classes are defined."""

    definitions: Mapping[Path, Expr] = field(default_factory=dict)
    raw: Mapping[str, object] = field(default_factory=dict)
    classes: Mapping[str, Span] = field(default_factory=dict)
    questions: tuple[tuple[Expr, Span | None], ...] = ()  # what the source asked the configuration, and where
    reads: Mapping[Path, Span | None] = field(default_factory=dict)  # where it first reads an attribute


def provenance(
    lowering: Lowering, weights: WeightsView, arch: Arch | None, origins: Origins, unread: Mapping[str, str]
) -> dict[str, Table]:
    """By kind of fact, then by its name: where it came from. `unread` has the keys that nothing reads, with the reason."""
    keys = _Keys(origins)
    return {
        "fields": dict(_fields(lowering, keys, origins)),
        "parameters": dict(_parameters(lowering, weights, keys)),
        "classes": dict(_classes(lowering, origins)),
        "modules": dict(_modules(lowering.given.tree, arch)),
        "unread": {key: {"fact": reason} for key, reason in unread.items()},
    }


@dataclass(frozen=True, slots=True)
class _Keys:
    origins: Origins

    def of(self, expressions: Iterable[Expr]) -> list[str]:
        """The keys of config.json that expressions over the resolved configuration depend on."""
        found: dict[str, None] = {}
        for expr in expressions:
            for key in keys_in(expr):
                found |= dict.fromkeys(self.of_path(key.path))
        return list(found)

    def of_path(self, path: Path) -> list[str]:
        made = self.origins.definitions.get(path)
        read = [] if made is None else [leaf.path for leaf in leaves(made) if isinstance(leaf, Raw)]
        if made is None and path[0] in self.origins.raw:
            read = [path]
        return sorted({".".join(map(str, one)) for one in read})


def _fields(lowering: Lowering, keys: _Keys, origins: Origins) -> Iterator[tuple[str, dict[str, object]]]:
    """Fields of Config: the attribute, the keys that it is read from, the lines that use it."""
    used = _uses(lowering, origins)
    for path, name in lowering.fields.items():
        attribute = ".".join(map(str, path))
        yield name, {"attribute": attribute, "keys": keys.of_path(path), "used": list(used.get(path, ()))}


def _parameters(lowering: Lowering, weights: WeightsView, keys: _Keys) -> Iterator[tuple[str, dict[str, object]]]:
    """Tensors of a checkpoint: the module that holds each, the line that made it, the keys that its shape depends on."""
    rows = {row.path: row for table in weights.tables for row in table.rows}
    for path, module in walk(lowering.given.tree):
        for parameter in module.parameters:
            where = f"{path}.{parameter.name}".lstrip(".")
            row = rows.pop(_generic(where, rows), None)
            if row is not None:
                found = {"axes": row.axes, "layer": module.class_name, "at": place(module.span)}
                yield row.name, {**found, "keys": keys.of(parameter.shape)}


def _generic(path: str, rows: Mapping[str, RowView]) -> str:
    """The path of its row: with `{}` for the layer, if it is in one."""
    steps = path.split(".")
    templates = (".".join([*steps[:i], "{}", *steps[i + 1 :]]) for i, step in enumerate(steps) if step.isdigit())
    return next((template for template in templates if template in rows), path)


def _classes(lowering: Lowering, origins: Origins) -> Iterator[tuple[str, dict[str, object]]]:
    """Classes of the emitted models: the class of the source that each is."""
    for made in lowering.program.plans:
        yield made.name, {"class": made.source_name, "at": place(origins.classes.get(made.source_name))}


def _modules(tree: Module, arch: Arch | None) -> Iterator[tuple[str, dict[str, object]]]:
    """What was recognised: the fact, the class of the source, the line that made the module."""
    if arch is None:
        return
    modules = dict(walk(tree))
    for stack in arch.stacks:
        for kind in stack.kinds:
            for part in kind.parts:
                made = modules.get(f"{stack.path}.{kind.layers[0]}.{part.path}")
                shown = f"{kind.layers[0]}" if len(stack.kinds) > 1 else "{}"
                yield f"{stack.path}.{shown}.{part.path}", _module(part, made)
    for part in arch.parts:
        yield part.path, _module(part, modules.get(part.path))


def _module(part: Part, made: Module | None) -> dict[str, object]:
    said = phrase(part.fact) if part.fact is not None else f"as the source has it ({part.why_not})"
    return {"fact": said, "class": part.class_name, "at": place(made.span if made is not None else None)}


def place(span: Span | None) -> str:
    return "" if span is None else f"{span.file}:{span.line}"


# Lines that use an attribute of the configuration


def _uses(lowering: Lowering, origins: Origins) -> dict[Path, dict[str, None]]:
    used: dict[Path, dict[str, None]] = {}

    def note(expressions: Iterable[Expr], span: Span | None) -> None:
        for expr in expressions if span is not None else ():
            for key in keys_in(expr):
                used.setdefault(key.path, {}).setdefault(place(span))

    for _, module in walk(lowering.given.tree):
        for parameter in module.parameters:
            note(parameter.shape, module.span)
            if parameter.fill is not None:
                _region_uses(parameter.fill, note, set())
    _region_uses(lowering.region, note, set())
    for expr, span in origins.questions:
        note((expr,), span)
    for path, span in origins.reads.items():
        if path not in used:  # a number that no operation names: which there is was a choice
            note((Key(path),), span)
    return used


def _region_uses(region: Region, note: Callable[[Iterable[Expr], Span | None], None], seen: set[int]) -> None:
    if id(region) in seen:
        return
    seen.add(id(region))
    for node in region.nodes:
        match node:
            case Op(args=args, span=span) | Raised(args=args, span=span):
                note(numbers_in(args), span)
            case Call(region=inner, args=args, span=span):
                note(numbers_in(args), span)
                _region_uses(inner, note, seen)
            case Loop(bodies=bodies):
                for body in bodies:
                    _region_uses(body, note, seen)
            case Scan() | Branch():
                note(numbers_in(node.args), node.span)
                for inner in within(node):
                    _region_uses(inner, note, seen)
