"""A run in which configurations within others are remembered is like one in which all are made anew."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codegen.graph.exploration import ConfigurationClass, Outcome
from codegen.graph.exploration.variants import ABSENT, changed
from codegen.graph.within import Parts
from tests.config.law import case, library

CASES = ("gemma3", "fuyu", "emu3")
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(1, 9), st.sampled_from([0.5, 10000.0, "default", {}, [1], ABSENT])
)


@cache
def known(name: str) -> tuple[ConfigurationClass, dict[str, Any]]:
    raw = case(name)
    return ConfigurationClass(library(), raw), raw


def said(outcome: Outcome) -> tuple[object, ...]:
    """All of an outcome, in order; places and types included."""
    asked = [(p.kind, p.expr, repr(p.value), p.span, p.function, p.default) for p in outcome.predicates]
    return repr(outcome.definitions), repr(outcome.resolved), outcome.failure, asked, outcome.reads, outcome.asked


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.data())
def test_what_is_remembered_is_what_is_made_anew(name: str, data: st.DataObject) -> None:
    cls, raw = known(name)
    paths = [(key,) for key in raw]
    paths += [(key, inner) for key, item in raw.items() if isinstance(item, dict) for inner in item]
    other: Mapping[str, Any] = raw
    for path in data.draw(st.lists(st.sampled_from(paths), min_size=1, max_size=3)):
        other = changed(other, path, data.draw(VALUES)) or other
    cls(other)
    remembered = said(cls(other))
    cls.interpreter.parts = Parts()
    assert remembered == said(cls(other))


@pytest.mark.parametrize("name", CASES)
def test_a_part_that_did_not_change_is_not_made_again(name: str) -> None:
    _, raw = known(name)
    cls = ConfigurationClass(library(), raw)
    assert cls(raw).failure is None
    made = set(cls.interpreter.parts._known)
    assert made
    assert cls({**raw, "initializer_range": 0.5}).failure is None
    assert set(cls.interpreter.parts._known) == made
