"""Attention and MLP side by side, each scaled by a learned number; a mean-deviation norm; tanh-capped queries; a skip to the embeddings."""

from typing import Optional

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from .configuration_marl import MarlConfig


class MeanDeviationNorm(nn.Module):
    """x / mean(|x|), with a gain."""

    def __init__(self, dim, eps):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(dim))
        self.shift = nn.Parameter(torch.zeros(1))
        self.eps = eps

    def forward(self, x):
        dtype = x.dtype
        x = x.float()
        scale = x.abs().mean(dim=-1, keepdim=True) + self.eps
        return ((x / scale).to(dtype) * (1.0 + self.gain)) + self.shift


class QuickGate(nn.Module):
    def __init__(self, alpha):
        super().__init__()
        self.alpha = alpha

    def forward(self, x):
        return x * torch.sigmoid(self.alpha * x)


class MarlRotary(nn.Module):
    def __init__(self, config):
        super().__init__()
        inv_freq = config.rope_theta ** -(torch.arange(0, config.d_head, 2, dtype=torch.float32) / config.d_head)
        self.register_buffer("inv_freq", inv_freq, persistent=False)

    @torch.no_grad()
    def forward(self, x, position_ids):
        angles = position_ids[..., None].float() * self.inv_freq
        return torch.polar(torch.ones_like(angles), angles)


def rotate(x, freqs):
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * freqs[:, None]).flatten(-2).type_as(x)


class MarlAttention(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.n_heads, self.n_kv_heads, self.d_head = config.n_heads, config.n_kv_heads, config.d_head
        self.is_sliding = config.layer_types[layer_idx] == "sliding_attention"
        self.q = nn.Linear(config.d_model, config.n_heads * config.d_head, bias=False)
        self.kv = nn.Linear(config.d_model, 2 * config.n_kv_heads * config.d_head, bias=True)
        self.out = nn.Linear(config.n_heads * config.d_head, config.d_model, bias=False)

    def forward(self, x, freqs, mask, past_key_values=None):
        batch, length, _ = x.shape
        q = self.q(x).view(batch, length, self.n_heads, self.d_head).transpose(1, 2)
        k, v = self.kv(x).view(batch, length, self.n_kv_heads, 2, self.d_head).unbind(dim=3)
        k, v = k.transpose(1, 2), v.transpose(1, 2)
        if self.is_sliding:
            q, k = rotate(q, freqs), rotate(k, freqs)
        if self.config.query_cap is not None:
            q = self.config.query_cap * torch.tanh(q / self.config.query_cap)
        if past_key_values is not None:
            k, v = past_key_values.update(k, v, self.layer_idx)
        k = k.repeat_interleave(self.n_heads // self.n_kv_heads, dim=1)
        v = v.repeat_interleave(self.n_heads // self.n_kv_heads, dim=1)
        scores = torch.einsum("bhqd,bhkd->bhqk", q, k) * self.d_head**-0.5
        if mask is not None:
            scores = scores + mask
        weights = torch.softmax(scores.float(), dim=-1).to(q.dtype)
        out = torch.einsum("bhqk,bhkd->bqhd", weights, v)
        return self.out(out.reshape(batch, length, -1))


class MarlMLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(config.d_model, config.d_ff), QuickGate(config.gate_alpha), nn.Linear(config.d_ff, config.d_model)
        )

    def forward(self, x):
        return self.net(x)


class MarlBlock(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.norm = MeanDeviationNorm(config.d_model, config.norm_eps)
        self.attn = MarlAttention(config, layer_idx)
        self.mlp = MarlMLP(config)
        self.attn_scale = nn.Parameter(torch.tensor(1.0))
        self.mlp_scale = nn.Parameter(torch.tensor(1.0))
        self.skip_weight = config.skip_weight

    def forward(self, x, embeddings, freqs, mask, past_key_values=None):
        h = self.norm(x)
        x = x + self.attn_scale * self.attn(h, freqs, mask, past_key_values) + self.mlp_scale * self.mlp(h)
        if self.skip_weight > 0:
            x = x + self.skip_weight * embeddings
        return x


class MarlPreTrainedModel(PreTrainedModel):
    config_class = MarlConfig
    base_model_prefix = "model"


class MarlModel(MarlPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList([MarlBlock(config, i) for i in range(config.n_layers)])
        self.norm = MeanDeviationNorm(config.d_model, config.norm_eps)
        self.rotary = MarlRotary(config)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values: Optional[Cache] = None,
        inputs_embeds=None,
        use_cache=None,
        **kwargs,
    ):
        if inputs_embeds is None:
            inputs_embeds = self.embed(input_ids)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        if position_ids is None:
            past = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = (torch.arange(inputs_embeds.shape[1], device=inputs_embeds.device) + past).unsqueeze(0)
        shared = {
            "config": self.config,
            "inputs_embeds": inputs_embeds,
            "attention_mask": attention_mask,
            "past_key_values": past_key_values,
            "position_ids": position_ids,
        }
        masks = {
            "full_attention": create_causal_mask(**shared),
            "sliding_attention": create_sliding_window_causal_mask(**shared),
        }
        freqs = self.rotary(inputs_embeds, position_ids)
        x = inputs_embeds
        for block, kind in zip(self.blocks, self.config.layer_types):
            x = block(x, inputs_embeds, freqs, masks[kind], past_key_values)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(x), past_key_values=past_key_values)


class MarlForCausalLM(MarlPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"head.weight": "model.embed.weight"}

    def __init__(self, config):
        super().__init__(config)
        self.model = MarlModel(config)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.logit_scale = config.d_model**-0.5
        self.post_init()

    def get_output_embeddings(self):
        return self.head

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, labels=None, use_cache=None, **kwargs):
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **kwargs,
        )
        logits = self.head(outputs.last_hidden_state) * self.logit_scale
        return CausalLMOutputWithPast(logits=logits, past_key_values=outputs.past_key_values)
