"""What is known of a configuration without a run is what a run makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codegen.graph.exploration import ConfigurationClass, Outcome
from codegen.graph.exploration.memory import Memory
from codegen.graph.exploration.questions import about_the_list
from codegen.graph.exploration.variants import ABSENT, changed
from ir.expressions import Apply, Const, Expr, Raw
from tests.config.law import case, library

CASES = ("llama", "gpt2", "mpt", "gemma3_text", "falcon", "phi3")
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 9), st.sampled_from([0.5, 1.0, 10000.0, "x", "default", "yarn"])
)
OBJECTS = st.dictionaries(
    st.sampled_from(["rope_type", "type", "rope_theta", "factor", "full_attention"]), SCALARS, max_size=3
)
VALUES = st.one_of(SCALARS, SCALARS, SCALARS, OBJECTS, st.lists(SCALARS, max_size=2), st.just(ABSENT))


@cache
def known(name: str) -> tuple[ConfigurationClass, dict[str, Any], Memory]:
    """A class, the configuration with its defaults, and a memory that all examples share."""
    raw = case(name)
    cls = ConfigurationClass(library(), raw)
    filled = {**cls.declared, **raw}
    return cls, filled, Memory(cls, filled)


def said(outcome: Outcome) -> tuple[object, ...]:
    asked = [(p.kind, p.expr, repr(p.value)) for p in outcome.predicates]
    return repr(outcome.definitions), repr(outcome.resolved), outcome.failure, asked, outcome.asked


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.data())
def test_what_is_remembered_is_what_a_run_gives(name: str, data: st.DataObject) -> None:
    cls, filled, memory = known(name)
    names = st.sampled_from([*filled, *cls.asked])
    raw: Mapping[str, Any] = filled
    for key in data.draw(st.lists(names, min_size=1, max_size=3, unique=True)):
        raw = changed(raw, (key,), data.draw(VALUES)) or raw
    before = memory.runs
    found = memory(raw)
    if memory.runs == before:
        assert said(found) == said(cls(raw))


@pytest.mark.parametrize("name", CASES)
def test_most_variants_need_no_run(name: str) -> None:
    """A key that nobody asks for may hold any number."""
    cls, filled, _ = known(name)
    memory = Memory(cls, filled)
    first = memory(filled)
    for number in (3, 5, 7.5):
        other = changed(filled, ("initializer_range",), number)
        assert other is not None
        assert memory(other).resolved == {**first.resolved, "initializer_range": number}
    assert memory.runs == 1


def test_a_question_is_all_that_is_used() -> None:
    """`x is None` tells nothing else of x."""
    cls, filled, _ = known("llama")
    memory = Memory(cls, filled)
    given_heads = changed(filled, ("num_key_value_heads",), 2)
    other_heads = changed(filled, ("num_key_value_heads",), 4)
    none = changed(filled, ("num_key_value_heads",), None)
    assert given_heads is not None and other_heads is not None and none is not None
    assert memory(given_heads).resolved["num_key_value_heads"] == 2
    assert memory(other_heads).resolved["num_key_value_heads"] == 4
    assert memory.runs == 1
    assert memory(none).resolved["num_key_value_heads"] == filled["num_attention_heads"]
    assert memory.runs == 2


def test_an_object_that_nobody_looks_into_decides_nothing() -> None:
    """Where a legacy spelling is given, the class takes that, and no key of the other object matters."""
    cls, filled, _ = known("llama")
    memory = Memory(cls, filled)
    legacy = {**filled, "rope_scaling": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5.0}}
    objects: tuple[dict[str, Any], ...] = ({"rope_theta": 7.0}, {"rope_type": "yarn", "factor": 3.0}, {"a": {"b": 1}})
    found = [memory({**legacy, "rope_parameters": given}) for given in objects]
    assert memory.runs == 1
    assert [said(outcome) for outcome in found] == [
        said(cls({**legacy, "rope_parameters": given})) for given in objects
    ]


@pytest.mark.parametrize(
    "asked, whole",
    [
        (Apply("==", (Apply("-", (Raw(("places", 1)), Const(1))), Const(2))), True),
        (Apply("==", (Raw(("places", 0)), Const(1))), True),
        (Apply("==", (Raw(("names", 0)), Const("a"))), False),
        (Apply("==", (Apply("+", (Raw(("places", 0)), Raw(("places", 1)))), Const(4))), False),
        (Apply("==", (Raw(("size",)), Const(4))), False),
    ],
)
def test_a_place_out_of_a_list_is_a_question_for_the_list(asked: Expr, whole: bool) -> None:
    raw: dict[str, Any] = {"places": [1, 3], "names": ["a", "b"], "size": 4}
    expected = Apply("==", (Raw(("places",)), Apply("list", (Const(1), Const(3))))) if whole else asked
    assert about_the_list((asked, True), raw) == (expected, True)
