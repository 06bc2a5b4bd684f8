"""The conversion table of the installed library: what it renames and converts between checkpoints and models.

It is read as data from its syntax tree: a function that fills a dictionary of lists of `WeightRenaming(...)` and
`WeightConverter(...)`. Entries are evaluated when they are asked for.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from enum import Enum

from codegen.diagnostics import CompileError, Diagnostic, Label
from ir.records import dataclass, replace
from ir.spans import Span

BUILDER = "_build_checkpoint_conversion_mapping"
ALIASES = "_MODEL_TO_CONVERSION_PATTERN"
LEGACY = "legacy"
OFFSET = "offset"


class Kind(Enum):
    """What a rename does. A prefix is only put on or taken off names that are read, never of a fresh model. The pairs of a
    group count only if some name matches the first of them.
    """

    PLAIN = "WeightRenaming"
    PREFIX = "PrefixChange"
    GROUP = "GroupWeightRename"

    def __repr__(self) -> str:
        return f"Kind.{self.name}"


@dataclass(frozen=True, slots=True)
class Rename:
    """Patterns over names; `scope` and `base` confine it to the names of a submodel. `offset` is added to the number that
    the pattern captures.
    """

    kind: Kind
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    scope: str | None = None
    base: str = ""
    span: Span | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Operation:
    """A step on tensors, as the table spells it: `Concatenate(dim=1)`."""

    name: str
    arguments: tuple[object, ...]
    options: tuple[tuple[str, object], ...]


@dataclass(frozen=True, slots=True)
class Convert:
    """Tensors whose names match `sources` become those named by `targets` through `operations`."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    operations: tuple[Operation, ...]
    scope: str | None = None
    base: str = ""
    span: Span | None = None


Conversion = Rename | Convert
Part = ast.expr


@dataclass(frozen=True, slots=True)
class Conversions:
    """The table: for a class or a model type, the expressions whose lists make up its entry."""

    file: str
    entries: Mapping[str, tuple[Part, ...]]
    constants: Mapping[str, ast.expr]

    def find(self, key: str) -> tuple[Conversion, ...] | None:
        """The transforms of an entry, in order; None where there is none.

        Raises:
            CompileError: `weight-conversion` if the entry is not plain data.
        """
        if key not in self.entries:
            return None
        return tuple(made for part in self.entries[key] for made in self._list(part))

    def _list(self, part: Part) -> list[Conversion]:
        if not isinstance(part, ast.List):
            raise self._fault(part, "this part of the table is no list")
        return [self._conversion(item) for item in part.elts]

    def _conversion(self, node: ast.expr) -> Conversion:
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            raise self._fault(node, "neither a renaming nor a conversion")
        given = dict(zip(("source_patterns", "target_patterns", "operations"), node.args, strict=False))
        given |= {str(keyword.arg): keyword.value for keyword in node.keywords}
        name = node.func.id
        if name == Kind.PREFIX.value:
            return self._prefix(node)
        if not {"source_patterns", "target_patterns"} <= given.keys():
            raise self._fault(node, f"`{name}` has no patterns")
        sources, targets = (self._strings(given[key]) for key in ("source_patterns", "target_patterns"))
        if OFFSET in given:
            return Rename(Kind.PLAIN, sources, targets, span=self._span(node), offset=self._integer(given[OFFSET]))
        if name in (Kind.PLAIN.value, Kind.GROUP.value):
            return Rename(Kind(name), sources, targets, span=self._span(node))
        operations = given.get("operations")
        if name != "WeightConverter" or operations is None:
            raise self._fault(node, f"`{name}` is not known")
        if not isinstance(operations, ast.List):
            raise self._fault(operations, "the operations are no list")
        return Convert(sources, targets, tuple(map(self._operation, operations.elts)), span=self._span(node))

    def _prefix(self, node: ast.Call) -> Rename:
        given = {str(keyword.arg): self._string(keyword.value) for keyword in node.keywords}
        under = rf"{given['model_prefix']}\." if given.get("model_prefix") else ""
        if added := given.get("prefix_to_add"):
            source, target = rf"^{under}(?:(?!{added}\.))(.+)", rf"{under}{added}\.\1"
        else:
            source, target = rf"^{under}{given['prefix_to_remove']}\.(.+)", rf"{under}\1"
        return Rename(Kind.PREFIX, (source,), (target,), span=self._span(node))

    def _operation(self, node: ast.expr) -> Operation:
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            raise self._fault(node, "no operation")
        try:
            arguments = tuple(_literal(argument) for argument in node.args)
            options = tuple((str(keyword.arg), _literal(keyword.value)) for keyword in node.keywords)
        except ValueError:
            raise self._fault(node, "an argument is no literal") from None
        return Operation(node.func.id, arguments, options)

    def _integer(self, node: ast.expr) -> int:
        try:
            value = ast.literal_eval(node)
        except ValueError:
            value = None
        if not isinstance(value, int):
            raise self._fault(node, "no whole number")
        return value

    def _strings(self, node: ast.expr) -> tuple[str, ...]:
        if isinstance(node, ast.List):
            return tuple(map(self._string, node.elts))
        return (self._string(node),)

    def _string(self, node: ast.expr) -> str:
        match node:
            case ast.Constant(str() as text):
                return text
            case ast.BinOp(left, ast.Add(), right):
                return self._string(left) + self._string(right)
            case ast.Name(name) if name in self.constants:
                return self._string(self.constants[name])
            case _:
                raise self._fault(node, "no string")

    def _span(self, node: ast.expr) -> Span:
        return Span(self.file, node.lineno, node.col_offset, node.end_lineno or 0, node.end_col_offset or 0)

    def _fault(self, node: ast.expr, message: str) -> CompileError:
        label = Label(self._span(node), message)
        return CompileError(Diagnostic("weight-conversion", "the library's conversion table cannot be read", label))


