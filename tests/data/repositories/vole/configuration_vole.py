from transformers import PretrainedConfig


class VoleAttentionConfig(PretrainedConfig):
    model_type = "vole_attention"
    base_config_key = "attention"

    def __init__(self, num_heads=16, num_groups=4, head_size=64, rotary_base=10000.0, out_gate=False, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.num_groups = num_groups
        self.head_size = head_size
        self.rotary_base = rotary_base
        self.out_gate = out_gate


class VoleExpertsConfig(PretrainedConfig):
    model_type = "vole_experts"
    base_config_key = "experts"

    def __init__(
        self, count=64, active=6, shared=1, width=512, route_scale=1.0, dense_every=0, dense_width=4096, **kwargs
    ):
        super().__init__(**kwargs)
        self.count, self.active, self.shared, self.width = count, active, shared, width
        self.route_scale, self.dense_every, self.dense_width = route_scale, dense_every, dense_width

    def is_dense(self, layer):
        return self.dense_every > 0 and layer % self.dense_every == 0


class VoleConfig(PretrainedConfig):
    model_type = "vole"
    sub_configs = {"attention": VoleAttentionConfig, "experts": VoleExpertsConfig}

    def __init__(
        self,
        vocab_size=32000,
        hidden_size=1024,
        num_hidden_layers=16,
        attention=None,
        experts=None,
        act="silu",
        norm_eps=1e-6,
        residual_scale=1.0,
        logit_divisor=1.0,
        **kwargs,
    ):
        self.attention = (
            VoleAttentionConfig(**attention) if isinstance(attention, dict) else attention or VoleAttentionConfig()
        )
        self.experts = VoleExpertsConfig(**experts) if isinstance(experts, dict) else experts or VoleExpertsConfig()
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.act = act
        self.norm_eps = norm_eps
        self.residual_scale = residual_scale
        self.logit_divisor = logit_divisor
        super().__init__(**kwargs)
