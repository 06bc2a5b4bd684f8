"""Experts: networks of which each token goes through some, as products of groups of rows."""

from __future__ import annotations

from collections.abc import Iterator

from codegen.raising.mlp import ACTIVATIONS
from ir.arch import Experts, Gate
from ir.expressions import Expr
from ir.graph import Call, Op, Region, Value, within

PRODUCTS = frozenset({"grouped_linear", "grouped_matmul"})


def describe(region: Region) -> Experts | str:
    """The experts that a method applies and sums; a sentence why it does not."""
    ops = list(_ops(region))
    products = [op for op in ops if op.name in PRODUCTS]
    if not products:
        return "no product of groups of rows"
    chosen = _chosen(ops)
    if chosen is None or not any(isinstance(node, Op) and node.name == "index_add" for node in region.nodes):
        return "its products are of groups of rows that are not added up where they came from"
    activation = next((op.name for op in ops if op.name in ACTIVATIONS), "")
    count = _weight(products[-1]).shape[0]
    return Experts(count, chosen, _gate(products), activation)


def _gate(products: list[Op]) -> Gate:
    """Whether what goes into the last product is half as wide as what the first one makes, or a product of two."""
    if len(products) > 2:
        return Gate.SEPARATE
    made, last = products[0].results[0].shape[-1], _weight(products[-1])
    taken = last.shape[-1] if products[-1].name == "grouped_linear" else last.shape[1]
    return Gate.ABSENT if made == taken else Gate.FUSED


def _chosen(ops: list[Op]) -> Expr | None:
    """How many experts a token goes to: the last axis of the indices that are counted."""
    counted = [op.args[0] for op in ops if op.name == "bincount"]
    made = {result.id: op for op in ops for result in op.results if op.name == "reshape"}
    for flat in counted:
        source = made[flat.id].args[0] if isinstance(flat, Value) and flat.id in made else None
        if isinstance(source, Value):
            return source.shape[-1]
    return None


def _weight(product: Op) -> Value:
    weight = product.args[1]
    assert isinstance(weight, Value)
    return weight


def _ops(region: Region) -> Iterator[Op]:
    for node in region.nodes:
        if isinstance(node, Op):
            yield node
        elif isinstance(node, Call):
            yield from _ops(node.region)
        else:
            for inner in within(node):
                yield from _ops(inner)
