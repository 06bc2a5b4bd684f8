"""Tensors that are one number everywhere: what is said of a result is what every element of it is."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.graph.uniform import uniform
from codegen.graph.values import Scalar, TensorValue, Trace
from ir.expressions import Key
from ir.graph import DType

SHAPE = (2, 3)
COMPUTED = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
}
numbers = st.integers(-5, 5)


def full(number: Any, dtype: DType = DType.INT64) -> TensorValue:
    return TensorValue(SHAPE, dtype, number)


@given(op=st.sampled_from(sorted(COMPUTED)), a=numbers, b=numbers)
def test_arithmetic_is_that_of_every_element(op: str, a: int, b: int) -> None:
    expected = np.unique(COMPUTED[op](np.full(SHAPE, a), np.full(SHAPE, b)))
    assert [uniform(op, (full(a), full(b)), DType.INT64)] == expected.tolist()
    assert uniform(op, (full(a), b), DType.INT64) == expected[0]


@given(condition=st.booleans(), a=numbers, b=numbers)
def test_a_choice_is_made_where_the_condition_is_known(condition: bool, a: int, b: int) -> None:
    assert uniform("where", (full(condition), full(a), full(b)), DType.INT64) == (a if condition else b)
    assert uniform("where", (full(None), full(a), full(b)), DType.INT64) is None


@pytest.mark.parametrize("op", ["add", "eq", "where", "reshape", "cast"])
def test_nothing_is_said_of_what_is_not_known(op: str) -> None:
    assert uniform(op, (full(None), full(None), full(None)), DType.INT64) is None


@pytest.mark.parametrize("op", ["sum", "cumsum", "cat", "softmax", "scatter", "setitem"])
def test_operations_that_change_the_number_are_not_followed(op: str) -> None:
    assert uniform(op, (full(1), full(1), full(2)), DType.INT64) is None


def test_fractions_are_not_followed_through_types_that_round_them() -> None:
    assert uniform("cast", (full(0.1, DType.FLOAT32),), DType.BFLOAT16) is None
    assert uniform("add", (full(0.1, DType.FLOAT32), 0.2), DType.FLOAT32) is None


def test_a_number_of_the_configuration_stays_one() -> None:
    index = Scalar(3, Key(("default",)))
    made = uniform("mul", (index, full(1)), DType.INT64)
    assert isinstance(made, Scalar) and made.value == 3 and made.expr == Key(("default",))


def test_a_write_forgets_the_number() -> None:
    trace = Trace()
    (zeros,) = trace.emit("zeros", (SHAPE, DType.INT64), (SHAPE, DType.INT64))
    assert zeros.value.everywhere == 0
    (written,) = trace.emit("setitem", (zeros, (0,), 7), (SHAPE, DType.INT64))
    assert written.value.everywhere is None
