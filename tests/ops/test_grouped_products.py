"""Products of groups of rows with a weight of their own, as printed: any sizes, their gradients, and the work they take."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st

from codegen.lowering import flax_spellings, torch_spellings

Array = np.ndarray[Any, Any]
jax.config.update("jax_enable_x64", True)
D, WIDTH = 3, 2


def helper(framework: str) -> Callable[..., Any]:
    table: Any = flax_spellings if framework == "flax" else torch_spellings
    name = "grouped_dot" if framework == "flax" else "grouped_linear"
    scope: dict[str, Any] = {"jax": jax, "jnp": jnp, "torch": torch, "F": F, "Array": jax.Array, "Tensor": torch.Tensor}
    exec(table.HELPERS[name], scope)  # the project's own text
    made: Callable[..., Any] = scope[name]
    return made


def row_by_row(x: Array, weight: Array, sizes: list[int]) -> Array:
    out = np.zeros((len(x), weight.shape[1]))
    for row, group in enumerate(np.repeat(np.arange(len(sizes)), sizes)):
        out[row] = weight[group] @ x[row]
    return out


@settings(max_examples=6, database=None, derandomize=True, deadline=None)
@example([0], 0)
@example([0, 33, 0, 1], 5)
@example([0, 1, 0, 0, 1], 0)
@example([64, 32], 1)
@given(st.lists(st.one_of(st.just(0), st.integers(0, 70)), min_size=1, max_size=5), st.integers(0, 40))
def test_any_sizes(sizes: list[int], after: int) -> None:
    """Groups without rows, more groups than rows, rows after the last group, none at all."""
    random = np.random.default_rng(sum(sizes) + after)
    x, weight = random.normal(size=(sum(sizes) + after, D)), random.normal(size=(len(sizes), WIDTH, D))
    expected = row_by_row(x, weight, sizes)
    made = helper("torch")(torch.from_numpy(x), torch.from_numpy(weight), torch.tensor(sizes))
    np.testing.assert_allclose(made, expected, atol=1e-12)
    for axis, w in ((2, weight), (1, weight.swapaxes(1, 2))):
        ours = helper("flax")(jnp.asarray(x), jnp.asarray(w), jnp.asarray(sizes), axis)
        np.testing.assert_allclose(ours, expected, atol=1e-12)


def test_gradients() -> None:
    random = np.random.default_rng(0)
    sizes = [4, 0, 37, 1]
    x, weight = random.normal(size=(45, D)), random.normal(size=(4, WIDTH, D))
    group = np.repeat(np.arange(4), sizes)

    def ours(x: Any, weight: Any) -> Any:
        return jnp.square(helper("flax")(x, weight, jnp.asarray(sizes), 2)).sum()

    def plain(x: Any, weight: Any) -> Any:
        return jnp.square(jnp.einsum("ND,NFD->NF", x[: len(group)], weight[group])).sum()

    for mine, want in zip(jax.grad(ours, (0, 1))(x, weight), jax.grad(plain, (0, 1))(x, weight), strict=True):
        np.testing.assert_allclose(mine, want, atol=1e-10)


@pytest.mark.parametrize(("rows", "groups", "padded"), ((4096, 64, 4096 + 64 * 32), (2, 64, 2), (100, 3, 100 + 4 * 32)))
def test_the_work_on_a_cpu_is_that_of_the_rows(rows: int, groups: int, padded: int) -> None:
    """Not of all rows with all groups: at most a block is filled up for each group."""
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((rows, D), (groups, WIDTH, D))]
    sizes = jax.ShapeDtypeStruct((groups,), jnp.int32)
    program = jax.make_jaxpr(lambda *args: helper("flax")(*args, 2))(*shapes, sizes)
    assert 0 < products(program.jaxpr) <= padded * D * WIDTH


def products(jaxpr: Any) -> int:
    """Multiplications of plain matrix products, those of a loop as often as it runs."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            ((left, _), _) = equation.params["dimension_numbers"]
            contracted = math.prod(equation.invars[0].aval.shape[axis] for axis in left)
            total += contracted * math.prod(equation.outvars[0].aval.shape)
        times = equation.params.get("length", 1)
        total += times * sum(products(inner) for inner in jax.extend.core.jaxprs_in_params(equation.params))
    return total
