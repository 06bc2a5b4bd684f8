"""How many tokens a network has positions for, of the operations that read tables at their places."""

from __future__ import annotations

import pytest

from codegen.lowering.reach import limits
from ir.expressions import Apply, Const, Dim, Expr, Key
from ir.graph import DType, Node, Number, Op, Region, Value

ROWS, B, T = Key(("rows",)), Dim("B"), Dim("T")
GIVEN = Value(0, (B, T), DType.INT64)
TABLE = Value(9, (ROWS, Const(8)), DType.MODEL)


def ids(number: int) -> Value:
    return Value(number, (B, T), DType.INT64)


def read(nodes: list[Node], at: Value, name: str = "positions", table: Value = TABLE) -> tuple[Expr, ...]:
    """The limits where `nodes` make the places `at` of an input called `name`, and a table is read there."""
    parameter = Op("parameter", (Number(Const("weight")),), (table,))
    rows = Op("embedding", (at, table), (Value(10, (B, T, Const(8)), DType.MODEL),))
    return limits(Region("forward", (GIVEN,), (*nodes, parameter, rows), rows.results), (name,))


def test_a_table_read_at_the_places_of_tokens_ends() -> None:
    assert read([], GIVEN) == (ROWS,)


def test_a_table_read_at_the_tokens_themselves_is_no_limit() -> None:
    assert read([], GIVEN, "ids") == ()


@pytest.mark.parametrize(("rows", "left"), [(ROWS, Apply("-", (ROWS, Const(2)))), (Apply("+", (ROWS, Const(2))), ROWS)])
def test_rows_before_the_first_place_are_not_counted(rows: Expr, left: Expr) -> None:
    table = Value(9, (rows, Const(8)), DType.MODEL)
    assert read([Op("add", (GIVEN, Number(Const(2))), (ids(1),))], ids(1), table=table) == (left,)


def test_places_that_are_counted_from_those_before() -> None:
    line, moved = Value(1, (T,), DType.INT64), Value(2, (T,), DType.INT64)
    start = [
        Op("arange", (Number(Const(0)), Number(T), Number(Const(1)), None), (line,)),
        Op("add", (line, Number(Dim("P"))), (moved,)),
        Op("expand", (moved, (Number(B), Number(T))), (ids(3),)),
    ]
    assert read([*start], ids(3), "ids") == (ROWS,)


def test_places_among_the_valid_tokens() -> None:
    counted = [
        Op("cumsum", (GIVEN, Number(Const(1))), (ids(1),)),
        Op("mul", (ids(1), GIVEN), (ids(2),)),
        Op("add", (ids(2), Number(Const(1))), (ids(3),)),
    ]
    assert read(counted, ids(3), "valid") == (Apply("-", (ROWS, Const(2))),)


def test_places_that_are_clamped_have_no_end() -> None:
    assert read([Op("clamp", (GIVEN, Number(Const(0)), Number(ROWS)), (ids(1),))], ids(1)) == ()
