"""What a search over architectures leaves: every layer has its own number of heads that share a key and its own width, and some have a
linear map, or nothing at all, in the place of attention. The settings of mixing are a dict which the model completes once more."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_pipit import PipitConfig


def rounded(width, times):
    wanted = int(width * times)
    return wanted if wanted % 4 == 0 else wanted + 4 - wanted % 4


class Mixing(nn.Module):
    def __init__(self, config, at, scale=1.0, cap=None, bias=False):
        super().__init__()
        self.at = at
        self.scale = scale
        self.cap = cap
        self.size = config.width // config.heads
        self.shares = config.sharing[at]
        kept = config.heads // self.shares * self.size
        self.q = nn.Linear(config.width, config.width, bias=bias)
        self.k = nn.Linear(config.width, kept, bias=bias)
        self.v = nn.Linear(config.width, kept, bias=bias)
        self.o = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x, mask, past):
        batch, length, _ = x.shape
        q, k, v = (map_(x).view(batch, length, -1, self.size).transpose(1, 2) for map_ in (self.q, self.k, self.v))
        if past is not None:
            k, v = past.update(k, v, self.at)
        k, v = (y.repeat_interleave(self.shares, dim=1) for y in (k, v))
        scores = q @ k.transpose(-1, -2) * self.scale
        if self.cap is not None:
            scores = torch.tanh(scores / self.cap) * self.cap
        scores = scores + mask
        return self.o((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, -1))


class Layer(nn.Module):
    def __init__(self, config, at):
        super().__init__()
        settings = {name: value for name, value in config.mixing.items() if name != "kind"}
        self.mixes = config.sharing[at] is not None
        self.attends = self.mixes and config.sharing[at] > 0
        if self.mixes:
            self.norm1 = nn.LayerNorm(config.width)
            self.mixing = Mixing(config, at, **settings) if self.attends else nn.Linear(config.width, config.width)
        self.norm2 = nn.LayerNorm(config.width)
        if config.widening[at] == 0:
            self.wide = nn.Linear(config.width, config.width)
        else:
            width = rounded(config.width, config.widening[at])
            self.wide = nn.Sequential(nn.Linear(config.width, width), nn.SiLU(), nn.Linear(width, config.width))

    def forward(self, x, mask, past):
        if self.mixes:
            y = self.norm1(x)
            x = x + (self.mixing(y, mask, past) if self.attends else self.mixing(y))
        return x + self.wide(self.norm2(x))


class PipitForCausalLM(PreTrainedModel):
    config_class = PipitConfig

    def __init__(self, config):
        super().__init__(config)
        config.complete()
        if config.mixing["kind"] != "softmax":
            raise ValueError("nothing else is known")
        self.tokens = nn.Embedding(config.vocab_size, config.width)
        self.layers = nn.ModuleList([Layer(config, at) for at in range(config.num_hidden_layers)])
        self.norm = nn.LayerNorm(config.width)
        self.lm_head = nn.Linear(config.width, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.tokens

    def forward(self, input_ids=None, attention_mask=None, past_key_values=None, use_cache=None, **kwargs):
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache()
        x = self.tokens(input_ids)
        batch, length, _ = x.shape
        before = 0 if past_key_values is None else past_key_values.get_seq_length()
        places = torch.arange(before + length, device=x.device)
        hidden = places[None] > places[before:, None]
        mask = torch.zeros(length, before + length, dtype=x.dtype).masked_fill(hidden, torch.finfo(x.dtype).min)[None, None]
        if attention_mask is not None:
            mask = mask.masked_fill(attention_mask[:, None, None, :] == 0, torch.finfo(x.dtype).min)
        for layer in self.layers:
            x = layer(x, mask, past_key_values)
        return CausalLMOutputWithPast(logits=self.lm_head(self.norm(x)), past_key_values=past_key_values)
