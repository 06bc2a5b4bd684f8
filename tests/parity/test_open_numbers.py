"""A package compiled where a width is left open serves those that give it, and computes what the original does."""

from __future__ import annotations

import pytest

from tests.laws.test_hypothesis_configs import key, lab
from tests.parity.harness import Flax, Lab, Torch, measure, module, too_large
from tests.parity.original import load_case

__all__ = ["lab"]

CASES = {
    "gpt2": "n_inner",
    "gptj": "n_inner",
    "codegen": "n_inner",
    "gpt_bigcode": "n_inner",
    "gpt_neo": "intermediate_size",
}
GIVEN = 20  # no multiple of what stands for it


@pytest.mark.parametrize("framework", [Torch, pytest.param(Flax, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "case", ["gpt2", *(pytest.param(case, marks=pytest.mark.slow) for case in CASES if case != "gpt2")]
)
def test_a_width_that_is_given(lab: Lab, case: str, framework: type[Torch | Flax]) -> None:
    null, given = ({**load_case(case), CASES[case]: width} for width in (None, GIVEN))
    package = lab.package(key(null), null, raised=True)
    recorded = lab.original(key(given), given, gradients=False)
    assert not too_large(measure(framework(), package, recorded, ["gradient"]), recorded.tolerance)
    config = module(package, "config").Config
    assert config.from_hf(given).inner_dim == GIVEN != config.from_hf(null).inner_dim
