"""Pairs of modules in lists, scaled_dot_product_attention with its own flags, parameters in dicts."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, can_return_tuple

from .configuration_teal import TealConfig


def exists(x):
    return x is not None


def default(x, d):
    return x if exists(x) else d


class RMSScale(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.scale = dim**0.5
        self.gamma = nn.Parameter(torch.zeros(dim))

    def forward(self, x):
        return F.normalize(x, dim=-1) * self.scale * (self.gamma + 1)


TealRMSNorm = RMSScale

class TealRotary(nn.Module):
    def __init__(self, config: TealConfig):
        super().__init__()
        dim = int(config.head_dim * config.partial_rotary_factor)
        inv_freq = 1.0 / config.rope_theta ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)
        self.register_buffer("inv_freq", inv_freq, persistent=False)

    @torch.no_grad()
    def forward(self, position_ids):
        freqs = torch.einsum("bt,d->btd", position_ids.float(), self.inv_freq)
        return freqs.cos()[:, None], freqs.sin()[:, None]


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotates the first 2 * cos.shape[-1] entries of each head, the rest passes."""
    d = cos.shape[-1]
    a, b, rest = x[..., :d], x[..., d : 2 * d], x[..., 2 * d :]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], dim=-1).to(x.dtype)


class Attend(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.layer_idx = layer_idx
        self.heads, self.kv_heads, self.dim_head = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        self.norm = RMSScale(config.hidden_size)
        self.to_q = nn.Linear(config.hidden_size, self.heads * self.dim_head, bias=False)
        self.to_kv = nn.Linear(config.hidden_size, 2 * self.kv_heads * self.dim_head, bias=False)
        self.scales = nn.ParameterDict({"q": nn.Parameter(torch.ones(self.dim_head)), "k": nn.Parameter(torch.ones(self.dim_head))})
        self.to_out = nn.Sequential(nn.Linear(self.heads * self.dim_head, config.hidden_size, bias=False), nn.Dropout(0.1))

    def forward(self, x, rotary, mask=None, cache=None):
        x = self.norm(x)
        q, (k, v) = self.to_q(x), self.to_kv(x).chunk(2, dim=-1)
        split = lambda t, h: t.unflatten(-1, (h, self.dim_head)).transpose(1, 2)
        q, k, v = split(q, self.heads), split(k, self.kv_heads), split(v, self.kv_heads)
        q, k = F.normalize(q, dim=-1) * self.scales["q"], F.normalize(k, dim=-1) * self.scales["k"]
        q, k = rotate(q, *rotary), rotate(k, *rotary)
        if exists(cache):
            k, v = cache.update(k, v, self.layer_idx)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=10.0, is_causal=mask is None and q.shape[2] > 1, enable_gqa=self.heads != self.kv_heads)
        return self.to_out(out.transpose(1, 2).flatten(2))


class GEGLU(nn.Module):
    def forward(self, x):
        x, gate = x.chunk(2, dim=-1)
        return F.gelu(gate) * x


def FeedForward(dim, mult=4):
    inner = int(dim * mult * 2 / 3)
    return nn.Sequential(RMSScale(dim), nn.Linear(dim, inner * 2), GEGLU(), nn.Linear(inner, dim))


class TealPreTrainedModel(PreTrainedModel):
    config: TealConfig
    config_class = TealConfig
    base_model_prefix = "model"
    _no_split_modules = ["TealLayer"]
    _supports_sdpa = True


class TealModel(TealPreTrainedModel):
    def __init__(self, config: TealConfig):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.rotary_emb = TealRotary(config)
        self.layers = nn.ModuleList([])
        for i in range(config.num_hidden_layers):
            self.layers.append(nn.ModuleList([Attend(config, i), FeedForward(config.hidden_size, config.ff_mult)]))
        self.norm = RMSScale(config.hidden_size)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values: Cache | None = None, inputs_embeds=None, use_cache=None, **kwargs: Unpack[TransformersKwargs]) -> BaseModelOutputWithPast:
        if (input_ids is None) ^ (inputs_embeds is not None):
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        if position_ids is None:
            past = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = (torch.arange(inputs_embeds.shape[1], device=inputs_embeds.device) + past).unsqueeze(0)
        mask_kwargs = {
            "config": self.config,
            "inputs_embeds": inputs_embeds,
            "attention_mask": attention_mask,
            "past_key_values": past_key_values,
            "position_ids": position_ids,
        }
        mask = create_causal_mask(**mask_kwargs)
        rotary = self.rotary_emb(position_ids)
        x = inputs_embeds
        for attn, ff in self.layers:
            x = x + attn(x, rotary, mask=mask, cache=past_key_values)
            x = ff(x) + x
        hidden_states = self.norm(x)
        return BaseModelOutputWithPast(last_hidden_state=hidden_states, past_key_values=past_key_values)


class TealForCausalLM(TealPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: TealConfig):
        super().__init__(config)
        self.model = TealModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @can_return_tuple
    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, labels=None, use_cache=None, logits_to_keep: int | torch.Tensor = 0, **kwargs):
        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, past_key_values=past_key_values, use_cache=use_cache, **kwargs)
        slice_indices = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, slice_indices, :])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=outputs.past_key_values)
