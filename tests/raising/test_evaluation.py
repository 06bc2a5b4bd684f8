"""A raised program computes what the program did, by the reference evaluator."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.raising.definitions import as_region
from codegen.raising.program import raise_program
from ir.arch import MaskForm
from ir.evaluate import Context, evaluate_region
from ir.expressions import Environment
from ir.graph import DType, Region
from tests.raising.builder import attention_module, decoder

SIZES = {
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 8,
    "cap": 1.5,
    "layer": 0,
    "attention_factor": 1.25,
}
TENSOR_MASK = 5


def context(config: dict[str, object]) -> Context:
    def cache_update(k: np.ndarray, v: np.ndarray, _: object) -> tuple[np.ndarray, np.ndarray]:
        return k, v

    frequencies = np.linspace(1.0, 0.1, SIZES["head_dim"] // 2, dtype=np.float32)  # type: ignore[arg-type]
    return Context(
        Environment(config=config),
        DType.FLOAT64,
        {"rotary_emb.inv_freq": frequencies},
        {"cache_update": cache_update},
        as_region,
    )


def run(region: Region, args: list[np.ndarray], config: dict[str, object]) -> np.ndarray:
    return np.asarray(evaluate_region(region, args, context(config))[0])


def masks(rng: np.random.Generator, tokens: int) -> tuple[np.ndarray, np.ndarray]:
    allowed = np.tril(np.ones((2, 1, tokens, tokens), bool))
    allowed[1, :, 1:, 0] = rng.random() < 0.5
    return allowed, np.where(allowed, 0.0, np.finfo(np.float64).min)


@settings(max_examples=25, deadline=None)
@given(
    tokens=st.integers(1, 6),
    grouped=st.booleans(),
    cap=st.booleans(),
    softmax=st.sampled_from((None, DType.FLOAT32)),
    scale=st.sampled_from(("mul", "div", "query", "none")),
    pairs=st.booleans(),
    seed=st.integers(0, 99),
)
def test_attention(
    tokens: int, grouped: bool, cap: bool, softmax: DType | None, scale: str, pairs: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    config: dict[str, object] = dict(SIZES, num_key_value_heads=3 if grouped else 6)
    region = attention_module(pairs=pairs, grouped=grouped, cap=cap, softmax=softmax, scale=scale)
    n, k, h = SIZES["num_attention_heads"], config["num_key_value_heads"], SIZES["head_dim"]
    shapes = [(2, n, tokens, h), (2, k, tokens, h), (2, k, tokens, h), (2, tokens, h), (2, tokens, h)]
    tensors = [rng.normal(size=shape) for shape in shapes]  # type: ignore[arg-type]
    boolean, additive = masks(rng, tokens)
    program = raise_program(region, (TENSOR_MASK,))
    assert program.masks is MaskForm.BOOLEAN
    expected = run(region, [*tensors, additive], config)
    found = run(program.region, [*tensors, boolean], config)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("doubled", "pairs"), (("cat", False), ("repeat_interleave", True), ("repeat_interleave", False))
)
def test_tables(doubled: str, pairs: bool) -> None:
    rng = np.random.default_rng(3)
    tokens = 5
    region = decoder(doubled=doubled, pairs=pairs)
    program = raise_program(region, (4,))
    config: dict[str, object] = dict(SIZES, num_key_value_heads=3)
    positions = np.arange(tokens)[None] + np.asarray([[0], [7]])
    tensors = [rng.normal(size=(2, heads, tokens, 8)) for heads in (6, 3, 3)]
    boolean, additive = masks(rng, tokens)
    expected = run(region, [positions, *tensors, additive], config)
    found = run(program.region, [positions, *tensors, boolean], config)
    np.testing.assert_allclose(found, expected, atol=1e-6)
