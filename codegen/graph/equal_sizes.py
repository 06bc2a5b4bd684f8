"""Sizes of one name: what an operation of the model takes for equal is one size in what is compiled.

A configuration may name a size twice, as where the embedding is as wide as the layers. The source then passes values of the one
size where those of the other are meant, and the first layer looks unlike the others though it is not. An equality that an
operation relied on is demanded of every configuration (see agreements.py), so that either name will do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from codegen.graph.regions import frames_of
from codegen.graph.values import Frame, Node, Scalar, Size, expr_of, tensors_in
from ir.expressions import Apply, Expr, Key, substitute
from ir.spans import Span

T = TypeVar("T")
Names = Mapping[Expr, Expr]
"""A key -> the key that stands for it."""


def names(agreements: Iterable[tuple[Size, Size, Span | None]], tree: object) -> Names:
    """Of keys that have to be equal, that which the modules have most often stands for all."""
    pairs = dict.fromkeys(
        (left, right)
        for a, b, _ in agreements
        if isinstance(left := expr_of(a), Key) and isinstance(right := expr_of(b), Key) and left != right
    )
    groups: dict[Key, set[Key]] = {}
    for left, right in pairs:
        joined = groups.get(left, {left}) | groups.get(right, {right})
        groups |= dict.fromkeys(joined, joined)
    counted = Counter(_keys(tree)) if groups else Counter()
    chosen = {key: max(group, key=lambda key: (counted[key], str(key.path))) for key, group in groups.items()}
    return {key: name for key, name in chosen.items() if key != name}


def rename_trace(frame: Frame, names: Names) -> None:
    """Put the names into what was recorded below `frame`: the shapes of values, and the numbers that operations take."""
    if not names:
        return
    for inner in frames_of(frame):
        inner.bindings = [(name, _renamed(value, names)) for name, value in inner.bindings]
        for node in inner.body:
            if isinstance(node, Node):
                node.args = _renamed(node.args, names)
                for value in (*tensors_in(node.args), *node.results):
                    value.shape = _renamed(value.shape, names)


def renamed(whole: T, names: Names) -> T:
    """Modules and regions with the names put in."""
    return _Renaming(names).of(whole) if names else whole


def _renamed(x: Any, names: Names) -> Any:
    """Of the argument of an operation."""
    match x:
        case Scalar(value, expr):
            return Scalar(value, substitute(expr, names))
        case tuple() | list():
            return type(x)(_renamed(item, names) for item in x)
        case slice():
            return slice(*(_renamed(item, names) for item in (x.start, x.stop, x.step)))
        case _:
            return x


def _keys(whole: object) -> Iterator[Key]:
    """Every key, as often as it is there."""
    left = [whole]
    while left:
        match left.pop():
            case Key() as key:
                yield key
            case Apply(_, args):
                left += args
            case tuple() | list() as items:
                left += items
            case node if is_dataclass(node):
                left += [getattr(node, field.name) for field in fields(node)]


class _Renaming:
    """Keys replaced wherever they stand; what holds none stays the object that it is."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.known: dict[int, tuple[object, object]] = {}  # by identity: parts are shared

    def of(self, node: Any) -> Any:
        if isinstance(node, Key | Apply):
            return substitute(node, self.names)
        if id(node) not in self.known:
            self.known[id(node)] = node, self._made(node)
        return self.known[id(node)][1]

    def _made(self, node: Any) -> Any:
        if isinstance(node, tuple):
            made = tuple(map(self.of, node))
            return node if all(new is old for new, old in zip(made, node, strict=True)) else made
        if not is_dataclass(node):
            return node
        values = {field.name: getattr(node, field.name) for field in fields(node) if field.init}
        made_of = {name: self.of(value) for name, value in values.items()}
        changed = any(made_of[name] is not values[name] for name in values)
        return replace(node, **made_of) if changed else node  # type: ignore[type-var]
