"""What tells the layers of a list apart: questions about a layer's index, and decisions made of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from codegen.diagnostics import CompileError, Diagnostic
from ir.expressions import Apply, Const, Dim, Environment, Expr, Index, Key, evaluate, leaves, substitute
from ir.records import dataclass, field

Path = tuple[str | int, ...]
T = TypeVar("T")
LAYER = Index("layer")
FIRST = Apply("==", (LAYER, Const(0)))
MAX_QUESTIONS = 3  # in one decision
MANY = 1024  # layers: more than any model has

Parts = Sequence[int | None]  # which part each layer belongs to; None where that does not matter


@dataclass(frozen=True, slots=True)
class LayerKinds:
    """What tells layers apart: an expression over the layer's index, and its value for each layer of this checkpoint.

    `name` is what the source calls it, where it does.
    """

    element: Expr
    labels: tuple[object, ...]
    name: str = ""

    @property
    def is_condition(self) -> bool:
        return all(isinstance(label, bool) for label in self.labels)


@dataclass(frozen=True, slots=True)
class Decision:
    """A part for every answer to a question; another decision where one answer is not enough."""

    kinds: LayerKinds
    arms: tuple[tuple[object, int | Decision], ...]


@dataclass(frozen=True, slots=True)
class KnownKinds:
    """What is asked of layers over their index, the answers that some layer gives (none where any would do), and the
    conditions of the source that this says all of."""

    asked: tuple[Expr, ...] = ()
    seen: tuple[tuple[object, ...], ...] = ()
    covered: frozenset[Expr] = frozenset()


@dataclass(frozen=True, slots=True)
class Patterns:
    """The questions that a model's code asks about the index of a layer. `names` are what its modules keep the answers as;
    `held`: the keys that the emitted configuration has, once that is settled: only questions about these are asked then.
    """

    resolved: Mapping[str, object]
    conditions: tuple[Expr, ...] = ()
    names: Mapping[Expr, str] = field(default_factory=dict)
    held: frozenset[Path] | None = None

    def kinds(self, parts: Parts) -> LayerKinds:
        """The questions that tell these parts apart and no more than that, as one.

        Raises:
            CompileError: `unknown-pattern`.
        """
        found = self.questions(len(parts))
        for number in range(1, MAX_QUESTIONS + 1):
            for chosen in itertools.combinations(found, number):
                joined = _joined(chosen)
                if _canonical(joined.labels) == _canonical(parts):
                    return joined
        return _joined(tuple(dict.fromkeys(_asked(self.decision(parts)))))

    def finer(self, parts: Parts) -> LayerKinds:
        """The questions that tell at least these parts apart, as one.

        Raises:
            CompileError: `unknown-pattern`.
        """
        return _joined(tuple(dict.fromkeys(_asked(self.decision(parts)))))

    def decision(self, parts: Parts) -> Decision:
        """The shortest way to say which part a layer belongs to.

        Raises:
            CompileError: `unknown-pattern`.
        """
        found = self.questions(len(parts))
        for depth in range(1, MAX_QUESTIONS + 1):
            made = _decided(tuple(parts), found, depth)
            if isinstance(made, Decision):
                return made
        if _is_first_alone(
            parts
        ):  # it has nothing of the layers before it; every other one has what the one before handed on
            labels = tuple(at == 0 for at in range(len(parts)))
            return Decision(LayerKinds(FIRST, labels), ((True, parts[0] or 0), (False, parts[-1] or 0)))
        if self.conditions:  # what the source asks makes all the difference, but not in a way that is written down here
            by_number = [LayerKinds(LAYER, tuple(range(len(parts))))]
            made = _decided(tuple(parts), by_number, 1)
            if isinstance(made, Decision):
                return made
        raise CompileError(
            Diagnostic(
                "unknown-pattern",
                f"layers differ in a pattern that nothing in the configuration has: {tuple(parts)}",
                help="the source tells them apart by something that is not followed to the index of the layer",
            )
        )

    def asked(self, parts: Parts) -> tuple[LayerKinds, ...]:
        """Every question that telling these parts apart may take."""
        found = {kinds.element: kinds for kinds in _asked(self.decision(parts))}
        joined = self.kinds(parts)
        whole = [kinds for kinds in self.questions(len(parts)) if kinds.element in _parts_of(joined.element)]
        return (*found.values(), *(kinds for kinds in whole if kinds.element not in found))

    def spelled(self, kinds: LayerKinds) -> Expr:
        """The question as it is written: one about a list that was written down here asks for the layers in it."""
        match kinds.element:
            case Apply("tuple", elements):
                single = {own.element: own for own in self.questions(len(kinds.labels))}
                return Apply("tuple", tuple(self.spelled(single[e]) if e in single else e for e in elements))
            case element if is_recorded(element) and kinds.is_condition:
                return Apply(
                    "in", (LAYER, Apply("tuple", tuple(Const(i) for i, own in enumerate(kinds.labels) if own)))
                )
            case element:
                return element

    def pins(self) -> tuple[Expr, ...]:
        """What must hold where kinds of layers were written down: the lists that the source asks about stay as they are."""
        lists = {path: values for path, values in _lists_of(self.resolved)}
        keys = {leaf.path for expr in self.conditions for leaf in leaves(expr) if isinstance(leaf, Key)}
        return tuple(
            Apply("==", (Key(path), Apply("list", tuple(Const(value) for value in lists[path]))))  # type: ignore[arg-type]
            for path in sorted(keys & lists.keys(), key=repr)
        )

    def fixed(self) -> tuple[Expr, ...]:
        """What must hold where layers are told apart by their numbers: all that the source asks about layers stays as it is."""
        asked = (*self.conditions, *self.names)
        keys = {leaf.path for expr in asked for leaf in leaves(expr) if isinstance(leaf, Key)}
        held = {path: evaluate(Key(path), Environment(self.resolved)) for path in keys}
        return tuple(Apply("==", (Key(path), _constant(value))) for path, value in sorted(held.items(), key=repr))

    def known(self, length: int, used: Iterable[LayerKinds]) -> KnownKinds:
        """The kinds of layers that there are, by all that the source asks of layers and all that is asked in its place (`used`)
        together: the code for others has not been seen.

        A question on the number of a layer alone counts where another that is used says the same of these layers.
        """
        parts = [_whole(part) for kinds in used for part in _parts_of(kinds.element)]
        found = {part: labels for part in parts if (labels := self._labels(part, length)) is not None}
        partitions = {_canonical(labels) for labels in found.values()}
        covered = []
        for expr in self.conditions:
            element = _whole(expr)
            labels = self._labels(element, length) if _is_about_a_layer(expr) else None
            if labels is None or self._is_settled(element, labels):
                continue
            if any(_keys(element)) or _canonical(labels) in partitions:
                found.setdefault(element, labels)
                covered.append(expr)
        seen = tuple(dict.fromkeys(zip(*found.values(), strict=True)))
        sizes = [len({*labels}) if _is_entry(element) else 2 for element, labels in found.items()]
        return KnownKinds(tuple(found), () if len(seen) == math.prod(sizes) else seen, frozenset(covered))

    def _labels(self, element: Expr, length: int) -> tuple[object, ...] | None:
        """The answers of all layers; None of what asks for whole objects, which stay as they are."""
        try:
            if any(isinstance(evaluate(key, Environment(self.resolved)), Mapping) for key in _keys(element)):
                return None
            values = [evaluate(element, Environment(self.resolved, indices={LAYER.name: i})) for i in range(length)]
        except (KeyError, TypeError, IndexError, ValueError, ArithmeticError):
            return None
        if _is_entry(element):
            return tuple(values) if all(isinstance(value, (str, int, type(None))) for value in values) else None
        return tuple(map(bool, values))

    def _is_settled(self, element: Expr, labels: tuple[object, ...]) -> bool:
        """Whether all layers give one answer, however many there are."""
        if len({*labels}) > 1 or _is_entry(element):
            return False
        more = self._labels(element, MANY)
        return more is not None and len({*more}) == 1

    def questions(self, length: int) -> list[LayerKinds]:
        """Lists of the configuration with one entry a layer, then conditions on the index; of those that say the same the first."""
        found: dict[tuple[int, ...], LayerKinds] = {}
        named: dict[tuple[int, ...], list[LayerKinds]] = {}
        for kinds in self._asked(length):
            if self.held is not None and any(leaf.path not in self.held for leaf in _keys(kinds.element)):
                continue
            pattern = _canonical(kinds.labels)
            found.setdefault(pattern, kinds)
            if kinds.name:
                named.setdefault(pattern, []).append(kinds)
        return [_called(kinds, named.get(pattern, [])) for pattern, kinds in found.items()]

    def _asked(self, length: int) -> Iterator[LayerKinds]:
        for path, values in _lists_of(self.resolved):
            if len(values) == length and len(set(values)) > 1:
                yield LayerKinds(Apply("getitem", (Key(path), LAYER)), tuple(values))
        asked = [
            kinds for expr in (*self.conditions, *self.names) if (kinds := self._answers(expr, length)) is not None
        ]
        yield from sorted(asked, key=lambda kinds: is_recorded(kinds.element))

    def _answers(self, expr: Expr, length: int) -> LayerKinds | None:
        """An expression over one loop's index, for every layer; None if it depends on more, or on less."""
        indices = {leaf for leaf in leaves(expr) if isinstance(leaf, Index)}
        if len(indices) != 1 or any(isinstance(leaf, Dim) for leaf in leaves(expr)):
            return None
        (index,) = indices
        try:
            values = [evaluate(expr, Environment(self.resolved, indices={index.name: i})) for i in range(length)]
        except (KeyError, TypeError, IndexError, ValueError, ArithmeticError):
            return None
        labels = tuple(value if isinstance(value, str) else bool(value) for value in values)
        if len(set(labels)) == 1:
            return None
        if isinstance(labels[0], str) and not any(isinstance(leaf, Key) for leaf in leaves(expr)):
            return None  # a name that says which layer it is says nothing of what is in it
        return LayerKinds(substitute(expr, {index: LAYER}), labels, self.names.get(expr, ""))


