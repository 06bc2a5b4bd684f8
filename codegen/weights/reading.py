"""Reading what data is made of: files by position, with one buffer for all that is copied as it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import assert_never

import numpy as np

from codegen.diagnostics import CompileError, Diagnostic
from codegen.weights.data import Assembly, Block, Data, Extent, Literal, Made, Zeros
from codegen.weights.stored import Files

BUFFER = 256 << 10  # bytes: what is copied stays in the cache of the processor
OPEN = 64  # files at a time
UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}

Sink = Callable[[memoryview], object]


class Reader:
    """The files of a source. It holds one buffer, and at most one array that had to be put together."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.buffer = memoryview(bytearray(BUFFER))
        self.open: dict[str, int] = {}
        self.made: tuple[Assembly, memoryview] | None = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *details: object) -> None:
        for handle in self.open.values():
            os.close(handle)
        self.open.clear()

    def stream(self, data: Data, sink: Sink) -> None:
        """Hand over all bytes of data, in order, in pieces that are valid until `sink` returns.

        Raises:
            CompileError: `weights-unreadable`, `weights-truncated`.
        """
        for part in data:
            match part:
                case Literal(content):
                    sink(memoryview(content))
                case Zeros(count):
                    sink(memoryview(bytes(count)))
                case Extent():
                    for piece in self._pieces(part):
                        sink(piece)
                case Made(array, start, stop):
                    sink(self._array(array)[start:stop])
                    if stop == array.size:
                        self.made = None
                case _:
                    assert_never(part)

    def equal(self, one: Data, other: Data) -> bool:
        """Whether two are the same bytes; at most `BUFFER` of each are held."""
        first, second = self._all(one), self._all(other)
        mine, theirs = b"", b""
        while True:
            mine = mine or next(first, b"")
            theirs = theirs or next(second, b"")
            if not mine or not theirs:
                return not mine and not theirs
            count = min(len(mine), len(theirs))
            if mine[:count] != theirs[:count]:
                return False
            mine, theirs = mine[count:], theirs[count:]

    def _all(self, data: Data) -> Iterator[bytes]:
        for part in data:
            if isinstance(part, Extent):
                yield from map(bytes, self._pieces(part))
            else:
                pieces: list[bytes] = []
                self.stream((part,), lambda piece, pieces=pieces: pieces.append(bytes(piece)))  # type: ignore[misc]
                yield from pieces

    def _pieces(self, extent: Extent) -> Iterator[memoryview]:
        handle, at = self._handle(extent.file), extent.start
        while at < extent.stop:
            count = self._read(handle, self.buffer[: min(BUFFER, extent.stop - at)], extent.file, at)
            yield self.buffer[:count]
            at += count

    def _read(self, handle: int, into: memoryview, file: str, at: int) -> int:
        try:
            count = os.preadv(handle, [into], at)
        except OSError as error:
            message = f"cannot read {file} at byte {at}: {error.strerror or error}"
            raise CompileError(Diagnostic("weights-unreadable", message)) from None
        if count == 0:
            raise CompileError(Diagnostic("weights-truncated", f"{file} is cut short: it ends at byte {at}"))
        return count

    def _handle(self, file: str) -> int:
        if file in self.open:
            return self.open[file]
        if len(self.open) >= OPEN:
            os.close(self.open.pop(next(iter(self.open))))
        path = self.files.locate(file)
        try:
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            message = f"cannot read {file}: {error.strerror or error}"
            raise CompileError(Diagnostic("weights-unreadable", message)) from None
        self.open[file] = handle
        found, known = os.fstat(handle).st_size, self.files.sizes[file]
        if found != known:
            message = f"{file} is cut short or was replaced: it has {found} bytes, its header speaks of {known}"
            raise CompileError(Diagnostic("weights-truncated", message, help="fetch the file again"))
        return handle

    def _array(self, array: Assembly) -> memoryview:
        if self.made is not None and self.made[0] is array:
            return self.made[1]
        self.made = None
        whole = np.empty(array.shape, UNSIGNED[array.width])
        for move in array.moves:
            value = self._block(move.source)[move.index]
            whole[move.into] = value.swapaxes(*move.swapped) if value.ndim else value
        self.made = array, _bytes(whole)
        return self.made[1]

    def _block(self, block: Block) -> np.ndarray:
        out = np.empty(block.shape, UNSIGNED[block.width])
        into, at = _bytes(out), 0
        for part in block.data:
            if isinstance(part, Extent):
                handle, start = self._handle(part.file), part.start
                while start < part.stop:
                    count = self._read(handle, into[at : at + part.stop - start], part.file, start)
                    at, start = at + count, start + count
            else:
                pieces: list[bytes] = []
                self.stream((part,), lambda piece, pieces=pieces: pieces.append(bytes(piece)))  # type: ignore[misc]
                for piece in pieces:
                    into[at : at + len(piece)] = piece
                    at += len(piece)
        return out


def _bytes(array: np.ndarray) -> memoryview:
    """The bytes of an array, which are written through it."""
    return memoryview(array.reshape(-1).view(np.uint8).data)
