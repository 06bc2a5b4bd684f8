"""New axes by indexing, counted from either end."""

from __future__ import annotations

import ast

import numpy as np
import pytest

from codegen.lowering.syntax import new_axis

CASES = [
    (before, dim)
    for before, rank in (("x", 2), ("x[None]", 3), ("x[:, None]", 3), ("x[..., None]", 3))
    for dim in range(-rank - 1, rank + 1)
]


@pytest.mark.parametrize(("before", "dim"), CASES)
def test_an_axis_is_where_it_is_asked_for(before: str, dim: int) -> None:
    x = np.arange(6).reshape(2, 3)
    known = eval(before, {"x": x})
    made = new_axis(ast.parse(before, mode="eval").body, dim)
    if made is None:
        return
    found = eval(compile(ast.fix_missing_locations(ast.Expression(made)), "made", "eval"), {"x": x})
    assert found.shape == np.expand_dims(known, dim).shape
