"""Masks that have a row for every sequence only where something is padded: what works on rows needs all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ir.expressions import Const, Dim
from ir.graph import (
    Branch,
    Call,
    Ellipsis_,
    Loop,
    Node,
    Number,
    Op,
    Operand,
    Raised,
    Region,
    Scan,
    SliceOf,
    Value,
    operands_of,
    values_in,
)

BATCH = Dim("B")
BY_ROW = frozenset(
    {"scatter", "scatter_add", "gather", "take_along_dim", "index_select", "index_put", "reshape", "setitem"}
)
"""Operations for which one row does not stand for all."""
JOINS = frozenset({"cat", "stack"})


def works_on_rows(region: Region, at: int) -> bool:
    """Whether something that is done with parameter `at` needs a row for every sequence."""
    param = region.params[at]
    return isinstance(param, Value) and _Walk().region(region, {param.id}) is None


class _Walk:
    """Follows values of perhaps one row through a region; None where a row for every sequence is needed."""

    def region(self, region: Region, thin: set[int]) -> list[bool] | None:
        """Which results have perhaps one row."""
        thin = set(thin)
        for node in region.nodes:
            found = self.node(node, thin)
            if found is None:
                return None
            thin |= {result.id for result, is_thin in zip(node.results, found, strict=True) if is_thin}
        return [isinstance(result, Value) and result.id in thin for result in region.results]

    def node(self, node: Node, thin: set[int]) -> list[bool] | None:
        values = list(values_in(operands_of(node)))
        if not any(value.id in thin for value in values):
            return [False] * len(node.results)
        match node:
            case Op():
                return self.op(node, values, thin)
            case Raised():
                return [not _wide(values, thin)] * len(node.results)
            case Call(region=inner, args=args):
                return self.region(inner, _inside(inner, args, thin))
            case Loop(bodies=bodies, carried=carried, invariant=invariant, varying=varying):
                given = [(*carried, *invariant, *own) for own in varying]
                found = [self.region(b, _inside(b, args, thin)) for b, args in zip(bodies, given, strict=True)]
                return _either(found)
            case Scan(body=body, args=args, axes=axes, carries=carries):
                sliced = [a for a, axis in zip(args[carries:], axes, strict=False) if axis == 0]
                if any(isinstance(a, Value) and a.id in thin for a in sliced):
                    return None
                return self.region(body, _inside(body, args, thin))
            case Branch(then=then, otherwise=otherwise, args=args):
                return _either([self.region(arm, _inside(arm, args, thin)) for arm in (then, otherwise)])

    def op(self, node: Op, values: Sequence[Value], thin: set[int]) -> list[bool] | None:
        wide = _wide(values, thin)
        if node.name in BY_ROW or (node.name in JOINS and wide):
            return None
        if node.name == "getitem" and _picks_rows(node.args, thin):
            return None
        return [not wide] * len(node.results)


def _wide(values: Iterable[Value], thin: set[int]) -> bool:
    return any(value.id not in thin and BATCH in value.shape for value in values)


def _picks_rows(args: Sequence[Operand], thin: set[int]) -> bool:
    """Whether an index takes rows out of a tensor of perhaps one, or is such a tensor."""
    x, index = args
    items = index if isinstance(index, tuple) else (index,)
    if any(value.id in thin for value in values_in(items)):
        return True
    first = items[0] if items else None
    whole = first == SliceOf(None, None, None) or isinstance(first, Ellipsis_) or _is_nothing(first)
    return isinstance(x, Value) and x.id in thin and not whole


def _is_nothing(operand: object) -> bool:
    return operand is None or (isinstance(operand, Number) and operand.expr == Const(None))


def _inside(region: Region, args: Sequence[Operand], thin: set[int]) -> set[int]:
    pairs = zip(region.params, args, strict=False)
    return {p.id for p, a in pairs if isinstance(p, Value) and isinstance(a, Value) and a.id in thin}


def _either(found: Sequence[list[bool] | None]) -> list[bool] | None:
    if any(one is None for one in found):
        return None
    return [any(flags) for flags in zip(*(one for one in found if one is not None), strict=True)]
