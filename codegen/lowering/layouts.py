"""How a parameter lies in the tensors of a checkpoint: a closed algebra, from which both directions follow.

A name stands for a tensor as it is. In names `{}` stands for the layer, `{-1}` for the one before it, `*` for the index that
a `Stack` counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, assert_never

from ir.records import dataclass, fields, replace

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stack:
    """One tensor for each index along the first axis of the parameter; `*` counts them."""

    of: Layout


@dataclass(frozen=True, slots=True)
class Concat:
    """Several, one after another along an axis: parts of the same length unless the checkpoint says otherwise."""

    parts: tuple[Layout, ...]
    axis: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Part `index` of `count` equal ones of a tensor, along an axis."""

    of: Layout
    index: int
    count: int
    axis: int


@dataclass(frozen=True, slots=True)
class Split:
    """Part `index` of a tensor along an axis. `parts` are the parameters that it is divided into: they give the lengths."""

    of: Layout
    index: int
    parts: tuple[str, ...]
    axis: int


@dataclass(frozen=True, slots=True)
class Transposed:
    """With two axes exchanged."""

    of: Layout
    first: int
    second: int


@dataclass(frozen=True, slots=True)
class Deinterleaved:
    """In each of `groups` equal runs along an axis, every other entry first, then those between."""

    of: Layout
    axis: int
    groups: int = 1


Layout: TypeAlias = str | Stack | Concat | Chunk | Split | Transposed | Deinterleaved
KINDS: Mapping[str, type] = {kind.__name__: kind for kind in (Stack, Concat, Chunk, Split, Transposed, Deinterleaved)}


class Misfit(ValueError):
    """A parameter cannot lie in tensors as its layout says."""


def names(layout: Layout) -> Iterator[str]:
    """The names of the tensors, in order."""
    yield from (part for part in parts(layout) if isinstance(part, str))


def parts(layout: Layout) -> Iterator[Layout]:
    """A layout and all that it is made of."""
    yield layout
    match layout:
        case str():
            return
        case Concat(inner):
            for part in inner:
                yield from parts(part)
        case Stack(of) | Chunk(of) | Split(of) | Transposed(of) | Deinterleaved(of):
            yield from parts(of)
        case _:
            assert_never(layout)


def with_names(layout: Layout, change: Callable[[str], str]) -> Layout:
    """The same layout of tensors of other names."""
    match layout:
        case str():
            return change(layout)
        case Concat(parts):
            return replace(layout, parts=tuple(with_names(part, change) for part in parts))
        case Split():
            parameters = tuple(map(change, layout.parts))
            return replace(layout, of=with_names(layout.of, change), parts=parameters)
        case Stack(of) | Chunk(of) | Transposed(of) | Deinterleaved(of):
            return replace(layout, of=with_names(of, change))
        case _:
            assert_never(layout)


def numbered(name: str, layer: int) -> str:
    """The name of a tensor of one layer."""
    return PLACE.sub(lambda found: str(layer + int(found[1] or 0)), name)


PLACE = re.compile(r"\{([-+]\d+)?\}")


def tensors(
    layout: Layout, shape: Shape, stored: Mapping[str, Shape], parameters: Mapping[str, Shape]
) -> Iterator[tuple[str, Shape]]:
    """The tensors that a parameter of `shape` lies in, each with its shape.

    `stored` are shapes that are known: they decide where a `Concat` is divided, if they add up. `parameters` are the shapes
    of all parameters, by path.

    Raises:
        Misfit: the shape cannot be divided like that.
    """
    match layout:
        case str():
            yield layout, shape
        case Stack(of):
            if not shape:
                raise Misfit("a number has no parts")
            for index in range(shape[0]):
                inner = with_names(of, lambda name, index=index: name.replace("*", str(index)))  # type: ignore[misc]
                yield from tensors(inner, shape[1:], stored, parameters)
        case Concat(parts, axis):
            lengths = _lengths(layout, shape, stored)
            for part, length in zip(parts, lengths, strict=True):
                yield from tensors(part, _with(shape, axis, length), stored, parameters)
        case Chunk(of, _, count, axis):
            yield from tensors(of, _with(shape, axis, _size(shape, axis) * count), stored, parameters)
        case Split(of, _, parts, axis):
            total = sum(_size(parameters[part], axis) for part in parts)
            yield from tensors(of, _with(shape, axis, total), stored, parameters)
        case Transposed(of, first, second):
            swapped = _with(_with(shape, first, _size(shape, second)), second, _size(shape, first))
            yield from tensors(of, swapped, stored, parameters)
        case Deinterleaved(of, axis, groups):
            if _size(shape, axis) % (2 * groups):
                raise Misfit(f"{_size(shape, axis)} cannot be divided into {groups} times two parts")
            yield from tensors(of, shape, stored, parameters)
        case _:
            assert_never(layout)


