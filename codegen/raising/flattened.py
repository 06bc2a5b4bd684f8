"""Products whose input is flattened to a matrix and whose result gets its axes back, as products over the last axis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from codegen.raising.flow import rewritten
from ir.graph import Branch, Node, Op, Region, Scan, Value, operands_of, values_in, within
from ir.records import replace

FACTOR = {"addmm": 1, "matmul": 0}  # which operand of a product its weight multiplies; the weight is the next one


def unflattened(top: Region) -> Region:
    """The program with `(x.reshape(-1, n) @ w).reshape(*x.shape[:-1], m)` as `x @ w`, with or without a bias: every row is
    multiplied by itself."""
    products: dict[int, dict[int, tuple[Node, ...]]] = {}

    def node(region: Region, original: Node) -> tuple[Node, ...]:
        if id(region) not in products:
            products[id(region)] = dict(_replaced(region))
        made = products[id(region)]
        return made.get(original.results[0].id, (original,)) if original.results else (original,)

    return rewritten(top, lambda _, value: value, node)


def _replaced(region: Region) -> Iterator[tuple[int, tuple[Node, ...]]]:
    """What stands in place of nodes, by their result."""
    makers = {result.id: node for node in region.nodes for result in node.results}
    uses = Counter(value.id for value in _used(region))
    for node in region.nodes:
        match node:
            case Op("reshape", (Value() as product, _), (whole,)) if uses[product.id] == 1 and product.id in makers:
                pass
            case _:
                continue
        made = makers[product.id]
        if not isinstance(made, Op) or made.name not in FACTOR:
            continue
        at = FACTOR[made.name]
        rows, weight = made.args[at], made.args[at + 1]
        flat = makers.get(rows.id) if isinstance(rows, Value) else None
        if (
            not isinstance(flat, Op)
            or flat.name != "reshape"
            or not isinstance(weight, Value)
            or len(weight.shape) != 2
        ):
            continue
        x = flat.args[0]
        assert isinstance(x, Value) and isinstance(rows, Value)
        if len(rows.shape) != 2 or x.shape[-1:] != rows.shape[1:] or whole.shape != (*x.shape[:-1], weight.shape[1]):
            continue
        if uses[rows.id] == 1:
            yield rows.id, ()
        yield product.id, ()
        yield whole.id, (replace(made, args=(*made.args[:at], x, *made.args[at + 1 :]), results=(whole,)),)


def _used(region: Region) -> Iterator[Value]:
    yield from values_in(region.results)
    for node in region.nodes:
        yield from values_in(operands_of(node))
        if isinstance(node, (Scan, Branch)):
            for inner in within(node):
                yield from _used(inner)
