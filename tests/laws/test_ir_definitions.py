"""Raising the definition of a component gives the component."""

from __future__ import annotations

import itertools

import pytest

from codegen.raising.definitions import definition
from codegen.raising.program import raise_program
from ir.arch import (
    Attention,
    Cap,
    Direction,
    Extent,
    Heads,
    MaskForm,
    Pairing,
    Precision,
    RootMeanSquare,
    Rotary,
    Sinks,
)
from ir.expressions import Const, Dim, Key
from ir.graph import DType, Number, Raised, Region, Value

B, T, S = Dim("B"), Dim("T"), Dim("S")
N, K, H = Key(("heads",)), Key(("groups",)), Key(("size",))


def value(number: int, *shape: object, dtype: DType = DType.MODEL) -> Value:
    return Value(number, shape, dtype)  # type: ignore[arg-type]


def round_trip(node: Raised, params: tuple[Value, ...]) -> list[object]:
    fresh = itertools.count(100)
    region = Region("forward", params, definition(node, lambda: next(fresh)), node.results)
    return list(raise_program(region).region.nodes)


FEATURES = list(itertools.product(MaskForm, Precision, Heads, Cap, Sinks))


@pytest.mark.parametrize("features", FEATURES)
def test_attention(features: tuple[MaskForm, Precision, Heads, Cap, Sinks]) -> None:
    mask, softmax, heads, cap, sinks = features
    direction = Direction.GIVEN if mask is MaskForm.BOOLEAN else Direction.CAUSAL
    component = Attention(mask, direction, softmax=softmax, heads=heads, cap=cap, sinks=sinks)
    count = K if heads is Heads.GROUPED else N
    q, k, v = value(0, B, N, T, H), value(1, B, count, S, H), value(2, B, count, S, H)
    m = value(3, B, Const(1), T, S, dtype=DType.BOOL if mask is MaskForm.BOOLEAN else DType.MODEL)
    s = value(4, N)
    args = (
        *(q, k, v),
        None if mask is MaskForm.ABSENT else m,
        Number(Key(("scale",))),
        Number(Key(("cap",))) if cap is Cap.TANH else None,
        s if sinks is Sinks.COLUMN else None,
    )
    node = Raised(component, args, (value(5, B, N, T, H),))
    nodes = round_trip(node, (q, k, v, m, s))
    plain = cap is Cap.ABSENT and sinks is Sinks.ABSENT
    both = cap is Cap.TANH and sinks is Sinks.COLUMN
    if plain or (mask is MaskForm.BOOLEAN and not both):
        assert nodes == [node]
    else:  # without a boolean mask such attention is not raised, nor with both: it has no shorter form
        assert not any(isinstance(n, Raised) for n in nodes)


@pytest.mark.parametrize("pairing", Pairing)
@pytest.mark.parametrize("extent", Extent)
def test_rotation(pairing: Pairing, extent: Extent) -> None:
    size = H if extent is Extent.WHOLE else Key(("rotary_dim",))
    x, cos, sin = value(0, B, N, T, H), value(1, B, Const(1), T, size), value(2, B, Const(1), T, size)
    node = Raised(Rotary(pairing, extent=extent), (x, cos, sin), (value(3, B, N, T, H),))
    assert round_trip(node, (x, cos, sin)) == [node]


def test_root_mean_square() -> None:
    x = value(0, B, T, H, dtype=DType.FLOAT32)
    node = Raised(RootMeanSquare(), (x, Number(Key(("eps",)))), (value(1, B, T, H, dtype=DType.FLOAT32),))
    assert round_trip(node, (x,)) == [node]
