"""An array from parts of others: as bytes in their order where they lie so, else put together in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

from codegen.weights.data import Assembly, Block, Data, Index, Made, Move, Shape, cut, joined
from ir.records import replace


def assembled(shape: Shape, width: int, moves: Sequence[Move]) -> Data:
    """The bytes of an array that the moves fill.

    Raises:
        ValueError: they do not, or fill something twice.
    """
    narrowed = [replace(move, source=source, index=index) for move in moves for source, index in [_narrow(move)]]
    if sum(_count(move.into, shape) for move in narrowed) != math.prod(shape):
        raise ValueError("the parts do not make the whole")
    return _assembled(shape, width, narrowed)


def _assembled(shape: Shape, width: int, moves: Sequence[Move]) -> Data:
    if moves and all(move.into and isinstance(move.into[0], int) for move in moves):
        rows: dict[int | slice, list[Move]] = {}
        for move in moves:
            rows.setdefault(move.into[0], []).append(replace(move, into=move.into[1:]))
        return joined(_assembled(shape[1:], width, rows[at]) for at in range(shape[0]))
    spans = {_span(shape, move.into): move for move in moves}
    in_order = sorted(span for span in spans if span is not None)
    ends = [0, *(stop for _, stop in in_order)]
    plain = all(move.index == () and move.swapped == (0, 0) for move in moves)
    if plain and len(in_order) == len(moves) and [start for start, _ in in_order] == ends[:-1]:
        return joined(spans[span].source.data for span in in_order)
    made = Assembly(shape, width, tuple(moves))
    return (Made(made, 0, made.size),)


def _narrow(move: Move) -> tuple[Block, Index]:
    """What is read of the source at all: its bytes in order where they are that, else the block that the first indices name."""
    source, index = move.source, move.index
    span = _span(source.shape, index)
    if span is not None:
        start, stop = (at * source.width for at in span)
        shape = _taken(source.shape, index)
        return Block(shape, source.width, cut(source.data, start, stop)), ()
    while index and isinstance(index[0], int):
        row = math.prod(source.shape[1:]) * source.width
        data = cut(source.data, index[0] * row, (index[0] + 1) * row)
        source, index = Block(source.shape[1:], source.width, data), index[1:]
    return source, index


def _bounds(shape: Shape, index: Index) -> list[tuple[int, int, int]]:
    """Start, stop and step along each axis."""
    given = [*index, *[slice(None)] * (len(shape) - len(index))]
    return [(at, at + 1, 1) if isinstance(at, int) else at.indices(n) for at, n in zip(given, shape, strict=True)]


def _taken(shape: Shape, index: Index) -> Shape:
    bounds = _bounds(shape, index)
    kept = [not (at < len(index) and isinstance(index[at], int)) for at in range(len(shape))]
    return tuple(len(range(*bound)) for bound, keep in zip(bounds, kept, strict=True) if keep)


def _count(index: Index, shape: Shape) -> int:
    return math.prod(len(range(*bound)) for bound in _bounds(shape, index))


def _span(shape: Shape, index: Index) -> tuple[int, int] | None:
    """The elements [start, stop) that an index takes, if they follow each other."""
    bounds = _bounds(shape, index)
    start, inner, whole = 0, 1, True  # whole: all axes from here on are taken as they are
    for (first, last, step), n in zip(reversed(bounds), reversed(shape), strict=True):
        taken = len(range(first, last, step))
        if (step != 1 and taken > 1) or (not whole and taken != 1):
            return None
        start += first * inner
        whole = whole and taken == n
        inner *= n
    return start, start + _count(index, shape)
