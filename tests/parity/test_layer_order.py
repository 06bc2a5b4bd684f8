"""Layers that a source runs in another way than one after the other, all in one loop: what is emitted runs them so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.laws.test_hypothesis_configs import key, lab
from tests.parity.harness import Flax, Lab, Torch, module
from tests.parity.test_repositories import check, code_of, raw_of

__all__ = ["lab"]

MADE = """        self.first = SmewLayer(config, 0)
        self.second = SmewLayer(config, 1)
"""
RUN = """        for part in (self.first, self.second):
            hidden_states = part(hidden_states, mask, past_key_values)
"""
LIST = "        self.layers = nn.ModuleList([SmewLayer(config, i) for i in range(config.num_hidden_layers)])\n"
NORMS = "        self.norms = nn.ModuleList([SmewRMSNorm(config.hidden_size) for _ in range(config.num_hidden_layers // 2)])\n"
EACH = NORMS.replace(" // 2", "")
ENDS = NORMS.replace(" // 2", " + 1")
GATES = """        gates = [nn.Parameter(torch.ones(config.hidden_size)) for _ in range(config.num_hidden_layers)]
        self.gates = nn.ParameterList(gates)
"""
MIX = "        self.mix = nn.Parameter(torch.ones(config.num_hidden_layers, config.num_hidden_layers + 1))\n"
SIDE = LIST.replace("config.num_hidden_layers", "config.num_hidden_layers // 2")
SIDE += SIDE.replace("self.layers", "self.side").replace("config, i", "config, i + config.num_hidden_layers // 2")
PARTED = (
    LIST.replace("self.layers = ", "parts = ")
    + """        self.parts = nn.ModuleDict({"layers": parts, "drop": nn.Dropout(0.5)})
"""
)
NAMED = """        for i in range(config.num_hidden_layers):
            self.add_module(f"layer_{i}", SmewLayer(config, i))
