"""Axes that modules computing with a part of them would get wrong stay whole in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

from codegen.lowering.axes import Axis
from codegen.lowering.splits import COUNTED, ELSEWHERE, PARTLY, SIDE_BY_SIDE, TOGETHER, whole_axes
from ir.expressions import Apply, Const, Dim, Expr, Key
from ir.graph import DType, Number, Op, Region, Value

WIDTH, INNER, HEADS, SIZE = (Key((name,)) for name in ("a", "b", "c", "d"))
QUERIES = Apply("*", (HEADS, SIZE))
BOTH = Apply("*", (Const(2), INNER))
SIZES: Mapping[str, Expr] = {"D": WIDTH, "F": INNER, "M": BOTH, "Q": QUERIES}
AXES = [Axis(letter, size) for letter, size in SIZES.items()]


def region(*numbers: Expr) -> Region:
    """Reshape something to a shape."""
    x = Value(0, (Dim("B"), Dim("T"), QUERIES), DType.MODEL)
    shape = tuple(Number(number) for number in (Dim("B"), Dim("T"), *numbers))
    made = Value(1, (Dim("B"), Dim("T"), HEADS, SIZE), DType.MODEL)
    return Region("f", (x,), (Op("reshape", (x, shape), (made,)),), (made,))


def test_plain_blocks_are_split() -> None:
    held = [("mlp", "FD"), ("mlp", "DF"), ("attention", "QD"), ("attention", "DQ")]
    assert whole_axes(AXES, "FQ", held, [region(Const(-1), SIZE)], frozenset({HEADS})) == {}


def test_matrices_side_by_side_are_not() -> None:
    assert whole_axes(AXES, "FM", [("mlp", "MD"), ("mlp", "DF")], [], frozenset()) == {"M": SIDE_BY_SIDE}


def test_what_a_vector_of_another_block_lies_along_is_not() -> None:
    held = [("layers.{}", "FD"), ("layers.{}", "DF")]
    assert whole_axes(AXES, "F", [*held, ("", "F")], [], frozenset()) == {"F": ELSEWHERE}
    assert whole_axes(AXES, "F", [*held, ("layers.{}", "F")], [], frozenset()) == {}


def test_heads_that_the_code_counts_are_not() -> None:
    held = [("attention", "QD"), ("attention", "DQ")]
    assert whole_axes(AXES, "Q", held, [region(HEADS, SIZE)], frozenset({HEADS})) == {"Q": COUNTED}
    assert whole_axes(AXES, "Q", held, [region(HEADS, SIZE)], frozenset()) == {}
    assert whole_axes(AXES, "Q", held, [region(QUERIES)], frozenset()) == {"Q": COUNTED}


def test_what_a_statistic_runs_over_is_not() -> None:
    x = Value(0, (Dim("B"), Dim("T"), INNER), DType.MODEL)
    made = Value(1, (Dim("B"), Dim("T"), Const(1)), DType.MODEL)
    held = [("mlp", "FD"), ("mlp", "DF")]
    for dim, found in ((-1, {"F": TOGETHER}), (1, {})):
        arguments = (x, Number(Const(dim)), Number(Const(True)), None)
        mean = Region("f", (x,), (Op("mean", arguments, (made,)),), (made,))
        assert whole_axes(AXES, "F", held, [mean], frozenset()) == found


def test_parts_beside_what_stays_whole_are_not() -> None:
    other = Axis("R", Apply("*", (HEADS, WIDTH)))
    held = [("attention", "QD"), ("attention", "RD"), ("attention", "DQ")]
    assert whole_axes([*AXES, other], "Q", held, [], frozenset()) == {"Q": PARTLY}
