"""Loops over the numbers of all experts, in the ways that repositories write them: one pass over pairs gives what the loop gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.diagnostics import CompileError
from codegen.graph.interpreter import Interpreter
from codegen.graph.regions import nodes_of
from codegen.graph.state import Surroundings
from codegen.graph.values import Tensor, TensorValue
from codegen.source.files import Library
from tests.ops.harness import TYPE_OF, Recorded, _needed, by_numpy, by_spelling, symbolic
from tests.ops.test_experts import HEAD, ROOT, Array, arguments, by_torch

TAKEN = """
def f(x, scores, gate_up, down, up_bias, out_bias):
    weights, index = torch.topk(scores, 2, dim=-1)
    total = torch.zeros_like(x)
{before}
    for e in range({turns}):
{take}
        gate, up = F.linear(x[token], gate_up[e], up_bias[e]).chunk(2, dim=-1)
        y = F.linear(F.silu(gate) * up, down[e])
{give}
    return total
"""
ADD = "        total.index_add_(0, token, y * weights[token, place, None])"
BY_MASK = {
    "where the index is the number": ("", "        token, place = torch.where(index == e)", ADD),
    "a mask made before": (
        "    mask = F.one_hot(index, num_classes={experts}).permute(2, 0, 1)",
        "        token, place = torch.where(mask[e])\n        if token.numel() == 0:\n            continue",
        ADD,
    ),
    "lists of numbers": (
        "    mask = F.one_hot(index, num_classes={experts}).permute(2, 1, 0)",
        "        place, token = (part.tolist() for part in torch.where(mask[e]))",
        "        total[token] += y * weights[token, place, None]",
    ),
    "a mask of tokens": (
        "    soft = scores.softmax(-1)",
        "        token = (index == e).any(dim=-1)\n        if not token.any():\n            continue",
        "        total[token] += y * soft[token, e].unsqueeze(-1)",
    ),
    "tokens behind an axis": (
        "",
        "        token, place = torch.where(index == e)\n        rows = x[None, token].reshape(-1, x.shape[-1])",
        "        total.index_add_(0, token, (y + rows) * weights[token, place, None])",
    ),
}
WRITTEN = """
def f(x, scores, gate_up, down, up_bias, out_bias):
    weights, index = torch.topk(scores, 2, dim=-1)
    copies = x.repeat_interleave(2, dim=0)
    flat = index.view(-1)
    y = torch.zeros_like(copies)
    for e in range({turns}):
        y[flat == e] = F.linear(copies[flat == e], gate_up[e])[:, : x.shape[-1]]
    return (y.view(*weights.shape, -1) * weights.unsqueeze(-1)).sum(dim=1)
"""
SORTED = """
def f(x, scores, gate_up, down, up_bias, out_bias):
    weights, index = torch.topk(scores, 2, dim=-1)
    counts = index.new_zeros((index.shape[0], {experts}))
    counts.scatter_(1, index, 1)
    counts = counts.sum(dim=0)
    order = index.view(-1).argsort()
    rows = x[order // index.shape[1]]
    counts = counts.cpu().numpy()
    outputs = []
    start = 0
    for e, number in enumerate(counts):
        end = start + number
        if number == 0:
            continue
        outputs.append(F.linear(rows[start:end], gate_up[e])[:, : x.shape[-1]])
        start = end
    outs = torch.cat(outputs, dim=0) if len(outputs) else rows.new_empty(0)
    y = torch.empty_like(outs)
    y[order] = outs
    return (y.view(*index.shape, -1) * weights.unsqueeze(dim=-1)).sum(dim=1)
"""
PROGRAMS = {
    **{
        name: TAKEN.replace("{before}", b).replace("{take}", t).replace("{give}", g)
        for name, (b, t, g) in BY_MASK.items()
    },
    "copies are written": WRITTEN,
    "sorted rows are cut": SORTED,
}


def program(name: str, experts: int, turns: int) -> str:
    return HEAD + PROGRAMS[name].replace("{experts}", str(experts)).replace("{turns}", str(turns))


def record(source: str, args: list[Array]) -> Recorded:
    """Run `f` of a file on symbols, as a forward pass runs."""
    made = Interpreter(Library(ROOT, {"m.py": source}))
    inputs = [TensorValue(symbolic(a.shape, "d"), TYPE_OF[a.dtype]) for a in args]
    function = made.find("repository.m.f")
    made.framing, made.surroundings = True, Surroundings(cached=False)
    result = made.call(function, [Tensor(value) for value in inputs], {})
    nodes = [node for node, _ in nodes_of(made.trace.root)]
    return Recorded(_needed(nodes, [result.value]), inputs, [result.value])


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_loop_and_the_pass_agree(name: str) -> None:
    runs = [False, True]

    @settings(max_examples=3, database=None, derandomize=True)
    @given(st.integers(0, 2**16), st.integers(1, 7), st.integers(3, 6))
    def run(seed: int, tokens: int, experts: int) -> None:
        args, source = arguments(seed, tokens, experts), program(name, experts, experts)
        expected = by_torch(source, args).numpy()
        recorded = record(source, args)
        used = {node.op for node in recorded.nodes}
        assert used & {"grouped_linear", "grouped_matmul"} and "nonzero" not in used
        np.testing.assert_allclose(by_numpy(recorded, args)[0], expected, atol=1e-12)
        np.testing.assert_allclose(by_spelling(recorded, args, "torch")[0], expected, atol=1e-12)
        if runs.pop(0) if runs else False:
            np.testing.assert_allclose(by_spelling(recorded, args, "flax")[0], expected, atol=1e-12)

    run()


@pytest.mark.parametrize("name", ["where the index is the number", "a mask made before"])
def test_experts_that_the_loop_leaves_out_add_nothing(name: str) -> None:
    args, source = arguments(5, 7, 5), program(name, 5, 3)
    recorded = record(source, args)
    np.testing.assert_allclose(by_numpy(recorded, args)[0], by_torch(source, args).numpy(), atol=1e-12)


MISUSES = {
    "rows of the wrong place": ("sorted rows are cut", "rows[start:end]", "rows[:end]"),
    "an end that is no start": ("sorted rows are cut", "start = end", "start = number"),
    "one part of the list": (
        "sorted rows are cut",
        "torch.cat(outputs, dim=0) if len(outputs) else rows.new_empty(0)",
        "outputs[0]",
    ),
    "all rows in a turn": ("sorted rows are cut", "rows[start:end], gate_up", "rows[start:end] + rows.sum(0), gate_up"),
    "numbers that count nothing": (
        "sorted rows are cut",
        "counts.scatter_(1, index, 1)",
        "counts.scatter_(1, index, 2)",
    ),
    "how many there are": ("sorted rows are cut", "rows[start:end], gate_up", "rows[start:end] * number, gate_up"),
    "an index of anything": ("where the index is the number", "total = ", "index = (scores * 7).long()\n    total = "),
    "two indices": ("where the index is the number", "x[token]", "x[torch.where(index.flip(-1) == e)[0]]"),
    "tokens twice": ("a mask of tokens", "torch.topk(scores, 2, dim=-1)", "torch.topk(scores, 2, dim=0)"),
}


@pytest.mark.parametrize("name", MISUSES)
def test_what_is_no_pass_over_pairs_is_refused(name: str) -> None:
    which, old, new = MISUSES[name]
    source = program(which, 4, 4)
    assert old in source
    with pytest.raises(CompileError) as caught:
        record(source.replace(old, new, 1), arguments(0, 5, 4))
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code in ("data-dependent-loop", "data-dependent", "invalid-op") and diagnostic.primary is not None
