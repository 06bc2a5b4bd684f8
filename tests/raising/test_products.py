"""Sums over letters that are products of matrices are spelled out as such, and compute the same."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from codegen.raising.products import spelled_out
from ir.evaluate import evaluate_region
from ir.expressions import Const
from ir.graph import DType, Number, Op, Region, Value

SIZES = {"b": 2, "h": 3, "q": 4, "k": 5, "d": 6}


def value(at: int, letters: str) -> Value:
    return Value(at, tuple(Const(SIZES[letter]) for letter in letters), DType.FLOAT64)


def einsum(first: str, second: str, output: str) -> tuple[Op, Value, Value]:
    a, b, result = value(0, first), value(1, second), value(2, output)
    return Op("einsum", (Number(Const(f"{first},{second}->{output}")), (a, b)), (result,)), a, b


def letters(of: str) -> st.SearchStrategy[str]:
    return st.sampled_from(["".join(order) for order in itertools.permutations(of)])


@given(letters("bhqd"), letters("bhkd"), letters("bhqk"), st.integers(0, 1000))
def test_a_product_computes_what_the_sum_does(first: str, second: str, output: str, seed: int) -> None:
    op, a, b = einsum(first, second, output)
    fresh = itertools.count(3)
    nodes = spelled_out(op, lambda: next(fresh))
    assert nodes is not None and [node.name for node in nodes].count("matmul") == 1
    rng = np.random.default_rng(seed)
    given_ = [rng.normal(size=[SIZES[letter] for letter in term]) for term in (first, second)]
    (found,) = evaluate_region(Region("product", (a, b), nodes, op.results), given_)
    np.testing.assert_allclose(found, np.einsum(f"{first},{second}->{output}", *given_), rtol=1e-12, atol=1e-12)
    assert nodes[-1].results == op.results


def test_other_sums_stay() -> None:
    for first, second, output in (
        ("bqd", "kd", "bqk"),
        ("bhqd", "bhqd", "bhq"),
        ("bhqd", "bhkd", "hqk"),
        ("qd", "kd", "qk"),
    ):
        assert spelled_out(einsum(first, second, output)[0], lambda: 9) is None


def test_the_keys_are_turned_last() -> None:
    """Which is how the rule for attention knows them."""
    fresh = itertools.count(3)
    nodes = spelled_out(einsum("bqhd", "bkhd", "bhqk")[0], lambda: next(fresh))
    assert nodes is not None and [node.name for node in nodes] == ["transpose", "transpose", "transpose", "matmul"]
