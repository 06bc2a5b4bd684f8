"""Sums of products by way of matrices are those of numpy's own definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ir.evaluate_products import einsum

SIZES = {"a": 2, "b": 3, "c": 4, "d": 5, "e": 1}


@pytest.mark.parametrize("left", ["ab", "cba", "abcd", "d", "ae", ""])
@pytest.mark.parametrize("right", ["bc", "abd", "dcba", "e", "b"])
def test_every_result(left: str, right: str) -> None:
    draw = np.random.default_rng(0)
    x, y = (draw.standard_normal([SIZES[letter] for letter in term]) for term in (left, right))
    letters = "".join(dict.fromkeys(left + right))
    for count in range(len(letters) + 1):
        for out in itertools.permutations(letters, count):
            equation = f"{left},{right}->{''.join(out)}"
            np.testing.assert_allclose(einsum(equation, [x, y]), np.einsum(equation, x, y), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ii,ij->j", [(3, 3), (3, 2)]),  # a diagonal
        ("ij,jk", [(2, 3), (3, 4)]),
        ("...i,i->...", [(2, 3), (3,)]),
        ("ij,ij->ij", [(1, 3), (2, 3)]),  # one row for all
        ("ij->ji", [(2, 3)]),
        ("ij,jk,kl->il", [(2, 3), (3, 2), (2, 4)]),
        (" i j , j k -> i k ", [(2, 3), (3, 4)]),
        ("ij,jk->ik", [(0, 3), (3, 4)]),
    ],
)
def test_other_forms(equation: str, shapes: list[tuple[int, ...]]) -> None:
    draw = np.random.default_rng(1)
    arrays = [draw.standard_normal(shape) for shape in shapes]
    np.testing.assert_allclose(einsum(equation, arrays), np.einsum(equation, *arrays), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.float32, bool])
def test_types_are_kept(dtype: type) -> None:
    x, y = np.ones((2, 3), dtype), np.ones((3, 4), dtype)
    made = einsum("ij,jk->ik", [x, y])
    assert made.dtype == np.einsum("ij,jk->ik", x, y).dtype
    assert (made == np.einsum("ij,jk->ik", x, y)).all()


def test_sizes_that_do_not_agree_are_refused() -> None:
    with pytest.raises(ValueError):
        einsum("ij,jk->ik", [np.ones((2, 3)), np.ones((2, 4))])
