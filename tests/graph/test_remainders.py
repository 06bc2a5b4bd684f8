"""Tokens in blocks, and those that are left over by themselves: one program for every number of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from codegen.diagnostics import CompileError
from codegen.graph.interpreter import Coincidence, Interpreter
from codegen.graph.regions import freeze_with_inputs
from codegen.graph.sizes import USUAL, Sizes, larger
from codegen.graph.state import Surroundings
from codegen.graph.values import Frame, Tensor, TensorValue
from codegen.source.files import Library
from ir import laws
from ir.evaluate import Context, evaluate_region
from ir.expressions import Apply, Const, Dim, Environment, evaluate
from ir.graph import DType, Region
from tests.graph.test_scans import HEAD, ROOT, WIDTH, arguments, by_torch, printed

BLOCKS = """
def blocks(x, state, n):
    batch, length, width = x.shape
    count = length // n
    states = torch.zeros(batch, (count + 1) * width, dtype=x.dtype)
    sums = torch.zeros(batch, count + 1, dtype=x.dtype)
    for i in range(0, count):
        states[:, i * width : (i + 1) * width] = state
        sums[:, i] = state.sum(-1)
        state = state * 0.5 + x[:, i * n : (i + 1) * n].sum(1)
    states[:, -width:] = state
    sums[:, -1] = 2.0
    inner = x.view(batch, count, n, width) + states[:, :-width].view(batch, count, 1, width)
    return (inner * sums[:, :-1, None, None]).view(batch, count * n, width), states[:, -width:]


def single(x, state):
    made = []
    for t in range(x.shape[1]):
        state = state * 0.9 + x[:, t]
        made.append(state)
    return torch.stack(made, dim=1), state

"""

BODY = """
def f(x, decay):
    length, n, start = x.shape[1], 4, 0
    state, outs = torch.zeros_like(x[:, 0]), []
    count = length // n
    if count > 0:
        out, state = blocks(x[:, : n * count], state, n)
        start += n * count
        outs.append(out)
    left = length - start
    if left > 0:
        out, state = single(x[:, start:length], state)
        outs.append(out)
    return torch.cat(outs, dim=1) * decay + state[:, None]
"""

EDITS = {
    "as it is": ("", ""),
    "asked with !=": ("if left > 0", "if left != 0"),
    "asked with >=": ("if left > 0", "if left >= 1"),
    "a number of its own": ("        start += n * count\n", "        start = count * n\n"),
    "joined by keyword": ("torch.cat(outs, dim=1)", "torch.concatenate(outs, axis=1)"),
}


ENOUGH = Sizes(3, 31, 6)


def trace(source: str, sizes: Sizes = ENOUGH) -> tuple[Region, list[int]]:
    made = Interpreter(Library(ROOT, {"m.py": HEAD + source}))
    made.surroundings = Surroundings(sizes=sizes)
    made.framing = True
    values = [TensorValue((sizes.B, sizes.T, WIDTH), DType.MODEL) for _ in range(2)]
    result = made.call(made.find("repository.m.f"), [Tensor(value) for value in values], {})
    frame = made.trace.root.body[-1]
    assert isinstance(frame, Frame)
    region, taken = freeze_with_inputs(frame, [result.value], {})
    return region, [values.index(value) for value in taken]


@pytest.mark.parametrize("name", EDITS)
def test_every_number_of_tokens_is_what_the_source_computes(name: str) -> None:
    source = BLOCKS + BODY.replace(*EDITS[name])
    region, order = trace(source)
    assert laws.broken(region) == ()
    for length in range(1, 14):
        args = arguments(length)
        (found,) = evaluate_region(region, [args[at] for at in order], Context(model=DType.FLOAT64))
        np.testing.assert_allclose(found, by_torch(source, args), atol=1e-12)


@pytest.mark.parametrize("framework", ["torch", "flax"])
def test_what_is_emitted_runs_for_every_number_of_tokens(framework: str) -> None:
    region, order = trace(BLOCKS + BODY)
    ours = printed(region, framework)
    array = torch.from_numpy if framework == "torch" else pytest.importorskip("jax.numpy").asarray
    for length in (1, 3, 4, 5, 8, 11):
        args = arguments(length)
        found = np.asarray(ours(*(array(args[at]) for at in order)))
        np.testing.assert_allclose(found, by_torch(BLOCKS + BODY, args), atol=1e-12)


CHANGES = {
    "a state that is another without tokens": (
        "        outs.append(out)\n    return",
        "        outs.append(out)\n        state = state + 1\n    return",
    ),
    "a number that is another without tokens": ("        start += n * count\n", "        start += n * count + 1\n"),
    "the number of parts counts": ("* decay", "* len(outs)"),
    "joined along another axis": ("dim=1) * decay", "dim=2).sum(2)"),
    "a part that is not empty": (
        "        outs.append(out)\n    return",
        "        outs.append(out)\n        outs.append(x)\n    return",
    ),
    "a division by how many there are": (
        "blocks(x[:, : n * count], state, n)",
        "blocks(x[:, : n * count] + torch.zeros((length + 1) // count).sum(), state, n)",
    ),
    "the list has another name too": ("    length, n", "    others = outs = []\n    length, n"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_arm_that_does_something_without_tokens_is_refused(name: str) -> None:
    old, new = CHANGES[name]
    assert BODY.count(old) == 1
    body = BODY.replace(old, new).replace(
        "state, outs = torch.zeros_like(x[:, 0]), []", _LIST[name == "the list has another name too"]
    )
    with pytest.raises(CompileError) as caught:
        trace(BLOCKS + body)
    assert caught.value.diagnostics[0].code == "branch-on-length"


_LIST = ("state, outs = torch.zeros_like(x[:, 0]), []", "state = torch.zeros_like(x[:, 0])")


def test_too_few_tokens_to_fill_several_blocks_are_not_enough() -> None:
    with pytest.raises(Coincidence):
        trace(BLOCKS + BODY, USUAL)


@pytest.mark.parametrize("block", [4, 64, 256])
def test_sizes_with_more_tokens(block: int) -> None:
    count = Apply("//", (Dim("T"), Const(block)))
    sizes = next(larger([block], lambda sizes: evaluate(count, Environment(dims=sizes.dims)) >= 3))  # type: ignore[operator]
    assert sizes.new >= 3 * block and sizes.new % block
