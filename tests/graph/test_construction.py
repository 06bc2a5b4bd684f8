"""Configurations and module trees are transformers' own: attributes, names, shapes, types, order, ties, buffers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codegen.graph.construction import build, resolve
from codegen.source.files import find_library
from tests.graph.comparison import differences
from tests.graph.truth import truth_of

DATA = Path(__file__).resolve().parent.parent / "data"
LIBRARY = find_library()


def _cases() -> dict[str, dict[str, Any]]:
    files = sorted([*DATA.joinpath("cases").glob("*.json"), *DATA.joinpath("other_cases").glob("*.json")])
    return {file.stem: json.loads(file.read_text()) for file in files}


CASES = _cases()
PUBLISHED: dict[str, dict[str, Any]] = json.loads(DATA.joinpath("published_configs.json").read_text())


@pytest.mark.parametrize("name", CASES)
def test_small_configuration(name: str) -> None:
    raw = {key: value for key, value in CASES[name].items() if key != "auto_map"}
    assert differences(build(LIBRARY, raw), truth_of(raw)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configuration(name: str) -> None:
    raw = PUBLISHED[name]
    assert differences(build(LIBRARY, raw), truth_of(raw)) == []


def test_the_raw_configuration_is_not_changed() -> None:
    raw = CASES["qwen3"]
    before = json.dumps(raw)
    build(LIBRARY, raw)
    assert json.dumps(raw) == before


def test_resolving_alone_gives_the_same_attributes() -> None:
    raw = CASES["gemma2"]
    assert resolve(LIBRARY, raw) == build(LIBRARY, raw).resolved


def test_equal_layers_have_equal_shapes_and_predicates_without_their_number() -> None:
    from codegen.graph.construction import state_entries
    from codegen.graph.values import expr_of

    built = build(LIBRARY, CASES["qwen3"])
    shapes: dict[str, set[Any]] = {}
    for entry in state_entries(built):
        parts = entry.name.split(".")
        if "layers" in parts:
            shapes.setdefault(".".join(parts[3:]), set()).add(tuple(expr_of(s) for s in entry.shape))
    assert shapes and all(len(found) == 1 for found in shapes.values())


def test_tying_is_a_relation_with_a_condition() -> None:
    from ir.expressions import Key

    for name, active in (("qwen3", False), ("gemma2", True)):
        (tie,) = build(LIBRARY, CASES[name]).ties
        assert (tie.target, tie.source) == ("lm_head.weight", "model.embed_tokens.weight")
        assert tie.condition == Key(("tie_word_embeddings",)) and tie.active is active
