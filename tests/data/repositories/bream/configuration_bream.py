from transformers.configuration_utils import PretrainedConfig


class BreamConfig(PretrainedConfig):
    model_type = "bream"

    def __init__(
        self,
        vocab_size=50304,
        hidden_size=1024,
        ffn_mult=4,
        num_hidden_layers=24,
        num_attention_heads=16,
        rotary_pct=0.25,
        rotary_base=10000,
        attention_span=1024,
        span_every=3,
        final_softcap=None,
        score_softcap=None,
        layer_norm_epsilon=1e-5,
        max_position_embeddings=2048,
        use_cache=True,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.ffn_mult = ffn_mult
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.rotary_pct = rotary_pct
        self.rotary_base = rotary_base
        self.attention_span = attention_span
        self.span_every = span_every
        self.final_softcap = final_softcap
        self.score_softcap = score_softcap
        self.layer_norm_epsilon = layer_norm_epsilon
        self.max_position_embeddings = max_position_embeddings
        self.use_cache = use_cache
        super().__init__(**kwargs)

    @property
    def head_size(self):
        return self.hidden_size // self.num_attention_heads

    @property
    def rotary_ndims(self):
        return 2 * (int(self.head_size * self.rotary_pct) // 2)

    @property
    def spans(self):
        return [self.attention_span if (i + 1) % self.span_every == 0 else None for i in range(self.num_hidden_layers)]
