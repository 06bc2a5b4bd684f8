"""Bytes in their order, however they are cut, joined and put together: the same as numpy gives."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.weights.assembling import assembled
from codegen.weights.data import Block, Data, Extent, Literal, Made, Move, Zeros, cut, extents, joined, size
from codegen.weights.reading import Reader
from codegen.weights.stored import Files

CONTENT = np.random.default_rng(0).integers(0, 256, 4096, np.uint8).tobytes()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "file"
    file.write_bytes(CONTENT)
    return file


def read(data: Data, path: Path) -> bytes:
    out = bytearray()
    with Reader(Files({"file": len(CONTENT)}, lambda _: path)) as reader:
        reader.stream(data, out.extend)
        assert reader.equal(data, (Literal(bytes(out)),)) and reader.equal((Literal(bytes(out)),), data)
        assert not out or not reader.equal(data, (Literal(bytes(out[:-1]) + bytes([out[-1] ^ 1])),))
        assert not reader.equal(data, (Literal(bytes(out) + b"0"),))
    return bytes(out)


def array(at: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(CONTENT, np.uint16, math.prod(shape), at).reshape(shape)


def block(at: int, shape: tuple[int, ...]) -> Block:
    return Block(shape, 2, (Extent("file", at, at + 2 * math.prod(shape)),))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=6), st.integers(0, 40), st.integers(0, 40))
def test_cutting(path: Path, parts: list[tuple[int, int]], first: int, last: int) -> None:
    kinds = (Literal(b"abcdefghi"), Zeros(5))
    data = joined((Extent("file", at, at + n), kinds[(at + n) % 2]) for at, n in parts)
    first, last = sorted((min(first, size(data)), min(last, size(data))))
    assert read(cut(data, first, last), path) == read(data, path)[first:last]


LAYOUTS = {
    "whole": ((3, 4), [((), (0, (3, 4)), (), (0, 0))]),
    "stack": ((3, 2, 5), [((i,), (100 + 20 * i, (2, 5)), (), (0, 0)) for i in range(3)]),
    "halves": ((6, 4), [((slice(3 * i, 3 * i + 3),), (50 + 24 * i, (3, 4)), (), (0, 0)) for i in range(2)]),
    "halves, the second first": (
        (6, 4),
        [((slice(3 - 3 * i, 6 - 3 * i),), (24 * i, (3, 4)), (), (0, 0)) for i in (1, 0)],
    ),
    "columns": ((4, 6), [((slice(None), slice(3 * i, 3 * i + 3)), (24 * i, (4, 3)), (), (0, 0)) for i in range(2)]),
    "stack of columns": (
        (2, 4, 6),
        [
            ((e, slice(None), slice(3 * i, 3 * i + 3)), (48 * e + 24 * i, (4, 3)), (), (0, 0))
            for e in range(2)
            for i in range(2)
        ],
    ),
    "a part": ((2, 5), [((), (8, (6, 5)), (slice(2, 4),), (0, 0))]),
    "a column of a part": ((6, 2), [((), (8, (6, 5)), (slice(None), slice(1, 3)), (0, 0))]),
    "turned": ((4, 3), [((), (6, (3, 4)), (), (0, 1))]),
    "turned square": ((4, 4), [((), (6, (4, 4)), (), (0, 1))]),
    "every other": (
        (6, 2),
        [
            ((slice(3),), (0, (6, 2)), (slice(0, None, 2),), (0, 0)),
            ((slice(3, None),), (0, (6, 2)), (slice(1, None, 2),), (0, 0)),
        ],
    ),
    "a number": ((), [((), (2, ()), (), (0, 0))]),
    "nothing": ((0, 3), [((), (2, (0, 3)), (), (0, 0))]),
}  # shape, [index in it, (position, shape) of the source, index in that, axes that are exchanged]
IN_ORDER = {"whole", "stack", "halves", "halves, the second first", "a part", "a number", "nothing"}


@pytest.mark.parametrize("name", LAYOUTS)
def test_as_numpy_does(name: str, path: Path) -> None:
    shape, parts = LAYOUTS[name]
    want = np.zeros(shape, np.uint16)
    for into, (at, held), index, swapped in parts:
        value = array(at, held)[index]
        want[into] = value.swapaxes(*swapped) if value.ndim else value
    moves = [Move(into, block(at, held), index, swapped) for into, (at, held), index, swapped in parts]
    data = assembled(shape, 2, moves)
    assert read(data, path) == want.tobytes()
    assert (not any(isinstance(part, Made) for part in data)) == (name in IN_ORDER)
    assert sum(part.stop - part.start for part in extents(data)) >= want.nbytes
    middle = want.nbytes // 3
    assert read(cut(data, middle, want.nbytes), path) == want.tobytes()[middle:]


def test_a_stack_is_never_held_whole() -> None:
    shape, parts = LAYOUTS["stack of columns"]
    data = assembled(
        shape, 2, [Move(into, block(at, held), index, swapped) for into, (at, held), index, swapped in parts]
    )
    assert [part.array.shape for part in data if isinstance(part, Made)] == [(4, 6), (4, 6)]


@pytest.mark.parametrize("drop", [0, 1])
def test_parts_that_are_no_whole(drop: int) -> None:
    shape, parts = LAYOUTS["halves"]
    moves = [Move(into, block(at, held), index, swapped) for into, (at, held), index, swapped in parts]
    with pytest.raises(ValueError, match="whole"):
        assembled(shape, 2, moves[drop : drop + 1])
