"""A package and a configuration whose layers are in another order: it computes what the original does, or refuses it by name."""

from __future__ import annotations

import json

import pytest

from tests.laws.test_hypothesis_configs import key, lab
from tests.parity.harness import Lab, Torch, measure, module, too_large
from tests.parity.original import CASES

__all__ = ["lab"]

Changes = dict[str, object]
NEAR, FAR, LINEAR = "sliding_attention", "full_attention", "linear_attention"
WINDOW: Changes = {"use_sliding_window": True, "sliding_window": 5}

# case, what is compiled, what is asked of it
SERVED: tuple[tuple[str, Changes, Changes], ...] = (
    ("deepseek_v3", {}, {"first_k_dense_replace": 0}),
    ("deepseek_v3", {}, {"first_k_dense_replace": 2, "num_hidden_layers": 4}),
    ("exaone4", {"layer_types": [NEAR, NEAR, FAR, FAR]}, {"layer_types": [FAR, NEAR, NEAR, FAR]}),
    ("bamba", {}, {"num_hidden_layers": 6}),
    ("qwen3_next", {"mlp_only_layers": None}, {"mlp_only_layers": []}),
    ("qwen2_moe", {"mlp_only_layers": []}, {"mlp_only_layers": None}),
    ("nemotron_h", {}, {"use_mamba_kernels": False}),
    ("kimi_linear", {"linear_attn_config": {}}, {"linear_attn_config": {}, "num_hidden_layers": 9}),
    (
        "smollm3",
        {**WINDOW, "layer_types": [NEAR, NEAR, FAR, FAR], "no_rope_layers": [1, 1, 0, 0]},
        {**WINDOW, "layer_types": [FAR, NEAR, FAR, NEAR], "no_rope_layers": [0, 1, 0, 1]},
    ),
)
# Layers of which no package was seen: a window is where rotary embedding is, experts are behind linear attention alone.
UNSEEN: tuple[tuple[str, Changes, Changes], ...] = (
    (
        "smollm3",
        {**WINDOW, "layer_types": [NEAR, NEAR, FAR, FAR], "no_rope_layers": [1, 1, 0, 0]},
        {**WINDOW, "layer_types": [NEAR, FAR, NEAR, FAR], "no_rope_layers": [1, 1, 0, 0]},
    ),
    (
        "qwen3_next",
        {"layer_types": [LINEAR, LINEAR, FAR, FAR], "mlp_only_layers": [1]},
        {"layer_types": [LINEAR, FAR, LINEAR, FAR], "mlp_only_layers": [1]},
    ),
)


def load_case(name: str) -> dict[str, object]:
    (path,) = CASES.parent.glob(f"*cases/{name}.json")
    found: dict[str, object] = json.loads(path.read_text())
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("name", "compiled", "asked"), SERVED)
def test_another_order_is_served(lab: Lab, name: str, compiled: Changes, asked: Changes) -> None:
    first, other = {**load_case(name), **compiled}, {**load_case(name), **asked}
    recorded = lab.original(key(other), other, gradients=False)
    package = lab.package(key(first), first, raised=True)
    assert not too_large(measure(Torch(), package, recorded, ["gradient"]), recorded.tolerance)


@pytest.mark.parametrize(("name", "compiled", "asked"), UNSEEN)
def test_layers_that_were_not_seen_are_refused(lab: Lab, name: str, compiled: Changes, asked: Changes) -> None:
    first = {**load_case(name), **compiled}
    config = module(lab.package(key(first), first, raised=True), "config").Config
    config.from_hf(first)
    with pytest.raises(ValueError, match="layers holds"):
        config.from_hf({**load_case(name), **asked})
