"""Sizes of one name: where layers hand on what they take for equal, it is one size in what is compiled.

A configuration may name a size twice, as where the embedding is as wide as the layers. The first layer then takes values of the
one size where the next ones take those of the other, and looks unlike them though it is not. An equality that an operation
relied on is demanded of every configuration (see agreements.py), so that either name will do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from typing import Any

from codegen.graph.regions import frames_of, nodes_of
from codegen.graph.tensor_ops.shapes import count
from codegen.graph.values import Frame, Node, Scalar, Size, TensorValue, expr_of, tensors_in
from ir.expressions import Apply, Expr, Key, substitute
from ir.records import fields, is_dataclass
from ir.spans import Span

Names = Mapping[Expr, Expr]
"""A key -> the key that stands for it."""


def names(frame: Frame, agreements: Iterable[tuple[Size, Size, Span | None]], tree: Callable[[], object]) -> Names:
    """Of keys that have to be equal and that layers in a row take for each other, that which the modules have most often stands
    for all.
    """
    agreed = {frozenset((a, b)) for a, b in _exprs(agreements) if isinstance(a, Key) and isinstance(b, Key) and a != b}
    pairs = [pair for pair in dict.fromkeys(_taken_alike(frame)) if frozenset(pair) in agreed] if agreed else []
    groups: dict[Key, set[Key]] = {}
    for left, right in pairs:
        joined = groups.get(left, {left}) | groups.get(right, {right})
        groups |= dict.fromkeys(joined, joined)
    counted = Counter(_keys(tree())) if groups else Counter()
    chosen = {key: max(group, key=lambda key: (counted[key], str(key.path))) for key, group in groups.items()}
    return {key: name for key, name in chosen.items() if key != name}


def _exprs(agreements: Iterable[tuple[Size, Size, Span | None]]) -> Iterator[tuple[Expr, Expr]]:
    return ((expr_of(a), expr_of(b)) for a, b, _ in agreements)


def _taken_alike(root: Frame) -> Iterator[tuple[Key, Key]]:
    """Sizes of what one iteration of a loop takes and the next one does not, beside those of what the next one takes instead."""
    for frame in frames_of(root):
        turns = [item for item in frame.body if isinstance(item, Frame) and item.kind == "iteration"]
        for one, other in zip(turns, turns[1:], strict=False):
            if other.index != one.index + 1:
                continue
            first, second = _taken(one), _taken(other)
            for before, after in product(first - second, second - first):
                if [count(size) for size in before.shape] == [count(size) for size in after.shape]:
                    for a, b in zip(before.shape, after.shape, strict=True):
                        if (
                            isinstance(left := expr_of(a), Key)
                            and isinstance(right := expr_of(b), Key)
                            and left != right
                        ):
                            yield left, right


def _taken(frame: Frame) -> set[TensorValue]:
    """What is used in a frame and made outside of it."""
    nodes = [node for node, _ in nodes_of(frame)]
    made = {value for node in nodes for value in node.results}
    return {value for node in nodes for value in tensors_in(node.args)} - made


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
