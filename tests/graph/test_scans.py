"""Loops over time and branches on one token: traced once for a symbolic length, they compute what torch makes of the code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from codegen.diagnostics import CompileError
from codegen.graph import branches
from codegen.graph.interpreter import Interpreter
from codegen.graph.regions import freeze_with_inputs
from codegen.graph.sizes import USUAL
from codegen.graph.state import Surroundings
from codegen.graph.values import Frame, Tensor, TensorValue
from codegen.lowering.flax_dialect import FlaxDialect
from codegen.lowering.functions import Functions
from codegen.lowering.torch_dialect import TorchDialect
from codegen.source.files import Library, find_library
from ir import laws
from ir.evaluate import Context, evaluate_region
from ir.graph import Branch, DType, Region, Scan

ROOT = find_library().root
HEAD = "import torch\nimport torch.nn.functional as F\n\n"
WIDTH = 3

LOOPS = {
    "what is appended is stacked": """
def f(x, decay):
    state = torch.zeros_like(x[:, 0])
    made = []
    for t in range(x.shape[1]):
        state = decay[:, t] * state + x[:, t]
        made.append(state * 2)
    return torch.stack(made, dim=-1)
""",
    "what is written is stacked": """
def f(x, decay):
    out = torch.zeros_like(x)
    low = high = x[:, 0]
    for t in range(x.shape[1]):
        here = x[:, t]
        low, high = torch.minimum(low, here), torch.maximum(high, here) * decay[:, t]
        out[:, t] = here - low + high
    return out + low[:, None]
""",
    "what is joined is joined": """
def f(x, decay):
    state, made = x[:, :1] * 0, []
    for t in range(x.shape[1]):
        state = state + x[:, t].unsqueeze(1) * decay[:, t, None]
        made.append(torch.cat([state, -state], dim=1))
    return torch.cat(made, dim=1)
""",
    "chunks": """
