from transformers import PretrainedConfig


class MarlConfig(PretrainedConfig):
    model_type = "marl"
    attribute_map = {"hidden_size": "d_model", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads"}

    def __init__(
        self,
        vocab_size=50000,
        d_model=1024,
        d_ff=None,
        n_layers=12,
        n_heads=16,
        n_kv_heads=None,
        d_head=None,
        norm_power=1.0,
        gate_alpha=1.702,
        rope_theta=10000.0,
        global_every=4,
        window=512,
        skip_weight=0.0,
        query_cap=None,
        max_position_embeddings=4096,
        norm_eps=1e-5,
        tie_word_embeddings=True,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.d_model = d_model
        self.d_ff = d_ff if d_ff is not None else 4 * d_model
        self.n_layers = n_layers
        self.n_heads = n_heads
        self.n_kv_heads = n_kv_heads or n_heads
        self.d_head = d_head or d_model // n_heads
        self.norm_power = norm_power
        self.gate_alpha = gate_alpha
        self.rope_theta = rope_theta
        self.global_every = global_every
        self.window = window
        self.sliding_window = window
        self.skip_weight = skip_weight
        self.query_cap = query_cap
        self.max_position_embeddings = max_position_embeddings
        self.norm_eps = norm_eps
        self.layer_types = [
            "full_attention" if (i + 1) % global_every == 0 else "sliding_attention" for i in range(n_layers)
        ]
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)
