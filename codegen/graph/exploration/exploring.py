"""Readings: for each value that the compiled code needs, every question answered the other way where that matters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, product

from codegen.graph.exploration.expressions import constants_of, holds, is_scalar, paths_of
from codegen.graph.exploration.lifting import Unclear, Uniform, lift
from codegen.graph.exploration.pool import Pool
from codegen.graph.exploration.questions import (
    Test,
    about_the_list,
    at_end,
    chosen,
    end_of,
    is_about_elements,
    is_count_of,
    unless,
    way_of,
)
from codegen.graph.exploration.refining import MAX_COMPARED, Refinement
from codegen.graph.exploration.running import Outcome
from codegen.graph.exploration.runs import FAILS, MAX_CANDIDATES, MAX_RUNS, Runs
from codegen.graph.exploration.serving import accepted
from codegen.graph.exploration.variants import changed, differing_paths, key_at, keys_of, plain, strings_at
from codegen.graph.predicates import Kind
from ir.expressions import Apply, Const, Expr, Key, Raw, leaves
from ir.reading import (
    INERT,
    Choice,
    Condition,
    DoesNotRead,
    Json,
    Path,
    Reading,
    Refused,
    choice,
    lookup,
    raw_paths,
    read,
    same,
    value,
)

MAX_DEPTH = 14  # choices below each other
TOO_MUCH = Refused("the configuration class asks more than was followed here")
# configurations that answer a question otherwise and change nothing, before it is taken not to matter
MAX_WITNESSES = 2
MAX_LED = 4  # questions that another answer leads to, of which each is looked at
MAX_IDLE = (
    2  # branches in which an absent key of another name may prove not to matter, before that is taken to hold in all
)


class Explorer:
    """`pinned` are attributes whose meaning was not followed."""

    def __init__(self, runs: Runs, pool: Pool):
        self.runs, self.pool = runs, pool
        self.pinned: dict[Path, None] = {}
        self.budget = MAX_RUNS  # of runs, for what is looked for at the moment
        self.idle: dict[
            Expr, int
        ] = {}  # in how many branches it did not matter for the value at hand that a key is absent
        self.leading: set[str] = set()  # keys that decide it where another answer leads to the question

    def reading(self, target: Expr) -> Reading:
        tops = frozenset(str(leaf.path[0]) for leaf in leaves(target) if isinstance(leaf, Key) and leaf.path)
        if any(leaf == Key(()) for leaf in leaves(target)):
            tops |= {word for word in constants_of(target) if isinstance(word, str)}
        steps = [
            step for leaf in leaves(target) if isinstance(leaf, Key) for step in leaf.path[1:] if isinstance(step, str)
        ]
        constants = (
            [word for word in constants_of(target) if isinstance(word, str)]
            if not is_scalar(target, self.runs.base.resolved)
            else []
        )
        self.runs.candidates.words = tuple(sorted({*steps, *constants}))
        self.idle.clear()
        self.leading.clear()
        own = self._names(target)

        def lifted(outcome: Outcome) -> Reading:
            return self.lifted(target, outcome)

        self.budget = len(self.runs.outcome) + MAX_RUNS
        found = self.explore(lifted, self.runs.raw, [], own, tops)
        if end_of(found, self.runs.raw) == TOO_MUCH:
            return self._as_it_is(target, own)
        return Refinement(self, lifted, own, tops).refined(found)

    def _as_it_is(self, target: Expr, own: Sequence[str]) -> Reading:
        """The reading of this configuration alone; the keys that it may follow from stay as they are."""
        try:
            found = self.lifted(target, self.runs.base)
        except Unclear as error:
            return Refused(str(error))
        followed = {key_at(path, self.runs.raw) for path in raw_paths(found)}
        keys = [path for path in keys_of(self.runs.raw) if path[-1] in own or path in followed]
        self.pinned |= dict.fromkeys(sorted(keys))
        return found

    def validity(self, wanted: Mapping[Path, Reading], conditions: Sequence[Condition]) -> Reading:
        """Where the class itself refuses; looked for among configurations that the readings let pass."""
        self.runs.candidates.words = ()
        self.budget = len(self.runs.outcome) + MAX_RUNS
        found = self.explore(lambda outcome: Const(True), self.runs.raw, [], (), frozenset({FAILS}))
        passing = [raw for raw in self.pool.variants() if accepted(raw, wanted, conditions, self.runs.raw)]
        for raw in passing:
            outcome = self.runs.outcome(raw)
            if outcome.failure is not None and end_of(found, raw) == Const(True):
                found = self._refusing(found, raw, outcome.failure, passing)
        return self._about_the_model(found)

    def _about_the_model(self, validity: Reading) -> Reading:
        """A validity that asks nothing of keys that are no part of the model."""
        match validity:
            case Choice(test, then, otherwise):
                then, otherwise = self._about_the_model(then), self._about_the_model(otherwise)
                if all(path[0] in INERT for path in paths_of(test)):
                    return then if holds(test, self.runs.raw) else otherwise
                return choice(test, then, otherwise)
            case _:
                return validity

    def _refusing(
        self, validity: Reading, raw: Mapping[str, Json], failure: str, passing: Sequence[Mapping[str, Json]]
    ) -> Reading:
        """A validity that refuses `raw` for a name that is another in it alone, or for a key that is missing or null; as before
        if there is no such key.
        """
        works = [other for other in passing if self.runs.outcome(other).failure is None]
        for path, now in strings_at(raw):
            here = lookup(self.runs.base.resolved, path)
            inside = Apply("in", (Const(path[-1]), Raw(path[:-1])))
            if isinstance(here, str) and now != here:
                named = ((inside, True), (Apply("==", (Raw(path), Const(here))), False))
                if not any(_all_hold(named, other) for other in works):
                    return unless(named[::-1], validity, Refused(f"{'.'.join(map(str, path))} is not {here!r}"))
        way = way_of(validity, raw)
        good = [other for other in works if way_of(validity, other) == way]
        paths = {path for other in good[:MAX_COMPARED] for path in differing_paths(raw, other)}
        paths |= {
            (name, word) for name, inner in raw.items() if isinstance(inner, Mapping) for word in self.pool.vocabulary
        }
        for path in sorted(paths, key=repr):
            inside, owner = Apply("in", (Const(path[-1]), Raw(path[:-1]))), Apply("bool", (Raw(path[:-1]),))
            null = Apply("is", (Raw(path), Const(None)))
            for tests in (((inside, False), (owner, True)), ((null, True), (inside, True))):
                if _all_hold(tests, raw) and not any(_all_hold(tests, other) for other in good):
                    further = tuple(test for test in tests if test not in way)
                    return at_end(validity, way, lambda end, tests=further: unless(tests, end, Refused(failure)))  # type: ignore[misc]
        return validity

    def lifted(self, target: Expr, outcome: Outcome) -> Reading:
        """`target` as a run had it; where a list is all of one kind, as one that asked the same and has both
        kinds: for other numbers, or for more elements."""
        try:
            return lift(target, outcome)
        except Uniform as uniform:
            asked = [p.expr for p in outcome.predicates if p.kind is Kind.LAYER]
            numbers = sorted({leaf.path for expr in asked for leaf in leaves(expr) if isinstance(leaf, Raw)}, key=repr)
            counts = sorted({leaf.path for leaf in leaves(uniform.each.count) if isinstance(leaf, Raw)}, key=repr)
            for path, new in [*product(numbers, (1, 2, 3)), *product(counts, (8, 64))]:
                variant = changed(outcome.raw, path, new)
                other = self.runs.outcome(variant) if variant is not None else None
                if other is None or other.failure is not None or other.questions != outcome.questions:
                    continue
                try:
                    found = lift(target, other)
                except Unclear:
                    continue
                if _gives(found, target, outcome):
                    return found
            if target == _only_key(target):
                return uniform.each
            raise

    def _names(self, target: Expr) -> tuple[str, ...]:
        """Keys of config.json that may be meant by what `target` speaks of: its own, other spellings, what the class asks for."""
        names: dict[str, None] = {}
        for key in sorted((leaf for leaf in leaves(target) if isinstance(leaf, Key)), key=repr):
            for step in key.path:
                if isinstance(step, str):
                    names |= dict.fromkeys([step, *self.runs.cls.spellings.get(step, ())])
        asked = any(leaf == Key(()) for leaf in leaves(target))
        names |= dict.fromkeys(
            word for word in constants_of(target) if isinstance(word, str) and (asked or word in self.runs.further)
        )
        return tuple(names)

    def explore(
        self,
        lifted: Callable[[Outcome], Reading],
        raw: dict[str, Json],
        fixed: list[Test],
        own: Sequence[str],
        tops: frozenset[str],
        settled: frozenset[Expr] = frozenset(),
    ) -> Reading:
        """The reading below the choices `fixed`, of which `raw` is an example. `settled` questions do not matter for `raw`."""
        outcome = self.runs.outcome(raw)
        if outcome.failure is not None:
            return Refused(outcome.failure)
        try:
            here = lifted(outcome)
        except Unclear as error:
            return Refused(str(error))
        if len(fixed) > MAX_DEPTH or len(self.runs.outcome) > self.budget:
            return TOO_MUCH
        further = [name for name in self.runs.further if name not in raw and outcome.sought(name)]
        if self._unrelated(lifted, here, raw, further):
            further = []
        spelled = {other for top in tops for other in (top, *self.runs.cls.spellings.get(top, ()))}
        own = [name for name in own if name in raw or name in spelled or outcome.sought(name)]
        for test in self._tests(outcome, here, raw, [*own, *further]):
            if (
                test[0] in settled
                or any(test[0] == known for known, _ in fixed)
                or self._aside(test, outcome, here, [*own, *further], tops)
            ):
                continue
            settled |= {test[0]}
            absent = _absent(test, raw) and not {str(path[0]) for path in paths_of(test[0])} & {*own}
            if absent and self.idle.get(test[0], 0) >= MAX_IDLE:
                continue
            there = self._other(lifted, here, raw, fixed, test, FAILS in tops)
            if there is None:
                self.idle[test[0]] = self.idle.get(test[0], 0) + absent
                continue
            same = self.explore(lifted, raw, [*fixed, test], own, tops, settled)
            expr, outcome_here = test
            if isinstance(there, Refused):
                other: Reading = there
            elif is_count_of(expr, here):  # a list for each number would be as long as all of them together
                other = Refused(f"{'.'.join(map(str, expr.args[0].path))} is another, and the list is written out")  # type: ignore[union-attr]
            elif is_about_elements(expr):  # there are as many lists as there are models
                other = Refused(f"{'.'.join(map(str, expr.args[0].path))} has other elements")  # type: ignore[union-attr]
            else:
                other = self.explore(lifted, there, [*fixed, (expr, not outcome_here)], own, tops)
            return chosen(expr, same, other) if outcome_here else chosen(expr, other, same)
        return here

    def _aside(self, test: Test, outcome: Outcome, here: Reading, own: Sequence[str], tops: frozenset[str]) -> bool:
        """Whether a question is about keys that have nothing to do with the value; one that only other answers lead to may have."""
        near = {*own, *self.leading, *(str(path[0]) for path in raw_paths(here))}
        names = {str(path[0]) for path in paths_of(test[0])}
        if any(name in near or tops & self.runs.may_affect(name) for name in names):
            return False
        return self.runs.always_asked(test) or all(test[0] != asked for asked, _ in outcome.questions)

    def _unrelated(
        self, lifted: Callable[[Outcome], Reading], here: Reading, raw: dict[str, Json], names: Sequence[str]
    ) -> bool:
        """Whether further arguments that are absent, all given at once, leave the value alone."""
        absent = {name: new for name in names if name not in raw and (new := self.runs.harmless(name)) is not None}
        if not absent:
            return True
        outcome = self.runs.outcome(self.runs.filled({**raw, **absent}))
        if outcome.failure is not None:
            return False
        try:
            return lifted(outcome) == here
        except Unclear:
            return False

    def _other(
        self,
        lifted: Callable[[Outcome], Reading],
        here: Reading,
        raw: dict[str, Json],
        fixed: list[Test],
        test: Test,
        refusing: bool,
    ) -> dict[str, Json] | Refused | None:
        """A configuration for which `test` goes the other way and the value is another; Refused where all of them fail."""
        failures: list[str] = []
        unclear: dict[str, Json] | None = None
        fine = 0
        for variant in self._flips(raw, fixed, test, refusing):
            if fine >= MAX_WITNESSES + len(self.runs.candidates.words):
                break
            outcome = self.runs.outcome(variant)
            if outcome.failure is not None:
                failures.append(outcome.failure)
                if len(failures) > MAX_CANDIDATES:
                    break
                continue
            fine += 1
            try:
                if lifted(outcome) != here or self._leads_on(
                    lifted, here, raw, [*fixed, (test[0], not test[1])], variant
                ):
                    return variant
            except Unclear:
                unclear = unclear or variant
        if refusing and failures and not fine:
            return Refused(failures[0])
        return unclear

    def _leads_on(
        self,
        lifted: Callable[[Outcome], Reading],
        here: Reading,
        raw: Mapping[str, Json],
        fixed: list[Test],
        variant: dict[str, Json],
    ) -> bool:
        """Whether a question that is asked of `variant` alone, not of `raw`, decides the value: a flag may let others decide."""
        before, after = self.runs.outcome(raw), self.runs.outcome(variant)
        if after.questions is before.questions:  # the same run
            return False
        known = {test for test, _ in before.questions} | {test for test, _ in fixed}
        new = [test for test in after.questions if test[0] not in known]
        for test in new[:MAX_LED]:
            for further in islice(self._flips(variant, fixed, test, False), MAX_WITNESSES):
                outcome = self.runs.outcome(further)
                try:
                    if outcome.failure is None and lifted(outcome) != here:
                        self.leading |= {str(path[0]) for path in paths_of(test[0])}
                        return True
                except Unclear:
                    continue
        return False

    def _tests(self, outcome: Outcome, here: Reading, raw: Mapping[str, Json], own: Sequence[str]) -> Iterator[Test]:
        """The questions of a run and whether keys that matter are null or absent; what is about a whole object first."""
        found: dict[Expr, bool] = {}
        for name in self.runs.further:
            if isinstance(raw[name], (Mapping, type(None))) if name in raw else outcome.sought(name):
                self._presence(found, raw, name)
        for test, truth in sorted(outcome.questions, key=lambda item: max(map(len, paths_of(item[0])), default=0)):
            found.setdefault(*about_the_list((test, truth), raw))
        names = [*own, *sorted(str(path[0]) for path in raw_paths(here) if len(path) == 1)]
        for name in dict.fromkeys(names):
            self._presence(found, raw, name)
        for name, inner in raw.items():
            if isinstance(inner, Mapping):
                for word in self.runs.candidates.words:
                    found.setdefault(Apply("in", (Const(word), Raw((name,)))), word in inner)
        yield from found.items()

    def _presence(self, found: dict[Expr, bool], raw: Mapping[str, Json], name: str) -> None:
        null = Apply("is", (Raw((name,)), Const(None)))
        inside = Apply("in", (Const(name), Raw(())))
        expressions = (null,) if name in self.runs.declared else (null, inside) if name in raw else (inside, null)
        for expr in expressions:
            found.setdefault(expr, bool(value(expr, raw)))

    def _flips(self, raw: dict[str, Json], fixed: list[Test], test: Test, refusing: bool) -> Iterator[dict[str, Json]]:
        """Changed configurations for which `test` goes the other way and all of `fixed` stay."""
        expr, before = test
        for path in sorted(paths_of(expr), key=repr):
            for candidate in self.runs.candidates(raw, path, expr):
                if not refusing and self.runs.futile(raw, path, candidate):
                    continue
                variant = changed(raw, path, candidate)
                if variant is None:
                    continue
                variant = self.runs.filled(variant)
                if holds(expr, variant) is (not before) and all(
                    holds(known, variant) is truth for known, truth in fixed
                ):
                    yield variant


def _gives(found: Reading, target: Expr, outcome: Outcome) -> bool:
    """Whether what another run showed is true of this one too, for an attribute: a list that is written out has its own length."""
    key = _only_key(target)
    if key is None:
        return True
    try:
        return same(read(found, outcome.raw), plain(lookup(outcome.resolved, key.path)))
    except (DoesNotRead, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return False


def _absent(test: Test, raw: Mapping[str, Json]) -> bool:
    """Whether a question is whether some key is there that is not."""
    match test[0]:
        case Apply("in", (Const(str() as name), Raw(()))) | Apply("is", (Raw((str() as name,)), Const(None))):
            return name not in raw
        case _:
            return False


def _all_hold(tests: Sequence[Test], raw: Mapping[str, Json]) -> bool:
    return all(holds(test, raw) is truth for test, truth in tests)


def _only_key(target: Expr) -> Key | None:
    return target if isinstance(target, Key) else None
