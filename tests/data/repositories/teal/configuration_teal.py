from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class TealConfig(PreTrainedConfig):
    model_type = "teal"
    keys_to_ignore_at_inference = ["past_key_values"]

    vocab_size: int = 113
    hidden_size: int = 48
    intermediate_size: int = 80
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 16
    max_position_embeddings: int = 64
    rms_norm_eps: float = 0.001
    rope_theta: float = 5000.0
    partial_rotary_factor: float = 1.0
    use_cache: bool = True
    tie_word_embeddings: bool = False
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | None = 2
    initializer_range: float = 0.02
    ff_mult: int = 3


__all__ = ["TealConfig"]
