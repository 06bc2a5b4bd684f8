"""Sizes that must be divisible though nothing that is emitted reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codegen.pipeline import compile_package
from codegen.repo import load

CASE = Path(__file__).resolve().parent.parent / "data" / "recurrent" / "recurrent_gemma.json"


@pytest.mark.parametrize("head_dim", [None, 10])
def test_a_size_that_only_layers_that_are_not_there_would_read_is_asked_about(
    head_dim: int | None, tmp_path: Path
) -> None:
    """Frequencies are made for half a head, with attention among the layers or without."""
    raw = json.loads(CASE.read_text()) | {"num_hidden_layers": 2}
    raw = raw if head_dim is None else raw | {"head_dim": head_dim}
    (tmp_path / "config.json").write_text(json.dumps(raw))
    config = compile_package(load(str(tmp_path))).files["config.py"]
    assert "if head_dim % 2:" in config
