"""A table of sines that the original makes again, longer, where there are more tokens than it has rows."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from tests.parity.harness import Backend, Flax, Lab, Torch, measure, too_large
from tests.tools.inventions import DATA


def configuration() -> Mapping[str, object]:
    raw = json.loads((DATA / "other_cases" / "trocr.json").read_text())
    return {**raw, "use_learned_position_embeddings": False}


def compare(lab: Lab, backend: Backend) -> None:
    raw = configuration()
    recorded = lab.original("sines", raw)
    assert not too_large(measure(backend, lab.package("sines", raw, raised=True), recorded), recorded.tolerance)


@pytest.mark.slow
def test_torch(lab: Lab) -> None:
    compare(lab, Torch())


@pytest.mark.slow
def test_flax(lab: Lab, flax: Flax) -> None:
    compare(lab, flax)
