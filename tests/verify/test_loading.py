"""Checkpoints that do not fit an emitted package: one ValueError that names every tensor."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.cli.small import TENSORS, small_source
from tests.cli.test_cli import run


@pytest.fixture(scope="module")
def folder(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_source(example, tmp_path_factory.mktemp("source") / "org__small")


@pytest.fixture(scope="module")
def torch_model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    pytest.importorskip("torch")
    out = tmp_path_factory.mktemp("out") / "loading"
    assert run("from-hf", folder, "--out", out).exit_code == 0
    sys.path.insert(0, str(out.parent))
    yield importlib.import_module("loading.torch_model")
    sys.path.remove(str(out.parent))


def refused(model: ModuleType, folder: Path, **changes: list[int] | None) -> str:
    """What loading says of a checkpoint that is right but for `changes`."""
    from safetensors.numpy import save_file

    shapes = {name: shape for name, shape in {**TENSORS, **changes}.items() if shape is not None}
    save_file({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, folder / "model.safetensors")
    with pytest.raises(ValueError) as caught:
        model.Model.from_pretrained(folder)
    return str(caught.value)


def test_every_tensor_that_does_not_fit_is_named(torch_model: ModuleType, folder: Path) -> None:
    message = refused(
        torch_model,
        folder,
        **{
            "model.norm.weight": None,
            "model.layers.1.mlp.up_proj.weight": [64, 96],
            "score.weight": [1],
            "model.layers.0.self_attn.q_proj.scales": [1],
        },
    )
    assert message.startswith("4 tensors")
    assert "model.norm.weight is missing" in message
    assert "model.layers.1.mlp.up_proj.weight is [64, 96], not [96, 64]" in message
    assert "score.weight has no place" in message and "q_proj.scales has no place" in message


def test_what_the_configuration_gives_is_not_missed_when_stored(torch_model: ModuleType, folder: Path) -> None:
    from safetensors.numpy import save_file

    tensors = {name: np.zeros(shape, np.float32) for name, shape in TENSORS.items()}
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.zeros(8, np.float32)
    save_file(tensors, folder / "model.safetensors")
    torch_model.Model.from_pretrained(folder)


def test_a_truncated_file(torch_model: ModuleType, folder: Path) -> None:
    from safetensors.numpy import save_file

    save_file({name: np.zeros(shape, np.float32) for name, shape in TENSORS.items()}, folder / "model.safetensors")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-9])
    with pytest.raises(ValueError, match="cannot be read"):
        torch_model.Model.from_pretrained(folder)


def test_no_file(torch_model: ModuleType, folder: Path) -> None:
    (folder / "model.safetensors").unlink(missing_ok=True)
    with pytest.raises(ValueError, match="does not exist"):
        torch_model.Model.from_pretrained(folder)
