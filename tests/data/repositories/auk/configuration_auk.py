from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig


@strict
class AukConfig(PreTrainedConfig):
    model_type = "auk"
    vocab_size: int = 97
    hidden_size: int = 32
    intermediate_size: int = 44
    num_hidden_layers: int = 3
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 12
    max_position_embeddings: int = 64
    rms_norm_eps: float = 1e-3
    use_cache: bool = True
    pad_token_id: int | None = 0
    tie_word_embeddings: bool = False
    sliding_window: int | None = None
    layer_types: list[str] | None = None
    number_of_conv_states: int = 1


__all__ = ["AukConfig"]
