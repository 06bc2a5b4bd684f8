from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class NewtConfig(PreTrainedConfig):
    model_type = "newt"
    keys_to_ignore_at_inference = ["past_key_values"]

    vocab_size: int = 113
    hidden_size: int = 48
    intermediate_size: int = 80
    num_hidden_layers: int = 5
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 16
    max_position_embeddings: int = 64
    rms_norm_eps: float = 0.001
    rope_theta: float = 5000.0
    partial_rotary_factor: float = 0.5
    use_cache: bool = True
    tie_word_embeddings: bool = False
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | None = 2
    initializer_range: float = 0.02
    num_kv_shared_layers: int = 2
    kv_rank: int = 20
    attention_bias: bool = True
    hidden_act: str = 'gelu_pytorch_tanh'
    residual_multiplier: float = 0.7
    embedding_multiplier: float = 6.0
    temper: float = 0.1
    temper_every: int = 8
    logits_scaling: float = 2.5


__all__ = ["NewtConfig"]
