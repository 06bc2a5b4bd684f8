from transformers.configuration_utils import PretrainedConfig


class KnollConfig(PretrainedConfig):
    model_type = "knoll"
    keys_to_ignore_at_inference = ["past_key_values"]

    def __init__(
        self,
        vocab_size=32000,
        embed_dim=512,
        num_layers=6,
        attention_heads=8,
        ffn_embed_dim=1536,
        lanes=4,
        relative_buckets=32,
        relative_max=128,
        norm_eps=1e-6,
        multiplier=1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocab_size, self.embed_dim, self.num_layers = vocab_size, embed_dim, num_layers
        self.attention_heads, self.ffn_embed_dim, self.lanes = attention_heads, ffn_embed_dim, lanes
        self.relative_buckets, self.relative_max = relative_buckets, relative_max
        self.norm_eps, self.multiplier = norm_eps, multiplier
        self.num_hidden_layers, self.hidden_size = num_layers, embed_dim