def parts_of(values: Iterable[object]) -> tuple[int, ...]:
    """Which values are equal, as numbers in the order of their first appearance."""
    known: dict[object, int] = {}
    return tuple(known.setdefault(value, len(known)) for value in values)


def decided(decision: int | Decision, leaf: Callable[[int], T], branch: Callable[[LayerKinds, object, T, T], T]) -> T:
    """A decision as nested choices: `branch(kinds, answer, then, otherwise)`."""
    if not isinstance(decision, Decision):
        return leaf(decision)
    *others, (_, last) = decision.arms
    made = decided(last, leaf, branch)
    for answer, arm in reversed(others):
        made = branch(decision.kinds, answer, decided(arm, leaf, branch), made)
    return made


def _decided(parts: tuple[int | None, ...], questions: Sequence[LayerKinds], depth: int) -> int | Decision | None:
    """The decision with the fewest arms among those of the least depth."""
    known = {part for part in parts if part is not None}
    if len(known) <= 1:
        return next(iter(known), 0)
    if depth == 0:
        return None
    best: Decision | None = None
    for kinds in questions:
        arms: list[tuple[object, int | Decision]] = []
        for label in dict.fromkeys(kinds.labels):
            inside = tuple(part if own == label else None for part, own in zip(parts, kinds.labels, strict=True))
            if all(part is None for part in inside):
                continue
            arm = _decided(inside, questions, depth - 1)
            if arm is None:
                break
            arms.append((label, arm))
        else:
            merged = _merged(arms)
            if len(merged) > 1 and (best is None or _size(Decision(kinds, merged)) < _size(best)):
                best = Decision(kinds, merged)
    return best


