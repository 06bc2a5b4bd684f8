"""Attention and a gated short convolution side by side on the same input, weighed by a learned share of each channel; a cache of its
own class holds keys, values and the last inputs of the convolutions."""

from dataclasses import dataclass
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers.generation import GenerationMixin
from transformers.utils import ModelOutput

from .configuration_petrel import PetrelConfig


class PetrelCache:
    """Of each layer the keys and values of all tokens, and the last inputs of its convolution."""

    def __init__(self, config: PetrelConfig):
        self.keys = [None for _ in range(config.num_hidden_layers)]
        self.values = [None for _ in range(config.num_hidden_layers)]
        self.tails = [None for _ in range(config.num_hidden_layers)]

    def get_seq_length(self, layer_idx=0):
        return 0 if self.keys[layer_idx] is None else self.keys[layer_idx].shape[2]

    def extend(self, layer_idx, k, v):
        if self.keys[layer_idx] is not None:
            k = torch.cat([self.keys[layer_idx], k], dim=2)
            v = torch.cat([self.values[layer_idx], v], dim=2)
        self.keys[layer_idx], self.values[layer_idx] = k, v
        return k, v

    def shift(self, layer_idx, x, width):
        """x [B, D, T] behind what came before it, at least zeros; the last of it is kept."""
        tail = self.tails[layer_idx]
        if tail is None:
            tail = x.new_zeros(x.shape[0], x.shape[1], width - 1)
        x = torch.cat([tail, x], dim=-1)
        self.tails[layer_idx] = x[:, :, -(width - 1) :]
        return x


@dataclass
class PetrelOutput(ModelOutput):
    logits: Optional[torch.Tensor] = None
    past_key_values: Optional[Any] = None


class PetrelNorm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim))
        self.eps = eps

    def forward(self, x):
        h = x.float()
        h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + self.eps)
        return (h * (1 + self.weight.float())).type_as(x)


class PetrelConv(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.layer_idx, self.width = layer_idx, config.conv_width
        self.inputs = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.conv = nn.Conv1d(config.hidden_size, config.hidden_size, config.conv_width, groups=config.hidden_size)
        self.out = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x, seen, cache=None):
        before, after, h = self.inputs(x).chunk(3, dim=-1)
        h = torch.sigmoid(before) * h
        if seen is not None:
            h = h * seen[:, :, None].to(h.dtype)
        h = h.transpose(1, 2)
        h = cache.shift(self.layer_idx, h, self.width) if cache is not None else F.pad(h, (self.width - 1, 0))
        h = self.conv(h).transpose(1, 2)
        return self.out(F.silu(after) * h)


class PetrelAttention(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.layer_idx = layer_idx
        self.heads, self.groups, self.dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        self.q = nn.Linear(config.hidden_size, self.heads * self.dim, bias=False)
        self.k = nn.Linear(config.hidden_size, self.groups * self.dim, bias=False)
        self.v = nn.Linear(config.hidden_size, self.groups * self.dim, bias=False)
        self.o = nn.Linear(self.heads * self.dim, config.hidden_size, bias=False)

    def forward(self, x, cos, sin, mask, cache=None):
        batch, length, _ = x.shape
        q = self.q(x).view(batch, length, self.heads, self.dim).transpose(1, 2)
        k = self.k(x).view(batch, length, self.groups, self.dim).transpose(1, 2)
        v = self.v(x).view(batch, length, self.groups, self.dim).transpose(1, 2)
        q = q * cos + torch.cat([-q[..., self.dim // 2 :], q[..., : self.dim // 2]], -1) * sin
        k = k * cos + torch.cat([-k[..., self.dim // 2 :], k[..., : self.dim // 2]], -1) * sin
        if cache is not None:
            k, v = cache.extend(self.layer_idx, k, v)
        q = q.reshape(batch, self.groups, -1, length, self.dim)
        scores = torch.einsum("bgntd,bgsd->bgnts", q, k) * self.dim**-0.5
        scores = scores.float().masked_fill(~mask[:, :, None], torch.finfo(torch.float32).min)
        weights = scores.softmax(-1).to(v.dtype)
        out = torch.einsum("bgnts,bgsd->btgnd", weights, v)
        return self.o(out.reshape(batch, length, -1))


class PetrelLayer(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.norm = PetrelNorm(config.hidden_size, config.norm_eps)
        self.mlp_norm = PetrelNorm(config.hidden_size, config.norm_eps)
        self.attention = PetrelAttention(config, layer_idx)
        self.conv = PetrelConv(config, layer_idx)
        self.share = nn.Parameter(torch.zeros(config.hidden_size))
        self.gate_up = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x, cos, sin, mask, seen, cache=None):
        h = self.norm(x)
        share = self.share.sigmoid()
        x = x + torch.lerp(self.conv(h, seen, cache), self.attention(h, cos, sin, mask, cache), share)
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class PetrelPreTrainedModel(PreTrainedModel):
    config_class = PetrelConfig
    base_model_prefix = "model"


class PetrelModel(PetrelPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([PetrelLayer(config, i) for i in range(config.num_hidden_layers)])
        self.norm = PetrelNorm(config.hidden_size, config.norm_eps)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed

    def angles(self, positions):
        dim = self.config.head_dim
        inv_freq = self.config.rope_theta ** -(torch.arange(0, dim, 2, device=positions.device).float() / dim)
        angles = (positions.float()[:, :, None] * inv_freq).repeat(1, 1, 2)[:, None]
        return angles.cos(), angles.sin()

    def forward(self, input_ids, attention_mask=None, past_key_values: Optional[PetrelCache] = None, use_cache=None):
        batch, length = input_ids.shape
        if use_cache and past_key_values is None:
            past_key_values = PetrelCache(self.config)
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        places = torch.arange(past + length, device=input_ids.device)
        mask = (places[None, :] <= places[past:, None])[None, None]
        seen = None
        if attention_mask is not None:
            mask = mask & attention_mask.bool()[:, None, None, :]
            seen = attention_mask[:, -length:]
        x = self.embed(input_ids)
        cos, sin = self.angles(places[None, past:])
        for layer in self.layers:
            x = layer(x, cos.to(x.dtype), sin.to(x.dtype), mask, seen, past_key_values)
        return self.norm(x), past_key_values


class PetrelForCausalLM(PetrelPreTrainedModel, GenerationMixin):
    def __init__(self, config):
        super().__init__(config)
        self.model = PetrelModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, past_key_values=None, use_cache=None, **kwargs):
        x, cache = self.model(input_ids, attention_mask, past_key_values, use_cache)
        return PetrelOutput(logits=self.lm_head(x), past_key_values=cache)
