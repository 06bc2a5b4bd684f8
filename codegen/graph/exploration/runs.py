"""The runs of a configuration class on variants of one configuration, and what they tell."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping

from codegen.graph.exploration.candidates import Candidates
from codegen.graph.exploration.lifting import loops_asked
from codegen.graph.exploration.running import ConfigurationClass, Outcome
from codegen.graph.exploration.variants import ABSENT, changed
from ir.expressions import Raw
from ir.reading import INERT, Json

MAX_RUNS = 4000
MAX_CANDIDATES = 4
FAILS = "!"


class Runs:
    """`given` is the configuration as it stands, `raw` with what the class declares filled in, `base` what the class makes of it."""

    def __init__(self, cls: ConfigurationClass, given: dict[str, Json]):
        self.cls, self.declared, self.given = cls, cls.declared, given
        self.outcomes: dict[str, Outcome] = {}
        self.raw = self.filled(given)
        self.base = self.outcome(self.raw)
        self.candidates = Candidates(cls, given, self.base.resolved)
        self.further = tuple(name for name in cls.asked if name not in INERT)
        self.effects: dict[str, frozenset[str]] = {}
        self.samples: dict[str, Json] = {}

    def filled(self, raw: Mapping[str, Json]) -> dict[str, Json]:
        return {**{name: default for name, default in self.declared.items() if name not in raw}, **raw}

    def outcome(self, raw: Mapping[str, Json]) -> Outcome:
        text = json.dumps(raw, sort_keys=False, default=str)
        if text not in self.outcomes:
            self.outcomes[text] = self.cls(copy.deepcopy(dict(raw)))
        return self.outcomes[text]

    def affected(self, name: str) -> frozenset[str]:
        """The attributes that a key decides in the given configuration; FAILS if that goes wrong for some value."""
        if name not in self.effects:
            found: set[str] = set()
            candidates = list(self.candidates(self.raw, (name,), Raw((name,))))
            if name in self.raw and name not in self.declared:
                candidates.insert(0, ABSENT)
            for new in candidates[:MAX_CANDIDATES]:
                variant = changed(self.raw, (name,), new)
                if variant is not None:
                    found |= self._difference(self.outcome(self.filled(variant)))
                    if len(found) > 1 or (found and FAILS not in found and name not in found):
                        break
            self.effects[name] = frozenset(found)
        return self.effects[name]

    def _difference(self, outcome: Outcome) -> set[str]:
        if outcome.failure is not None:
            return {FAILS}
        here, there = self.base.definitions, outcome.definitions
        found = {str(path[0]) for path in here.keys() | there.keys() if here.get(path) != there.get(path)}
        if loops_asked(self.base) != loops_asked(outcome):
            found |= {name for name, item in outcome.resolved.items() if isinstance(item, (list, tuple))}
        return found

    def harmless(self, name: str) -> Json:
        """A value of an absent key with which the class still runs; None if none is known."""
        if name not in self.samples:
            self.samples[name] = next(
                (
                    new
                    for new in self.candidates(self.raw, (name,), Raw((name,)))
                    if new is not None and new is not ABSENT and self.outcome({**self.raw, name: new}).failure is None
                ),
                None,
            )
        return self.samples[name]
