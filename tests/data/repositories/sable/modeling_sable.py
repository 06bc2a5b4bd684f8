"""A decoder derived from a published one: values of the first layer flow into all later ones, softmax-free routing, norms on both sides."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import (
    LlamaForCausalLM,
    LlamaMLP,
    LlamaModel,
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
    apply_rotary_pos_emb,
)
from transformers.cache_utils import DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.modeling_utils import PreTrainedModel


class SableConfig(LlamaConfig):
    model_type = "sable"
    num_experts: int = 8
    num_experts_per_tok: int = 2
    router_temperature: float = 1.0
    dense_layers: list | None = None


class SableAttention(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.layer_idx = layer_idx
        self.head_dim = config.head_dim
        self.groups = config.num_attention_heads // config.num_key_value_heads
        self.q_proj = nn.Linear(config.hidden_size, config.num_attention_heads * self.head_dim, bias=config.attention_bias)
        self.k_proj = nn.Linear(config.hidden_size, config.num_key_value_heads * self.head_dim, bias=config.attention_bias)
        self.v_proj = nn.Linear(config.hidden_size, config.num_key_value_heads * self.head_dim, bias=config.attention_bias)
        self.o_proj = nn.Linear(config.num_attention_heads * self.head_dim, config.hidden_size, bias=False)
        self.q_norm = LlamaRMSNorm(self.head_dim, eps=config.rms_norm_eps)
        self.k_norm = LlamaRMSNorm(self.head_dim, eps=config.rms_norm_eps)
        self.mix = nn.Parameter(torch.tensor([0.5, 0.5]))

    def forward(self, hidden_states, position_embeddings, attention_mask, first_values, past_key_values=None):
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        q = self.q_proj(hidden_states).view(shape).transpose(1, 2)
        k = self.k_proj(hidden_states).view(shape).transpose(1, 2)
        v = self.v_proj(hidden_states).view(shape).transpose(1, 2)
        if first_values is None:
            first_values = v
        v = self.mix[0] * v + self.mix[1] * first_values
        cos, sin = position_embeddings
        q, k = apply_rotary_pos_emb(q, k, cos, sin)
        q, k = self.q_norm(q), self.k_norm(k)
        if past_key_values is not None:
            k, v = past_key_values.update(k, v, self.layer_idx)
        out = F.scaled_dot_product_attention(
            q,
            k.repeat_interleave(self.groups, dim=1),
            v.repeat_interleave(self.groups, dim=1),
            attn_mask=attention_mask,
            scale=1.0 / self.head_dim,
        )
        out = out.transpose(1, 2).reshape(*hidden_states.shape[:-1], -1)
        return self.o_proj(out), first_values


class SableExperts(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.num_experts = config.num_experts
        self.top_k = config.num_experts_per_tok
        self.temperature = config.router_temperature
        self.gate = nn.Linear(config.hidden_size, config.num_experts, bias=False)
        self.bias = nn.Parameter(torch.zeros(config.num_experts))
        self.experts = nn.ModuleList([LlamaMLP(config) for _ in range(config.num_experts)])

    def forward(self, hidden_states):
        batch, length, width = hidden_states.shape
        x = hidden_states.view(-1, width)
        scores = torch.sigmoid(self.gate(x) / self.temperature)
        _, chosen = torch.topk(scores + self.bias, self.top_k, dim=-1)
        weights = scores.gather(1, chosen)
        weights = weights / (weights.sum(dim=-1, keepdim=True) + 1e-9)
        out = torch.zeros_like(x)
        hits = F.one_hot(chosen, num_classes=self.num_experts).permute(2, 1, 0)
        for expert_idx in range(self.num_experts):
            slot, token = torch.where(hits[expert_idx])
            current = self.experts[expert_idx](x[token]) * weights[token, slot, None]
            out.index_add_(0, token, current.to(x.dtype))
        return out.view(batch, length, width)


class SableLayer(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.self_attn = SableAttention(config, layer_idx)
        dense = config.dense_layers is not None and layer_idx in config.dense_layers
        self.mlp = LlamaMLP(config) if dense else SableExperts(config)
        self.pre_attn = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attn = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.pre_mlp = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_mlp = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, x, position_embeddings, attention_mask, first_values, past_key_values=None):
        out, first_values = self.self_attn(
            self.pre_attn(x), position_embeddings, attention_mask, first_values, past_key_values
        )
        x = x + self.post_attn(out)
        x = x + self.post_mlp(self.mlp(self.pre_mlp(x)))
        return x, first_values


class SablePreTrainedModel(PreTrainedModel):
    config_class = SableConfig
    base_model_prefix = "model"


class SableModel(SablePreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(SableLayer(config, i) for i in range(config.num_hidden_layers))
        self.norm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = LlamaRotaryEmbedding(config=config)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, use_cache=None, **kwargs):
        x = self.embed_tokens(input_ids)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        if position_ids is None:
            past = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = (torch.arange(x.shape[1], device=x.device) + past).unsqueeze(0)
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=x,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        position_embeddings = self.rotary_emb(x, position_ids=position_ids)
        first_values = None
        for layer in self.layers:
            x, first_values = layer(x, position_embeddings, mask, first_values, past_key_values)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(x), past_key_values=past_key_values)


class SableForCausalLM(LlamaForCausalLM):
    config_class = SableConfig

    def __init__(self, config):
        super().__init__(config)
        self.model = SableModel(config)
        self.post_init()
