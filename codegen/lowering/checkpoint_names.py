"""Names in published checkpoints <-> paths in the module tree, by the conversion table of the installed library.

The table is read as data from its syntax tree: a function that fills a dictionary of lists of `WeightRenaming(...)` and
`WeightConverter(...)`. Entries are evaluated when they are asked for. How a transform matches a name follows
`WeightTransform` in the library's core_model_loading.py.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from codegen.diagnostics import CompileError, Diagnostic, Label
from ir.spans import Span

BUILDER = "_build_checkpoint_conversion_mapping"
ALIASES = "_MODEL_TO_CONVERSION_PATTERN"
LEGACY = "legacy"
LAYER = 7919  # stands for `{}` while patterns are matched: no model has as many layers


class Kind(Enum):
    """What the table calls a rename. A prefix is only put on or taken off names that are read, never of a fresh model."""

    PLAIN = "WeightRenaming"
    PREFIX = "PrefixChange"

    def __repr__(self) -> str:
        return f"Kind.{self.name}"


@dataclass(frozen=True, slots=True)
class Rename:
    """Patterns over names; `scope` and `base` confine it to the names of a submodel."""

    kind: Kind
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    scope: str | None = None
    base: str = ""
    span: Span | None = None


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
        if name not in (Kind.PLAIN.value, "WeightConverter"):
            raise self._fault(node, f"`{name}` is not known")
        sources, targets = (self._strings(given[key]) for key in ("source_patterns", "target_patterns"))
        if name != "WeightConverter":
            return Rename(Kind(name), sources, targets, span=self._span(node))
        operations = given["operations"]
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
            arguments = tuple(ast.literal_eval(argument) for argument in node.args)
            options = tuple((str(keyword.arg), ast.literal_eval(keyword.value)) for keyword in node.keywords)
        except ValueError:
            raise self._fault(node, "an argument is no literal") from None
        return Operation(node.func.id, arguments, options)

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


def module_path(name: str, conversions: Sequence[Conversion], paths: Collection[str], base: str) -> str | Convert:
    """Where the tensor that a checkpoint calls `name` belongs, or the conversion that it takes part in.

    `paths` are those of the module tree: they decide whether the prefix `base` is put on or taken off.
    """
    for conversion in conversions:
        if isinstance(conversion, Rename):
            name = _apply(conversion, name)
    for conversion in conversions:
        if isinstance(conversion, Convert) and _match(conversion, name) is not None:
            return conversion
    bare = name.removeprefix(f"{base}.") if base else name
    if bare != name and bare in paths:
        return bare
    if base and f"{base}.{name}" in paths:
        return f"{base}.{name}"
    return name


def published_name(path: str, conversions: Sequence[Conversion]) -> str | Convert:
    """What the library calls the tensor at `path` when it saves a fresh model; `{}` may stand for a layer."""
    name = path.replace("{}", str(LAYER))
    reverse = [_reverse(c) for c in reversed(conversions) if not (isinstance(c, Rename) and c.kind is Kind.PREFIX)]
    for conversion in reverse:
        if isinstance(conversion, Convert) and _match(conversion, name) is not None:
            return conversion
    for conversion in reverse:
        if isinstance(conversion, Rename):
            name = _apply(conversion, name)
    return name.replace(str(LAYER), "{}")


def match_checkpoint(
    names: Iterable[str],
    paths: Collection[str],
    conversions: Sequence[Conversion],
    base: str,
    ignored: Sequence[str] = (),
) -> dict[str, str]:
    """Module path -> checkpoint name, for every tensor that a checkpoint holds. `ignored` are regular expressions.

    Raises:
        CompileError: `weight-operation` where tensors are merged, split or moved, `unknown-tensor` where a name has no
            place, `doubled-tensor` where two have the same. All findings at once.
    """
    known, out = frozenset(paths), dict[str, str]()
    findings: dict[tuple[str, str], list[str]] = {}
    for name in names:
        if any(re.search(pattern, name) for pattern in ignored):
            continue
        place = module_path(name, conversions, known, base)
        if isinstance(place, Convert):
            steps = ", then ".join(operation.name for operation in place.operations)
            findings.setdefault(
                ("weight-operation", f"need an operation that is not supported yet, {steps}"), []
            ).append(name)
        elif place not in known:
            findings.setdefault(("unknown-tensor", "have no place in the model"), []).append(name)
        elif place in out:
            findings.setdefault(("doubled-tensor", f"are the same tensor as {out[place]}"), []).append(name)
        else:
            out[place] = name
    if findings:
        raise CompileError(*(_finding(code, said, sorted(which)) for (code, said), which in findings.items()))
    return out


def _finding(code: str, said: str, names: list[str]) -> Diagnostic:
    shown = compact(names)
    return Diagnostic(
        code,
        f"{len(names)} tensors of the checkpoint {said}: {shown[0]}{', ...' if shown[1:] else ''}",
        notes=tuple(shown),
    )


def compact(names: Sequence[str]) -> list[str]:
    """The names in order, those that differ only in a number as one: `layers.{0-27}.norm.weight`."""
    groups: dict[str, list[list[int]]] = {}
    for name in names:
        steps = name.split(".")
        key = ".".join("{}" if step.isdigit() else step for step in steps)
        groups.setdefault(key, []).append([int(step) for step in steps if step.isdigit()])
    return [text for key, numbers in groups.items() for text in _compacted(key, numbers)]


def _compacted(key: str, numbers: list[list[int]]) -> list[str]:
    columns = [sorted(set(column)) for column in zip(*numbers, strict=True)]
    if math.prod(map(len, columns)) != len({tuple(row) for row in numbers}):
        return [key.format(*row) for row in numbers]
    return [key.format(*(_ranges(column) for column in columns))]


def _ranges(numbers: list[int]) -> str:
    """`3`, or `{0-27}`, or `{0-2,7}`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    text = ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)
    return text if len(numbers) == 1 else f"{{{text}}}"


