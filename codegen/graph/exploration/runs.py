"""The runs of a configuration class on variants of one configuration, and what they tell."""

from __future__ import annotations

from collections.abc import Mapping

from codegen.graph.exploration.candidates import Candidates
from codegen.graph.exploration.lifting import loops_asked
from codegen.graph.exploration.memory import Memory
from codegen.graph.exploration.questions import Test
from codegen.graph.exploration.running import ConfigurationClass, Outcome
from codegen.graph.exploration.variants import ABSENT, changed
from ir.expressions import Expr, Raw
from ir.reading import INERT, Json, Path

MAX_RUNS = 1000  # for one value
MAX_CANDIDATES = 4
FAILS = "!"


class Runs:
    """`given` is the configuration as it stands, `raw` with what the class declares filled in, `base` what the class makes of it."""

    def __init__(self, cls: ConfigurationClass, given: dict[str, Json]):
        self.cls, self.declared, self.given = cls, cls.declared, given
        self.raw = self.filled(given)
        self.outcome = Memory(cls, self.raw)
        self.base = self.outcome(self.raw)
        self.candidates = Candidates(cls, given, self.base.resolved)
        self.further = tuple(name for name in cls.asked if name not in INERT)
        self.effects: dict[str, frozenset[str]] = {}
        self.further_effects: dict[str, frozenset[str]] = {}
        self.samples: dict[str, Json] = {}
        self.numbers: dict[str, bool] = {}
        self.asked: frozenset[Expr] | None = None  # questions

    def filled(self, raw: Mapping[str, Json]) -> dict[str, Json]:
        return {**{name: default for name, default in self.declared.items() if name not in raw}, **raw}

    def affected(self, name: str) -> frozenset[str]:
        """The attributes that a key decides in the given configuration; FAILS if that goes wrong for some value."""
        if name not in self.effects:
            self.effects[name] = self._affected(name, self.raw, self.base)
        return self.effects[name]

    def may_affect(self, name: str) -> frozenset[str]:
        """As `affected`, or those in a configuration that says nothing: what one key decides another may say itself."""
        if name not in self.further_effects:
            raw = self._bare()
            outcome = self.outcome(raw)
            more = self._affected(name, raw, outcome) - {FAILS} if outcome.failure is None else frozenset()
            self.further_effects[name] = self.affected(name) | more
        return self.further_effects[name]

    def always_asked(self, test: Test) -> bool:
        """Whether a question is asked of the given configuration too, or of one that says nothing."""
        if self.asked is None:
            bare = self.outcome(self._bare())
            self.asked = frozenset(expr for expr, _ in (*self.base.questions, *bare.questions))
        return test[0] in self.asked

    def _bare(self) -> dict[str, Json]:
        """A configuration that says nothing but whose it is."""
        return self.filled({key: self.raw[key] for key in ("model_type",) if key in self.raw})

    def _affected(self, name: str, raw: dict[str, Json], base: Outcome) -> frozenset[str]:
        found: set[str] = set()
        candidates = list(self.candidates(raw, (name,), Raw((name,))))
        if name in raw and name not in self.declared:
            candidates.insert(0, ABSENT)
        for new in candidates[:MAX_CANDIDATES]:
            variant = changed(raw, (name,), new)
            if variant is not None:
                found |= self._difference(base, self.outcome(self.filled(variant)))
                if len(found) > 1 or (found and FAILS not in found and name not in found):
                    break
        return frozenset(found)

    def _difference(self, base: Outcome, outcome: Outcome) -> set[str]:
        if outcome.failure is not None:
            return {FAILS}
        here, there = base.definitions, outcome.definitions
        found = {str(path[0]) for path in here.keys() | there.keys() if here.get(path) != there.get(path)}
        if loops_asked(base) != loops_asked(outcome):
            found |= {name for name, item in outcome.resolved.items() if isinstance(item, (list, tuple))}
        return found

    def futile(self, raw: Mapping[str, Json], path: Path, new: Json) -> bool:
        """Whether a value for a key that holds nothing is refused in the configuration that is compiled, or is an object where
        the class puts the value of that key among other numbers."""
        name = path[0]
        if len(path) > 1 or new is None or new is ABSENT or raw.get(str(name)) is not None or not isinstance(name, str):
            return False
        if self.raw.get(name) is not None:
            return False
        if isinstance(new, (int, float)) and self._is_container(name):
            return True
        if self.outcome({**self.raw, name: new}).failure is not None:
            return True
        return isinstance(new, (dict, list)) and self.is_number(name)

    def _is_container(self, name: str) -> bool:
        """Whether the class does with the value of a key what no number can do."""
        failure = self.outcome({**self.raw, name: 2}).failure
        return failure is not None and failure.startswith(("TypeError", "AttributeError"))

    def is_number(self, name: str) -> bool:
        """Whether a number under an undeclared name ends up in another place of the resolved configuration, just as it is."""
        if name in self.declared:
            return False
        if name not in self.numbers:
            found = self.outcome({**self.raw, name: 2}).definitions
            self.numbers[name] = any(expr == Raw((name,)) and path != (name,) for path, expr in found.items())
        return self.numbers[name]

    def harmless(self, name: str) -> Json:
        """A value of an absent key with which the class still runs; None if none is known."""
        if name not in self.samples:
            self.samples[name] = next(
                (
                    new
                    for new in self.candidates(self.raw, (name,), Raw((name,)))
                    if new is not None and new is not ABSENT and not self.futile(self.raw, (name,), new)
                ),
                None,
            )
        return self.samples[name]
