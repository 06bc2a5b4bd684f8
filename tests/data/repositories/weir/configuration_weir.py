"""Every third layer runs one of a few blocks that take turns."""

from transformers.configuration_utils import PretrainedConfig


class WeirConfig(PretrainedConfig):
    model_type = "weir"

    def __init__(
        self,
        vocab_size=32000,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        inner_size=3072,
        num_blocks=2,
        flow_size=16,
        norm_eps=1e-6,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.inner_size = inner_size
        self.num_blocks = num_blocks
        self.flow_size = flow_size
        self.norm_eps = norm_eps
        super().__init__(**kwargs)
