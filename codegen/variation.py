"""Questions of a trace that do not decide the program: answered the other way, the same program comes out.

The source may branch on a value where both arms come to the same: heads that are repeated once are not repeated, a flag
chooses the form of what is returned. Such a question restricts nothing. That is not guessed: a configuration that answers
it the other way is traced and raised as well, and the programs are compared. What that trace needs in addition is needed
from then on. Several questions are let go together only if every combination of their answers gives the program.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache

from codegen.diagnostics import CompileError
from codegen.graph.agreements import Agreement, conditions, follows
from codegen.graph.exploration import ConfigurationClass, Memory
from codegen.graph.predicates import Kind, Predicate
from ir.expressions import Apply, Const, Dim, Environment, Expr, Index, Key, Local, evaluate, leaves
from ir.expressions import Raw as RawKey
from ir.graph import DType, Region, Value
from ir.reading import INERT, lookup
from ir.records import dataclass, field, fields, is_dataclass, replace

Raw = Mapping[str, object]
MAX_AXES = 3
MAX_RUNS = 24
MAX_ALTERNATIVES = 4  # configurations that answer one question otherwise; some have no program
CHECKED = frozenset({Kind.STRUCTURE, Kind.PRESENCE, Kind.KEY, Kind.TYPE, Kind.GUARD, Kind.AGREEMENT})
OPEN = frozenset({Kind.STRUCTURE, Kind.TYPE, Kind.PRESENCE})
COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})
AS_IT_IS = object()


@dataclass(frozen=True)
class Run:
    """One configuration as far as it was compiled: its resolved form, what was taken for granted, the program to be compared."""

    raw: Raw
    resolved: Mapping[str, object]
    needs: tuple[Predicate, ...]
    program: object

    @property
    def environment(self) -> Environment:
        return Environment(config=self.resolved, raw=self.raw)

    @classmethod
    def of(
        cls,
        raw: Raw,
        resolved: Mapping[str, object],
        asked: Sequence[Predicate],
        agreements: Sequence[Agreement],
        program: object,
    ) -> Run:
        """`asked` are the predicates of a trace and `agreements` the sizes that it took for equal."""
        own = [p for p in asked if p.stage == 2 and not any(isinstance(leaf, Dim) for leaf in leaves(p.expr))]
        return cls(raw, resolved, conditions(own, agreements, resolved), numbered(program))


@dataclass(frozen=True, slots=True)
class Axis:
    """Questions that may be let go, and the values of one key that answer them otherwise."""

    asked: tuple[Predicate, ...]
    key: str
    values: tuple[object, ...]
    whole: Key | RawKey | None = None  # a flag of which every value is tried: all questions on it alone are let go

    def covers(self, predicate: Predicate) -> bool:
        if self.whole is not None and leaves(predicate.expr) == {self.whole}:
            return True
        return any(p.expr == predicate.expr for p in self.asked)


def deciding(first: Run, compiled: Callable[[Raw], Run | None], cls: ConfigurationClass) -> tuple[Predicate, ...]:
    """What other configurations must answer as `first` does to be served by its program. `compiled` compiles another."""
    search = _Search(first, compiled, cls)
    axes: list[Axis] = []
    needs = first.needs
    for alternatives in search.axes():
        if len(axes) == MAX_AXES:
            break
        for axis in itertools.islice(alternatives, MAX_ALTERNATIVES):
            fewer = search.without([*axes, axis])
            if fewer is not None:
                axes.append(axis)
                needs = fewer
                break
    return needs


@dataclass
class _Search:
    first: Run
    compiled: Callable[[Raw], Run | None]
    cls: ConfigurationClass
    runs: dict[tuple[tuple[str, str], ...], Run | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.resolved = Memory(self.cls, self.first.raw)

    # ------------------------------------------------------------------------------------------------------- axes

    def axes(self) -> Iterator[Iterable[Axis]]:
        """Comparisons of numbers; flags that say what is returned, or that `forward` alone asks for. Each in several ways."""
        for predicate in self.first.needs:
            if predicate.kind is Kind.STRUCTURE and self._compares_numbers(predicate.expr):
                changes = self._answered_otherwise(predicate)
                yield (Axis((predicate,), name, (new,)) for name, new in changes)
        keys = dict.fromkeys(leaf for p in self.first.needs for leaf in sorted(leaves(p.expr), key=repr))
        for key in keys:
            if not isinstance(key, (Key, RawKey)) or len(key.path) != 1:
                continue
            asked = tuple(p for p in self.first.needs if leaves(p.expr) == {key})
            name = str(key.path[0])
            now = lookup(self.first.resolved if isinstance(key, Key) else self.first.raw, key.path)
            if not isinstance(now, bool) or not all(p.kind in OPEN for p in asked):
                continue
            if name in INERT or all(p.function != "__init__" for p in asked):
                spelled = self._spelled(name)
                others = [new for new in (True, False, None) if new is not now]
                works = [new for new in others if self.resolved({**self.first.raw, spelled: new}).failure is None]
                yield (Axis(asked, spelled, tuple(works), key),)

    def _compares_numbers(self, expr: Expr) -> bool:
        if not isinstance(expr, Apply) or expr.op not in COMPARISONS:
            return False
        found = [lookup(self.first.resolved, leaf.path) for leaf in leaves(expr) if isinstance(leaf, Key)]
        return bool(found) and all(type(item) in (int, float) for item in found)

    def _spelled(self, name: str) -> str:
        """What config.json calls an attribute."""
        spellings = [name, *self.cls.spellings.get(name, ())]
        return next((other for other in spellings if other in self.first.raw), name)

    def _answered_otherwise(self, predicate: Predicate) -> Iterator[tuple[str, object]]:
        """Keys with values that answer a question otherwise; first those that answer all others as before."""
        others = [p for p in self.first.needs if p is not predicate and p.kind in CHECKED]
        firm = [p for p in others if not _is_equation(p)]
        keys = sorted((leaf for leaf in leaves(predicate.expr) if isinstance(leaf, Key)), key=repr)
        columns = [
            [(self._spelled(str(key.path[0])), new) for new in self._candidates(key, keys, predicate.expr)]
            for key in keys
            if len(key.path) == 1
        ]
        changes = [change for row in itertools.zip_longest(*columns) for change in row if change is not None]
        found: dict[tuple[str, object], None] = {}
        for kept in (others, firm):
            for name, new in changes:
                outcome = self.resolved({**self.first.raw, name: new})
                env = Environment(config=outcome.resolved, raw=outcome.raw)
                if outcome.failure is None and not predicate.holds(env) and all(p.holds(env) for p in kept):
                    found[name, new] = None
        yield from found

    def _candidates(self, key: Key, keys: Sequence[Key], expr: Expr) -> Iterator[object]:
        now = lookup(self.first.resolved, key.path)
        if not isinstance(now, (int, float)):
            return
        found = [lookup(self.first.resolved, other.path) for other in keys]
        found += [new for number in _numbers(expr) for new in (number, number + 1, number - 1)]
        found += [now * 2, now // 2, now + 1, now - 1, 1]
        yield from (new for new in dict.fromkeys(found) if new != now and type(new) is type(now))

    # ------------------------------------------------------------------------------------------------------ proof

    def without(self, axes: Sequence[Axis]) -> tuple[Predicate, ...] | None:
        """What is needed where the questions of all `axes` are open; None if another program may come out."""
        found = {_said(p): p for p in self.first.needs if not any(axis.covers(p) for axis in axes)}
        runs = []
        for combination in itertools.product(*((AS_IT_IS, *axis.values) for axis in axes)):
            if None in combination and len([new for new in combination if new is not AS_IT_IS]) > 1:
                continue  # a flag that is null is tried by itself
            changes = {axis.key: new for axis, new in zip(axes, combination, strict=True) if new is not AS_IT_IS}
            run = self._run(changes)
            if run is None or run.program != self.first.program:
                return None
            runs.append(run)
        for run in runs:
            found |= {_said(p): p for p in run.needs if not any(axis.covers(p) for axis in axes)}
        for name, need in list(found.items()):
            rest = [other for at, other in found.items() if at != name]
            if _is_equation(need) and all(self._goes_without_saying(need, rest, run, axes) for run in runs):
                del found[name]
        own = self.first.environment
        needs = tuple(found.values())
        return needs if all(p.holds(own) for p in needs if p.kind in CHECKED) else None

    def _goes_without_saying(self, need: Predicate, rest: list[Predicate], run: Run, axes: Sequence[Axis]) -> bool:
        """Whether one run does not need something, or it follows from the rest and from how that run answered."""
        answers = [answered for axis in axes for p in axis.asked if (answered := _answered(p, run)) is not None]
        return _said(need) not in map(_said, run.needs) or follows(need, [*rest, *answers], run.resolved)

    def _run(self, changes: Mapping[str, object]) -> Run | None:
        """The program of a changed configuration; None where there is none or surely another, or too many were tried."""
        key = tuple(sorted((name, repr(new)) for name, new in changes.items()))
        if not key:
            return self.first
        if key not in self.runs:
            if len(self.runs) >= MAX_RUNS:
                return None
            try:
                self.runs[key] = self.compiled({**self.first.raw, **changes})
            except CompileError:
                self.runs[key] = None
        return self.runs[key]


def _is_equation(predicate: Predicate) -> bool:
    """Whether sizes have to be equal, which may follow from the answer that is to change."""
    return predicate.kind is Kind.AGREEMENT and isinstance(predicate.expr, Apply) and predicate.expr.op == "=="


def _said(predicate: Predicate) -> tuple[object, ...]:
    """What tells one predicate from another, wherever it was asked."""
    return predicate.kind, predicate.expr, type(predicate.value), predicate.value, predicate.default


def _answered(predicate: Predicate, run: Run) -> Predicate | None:
    """A question with the answer that one run gave."""
    try:
        return replace(predicate, value=evaluate(predicate.expr, run.environment))  # type: ignore[arg-type]
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None


def _numbers(expr: Expr) -> Iterator[int | float]:
    match expr:
        case Const(value) if type(value) in (int, float):
            yield value  # type: ignore[misc]
        case Apply(_, args):
            for arg in args:
                yield from _numbers(arg)
        case _:
            return


# -------------------------------------------------------------------------------------------------------- comparing


def numbered(program: object) -> object:
    """A program as nested tuples, with the values of each region numbered in the order in which they occur."""
    return _numbered(program, {}, {})


def _numbered(x: object, order: dict[int, int], seen: dict[int, object]) -> object:
    kind = type(x)
    if kind in _AS_IT_IS:
        return x
    if kind is tuple:
        return tuple([_numbered(item, order, seen) for item in x])  # type: ignore[attr-defined]
    if isinstance(x, Region):
        if id(x) not in seen:
            inner: dict[int, int] = {}
            seen[id(x)] = (x.name, *(_numbered(part, inner, seen) for part in (x.params, x.nodes, x.results)))
        return seen[id(x)]
    if isinstance(x, Value):
        return ("value", order.setdefault(x.id, len(order)), x.shape, x.dtype)
    if isinstance(x, tuple):
        return tuple([_numbered(item, order, seen) for item in x])
    names = _compared(kind)  # type: ignore[arg-type]
    return x if names is None else (kind.__name__, *[_numbered(getattr(x, name), order, seen) for name in names])


_AS_IT_IS = frozenset({str, int, float, bool, type(None), DType, Const, Key, RawKey, Dim, Index, Local, Apply})
"""What no value of a region is in. Expressions are equal as the tuples of their parts would be."""


@cache
def _compared(cls: type) -> tuple[str, ...] | None:
    """The fields of a dataclass that count when two of them are compared; None for any other class."""
    return tuple(item.name for item in fields(cls) if item.compare) if is_dataclass(cls) else None
