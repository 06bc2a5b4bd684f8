"""From the resolved configuration back to config.json: expressions over Key as expressions over Raw, as one run had them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from codegen.graph.exploration.running import Outcome
from codegen.graph.predicates import Kind, Predicate
from ir.expressions import OPERATIONS, Apply, Const, Expr, Index, Key, Plain, Raw, leaves, substitute
from ir.reading import Each, Json, Path, Reading, lookup, value
from ir.records import dataclass

NOT_THERE = "the configuration has no "
MAX_LIST = 4096
MAX_JOINED = 8  # questions about an index that are tried two at a time


class Unclear(Exception):
    """A value that no expression gives."""


class Uniform(Unclear):
    """A list whose elements are equal here, though questions were asked for each."""

    def __init__(self, each: Each):
        super().__init__("a list whose elements are told apart by what does not occur here")
        self.each = each


def lift(target: Expr, outcome: Outcome) -> Reading:
    """`target` over Key as an expression over Raw, as one run had it.

    Raises:
        Unclear: no expression tells.
    """
    lifted = _lift(target, outcome)
    if isinstance(lifted, _Object):
        raise Unclear("an object of the configuration is no value")
    return lifted


@dataclass(frozen=True, slots=True)
class _Unknown:
    """What an object has and no expression gives; that it is there is known."""

    error: Unclear


@dataclass(frozen=True, slots=True)
class _Object:
    """An object of the resolved configuration: what it has is decided by the run."""

    items: tuple[tuple[Plain, object], ...]

    def get(self, name: object) -> object:
        for key, item in self.items:
            if key == name:
                if isinstance(item, _Unknown):
                    raise item.error
                return item
        raise Unclear(f"{NOT_THERE}{name!r} here")


def _lift(expr: Expr, outcome: Outcome) -> Expr | Each | _Object:
    match expr:
        case Key(path):
            return _lift_key(path, outcome)
        case Apply(("in" | "not in") as op, (Const(name), Key(()))):
            return Const((name in outcome.resolved) is (op == "in"))
        case Apply(op, args):
            return _fold(op, [_lift(arg, outcome) for arg in args])
        case Const(dict() as items):
            return _Object(tuple((key, _lift(Const(item), outcome)) for key, item in items.items()))
        case _:
            return expr


def _lift_key(path: Path, outcome: Outcome) -> Expr | Each | _Object:
    defined = outcome.definitions.get(path)
    whole = isinstance(lookup(outcome.resolved, path), Mapping)
    if defined is not None and not whole and not (isinstance(defined, Apply) and defined.op == "list"):
        return defined
    found: Json = outcome.resolved
    for step in path:
        if isinstance(found, Mapping) and step in found:
            found = found[step]
        elif isinstance(found, (list, tuple)) and isinstance(step, int) and step < len(found):
            found = found[step]
        else:
            raise Unclear(f"{NOT_THERE}{'.'.join(map(str, path))}")
    if isinstance(found, Mapping):
        return _Object(tuple((name, _held((*path, name), outcome)) for name in found))
    if isinstance(found, (list, tuple)):
        items = [_lift_key((*path, i), outcome) for i in range(min(len(found), MAX_LIST))]
        each = _each(items, outcome)
        return each or Apply("list", tuple(_element(item, at, found[at], outcome) for at, item in enumerate(items)))
    if not isinstance(found, (bool, int, float, str, type(None))):
        return Const(str(found))
    return Const(found)


def _held(path: Path, outcome: Outcome) -> Expr | Each | _Object | _Unknown:
    try:
        return _lift_key(path, outcome)
    except Unclear as error:
        return _Unknown(error)


def _expression(lifted: Expr | Each | _Object) -> Expr:
    if isinstance(lifted, (_Object, Each)):
        raise Unclear("a list of lists or objects")
    return lifted


def _equal(left: _Object, right: _Object) -> Expr:
    """Whether two objects have the same keys with the same values."""
    if {key for key, _ in left.items} != {key for key, _ in right.items}:
        return Const(False)
    found: Expr = Const(True)
    for key, _ in reversed(left.items):
        pair = [left.get(key), right.get(key)]
        same: Expr = Const(True) if pair[0] == pair[1] else _expression(_fold("==", pair))  # type: ignore[arg-type]
        if same == Const(False):
            return same
        if same != Const(True):
            found = same if found == Const(True) else Apply("if", (same, found, Const(False)))
    return found


def _fold(op: str, args: list[Expr | Each | _Object]) -> Expr | _Object:
    """`op` on lifted arguments, done where they decide it."""
    match op, args:
        case "in", [Const(name), _Object() as owner]:
            return Const(any(key == name for key, _ in owner.items))
        case "not in", [Const(name), _Object() as owner]:
            return Const(all(key != name for key, _ in owner.items))
        case "keys", [_Object() as owner]:
            return Apply("list", tuple(Const(key) for key, _ in owner.items))
        case (("bool" | "not"), [_Object() as owner]):
            return Const(bool(owner.items) is (op == "bool"))
        case (("bool" | "not"), [Apply("list", items)]):
            return Const(bool(items) is (op == "bool"))
        case (("is" | "is not"), [(_Object() | Apply("list") | Each()), Const(None)]):
            return Const(op == "is not")
        case (("==" | "!="), [_Object(), Const()]):
            return Const(op == "!=")
        case (("==" | "!="), [_Object() as left, _Object() as right]):
            equal = _equal(left, right)
            return equal if op == "==" else _fold("not", [equal])
        case "type", [_Object()]:
            return Const("dict")
        case "type", [Apply("list") | Each()]:
            return Const("list")
        case "len", [_Object() as owner]:
            return Const(len(owner.items))
        case "len", [Each() as each]:
            return each.count
        case "len", [Apply("list", items)]:
            return Const(len(items))
        case "getitem", [_Object() as owner, Const(name)]:
            found = owner.get(name)
            assert not isinstance(found, Each)
            return found  # type: ignore[return-value]
        case "getitem", [Apply("list", items), Const(int() as i)] if i < len(items):
            return items[i]
        case "getitem", [Raw(path), Const((int() | str()) as step)] if not isinstance(step, bool):
            return Raw((*path, step))
    plain_args = tuple(_expression(arg) for arg in args)
    if all(_literal(arg) for arg in plain_args) and op in OPERATIONS and op != "list":
        try:
            result = value(Apply(op, plain_args), {})
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise Unclear(str(error)) from None
        if isinstance(result, (bool, int, float, str, type(None))):
            return Const(result)
        if isinstance(result, list) and all(isinstance(item, (bool, int, float, str, type(None))) for item in result):
            return Apply("list", tuple(Const(item) for item in result))
    return Apply(op, plain_args)


def _literal(expr: Expr) -> bool:
    return isinstance(expr, Const) or (isinstance(expr, Apply) and expr.op == "list" and all(map(_literal, expr.args)))


def _element(lifted: Expr | Each | _Object, at: int, found: Json, outcome: Outcome) -> Expr:
    """An element of a list that was made in a loop, by its own number; where a filter let it through, what it was. Whatever
    decided that is frozen by the proof, since disturbing it changes the list."""
    if not _speaks(lifted):
        return _expression(lifted)
    element = _expression(lifted)
    own = substitute(element, {leaf: Const(at) for leaf in leaves(element) if isinstance(leaf, Index)})
    try:
        if value(own, outcome.raw) == found:
            return _fold_all(own)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        pass
    if not isinstance(found, (bool, int, float, str, type(None))):
        raise Unclear("a list of what a filter let through")
    return Const(found)


def _fold_all(expr: Expr) -> Expr:
    """An expression with elements of lists of config.json as keys of their own."""
    match expr:
        case Apply("getitem", (Raw(path), Const(int() as at))):
            return Raw((*path, at))
        case Apply(op, args):
            return Apply(op, tuple(map(_fold_all, args)))
        case _:
            return expr


def _each(items: Sequence[Expr | Each | _Object], outcome: Outcome) -> Each | None:
    """A list that a loop over indices made: equal elements, or two kinds that a question about the index tells apart."""
    if not items or not (
        all(item == items[0] for item in items) or all(isinstance(item, Const) or _speaks(item) for item in items)
    ):
        return None
    if isinstance(items[0], (_Object, Each)):
        return None
    counts = [
        p.expr
        for p in outcome.predicates
        if p.kind is Kind.COUNT and p.value == len(items) and not isinstance(p.expr, Const) and not _is_length(p.expr)
    ]
    kinds = list(dict.fromkeys(items))
    if not counts or len(kinds) > 2:
        return None
    count, first = counts[0], _expression(kinds[0])
    asked = [p for p in outcome.predicates if p.kind is Kind.LAYER]
    if len(kinds) == 1:
        index = next((leaf for leaf in leaves(first) if isinstance(leaf, Index)), Index("layer"))
        if asked and not _speaks(first):  # one formula for all elements is what the loop makes
            raise Uniform(Each(index, count, first))
        return Each(index, count, first)
    second = _expression(kinds[1])
    for index, question, truths in _questions(asked, len(items), outcome):
        if all((item == kinds[0]) is (truth is truths[0]) for item, truth in zip(items, truths, strict=True)):
            then, otherwise = (first, second) if truths[0] else (second, first)
            return Each(index, count, then, question, otherwise)
    return None


def _questions(asked: Sequence[Predicate], count: int, outcome: Outcome) -> Iterator[tuple[Index, Expr, list[bool]]]:
    """Questions about an index and their answers for each; then two of them, joined by `and` or `or`."""
    single: list[tuple[Index, Expr, list[bool]]] = []
    for expr in dict.fromkeys(predicate.expr for predicate in asked):
        indices = {leaf for leaf in leaves(expr) if isinstance(leaf, Index)}
        index = next(iter(indices), None)
        truths = [_at(expr, index, i, outcome) for i in range(count)] if index is not None and len(indices) == 1 else []
        known = [truth for truth in truths if truth is not None]
        if index is not None and known and len(known) == count:
            single.append((index, expr, known))
    yield from single
    for (index, first, before), (other, second, after) in combinations(single[:MAX_JOINED], 2):
        if index == other:
            pairs = list(zip(before, after, strict=True))
            yield index, Apply("if", (first, second, Const(False))), [a and b for a, b in pairs]
            yield index, Apply("if", (first, Const(True), second)), [a or b for a, b in pairs]


def _is_length(expr: Expr) -> bool:
    return isinstance(expr, Apply) and expr.op == "len"


def loops_asked(outcome: Outcome) -> set[tuple[Kind, Expr]]:
    """What a run asked about the indices of loops and how long they are."""
    return {(p.kind, p.expr) for p in outcome.predicates if p.kind in (Kind.LAYER, Kind.COUNT)}


def _speaks(item: object) -> bool:
    return not isinstance(item, (_Object, Each)) and any(isinstance(leaf, Index) for leaf in leaves(item))  # type: ignore[arg-type]


def _at(expr: Expr, index: Index, i: int, outcome: Outcome) -> bool | None:
    try:
        return bool(value(substitute(expr, {index: Const(i)}), outcome.raw))
    except (ArithmeticError, LookupError, TypeError, ValueError, KeyError):
        return None
