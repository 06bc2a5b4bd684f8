"""What in config.json a failure of the source has to do with: the values that the failing expression computed with, each with
the key that it came from.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from codegen.diagnostics import CompileError, Diagnostic, Label, printable
from codegen.graph import operators
from codegen.graph.declared import as_json
from codegen.graph.objects import Instance, ModuleObject, SDict, SList
from codegen.graph.values import Scalar, Tensor
from ir.expressions import Expr, Key, Raw, leaves
from ir.reading import lookup
from ir.records import replace

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter, Raised
    from codegen.graph.scope import Scope

Path = tuple[str | int, ...]
Context = tuple[ast.AST | None, "Scope | None"]
MAX_SETTINGS = 6  # that a diagnostic speaks of
MAX_CHOICES = 40
MAX_DEPTH = 2  # calls around the failing one that are looked through


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean ...`, or nothing."""
    found = difflib.get_close_matches(word, list(known), 1, 0.6)
    return f"did you mean `{printable(found[0], 80)}`?" if found else ""


def raised(interpreter: Interpreter, error: Raised) -> CompileError:
    """An exception that the source did not catch, as a diagnostic."""
    label = Label(error.where, "raised here") if error.where else None
    key = next(_paths(error.asked), None) if error.asked is not None and error.choices else None
    if key is not None:
        return CompileError(_unknown_choice(interpreter, error, key, label))
    text = operators.describe(interpreter, error.instance)
    message = f"the source raises {error.instance.cls.name}: {text}"
    return CompileError(_about(interpreter, Diagnostic("source-raises", message, label), error.contexts))


def explain(interpreter: Interpreter, error: CompileError) -> CompileError:
    """The same error; findings about an operation say which settings it worked with."""
    explained = (_about(interpreter, found, error.contexts) for found in error.diagnostics)
    error.diagnostics = tuple(explained)
    return error


def _unknown_choice(interpreter: Interpreter, error: Raised, key: Path, label: Label | None) -> Diagnostic:
    """A name out of the configuration that a table of the source does not have."""
    value = next(
        (setting for path, setting in _settings(interpreter, [Key(key), Raw(key)]).items() if path == key), None
    )
    known = sorted(error.choices)
    shown = ", ".join(f"`{printable(name, 60)}`" for name in known[:MAX_CHOICES])
    more = f" and {len(known) - MAX_CHOICES} more" if len(known) > MAX_CHOICES else ""
    raw = _origin(interpreter, key)
    message = f"`{_dotted(raw or key)}` is {as_json(value)}, which the source does not know"
    where = None if label is None else replace(label, text="looked up here")
    hint = nearest(value, known) if isinstance(value, str) else ""
    return Diagnostic("unknown-choice", message, where, help=hint, notes=(f"known are {shown}{more}",), key=raw or ())


def _about(interpreter: Interpreter, found: Diagnostic, contexts: Iterable[Context]) -> Diagnostic:
    if found.key or found.code == "unsupported":
        return found
    for node, scope in list(contexts)[:MAX_DEPTH]:
        settings = _settings(interpreter, _involved(node, scope)) if node is not None and scope is not None else {}
        if settings:
            notes = [_said(interpreter, path, value) for path, value in list(settings.items())[:MAX_SETTINGS]]
            origins = [raw for path in settings if (raw := _origin(interpreter, path))]
            key = origins[0] if len(origins) == 1 and len(settings) == 1 else ()
            return replace(found, notes=(*found.notes, *notes), key=key)
    return found


def _said(interpreter: Interpreter, path: Path, value: object) -> str:
    raw, said = _origin(interpreter, path), f"`{_dotted(path)}` is {as_json(value)}"
    if raw == path:
        return said
    if raw:
        return f"{said}, from `{_dotted(raw)}`"
    sources = sorted({_dotted(leaf.path) for leaf in leaves(_definition(interpreter, path)) if isinstance(leaf, Raw)})
    return f"{said}, computed from {', '.join(f'`{name}`' for name in sources)}" if sources else f"{said}, by default"


def _settings(interpreter: Interpreter, exprs: Iterable[Expr]) -> dict[Path, object]:
    """The keys behind expressions, with what they hold."""
    environment = interpreter.environment
    found: dict[Path, object] = {}
    for expr in exprs:
        for leaf in sorted(leaves(expr), key=repr):
            if isinstance(leaf, (Key, Raw)) and leaf.path:
                holder = environment.config if isinstance(leaf, Key) else environment.raw
                found.setdefault(leaf.path, lookup(holder, leaf.path))
    return found


def _paths(expr: Expr) -> Iterator[Path]:
    yield from (leaf.path for leaf in leaves(expr) if isinstance(leaf, (Key, Raw)) and leaf.path)


def _definition(interpreter: Interpreter, path: Path) -> Expr:
    return interpreter.definitions.get(path, Raw(path))


def _origin(interpreter: Interpreter, path: Path) -> Path | None:
    """The key of config.json that a setting is, None if it is given under no name or made of several."""
    raw = interpreter.environment.raw
    definition = _definition(interpreter, path)
    for candidate in (definition.path if isinstance(definition, Raw) else (), path):
        if candidate and _given(raw, candidate):
            return candidate
    return None


def _given(raw: object, path: Path) -> bool:
    owner = lookup(raw, path[:-1])
    if isinstance(owner, Mapping):
        return path[-1] in owner
    return isinstance(owner, list) and isinstance(path[-1], int) and path[-1] < len(owner)


# -- values of an expression -----------------------------------------------------------------------------------------------------------


def _involved(node: ast.AST, scope: Scope) -> list[Expr]:
    """What the names and attributes of an expression hold, as far as that is known without running anything."""
    found: dict[Expr, None] = {}
    for inner in ast.walk(node):
        if isinstance(inner, (ast.Name, ast.Attribute, ast.Subscript)):
            found |= dict.fromkeys(_expressions(_value(inner, scope)))
    return list(found)


def _expressions(value: object) -> Iterator[Expr]:
    match value:
        case Scalar():
            yield value.expr
        case SDict() | SList() if value.expr is not None:
            yield value.expr
        case Tensor():
            yield from (size.expr for size in value.shape if isinstance(size, Scalar))
        case tuple():
            for item in value:
                yield from _expressions(item)


def _value(node: ast.AST, scope: Scope) -> Any:
    match node:
        case ast.Name(id=name):
            at: Scope | None = scope
            while at is not None and name not in at.vars:
                at = at.parent
            return None if at is None else at.vars[name]
        case ast.Attribute(value=inner, attr=name):
            owner = _value(inner, scope)
            if isinstance(owner, ModuleObject) and name in owner.parameters:
                return owner.parameters[name]
            return owner.dict.get(name) if isinstance(owner, Instance) else None
        case ast.Subscript(value=inner, slice=ast.Constant(value=key)):
            owner = _value(inner, scope)
            if isinstance(owner, dict) and isinstance(key, str):
                return owner.get(key)
    return None


# -- text ------------------------------------------------------------------------------------------------------------------------------


def _dotted(path: Path) -> str:
    return printable(".".join(map(str, path)), 100)


__all__ = ["Context", "explain", "nearest", "raised"]
