from types import SimpleNamespace

from transformers import PretrainedConfig

KINDS = {"c": "conv", "w": "window", "f": "full"}


class RillConfig(PretrainedConfig):
    """`mixers` has a letter for each layer."""

    model_type = "rill"

    def __init__(
        self,
        vocab_size=32000,
        d_model=1024,
        mixers="cwf" * 4,
        n_heads=8,
        n_kv_heads=2,
        head_size=64,
        window=512,
        conv_kernel=4,
        d_ff=2816,
        rope=None,
        embed_scale=None,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.d_model = d_model
        self.mixers = mixers
        self.n_heads = n_heads
        self.n_kv_heads = n_kv_heads
        self.head_size = head_size
        self.window = window
        self.conv_kernel = conv_kernel
        self.d_ff = d_ff
        self.rope = {"base": 10000.0, "fraction": 1.0} | (rope or {})
        self.embed_scale = embed_scale if embed_scale is not None else d_model**0.5
        kwargs.setdefault("tie_word_embeddings", False)
        super().__init__(**kwargs)

    @property
    def kinds(self):
        return [KINDS[letter] for letter in self.mixers]

    @property
    def num_hidden_layers(self):
        return len(self.mixers)

    @property
    def rope_ns(self):
        return SimpleNamespace(**self.rope)
