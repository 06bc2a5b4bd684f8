from transformers.configuration_utils import PretrainedConfig


class MoorConfig(PretrainedConfig):
    model_type = "moor"
    keys_to_ignore_at_inference = ["past_key_values"]
    attribute_map = {"hidden_size": "n_embd", "num_attention_heads": "n_head", "num_hidden_layers": "n_layer"}

    def __init__(
        self,
        vocab_size=32000,
        n_embd=512,
        n_head=8,
        n_kv_head=None,
        n_layer=8,
        n_inner=None,
        max_position_embeddings=2048,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        resid_scale=1.0,
        use_cache=True,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.n_embd = n_embd
        self.n_head = n_head
        self.n_kv_head = n_kv_head if n_kv_head is not None else n_head
        self.n_layer = n_layer
        self.n_inner = n_inner if n_inner is not None else 4 * n_embd
        self.max_position_embeddings = max_position_embeddings
        self.rms_norm_eps = rms_norm_eps
        self.rope_theta = rope_theta
        self.resid_scale = resid_scale
        self.use_cache = use_cache
        super().__init__(**kwargs)
