"""Distributions of the library, as it computes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tests.ops.harness import by_numpy, by_spelling
from tests.ops.test_experts import HEAD, record

ENTROPY = """
def f(logits):
    return torch.distributions.Categorical(logits=logits).entropy()
"""


def test_entropy_is_that_of_the_library() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 5, 7)) * 4
    logits[1, 2, 3] = -np.inf  # what cannot happen
    scope: dict[str, Any] = {"torch": torch}
    exec(HEAD + ENTROPY, scope)  # a program of this file
    expected = scope["f"](torch.from_numpy(logits)).numpy()
    recorded = record(HEAD + ENTROPY, [logits])
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(by_numpy(recorded, [logits])[0], expected, atol=1e-12)
    np.testing.assert_allclose(by_spelling(recorded, [logits], "torch")[0], expected, atol=1e-12)
    np.testing.assert_allclose(by_spelling(recorded, [logits], "flax")[0], expected, atol=1e-12)