"""
NUMBERED = LIST.replace("ModuleList([", "ModuleDict({").replace("SmewLayer", "str(i): SmewLayer").replace("])", "})")
BLOCKS = """        self.blocks = nn.ModuleList([
            nn.ModuleList([SmewLayer(config, 2 * b + j) for j in range(2)]) for b in range(config.num_hidden_layers // 2)
        ])
"""
SCATTERED = BLOCKS.replace("2 * b + j", "j * (config.num_hidden_layers // 2) + b")
STAGES = """        self.stages = nn.ModuleList([
            nn.ModuleList([SmewLayer(config, s * (s + 1) // 2 + j) for j in range(s + 1)]) for s in range(3)
        ])
"""
BLOCK = """        self.blocks = nn.ModuleList([SmewBlock(config, b) for b in range(config.num_hidden_layers // 2)])
"""
BLOCK_CLASS = """class SmewBlock(nn.Module):
    def __init__(self, config, number):
        super().__init__()
        self.number = number
        self.layers = nn.ModuleList([SmewLayer(config, 2 * number + j) for j in range(2)])
        self.norm = SmewRMSNorm(config.hidden_size)

    def forward(self, hidden_states, mask, past_key_values=None):
        for layer in self.layers:
            hidden_states = layer(hidden_states, mask, past_key_values)
        return self.norm(hidden_states) * (1 + 0.25 * self.number)


class SmewPreTrainedModel"""
SEQUENCE = LIST.replace("ModuleList([", "Sequential(*[")

CASES = {
    "the first apart": (
        LIST,
        """        hidden_states = self.layers[0](hidden_states, mask, past_key_values)
        for layer in self.layers[1:]:
            hidden_states = layer(hidden_states, mask, past_key_values)
""",
    ),
    "the last apart": (
        LIST,
        """        for layer in self.layers[:-1]:
            hidden_states = layer(hidden_states, mask, past_key_values)
        hidden_states = 2 * self.layers[-1](hidden_states, mask, past_key_values)
""",
    ),
    "the last first": (
        LIST,
        """        for layer in reversed(self.layers):
            hidden_states = layer(hidden_states, mask, past_key_values)
""",
    ),
    "what the first half gives is added in the second": (
        LIST,
        """        half, skips = self.config.num_hidden_layers // 2, []
        for layer in self.layers[:half]:
            hidden_states = layer(hidden_states, mask, past_key_values)
            skips.append(hidden_states)
        for layer in self.layers[half:]:
            hidden_states = layer(hidden_states + skips.pop(), mask, past_key_values)
""",
    ),
    "a norm for two layers": (
        LIST + NORMS,
        """        for i, layer in enumerate(self.layers):
            hidden_states = self.norms[i // 2](layer(hidden_states, mask, past_key_values))
""",
    ),
    "a norm for each layer": (
        LIST + EACH,
        """        for norm, layer in zip(self.norms, self.layers):
            hidden_states = layer(norm(hidden_states), mask, past_key_values)
""",
    ),
    "a norm for each layer, and one for the end": (
        LIST + ENDS,
        """        for i in range(self.config.num_hidden_layers):
            hidden_states = self.norms[i](self.layers[i](hidden_states, mask, past_key_values))
        hidden_states = self.norms[-1](hidden_states)
""",
    ),
    "a gate for each layer": (
        LIST + GATES,
        """        for layer, gate in zip(self.layers, self.gates):
            hidden_states = gate * layer(hidden_states, mask, past_key_values)
""",
    ),
    "a sum of all before": (
        LIST + MIX,
        """        outs = [hidden_states]
        for i, layer in enumerate(self.layers):
            hidden_states = layer(hidden_states, mask, past_key_values)
            outs.append(hidden_states)
            hidden_states = sum(self.mix[i, j] * out for j, out in enumerate(outs))
""",
    ),
    "the one before the last as well": (
        LIST,
        """        before = hidden_states
        for layer in self.layers:
            before, hidden_states = hidden_states, layer(hidden_states, mask, past_key_values) + before
""",
    ),
    "two at a time": (
        LIST,
        """        for a, b in zip(self.layers[::2], self.layers[1::2]):
            hidden_states = a(hidden_states, mask, past_key_values) + b(hidden_states, mask, past_key_values)
""",
    ),
    "two lists beside each other": (
        SIDE,
        """        other = hidden_states
        for a, b in zip(self.layers, self.side):
            hidden_states, other = a(hidden_states, mask, past_key_values) + other, b(other, mask, past_key_values)
        hidden_states = hidden_states + other
""",
    ),
    "counted from the second": (
        LIST,
        """        hidden_states = self.layers[0](hidden_states, mask, past_key_values)
        for i in range(1, self.config.num_hidden_layers):
            hidden_states = self.layers[i](hidden_states, mask, past_key_values) * (i + 0.5)
""",
    ),
    "counted within a half": (
        LIST,
        """        half = self.config.num_hidden_layers // 2
        for i, layer in enumerate(self.layers[:half]):
            hidden_states = layer(hidden_states, mask, past_key_values) * (i + 1.5)
        for i, layer in enumerate(self.layers[half:]):
            hidden_states = layer(hidden_states, mask, past_key_values) * (i + 1.5)
""",
    ),
    "layers with names": (
        NAMED,
        """        for i in range(self.config.num_hidden_layers):
            hidden_states = getattr(self, f"layer_{i}")(hidden_states, mask, past_key_values)
""",
    ),
    "layers in a dict": (
        NUMBERED,
        """        for key in self.layers:
            hidden_states = self.layers[key](hidden_states, mask, past_key_values)
""",
    ),
    "layers in a sequence": (
        SEQUENCE,
        """        for layer in self.layers:
            hidden_states = layer(hidden_states, mask, past_key_values)
""",
    ),
    "layers in a dict of parts": (
        PARTED,
        """        for layer in self.parts.layers:
            hidden_states = self.parts["drop"](layer(hidden_states, mask, past_key_values))
""",
    ),
    "blocks of layers": (
        BLOCK,
        """        for block in self.blocks:
            hidden_states = block(hidden_states, mask, past_key_values)
""",
    ),
    "lists of layers, counted in both": (
        BLOCKS + NORMS,
        """        for b, (block, norm) in enumerate(zip(self.blocks, self.norms)):
            for j, layer in enumerate(block):
                hidden_states = layer(hidden_states * (1 + 0.1 * b + 0.01 * j), mask, past_key_values)
            hidden_states = norm(hidden_states)
""",
    ),
    "the first of each list, then the second": (
        SCATTERED,
        """        for j in range(2):
            for block in self.blocks:
                hidden_states = block[j](hidden_states, mask, past_key_values)
""",
    ),
    "lists of one, two and three layers": (
        STAGES,
        """        for stage in self.stages:
            for layer in stage:
                hidden_states = layer(hidden_states, mask, past_key_values)
""",
    ),
}
QUICK = ("the first apart", "what the first half gives is added in the second")
PARTS = [
    name
    if name in (*QUICK, "layers in a dict of parts", "a norm for each layer")
    else pytest.param(name, marks=pytest.mark.slow)
    for name in CASES
]


def source(name: str, layers: int = 4) -> tuple[dict[str, Any], dict[str, str]]:
    made, run = CASES[name]
    code = dict(code_of("smew"))
    text = code["modeling_smew.py"]
    assert MADE in text and RUN in text
    code["modeling_smew.py"] = (
        text.replace(MADE, made).replace(RUN, run).replace("class SmewPreTrainedModel", BLOCK_CLASS)
    )
    return {**raw_of("smew"), "num_hidden_layers": layers}, code


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


@pytest.mark.parametrize("name", QUICK)
def test_layers_that_are_written_out_are_as_many_as_these(lab: Lab, name: str) -> None:
    raw, code = source(name)
    package = lab.package(key({**raw, "code": code}), raw, raised=True, code=code)
    config = module(package, "config").Config
    assert config.from_hf(json.loads(json.dumps(raw))).num_hidden_layers == 4
    with pytest.raises(ValueError, match="num_hidden_layers"):
        config.from_hf({**raw, "num_hidden_layers": 6})


@pytest.mark.parametrize("name", ["layers in a sequence", "a norm for each layer"])
def test_layers_that_a_loop_runs_may_be_more(lab: Lab, name: str) -> None:
    raw, code = source(name)
    package = lab.package(key({**raw, "code": code}), raw, raised=True, code=code)
    assert module(package, "config").Config.from_hf({**raw, "num_hidden_layers": 6}).num_hidden_layers == 6
