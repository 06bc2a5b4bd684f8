"""The header reader takes what the format allows and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.repo.headers import read_header, read_local
from tests.checkpoints import entries, safetensors

GOOD = entries({"a.weight": ("F32", (2, 3)), "b": ("BF16", ()), "c": ("F16", (0, 4))})


def codes(data: bytes) -> list[str]:
    header = read_header(lambda start, stop: data[start:stop], len(data), "model.safetensors")
    return [finding.code for finding in header.findings]


def message(data: bytes) -> str:
    header = read_header(lambda start, stop: data[start:stop], len(data), "model.safetensors")
    return header.findings[0].message


def test_reads_names_shapes_and_types(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors({"__metadata__": {"format": "pt"}, **GOOD}, 26))
    header = read_local(path, "model.safetensors")
    assert header.findings == ()
    assert {name: (t.dtype, t.shape) for name, t in header.tensors.items()} == {
        "a.weight": ("F32", (2, 3)),
        "b": ("BF16", ()),
        "c": ("F16", (0, 4)),
    }


def test_never_reads_the_data() -> None:
    data, seen = safetensors(GOOD), []

    def read(start: int, stop: int) -> bytes:
        seen.append(stop)
        return data[start:stop]

    read_header(read, len(data), "model.safetensors")
    assert max(seen) == len(data) - 26


def entry(**changed: object) -> dict[str, object]:
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changed}}


HOSTILE = {
    "empty file": (b"", "weights-truncated"),
    "ends in the length": (b"\1\0\0", "weights-truncated"),
    "ends in the header": (safetensors(GOOD)[:40], "weights-truncated"),
    "ends in the data": (safetensors(GOOD)[:-1], "weights-truncated"),
    "trailing bytes": (safetensors(GOOD) + b"x", "weights-header"),
    "length beyond the limit": ((1 << 40).to_bytes(8, "little"), "weights-truncated"),
    "pointer of git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "lfs-pointer"),
    "not json": (safetensors("{'a': 1}", 0), "weights-header"),
    "not text": (safetensors(b"\xff\xfe", 0), "weights-header"),
    "no object": (safetensors("[1]", 0), "weights-header"),
    "two documents": (safetensors("{} {}", 0), "weights-header"),
    "a name twice": (safetensors('{"a": {}, "a": {}}', 0), "weights-header"),
    "deep nesting": (safetensors('{"a":' * 100_000, 0), "weights-header"),
    "entry no object": (safetensors('{"a": 1}', 0), "weights-header"),
    "unknown type": (safetensors(entry(dtype="Q7")), "weights-header"),
    "type no string": (safetensors(entry(dtype=[])), "weights-header"),
    "negative size": (safetensors(entry(shape=[-2])), "weights-header"),
    "size a float": (safetensors(entry(shape=[2.0])), "weights-header"),
    "size a flag": (safetensors(entry(shape=[True])), "weights-header"),
    "overflow": (safetensors(entry(shape=[1 << 61, 1 << 61])), "weights-header"),
    "wrong range": (safetensors(entry(shape=[3])), "weights-header"),
    "range backwards": (safetensors(entry(data_offsets=[8, 0])), "weights-header"),
    "hole": (safetensors(entry(data_offsets=[4, 12])), "weights-header"),
    "overlap": (
        safetensors({**entry(), "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}),
        "weights-header",
    ),
    "traversal": (safetensors({"../../etc/x": entry()["a"]}), "weights-tensor-name"),
    "newline in a name": (safetensors({"a\nb": entry()["a"]}), "weights-tensor-name"),
    "bidirectional name": (safetensors({"a\u202eb": entry()["a"]}), "weights-tensor-name"),
    "empty name": (safetensors({"": entry()["a"]}), "weights-tensor-name"),
    "quotes in a name": (safetensors({'a"""b': entry()["a"]}), "weights-tensor-name"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_refused(name: str) -> None:
    data, code = HOSTILE[name]
    assert codes(data) == [code]
    assert message(data).replace("\n", "").isprintable()


def test_all_findings_are_reported() -> None:
    assert codes(safetensors({**entry(dtype="Q7"), "b\n": {}, "c": 3}, 8)) == [
        "weights-header",
        "weights-tensor-name",
        "weights-header",
    ]


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_raise_nothing(data: bytes) -> None:
    codes(data)
    codes(len(data).to_bytes(8, "little") + data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(("dtype", "shape", "data_offsets")), JSON), st.integers(0, 64))
def test_entries_of_any_kind_raise_nothing(changed: dict[str, object], size: int) -> None:
    codes(safetensors(json.dumps({"a": {**entry()["a"], **changed}}), size))  # type: ignore[dict-item]
