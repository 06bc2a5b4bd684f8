"""What modules keep of their numbers: where they stand in a list is one thing, the turn of the loop that made them another."""

from __future__ import annotations

from typing import Any

import pytest

from tests.laws.test_hypothesis_configs import key, lab
from tests.parity.harness import Flax, Lab, Torch
from tests.parity.test_layer_order import LIST, MADE, RUN
from tests.parity.test_repositories import check, code_of, raw_of

__all__ = ["lab"]

LAYERS = 4
EACH = """        for layer in self.layers:
            hidden_states = layer(hidden_states, mask, past_key_values)
"""
KEPT = "        self.layer_idx = layer_idx\n        self.self_attn"
SUM = "return hidden_states + self.self_attn(self.norm(hidden_states), attention_mask, past_key_values)\n"
SCALED = {
    KEPT: KEPT.replace("layer_idx\n", "layer_idx\n        self.scale = 1.0 / (layer_idx + 1)\n"),
    SUM: SUM.replace("+ self.self_attn", "+ self.scale * self.self_attn"),
}
GATE = """class SmewGate(nn.Module):
    def __init__(self, config, number):
        super().__init__()
        self.number = number
        self.proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x):
        return torch.tanh(self.proj(x)) * (1 + 0.2 * self.number)


class SmewLayer("""
LINEARS = "nn.ModuleList([nn.Linear(config.hidden_size, config.hidden_size) for _ in range(3)])"


def gates(made: str, run: str) -> dict[str, str]:
    """Layers that hold a list of modules, and go through it in a loop of their own."""
    return {
        "class SmewLayer(": GATE,
        KEPT: KEPT.replace("layer_idx\n", f"layer_idx\n        self.gates = {made}\n"),
        SUM: SUM.replace("return hidden_states +", "hidden_states = hidden_states +") + run,
    }


def model(made: str = LIST, run: str = EACH) -> dict[str, str]:
    return {MADE: made, RUN: run}


def loop(each: str, head: str = "for gate in self.gates:") -> str:
    return f"        {head}\n            hidden_states = hidden_states + {each}\n        return hidden_states\n"


TWO_LOOPS = """        self.layers = nn.ModuleList()
        for stage in range(2):
            for i in range(config.num_hidden_layers // 2):
                self.layers.append(SmewLayer(config, stage * (config.num_hidden_layers // 2) + i))
"""
ODD = "[SmewLayer(config, i // 2) for i in range(2 * config.num_hidden_layers) if i % 2 == 1]"
STAGES = """        half = config.num_hidden_layers // 2
        self.stages = nn.ModuleDict({
            "0": nn.ModuleList([SmewLayer(config, i) for i in range(half - 1)]),
            "1": nn.ModuleList([SmewLayer(config, half - 1 + i) for i in range(half + 1)]),
        })
"""
CASES: dict[str, dict[str, str]] = {
    "a loop in a layer reads the number of the layer": {
        **gates(LINEARS, loop("torch.tanh(gate(hidden_states)) * (0.5 + 0.2 * self.layer_idx)")),
        **model(),
    },
    "a loop in a layer reads both numbers": {
        **gates(
            LINEARS,
            loop(
                "torch.tanh(gate(hidden_states)) * (0.1 * j + 0.2 * self.layer_idx)",
                "for j, gate in enumerate(self.gates):",
            ),
        ),
        **model(),
    },
    "parts that know the number of the layer": {
        **gates("nn.ModuleList([SmewGate(config, layer_idx) for _ in range(3)])", loop("gate(hidden_states)")),
        **model(),
    },
    "parts that know their own number": {
        **gates("nn.ModuleList([SmewGate(config, j) for j in range(3)])", loop("gate(hidden_states)")),
        **model(),
    },
    "parts that know both numbers": {
        **gates(
            "nn.ModuleList([SmewGate(config, j + 0.5 * layer_idx) for j in range(3)])", loop("gate(hidden_states)")
        ),
        **model(),
    },
    "parts as wide as the number of the layer says": {
        **gates(
            "nn.ModuleList([nn.Linear(config.hidden_size, config.hidden_size * (layer_idx + 1)) for _ in range(3)])",
            loop("torch.tanh(gate(hidden_states))[..., : hidden_states.shape[-1]]"),
        ),
        **model(),
    },
    "a layer by itself with a loop of its own": {
        **gates(
            LINEARS,
            loop(
                "torch.tanh(gate(hidden_states)) * (0.1 * j + 0.2 * self.layer_idx)",
                "for j, gate in enumerate(self.gates):",
            ),
        ),
        **model(
            run="        hidden_states = self.layers[0](hidden_states, mask, past_key_values)\n"
            + EACH.replace("self.layers:", "self.layers[1:]:")
        ),
    },
    "a loop in a loop": model(
        f"{LIST}        self.gates = {LINEARS}\n",
        """        for i, layer in enumerate(self.layers):
            for j, gate in enumerate(self.gates):
                hidden_states = hidden_states + torch.tanh(gate(hidden_states)) * (0.1 * i + 0.2 * j)
            hidden_states = layer(hidden_states, mask, past_key_values)
""",
    ),
    "made in the other order": {**SCALED, **model(LIST.replace("])\n", "][::-1])\n"))},
    "made by two loops": {**SCALED, **model(TWO_LOOPS)},
    "made by every second turn": {**SCALED, **model(f"        self.layers = nn.ModuleList({ODD})\n")},
    "made by a loop and one before": {
        **SCALED,
        **model(
            LIST.replace("for i in range(", "for i in range(1, ")
            + "        self.layers.insert(0, SmewLayer(config, 0))\n"
        ),
    },
    "lists in a dict by numbers": {
        **SCALED,
        **model(
            STAGES,
            """        for key in self.stages:
            for layer in self.stages[key]:
                hidden_states = layer(hidden_states, mask, past_key_values)
""",
        ),
    },
}
QUICK = ("a loop in a layer reads both numbers", "made in the other order")
PARTS = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES]


def source(name: str) -> tuple[dict[str, Any], dict[str, str]]:
    code = dict(code_of("smew"))
    for old, new in CASES[name].items():
        assert code["modeling_smew.py"].count(old) == 1
        code["modeling_smew.py"] = code["modeling_smew.py"].replace(old, new)
    return {**raw_of("smew"), "num_hidden_layers": LAYERS}, code


@pytest.mark.parametrize("name", PARTS)
def test_torch(lab: Lab, name: str) -> None:
    compare(lab, name, Torch())


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_flax(lab: Lab, name: str) -> None:
    compare(lab, name, Flax())


def compare(lab: Lab, name: str, backend: Torch | Flax) -> None:
    raw, code = source(name)
    called = key({**raw, "code": code})
    check(lab.original(called, raw, code=code), lab.package(called, raw, raised=True, code=code), backend)
