"""Types of parameters and tables: what the original keeps in float32 stays so, however a model gets its type."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parity.half import original_in_half
from tests.parity.harness import Flax, Lab, Torch, module

CASES = Path(__file__).parents[1] / "data"
QUICK = {"qwen3": "cases", "deepseek_v3": "other_cases"}
SLOW = {"gemma3n_text": "cases", "flint": "other_cases", "nemotron_h": "other_cases", "gemma4_text": "cases"}
NAMES = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


def made(lab: Lab, name: str) -> tuple[Path, Path]:
    raw = json.loads((CASES / {**QUICK, **SLOW}[name] / f"{name}.json").read_text())
    return lab.package(name, raw, raised=True), lab.original(name, raw).folder


@pytest.mark.parametrize("name", NAMES)
def test_parameters_have_the_types_of_the_original(lab: Lab, name: str) -> None:
    package, folder = made(lab, name)
    raw = json.loads((folder / "config.json").read_text())
    original = original_in_half(lab.original(name, raw)).state_dict()
    ours = Torch().load(package, folder, "bfloat16")
    held = {path: tensor.dtype for path, tensor in ours.state_dict().items()}
    assert held == {path: tensor.dtype for path, tensor in original.items() if path in held}
    flax = Flax().load(package, folder, "bfloat16")
    to_hf = module(package, "weights").to_hf
    assert {k: str(v.dtype) for k, v in to_hf(flax).items()} == {k: str(v.dtype) for k, v in to_hf(ours).items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_model_may_get_its_type_after_it_is_loaded(lab: Lab, name: str) -> None:
    package, folder = made(lab, name)
    ids = np.arange(2 * 13).reshape(2, 13)
    loaded = Torch().load(package, folder, "bfloat16")
    cast = Torch().load(package, folder, "float32").to(torch.bfloat16)
    assert {k: v.dtype for k, v in cast.named_parameters()} == {k: v.dtype for k, v in loaded.named_parameters()}
    assert {k: v.dtype for k, v in cast.named_buffers()} == {k: v.dtype for k, v in loaded.named_buffers()}
    with torch.no_grad():
        expected, got = loaded(torch.from_numpy(ids)), cast(torch.from_numpy(ids))
    assert torch.equal(got, expected)


@pytest.mark.parametrize("name", QUICK)
def test_a_model_without_memory_gets_its_tables_back(lab: Lab, name: str) -> None:
    package, folder = made(lab, name)
    cfg = module(package, "config").Config.from_hf(folder)
    with torch.device("meta"):
        model = module(package, "torch_model").Model(cfg)
    tables = {path: table.clone() for path, table in model.named_buffers() if not table.is_meta}
    model.to_empty(device="cpu")
    assert tables
    held = dict(model.named_buffers())
    assert all(torch.equal(held[path], table) for path, table in tables.items())
    assert not any(parameter.is_meta for parameter in model.parameters())