def _merged(arms: list[tuple[object, int | Decision]]) -> tuple[tuple[object, int | Decision], ...]:
    """The arms of a question that several answers lead to are asked for one by one, but for the last."""
    most = max((arm for _, arm in arms), key=lambda arm: sum(other == arm for _, other in arms))
    if sum(other == most for _, other in arms) == 1:
        return tuple(arms)
    others = [(label, arm) for label, arm in arms if arm != most]
    return (*others, next((label, arm) for label, arm in arms if arm == most))


def _size(decision: int | Decision) -> int:
    return 1 + sum(_size(arm) for _, arm in decision.arms) if isinstance(decision, Decision) else 1


def _asked(decision: int | Decision) -> Iterator[LayerKinds]:
    if isinstance(decision, Decision):
        yield decision.kinds
        for _, arm in decision.arms:
            yield from _asked(arm)


def _joined(chosen: Sequence[LayerKinds]) -> LayerKinds:
    if len(chosen) == 1:
        return chosen[0]
    labels = tuple(zip(*(kinds.labels for kinds in chosen), strict=True))
    return LayerKinds(Apply("tuple", tuple(kinds.element for kinds in chosen)), labels)


def _canonical(labels: Iterable[object]) -> tuple[int, ...]:
    return parts_of(labels)


