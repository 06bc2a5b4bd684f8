"""Which expert a token goes to, as the source writes it down: masks over experts, and the experts that any token goes to."""

from __future__ import annotations

from codegen.graph.scalars import same
from codegen.graph.tensor_ops.shapes import count
from codegen.graph.values import Node, Scalar, Size, TensorValue, Trace, value_of
from ir.expressions import Dim
from ir.records import dataclass


@dataclass(frozen=True, slots=True)
class Routing:
    """A mask over experts: `index` holds an expert below `classes` in every place.

    `axes` are the axes of the mask: an axis of `index`, or None for that of the experts.
    """

    index: TensorValue
    classes: Size
    axes: tuple[int | None, ...]


def routing_of(trace: Trace, mask: TensorValue) -> Routing | None:
    """What a mask says; None if it was not made from indices of experts alone."""
    node = trace.made.get(mask)
    if node is None:
        return None
    if node.op == "one_hot":
        index, classes = node.args
        assert isinstance(index, TensorValue)
        return Routing(index, classes, (*range(len(index.shape)), None))  # type: ignore[arg-type]
    source = node.args[0] if node.args else None
    if not isinstance(source, TensorValue) or node.op not in ("permute", "transpose", "cast"):
        return None
    inner = routing_of(trace, source)
    if inner is None or node.op == "cast":
        return inner
    rank = len(inner.axes)
    if node.op == "permute":
        order = [_int(d) % rank for d in node.args[1]]  # type: ignore[attr-defined]
    else:
        order = list(range(rank))
        a, b = (_int(d) % rank for d in node.args[1:])
        order[a], order[b] = order[b], order[a]
    return Routing(inner.index, inner.classes, tuple(inner.axes[axis] for axis in order))


def experts_hit(trace: Trace, items: TensorValue) -> Routing | None:
    """The routing of a list of all experts that some token goes to; None if `items` is nothing of the kind."""
    node = trace.made.get(items)
    while node is not None and _keeps_list(node):
        source = node.args[0]
        assert isinstance(source, TensorValue)
        node = trace.made.get(source)
    if node is None or node.op != "nonzero":
        return None
    (condition,) = node.args
    assert isinstance(condition, TensorValue)
    return _any_token(trace, condition) if len(condition.shape) == 1 else None


def depends_on_data(size: Size) -> bool:
    """Whether a size is known only when the model has run so far."""
    return isinstance(size, Scalar) and isinstance(size.expr, Dim) and size.expr.name.startswith("hits")


def _keeps_list(node: Node) -> bool:
    """Whether an operation leaves the list of experts what it is, but for axes of size one."""
    if node.op == "getitem":
        index = node.args[1]
        return isinstance(index, tuple) and len(index) == 2 and index[0] == slice(None) and index[1] == 0
    return node.op in ("squeeze", "cast", "reshape") and value_of(node.results[0].shape[0]) == value_of(
        node.args[0].shape[0]  # type: ignore[attr-defined]
    )


def _any_token(trace: Trace, condition: TensorValue) -> Routing | None:
    """The routing of a flag for every expert: whether any token goes to it."""
    node = trace.made.get(condition)
    if node is None:
        return None
    match node.op, node.args:
        case "gt" | "ne", (TensorValue() as counts, number) if value_of(number) == 0:
            return _reduced(trace, counts, "sum")
        case "ge", (TensorValue() as counts, number) if value_of(number) == 1:
            return _reduced(trace, counts, "sum")
        case "cast", (TensorValue() as counts, _):
            return _reduced(trace, counts, "sum")
        case _:
            return _reduced(trace, condition, "any") or _reduced(trace, condition, "sum")


def _reduced(trace: Trace, counts: TensorValue, op: str) -> Routing | None:
    """The routing whose mask is reduced over everything but the experts."""
    reduced = _reductions(trace, counts, op)
    return reduced if reduced is not None and reduced.axes == (None,) else None


def _reductions(trace: Trace, counts: TensorValue, op: str) -> Routing | None:
    """The routing of a mask, with the axes that are left after reductions by `op`."""
    node = trace.made.get(counts)
    if node is None or node.op != op:
        return routing_of(trace, counts)
    source, dims, keepdim = node.args[:3]
    inner = _reductions(trace, source, op) if isinstance(source, TensorValue) else None
    if inner is None or dims is None or keepdim is not False:
        return None
    rank = len(inner.axes)
    gone = {_int(d) % rank for d in (dims if isinstance(dims, tuple) else (dims,))}
    return Routing(inner.index, inner.classes, tuple(a for at, a in enumerate(inner.axes) if at not in gone))