def f(x, decay):
    batch, length, width = x.shape
    pad = (4 - length % 4) % 4
    chunks = F.pad(x, (0, 0, 0, pad)).reshape(batch, -1, 4, width)
    state, out = torch.zeros_like(x[:, 0]), torch.zeros_like(chunks)
    for i in range((length + pad) // 4):
        out[:, i] = chunks[:, i].cumsum(1) + state[:, None]
        state = state + chunks[:, i].sum(1)
    out = out.reshape(batch, -1, width)
    if pad > 0:
        out = out[:, :length]
    return out + decay
""",
    "a tensor that is written whole": """
def f(x, decay):
    state = torch.zeros_like(x[:, 0])
    out = torch.zeros_like(x)
    for t in range(x.shape[1]):
        state.copy_(state * decay[:, t] + x[:, t])
        out[:, t] = state
    return out - state[:, None]
""",
}

BRANCHES = {
    "arms leave a variable": """
def f(x, decay):
    if x.shape[1] == 1:
        y = x.squeeze(1).exp().unsqueeze(1)
    else:
        y = x.cumsum(1)
    return y * decay
""",
    "one arm returns": """
def f(x, decay):
    if x.shape[1] == 1:
        return x.view(x.shape[0], x.shape[2])[:, None] * 3
    y = x * decay
    return y + 1
""",
    "a test of several parts": """
def f(x, decay):
    y = x + 1
    if decay is not None and x.shape[1] == 1 and x is not None:
        y = y[:, 0][:, None] * decay
    return y
""",
    "without an else, on several": """
def f(x, decay):
    if x.shape[1] > 1:
        x = x.flip(1)
    return x * decay
""",
}


def trace(source: str, *, states: bool = False) -> tuple[Region, list[int]]:
    """The region of `f`, and which of its arguments each parameter is."""
    made = Interpreter(Library(ROOT, {"m.py": HEAD + source}))
    made.surroundings = Surroundings()
    if states:
        made.surroundings.states.kinds[("recurrent", 0)] = ((USUAL.B, WIDTH), DType.FLOAT64)
    made.framing = True
    values = [TensorValue((USUAL.B, USUAL.T, WIDTH), DType.MODEL) for _ in range(2)]
    result = made.call(made.find("repository.m.f"), [Tensor(value) for value in values], {})
    frame = made.trace.root.body[-1]
    assert isinstance(frame, Frame)
    region, taken = freeze_with_inputs(frame, [result.value], {})
    return region, [values.index(value) for value in taken]


def arguments(length: int) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(length)
    return [rng.normal(size=(2, length, WIDTH)) for _ in range(2)]


def by_torch(source: str, args: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    scope: dict[str, Any] = {}
    exec(HEAD + source, scope)  # a program of this file
    made: np.ndarray[Any, Any] = scope["f"](*(torch.from_numpy(a.copy()) for a in args)).numpy()
    return made


def printed(region: Region, framework: str) -> Any:
    """The region as the helper function that is emitted for it, with those that it calls."""
    functions = Functions(TorchDialect() if framework == "torch" else FlaxDialect())
    functions.name_of("f", region)
    text = "\n\n".join(functions.texts.values())
    if framework == "torch":
        scope: dict[str, Any] = {"torch": torch, "F": F, "Tensor": torch.Tensor}
    else:
        jax = pytest.importorskip("jax")
        jax.config.update("jax_enable_x64", True)
        scope = {"jax": jax, "jnp": jax.numpy, "Array": jax.Array}
        text = "\n\n".join([*FlaxDialect.spelling_helpers.values(), text])
    exec("from __future__ import annotations\n" + text, scope)  # what the compiler made of a program of this file
    return scope["f"]


def check(source: str, *, states: bool, kind: type) -> None:
    region, order = trace(source, states=states)
    assert laws.broken(region) == () and any(isinstance(node, kind) for node in region.nodes)
    ours = printed(region, "torch")
    for length in (1, 2, 4, 7, 9):
        args = arguments(length)
        given = [args[at] for at in order]
        expected = by_torch(source, args)
        (found,) = evaluate_region(region, given, Context(model=DType.FLOAT64))
        np.testing.assert_allclose(found, expected, atol=1e-12)
        np.testing.assert_allclose(ours(*map(torch.from_numpy, given)).numpy(), expected, atol=1e-12)
    jnp = pytest.importorskip("jax.numpy")
    theirs = printed(region, "flax")
    for length in (1, 7):
        args = arguments(length)
        found = theirs(*(jnp.asarray(args[at]) for at in order))
        np.testing.assert_allclose(np.asarray(found), by_torch(source, args), atol=1e-12)


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_over_time(name: str) -> None:
    check(LOOPS[name], states=False, kind=Scan)


@pytest.mark.parametrize("name", BRANCHES)
def test_one_token_and_several(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arms that compute different things, which no shortcut does, show which one has run."""
    monkeypatch.setattr(branches, "disagree", lambda *_: False)
    check(BRANCHES[name], states=True, kind=Branch)


@pytest.mark.parametrize(("short", "taken"), [("x[:, 0][:, None] * decay", True), ("x * decay * 2", False)])
def test_a_way_for_one_token_is_taken_where_it_is_a_shortcut(short: str, taken: bool) -> None:
    source = f"def f(x, decay):\n    if x.shape[1] == 1:\n        return {short}\n    return decay * x\n"
    region, _ = trace(source, states=True)
    assert any(isinstance(node, Branch) for node in region.nodes) is taken


MISUSES = {
    "ends early": "        break\n",
    "appends twice": "        made.append(x[:, t])\n        made.append(x[:, t])\n",
    "carries something else than a tensor": "        state = None if t is None else 3\n",
}


@pytest.mark.parametrize("name", MISUSES)
def test_what_the_next_iteration_cannot_take_up_is_refused(name: str) -> None:
    loop = f"    for t in range(x.shape[1]):\n{MISUSES[name]}"
    source = f"def f(x, decay):\n    state, made = x[:, 0], []\n{loop}    return state\n"
    with pytest.raises(CompileError) as caught:
        trace(source)
    assert caught.value.diagnostics[0].code == "loop-over-time"


def test_what_an_iteration_made_is_not_read_after_the_loop() -> None:
    source = "def f(x, decay):\n    for t in range(x.shape[1]):\n        y = x[:, t]\n    return torch.exp(y)\n"
    with pytest.raises(CompileError):
        trace(source)


MANY = {
    "a triangle": """
def f(x, decay):
    made = torch.tril(torch.ones(20, 20, dtype=x.dtype), -1) * x[:, :1, :1] * 0.1
    for i in range(1, 20):
        row = made[..., i, :i].clone()
        made[..., i, :i] = row + (row.unsqueeze(-1) * made[..., :i, :i]).sum(-2)
    return x * decay + made.sum((-1, -2))[:, None, None]
""",
    "no number": """
def f(x, decay):
    share = torch.softmax(x, -1)
    for _ in range(20):
        share = share / (share.sum(1, keepdim=True) + 1e-3)
        share = share / (share.sum(2, keepdim=True) + 1e-3)
    return share * decay
""",
}


@pytest.mark.parametrize("name", MANY)
def test_a_loop_of_many_turns_that_are_alike(name: str) -> None:
    check(MANY[name], states=False, kind=Scan)


UNLIKE = {
    "another number each": "        x, scale = x * scale, scale * 0.9\n",
    "another branch": "        x = x * 2 if i == 3 else x + 1\n",
    "another item": "        x = x * (1, 2, 3)[i % 3]\n",
}


@pytest.mark.parametrize("name", UNLIKE)
def test_turns_that_are_not_alike_are_written_out(name: str) -> None:
    source = f"def f(x, decay):\n    scale = 0.5\n    for i in range(20):\n{UNLIKE[name]}    return x * decay\n"
    region, order = trace(source)
    assert not any(isinstance(node, Scan) for node in region.nodes)
    args = arguments(4)
    (found,) = evaluate_region(region, [args[at] for at in order], Context(model=DType.FLOAT64))
    np.testing.assert_allclose(found, by_torch(source, args), atol=1e-12)


DECIDED = {
    "by a branch": "        y = x[:, t] * 2 if t == 0 else x[:, t]\n",
    "by an item": "        y = parts[t % 2]\n",
    "by a flag": "        y = x[:, t] * (2 if first else 1)\n        first = False\n",
    "by a number that grows": "        scale = scale * 0.9\n        y = x[:, t] * scale\n",
    "by a number that grows in place": "        scale *= 0.9\n        y = x[:, t] * scale\n",
}


@pytest.mark.parametrize("name", DECIDED)
def test_turns_of_a_loop_over_time_that_are_not_alike_are_refused(name: str) -> None:
    """The body is run once for all turns, so none may differ by what is no tensor."""
    source = (
        "def f(x, decay):\n    parts, first, scale, made = (x[:, 0], decay[:, 0]), True, 0.5, []\n"
        f"    for t in range(x.shape[1]):\n{DECIDED[name]}        made.append(y)\n    return torch.stack(made, 1)\n"
    )
    with pytest.raises(CompileError) as caught:
        trace(source)
    assert caught.value.diagnostics[0].code == "loop-over-time"


def test_the_first_turn_has_the_number_zero() -> None:
    source = """
def f(x, decay):
    out = torch.zeros_like(x)
    for t in range(x.shape[1]):
        out[:, t] = x[:, t] - decay[:, max(t - 1, 0)]
    return out
"""
    check(source, states=False, kind=Scan)