# How a transform matches


def _patterns(conversion: Conversion) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sources as regular expressions and targets as replacements; in the table either may be both, for the way back."""
    targets, groups = [], []
    for target in conversion.targets:
        target = re.sub(r"\(\?.+?\)?\)", "", target.removeprefix("^"))  # an assertion says nothing about a target
        if group := re.search(r"\(.+?\)", target):
            groups.append(group[0])
            target = target.replace(group[0], r"\1", 1)
        targets.append(target.replace(r"\.", "."))
    sources = []
    for i, source in enumerate(conversion.sources):
        if r"\1" in source and groups:
            source = source.replace(r"\1", groups[0], 1)
        paired = len(conversion.sources) == len(conversion.targets)
        anchored = paired and conversion.targets[i].startswith("^") and not source.startswith("^")
        sources.append(f"^{source}" if anchored else source)
    return tuple(sources), tuple(targets)


def _match(conversion: Conversion, name: str) -> tuple[str, re.Match[str], str] | None:
    """(prefix outside of the scope, match, text that `\\1` stands for)."""
    prefix = ""
    if conversion.scope is not None:
        scope = f"{conversion.scope}." if conversion.scope else ""
        base = f"{conversion.base}." if conversion.base else ""
        fits = [candidate for candidate in (base + scope, scope) if name.startswith(candidate)]
        if not fits:
            return None
        prefix = fits[0]
    sources, _ = _patterns(conversion)
    branches = []
    for i, source in sorted(enumerate(sources), key=lambda pair: -len(pair[1])):
        pattern = source.replace("*.", r".*\.")
        boundary = r"(?!\w)" if re.search(r"[a-zA-Z0-9]$", pattern) else ""
        branches.append(f"(?P<g{i}>{pattern}{boundary})")
    found = re.search("|".join(branches), name[len(prefix) :])
    if found is None:
        return None
    branch = next(number for group, number in found.re.groupindex.items() if found[group] is not None)
    inner = found[branch + 1] if found.re.groups > branch else ""
    return prefix, found, inner or ""


def _apply(rename: Rename, name: str) -> str:
    matched = _match(rename, name)
    if matched is None:
        return name
    prefix, found, inner = matched
    _, targets = _patterns(rename)
    return prefix + name[len(prefix) :].replace(found[0], targets[0].replace(r"\1", inner), 1)


def _reverse(conversion: Conversion) -> Conversion:
    return replace(conversion, sources=conversion.targets, targets=conversion.sources)
