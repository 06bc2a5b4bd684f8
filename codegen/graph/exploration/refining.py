"""What one question at a time does not show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from codegen.graph.exploration.expressions import holds, paths_of
from codegen.graph.exploration.lifting import NOT_THERE, Unclear
from codegen.graph.exploration.questions import at_end, chosen, way_of
from codegen.graph.exploration.running import Outcome
from codegen.graph.exploration.variants import differing_paths, keys_of
from ir.expressions import Apply, Const, Expr, Raw
from ir.reading import DoesNotRead, Json, PastTheEnd, Path, Reading, Refused, lookup, raw_paths, read, same

if TYPE_CHECKING:
    from codegen.graph.exploration.exploring import Explorer
    from codegen.graph.exploration.pool import Entry


MAX_REFINEMENTS = 24
MAX_COMPARED = 24


class Refinement:
    """Of the reading of one value; the arguments are those of `Explorer.explore`."""

    def __init__(
        self, explorer: Explorer, lifted: Callable[[Outcome], Reading], own: Sequence[str], tops: frozenset[str]
    ):
        self.explorer, self.runs = explorer, explorer.runs
        self.lifted, self.own, self.tops = lifted, own, tops

    def refined(self, reading: Reading) -> Reading:
        """The reading with further choices, until it is right for every configuration of the pool."""
        for _ in range(MAX_REFINEMENTS):
            names = {str(path[0]) if path else "" for path in raw_paths(reading)}
            wrong = [
                entry[0]
                for entry in self.explorer.pool.entries()
                if not self._right(reading, names, entry) and not self._pinned(entry[0])
            ]
            if not wrong:
                break
            reading = self._split(reading, wrong)
        return reading

    def _right(self, reading: Reading, names: set[str], entry: Entry) -> bool:
        """Whether a reading, of keys with these names, refuses a configuration, or agrees with its class."""
        raw, outcome, changed = entry
        if outcome.failure is not None:
            return True
        if (outcome.like or outcome) is self.runs.base and "" not in names and names.isdisjoint(changed):
            return True  # the class went the same way, and the reading sees nothing new
        try:
            predicted = read(reading, raw)
        except DoesNotRead as refusal:
            return not str(refusal).startswith(NOT_THERE) or self._nothing(outcome)
        except PastTheEnd:
            return self._nothing(outcome)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            return True
        if isinstance(predicted, Mapping):
            return True  # no attribute that is read is an object: its type refuses it
        try:
            return same(predicted, read(self.lifted(outcome), raw))
        except (Unclear, DoesNotRead, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            return False

    def _pin(self, raw: Mapping[str, Json]) -> None:
        """Freeze a key in which `raw` differs from what is compiled: what it does here is not understood."""
        here = self.runs.raw
        differing = [path for path in {*keys_of(here), *keys_of(raw)} if lookup(raw, path) != lookup(here, path)]
        if differing:
            self.explorer.pinned[max(differing, key=self._decisive)] = None

    def _decisive(self, path: Path) -> tuple[bool, int, Path]:
        return isinstance(lookup(self.runs.raw, path), bool), len(self.runs.affected(str(path[0]))), path

    def _pinned(self, raw: Mapping[str, Json]) -> bool:
        return any(lookup(raw, path) != lookup(self.runs.raw, path) for path in self.explorer.pinned)

    def _nothing(self, outcome: Outcome) -> bool:
        """Whether a run gives no value."""
        try:
            self.lifted(outcome)
        except Unclear:
            return True
        return False

    def _split(self, reading: Reading, wrong: Sequence[dict[str, Json]]) -> Reading:
        """The reading with a choice where a configuration in `wrong` ends, by the question that best tells those apart that end there."""
        first = wrong[0]
        fixed = way_of(reading, first)
        ending = [
            raw
            for raw in [self.runs.raw, *self.explorer.pool.variants()]
            if way_of(reading, raw) == fixed and self.runs.outcome(raw).failure is None
        ]
        bad = [raw for raw in ending if any(raw is other for other in wrong)]
        good = [raw for raw in ending if not any(raw is other for other in wrong)]
        here = any(raw is self.runs.raw for raw in good)
        differing = {name for name in first.keys() | self.runs.raw.keys() if first.get(name) != self.runs.raw.get(name)}
        best: tuple[int, int, int, Expr] | None = None
        for position, question in enumerate(self._distinctions(first, good)):
            truth = holds(question, first)
            if truth is None or any(question == known for known, _ in fixed):
                continue
            if (
                here
                and holds(question, self.runs.raw) is truth
                or not {str(path[0]) for path in paths_of(question)} & differing
            ):
                continue
            errors = sum(holds(question, raw) is truth for raw in good)
            errors += sum(holds(question, raw) is not truth for raw in bad)
            score = (errors, max(map(len, paths_of(question)), default=0), position, question)
            best = score if best is None or score[:3] < best[:3] else best
        if best is None and way_of(reading, self.runs.raw) == fixed:
            self._pin(first)
            return reading
        if best is None:
            return at_end(reading, fixed, lambda end: Refused("no question tells what decides this"))
        question = best[3]
        truth = bool(holds(question, first))
        there = self.explorer.explore(self.lifted, first, [*fixed, (question, truth)], self.own, self.tops)
        return at_end(
            reading, fixed, lambda end: chosen(question, there, end) if truth else chosen(question, end, there)
        )

    def _distinctions(self, raw: Mapping[str, Json], others: Sequence[Mapping[str, Json]]) -> list[Expr]:
        """Questions that may be answered differently for one configuration and some others."""
        found = dict.fromkeys(test for test, _ in self.runs.outcome(raw).questions)
        for other in others[:MAX_COMPARED]:
            found |= dict.fromkeys(test for test, _ in self.runs.outcome(other).questions)
            for path in differing_paths(raw, other):
                found[Apply("in", (Const(path[-1]), Raw(path[:-1])))] = None
                found[Apply("is", (Raw(path), Const(None)))] = None
        return [question for question in found if all(path[:1] != () for path in paths_of(question))]
