"""A package accepts the configuration that it was compiled for, however that spells its lists."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codegen.pipeline import Package
from tests.tools.real_configs import compiled, config_class, refused

DATA = Path(__file__).parent.parent / "data"
# Lists that the configuration class makes itself, from other keys or from the number of layers.
MADE = ["cases/gpt_neo", "other_cases/zamba2"]


@pytest.mark.parametrize("name", MADE)
def test_a_package_accepts_its_own_configuration(name: str, tmp_path: Path) -> None:
    raw = json.loads((DATA / f"{name}.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(raw))
    package = compiled(tmp_path)
    assert isinstance(package, Package), package
    assert not refused(config_class(package), raw)
