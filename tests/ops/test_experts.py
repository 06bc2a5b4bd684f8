"""Loops over experts: traced as one pass over pairs of token and expert, they compute what torch makes of the loop itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.diagnostics import CompileError
from codegen.graph.interpreter import Interpreter
from codegen.graph.values import Node, Tensor, TensorValue
from codegen.source.files import Library, find_library
from tests.ops.harness import TYPE_OF, Recorded, _needed, by_numpy, by_spelling, symbolic

ROOT = find_library().root
Array = np.ndarray[Any, Any]
HEAD = "import torch\nimport torch.nn.functional as F\n\n"

LOOP = """
def f(x, scores, gate_up, down, up_bias, out_bias):
    weights, index = torch.topk(scores, {k}, dim=-1)
    total = torch.zeros_like(x)
    mask = F.one_hot(index, num_classes=scores.shape[-1] + {sentinel}).permute(2, 1, 0)
    hit = torch.greater(mask.sum(dim=(-1, -2)), 0).nonzero()
    for expert in hit:
        expert = expert[0]
        if expert == scores.shape[-1]:
            continue
        place, token = torch.where(mask[expert])
{body}
        total.index_add_(0, token, y * weights[token, place, None])
    return total
"""
GATED = """
        gate, up = F.linear(x[token], gate_up[expert]).chunk(2, dim=-1)
        y = F.linear(F.silu(gate) * up, down[expert])
"""
BIASED = """
        h = F.linear(x[token], gate_up[expert], up_bias[expert])
        gate, up = h[..., ::2].clamp(max=0.5), h[..., 1::2]
        y = ((up + 1) * gate * torch.sigmoid(1.7 * gate)) @ down[expert].t() + out_bias[expert]
"""
TRANSPOSED = """
        w = gate_up.transpose(1, 2)[expert]
        gate, up = torch.chunk(x[token] @ w, 2, dim=-1)
        y = (F.gelu(gate) * up).matmul(down[expert].T) * out_bias[expert].exp()
"""
NORMED = """
        h = x[token]
        h = F.relu(F.linear(h, gate_up[expert]))[:, : down.shape[-1]]
        h = h / (h.square().mean(-1, keepdim=True) + 0.1).sqrt()
        y = F.linear(h.to(x.dtype), down[expert])
"""
SOME_PASS = """
        if expert >= 2 or x is None:
            y = x[token]
        else:
            gate, up = F.linear(x[token], gate_up[expert]).chunk(2, dim=-1)
            y = F.linear(gate * up, down[expert])
"""
SOME_SKIP = """
        if expert == 1:
            continue
        gate, up = F.linear(x[token], gate_up[expert]).chunk(2, dim=-1)
        y = F.linear(gate * up, down[expert]) + out_bias[expert]
"""
BODIES = {
    "gated": GATED,
    "biased": BIASED,
    "transposed": TRANSPOSED,
    "normed": NORMED,
    "some experts pass on": SOME_PASS,
    "some experts are skipped": SOME_SKIP,
}

OTHER_FORMS = {
    "items, not squeezed": """
def f(x, scores, gate_up, down, up_bias, out_bias):
    weights, index = torch.topk(scores, 2, dim=-1)
    total = torch.zeros_like(x, dtype=torch.float64)
    mask = F.one_hot(index, num_classes=scores.shape[-1]).permute(2, 1, 0)
    for item in torch.greater(mask.sum(dim=(-1, -2)), 0).nonzero(as_tuple=False):
        expert = int(item.item())
        place, token = torch.where(mask[expert].squeeze(0))
        if token.numel() == 0:
            continue
        h = F.linear(x[token], gate_up[expert])[:, : x.shape[-1]]
        total[token] += h * weights[token, place, None]
    return total
""",
    "places before experts": """
def f(x, scores, gate_up, down, up_bias, out_bias):
    weights, index = torch.topk(scores, 2, dim=-1)
    mask = F.one_hot(index, num_classes=scores.shape[-1])
    total = torch.zeros_like(x)
    for expert in mask.any(dim=0).any(dim=0).nonzero().squeeze(-1):
        token, place = torch.where(index == expert)
        y = F.linear(x[token], gate_up[expert]).sum(-1, keepdim=True) * weights[token, place].unsqueeze(-1)
        total = total.index_add(0, token, y.expand(-1, x.shape[-1]))
    return total
""",
}

SPLIT = """
def f(x, scores, gate_up, down, up_bias, out_bias):
    k, experts = 2, scores.shape[-1]
    weights, index = scores.topk(k, dim=-1)
    sizes = torch.zeros_like(scores).scatter(1, index, 1).long().sum(0).tolist()
    _, order = index.flatten().sort(0)
    token = order.div(k, rounding_mode="trunc")
    parts = x[token].split(sizes, dim=0)
    h = torch.cat([F.linear(parts[e], gate_up[e]) for e in range(experts)], dim=0)
    gate, up = h.chunk(2, dim=-1)
    parts = (F.silu(gate) * up).split(sizes, dim=0)
    y = torch.cat([F.linear(parts[e], down[e]) for e in range(experts)], dim=0)
    return torch.zeros_like(x).index_add(0, token, y * weights.flatten()[order][:, None])
