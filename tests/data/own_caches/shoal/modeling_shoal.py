"""Two attentions a layer, whose keys and values are handed on in tuples, one for every layer."""

import torch
from torch import nn
from transformers.configuration_utils import PretrainedConfig
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel


class ShoalConfig(PretrainedConfig):
    model_type = "shoal"

    def __init__(
        self, vocab_size=100, hidden_size=32, num_hidden_layers=2, num_heads=4, max_positions=64, eps=1e-5, **kwargs
    ):
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_heads = num_heads
        self.max_positions = max_positions
        self.eps = eps


class ShoalAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.num_heads = config.num_heads
        self.head_dim = config.hidden_size // config.num_heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.out = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x, past=None):
        batch, length, width = x.shape
        query, key, value = (
            part.view(batch, length, self.num_heads, self.head_dim).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        if past is not None:
            past_key, past_value = past
            key = torch.cat([past_key, key], dim=2)
            value = torch.cat([past_value, value], dim=2)
        total = key.shape[2]
        rows = torch.arange(total - length, total, device=x.device)
        later = torch.arange(total, device=x.device)[None, :] > rows[:, None]
        scores = query @ key.transpose(-1, -2) / self.head_dim**0.5
        scores = scores.masked_fill(later, torch.finfo(scores.dtype).min)
        mixed = scores.softmax(dim=-1) @ value
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width)), (key, value)


class ShoalLayer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=config.eps)
        self.norm2 = nn.LayerNorm(config.hidden_size, eps=config.eps)
        self.first = ShoalAttention(config)
        self.second = ShoalAttention(config)

    def forward(self, x, past=None):
        one, two = past if past is not None else (None, None)
        h, one = self.first(self.norm1(x), one)
        x = x + h
        h, two = self.second(self.norm2(x), two)
        return x + h, (one, two)


class ShoalForCausalLM(PreTrainedModel):
    config_class = ShoalConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.positions = nn.Embedding(config.max_positions, config.hidden_size)
        self.layers = nn.ModuleList([ShoalLayer(config) for _ in range(config.num_hidden_layers)])
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(self, input_ids, past_key_values=None, use_cache=None, **kwargs):
        start = 0 if past_key_values is None else past_key_values[0][0][0].shape[2]
        positions = torch.arange(start, start + input_ids.shape[1], device=input_ids.device)
        x = self.embed(input_ids) + self.positions(positions)
        presents = ()
        for i, layer in enumerate(self.layers):
            x, present = layer(x, None if past_key_values is None else past_key_values[i])
            presents = presents + (present,)
        return CausalLMOutputWithPast(logits=self.head(x), past_key_values=presents if use_cache else None)
