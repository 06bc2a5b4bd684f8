"""A run in which lists are recalled is like one in which all are made anew."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codegen.graph.exploration import ConfigurationClass
from codegen.graph.exploration.variants import ABSENT, changed
from codegen.graph.recalled import Recalled
from tests.config.law import case, library
from tests.config.test_parts import said

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 9),
    st.lists(st.sampled_from(["full_attention", "sliding_attention", "mamba", 0, 1, True, 2.0, None]), max_size=5),
    st.sampled_from([0.5, 2.0, "default", {}, ABSENT]),
)
CASES = ("gemma3_text", "llama4_text", "bamba", "planted")
PLANTED = '''
from transformers import PreTrainedConfig

KINDS = {"a": "x", "b": "y"}
SEEN = []


def range_of(n):
    return list(range(n))


class Counted:
    def __init__(self, n):
        self.n = n


class PlantedConfig(PreTrainedConfig):
    """Lists that follow from more than the names in them say."""

    model_type = "planted"
    attribute_map = {"depth": "num_layers"}

    def __init__(self, num_layers=4, width=8, kinds=None, flag=False, other=None, table=None, **kwargs):
        self.num_layers = num_layers
        self.width = width
        self.flag = flag
        self.kinds = kinds if kinds is not None else ["a" if i % 2 else "b" for i in range(num_layers)]
        self.other = other
        self.table = table or {"a": 1}
        counted = Counted(num_layers)
        shift = 1 if flag else 0
        self.shifted = [i + shift for i in range(self.depth)]  # by another name, and a variable that a flag decides
        self.through = [self.wide for _ in range(2)]  # a property
        self.counts = [counted.n + i for i in range(2)]  # of an object that is no configuration
        self.named = [KINDS.get(kind, kind) for kind in self.kinds]
        KINDS["c"] = "z"  # a table of the module that the first run changes
        self.nested = [[i] for i in range(2)]
        self.shared = [self.table for _ in range(2)]
        self.table["b"] = 2  # in all of them
        self.quotients = [self.width // (i + 1) for i in range(self.num_layers) if self.flag or i]
        range = range_of  # no longer Python's
        self.own = [i for i in range(self.num_layers)]
        for position in (1, 2):
            self.last = [position * i for i in (1, 2, 3)]
        self.both = list(zip(self.named, self.shifted))
        self.ordered = sorted(self.shifted)
        if other is not None:
            self.failing = [self.width // i for i in self.other]
        super().__init__(**kwargs)

    @property
    def wide(self):
        return self.width * 2 if self.flag else self.width
'''


@cache
def known(name: str) -> tuple[ConfigurationClass, dict[str, Any]]:
    if name != "planted":
        raw = case(name)
        return ConfigurationClass(library(), raw), raw
    raw = {"model_type": "planted", "auto_map": {"AutoConfig": "configuration_planted.PlantedConfig"}}
    raw |= {"num_layers": 3, "width": 8, "kinds": ["a", "b", "c"], "flag": False, "other": [1, 2], "table": {"a": 1}}
    return ConfigurationClass(library(), raw, {"configuration_planted.py": PLANTED}), raw


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.data())
def test_what_is_recalled_is_what_is_made_anew(name: str, data: st.DataObject) -> None:
    cls, raw = known(name)
    other: Mapping[str, Any] = raw
    for key in data.draw(st.lists(st.sampled_from([*raw]), min_size=1, max_size=3)):
        if key not in ("model_type", "auto_map"):
            other = changed(other, (key,), data.draw(VALUES)) or other
    cls(other)
    recalled, kept = said(cls(other)), cls.interpreter.recalled
    cls.interpreter.recalled = Recalled()
    assert recalled == said(cls(other))
    cls.interpreter.recalled = kept


def test_a_list_is_made_once_for_the_same_values() -> None:
    _, raw = known("gemma3_text")
    cls = ConfigurationClass(library(), raw)
    assert cls(raw).failure is None
    assert cls(raw).failure is None
    made = set(cls.interpreter.recalled._known)
    assert made
    assert cls({**raw, "initializer_range": 0.5}).failure is None
    assert set(cls.interpreter.recalled._known) == made


def test_what_may_be_another_the_next_time_is_not_recalled() -> None:
    """Properties, objects of other classes, elements that can be changed, functions under the name of Python's."""
    _, raw = known("planted")
    cls = ConfigurationClass(library(), raw, {"configuration_planted.py": PLANTED})
    assert cls(raw).failure is None
    assert cls(raw).failure is None
    lines = PLANTED.splitlines()
    recalled = {lines[key[0].lineno - 1].strip().partition(" ")[0] for key in cls.interpreter.recalled._known}  # type: ignore[index]
    assert {"self.shifted", "self.named", "self.quotients"} <= recalled
    assert not recalled & {"self.through", "self.counts", "self.nested", "self.shared", "self.own"}
