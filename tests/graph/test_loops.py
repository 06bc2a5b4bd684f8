"""Loops over modules that carry more than the hidden state: what an iteration makes for later ones."""

from __future__ import annotations

import numpy as np

from ir import laws
from ir.evaluate import evaluate_region
from ir.expressions import Dim
from ir.graph import DType, Loop, Op, Region, Value

ROW = (Dim("B"),)


def value(number: int) -> Value:
    return Value(number, ROW, DType.FLOAT32)


def body(*nodes: Op, results: tuple[Value, ...]) -> Region:
    return Region("layers", (value(0), value(1)), nodes, results)


MAKES = body(Op("add", (value(0), value(0)), (value(2),)), results=(value(2), value(0)))
PLAIN = body(Op("add", (value(0), value(0)), (value(2),)), results=(value(2), value(1)))
TAKES = body(Op("mul", (value(0), value(1)), (value(2),)), results=(value(2), value(1)))


def over(*bodies: Region) -> Region:
    results = (value(3), value(4))
    loop = Loop("layers", bodies, tuple(range(len(bodies))), (value(0), None), (), ((),) * len(bodies), results)
    return Region("forward", (value(0),), (loop,), (value(3),))


def test_a_later_iteration_takes_what_an_earlier_one_made() -> None:
    region = over(PLAIN, MAKES, PLAIN, TAKES)
    assert laws.broken(region) == ()
    (found,) = evaluate_region(region, [np.array([3.0], np.float32)])
    assert found.tolist() == [3.0 * 8 * (3.0 * 2)]


def test_nothing_is_taken_that_was_not_made() -> None:
    assert any("reads what no iteration before has made" in said for said in laws.broken(over(TAKES, MAKES)))
