"""The helper functions of emitted files compute what the source does, in both frameworks alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from jax.extend.core import jaxprs_in_params

from codegen.render.templates import fill

B, N, K, T, S, H, W = 2, 6, 3, 5, 5, 8, 4  # W: size of the values' heads
SCALE, CAP = 0.3, 1.5
WIDE = True
Arrays = dict[str, np.ndarray]


def helper(framework: str, name: str) -> Callable[..., Any]:
    text = fill(f"{framework}/components/{name}.py.jinja", SimpleNamespace(grouped=K < N, wide_softmax=WIDE))
    space: dict[str, Any] = {"torch": torch, "F": F, "jax": jax, "jnp": jnp, "Tensor": torch.Tensor, "Array": jax.Array}
    exec(compile("from __future__ import annotations\n" + text, name, "exec"), space)
    return space[name]


@pytest.fixture(params=((K, True), (N, True), (K, False)), ids=("groups", "own", "softmax-as-given"))
def heads_of_keys(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer heads of keys and values than of queries, or as many, a softmax in float32 or not: the helpers differ."""
    heads, wide = request.param
    monkeypatch.setitem(globals(), "K", heads)
    monkeypatch.setitem(globals(), "WIDE", wide)


def call(framework: str, name: str, *args: object) -> np.ndarray:
    def convert(x: object) -> object:
        if not isinstance(x, np.ndarray):
            return x
        return torch.from_numpy(x) if framework == "torch" else jnp.asarray(x)

    return np.asarray(helper(framework, name)(*map(convert, args)))


