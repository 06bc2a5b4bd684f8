"""What is known of a configuration without running its class on it: what no run looked at decided nothing.

A run notes which keys it looked at, and into which objects. Another configuration of the same form (the same keys, lists of the
same lengths; of an object that was not looked into, that it is one) that has the same values under those keys goes the same way,
whatever it has under all others; only what follows from those is another value.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

from codegen.graph.configuration import special_float
from codegen.graph.exploration.running import Outcome
from codegen.graph.exploration.variants import ABSENT
from codegen.graph.values import Looked, Read
from ir.expressions import Environment, Expr, Raw, evaluate, leaves
from ir.reading import Json, Path, lookup
from ir.records import dataclass, field, replace

Form = Hashable


class Memory:
    """Outcomes of a configuration class on variants of `base`, most of them without running it."""

    def __init__(self, run: Callable[[Mapping[str, Json]], Outcome], base: Mapping[str, Json]):
        self._run, self.base = run, base
        self.runs = 0
        self._exact: dict[Hashable, Outcome] = {}
        self._known: dict[Form, _Way] = {}
        self._users: dict[int, dict[Path, list[Path]]] = {}
        self._containers: dict[int, tuple[Json, Hashable]] = {}
        self._frozen = {name: frozen(item) for name, item in base.items()}
        self._forms = {name: form(item) for name, item in base.items()}

    def __call__(self, raw: Mapping[str, Json]) -> Outcome:
        changes = self.changes(raw)
        if changes not in self._exact:
            self._exact[changes] = self._outcome(raw, [name for name, _ in changes])
        return self._exact[changes]

    def __len__(self) -> int:
        return len(self._exact)

    def changes(self, raw: Mapping[str, Json]) -> frozenset[tuple[str, Hashable]]:
        """In what a configuration differs from the one that is compiled; equal for equal configurations."""
        return frozenset(self._changes(raw))

    def _changes(self, raw: Mapping[str, Json]) -> Iterator[tuple[str, Hashable]]:
        base = self.base
        for name, item in raw.items():
            if name not in base or item is not base[name]:
                here = self._freeze(item)
                if name not in base or here != self._frozen[name]:
                    yield name, here
        if len(raw) < len(base) or raw.keys() != base.keys():
            for name in base.keys() - raw.keys():
                yield name, ABSENT

    def _freeze(self, item: Json) -> Hashable:
        """As `frozen`, once for each object that variants share."""
        if not isinstance(item, (dict, list)):
            return frozen(item)
        if id(item) not in self._containers:
            self._containers[id(item)] = item, frozen(item)
        return self._containers[id(item)][1]

    def _outcome(self, raw: Mapping[str, Json], changes: Sequence[str]) -> Outcome:
        known = self._known.setdefault(self._form(raw, changes), _Way())
        env = Environment(raw=raw)
        like = known.end(env)
        if like is not None:
            return self._transferred(like, raw)
        self.runs += 1
        found = self._run(raw)
        known.remember(found, env)
        return found

    def _form(self, raw: Mapping[str, Json], changes: Sequence[str]) -> Form:
        found = []
        for name in changes:
            here = form(raw[name]) if name in raw else ABSENT
            if name not in self.base or here != self._forms[name]:
                found.append((name, here))
        return frozenset(found)

    def _transferred(self, like: Outcome, raw: Mapping[str, Json]) -> Outcome:
        """The outcome for a configuration that differs from that of `like` in keys that it did not look at."""
        if like.failure is not None:
            return replace(like, raw=raw)
        users = self._users.get(id(like))
        if users is None:
            users = self._users[id(like)] = _users(like.definitions)
        resolved: Any = like.resolved
        env = Environment(raw=raw)
        for path in _differing(like.raw, raw):
            for user in users.get(path, ()):
                if not isinstance(lookup(like.resolved, user), (Mapping, list, tuple)):
                    resolved = _with(resolved, user, evaluate(like.definitions[user], env))
        return replace(like, resolved=resolved, raw=raw, like=like.like or like)


@dataclass(slots=True)
class _Way:
    """Where runs go that gave the same answers so far: the question that comes next, and the ways from there by its answer.

    The source decides what is asked next; should it ever ask something else, that is another question here.
    """

    outcome: Outcome | None = None
    further: dict[Read, dict[Hashable, _Way]] = field(default_factory=dict)

    def end(self, env: Environment) -> Outcome | None:
        """The outcome of the run that a configuration goes along with to the end."""
        if self.outcome is not None:
            return self.outcome
        for question, ways in self.further.items():
            way = ways.get(_answer(question, env))
            found = way.end(env) if way is not None else None
            if found is not None:
                return found
        return None

    def remember(self, outcome: Outcome, env: Environment) -> None:
        way = self
        for question in outcome.reads:
            way = way.further.setdefault(question, {}).setdefault(_answer(question, env), _Way())
        way.outcome = outcome


def frozen(x: Json) -> Hashable:
    """A value as a key that tells types apart."""
    kind = type(x)
    if kind is float:
        return kind, repr(x)
    if isinstance(x, dict):
        return dict, frozenset((name, frozen(item)) for name, item in x.items())
    if isinstance(x, (list, tuple)):
        return list, tuple(map(frozen, x))
    return kind, x


def form(x: Json) -> Form:
    """Whether a value is an object, and how long the lists are."""
    if isinstance(x, Mapping):
        return dict if special_float(dict(x)) is None else frozen(x)
    if isinstance(x, (list, tuple)):
        return list, tuple(map(form, x))
    return None


def within(x: Json) -> Form:
    """The keys of an object, and the forms of what it holds."""
    return tuple((name, form(item)) for name, item in x.items()) if isinstance(x, Mapping) else None


def _answer(question: Read, env: Environment) -> Hashable:
    if isinstance(question, Looked):
        return within(lookup(env.raw, question.path))
    try:
        return frozen(evaluate(question, env))
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return object()  # equal to no other


def _differing(a: Json, b: Json, path: Path = ()) -> Iterator[Path]:
    """Where two configurations of the same form have other values; where nobody looked, some of the places."""
    if a is b:
        return
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for name, item in a.items():
            if name in b:
                yield from _differing(item, b[name], (*path, name))
    elif isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        for i, (left, right) in enumerate(zip(a, b, strict=False)):
            yield from _differing(left, right, (*path, i))
    elif type(a) is not type(b) or a != b:
        yield path


def _users(definitions: Mapping[Path, Expr]) -> dict[Path, list[Path]]:
    """The attributes that follow from each key."""
    found: dict[Path, list[Path]] = {}
    for path, expr in definitions.items():
        for leaf in leaves(expr):
            if isinstance(leaf, Raw):
                found.setdefault(leaf.path, []).append(path)
    return found


def _with(owner: Any, path: Path, new: Json) -> Any:
    """A copy of a nested value that has `new` at `path`."""
    if not path:
        return new
    step, rest = path[0], path[1:]
    inner = _with(owner[step], rest, new)
    if isinstance(owner, Mapping):
        return {**owner, step: inner}
    assert isinstance(step, int)
    return type(owner)([*owner[:step], inner, *owner[step + 1 :]])
