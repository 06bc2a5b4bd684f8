from transformers import PretrainedConfig


class SedgeConfig(PretrainedConfig):
    model_type = "sedge"
    attribute_map = {"hidden_size": "n_embd", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head"}

    def __init__(
        self,
        vocab_size=32000,
        n_embd=768,
        n_layer=12,
        n_head=12,
        block_size=1024,
        rope_base=10000.0,
        mlp_ratio=4,
        logit_cap=30.0,
        tie_word_embeddings=True,
        **kwargs,
    ):
        for key, value in dict(
            vocab_size=vocab_size,
            n_embd=n_embd,
            n_layer=n_layer,
            n_head=n_head,
            block_size=block_size,
            rope_base=rope_base,
            mlp_ratio=mlp_ratio,
            logit_cap=logit_cap,
        ).items():
            setattr(self, key, value)
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)
