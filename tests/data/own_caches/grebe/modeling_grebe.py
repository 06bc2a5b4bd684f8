"""Groups of layers in modules of their own, each with its part of the tuples that are kept."""

import torch
import torch.nn as nn
from transformers import PreTrainedModel
from transformers.configuration_utils import PretrainedConfig
from transformers.modeling_outputs import CausalLMOutputWithPast


class GrebeConfig(PretrainedConfig):
    model_type = "grebe"

    def __init__(
        self,
        vocab_size=97,
        n_embd=40,
        n_head=4,
        n_layer=4,
        group=2,
        tie_word_embeddings=False,
        use_cache=True,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.n_embd = n_embd
        self.n_head = n_head
        self.n_layer = n_layer
        self.group = group
        self.use_cache = use_cache
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.n_head = config.n_head
        self.ln = nn.LayerNorm(config.n_embd)
        self.qkv = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.out = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x, past=None):
        B, T, C = x.shape
        q, k, v = [
            y.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for y in self.qkv(self.ln(x)).split(C, dim=2)
        ]
        if past is not None:
            k = torch.cat((past[0], k), dim=2)
            v = torch.cat((past[1], v), dim=2)
        S = k.shape[2]
        mask = torch.ones(S, S, dtype=torch.bool, device=x.device).tril()[S - T :]
        scores = (q @ k.transpose(-1, -2) / (C // self.n_head) ** 0.5).masked_fill(~mask, float("-inf"))
        y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, C)
        return x + self.out(y), (k, v)


class Group(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.group)])

    def forward(self, x, pasts=None):
        presents = []
        for i, block in enumerate(self.blocks):
            x, present = block(x, None if pasts is None else pasts[i])
            presents.append(present)
        return x, presents


class GrebeLM(PreTrainedModel):
    config_class = GrebeConfig

    def __init__(self, config):
        super().__init__(config)
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.groups = nn.ModuleList([Group(config) for _ in range(config.n_layer // config.group)])
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.post_init()

    def _init_weights(self, module):
        pass

    def get_input_embeddings(self):
        return self.wte

    def forward(self, input_ids=None, attention_mask=None, past_key_values=None, use_cache=None, **kwargs):
        use_cache = use_cache if use_cache is not None else self.config.use_cache
        x = self.wte(input_ids)
        presents = []
        n = self.config.group
        for i, group in enumerate(self.groups):
            pasts = None if past_key_values is None else past_key_values[i * n : (i + 1) * n]
            x, made = group(x, pasts)
            presents.extend(made)
        return CausalLMOutputWithPast(logits=self.head(x), past_key_values=presents if use_cache else None)