def _literal(node: ast.expr) -> object:
    value = ast.literal_eval(node)
    return tuple(value) if isinstance(value, list) else value


def read_conversions(tree: ast.Module, file: str = "conversion_mapping.py") -> Conversions:
    """The table that `tree` fills; `file` is what spans call it.

    Raises:
        CompileError: `weight-conversion` if the file does not look like one.
    """
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == BUILDER]
    if not functions:
        raise CompileError(Diagnostic("weight-conversion", f"{file} has no {BUILDER}"))
    entries: dict[str, tuple[Part, ...]] = {}
    constants: dict[str, ast.expr] = {}
    for statement in functions[0].body:
        _statement(statement, entries, constants)
    for key, base in _aliases(tree).items():
        if key not in entries and base in entries:
            entries[key] = entries[base]
    return Conversions(file, entries, constants)


def _statement(node: ast.stmt, entries: dict[str, tuple[Part, ...]], constants: dict[str, ast.expr]) -> None:
    """What a statement of the builder adds; `mapping[a] = b`, `mapping[a] += b`, `name = text`."""
    match node:
        case ast.Assign([ast.Name()], ast.Dict(keys, values)):
            for key, value in zip(keys, values, strict=True):
                if isinstance(key, ast.Constant):
                    entries[str(key.value)] = _parts(value, entries)
        case ast.Assign([ast.Subscript(_, ast.Constant(str() as name))], value):
            entries[name] = _parts(value, entries)
        case ast.AugAssign(ast.Subscript(_, ast.Constant(str() as name)), ast.Add(), value):
            entries[name] = entries.get(name, ()) + _parts(value, entries)
        case ast.Assign([ast.Name(name)], value):
            constants[name] = value


def _parts(node: ast.expr, entries: Mapping[str, tuple[Part, ...]]) -> tuple[Part, ...]:
    """A list, another entry or its copy, or a sum of them; what is none of these is refused when it is asked for."""
    match node:
        case ast.BinOp(left, ast.Add(), right):
            return _parts(left, entries) + _parts(right, entries)
        case ast.Call(ast.Attribute(ast.Subscript() as inner, "copy")):
            return _parts(inner, entries)
        case ast.Subscript(ast.Name(), ast.Constant(str() as name)) if name in entries:
            return entries[name]
        case _:
            return (node,)


def _aliases(tree: ast.Module) -> dict[str, str]:
    for node in tree.body:
        match node:
            case ast.Assign([ast.Name(name)], ast.Dict() as value) if name == ALIASES:
                return {str(key): str(base) for key, base in ast.literal_eval(value).items()}
    return {}


@dataclass(frozen=True, slots=True)
class Submodel:
    """A pretrained model in the module tree, itself among them: its path, its class, its configuration's model_type."""

    path: str
    class_name: str
    model_type: str | None


def conversions_of(
    table: Conversions, submodels: Iterable[Submodel], base: str, *, legacy: bool = False
) -> tuple[Conversion, ...]:
    """The transforms that apply to a model, outer models first; `base` is the root's base_model_prefix. `legacy` adds
    those that every checkpoint may need, and a fresh model never.

    Follows `get_model_conversion_mapping`: a class entry wins over a model type's, and what an outer model claimed is
    not applied again below it.
    """
    found: list[Conversion] = []
    seen: dict[str, list[str]] = {}
    for model in submodels:
        if _claimed(seen, model.class_name, model.path):
            continue
        made, by_class = table.find(model.class_name), True
        if made is None and model.model_type and not _claimed(seen, model.model_type, model.path):
            made, by_class = table.find(model.model_type), False
        if made is None:
            continue
        if model.path:
            scope = model.path.removeprefix(base).removeprefix(".")
            made = tuple(replace(conversion, scope=scope, base=base) for conversion in made)
        found += made
        seen.setdefault(model.class_name, []).append(model.path)
        if not by_class and model.model_type:
            seen.setdefault(model.model_type, []).append(model.path)
    return (*found, *(table.find(LEGACY) or ())) if legacy else tuple(found)


def _claimed(seen: Mapping[str, list[str]], identifier: str, path: str) -> bool:
    return any(outer == "" or path.startswith(outer + ".") for outer in seen.get(identifier, ()))
