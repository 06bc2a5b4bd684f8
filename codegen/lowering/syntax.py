"""Building Python syntax from templates that are Python themselves, so that precedence is never a matter of strings."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, TypeVar

from ir.graph import DType, Ellipsis_, SliceOf
from ir.ops import OPS
from ir.records import dataclass


@dataclass(frozen=True, slots=True)
class DTypeOfRendered:
    """The element type of an expression."""

    value: ast.expr


Rendered = (
    ast.expr | bool | int | float | str | None | DType | DTypeOfRendered | SliceOf | Ellipsis_ | tuple["Rendered", ...]
)
"""An argument of an operation: an expression, a literal, a type, an index item (a SliceOf holds what is rendered)."""

Speller = Callable[..., ast.expr]


class Unspellable(Exception):
    """A framework has no expression for an operation with these arguments."""


Tree = TypeVar("Tree", bound=ast.AST)


def copied(node: Tree) -> Tree:
    """A syntax tree of its own; `copy.deepcopy` takes ten times as long."""
    made = type(node)()
    for key, value in node.__dict__.items():
        made.__dict__[key] = _copied_item(value)
    return made


def _copied_item(value: Any) -> Any:
    if isinstance(value, ast.AST):
        return copied(value)
    return [_copied_item(item) for item in value] if isinstance(value, list) else value


def template(text: str, **holes: ast.expr) -> ast.expr:
    """The expression `text` with each name that is a key of `holes` replaced; `*name` splices a tuple."""
    return _Fill(holes).visit(copied(_parsed(text)))  # type: ignore[no-any-return]


@cache
def _parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


class _Fill(ast.NodeTransformer):
    def __init__(self, holes: Mapping[str, ast.expr]):
        self.holes = holes

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return copied(self.holes[node.id]) if node.id in self.holes else node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        args: list[ast.expr] = []
        for arg in node.args:
            if isinstance(arg, ast.Starred) and isinstance(arg.value, ast.Tuple):
                args += arg.value.elts
            else:
                args.append(arg)
        node.args = args
        return node


def name(text: str) -> ast.Name:
    return ast.Name(text, ast.Load())


def path(text: str) -> ast.expr:
    """`a.b.c`."""
    return copied(_parsed(text))


def call(function: str, *args: ast.expr, **keywords: ast.expr) -> ast.expr:
    return ast.Call(path(function), list(args), [ast.keyword(key, value) for key, value in keywords.items()])


def subscript(value: ast.expr, items: Iterable[ast.expr]) -> ast.expr:
    """`value[a, b]`."""
    parts = list(items)
    index = parts[0] if len(parts) == 1 and not isinstance(parts[0], ast.Starred) else ast.Tuple(parts, ast.Load())
    return ast.Subscript(value, index, ast.Load())


def literal(value: object) -> ast.expr:
    """A literal; what Python has no literal for, in words."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if isinstance(value, float) and not math.isfinite(value):
            return template(f'float("{value}")')
        if math.copysign(1, value) < 0:
            return ast.UnaryOp(ast.USub(), ast.Constant(-value))
    if value is None or isinstance(value, (bool, int, float, str)):
        return ast.Constant(value)
    raise Unspellable(f"a literal of type {type(value).__name__}")


def expression(rendered: Rendered, dtype: Callable[[DType], ast.expr]) -> ast.expr:
    """What is rendered, as an expression or an item of an index."""
    match rendered:
        case ast.expr():
            return rendered
        case tuple():
            return ast.Tuple([expression(item, dtype) for item in rendered], ast.Load())
        case DType():
            return dtype(rendered)
        case DTypeOfRendered(value):
            return ast.Attribute(copied(value), "dtype", ast.Load())
        case SliceOf(start, stop, step):
            bounds = [None if bound is None else expression(bound, dtype) for bound in (start, stop, step)]  # type: ignore[arg-type]
            return ast.Slice(*bounds)
        case Ellipsis_():
            return ast.Constant(...)
        case _:
            return literal(rendered)


