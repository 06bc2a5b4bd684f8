"""Masks as True and False, where nothing but raised attention looks at them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from codegen.raising.flow import Flow, Place, rewritten
from ir.arch import Attention, Direction, MaskForm
from ir.graph import DType, Node, Raised, Region, Value

MASK = 3  # where a raised attention takes its mask


def boolean(top: Region, masks: Collection[int], both_ways: Collection[int]) -> Region | str:
    """The program with its masks in boolean form; a sentence if something needs them additive.

    `masks` are the masks among the parameters of `top`, by index, `both_ways` those that hide no later tokens.
    """
    flow = Flow(top)
    roots: dict[Place, Direction] = {}
    for at in masks:
        param = top.params[at]
        assert isinstance(param, Value)
        root = flow.root(top, param)
        roots[root] = Direction.BOTH if at in both_ways else Direction.CAUSAL
        for _, user in flow.uses(root):
            if not _attends(user, flow, root):
                name = getattr(user, "name", "a component")
                return f"`{name}` works on the numbers of a mask"
    inside = {place: roots[root] for root in roots for place in flow.members[root]}

    def value(region: Region, v: Value) -> Value:
        return replace(v, dtype=DType.BOOL) if (id(region), v.id) in inside else v

    def node(region: Region, n: Node) -> tuple[Node, ...]:
        if not isinstance(n, Raised) or not isinstance(n.component, Attention):
            return (n,)
        mask = n.args[MASK]
        direction = inside.get((id(region), mask.id)) if isinstance(mask, Value) else None
        if direction is None:
            return (n,)
        return (replace(n, component=replace(n.component, mask=MaskForm.BOOLEAN, direction=direction)),)

    return rewritten(top, value, node)


def named(top: Region, names: Sequence[str]) -> Region:
    """The program with the names of its inputs wherever the source gave none."""
    flow = Flow(top)
    inside: dict[Place, tuple[str, ...]] = {}
    for param, name in zip(top.params, names, strict=False):
        if isinstance(param, Value):
            inside |= {place: (name,) for place in flow.members[flow.root(top, param)]}

    def value(region: Region, v: Value) -> Value:
        return replace(v, names=v.names or inside.get((id(region), v.id), ()))

    return rewritten(top, value, lambda _, n: (n,))


def _attends(node: Node, flow: Flow, root: Place) -> bool:
    if not isinstance(node, Raised) or not isinstance(node.component, Attention):
        return False
    inside = set(flow.members[root])
    places = [
        at for at, arg in enumerate(node.args) if isinstance(arg, Value) and any(arg.id == vid for _, vid in inside)
    ]
    return MASK in places
