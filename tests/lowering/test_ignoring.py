"""What checkpoints may hold beside the model: patterns as the source means them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.lowering.ignoring import meant


def ignored(name: str, *patterns: str) -> bool:
    return any(re.search(pattern, name) for pattern in meant(patterns))


@pytest.mark.parametrize("name", ["h.3.attn.bias", "attn.bias", "transformer.h.11.attn.bias", "h.3.attn.masked_bias"])
def test_a_path_is_ignored_wherever_it_stands(name: str) -> None:
    assert ignored(name, "attn.bias")


@pytest.mark.parametrize(
    "name", ["h.3.c_attn.bias", "h.3.c_attn.masked_bias", "h.3.attn_bias", "h.3.attn.bias2", "attnxbias"]
)
def test_a_dot_is_a_dot_and_a_step_a_whole_one(name: str) -> None:
    assert not ignored(name, "attn.bias")


def test_regular_expressions_are_left_alone() -> None:
    assert meant([r"^mtp.*", r"model\.layers\.61.*"]) == (r"^mtp.*", r"model\.layers\.61.*")


def test_a_module_is_ignored_with_all_that_it_holds() -> None:
    assert ignored("model.layers.7.self_attn.v_norm.weight", "layers.7.self_attn.v_norm")
    assert ignored("mtp_head.weight", "mtp") and not ignored("smtp.weight", "mtp")


@given(st.sets(st.integers(0, 130), min_size=1))
def test_layers_in_a_range_take_one_pattern(numbers: set[int]) -> None:
    patterns = [f"layers.{n}.attn.{leaf}" for n in sorted(numbers) for leaf in ("k_proj", "v_proj")]
    (pattern,) = meant(patterns)
    kept = {n for n in range(1400) if re.search(pattern, f"model.layers.{n}.attn.k_proj.weight")}
    assert kept == numbers
