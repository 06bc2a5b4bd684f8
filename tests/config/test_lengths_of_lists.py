"""A configuration made by hand names every layer, as one that is read does."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from codegen.pipeline import compile_package
from codegen.repo import load

DATA = Path(__file__).parents[1] / "data" / "cases"


def test_a_list_has_an_item_for_every_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text((DATA / "gemma2.json").read_text())
    made = ModuleType("made_config")
    monkeypatch.setitem(sys.modules, "made_config", made)  # where dataclasses look for their annotations
    exec(compile_package(load(str(tmp_path))).files["config.py"], made.__dict__)
    kinds = ("sliding_attention", "full_attention")
    assert made.Config(num_hidden_layers=2, layer_types=kinds).num_hidden_layers == 2
    with pytest.raises(ValueError, match="layer_types has 2 items, num_hidden_layers is 3"):
        made.Config(num_hidden_layers=3, layer_types=kinds)
