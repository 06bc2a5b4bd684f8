"""Products of what is flattened to a matrix and unfolded again are products over the last axis, and compute the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.raising.flattened import unflattened
from ir.evaluate import evaluate_region
from ir.expressions import Const, Expr
from ir.graph import DType, Op, Operand, Region, Value
from tests.raising.builder import Builder, n

KIND = DType.FLOAT64


def size(*numbers: int) -> tuple[Expr, ...]:
    return tuple(Const(number) for number in numbers)


def product(name: str, lead: tuple[int, ...], back: tuple[int, ...], *, kept: bool = False) -> Region:
    """`(x.reshape(-1, 4) @ w).reshape(*back, 5)` of x [*lead, 4]; `kept` gives the product as a matrix too."""
    made, rows = Builder(), int(np.prod(lead))
    x = made.param("x", *size(*lead, 4), dtype=KIND)
    w, b = made.param("w", *size(4, 5), dtype=KIND), made.param("b", *size(5), dtype=KIND)
    flat = made.op("reshape", x, (n(-1), n(4)), shape=size(rows, 4), dtype=KIND)
    args: tuple[Operand, ...] = (b, flat, w) if name == "addmm" else (flat, w)
    found = made.op(name, *args, shape=size(rows, 5), dtype=KIND)
    whole = made.op("reshape", found, tuple(map(n, (*back, 5))), shape=size(*back, 5), dtype=KIND)
    return Region("product", tuple(made.params), tuple(made.nodes), (whole, found) if kept else (whole,))


def names(region: Region) -> list[str]:
    return [node.name for node in region.nodes if isinstance(node, Op)]


@pytest.mark.parametrize("name", ["addmm", "matmul"])
@given(lead=st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple), seed=st.integers(0, 1000))
def test_the_axes_stay(name: str, lead: tuple[int, ...], seed: int) -> None:
    before = product(name, lead, lead)
    after = unflattened(before)
    assert names(after) == [name]
    rng = np.random.default_rng(seed)
    given_ = [rng.normal(size=shape) for shape in ((*lead, 4), (4, 5), (5,))]
    for one, other in zip(evaluate_region(before, given_), evaluate_region(after, given_), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_other_axes_than_before_stay_as_they_are() -> None:
    """Rows that are put together otherwise are not the rows of x."""
    assert names(unflattened(product("addmm", (2, 3), (3, 2)))) == ["reshape", "addmm", "reshape"]


def test_a_matrix_that_something_else_takes_stays() -> None:
    assert names(unflattened(product("addmm", (2, 3), (2, 3), kept=True))) == ["reshape", "addmm", "reshape"]


def test_values_keep_their_names() -> None:
    region = product("matmul", (2, 3), (2, 3))
    result = unflattened(region).results[0]
    assert isinstance(result, Value) and result == region.results[0]