def _called(kinds: LayerKinds, named: Sequence[LayerKinds]) -> LayerKinds:
    """The question under the name that the source has for it, the other way round if its name says the opposite."""
    same = next((other for other in named if other.labels == kinds.labels), None)
    if same is not None:
        return LayerKinds(kinds.element, kinds.labels, same.name)
    if named and kinds.is_condition and named[0].is_condition:
        return LayerKinds(_negated(kinds.element), named[0].labels, named[0].name)
    return kinds


_OPPOSITES = {"<": ">=", ">=": "<", ">": "<=", "<=": ">", "==": "!=", "!=": "==", "in": "not in", "not in": "in"}


def _negated(expr: Expr) -> Expr:
    match expr:
        case Apply("not", (inner,)):
            return inner
        case Apply("bool", (inner,)):
            return _negated(inner)
        case Apply(op, args) if op in _OPPOSITES:
            return Apply(_OPPOSITES[op], args)
        case _:
            return Apply("not", (expr,))


def _constant(value: object) -> Expr:
    """A value of the configuration, as it is."""
    if isinstance(value, (list, tuple)):
        return Apply("list", tuple(map(_constant, value)))
    return Const(value)  # type: ignore[arg-type]


def is_recorded(expr: Expr) -> bool:
    """Whether an expression takes a layer's entry out of a list that the compiler wrote down."""
    match expr:
        case Apply("getitem", (Apply("list", _), _)):
            return True
        case Apply(_, args):
            return any(is_recorded(arg) for arg in args)
        case _:
            return False


def _is_entry(expr: Expr) -> bool:
    """Whether an expression is the entry of a layer in a list of the configuration."""
    match expr:
        case Apply("getitem", (Key(), Index())):
            return True
    return False


def _is_about_a_layer(expr: Expr) -> bool:
    return {leaf for leaf in leaves(expr) if isinstance(leaf, Index)} == {LAYER} and not is_recorded(expr)


def _is_first_alone(parts: Parts) -> bool:
    """Whether the first layer is of one part, and all that follow, two at least, of another."""
    others = {*parts[1:]}
    return len(parts) > 2 and len(others) == 1 and None not in others and parts[0] not in {None, *others}


def _whole(expr: Expr) -> Expr:
    """A question that follows from the entry of a layer in a list alone as that entry."""
    entries = {part for part in _within(expr) if _is_entry(part)}
    if len(entries) != 1:
        return expr
    (entry,) = entries
    others = leaves(substitute(expr, {entry: Const(None)}))
    return expr if others else entry


def _within(expr: Expr) -> Iterator[Expr]:
    yield expr
    if isinstance(expr, Apply):
        for arg in expr.args:
            yield from _within(arg)


def _keys(expr: Expr) -> Iterator[Key]:
    return (leaf for leaf in leaves(expr) if isinstance(leaf, Key))


def _parts_of(expr: Expr) -> tuple[Expr, ...]:
    return expr.args if isinstance(expr, Apply) and expr.op == "tuple" else (expr,)


def _lists_of(value: object, path: Path = ()) -> Iterator[tuple[Path, list[object]]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _lists_of(inner, (*path, key))
    elif isinstance(value, (list, tuple)) and value and all(isinstance(v, (str, int, bool)) for v in value):
        yield path, list(value)
