"""The header of a safetensors file: names, shapes, types and byte ranges, checked; never the data.

Format: eight bytes of length (little endian), a JSON object of at most 100 MB, the data without holes or overlap.
https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeGuard

from codegen.diagnostics import CompileError, Diagnostic, printable
from codegen.repo.names import tensor_name_fault
from codegen.repo.repository import TensorHeader
from codegen.repo.text import LFS, lfs_pointer, parse_object
from ir.records import dataclass, field, replace

MAX_HEADER = 100_000_000
BITS = {
    "F4": 4,
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}

ReadRange = Callable[[int, int], bytes]
"""Reads the bytes from the first position up to the second; fewer where the file ends."""


@dataclass(frozen=True, slots=True)
class Header:
    """`start`: the bytes before the data; `ranges`: those of each tensor, counted from there."""

    tensors: dict[str, TensorHeader]
    findings: tuple[Diagnostic, ...]
    start: bytes = b""
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def read_local(path: Path, name: str) -> Header:
    """The header of a file on this machine."""
    try:
        with path.open("rb") as file:

            def read(start: int, stop: int) -> bytes:
                file.seek(start)
                return file.read(stop - start)

            return read_header(read, path.stat().st_size, name)
    except OSError as error:
        return _refused(Diagnostic("weights-unreadable", f"cannot read {name}: {error.strerror or error}"))


def read_header(read: ReadRange, size: int | None, name: str) -> Header:
    """The header of the file that `read` reads. `size` is that of the whole file, if it is known."""
    start = read(0, 8)
    if start and LFS.startswith(start):
        return _refused(lfs_pointer(name))
    length = int.from_bytes(start, "little")
    if len(start) < 8 or (size is not None and 8 + length > size):
        return _refused(
            _truncated(name, f"it ends inside its header: {size if size is not None else len(start)} bytes")
        )
    if length > MAX_HEADER:
        return _refused(_malformed(name, f"a header of {length} bytes; the format allows {MAX_HEADER}"))
    data = read(8, 8 + length)
    if len(data) < length:
        return _refused(_truncated(name, f"it ends inside its header: {8 + len(data)} of {8 + length} bytes"))
    try:
        entries = parse_object(data.decode("utf-8"), name, "weights-header", "the header of a safetensors file")
    except UnicodeDecodeError:
        return _refused(_malformed(name, "its header is not UTF-8 text"))
    except CompileError as error:
        return Header({}, error.diagnostics)
    entries.pop("__metadata__", None)
    return replace(_checked(entries, None if size is None else size - 8 - length, name), start=start + data)


def _checked(entries: Mapping[str, object], size: int | None, name: str) -> Header:
    tensors: dict[str, TensorHeader] = {}
    ranges: list[tuple[int, int, str]] = []
    places: dict[str, tuple[int, int]] = {}
    findings: list[Diagnostic] = []
    for tensor, entry in entries.items():
        shown = printable(repr(tensor), 200)
        fault = tensor_name_fault(tensor)
        if fault is not None:
            findings.append(Diagnostic("weights-tensor-name", f"{name}: the name {shown} of a tensor {fault}"))
            continue
        read = _entry(entry)
        if isinstance(read, str):
            findings.append(_malformed(name, f"tensor {shown} {read}"))
            continue
        shape, dtype, start, stop = read
        tensors[tensor] = TensorHeader(shape, dtype, name)
        ranges.append((start, stop, shown))
        places[tensor] = start, stop
    if not findings:
        findings.extend(_layout(sorted(ranges), size, name))
    return Header(tensors, tuple(findings), ranges=places)


def _entry(entry: object) -> tuple[tuple[int, ...], str, int, int] | str:
    """Shape, type and byte range of a tensor, or what is wrong with its entry."""
    if not isinstance(entry, dict):
        return "is not described by an object"
    shape, dtype, offsets = entry.get("shape"), entry.get("dtype"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in BITS:
        return f"has the type {printable(repr(dtype), 60)}, which the format does not know"
    if not _sizes(shape):
        return f"has the shape {printable(repr(shape), 60)}"
    if not _sizes(offsets) or len(offsets) != 2:
        return f"has the byte range {printable(repr(offsets), 60)}"
    start, stop = offsets
    bits = math.prod(shape) * BITS[dtype]
    if (stop - start) * 8 != bits:
        return f"holds {stop - start} bytes where {dtype} {list(shape)} needs {bits // 8}"
    return tuple(shape), dtype, start, stop


def tensor_bytes(header: TensorHeader) -> int | None:
    """How long the data of a tensor is; None where its shape or type is not known."""
    if header.shape is None or header.dtype not in BITS:
        return None
    return math.prod(header.shape) * BITS[header.dtype] // 8


def _sizes(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 62 for item in value)


def _layout(ranges: list[tuple[int, int, str]], size: int | None, name: str) -> Iterator[Diagnostic]:
    """Ranges must follow each other without hole or overlap and end where the file ends."""
    position = 0
    for start, stop, tensor in ranges:
        if start != position:
            kind = "overlaps the one before it" if start < position else "leaves a hole before it"
            yield _malformed(name, f"the data of tensor {tensor} {kind}")
            return
        position = stop
    if size is None or size == position:
        return
    if size < position:
        yield _truncated(name, f"its tensors need {position} bytes and {size} are there")
    else:
        yield _malformed(name, f"{size - position} bytes follow the last tensor")


def _truncated(name: str, detail: str) -> Diagnostic:
    return Diagnostic("weights-truncated", f"{name} is cut short: {detail}", help="fetch the file again")


def _malformed(name: str, detail: str) -> Diagnostic:
    return Diagnostic("weights-header", f"{name} is not a valid safetensors file: {detail}")


def _refused(finding: Diagnostic) -> Header:
    return Header({}, (finding,))
