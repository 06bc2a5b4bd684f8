"""The flags of ordinary architectures, drawn at random: what is compiled for a configuration computes what the original does.

Every draw changes a few keys of a tiny case, compiles it and compares PyTorch in float64 with the original: a whole
sequence, steps on a cache, a padded batch, the checkpoint there and back. The package then has to serve the same flags at
other sizes too, or refuse them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from codegen.diagnostics import CompileError
from tests.parity import harness
from tests.parity.harness import Lab, Torch, measure, too_large
from tests.parity.original import Facts, load_case

Raw = dict[str, object]
Changes = dict[str, object]

DRAWS = 6  # of each architecture
AFFORDABLE = 1e-4  # what the original may differ from itself before it is not asked


@dataclass(frozen=True, slots=True)
class Architecture:
    """A tiny case, the values that its keys may take, and keys of sizes with another size of the same flags."""

    case: str
    choices: Mapping[str, tuple[object, ...]]
    sizes: Mapping[str, object] = field(
        default_factory=lambda: {"hidden_size": 64, "intermediate_size": 72, "vocab_size": 149, "num_hidden_layers": 5}
    )


def rope(kind: str, *, spelling: str = "rope_type", **more: object) -> Changes:
    return {spelling: kind, **more}


ROPE = (
    None,
    rope("linear", factor=4.0),
    rope("linear", spelling="type", factor=2.5),
    rope("dynamic", factor=4.0),
    rope("yarn", factor=4.0, original_max_position_embeddings=8),
    rope("yarn", factor=4.0, original_max_position_embeddings=8, beta_fast=16.0, beta_slow=2.0, attention_factor=1.3),
    rope("llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16),
)
THETA = (10000.0, 500.0)
ACT = ("silu", "gelu", "gelu_pytorch_tanh", "gelu_new", "relu", "quick_gelu", "relu2")
BOTH = (False, True)
HEADS = (1, 2, 4)
EPS = (1e-3, 1e-6)
GROUPED: Mapping[str, tuple[object, ...]] = {
    "hidden_act": ACT,
    "num_key_value_heads": HEADS,
    "tie_word_embeddings": BOTH,
    "rope_theta": THETA,
    "rope_scaling": ROPE,
    "rms_norm_eps": EPS,
}
PLAIN = {name: values for name, values in GROUPED.items() if name != "rms_norm_eps"} | {"layer_norm_eps": EPS}

ARCHITECTURES = (
    Architecture("llama", {**GROUPED, "attention_bias": BOTH, "mlp_bias": BOTH, "head_dim": (8, 16, None)}),
    Architecture(
        "qwen3",
        {
            **GROUPED,
            "attention_bias": BOTH,
            "use_sliding_window": BOTH,
            "max_window_layers": (0, 1, 3),
            "sliding_window": (4, 6),
        },
    ),
    Architecture("mistral", {**GROUPED, "sliding_window": (None, 3, 40), "head_dim": (8, None)}),
    Architecture(
        "gemma2",
        {
            "hidden_activation": ("gelu_pytorch_tanh", "gelu", "silu"),
            "num_key_value_heads": HEADS,
            "tie_word_embeddings": BOTH,
            "attn_logit_softcapping": (None, 3.0, 50.0),
            "final_logit_softcapping": (None, 5.0),
            "query_pre_attn_scalar": (10, 16, 224),
            "sliding_window": (1, 5),
            "attention_bias": BOTH,
            "layer_types": (None, ["full_attention", "sliding_attention"] * 2, ["full_attention"] * 4),
        },
    ),
    Architecture(
        "olmo2",
        {**GROUPED, "attention_bias": BOTH},
        {"hidden_size": 64, "intermediate_size": 72, "vocab_size": 149, "num_hidden_layers": 5},
    ),
    Architecture("olmo", {**PLAIN, "clip_qkv": (None, 0.7), "attention_bias": BOTH}),
    Architecture("cohere", {**PLAIN, "use_qk_norm": BOTH, "logit_scale": (1.0, 0.25), "attention_bias": BOTH}),
    Architecture(
        "granite",
        {
            **GROUPED,
            "attention_multiplier": (1.0, 0.2),
            "embedding_multiplier": (1.0, 12.0),
            "residual_multiplier": (1.0, 0.22),
            "logits_scaling": (1.0, 8.0),
            "attention_bias": BOTH,
            "mlp_bias": BOTH,
        },
    ),
    Architecture(
        "stablelm",
        {
            **PLAIN,
            "use_qkv_bias": BOTH,
            "qk_layernorm": BOTH,
            "use_parallel_residual": BOTH,
            "partial_rotary_factor": (0.25, 0.5, 1.0),
        },
        {"hidden_size": 96, "intermediate_size": 72, "vocab_size": 149, "num_hidden_layers": 5},
    ),
    Architecture("phi", {**PLAIN, "partial_rotary_factor": (0.5, 1.0), "qk_layernorm": BOTH}),
    Architecture("starcoder2", {**PLAIN, "use_bias": BOTH, "sliding_window": (None, 3), "norm_epsilon": EPS}),
    Architecture(
        "gpt_neox",
        {
            "use_parallel_residual": BOTH,
            "rotary_pct": (0.25, 0.5, 1.0),
            "attention_bias": BOTH,
            "hidden_act": ("gelu", "gelu_new", "relu", "silu"),
            "tie_word_embeddings": BOTH,
            "rotary_emb_base": (10000, 700),
            "rope_scaling": ROPE,
        },
    ),
    Architecture(
        "gpt2",
        {
            "activation_function": ("gelu_new", "gelu", "relu", "silu"),
            "n_inner": (None, 56),
            "scale_attn_weights": BOTH,
            "scale_attn_by_inverse_layer_idx": BOTH,
            "tie_word_embeddings": BOTH,
            "layer_norm_epsilon": EPS,
        },
        {"n_embd": 64, "n_layer": 5, "vocab_size": 149, "n_positions": 80},
    ),
    Architecture(
        "opt",
        {
            "activation_function": ("relu", "gelu", "silu"),
            "do_layer_norm_before": BOTH,
            "word_embed_proj_dim": (20, 48),
            "enable_bias": BOTH,
            "layer_norm_elementwise_affine": BOTH,
            "tie_word_embeddings": BOTH,
            "_remove_final_layer_norm": BOTH,
        },
        {"ffn_dim": 72, "vocab_size": 149, "num_hidden_layers": 5},
    ),
    Architecture(
        "falcon",
        {
            "multi_query": BOTH,
            "new_decoder_architecture": BOTH,
            "num_kv_heads": (1, 2, 4),
            "parallel_attn": BOTH,
            "bias": BOTH,
            "alibi": BOTH,
            "num_ln_in_parallel_attn": (None, 1, 2),
            "activation": ("gelu", "relu"),
        },
        {"hidden_size": 64, "vocab_size": 149, "num_hidden_layers": 5},
    ),
    Architecture("smollm3", {**GROUPED, "no_rope_layer_interval": (2, 3, 4), "attention_bias": BOTH, "mlp_bias": BOTH}),
)
BY_CASE = {architecture.case: architecture for architecture in ARCHITECTURES}

# Combinations that the compiler refuses for the time being: case, changes that suffice -> code of the diagnostic.
REFUSED: tuple[tuple[str, Changes, str], ...] = ()

slowly = settings(
    max_examples=DRAWS,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(harness.shared_root(tmp_path_factory.getbasetemp()) / "parity")


def changes(architecture: Architecture) -> st.SearchStrategy[Changes]:
    optional = {name: st.sampled_from(values) for name, values in architecture.choices.items()}
    return st.fixed_dictionaries({}, optional=optional)


@pytest.mark.slow
@pytest.mark.parametrize("case", BY_CASE)
def test_any_flags(lab: Lab, case: str) -> None:
    @slowly
    @given(changes(BY_CASE[case]))
    def check(drawn: Changes) -> None:
        assume(record(lab, load_case(case) | drawn) is not None)
        compare(lab, case, drawn)

    check()


@pytest.mark.parametrize(
    ("case", "drawn"),
    [
        (
            "llama",
            {"attention_bias": True, "tie_word_embeddings": True, "rope_scaling": ROPE[2], "num_key_value_heads": 1},
        ),
        ("gemma2", {"attn_logit_softcapping": None, "layer_types": ["full_attention", "sliding_attention"] * 2}),
        ("stablelm", {"use_parallel_residual": True, "qk_layernorm": True, "partial_rotary_factor": 0.5}),
        ("opt", {"do_layer_norm_before": False, "word_embed_proj_dim": 48, "enable_bias": False}),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True, "activation_function": "gelu", "n_inner": 56}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_some_flags(lab: Lab, case: str, drawn: Changes) -> None:
    compare(lab, case, drawn)


def compare(lab: Lab, case: str, drawn: Changes) -> None:
    raw = load_case(case) | drawn
    code = next((code for other, part, code in REFUSED if other == case and part.items() <= drawn.items()), None)
    if code is not None:
        with pytest.raises(CompileError) as caught:
            lab.package(key(raw), raw, raised=True)
        assert code in {diagnostic.code for diagnostic in caught.value.diagnostics}
        return
    package = lab.package(key(raw), raw, raised=True)
    assert not wrong(lab, package, raw)

    resized = raw | BY_CASE[case].sizes
    if record(lab, resized) is not None and serves(package, resized):
        assert not wrong(lab, package, resized)


def record(lab: Lab, raw: Raw) -> Facts | None:
    """None where the original cannot be built or run with such a configuration."""
    try:
        facts = lab.original(key(raw), raw, gradients=False).facts
    except Exception:  # of any kind: a combination that makes no sense
        return None
    return facts if facts.noise < AFFORDABLE else None


def serves(package: Path, raw: Raw) -> bool:
    """Whether the package takes a configuration. It may refuse one, with a ValueError."""
    try:
        harness.module(package, "config").Config.from_hf(raw)
    except ValueError:
        return False
    return True


def wrong(lab: Lab, package: Path, raw: Raw) -> dict[str, object]:
    recorded = lab.original(key(raw), raw, gradients=False)
    given = {"decode": recorded.facts.decode, "padded": recorded.facts.padded}
    undefined = [name for name, value in given.items() if value is None or not value < AFFORDABLE]
    found = too_large(measure(Torch(), package, recorded, ["gradient", *undefined]), recorded.tolerance)
    return {name: value for name, value in found.items() if not _as_inexact(value, given.get(name))}


def _as_inexact(error: object, own: float | None) -> bool:
    """Whether an error is what the original is from itself, as far as recurrences in float32 say it the same way twice."""
    return isinstance(error, float) and own is not None and error <= 3 * own


def key(raw: Raw) -> str:
    return "drawn_" + hashlib.sha1(json.dumps(raw, sort_keys=True).encode()).hexdigest()[:16]
