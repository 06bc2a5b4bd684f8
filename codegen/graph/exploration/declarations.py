"""What the text of a configuration class says of the keys that it takes."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

from codegen.graph.objects import Class
from ir.reading import Json


def asked_keys(mro: Iterable[Class]) -> Iterator[str]:
    """Keys that the text of a configuration class takes out of its further arguments, in methods that get all of them."""
    methods = [
        item
        for cls in mro
        if cls.node is not None
        for item in cls.node.body
        if isinstance(item, ast.FunctionDef) and item.args.kwarg
    ]
    wanted = {"__init__", "__post_init__"}
    for _ in range(4):
        for method in methods:
            if method.name in wanted:
                wanted |= set(_receivers(method))
    for method in methods:
        if method.name in wanted:
            yield from _taken(method)


def _receivers(method: ast.FunctionDef) -> Iterator[str]:
    """The methods that get all further arguments of one."""
    for call in ast.walk(method):
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and any(k.arg is None for k in call.keywords)
        ):
            yield call.func.attr


def _taken(method: ast.FunctionDef) -> Iterator[str]:
    for inner in ast.walk(method):
        match inner:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="kwargs"), attr="pop" | "get" | "setdefault"),
                args=[ast.Constant(value=str() as name), *_],
            ):
                yield name
            case ast.Compare(
                left=ast.Constant(value=str() as name),
                ops=[ast.In() | ast.NotIn()],
                comparators=[ast.Name(id="kwargs")],
            ):
                yield name
            case ast.Subscript(value=ast.Name(id="kwargs"), slice=ast.Constant(value=str() as name)):
                yield name


_TYPES = {"int": "int", "float": "float", "str": "str", "bool": "bool", "list": "list", "tuple": "list", "dict": "dict"}


def json_types(annotation: ast.expr) -> tuple[str, ...]:
    """The types of JSON values that an annotation allows, () where it allows all."""
    match annotation:
        case ast.Constant(value=None):
            return ("NoneType",)
        case ast.Constant(value=str() as text):
            try:
                return json_types(ast.parse(text, mode="eval").body)
            except SyntaxError:
                return ()
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _union([json_types(left), json_types(right)])
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return _union([json_types(inner), ("NoneType",)])
        case ast.Subscript(value=ast.Name(id="Union"), slice=ast.Tuple(elts=parts)):
            return _union([json_types(part) for part in parts])
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            names = {type(part.value).__name__ for part in parts if isinstance(part, ast.Constant)}
            return tuple(sorted(names))
        case ast.Subscript(value=inner):
            return json_types(inner)
        case ast.Name(id=name):
            return (_TYPES[name],) if name in _TYPES else (("dict",) if name.endswith(("Parameters", "Config")) else ())
        case _:
            return ()


def _union(parts: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return () if () in parts else tuple(dict.fromkeys(name for part in parts for name in part))


def is_json(x: Json) -> bool:
    match x:
        case bool() | int() | float() | str() | None:
            return True
        case list():
            return all(map(is_json, x))
        case dict():
            return all(isinstance(key, str) and is_json(inner) for key, inner in x.items())
        case _:
            return False