def _lengths(layout: Concat, shape: Shape, stored: Mapping[str, Shape]) -> list[int]:
    """Of the parts of a parameter: those of the stored tensors where they add up, otherwise all the same."""
    total, count = _size(shape, layout.axis), len(layout.parts)
    known = [stored.get(part) for part in layout.parts if isinstance(part, str)]
    found = [one[layout.axis] for one in known if one is not None and layout.axis < len(one)]
    if len(found) == count and sum(found) == total:
        return found
    if total % count:
        raise Misfit(f"{total} cannot be divided into {count} parts")
    return [total // count] * count


def _size(shape: Shape, axis: int) -> int:
    if axis >= len(shape):
        raise Misfit(f"{list(shape)} has no axis {axis}")
    return shape[axis]


def _with(shape: Shape, axis: int, size: int) -> Shape:
    _size(shape, axis)
    return (*shape[:axis], size, *shape[axis + 1 :])


def concatenated(parts: tuple[Layout, ...], axis: int) -> Layout:
    """One after another; stacks of equal length as a stack of what follows each other in it."""
    stacks = [part.of for part in parts if isinstance(part, Stack)]
    if len(stacks) == len(parts) and axis > 0:
        return Stack(concatenated(tuple(stacks), axis - 1))
    return Concat(parts, axis) if len(parts) > 1 else parts[0]


# As text


def spelled(layout: Layout) -> str:
    """As the emitted table spells it.

    Raises:
        Misfit: the emitted code has no form of it.
    """
    match layout:
        case str():
            return f'"{layout}"'
        case Stack(str() | Concat() as of):
            return f"Stack({spelled(of)})"
        case Concat(inner, axis) if all(isinstance(part, str) for part in inner):
            return f"Concat(({', '.join(map(spelled, inner))}){_axis(axis)})"
        case Chunk(str(of), index, count, axis):
            return f"Chunk({spelled(of)}, {index}, {count}{_axis(axis)})"
        case Transposed(str(of), first, second):
            return f"Transposed({spelled(of)}, {first}, {second})"
        case Deinterleaved(str(of), axis, 1):
            return f"Deinterleaved({spelled(of)}{_axis(axis)})"
        case _:
            raise Misfit(f"no emitted code reads a parameter that is stored as {layout}")


def _axis(axis: int) -> str:
    return f", axis={axis}" if axis else ""


def to_data(layout: Layout) -> object:
    """As JSON keeps it."""
    match layout:
        case str():
            return layout
        case Concat(parts, axis):
            return {"Concat": [to_data(part) for part in parts], "axis": axis}
        case _:
            rest = {field.name: getattr(layout, field.name) for field in fields(layout)[1:]}
            return {type(layout).__name__: to_data(layout.of), **rest}


def from_data(data: object) -> Layout:
    """What `to_data` made.

    Raises:
        ValueError: it is not that.
    """
    if isinstance(data, str):
        return data
    if not isinstance(data, dict) or not data or next(iter(data)) not in KINDS:
        raise ValueError(f"{data!r} is no layout of a parameter")
    kind, *_ = data
    given: dict[str, Any] = {key: _tuple(value) for key, value in data.items() if key != kind}
    if kind == "Concat":
        return Concat(tuple(map(from_data, data[kind])), **given)
    made = KINDS[kind](from_data(data[kind]), **given)
    assert isinstance(made, Stack | Chunk | Split | Transposed | Deinterleaved)
    return made


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
