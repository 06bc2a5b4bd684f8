"""What expressions speak of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from codegen.graph.exploration.variants import is_plain_list
from codegen.graph.predicates import Kind, Predicate
from ir.expressions import Apply, Const, Expr, Key, leaves, substitute
from ir.reading import Json, Path, lookup, raw_paths, value
from ir.records import replace


def vocabulary_of(targets: Iterable[Expr]) -> frozenset[str]:
    """Names that are looked for within objects of the configuration."""
    words: set[str] = set()
    for target in targets:
        words |= {
            step for leaf in leaves(target) if isinstance(leaf, Key) for step in leaf.path[1:] if isinstance(step, str)
        }
        words |= _sought(target)
    return frozenset(words)


def _sought(expr: Expr) -> set[str]:
    match expr:
        case Apply("in" | "not in", (Const(str() as name), container)):
            return {name} | _sought(container)
        case Apply(_, args):
            return set().union(*map(_sought, args)) if args else set()
        case _:
            return set()


def with_elements(predicates: Iterable[Predicate], resolved: Mapping[str, Json]) -> list[Predicate]:
    """The predicates with single elements of a list taken from the list, and names taken from lists as what they are here."""
    found = [replace(p, expr=_elements(p.expr, resolved)) for p in predicates]
    pins: dict[Expr, Expr] = {}
    for predicate in found:
        match predicate:
            case Predicate(kind=Kind.KEY, expr=Apply("getitem", (Key(), Const(int()))) as expr):
                pins[expr] = Const(predicate.value)
    return [p if p.expr in pins else replace(p, expr=_stepped(substitute(p.expr, pins))) for p in found]


def _elements(expr: Expr, resolved: Mapping[str, Json]) -> Expr:
    match expr:
        case Key((*owner, int() as i)) if owner and isinstance(lookup(resolved, tuple(owner)), (list, tuple)):
            return Apply("getitem", (Key(tuple(owner)), Const(i)))
        case Apply(op, args):
            return Apply(op, tuple(_elements(arg, resolved) for arg in args))
        case _:
            return expr


def _stepped(expr: Expr) -> Expr:
    """`expr` with what is taken from an object under a known name as a longer path."""
    match expr:
        case Apply("getitem", (owner, Const(str() as name))):
            inner = _stepped(owner)
            return Key((*inner.path, name)) if isinstance(inner, Key) else Apply("getitem", (inner, Const(name)))
        case Apply(op, args):
            return Apply(op, tuple(map(_stepped, args)))
        case _:
            return expr


def paths_of(expr: Expr) -> set[Path]:
    return {path for path in raw_paths(expr) if path}


def constants_of(expr: Expr) -> Iterator[Json]:
    match expr:
        case Apply(_, args):
            for arg in args:
                if isinstance(arg, Const):
                    yield arg.value
                yield from constants_of(arg)
        case _:
            return


def holds(expr: Expr, raw: Mapping[str, Json]) -> bool | None:
    try:
        return bool(value(expr, raw))
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError):
        return None


def is_scalar(expr: Expr, resolved: Mapping[str, Json]) -> bool:
    """Whether an expression takes no objects from the configuration."""
    found = [lookup(resolved, leaf.path) for leaf in leaves(expr) if isinstance(leaf, Key)]
    return not any(
        isinstance(item, Mapping) or (isinstance(item, (list, tuple)) and not is_plain_list(item)) for item in found
    )
