from transformers.configuration_utils import PretrainedConfig


class TernConfig(PretrainedConfig):
    model_type = "tern"
    _auto_class = "AutoConfig"

    def __init__(
        self,
        vocab_size=103168,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=None,
        hidden_act="silu",
        max_position_embeddings=2048,
        rms_norm_eps=1e-6,
        use_cache=True,
        bias=True,
        rope_theta=10000,
        rope_scaling=None,
        attn_implementation="eager",
        tie_word_embeddings=False,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.max_position_embeddings = max_position_embeddings
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.bias = bias
        if num_key_value_heads is None:
            num_key_value_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads
        self.hidden_act = hidden_act
        self.rms_norm_eps = rms_norm_eps
        self.use_cache = use_cache
        self.rope_base = rope_theta
        self.rope_settings = dict(rope_scaling) if rope_scaling else None
        self._rope_settings_validation()
        self.attn_kind = attn_implementation or "eager"
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)

    def _rope_settings_validation(self):
        if self.rope_settings is None:
            return
        kind = self.rope_settings.get("type", None)
        factor = self.rope_settings.get("factor", None)
        if kind is None or kind not in ["linear", "dynamic"]:
            raise ValueError(f"`rope_scaling`'s type field must be one of ['linear', 'dynamic'], got {kind}")
        if factor is None or not isinstance(factor, (float, int)) or factor < 1.0:
            raise ValueError(f"`rope_scaling`'s factor field must be a number >= 1, got {factor}")
