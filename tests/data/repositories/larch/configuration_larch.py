from transformers.configuration_utils import PretrainedConfig


class LarchConfig(PretrainedConfig):
    model_type = "larch"

    def __init__(
        self,
        vocab_size=64000,
        hidden_size=1024,
        intermediate_size=4096,
        moe_intermediate_size=512,
        num_hidden_layers=24,
        num_attention_heads=16,
        num_key_value_heads=4,
        head_dim=64,
        mlp_kinds=None,
        num_experts=32,
        num_experts_per_tok=4,
        routed_scale=1.0,
        norm_eps=1e-6,
        rope_theta=10000.0,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.moe_intermediate_size = moe_intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads
        self.head_dim = head_dim
        self.mlp_kinds = mlp_kinds or ["dense"] + ["sparse"] * (num_hidden_layers - 1)
        self.num_experts = num_experts
        self.num_experts_per_tok = num_experts_per_tok
        self.routed_scale = routed_scale
        self.norm_eps = norm_eps
        self.rope_theta = rope_theta
        self.max_position_embeddings = max_position_embeddings
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)
