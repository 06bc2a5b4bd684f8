"""Sources that take something else than zeros where there is no state yet: what is emitted does so before the first token, and
goes on from the state after it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.laws.test_hypothesis_configs import key, lab
from tests.parity.harness import Backend, Flax, Lab, Torch
from tests.parity.test_other_patterns import load_case
from tests.parity.test_repositories import check, code_of, raw_of

__all__ = ["lab"]

BEFORE = """        if state is None:
            state = torch.zeros(b, self.num_heads, self.head_dim, self.head_dim, dtype=x.dtype, device=x.device)
"""
STATEMENT = BEFORE.replace("device=x.device)", "device=x.device) + 0.5")
EXPRESSION = """        first = self.decay_proj(torch.zeros_like(x[:, :1]))[..., None].transpose(1, 2)
        state = state if state is not None else first.expand(b, self.num_heads, self.head_dim, self.head_dim)
"""
FRAMEWORKS = (Torch, pytest.param(Flax, marks=pytest.mark.slow))


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("first", [STATEMENT, pytest.param(EXPRESSION, marks=pytest.mark.slow)])
def test_a_repository(lab: Lab, first: str, framework: type[Torch | Flax]) -> None:
    code = dict(code_of("lynx"))
    assert BEFORE in code["modeling_lynx.py"]
    code["modeling_lynx.py"] = code["modeling_lynx.py"].replace(BEFORE, first)
    compare(lab, raw_of("lynx"), framework(), code=code)


@pytest.mark.slow
@pytest.mark.parametrize("framework", [Torch, Flax])
def test_a_bias_of_the_layer_that_the_library_gives_zeros(lab: Lab, framework: type[Torch | Flax]) -> None:
    compare(lab, {**load_case("zaya"), "attention_bias": True}, framework())


def compare(lab: Lab, raw: dict[str, Any], backend: Backend, **source: Any) -> None:
    name = key({**raw, **source})
    recorded = lab.original(name, raw, **source)
    package = lab.package(name, raw, raised=True, **source)
    check(recorded, package, backend)
