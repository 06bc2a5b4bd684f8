"""There and back: every file of the Hub again, byte for byte, whatever lies between."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.cli.small import TENSORS
from tests.cli.test_cli import run
from tests.weights.small import checkpoint, contents

LAYOUTS = {
    "orbax": ("orbax", "--unscanned"),
    "orbax, scanned": ("orbax", "--scanned"),
    "safetensors, PyTorch": ("safetensors",),
    "safetensors, Flax": ("safetensors", "--framework", "flax"),
    "safetensors, Flax, scanned": ("safetensors", "--scanned"),
    "hf": ("hf",),
}
BESIDE = {
    "model.layers.0.self_attn.rotary_emb.inv_freq": [8],
    "lm_head.weight": [131, 64],  # tied: it must be the same as the embedding
}


def converted(source: Path, out: Path, *how: str) -> Path:
    result = run("convert", source, "--to", *how, "--out", out)
    assert result.exit_code == 0, result.output
    assert "bytes" in result.stderr and f"wrote {out}" in result.stdout
    assert not out.with_name(f"{out.name}.partial").exists()
    assert not [name for name in contents(out) if name.endswith(".partial") or "journal" in name]
    return out


@pytest.mark.parametrize("layout", LAYOUTS)
def test_there_and_back(layout: str, example: Path, tmp_path: Path) -> None:
    source = checkpoint(example, tmp_path / "org__small")
    there = converted(source, tmp_path / "there", *LAYOUTS[layout])
    assert contents(converted(there, tmp_path / "back", "hf")) == contents(source)


@pytest.mark.parametrize("one", ["orbax", "orbax, scanned", "safetensors, Flax, scanned"])
@pytest.mark.parametrize("other", ["orbax", "orbax, scanned", "safetensors, PyTorch"])
def test_one_layout_to_another(one: str, other: str, example: Path, tmp_path: Path) -> None:
    """The same as if it had been converted from the Hub."""
    source = checkpoint(example, tmp_path / "org__small")
    by_way = converted(converted(source, tmp_path / "one", *LAYOUTS[one]), tmp_path / "by_way", *LAYOUTS[other])
    assert contents(by_way) == contents(converted(source, tmp_path / "straight", *LAYOUTS[other]))


def test_what_is_no_parameter_comes_back_too(example: Path, tmp_path: Path) -> None:
    types = {"model.layers.0.self_attn.rotary_emb.inv_freq": "F32", "model.norm.weight": "F32"}
    source = checkpoint(example, tmp_path / "org__small", tensors={**TENSORS, **BESIDE}, types=types)
    same_tie(source)
    there = converted(source, tmp_path / "there", "orbax", "--scanned")
    assert contents(converted(there, tmp_path / "back", "hf")) == contents(source)


def same_tie(folder: Path) -> None:
    """Give the output layer the numbers of the embedding."""
    places = {
        name: (path, at, stop) for path in folder.glob("*.safetensors") for name, (at, stop) in ranges(path).items()
    }
    path, start, stop = places["model.embed_tokens.weight"]
    embedding = path.read_bytes()[start:stop]
    path, start, stop = places["lm_head.weight"]
    data = path.read_bytes()
    path.write_bytes(data[:start] + embedding + data[stop:])


def ranges(path: Path) -> dict[str, tuple[int, int]]:
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header: dict[str, dict] = json.loads(data[8:start])
    return {
        name: (start + entry["data_offsets"][0], start + entry["data_offsets"][1])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def test_ties_that_differ(example: Path, tmp_path: Path) -> None:
    source = checkpoint(example, tmp_path / "org__small", tensors={**TENSORS, "lm_head.weight": [131, 64]})
    result = run("convert", source, "--to", "orbax", "--out", tmp_path / "out")
    assert result.exit_code == 1 and "tied-tensors-differ" in result.stderr
    assert not (tmp_path / "out").exists()


def tensors_of(folder: Path) -> Mapping[str, bytes]:
    return {
        name: path.read_bytes()[start:stop]
        for path in folder.glob("*.safetensors")
        for name, (start, stop) in ranges(path).items()
    }


def test_what_lies_where(example: Path, tmp_path: Path) -> None:
    """By the names of either framework, in files that the public library reads."""
    from safetensors.numpy import load_file

    types = dict.fromkeys(TENSORS, "F32")
    source = checkpoint(example, tmp_path / "org__small", types=types)
    stored = {name: np.frombuffer(data, np.float32).reshape(TENSORS[name]) for name, data in tensors_of(source).items()}
    torch = load_file(converted(source, tmp_path / "torch", "safetensors") / "model.safetensors")
    assert torch.keys() == stored.keys() and all(torch[name].tobytes() == stored[name].tobytes() for name in stored)
    flax = load_file(converted(source, tmp_path / "flax", "safetensors", "--scanned") / "model.safetensors")
    up = [stored[f"model.layers.{layer}.mlp.up_proj.weight"] for layer in range(2)]
    assert flax["model.layers.mlp.up_proj.kernel"].tobytes() == np.stack(up).tobytes()
    assert flax["model.norm.scale"].tobytes() == stored["model.norm.weight"].tobytes()


def test_layers_of_several_types_are_not_stacked(example: Path, tmp_path: Path) -> None:
    source = checkpoint(example, tmp_path / "org__small", types={"model.layers.1.input_layernorm.weight": "F32"})
    result = run("convert", source, "--to", "orbax", "--scanned", "--out", tmp_path / "out")
    assert result.exit_code == 1 and "mixed-types" in result.stderr and not (tmp_path / "out").exists()
    there = converted(source, tmp_path / "out", "orbax", "--unscanned")
    assert contents(converted(there, tmp_path / "back", "hf")) == contents(source)


@pytest.mark.parametrize("what", ["array", "fingerprint"])
def test_a_layout_that_was_changed(what: str, example: Path, tmp_path: Path) -> None:
    there = converted(checkpoint(example, tmp_path / "org__small"), tmp_path / "there", "safetensors")
    data = json.loads((there / "layout.json").read_text())
    if what == "array":
        arrays = data["arrays"]
        one, other = (f"model.layers.{layer}.mlp.up_proj.weight" for layer in range(2))
        arrays[one], arrays[other] = arrays[other], arrays[one]
    else:
        data["fingerprint"] = "0" * 64
    (there / "layout.json").write_text(json.dumps(data))
    result = run("convert", there, "--to", "hf", "--out", tmp_path / "back")
    assert result.exit_code == 1 and "layout-broken" in result.stderr


@pytest.mark.parametrize("how", [("orbax", "--scanned"), ("safetensors", "--framework", "flax"), ("hf",)])
def test_exchanging_two_tensors_is_seen(how: tuple[str, ...], example: Path, tmp_path: Path) -> None:
    """Tensors of the same shape end in places of their own: with two exchanged, just these differ."""
    source = checkpoint(example, tmp_path / "org__small", files=1)
    path, places = source / "model.safetensors", ranges(source / "model.safetensors")
    first = contents(converted(source, tmp_path / "first", *how))
    data = path.read_bytes()
    names = [f"model.layers.{layer}.self_attn.k_proj.weight" for layer in range(2)] + [
        f"model.layers.{layer}.self_attn.v_proj.weight" for layer in range(2)
    ]
    seen = []
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            (a, b), (c, d) = places[one], places[other]
            swapped = bytearray(data)
            swapped[a:b], swapped[c:d] = data[c:d], data[a:b]
            path.write_bytes(swapped)
            seen.append(contents(converted(source, tmp_path / f"{one}{other}", *how)))
    distinct = {tuple(sorted(one.items())) for one in [first, *seen]}
    assert len(distinct) == len(seen) + 1
