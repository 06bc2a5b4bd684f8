"""What the bytes of a tensor or a file are made of, said without reading any of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TypeAlias, assert_never

from ir.records import dataclass

Index: TypeAlias = "tuple[int | slice, ...]"
Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Extent:
    """The bytes [start, stop) of a file that is read."""

    file: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Literal:
    """Bytes that are known."""

    content: bytes


@dataclass(frozen=True, slots=True)
class Zeros:
    """So many bytes that nobody reads."""

    count: int


@dataclass(frozen=True, slots=True)
class Move:
    """A part of an array: `target[into] = source[index]`, with two axes exchanged after indexing where `swapped` says so."""

    into: Index
    source: Block
    index: Index = ()
    swapped: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Assembly:
    """An array that has to be put together in memory, because its bytes lie in no file in their order."""

    shape: Shape
    width: int  # bytes of an element
    moves: tuple[Move, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape) * self.width

    @property
    def memory(self) -> int:
        """Bytes that are held while it is made."""
        return self.size + max((move.source.memory for move in self.moves), default=0)


@dataclass(frozen=True, slots=True)
class Made:
    """The bytes [start, stop) of an array that has to be put together."""

    array: Assembly
    start: int
    stop: int


Part: TypeAlias = Extent | Literal | Zeros | Made
Data: TypeAlias = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """An array by its bytes."""

    shape: Shape
    width: int
    data: Data

    @property
    def size(self) -> int:
        return math.prod(self.shape) * self.width

    @property
    def memory(self) -> int:
        return self.size + memory(self.data)


def length(part: Part) -> int:
    """In bytes."""
    match part:
        case Literal(content):
            return len(content)
        case Zeros(count):
            return count
        case Extent() | Made():
            return part.stop - part.start
        case _:
            assert_never(part)


def size(data: Data) -> int:
    """In bytes."""
    return sum(map(length, data))


def memory(data: Data) -> int:
    """Bytes that are held while the data is read, beside the buffer."""
    return max((part.array.memory for part in data if isinstance(part, Made)), default=0)


def cut(data: Data, start: int, stop: int) -> Data:
    """The bytes [start, stop) of data."""
    return tuple(_cut(data, start, stop))


def _cut(data: Data, start: int, stop: int) -> Iterator[Part]:
    at = 0
    for part in data:
        end = at + length(part)
        first, last = max(start, at) - at, min(stop, end) - at
        if first < last:
            yield part if last - first == end - at else _piece(part, first, last)
        at = end


def _piece(part: Part, first: int, last: int) -> Part:
    match part:
        case Literal(content):
            return Literal(content[first:last])
        case Zeros():
            return Zeros(last - first)
        case Extent(file, start):
            return Extent(file, start + first, start + last)
        case Made(array, start):
            return Made(array, start + first, start + last)
        case _:
            assert_never(part)


def joined(many: Iterable[Data]) -> Data:
    """One after another; what follows each other in a file as one."""
    out: list[Part] = []
    for data in many:
        for part in data:
            last = out[-1] if out else None
            if (
                isinstance(part, Extent)
                and isinstance(last, Extent)
                and (last.file, last.stop) == (part.file, part.start)
            ):
                out[-1] = Extent(part.file, last.start, part.stop)
            else:
                out.append(part)
    return tuple(out)


def extents(data: Data) -> Iterator[Extent]:
    """All that is read of files; what is put together reads its parts again each time."""
    for part in data:
        if isinstance(part, Extent):
            yield part
        elif isinstance(part, Made):
            for move in part.array.moves:
                yield from extents(move.source.data)
