"""Tables that grow with the input are made over its tokens, where their rows do not follow from how long they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from codegen import pipeline
from codegen.diagnostics import CompileError
from codegen.graph.forward import Traced
from codegen.repo import load

SOURCE = Path(__file__).resolve().parent.parent / "data" / "repositories" / "cairn"
PLACES = "    places = torch.arange(max_pos)"


def traced(folder: Path, places: str) -> Traced:
    made = folder / "repository"
    shutil.copytree(SOURCE, made)
    (modeling,) = made.glob("modeling_*.py")
    text = modeling.read_text()
    assert text.count(PLACES) == 1
    modeling.write_text(text.replace(PLACES, places))
    repository = load(str(made), weights=False)
    return pipeline.trace(repository, pipeline.build(repository)).traced


def test_a_table_of_which_the_rows_of_the_tokens_are_taken(tmp_path: Path) -> None:
    assert traced(tmp_path, PLACES).limits == ()


def test_a_table_that_is_another_one_when_it_is_longer(tmp_path: Path) -> None:
    with pytest.raises(CompileError):
        traced(tmp_path, f"{PLACES} / max_pos")
