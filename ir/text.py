"""Any value of the IR as Python text, and back: `from_text(to_text(x)) == x`. Nothing is executed."""

from __future__ import annotations

import ast
import dataclasses
import math
import textwrap
from collections.abc import Iterator
from enum import Enum
from types import ModuleType

from ir import arch, expressions, graph

WIDTH = 118
MANY = 4  # whole numbers at equal distances that are written as a range
LONGEST = 1 << 16  # numbers of a range that is read


class NotIR(ValueError):
    """The text is not that of a value of the IR; the message says where."""


def _classes(*modules: ModuleType) -> Iterator[tuple[str, type]]:
    for module in modules:
        for name, value in vars(module).items():
            if isinstance(value, type) and (dataclasses.is_dataclass(value) or issubclass(value, Enum)):
                yield name, value


_CLASSES: dict[str, type] = dict(_classes(graph, expressions, arch))


def to_text(value: object, indent: int = 0) -> str:
    """Python text of a frozen dataclass, enum member, tuple or plain value; broken over lines where it is long."""
    flat = _flat(value)
    if len(flat) + indent <= WIDTH or not _breakable(value):
        return flat
    pad = " " * (indent + 4)
    if isinstance(value, tuple):
        lines = _filled(value, pad) if _whole_numbers(value) else [f"{pad}{to_text(v, indent + 4)}," for v in value]
        return "\n".join(["(", *lines, " " * indent + ")"])
    items = [f"{pad}{name}={to_text(item, indent + 4)}," for name, item in _fields(value)]
    return "\n".join([f"{type(value).__name__}(", *items, " " * indent + ")"])


def _breakable(value: object) -> bool:
    return bool(value) if isinstance(value, tuple) else dataclasses.is_dataclass(value)


def _filled(numbers: tuple[object, ...], pad: str) -> list[str]:
    """As many on a line as have room."""
    text = ", ".join(map(repr, numbers)) + ","
    return textwrap.wrap(text, WIDTH, initial_indent=pad, subsequent_indent=pad)


def _whole_numbers(value: tuple[object, ...]) -> bool:
    return all(type(item) is int for item in value)


def _span(value: tuple[object, ...]) -> str:
    """A `range` that gives these numbers; nothing where there are few, or where their distances differ."""
    if len(value) < MANY or not _whole_numbers(value):
        return ""
    first, second, last = (value[at] for at in (0, 1, -1))
    assert isinstance(first, int) and isinstance(second, int) and isinstance(last, int)
    step = second - first
    if step < 1 or value != tuple(range(first, last + 1, step)):
        return ""
    return f"range({first}, {last + 1}" + (f", {step})" if step > 1 else ")")


def _fields(value: object) -> list[tuple[str, object]]:
    """What the text shows: spans and defaults stay out."""
    shown = []
    for field in dataclasses.fields(value):  # type: ignore[arg-type]
        item = getattr(value, field.name)
        if field.repr and not (
            field.default is not dataclasses.MISSING and field.default == item and type(field.default) is type(item)
        ):
            shown.append((field.name, item))
    return shown


def _flat(value: object) -> str:
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, tuple):
        if span := _span(value):
            return f"tuple({span})"
        return f"({', '.join(map(_flat, value))}{',' if len(value) == 1 else ''})"
    if dataclasses.is_dataclass(value):
        return f"{type(value).__name__}({', '.join(_arguments(value))})"
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    raise TypeError(f"a {type(value).__name__} is no value of the IR")


def _arguments(value: object) -> Iterator[str]:
    """Leading fields go without their names, as one would write them."""
    names = [field.name for field in dataclasses.fields(value)]  # type: ignore[arg-type]
    for at, (name, item) in enumerate(_fields(value)):
        leading = at < len(names) and names[at] == name and len(names) <= 3
        yield _flat(item) if leading else f"{name}={_flat(item)}"


def from_text(text: str) -> object:
    """The value that `to_text` wrote.

    Raises:
        NotIR: it is anything else.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise NotIR(f"line {error.lineno}: {error.msg}") from None
    return _read(tree.body)


def _read(node: ast.expr) -> object:
    match node:
        case ast.Constant(value):
            return value
        case ast.Tuple(items):
            return tuple(_read(item) for item in items)
        case ast.Name("inf"):
            return math.inf
        case ast.Name("nan"):
            return math.nan
        case ast.UnaryOp(ast.USub(), operand):
            return -_read(operand)  # type: ignore[operator]
        case ast.Attribute(ast.Name(name), member) if name in _CLASSES and issubclass(_CLASSES[name], Enum):
            found = getattr(_CLASSES[name], member, None)
            if isinstance(found, Enum):
                return found
            raise NotIR(f"line {node.lineno}: {name} has no {member}")
        case ast.Call(ast.Name("tuple"), [ast.Call(ast.Name("range"), bounds, [])], []):
            numbers = [_read(bound) for bound in bounds]
            if len(numbers) not in (2, 3) or not all(type(number) is int for number in numbers):
                raise NotIR(f"line {node.lineno}: a range is of two or three numbers")
            try:
                span = range(*numbers)  # type: ignore[call-overload]
            except ValueError as error:
                raise NotIR(f"line {node.lineno}: {error}") from None
            if len(span) > LONGEST:
                raise NotIR(f"line {node.lineno}: a range of {len(span)} numbers")
            return tuple(span)
        case ast.Call(ast.Name(name), args, keywords) if name in _CLASSES and not issubclass(_CLASSES[name], Enum):
            named = {keyword.arg: _read(keyword.value) for keyword in keywords if keyword.arg is not None}
            try:
                return _CLASSES[name](*(_read(arg) for arg in args), **named)
            except TypeError as error:
                raise NotIR(f"line {node.lineno}: {error}") from None
        case _:
            raise NotIR(f"line {node.lineno}: `{ast.unparse(node)}` is no value of the IR")
