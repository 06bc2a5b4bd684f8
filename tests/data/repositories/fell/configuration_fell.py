from transformers import PretrainedConfig


class FellConfig(PretrainedConfig):
    model_type = "fell"
    attribute_map = {"num_attention_heads": "n_heads", "hidden_size": "d_model", "num_hidden_layers": "n_layers"}

    def __init__(
        self,
        d_model=2048,
        n_heads=16,
        n_layers=24,
        expansion_ratio=4,
        max_seq_len=2048,
        vocab_size=50368,
        attn_config=None,
        no_bias=False,
        logit_scale=None,
        use_cache=True,
        **kwargs,
    ):
        self.d_model = d_model
        self.n_heads = n_heads
        self.n_layers = n_layers
        self.expansion_ratio = expansion_ratio
        self.max_seq_len = max_seq_len
        self.vocab_size = vocab_size
        self.attn_config = {"alibi": True, "alibi_bias_max": 8, "clip_qkv": None, **(attn_config or {})}
        self.no_bias = no_bias
        self.logit_scale = logit_scale
        self.use_cache = use_cache
        super().__init__(**kwargs)