def arrays(tokens: int = T) -> Arrays:
    rng = np.random.default_rng(0)
    shapes = {"q": (B, N, tokens, H), "k": (B, K, S, H), "v": (B, K, S, W), "sinks": (N,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def written_out(a: Arrays, mask: np.ndarray, cap: float | None = None, sinks: bool = False) -> np.ndarray:
    """As modeling files write it, with keys and values repeated and an additive mask."""
    k, v = np.repeat(a["k"], N // K, axis=1), np.repeat(a["v"], N // K, axis=1)
    scores = a["q"] @ np.swapaxes(k, 2, 3) * SCALE
    if cap is not None:
        scores = np.tanh(scores / cap) * cap
    scores = scores + mask
    if sinks:
        column = np.broadcast_to(a["sinks"].reshape(1, -1, 1, 1), (*scores.shape[:3], 1))
        scores = np.concatenate((scores, column), axis=-1)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return (weights[..., :-1] if sinks else weights) @ v


def some_mask(tokens: int = T) -> np.ndarray:
    mask = np.tril(np.ones((B, 1, tokens, S), bool), S - tokens)
    mask[1, :, 2:, 0] = False
    return mask


def additive(mask: np.ndarray) -> np.ndarray:
    return np.where(mask, 0.0, np.finfo(np.float32).min).astype(np.float32)


CAUSAL = np.tril(np.ones((1, 1, T, S), bool))


@pytest.mark.usefixtures("heads_of_keys")
@pytest.mark.parametrize("framework", ("torch", "flax"))
@pytest.mark.parametrize(
    ("name", "extra"), (("attend", ()), ("attend_capped", (CAP,)), ("attend_with_sinks", ("sinks",)))
)
@pytest.mark.parametrize("masked", (True, False))
def test_attention(framework: str, name: str, extra: tuple[object, ...], masked: bool) -> None:
    if (framework, name) == ("torch", "attend"):
        pytest.skip("PyTorch has a fused form")
    a = arrays()
    mask = some_mask() if masked else CAUSAL
    expected = written_out(a, additive(mask), CAP if CAP in extra else None, "sinks" in extra)
    more = [a["sinks"] if x == "sinks" else x for x in extra]
    found = call(framework, name, a["q"], a["k"], a["v"], mask if masked else None, SCALE, *more)
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.usefixtures("heads_of_keys")
@pytest.mark.parametrize("name", ("attend_capped", "attend_with_sinks"))
def test_one_token_sees_everything(name: str) -> None:
    a = arrays(tokens=1)
    extra = CAP if name == "attend_capped" else a["sinks"]
    expected = written_out(a, np.zeros((1, 1, 1, S)), CAP if name == "attend_capped" else None, name != "attend_capped")
    np.testing.assert_allclose(call("torch", name, a["q"], a["k"], a["v"], None, SCALE, extra), expected, atol=2e-6)


@pytest.mark.usefixtures("heads_of_keys")
def test_attention_without_causality() -> None:
    a = arrays()
    everything = written_out(a, np.zeros((1, 1, T, S)))
    np.testing.assert_allclose(call("flax", "attend_to_all", a["q"], a["k"], a["v"], SCALE), everything, atol=2e-6)
    np.testing.assert_allclose(
        call("flax", "attend_both_ways", a["q"], a["k"], a["v"], None, SCALE), everything, atol=2e-6
    )
    masked = written_out(a, additive(some_mask()))
    found = call("flax", "attend_both_ways", a["q"], a["k"], a["v"], some_mask(), SCALE)
    np.testing.assert_allclose(found, masked, atol=2e-6)


@pytest.mark.usefixtures("heads_of_keys")
@pytest.mark.parametrize("heads", (1, N))
def test_attention_with_a_bias(heads: int) -> None:
    a = arrays()
    bias = np.random.default_rng(1).normal(size=(1, heads, T, S)).astype(np.float32) + additive(CAUSAL)
    found = call("flax", "attend_additive", a["q"], a["k"], a["v"], bias, SCALE)
    np.testing.assert_allclose(found, written_out(a, bias), atol=2e-6)


TABLES = {
    "apply_rope": "signed",
    "apply_rope_full": "full",
    "apply_rope_halves": "half",
    "apply_rope_pairs": "half",
    "apply_rope_full_pairs": "full",
}


@pytest.mark.parametrize("framework", ("torch", "flax"))
@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("partial", (False, True))
def test_rotation(framework: str, name: str, partial: bool) -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(B, N, T, H)).astype(np.float32)
    angles = rng.normal(size=(B, 1, T, H // 2)).astype(np.float32)
    pairs = name.endswith("pairs")
    wide = np.repeat(angles, 2, axis=-1) if pairs else np.concatenate((angles, angles), axis=-1)
    signed = np.concatenate((-angles, angles), axis=-1)
    tables = {"full": wide, "half": angles, "signed": signed}[TABLES[name]]
    first = (slice(None, None, 2), slice(1, None, 2)) if pairs else (slice(None, H // 2), slice(H // 2, None))
    complex_ = x[..., first[0]] + 1j * x[..., first[1]]
    turned = complex_ * np.exp(1j * angles)
    expected = np.empty_like(x)
    expected[..., first[0]], expected[..., first[1]] = turned.real, turned.imag
    if partial:
        rest = rng.normal(size=(B, N, T, 3)).astype(np.float32)
        x, expected, name = np.concatenate((x, rest), -1), np.concatenate((expected, rest), -1), f"{name}_partial"
    found = call(framework, name, x, np.cos(tables), np.sin(tables))
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize(("wide", "least", "most"), [(False, 0, 1e-14), (True, 1e-12, 1e-6)])
def test_float64_stays_float64_but_where_the_source_says_float32(
    wide: bool, least: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "WIDE", wide)
    a = {name: value.astype(np.float64) for name, value in arrays().items()}
    expected = written_out(a, np.where(CAUSAL, 0.0, -np.inf), CAP)
    found = call("torch", "attend_capped", a["q"], a["k"], a["v"], None, SCALE, CAP)
    assert found.dtype == np.float64
    assert math.isfinite(found.sum())
    assert least <= np.abs(found - expected).max() < most


@pytest.mark.parametrize(("name", "last"), [("attend_capped", (CAP,)), ("attend_with_sinks", ("sinks",))])
def test_scores_have_the_type_of_the_model_and_weights_are_summed_up_in_float32(name: str, last: tuple[Any]) -> None:
    """As the sources do that cap scores or add a sink: their products are rounded before they are capped."""
    a = {key: jnp.asarray(value, jnp.bfloat16) for key, value in arrays().items()}
    further = [a.get(x, x) if isinstance(x, str) else x for x in last]
    made = jax.make_jaxpr(lambda q, k, v: helper("flax", name)(q, k, v, None, SCALE, *further))(a["q"], a["k"], a["v"])
    types = [(eqn.primitive.name, str(eqn.outvars[0].aval.dtype)) for eqn in made.eqns]
    assert {kind for op, kind in types if op == "dot_general"} == {"bfloat16"}
    assert all(kind == "bfloat16" for op, kind in types if op == "tanh")
    exponentials = [str(e.outvars[0].aval.dtype) for e in _equations(made.jaxpr) if e.primitive.name == "exp"]
    assert exponentials == ["float32"]


def _equations(jaxpr: Any) -> Iterator[Any]:
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in jaxprs_in_params(eqn.params):
            yield from _equations(inner)


@pytest.mark.parametrize(("name", "last"), [("attend_capped", (CAP,)), ("attend_with_sinks", ("sinks",))])
def test_keys_are_not_copied_for_every_head_of_a_group(name: str, last: tuple[Any]) -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            self.size = max(self.size, out.numel() if isinstance(out, torch.Tensor) else 0)
            return out

    a = {key: torch.from_numpy(value) for key, value in arrays(1).items()}
    with Largest() as largest:
        helper("torch", name)(a["q"], a["k"], a["v"], None, SCALE, *(a.get(x, x) for x in last))
    assert largest.size <= a["k"].numel() < B * N * S * H