"""
PROGRAMS = {
    "rows split by sizes": HEAD + SPLIT,
    **{name: HEAD + LOOP.format(k=2, sentinel=1, body=body) for name, body in BODIES.items()},
    "one expert a token": HEAD + LOOP.format(k=1, sentinel=0, body=GATED),
    **{name: HEAD + text for name, text in OTHER_FORMS.items()},
}


def arguments(seed: int, tokens: int, experts: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    width, inner = 4, 5
    shapes = [(tokens, width), (tokens, experts), (experts, 2 * inner, width), (experts, width, inner)]
    return [rng.normal(size=shape) for shape in (*shapes, (experts, 2 * inner), (experts, width))]


def record(source: str, args: list[Array]) -> Recorded:
    """Run `f` of a file on symbols."""
    made = Interpreter(Library(ROOT, {"m.py": source}))
    inputs = [TensorValue(symbolic(a.shape, "d"), TYPE_OF[a.dtype]) for a in args]
    result = made.call(made.find("repository.m.f"), [Tensor(value) for value in inputs], {})
    nodes = [node for node in made.trace.root.body if isinstance(node, Node)]
    return Recorded(_needed(nodes, [result.value]), inputs, [result.value])


def by_torch(source: str, args: list[Array]) -> torch.Tensor:
    scope: dict[str, Any] = {"torch": torch, "F": F}
    exec(source, scope)  # a program of this file
    made = scope["f"](*(torch.from_numpy(a.copy()) for a in args))
    assert isinstance(made, torch.Tensor)
    return made


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_loop_and_the_pass_agree(name: str) -> None:
    runs = [False, False, True]

    @settings(max_examples=3, database=None, derandomize=True)
    @given(st.integers(0, 2**16), st.integers(1, 7), st.integers(3, 6))
    def run(seed: int, tokens: int, experts: int) -> None:
        args = arguments(seed, tokens, experts)
        expected = by_torch(PROGRAMS[name], args).numpy()
        recorded = record(PROGRAMS[name], args)
        used = {node.op for node in recorded.nodes}
        assert used & {"grouped_linear", "grouped_matmul"} and "nonzero" not in used
        np.testing.assert_allclose(by_numpy(recorded, args)[0], expected, atol=1e-12)
        np.testing.assert_allclose(by_spelling(recorded, args, "torch")[0], expected, atol=1e-12)
        if runs.pop(0) if runs else False:
            np.testing.assert_allclose(by_spelling(recorded, args, "flax")[0], expected, atol=1e-12)

    run()


def test_printed_code_is_differentiable() -> None:
    """The gradients of the printed pass are those of the loop."""
    args = arguments(3, 6, 4)
    source = PROGRAMS["biased"]
    scope: dict[str, Any] = {"torch": torch, "F": F}
    exec(source, scope)  # a program of this file
    ours, theirs = ([torch.from_numpy(a.copy()).requires_grad_() for a in args] for _ in range(2))
    scope["f"](*theirs).square().sum().backward()
    by_spelling(record(source, args), ours, "torch")[0].square().sum().backward()
    for mine, want in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, want.grad)


MISUSES = {
    "tokens see each other": "        y = F.linear(x[token], gate_up[expert][: x.shape[-1]]).cumsum(0)\n",
    "the sum is read": "        y = x[token] + total[token]\n",
    "a sum over tokens": "        y = x[token] - x[token].mean(0)\n",
    "an expert reads what another made": "        y = x[token] * (1 if last is None else last)\n        last = y.shape[0]\n",
    "a write to rows": "        y = x[token]\n        total[token] = y\n",
    "an end before its time": "        y = x[token]\n        break\n",
}


@pytest.mark.parametrize("name", MISUSES)
def test_what_is_no_sum_over_experts_is_refused(name: str) -> None:
    source = HEAD + LOOP.format(k=2, sentinel=1, body=MISUSES[name]).replace("total =", "last = None\n    total =", 1)
    with pytest.raises(CompileError) as caught:
        record(source, arguments(0, 5, 4))
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "data-dependent-loop" and diagnostic.primary is not None


SPLIT_MISUSES = {
    "parts out of order": ("for e in range(experts)", "for e in reversed(range(experts))"),
    "some parts only": ("range(experts)", "range(experts - 1)"),
    "the weights of another": ("down[e]", "down[experts - 1 - e]"),
    "something else than a product": ("F.linear(parts[e], down[e])", "F.relu(parts[e])"),
    "sizes as numbers": ("h.chunk(2, dim=-1)", "h.chunk(sizes[0], dim=-1)"),
}


@pytest.mark.parametrize("name", SPLIT_MISUSES)
def test_parts_that_are_not_joined_in_order_are_refused(name: str) -> None:
    old, new = SPLIT_MISUSES[name]
    assert old in SPLIT
    with pytest.raises(CompileError) as caught:
        record(HEAD + SPLIT.replace(old, new), arguments(0, 5, 4))
    assert caught.value.diagnostics[0].code == "data-dependent"


def test_what_one_expert_made_is_not_read_after_the_loop() -> None:
    source = HEAD + LOOP.format(k=2, sentinel=1, body=GATED).replace("return total", "return total + y.sum()")
    with pytest.raises(CompileError, match="after the loop"):
        record(source, arguments(0, 5, 4))
