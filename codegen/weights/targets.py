"""The files of a layout: what each is made of, and where the arrays lie in them."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence

from codegen.weights.data import Data, Extent, Literal, Zeros, cut, size
from codegen.weights.stored import Array, Shard
from ir.records import dataclass, replace

SHARD = 5_000_000_000  # bytes of data in a file
CHUNK = (
    64 << 20
)  # bytes of an array in one file of Orbax, about: a process that owns a part reads no more than the files of it
ZARR_TYPES = {  # as tensorstore spells them
    "BF16": "bfloat16",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
    "C64": "<c8",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}


@dataclass(frozen=True, slots=True)
class Unit:
    """A file that is written: its path within the output."""

    path: str
    data: Data


@dataclass(frozen=True, slots=True)
class Written:
    """Files, and the arrays that will lie in them."""

    units: tuple[Unit, ...]
    arrays: tuple[Array, ...]


def hub_files(shards: Sequence[Shard], tensors: Mapping[str, Array]) -> list[Unit]:
    """The very files that a checkpoint came in. `tensors`: by their names there."""
    return [
        Unit(shard.name, (Literal(shard.start), *(part for name, *_ in shard.tensors for part in tensors[name].data)))
        for shard in shards
    ]


def safetensors_files(arrays: Sequence[Array], stem: str, metadata: Mapping[str, str]) -> Written:
    """One file, or several with an index."""
    groups: list[list[Array]] = [[]]
    room = SHARD
    for array in arrays:
        if groups[-1] and array.block.size > room:
            groups.append([])
            room = SHARD
        groups[-1].append(array)
        room -= array.block.size
    names = [f"{stem}.safetensors"]
    if len(groups) > 1:
        names = [f"{stem}-{number:05}-of-{len(groups):05}.safetensors" for number in range(1, len(groups) + 1)]
    made = [_safetensors(name, group, metadata) for name, group in zip(names, groups, strict=True)]
    units = [unit for unit, _ in made]
    if len(groups) > 1:
        places = {array.name: name for name, group in zip(names, groups, strict=True) for array in group}
        total = sum(array.block.size for array in arrays)
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
        units.append(Unit(f"{stem}.safetensors.index.json", (Literal(_json(index)),)))
    return Written(tuple(units), tuple(array for _, placed in made for array in placed))


def _safetensors(name: str, arrays: Sequence[Array], metadata: Mapping[str, str]) -> tuple[Unit, list[Array]]:
    """A file; wider types come first, so that every tensor starts where its type wants."""
    ordered = sorted(arrays, key=lambda array: (-array.block.width, array.name))
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for array in ordered:
        end = at + array.block.size
        header[array.name] = {"dtype": array.dtype, "shape": list(array.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    start = len(text).to_bytes(8, "little") + text
    placed, at = [], len(start)
    for array in ordered:
        placed.append(replace(array, data=(Extent(name, at, at + array.block.size),)))
        at += array.block.size
    return Unit(name, (Literal(start), *(part for array in ordered for part in array.data))), placed


def orbax_files(arrays: Sequence[Array], custom: Mapping[str, object]) -> Written:
    """A checkpoint of Orbax: a folder of zarr files for each parameter, and what says which there are.

    The parts of an array along its first axis are files of their own, as they are in memory: nothing is compressed.
    """
    units: list[Unit] = []
    placed: list[Array] = []
    for array in arrays:
        files, where = _zarr(array)
        units += files
        placed.append(where)
    tree = {str((*array.name.split("."), "value")): _tree_entry(array) for array in arrays}
    described = {
        "tree_metadata": tree,
        "use_ocdbt": False,
        "use_zarr3": False,
        "store_array_data_equal_to_fill_value": True,
        "custom_metadata": None,
    }
    device = json.dumps({"sharding_type": "SingleDeviceSharding", "device_str": "cpu:0"})
    sharding = {base64.b64encode(_folder(array).encode()).decode(): device for array in arrays}
    checkpoint = {
        "item_handlers": "orbax.checkpoint._src.handlers.standard_checkpoint_handler.StandardCheckpointHandler",
        "metrics": {},
        "performance_metrics": {},
        "init_timestamp_nsecs": 0,
        "commit_timestamp_nsecs": 0,
        "custom_metadata": dict(custom),
    }
    texts = {"_METADATA": described, "_sharding": sharding, "_CHECKPOINT_METADATA": checkpoint}
    units += [Unit(name, (Literal(_json(text)),)) for name, text in texts.items()]
    return Written(tuple(units), tuple(placed))


def _folder(array: Array) -> str:
    return f"{array.name}.value"


def _tree_entry(array: Array) -> dict[str, object]:
    keys = [{"key": step, "key_type": 2} for step in (*array.name.split("."), "value")]
    value = {"value_type": "jax.Array", "skip_deserialize": False, "write_shape": list(array.shape)}
    return {"key_metadata": keys, "value_metadata": value}


def _zarr(array: Array) -> tuple[list[Unit], Array]:
    shape, whole = array.shape, array.block.size
    rows = _rows(shape[0], whole) if shape and whole else 1
    chunks = [rows, *(max(1, n) for n in shape[1:])] if shape else []
    head = {
        "chunks": chunks,
        "compressor": None,
        "dimension_separator": ".",
        "dtype": ZARR_TYPES[array.dtype],
        "fill_value": None,
        "filters": None,
        "order": "C",
        "shape": list(shape),
        "zarr_format": 2,
    }
    folder, row = _folder(array), math.prod(shape[1:]) * array.block.width
    units = [Unit(f"{folder}/.zarray", (Literal(_json(head)),))]
    placed: list[Extent] = []
    for number, (start, stop) in enumerate(_runs(whole, rows * row)):
        path = f"{folder}/{'.'.join([str(number), *['0'] * (len(shape) - 1)]) if shape else '0'}"
        data = cut(array.data, start, stop)
        lacking = rows * row - size(data)
        units.append(Unit(path, (*data, Zeros(lacking)) if lacking else data))
        placed.append(Extent(path, 0, stop - start))
    return units, replace(array, data=tuple(placed))


def _rows(count: int, whole: int) -> int:
    """How many of `count` rows one file holds: a divisor if there is one near, for the last file is as long as the others."""
    most = math.ceil(count / math.ceil(whole / CHUNK))
    return next((rows for rows in range(most, most // 2, -1) if count % rows == 0), most)


def _runs(whole: int, each: int) -> Iterator[tuple[int, int]]:
    for start in range(0, whole, each or 1):
        yield start, min(start + each, whole)


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
