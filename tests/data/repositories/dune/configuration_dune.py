"""Layers share their weights in groups."""

from transformers.configuration_utils import PretrainedConfig


class DuneConfig(PretrainedConfig):
    model_type = "dune"

    def __init__(
        self,
        vocab_size=30000,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_groups=1,
        inner_size=3072,
        positions=512,
        position_offset=0,
        layer_norm_epsilon=1e-12,
        alibi_max=8.0,
        logit_cap=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_groups = num_groups
        self.inner_size = inner_size
        self.positions = positions
        self.position_offset = position_offset
        self.layer_norm_epsilon = layer_norm_epsilon
        self.alibi_max = alibi_max
        self.logit_cap = logit_cap
