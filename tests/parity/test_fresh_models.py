"""Models made from a configuration alone: what starts at one number in the original starts there in both frameworks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.parity.harness import Flax, Lab, module

CASES = Path(__file__).parents[1] / "data"
QUICK = {"gpt2": "cases", "gemma2": "cases", "gpt_oss": "other_cases"}
SLOW = {"diffllama": "cases", "qwen3_next": "other_cases", "bamba": "other_cases"}
NAMES = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


def raw_of(name: str) -> dict[str, object]:
    folder = {**QUICK, **SLOW}[name]
    raw: dict[str, object] = json.loads((CASES / folder / f"{name}.json").read_text())
    return raw


def starts(raw: dict[str, object]) -> dict[str, float]:
    """The vectors of the original's own modules that are one number everywhere at first, and that number."""
    from transformers import AutoConfig, AutoModelForCausalLM

    kind = dict(raw)
    original = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind.pop("model_type"), **kind))
    found = {}
    for path, owner in original.named_modules():
        if not isinstance(owner, (nn.Linear, nn.Conv1d)):
            for name, tensor in owner.named_parameters(path, recurse=False):
                if tensor.ndim == 1 and bool((tensor == tensor[0]).all()):
                    found[name] = float(tensor[0].detach())
    return found


def fresh(package: Path, raw: dict[str, object], framework: str) -> object:
    cfg = module(package, "config").Config.from_hf(raw)
    if framework == "torch":
        torch.manual_seed(0)
        return module(package, "torch_model").Model(cfg).eval()
    flax = Flax()
    return module(package, "flax_model").Model(cfg, dtype=flax.jax.numpy.float32, rngs=flax.nnx.Rngs(0))


@pytest.mark.parametrize("framework", ["torch", "flax"])
@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_model_is_one_to_train(lab: Lab, name: str, framework: str) -> None:
    raw = raw_of(name)
    package = lab.package(name, raw, raised=True)
    model, ids = fresh(package, raw, framework), np.arange(14).reshape(2, 7)
    logits = np.asarray(
        model(torch.from_numpy(ids)).detach() if framework == "torch" else model(ids)  # type: ignore[operator]
    )
    assert np.isfinite(logits).all() and 0 < logits.std() < 2  # no token is much likelier than others
    held, expected = module(package, "weights").to_hf(model), starts(raw)
    assert expected.keys() & held.keys()
    wrong = {path: held[path] for path, value in expected.items() if path in held and (held[path] != value).any()}
    assert not wrong
    assert all(value.std() > 0 for path, value in held.items() if value.ndim > 1 and "bias" not in path)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_drawn_that_loading_replaces(lab: Lab, name: str) -> None:
    """On the meta device no parameter takes room: a checkpoint fills it."""
    raw = raw_of(name)
    package = lab.package(name, raw, raised=True)
    with torch.device("meta"):
        model = module(package, "torch_model").Model(module(package, "config").Config.from_hf(raw))
    assert [path for path, parameter in model.named_parameters() if not parameter.is_meta] == []
