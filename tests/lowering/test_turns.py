"""Which slots of the cache the layers take."""

from __future__ import annotations

import pytest

from codegen.diagnostics import CompileError
from codegen.lowering.turns import slots_per_layer
from ir.expressions import Apply, Const, Dim, Expr, Index, Key
from ir.graph import DType, Loop, Number, Op, Region, Value

LAYER = Index("layer")
KEYS = Value(0, (Dim("B"), Key(("heads",)), Dim("T"), Key(("size",))), DType.MODEL)
ALL = Value(1, (Dim("B"), Key(("heads",)), Dim("S"), Key(("size",))), DType.MODEL)


def times(factor: int, more: int) -> Expr:
    return Apply("+", (Apply("*", (LAYER, Const(factor))), Const(more)))


def body(*slots: Expr) -> Region:
    return Region("body", (KEYS,), tuple(Op("cache_update", (KEYS, KEYS, Number(s)), (ALL, ALL)) for s in slots), ())


def slots(*bodies: Region, kinds: tuple[int, ...] = (0, 0, 0)) -> int:
    loop = Loop("layers", bodies, kinds, (), (KEYS,), tuple(() for _ in bodies), ())
    return slots_per_layer([("layers", loop)], {})


def test_one_attention_a_layer() -> None:
    assert slots(body(LAYER)) == 1


def test_two_attentions_that_take_the_slots_in_order() -> None:
    assert slots(body(times(2, 0), times(2, 1))) == 2


def test_two_attentions_that_take_them_out_of_order() -> None:
    with pytest.raises(CompileError, match="one after the other"):
        slots(body(times(2, 1), times(2, 0)))


def test_layers_of_different_numbers_of_attentions() -> None:
    with pytest.raises(CompileError, match="more attentions than others"):
        slots(body(times(2, 0), times(2, 1)), body(times(2, 0)), kinds=(0, 1, 0))
