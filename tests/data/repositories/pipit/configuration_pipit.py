from transformers import PretrainedConfig


class PipitConfig(PretrainedConfig):
    model_type = "pipit"

    def __init__(
        self, vocab_size=89, width=48, heads=6, sharing=(1, 1), widening=(1.0, 1.0), mixing=None, with_bias=True, **kwargs
    ):
        self.vocab_size = vocab_size
        self.width = width
        self.hidden_size = width
        self.heads = heads
        self.sharing = sharing
        self.widening = widening
        self.num_hidden_layers = len(sharing)
        self.mixing = mixing or {}
        self.with_bias = with_bias
        super().__init__(**kwargs)
        self.complete()

    def complete(self):
        for name, usual in {"kind": "softmax", "cap": None}.items():
            if name not in self.mixing:
                self.mixing[name] = usual
        self.mixing["bias"] = self.with_bias
