"""Where the last position alone is kept, in a source that gives the logits of all positions and knows no other way."""

from __future__ import annotations

from ir.graph import (
    Branch,
    Call,
    Loop,
    ModuleTarget,
    Node,
    Op,
    Region,
    Scan,
    Value,
    operands_of,
    values_in,
    within,
)
from ir.records import replace

ONE_BY_ONE = frozenset({"add", "cast", "clamp", "div", "float", "mul", "sub", "tanh"})
"""Operations that do to a number what they do whatever stands beside it."""
PRODUCTS = ("linear", "addmm")


def keep_last(region: Region) -> Region:
    """The top region with a `last_only`, where it has none: before the projection to logits, if that is what ends it, else
    of the logits themselves."""
    if any(_asks(node) for node in region.nodes):
        return region
    logits = region.results[0]
    assert isinstance(logits, Value)
    makers = {result.id: at for at, node in enumerate(region.nodes) for result in node.results}
    value = logits
    while (node := _maker(region, makers, value)) is not None:
        rows = [arg for arg in node.args if isinstance(arg, Value)]
        if not rows or rows[0].shape[:2] != logits.shape[:2] or _uses(region, rows[0]) != 1:
            break
        if _projects(node):
            return _with_last(region, rows[0], makers.get(rows[0].id, -1) + 1)
        if not isinstance(node, Op) or node.name not in ONE_BY_ONE or len(rows) > 1:
            break
        value = rows[0]
    return _with_last(region, logits, makers.get(logits.id, -1) + 1)


def _with_last(region: Region, value: Value, at: int) -> Region:
    """The region with what a value is from the node `at` on cut to its last position, where the caller asks for that."""
    kept = Value(_free(region), value.shape, value.dtype, value.names)
    after = tuple(_reading(node, value, kept) for node in region.nodes[at:])
    results = tuple(kept if result == value else result for result in region.results)
    return Region(region.name, region.params, (*region.nodes[:at], Op("last_only", (value,), (kept,)), *after), results)


def _reading(node: Node, value: Value, kept: Value) -> Node:
    if not isinstance(node, (Op, Call)):
        return node
    return replace(node, args=tuple(kept if isinstance(arg, Value) and arg == value else arg for arg in node.args))


def _maker(region: Region, makers: dict[int, int], value: Value) -> Op | Call | None:
    node = region.nodes[makers[value.id]] if value.id in makers else None
    return node if isinstance(node, (Op, Call)) else None


def _projects(node: Op | Call) -> bool:
    """Whether a node is one product with a matrix, in a layer of its own or not."""
    if isinstance(node, Op):
        return node.name in PRODUCTS
    inner = node.region.nodes
    return isinstance(node.target, ModuleTarget) and any(isinstance(n, Op) and n.name in PRODUCTS for n in inner)


def _asks(node: Node) -> bool:
    match node:
        case Op(name):
            return name == "last_only"
        case Call(region=inner):
            return any(map(_asks, inner.nodes))
        case Loop() | Scan() | Branch():
            return any(_asks(below) for inner in within(node) for below in inner.nodes)
        case _:
            return False


def _uses(region: Region, value: Value) -> int:
    """How often a value is read."""
    found = sum(held == value for node in region.nodes for held in values_in(operands_of(node)))
    return found + sum(held == value for held in values_in(region.results))


def _free(region: Region) -> int:
    made = [value for node in region.nodes for value in node.results]
    return 1 + max(value.id for value in (*made, *values_in(region.params)))
