"""Arrays that lie in files, and the files of a checkpoint as the Hub has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from codegen.weights.data import Block, Data, Extent, Shape
from ir.records import dataclass

WIDTHS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 8),
}  # bytes of an element; the format has types of fewer bits, which no layout but that of the Hub can hold


@dataclass(frozen=True, slots=True)
class Array:
    """A tensor with a name of its own, its type as safetensors spells it, and where its bytes are."""

    name: str
    dtype: str
    shape: Shape
    data: Data

    @property
    def block(self) -> Block:
        return Block(self.shape, WIDTHS[self.dtype], self.data)


@dataclass(frozen=True, slots=True)
class Shard:
    """A safetensors file: its name, the bytes before its data, and its tensors in the order of their data."""

    name: str
    start: bytes
    tensors: tuple[tuple[str, str, Shape, int], ...]  # name, type, shape, bytes

    @property
    def size(self) -> int:
        return len(self.start) + sum(size for *_, size in self.tensors)

    def arrays(self, file: str) -> list[Array]:
        """Its tensors as they lie in a file."""
        out, at = [], len(self.start)
        for name, dtype, shape, size in self.tensors:
            out.append(Array(name, dtype, shape, (Extent(file, at, at + size),)))
            at += size
        return out


@dataclass(frozen=True, slots=True)
class Files:
    """Where the files that are read lie, by the names that extents call them, and how long they are.

    `locate` fetches a file if need be.
    """

    sizes: Mapping[str, int]
    locate: Callable[[str], Path]
