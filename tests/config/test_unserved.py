"""What ends an exploration early is what its end would have refused, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from codegen.graph.exploration import ConfigurationClass, Unserved, explore
from codegen.graph.exploration.exploring import Explorer
from codegen.graph.exploration.pool import Pool
from codegen.graph.exploration.questions import end_of
from codegen.graph.exploration.runs import Runs
from codegen.graph.exploration.unserved import require_unpinned
from codegen.graph.predicates import Kind, Predicate
from ir.expressions import Apply, Const, Key
from ir.reading import Refused, read
from tests.config.law import library

SOURCE = """
from transformers import PreTrainedConfig


class Planted(PreTrainedConfig):
    model_type = "planted"

    def __init__(self, width=8, parts=False, **kwargs):
        self.width = width
        self.kinds = [{"width": width}, {"width": 2}] if parts else [width, 2]
        super().__init__(**kwargs)
"""
AUTOMATIC = {"AutoConfig": "configuration_planted.Planted"}
RAW: dict[str, Any] = {"model_type": "planted", "auto_map": AUTOMATIC, "width": 4, "parts": False}
KINDS = Key(("kinds",))


def planted(raw: dict[str, Any]) -> ConfigurationClass:
    return ConfigurationClass(library(), raw, {"configuration_planted.py": SOURCE})


def explorer_of(raw: dict[str, Any]) -> Explorer:
    runs = Runs(planted(raw), raw)
    return Explorer(runs, Pool(runs, frozenset({"kinds"})))


def test_what_no_expression_gives_ends_it_with_the_reason_that_its_reading_has() -> None:
    raw = {**RAW, "parts": True}
    with pytest.raises(Unserved) as found:
        explore(planted(raw), raw, [Key(("width",)), KINDS], ())
    assert end_of(explorer_of(raw).reading(KINDS), raw) == Refused(str(found.value))


def test_what_the_code_asked_of_such_a_value_ends_it_as_well() -> None:
    raw = {**RAW, "parts": True}
    asked = Predicate(Kind.STRUCTURE, Apply("==", (KINDS, Const(None))), False, None)
    with pytest.raises(Unserved):
        explore(planted(raw), raw, [Key(("width",))], [asked])


def test_what_another_configuration_has_does_not() -> None:
    """The value is given here, and no expression gives it where the flag is set: that configuration alone is refused."""
    found = explore(planted(RAW), RAW, [KINDS], ())
    reading = found.readings[("kinds",)]
    assert read(reading, found.filled({**RAW, "width": 6})) == [6, 2]
    with pytest.raises(ValueError):
        read(reading, found.filled({**RAW, "parts": True}))


def test_the_type_of_such_a_value_does_not() -> None:
    """Which types there may be is checked where a configuration is read, of what the class declares."""
    raw = {**RAW, "parts": True}
    asked = Predicate(Kind.TYPE, Apply("type", (KINDS,)), "list", None)
    assert ("width",) in explore(planted(raw), raw, [Key(("width",))], [asked]).readings


def test_a_key_that_was_not_followed_has_to_be_as_it_is() -> None:
    explorer = explorer_of(RAW)
    explorer.pinned[("width",)] = None
    require_unpinned(explorer, {**RAW, "parts": True})
    with pytest.raises(Unserved, match="width is 5"):
        require_unpinned(explorer, {**RAW, "width": 5})
