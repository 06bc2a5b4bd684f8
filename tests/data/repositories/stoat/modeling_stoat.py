"""A learned bias by buckets of the distance, shared by all layers; the upper layers attend to the keys and values of the layer before
them that has its own; gated queries."""

import math
from typing import Optional

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from .configuration_stoat import StoatConfig


class StoatNorm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):
        h = x.to(torch.float32)
        h = h / torch.sqrt(h.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * h.to(x.dtype)


class StoatBias(nn.Module):
    def __init__(self, config: StoatConfig):
        super().__init__()
        self.num_buckets, self.max_distance = config.num_buckets, config.max_distance
        self.table = nn.Embedding(config.num_buckets, config.num_attention_heads)

    def bucket(self, distance):
        exact = self.num_buckets // 2
        far = exact + (
            torch.log(distance.float() / exact) / math.log(self.max_distance / exact) * (self.num_buckets - exact)
        ).to(torch.long)
        far = torch.min(far, torch.full_like(far, self.num_buckets - 1))
        return torch.where(distance < exact, distance, far)

    def forward(self, queries, keys):
        distance = (queries[:, None] - keys[None, :]).clamp(min=0)
        return self.table(self.bucket(distance)).permute(2, 0, 1).unsqueeze(0)


class StoatAttention(nn.Module):
    def __init__(self, config: StoatConfig, layer_idx: int):
        super().__init__()
        self.layer_idx = layer_idx
        self.heads, self.dim = config.num_attention_heads, config.head_dim
        self.shares = layer_idx >= config.share_from
        self.source = min(layer_idx, config.share_from - 1)
        self.q = nn.Linear(config.hidden_size, 2 * self.heads * self.dim, bias=False)
        if not self.shares:
            self.k = nn.Linear(config.hidden_size, self.heads * self.dim, bias=False)
            self.v = nn.Linear(config.hidden_size, self.heads * self.dim, bias=False)
        self.o = nn.Linear(self.heads * self.dim, config.hidden_size, bias=False)

    def forward(self, x, bias, mask, shared, past_key_values: Optional[Cache] = None):
        batch, length, _ = x.shape
        q, gate = self.q(x).view(batch, length, self.heads, 2 * self.dim).split(self.dim, dim=-1)
        q = q.transpose(1, 2)
        if self.shares:
            k, v = shared[self.source]
        else:
            k = self.k(x).view(batch, length, self.heads, self.dim).transpose(1, 2)
            v = self.v(x).view(batch, length, self.heads, self.dim).transpose(1, 2)
            if past_key_values is not None:
                k, v = past_key_values.update(k, v, self.layer_idx)
            shared[self.layer_idx] = (k, v)
        scores = torch.matmul(q, k.transpose(2, 3)) + bias
        if mask is not None:
            scores = scores + mask[:, :, :, : k.shape[-2]]
        weights = F.softmax(scores.float(), dim=-1).type_as(scores)
        out = torch.matmul(weights, v).transpose(1, 2) * torch.sigmoid(gate)
        return self.o(out.reshape(batch, length, -1))


class StoatMLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.wi_0 = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.wi_1 = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.wo = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x):
        return self.wo(F.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x))


class StoatBlock(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.attention_norm = StoatNorm(config.hidden_size, config.norm_eps)
        self.mlp_norm = StoatNorm(config.hidden_size, config.norm_eps)
        self.attention = StoatAttention(config, layer_idx)
        self.mlp = StoatMLP(config)

    def forward(self, x, bias, mask, shared, past_key_values=None):
        x = x + self.attention(self.attention_norm(x), bias, mask, shared, past_key_values)
        return x + self.mlp(self.mlp_norm(x))


class StoatPreTrainedModel(PreTrainedModel):
    config_class = StoatConfig
    base_model_prefix = "model"


class StoatModel(StoatPreTrainedModel):
    def __init__(self, config: StoatConfig):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.bias = StoatBias(config)
        self.blocks = nn.ModuleList([StoatBlock(config, i) for i in range(config.num_hidden_layers)])
        self.norm = StoatNorm(config.hidden_size, config.norm_eps)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed_tokens

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, inputs_embeds=None, use_cache=None, **kwargs):
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        seen = past_key_values.get_seq_length() if past_key_values is not None else 0
        total = seen + inputs_embeds.shape[1]
        places = torch.arange(total, device=inputs_embeds.device)
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        bias = self.bias(places[seen:], places)
        shared = {}
        x = inputs_embeds * self.config.hidden_size**0.5
        for block in self.blocks:
            x = block(x, bias, mask, shared, past_key_values)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(x), past_key_values=past_key_values)


class StoatForCausalLM(StoatPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: StoatConfig):
        super().__init__(config)
        self.model = StoatModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_output_embeddings(self):
        return self.lm_head

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, use_cache=None, **kwargs):
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
        )
        return CausalLMOutputWithPast(logits=self.lm_head(outputs.last_hidden_state), past_key_values=outputs.past_key_values)