@dataclass(frozen=True)
class Spellings:
    """How a framework writes operations: templates over the names of parameters, or functions of the arguments.

    A keyword argument of a template is left out where the argument is None or the default in `defaults`.
    """

    templates: Mapping[str, str]
    functions: Mapping[str, Speller]
    dtype: Callable[[DType], ast.expr]
    defaults: Mapping[str, object]

    def spell(self, op: str, args: tuple[Rendered, ...]) -> ast.expr:
        """The expression of an operation; of several results, an expression that unpacks into as many.

        Raises:
            Unspellable: there is none.
        """
        if op in self.functions:
            return self.functions[op](*args)
        if op not in self.templates:
            raise Unspellable(f"no spelling of `{op}`")
        return self.fill(self.templates[op], op, args)

    def fill(self, text: str, op: str, args: tuple[Rendered, ...]) -> ast.expr:
        """A template filled with the arguments of `op`."""
        names = [param.name for param in OPS[op].params]
        given = dict(zip(names, args, strict=True))
        spelled = template(text, **{key: self.expr(arg) for key, arg in given.items()})
        if isinstance(spelled, ast.Call):
            source = _parsed(text)
            assert isinstance(source, ast.Call)
            dropped = {
                k.arg for k in source.keywords if isinstance(k.value, ast.Name) and self._default(k.value.id, given)
            }
            spelled.keywords = [keyword for keyword in spelled.keywords if keyword.arg not in dropped]
        return spelled

    def _default(self, hole: str, given: Mapping[str, Rendered]) -> bool:
        if hole not in given:
            return False
        arg = given[hole]
        return (
            arg is None
            or isinstance(arg, (bool, int, float, str))
            and hole in self.defaults
            and arg == self.defaults[hole]
        )

    def expr(self, rendered: Rendered) -> ast.expr:
        return expression(rendered, self.dtype)


def dtype_syntax(rendered: object) -> ast.expr:
    """A type that follows from the type of a value, or that has a name."""
    if isinstance(rendered, DTypeOfRendered):
        return ast.Attribute(rendered.value, "dtype", ast.Load())
    assert isinstance(rendered, ast.expr)
    return rendered


def is_zero(rendered: Rendered) -> bool:
    return isinstance(rendered, (int, float)) and not isinstance(rendered, bool) and rendered == 0


def same_syntax(a: ast.expr, b: ast.expr) -> bool:
    return ast.dump(a) == ast.dump(b)


def new_axis(x: ast.expr, dim: int) -> ast.expr | None:
    """`x` with a new axis by indexing, `x[:, None]`, joined with one that is there; None where that reads badly."""
    owner, items = x, []
    if isinstance(x, ast.Subscript) and (found := _axes_only(x.slice)) is not None:
        owner, items = x.value, found
    dots = next((at for at, item in enumerate(items) if isinstance(item, ast.Constant) and item.value is ...), None)
    if dim < -1:  # counted from the last axis, which an index that is there would shift
        owner, items = (
            x,
            [ast.Constant(...), ast.Constant(None), *(ast.Slice(None, None, None) for _ in range(-1 - dim))],
        )
    elif dim == -1:
        items = [*items, ast.Constant(None)] if dots is not None else [*items, ast.Constant(...), ast.Constant(None)]
    elif dots is not None and dim > dots or dim > len(items) + 2:
        return None
    else:
        missing = max(dim - len(items), 0)
        items = [*items, *(ast.Slice(None, None, None) for _ in range(missing))]
        items.insert(dim, ast.Constant(None))
    return subscript(owner, items)


def _axes_only(index: ast.expr) -> list[ast.expr] | None:
    """The items of an index that only adds axes."""
    items = index.elts if isinstance(index, ast.Tuple) else [index]
    plain = all(
        isinstance(item, ast.Slice)
        and (item.lower, item.upper, item.step) == (None, None, None)
        or isinstance(item, ast.Constant)
        and item.value in (None, ...)
        for item in items
    )
    adds = any(isinstance(item, ast.Constant) and item.value is None for item in items)
    return list(items) if plain and adds else None


def expressions_in(rendered: object) -> Iterator[ast.expr]:
    """The expressions in a rendered argument."""
    match rendered:
        case ast.expr():
            yield rendered
        case DTypeOfRendered(value):
            yield value
        case SliceOf(start, stop, step):
            yield from expressions_in((start, stop, step))
        case tuple():
            for item in rendered:
                yield from expressions_in(item)
        case _:
            return


def stored(name: str, index: tuple[object, ...], value: object) -> ast.stmt:
    """`name[index] = value`."""
    items = [expression(item, _no_type) for item in index]  # type: ignore[arg-type]
    place = subscript(ast.Name(name, ast.Load()), items or [ast.Constant(...)])
    assert isinstance(place, ast.Subscript)
    place.ctx = ast.Store()
    return ast.Assign([place], expression(value, _no_type))  # type: ignore[arg-type]


def _no_type(dtype: DType) -> ast.expr:
    raise Unspellable("a type where an index or a value is needed")


def roots(node: ast.AST) -> set[str]:
    """The names that an expression or statement starts from: what a file has to import or define."""
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
