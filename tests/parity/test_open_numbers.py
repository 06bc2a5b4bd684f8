"""A package compiled where a width is left open serves those that give it, the other way round too, and computes what the
original does."""

from __future__ import annotations

from itertools import product

import pytest

from tests.laws.test_hypothesis_configs import key, lab
from tests.parity.harness import Flax, Lab, Torch, measure, module, too_large
from tests.parity.test_other_patterns import load_case

__all__ = ["lab"]

CASES = {
    "gpt2": "n_inner",
    "gptj": "n_inner",
    "codegen": "n_inner",
    "gpt_bigcode": "n_inner",
    "gpt_neo": "intermediate_size",
}
GIVEN = 20  # no multiple of what stands for it


QUICK = ("gpt2", True)  # compiled where the width is null


@pytest.mark.parametrize("framework", [Torch, pytest.param(Flax, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("case", "null"),
    [pytest.param(*which, marks=() if which == QUICK else pytest.mark.slow) for which in product(CASES, (True, False))],
)
def test_the_other_way(lab: Lab, case: str, null: bool, framework: type[Torch | Flax]) -> None:
    ways = {width: {**load_case(case), CASES[case]: width} for width in (None, GIVEN)}
    compiled, asked = (ways[None], ways[GIVEN]) if null else (ways[GIVEN], ways[None])
    package = lab.package(key(compiled), compiled, raised=True)
    recorded = lab.original(key(asked), asked, gradients=False)
    assert not too_large(measure(framework(), package, recorded, ["gradient"]), recorded.tolerance)
    config = module(package, "config").Config
    assert config.from_hf(ways[GIVEN]).inner_dim == GIVEN != config.from_hf(ways[None]).inner_dim


@pytest.mark.slow
def test_a_width_that_is_asked_for_elsewhere_is_decided(lab: Lab) -> None:
    raw = {**load_case("nemotron_h"), "moe_latent_size": None}
    config = module(lab.package(key(raw), raw, raised=True), "config").Config
    with pytest.raises(ValueError, match="moe_latent_size"):
        config.from_hf({**raw, "moe_latent_size": 24})
