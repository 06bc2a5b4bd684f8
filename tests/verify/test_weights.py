"""`verify --weights`: what the headers prove, and what they do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.checkpoints import entries, safetensors
from tests.cli.small import TENSORS, small_source
from tests.cli.test_cli import run

SIZE = 4 * sum(n if len(shape) == 1 else n * shape[1] for shape in TENSORS.values() for n in shape[:1])


def checkpoint(example: Path, folder: Path, total: int | None, **changes: list[int] | None) -> Path:
    """Two files and an index that speaks of `total` bytes; `changes` to what they hold."""
    small_source(example, folder)
    held = {name: ("F32", tuple(shape)) for name, shape in {**TENSORS, **changes}.items() if shape is not None}
    names, places = sorted(held), {}
    for number, which in enumerate((names[::2], names[1::2])):
        file = f"model-{number}.safetensors"
        (folder / file).write_bytes(safetensors(entries({name: held[name] for name in which})))
        places |= dict.fromkeys(which, file)
    metadata = {} if total is None else {"metadata": {"total_size": total}}
    (folder / "model.safetensors.index.json").write_text(json.dumps({**metadata, "weight_map": places}))
    return folder


def states(out: str) -> dict[tuple[str, str], str]:
    return {(row["subject"], row["name"]): row["state"] for row in json.loads(out)["checks"]}


def test_a_sound_checkpoint(example: Path, tmp_path: Path) -> None:
    result = run("verify", checkpoint(example, tmp_path / "org__small", SIZE), "--weights", "--json")
    assert result.exit_code == 0
    assert set(states(result.stdout).values()) == {"passed"}
    assert f"{len(TENSORS)} tensors for {len(TENSORS)} parameters" in result.stdout
    assert f"{SIZE:,} in both" in result.stdout


@pytest.mark.parametrize("off", [-1, 1])
def test_a_sum_that_is_another(example: Path, tmp_path: Path, off: int) -> None:
    result = run("verify", checkpoint(example, tmp_path / "org__small", SIZE + off), "--weights", "--json")
    assert result.exit_code == 3
    assert states(result.stdout)["bytes", "sum of the index"] == "failed"


@pytest.mark.parametrize("total", [None, 0])
def test_an_index_that_says_no_sum(example: Path, tmp_path: Path, total: int | None) -> None:
    result = run("verify", checkpoint(example, tmp_path / "org__small", total), "--weights", "--json")
    assert result.exit_code == 0
    assert states(result.stdout)["bytes", "sum of the index"] == "not run"


def test_what_is_left_out_is_named(example: Path, tmp_path: Path) -> None:
    stored = {"model.layers.1.self_attn.rotary_emb.inv_freq": [8]}
    result = run("verify", checkpoint(example, tmp_path / "org__small", SIZE + 32, **stored), "--weights")
    assert result.exit_code == 0
    assert "1 tensor, 32 bytes: the model computes" in result.stdout
    assert "model.layers.1.self_attn.rotary_emb.inv_freq" in result.stderr


def test_two_shapes_exchanged(example: Path, tmp_path: Path) -> None:
    up, down = "model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.down_proj.weight"
    folder = checkpoint(example, tmp_path / "org__small", SIZE, **{up: TENSORS[down], down: TENSORS[up]})
    result = run("verify", folder, "--weights")
    assert result.exit_code == 1
    assert f"{up}: [64, 96], the model has [96, 64]" in result.stderr and f"{down}: [96, 64]" in result.stderr


def test_a_list_of_names_and_shapes(example: Path, tmp_path: Path) -> None:
    folder = small_source(example, tmp_path / "org__small", TENSORS)
    result = run("verify", folder / "tensors.json", "--weights", "--json")
    assert result.exit_code == 0 and states(result.stdout)["bytes", "sum of the index"] == "not run"


def test_nothing_to_check(example: Path, tmp_path: Path) -> None:
    result = run("verify", small_source(example, tmp_path / "org__small"), "--weights")
    assert result.exit_code == 1 and "weights-absent" in result.stderr
