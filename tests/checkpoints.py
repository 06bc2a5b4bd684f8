"""Small safetensors files, right and wrong, without any library."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

BYTES = {"F32": 4, "BF16": 2, "F16": 2, "I64": 8, "U8": 1}
Tensors = Mapping[str, tuple[str, tuple[int, ...]]]


def entries(tensors: Tensors) -> dict[str, dict[str, object]]:
    """The header of a file that holds these tensors one after another."""
    result, position = {}, 0
    for name, (dtype, shape) in tensors.items():
        size = math.prod(shape) * BYTES[dtype]
        result[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, position + size]}
        position += size
    return result


def safetensors(header: Mapping[str, object] | str | bytes, data: int | None = None) -> bytes:
    """A file with that header and `data` zero bytes (by default as many as the header says)."""
    if data is None:
        assert isinstance(header, Mapping)
        data = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    text = header if isinstance(header, bytes) else (header if isinstance(header, str) else json.dumps(header)).encode()
    return len(text).to_bytes(8, "little") + text + bytes(data)
