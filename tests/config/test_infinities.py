"""JSON has no infinite numbers: the library writes an object for them, and a package reads it as the number."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.parity.harness import Lab, module
from tests.parity.test_other_patterns import lab, load_case

__all__ = ["lab"]

WRITTEN = {"__float__": "Infinity"}


@pytest.mark.slow
@pytest.mark.parametrize("written", [WRITTEN, math.inf])
def test_an_infinite_limit(lab: Lab, tmp_path: Path, written: object) -> None:
    raw = {**load_case("mamba2"), "time_step_limit": [0.0, math.inf]}
    config = module(lab.package("mamba2_of_no_limit", raw, raised=True), "config").Config
    other = {**raw, "time_step_limit": [0.0, written]}
    (tmp_path / "config.json").write_text(json.dumps(other))
    for source in (other, tmp_path):
        assert config.from_hf(source) == config.from_hf(raw)
    assert hash(config.from_hf(other)) == hash(config.from_hf(raw))
