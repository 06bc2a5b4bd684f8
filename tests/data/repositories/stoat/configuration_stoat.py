from transformers import PretrainedConfig


class StoatConfig(PretrainedConfig):
    model_type = "stoat"

    def __init__(
        self,
        vocab_size=32000,
        hidden_size=1024,
        intermediate_size=2816,
        num_hidden_layers=24,
        num_attention_heads=16,
        head_dim=64,
        num_buckets=32,
        max_distance=128,
        share_from=12,
        norm_eps=1e-6,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.head_dim = head_dim
        self.num_buckets = num_buckets
        self.max_distance = max_distance
        self.share_from = share_from
        self.norm_eps = norm_eps
        self.max_position_embeddings = max_position_embeddings
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)
