"""Gradients where those of an original are not simply ours, and what they are instead.

One original divides some of its weights in place before it runs in evaluation: its gradients are those of the divided weights, ours
those of the published ones. Another takes the root of the absolute value of a sum that may come near zero, where the derivative
grows without bound: what rounding does to the sum is all that separates the raised form from it.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.parity.harness import Lab, Torch, module
from tests.parity.original import Recorded, gradient_error
from tests.tools.inventions import DATA

EXACT = 1e-9


def gradients(lab: Lab, name: str, raw: dict[str, object], *, raised: bool) -> tuple[dict[str, np.ndarray], Recorded]:
    """Ours, under the names of a checkpoint, and what the original recorded."""
    original, package, backend = lab.original(name, raw), lab.package(name, raw, raised=raised), Torch()
    model = backend.load(package, original.folder, original.facts.dtype)
    backend.differentiate(model, original.arrays["ids_2"])
    return module(package, "weights").to_hf(model), original


def raw_of(name: str) -> dict[str, object]:
    return json.loads(next(DATA.glob(f"*cases/{name}.json")).read_text())


def test_of_weights_that_are_divided_in_place(lab: Lab) -> None:
    raw = raw_of("rwkv") | {"num_hidden_layers": 4, "rescale_every": 2}
    ours, original = gradients(lab, "rwkv_divided", raw, raised=False)
    theirs = load_file(original.folder / "gradient" / "model.safetensors")
    divided = [name for name in theirs if name.endswith(("attention.output.weight", "feed_forward.value.weight"))]
    assert len(divided) == 2 * 4
    for name in divided:
        layer = int(name.split(".blocks.")[1].split(".")[0])
        ours[name] = np.asarray(ours[name]) * 2 ** (layer // 2)
    assert gradient_error(ours, original.folder / "gradient") < EXACT


@pytest.mark.slow
def test_of_roots_near_zero(lab: Lab) -> None:
    ours, original = gradients(lab, "roots", raw_of("qwen4_exp_text"), raised=False)
    assert gradient_error(ours, original.folder / "gradient") < EXACT
