"""The types that a configuration class declares for its keys, as its library checks them when a key is set."""

from __future__ import annotations

import ast
import json
from typing import Any

from codegen.diagnostics import Diagnostic, printable
from codegen.graph.objects import Instance, SDict, SList
from codegen.graph.values import Scalar, value_of
from ir.expressions import Raw

_SIMPLE: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),  # a whole number is as good
    "str": (str,),
    "bool": (bool,),
    "list": (list,),
    "tuple": (list, tuple),
    "dict": (dict,),
    "List": (list,),
    "Tuple": (list, tuple),
    "Dict": (dict,),
}


def misfits(value: Any, annotation: ast.expr | None, owner: str) -> list[Diagnostic]:
    """A finding if a key of config.json holds what its annotation does not allow."""
    if annotation is None or isinstance(value, Instance) or fits(value, annotation):
        return []
    expr = value.expr if isinstance(value, (Scalar, SDict, SList)) else None
    if not isinstance(expr, Raw) or not expr.path:
        return []  # it is made up by the source
    name = printable(".".join(map(str, expr.path)), 100)
    message = f"`{name}` is {as_json(_plain(value))}; `{owner}` takes {_readable(annotation)}"
    return [Diagnostic("config-value", message, key=expr.path)]


def fits(value: Any, annotation: ast.expr) -> bool:
    """Whether a value is of a declared type. What cannot be told from the annotation alone fits."""
    plain = value_of(value)
    match annotation:
        case ast.Constant(value=None):
            return plain is None
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return fits(value, left) or fits(value, right)
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return plain is None or fits(value, inner)
        case ast.Subscript(value=ast.Name(id="Union"), slice=ast.Tuple(elts=parts)):
            return any(fits(value, part) for part in parts)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            known = [part.value for part in parts if isinstance(part, ast.Constant)]
            return any(plain == one and isinstance(plain, bool) == isinstance(one, bool) for one in known)
        case ast.Subscript(value=ast.Name(id="list" | "List") as outer, slice=inner):
            return fits(value, outer) and all(fits(item, inner) for item in plain)  # type: ignore[attr-defined]
        case ast.Subscript(value=ast.Name(id="dict" | "Dict") as outer, slice=ast.Tuple(elts=[_, inner])):
            return fits(value, outer) and all(fits(item, inner) for item in plain.values())  # type: ignore[attr-defined]
        case ast.Subscript(value=outer):
            return fits(value, outer)
        case ast.Name(id=name) if name in _SIMPLE:
            return isinstance(plain, _SIMPLE[name]) and not (isinstance(plain, bool) and name != "bool")
        case ast.Name(id=name) if name.endswith(("Config", "Parameters")):
            return isinstance(plain, dict)
        case _:
            return True


def _readable(annotation: ast.expr) -> str:
    """An annotation in the words of JSON."""
    match annotation:
        case ast.Constant(value=None):
            return "null"
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return " or ".join(dict.fromkeys([*_readable(left).split(" or "), *_readable(right).split(" or ")]))
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return f"{_readable(inner)} or null"
        case ast.Subscript(value=ast.Name(id="Union"), slice=ast.Tuple(elts=parts)):
            return " or ".join(map(_readable, parts))
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            return " or ".join(ast.unparse(part) for part in (inner.elts if isinstance(inner, ast.Tuple) else [inner]))
        case ast.Subscript(value=ast.Name(id="list" | "List"), slice=inner):
            return f"a list of which each is {_readable(inner)}"
        case ast.Subscript(value=outer):
            return _readable(outer)
        case ast.Name(id=name):
            return _WORDS.get(name, "an object" if name.endswith(("Config", "Parameters")) else name)
        case _:
            return ast.unparse(annotation)


_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    **dict.fromkeys(("list", "List", "tuple", "Tuple"), "a list"),
    **dict.fromkeys(("dict", "Dict"), "an object"),
}


def as_json(value: object) -> str:
    """A value as config.json has it, short."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = str(value)
    return printable(text, 80)


def _plain(value: Any) -> Any:
    match value:
        case Scalar():
            return value.value
        case dict():
            return {value_of(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value
