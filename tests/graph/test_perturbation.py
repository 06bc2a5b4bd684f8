"""No change of a configuration goes unseen: a predicate refuses it, or the expressions predict what it does."""

from __future__ import annotations

import json

import pytest

from codegen.diagnostics import CompileError
from codegen.graph.construction import build, resolve
from tests.graph.perturbation import judge_definitions, survey, variants
from tests.graph.test_construction import CASES, LIBRARY, PUBLISHED

SOME = ("qwen3", "gpt2", "gemma3_text", "deepseek_v3", "bamba", "mixtral")


@pytest.mark.parametrize("name", SOME)
def test_sizes(name: str) -> None:
    counts, violations = survey(CASES[name], LIBRARY)
    assert violations == []
    assert counts["predicted"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name not in SOME])
def test_sizes_of_all(name: str) -> None:
    assert survey(CASES[name], LIBRARY)[1] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_of_published(name: str) -> None:
    assert survey(PUBLISHED[name], LIBRARY)[1] == []


@pytest.mark.parametrize("name", SOME)
def test_attributes_follow_from_raw_keys(name: str) -> None:
    base = build(LIBRARY, CASES[name])
    assert judge_definitions(base, CASES[name], base.resolved) == []
    for label, variant in variants(CASES[name]):
        try:
            resolved = resolve(LIBRARY, variant)
        except CompileError:
            continue
        assert judge_definitions(base, variant, resolved) == [], label


def test_a_build_does_not_depend_on_an_earlier_one() -> None:
    first = build(LIBRARY, CASES["llama"])
    build(LIBRARY, CASES["gemma2"])
    again = build(LIBRARY, json.loads(json.dumps(CASES["llama"])))
    assert first.predicates == again.predicates and first.definitions == again.definitions