_LEAVES_ALONE = frozenset(
    "reshape transpose permute cast getitem gather expand unsqueeze squeeze flip repeat repeat_interleave index_select".split()
)


def bound_of(trace: Trace, index: TensorValue) -> Size | None:
    """A size that no element of a tensor of indices reaches; None if the operations that made it do not say."""
    node = trace.made.get(index)
    if node is None:
        return None
    if node.op in ("topk", "sort") and node.results[-1] is index:
        source, axis = node.args[0], node.args[2] if node.op == "topk" else node.args[1]
    elif node.op in ("argmax", "argmin", "argsort"):
        source, axis = node.args[0], node.args[1]
    elif node.op in ("max_dim", "min_dim") and node.results[-1] is index:
        source, axis = node.args[0], node.args[1]
    elif node.op in _LEAVES_ALONE and isinstance(node.args[0], TensorValue):
        return bound_of(trace, node.args[0])
    elif node.op in ("cat", "stack"):
        bounds = [bound_of(trace, part) for part in node.args[0]]  # type: ignore[attr-defined]
        first = bounds[0]
        agreed = first is not None and all(other is not None and same(first, other) for other in bounds)
        return first if agreed else None
    else:
        return None
    if not isinstance(source, TensorValue) or not isinstance(value_of(axis), int):
        return None
    return source.shape[_int(axis)]


def is_distinct(trace: Trace, index: TensorValue, axis: int) -> bool:
    """Whether no number is twice along the last axis of an index: `topk` and sorting take every element once."""
    node = trace.made.get(index)
    if node is None or axis != len(index.shape) - 1:
        return False
    if node.op in ("cast", "detach"):
        return isinstance(node.args[0], TensorValue) and is_distinct(trace, node.args[0], axis)
    if node.op == "getitem":
        source, items = node.args
        plain = isinstance(items, tuple) and all(isinstance(item, slice) or item is Ellipsis for item in items)
        return plain and isinstance(source, TensorValue) and is_distinct(trace, source, axis)
    if node.op not in ("topk", "sort", "argsort") or node.results[-1] is not index:
        return False
    along = node.args[2] if node.op == "topk" else node.args[1]
    return _int(along) % len(index.shape) == axis


def counted(trace: Trace, sizes: TensorValue) -> Routing | None:
    """The routing whose tokens a tensor of numbers counts for every expert; None if it is nothing of the kind."""
    node = trace.made.get(sizes)
    while node is not None and node.op in ("cast", "detach"):
        source = node.args[0]
        assert isinstance(source, TensorValue)
        sizes, node = source, trace.made.get(source)
    if node is None:
        return None
    if node.op == "bincount":
        index, length = node.args
        assert isinstance(index, TensorValue)
        return Routing(index, length, (0, None))  # type: ignore[arg-type]
    return _reduced(trace, sizes, "sum") or _scattered(trace, node)


def _scattered(trace: Trace, node: Node) -> Routing | None:
    """`zeros(tokens, experts).scatter(1, index, 1).sum(0)`, where no token goes to an expert twice."""
    if node.op != "sum" or node.args[2] is not False or len(node.results[0].shape) != 1:
        return None
    source, dims = node.args[:2]
    flags = trace.made.get(source) if isinstance(source, TensorValue) else None
    if flags is None or flags.op != "scatter" or len(flags.results[0].shape) != 2 or dims is None:
        return None
    zeros, axis, index, one = flags.args
    first = [_int(d) % 2 for d in (dims if isinstance(dims, tuple) else (dims,))]
    if first != [0] or _int(axis) % 2 != 1 or not isinstance(zeros, TensorValue) or not isinstance(index, TensorValue):
        return None
    empty, full = value_of(zeros.everywhere) == 0, one.everywhere if isinstance(one, TensorValue) else one
    if not empty or zeros.everywhere is None or value_of(full) != 1 or not is_distinct(trace, index, 1):
        return None
    return Routing(index, zeros.shape[1], (0, 1, None))


def _int(x: object) -> int:
    value = value_of(x)
    assert isinstance(value, int)
    return value


def compare(op: str, low: Size, high: Size, number: Size) -> bool | None:
    """What `e op number` is for every e with low <= e < high; None where it is not the same for all."""
    least, most, n = count(low), count(high) - 1, count(number)
    outcomes = {_OPERATORS[op](least, n), _OPERATORS[op](most, n)} | ({op == "ne"} if least < n < most else set())
    if op in ("eq", "ne") and least <= n <= most and least != most:
        return None
    return outcomes.pop() if len(outcomes) == 1 else None


_OPERATORS = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}

__all__ = [
    "Routing",
    "bound_of",
    "compare",
    "counted",
    "depends_on_data",
    "experts_hit",
    "is_distinct",
    "routing_of",
]
