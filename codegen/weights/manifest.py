"""layout.json: what a converted checkpoint holds, and what the files of the Hub were that it came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from codegen.diagnostics import CompileError, Diagnostic
from codegen.weights.data import Extent
from codegen.weights.parameters import Layout
from codegen.weights.stored import Array, Shard
from ir.records import dataclass

MANIFEST = "layout.json"
HUB = "hub"  # the folder for what the Hub has beside the weights


@dataclass(frozen=True, slots=True)
class Manifest:
    """A converted checkpoint. `arrays` are its parameters, `left_out` what the Hub's has beside them, `companions` the other
    files of the Hub; extents name files within the checkpoint. `name` and `revision` are those of the source.
    """

    name: str
    revision: str
    layout: Layout
    arrays: tuple[Array, ...]
    left_out: tuple[Array, ...]
    shards: tuple[Shard, ...]
    companions: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """Of what lies where, under which names: equal where one checkpoint can be read as the other."""
        return hashlib.sha256(_text(_facts(self)).encode()).hexdigest()


def to_bytes(manifest: Manifest) -> bytes:
    return _text({"fingerprint": manifest.fingerprint, **_facts(manifest)}).encode()


def read(folder: Path) -> Manifest | None:
    """That of a folder; None where it has none.

    Raises:
        CompileError: `layout-broken` where it is not as it was written.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        made = _from_data(data)
        if data["fingerprint"] != made.fingerprint:
            raise ValueError("its fingerprint is another")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise CompileError(Diagnostic("layout-broken", f"{path} is not as it was written: {error}")) from None
    return made


def _facts(manifest: Manifest) -> dict[str, object]:
    shards = [{"name": shard.name, "header": shard.start[8:].decode()} for shard in manifest.shards]
    return {
        "source": {"name": manifest.name, "revision": manifest.revision},
        "framework": "flax" if manifest.layout.flax else "torch",
        "scanned": manifest.layout.scanned,
        "arrays": _arrays(manifest.arrays),
        "left_out": _arrays(manifest.left_out),
        "hub": shards,
        "companions": list(manifest.companions),
    }


def _arrays(arrays: tuple[Array, ...]) -> dict[str, object]:
    return {
        array.name: [array.dtype, list(array.shape), [[part.file, part.start, part.stop] for part in extents_of(array)]]
        for array in arrays
    }


def extents_of(array: Array) -> list[Extent]:
    """Where an array lies."""
    return [part for part in array.data if isinstance(part, Extent)]


def _from_data(data: Mapping[str, object]) -> Manifest:
    source = data["source"]
    assert isinstance(source, dict)
    layout = Layout(data["framework"] == "flax", bool(data["scanned"]))
    shards = tuple(_shard(one) for one in data["hub"])  # type: ignore[attr-defined]
    arrays, left_out = (_to_arrays(data[key]) for key in ("arrays", "left_out"))
    companions = tuple(map(str, data["companions"]))  # type: ignore[call-overload]
    return Manifest(str(source["name"]), str(source["revision"]), layout, arrays, left_out, shards, companions)


def _to_arrays(data: object) -> tuple[Array, ...]:
    assert isinstance(data, dict)
    return tuple(
        Array(name, dtype, tuple(shape), tuple(Extent(*where) for where in extents))
        for name, (dtype, shape, extents) in data.items()
    )


def _shard(data: Mapping[str, object]) -> Shard:
    text = str(data["header"])
    header = text.encode()
    entries = {name: entry for name, entry in json.loads(text).items() if name != "__metadata__"}
    ordered = sorted(entries.items(), key=lambda item: item[1]["data_offsets"])
    tensors = tuple(
        (name, str(e["dtype"]), tuple(e["shape"]), e["data_offsets"][1] - e["data_offsets"][0]) for name, e in ordered
    )
    return Shard(str(data["name"]), len(header).to_bytes(8, "little") + header, tensors)


def _text(data: object) -> str:
    return json.dumps(data, ensure_ascii=False)
