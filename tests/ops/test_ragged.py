"""Rows whose number the data decides: what is recorded has fixed shapes, and computes what torch computes with as many rows as there are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.diagnostics import CompileError
from codegen.graph.interpreter import Interpreter
from codegen.graph.ragged import Ragged, is_ragged
from codegen.graph.regions import nodes_of
from codegen.graph.state import Surroundings
from codegen.graph.values import Scalar, Tensor, TensorValue
from codegen.source.files import Library
from ir.expressions import Dim, Environment, evaluate
from tests.ops.harness import TYPE_OF, Recorded, _needed, by_numpy, by_spelling, symbolic
from tests.ops.test_experts import HEAD, ROOT, Array

BLOCKS = """
def f(x, scores):
    picked = torch.full((9,), -1, dtype=torch.int32)
    seen = torch.nonzero(scores > 0, as_tuple=False).flatten()
    blocks = seen.shape[-1] // 2
    if blocks > 0:
        places = seen[: blocks * 2].view(blocks, 2)
        means = x.index_select(0, places.flatten()).view(*places.shape, x.shape[-1]).float().mean(dim=1)
        best = (means * means).sum(-1).topk(min(3, blocks), dim=0).indices
        chosen = places.index_select(0, best).flatten()
    else:
        chosen = torch.tensor([])
    rest = seen[blocks * 2 :]
    chosen = torch.cat([chosen, rest]).to(torch.int32)
    picked[: chosen.numel()] = chosen
    return picked.clone()
"""
FIRST = """
def f(x, scores):
    total = torch.zeros(12)
    (seen,) = torch.where(scores > 0)
    row = torch.tanh(x[:, 0].index_select(0, seen)) * 2
    total[: row.shape[0]] = row
    return total
"""
PROGRAMS = {"blocks and a rest": BLOCKS, "rows in order": FIRST}


def record(source: str, args: list[Array]) -> Recorded:
    made = Interpreter(Library(ROOT, {"m.py": source}))
    inputs = [TensorValue(symbolic(a.shape, "d"), TYPE_OF[a.dtype]) for a in args]
    sizes = [size for value in inputs for size in value.shape if isinstance(size, Scalar)]
    dims: Any = {size.expr.name: size.value for size in sizes if isinstance(size.expr, Dim)}
    function = made.find("repository.m.f")
    made.framing, made.surroundings = True, Surroundings(cached=False)
    made.trace.ragged, made.trace.evaluate = Ragged(made.trace), lambda expr: evaluate(expr, Environment(dims=dims))
    result = made.call(function, [Tensor(value) for value in inputs], {})
    nodes = [node for node, _ in nodes_of(made.trace.root)]
    return Recorded(_needed(nodes, [result.value]), inputs, [result.value])


def arguments(seed: int, length: int, share: float) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(length, 3)), np.where(rng.random(length) < share, 1.0, -1.0)]


def by_torch(source: str, args: list[Array]) -> Array:
    scope: dict[str, Any] = {"torch": torch}
    exec(source, scope)  # a program of this file
    made: Array = scope["f"](*(torch.from_numpy(a.copy()) for a in args)).numpy()
    return made


@pytest.mark.parametrize("name", PROGRAMS)
def test_padding_changes_nothing(name: str) -> None:
    runs = [False, False, True]

    @settings(max_examples=6, database=None, derandomize=True)
    @given(st.integers(0, 2**16), st.integers(1, 9), st.sampled_from([0.0, 0.3, 0.7, 1.0]))
    def run(seed: int, length: int, share: float) -> None:
        args, source = arguments(seed, length, share), HEAD + PROGRAMS[name]
        recorded = record(source, args)
        assert "nonzero" not in {node.op for node in recorded.nodes}
        assert not any(is_ragged(size) for node in recorded.nodes for value in node.results for size in value.shape)
        expected = by_torch(source, args)
        np.testing.assert_allclose(by_numpy(recorded, args)[0], expected, atol=1e-6)
        np.testing.assert_allclose(by_spelling(recorded, args, "torch")[0], expected, atol=1e-6)
        if runs.pop(0) if runs else False:
            np.testing.assert_allclose(by_spelling(recorded, args, "flax")[0], expected, atol=1e-6)

    run()


MISUSES = {
    "another way for no blocks": ("torch.tensor([])", "torch.tensor([1, 2])"),
    "a test of something else": ("if blocks > 0", "if blocks > 1"),
    "a number of the data": ("min(3, blocks)", "3 if blocks > 3 else 1"),
}


@pytest.mark.parametrize("name", MISUSES)
def test_branches_that_the_data_decides_are_refused(name: str) -> None:
    old, new = MISUSES[name]
    assert old in BLOCKS
    with pytest.raises(CompileError) as caught:
        record(HEAD + BLOCKS.replace(old, new), arguments(0, 6, 0.7))
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "branch-on-data" and diagnostic.primary is not None


def test_what_mixes_rows_keeps_their_number() -> None:
    """A sum over rows whose number the data decides has no form with padding: it is left as it is, for who can run it."""
    source = HEAD + FIRST.replace("* 2", "* 2 + x[:, 0].index_select(0, seen).sum()")
    assert "nonzero" in {node.op for node in record(source, arguments(0, 6, 0.7)).nodes}
