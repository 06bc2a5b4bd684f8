"""What a run asked of config.json, and choices by the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from codegen.graph.exploration.expressions import holds
from codegen.graph.predicates import Kind, Predicate
from ir.expressions import Apply, Const, Expr, Raw, leaves
from ir.reading import Choice, Each, Json, Reading, choice, lookup, raw_paths

Test = tuple[Expr, bool]


def questions_of(predicates: Iterable[Predicate]) -> Iterator[Test]:
    """What a run asked of config.json, as tests and their outcomes."""
    for predicate in predicates:
        if predicate.kind in (Kind.COUNT, Kind.LAYER, Kind.TYPE) or not any(
            isinstance(leaf, Raw) for leaf in leaves(predicate.expr)
        ):
            continue
        if any(not isinstance(leaf, Raw) for leaf in leaves(predicate.expr)) or _about_keys(predicate.expr):
            continue
        if isinstance(predicate.value, bool):
            yield normal(
                predicate.expr if is_boolean(predicate.expr) else Apply("bool", (predicate.expr,)), predicate.value
            )
        else:
            yield Apply("==", (predicate.expr, Const(predicate.value))), True


def about_the_list(test: Test, raw: Mapping[str, Json]) -> Test:
    """A question for the number that stands somewhere in a list, as one for the whole list; any other as it is."""
    match test[0]:
        case Apply("==", (number, Const(int()))) if len(leaves(number)) == 1:
            (leaf,) = leaves(number)
            owner = leaf.path[:-1] if isinstance(leaf, Raw) and isinstance(leaf.path[-1], int) else ()
            found = lookup(raw, owner) if owner else None
            if isinstance(found, list) and all(type(item) is int for item in found):
                return Apply("==", (Raw(owner), Apply("list", tuple(map(Const, found))))), True
    return test


def is_about_elements(expr: Expr) -> bool:
    """Whether a question is one for a whole list."""
    return isinstance(expr, Apply) and expr.op == "==" and isinstance(expr.args[1], Apply) and expr.args[1].op == "list"


def is_count_of(expr: Expr, found: Reading) -> bool:
    """Whether a question is whether a key is one number, or one text of as many letters, for which a list was made element by
    element."""
    match expr, found:
        case Apply("==", (Raw(), Const(str(text)))), Apply("list", items):
            return len(text) == len(items) > 0 and all(isinstance(item, Const) for item in items)
        case Apply("==", (Raw(), Const(int(number)))), Apply("list", items):
            return not isinstance(number, bool) and bool(items) and all(isinstance(item, Const) for item in items)
        case _:
            return False


def _about_keys(expr: Expr) -> bool:
    """Whether a question is about all the keys of an object; single ones are asked for by name as well."""
    return isinstance(expr, Apply) and (expr.op == "keys" or any(map(_about_keys, expr.args)))


_OPPOSITE = {"is not": "is", "!=": "==", "not in": "in"}
_BOOLEAN = frozenset({"is", "is not", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "not", "bool"})


def is_boolean(expr: Expr) -> bool:
    return isinstance(expr, Apply) and expr.op in _BOOLEAN


def normal(expr: Expr, truth: bool) -> Test:
    """A question without negation."""
    while isinstance(expr, Apply):
        if expr.op == "not":
            expr, truth = expr.args[0], not truth
            if not is_boolean(expr):
                expr = Apply("bool", (expr,))
        elif expr.op in _OPPOSITE:
            expr, truth = Apply(_OPPOSITE[expr.op], expr.args), not truth
        elif expr.op == "bool" and is_boolean(expr.args[0]):
            expr = expr.args[0]
        else:
            break
    return expr, truth


def chosen(test: Expr, then: Reading, otherwise: Reading) -> Reading:
    """A choice; that a key is there need not be asked where the next question says the same of None."""
    match test, then:
        case Apply("in", (Const(str() as name), Raw(path))), Choice(inner, yes, no) if raw_paths(inner) == {
            (*path, name)
        }:
            absent = holds(inner, {})
            if absent is not None and (yes if absent else no) == otherwise and is_boolean(inner) and inner.op != "in":  # type: ignore[union-attr]
                return then
        case Apply("in", (Const(str() as name), Raw(path))), _ if then == Raw((*path, name)) and otherwise == Const(
            None
        ):
            return then
        case Apply("is", (Raw() as owner, Const(None))), _:
            match otherwise:
                case Choice(Apply("bool", (again,)), _, empty) if again == owner and empty == then:
                    return otherwise
        case Apply("bool", (Raw() as owner,)), _:
            match otherwise:
                case Choice(Apply("is", (again, Const(None))), null, other) if again == owner and null == other:
                    return choice(test, then, other)
        case _, Each() if isinstance(otherwise, Each):
            joined = _joined_lists(test, then, otherwise)
            if joined is not None:
                return joined
    if isinstance(then, Choice) and isinstance(otherwise, Choice) and then.test == otherwise.test:
        if then.otherwise == otherwise.otherwise:
            return chosen(then.test, chosen(test, then.then, otherwise.then), then.otherwise)
        if then.then == otherwise.then:
            return chosen(then.test, then.then, chosen(test, then.otherwise, otherwise.otherwise))
    return choice(test, then, otherwise)


def way_of(reading: Reading, raw: Mapping[str, Json]) -> list[Test]:
    """The choices that lead `raw` to its end."""
    found: list[Test] = []
    while isinstance(reading, Choice):
        truth = bool(holds(reading.test, raw))
        found.append((reading.test, truth))
        reading = reading.then if truth else reading.otherwise
    return found


def end_of(reading: Reading, raw: Mapping[str, Json]) -> Reading:
    while isinstance(reading, Choice):
        reading = reading.then if holds(reading.test, raw) else reading.otherwise
    return reading


def unless(tests: Sequence[Test], end: Reading, other: Reading) -> Reading:
    """`other` where all tests turn out so, else `end`."""
    found = other
    for test, truth in tests:
        found = Choice(test, found, end) if truth else Choice(test, end, found)
    return found


def at_end(reading: Reading, way: Sequence[Test], change: Callable[[Reading], Reading]) -> Reading:
    """The reading with another end of one way."""
    if not way or not isinstance(reading, Choice):
        return change(reading)
    (_, truth), *rest = way
    if truth:
        return Choice(reading.test, at_end(reading.then, rest, change), reading.otherwise)
    return Choice(reading.test, reading.then, at_end(reading.otherwise, rest, change))


def _joined_lists(test: Expr, then: Each, otherwise: Each) -> Each | None:
    """Two loops that differ in numbers alone, as one loop that chooses the numbers."""
    if then.index != otherwise.index:
        return None
    pairs = [
        (then.count, otherwise.count), (then.element, otherwise.element), (then.test, otherwise.test), (then.otherwise, otherwise.otherwise)
    ]  # fmt: skip
    if any((a is None) != (b is None) for a, b in pairs):
        return None
    made = [a if a is None or b is None else _joined(test, a, b) for a, b in pairs]
    count, element, condition, other = made
    assert count is not None and element is not None
    return Each(then.index, count, element, condition, other)


def _joined(test: Expr, a: Expr, b: Expr) -> Expr:
    if a == b:
        return a
    if isinstance(a, Apply) and isinstance(b, Apply) and a.op == b.op and len(a.args) == len(b.args):
        return Apply(a.op, tuple(_joined(test, x, y) for x, y in zip(a.args, b.args, strict=True)))
    return Apply("if", (test, a, b))
