"""Lists of parameters whose items differ in size: by a constant, by a list of the configuration, by the layer."""

from __future__ import annotations

import pytest

from tests.parity.harness import Backend, Flax, Lab, Torch, measure, too_large
from tests.tools.inventions import invent

DOWN = "        self.down_proj = nn.Linear(self.intermediate_size, self.hidden_size, bias=config.mlp_bias)\n"
PRODUCT = "down_proj = self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))"
STEP = "for mix in self.mixes:\n            x = x + (x @ mix) @ mix.transpose(0, 1)\n        "
SIZES = {
    "constant": "3 + i for i in range(3)",
    "configured": "n for n in config.mix_sizes",
    "layer": "3 + layer_idx + i for i in range(2)",
}


def repository(kind: str) -> tuple[dict[str, object], dict[str, str]]:
    made = invent("llama", 0, only=("scaled embeddings",))
    code, size, over = dict(made.code), *SIZES[kind].split(" for ")
    held = f"nn.ParameterList([nn.Parameter(torch.ones(self.hidden_size, {size})) for {over}])"
    text, configuration = code["modeling_osprey.py"], code["configuration_osprey.py"]
    assert DOWN in text and PRODUCT in text
    text = text.replace(DOWN, f"{DOWN}        self.mixes = {held}\n").replace(PRODUCT, STEP + PRODUCT)
    text = text.replace("OspreyMLP(config)", "OspreyMLP(config, layer_idx)")
    text = text.replace(
        "class OspreyMLP(nn.Module):\n    def __init__(self, config):",
        "class OspreyMLP(nn.Module):\n    def __init__(self, config, layer_idx):",
    )
    code["configuration_osprey.py"] = configuration.replace(
        "    vocab_size: ", "    mix_sizes: list = None\n    vocab_size: ", 1
    )
    return {**made.config, "mix_sizes": [4, 7, 9]}, code | {"modeling_osprey.py": text}


def compare(lab: Lab, kind: str, backend: Backend) -> None:
    raw, code = repository(kind)
    original = lab.original(f"mixes_{kind}", raw, code=code)
    package = lab.package(f"mixes_{kind}", raw, raised=True, code=code)
    assert not too_large(measure(backend, package, original), original.tolerance)


@pytest.mark.parametrize("kind", SIZES)
def test_torch(lab: Lab, kind: str) -> None:
    compare(lab, kind, Torch())


@pytest.mark.slow
@pytest.mark.parametrize("kind", SIZES)
def test_flax(lab: Lab, flax: Flax, kind: str) -> None:
    compare(lab, kind, flax)
