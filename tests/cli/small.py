"""A small source that compiles for real: a published configuration with small sizes, and a list of its tensors."""

from __future__ import annotations

import json
from pathlib import Path

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 131,
    "max_window_layers": 2,
}
LAYER = {
    "self_attn.q_proj.weight": [64, 64],
    "self_attn.k_proj.weight": [32, 64],
    "self_attn.v_proj.weight": [32, 64],
    "self_attn.o_proj.weight": [64, 64],
    "self_attn.q_norm.weight": [16],
    "self_attn.k_norm.weight": [16],
    "mlp.gate_proj.weight": [96, 64],
    "mlp.up_proj.weight": [96, 64],
    "mlp.down_proj.weight": [64, 96],
    "input_layernorm.weight": [64],
    "post_attention_layernorm.weight": [64],
}
TENSORS: dict[str, list[int]] = {
    "model.embed_tokens.weight": [131, 64],
    **{f"model.layers.{layer}.{name}": shape for layer in range(2) for name, shape in LAYER.items()},
    "model.norm.weight": [64],
}


def small_config(example: Path, **changes: object) -> dict[str, object]:
    return {**json.loads((example / "config.json").read_text()), **SIZES, **changes}


def small_source(example: Path, folder: Path, tensors: dict[str, list[int]] | None = None, **changes: object) -> Path:
    """A folder with the configuration, and with a list of tensors if there is one."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(small_config(example, **changes), indent=1))
    if tensors is not None:
        (folder / "tensors.json").write_text(json.dumps(tensors))
    return folder
