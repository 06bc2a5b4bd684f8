"""Attention in blocks that several layers share, gates that go from layer to layer, and a sum over what shared layers began with."""

import torch
from torch import nn
from transformers.cache_utils import DynamicCache
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel

from .configuration_weir import WeirConfig


class WeirNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


class WeirAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.norm = WeirNorm(2 * config.hidden_size, config.norm_eps)
        self.qkv = nn.Linear(2 * config.hidden_size, 3 * config.hidden_size, bias=False)
        self.out = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x, start, mask, past_key_values, layer_idx):
        batch, length, width = x.shape
        joined = self.norm(torch.cat([x, start], dim=-1))
        q, k, v = (
            part.view(batch, length, self.num_heads, self.head_dim).transpose(1, 2)
            for part in self.qkv(joined).chunk(3, dim=-1)
        )
        if past_key_values is not None:
            k, v = past_key_values.update(k, v, layer_idx)
        scores = (q @ k.transpose(2, 3)) * self.head_dim**-0.5
        if mask is not None:
            scores = scores + mask
        out = scores.softmax(dim=-1) @ v
        return self.out(out.transpose(1, 2).flatten(2))


class WeirMLP(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.norm = WeirNorm(config.hidden_size, config.norm_eps)
        self.flow = nn.Linear(config.hidden_size, config.flow_size)
        self.takes_flow = layer_idx != 0
        if self.takes_flow:
            self.scale = nn.Parameter(torch.ones(config.flow_size))
        self.gate = nn.Linear(config.flow_size, config.inner_size, bias=False)
        self.up = nn.Linear(config.hidden_size, config.inner_size, bias=False)
        self.down = nn.Linear(config.inner_size, config.hidden_size, bias=False)

    def forward(self, x, flow=None):
        x = self.norm(x)
        own = self.flow(x)
        if self.takes_flow and flow is not None:
            own = own + flow * self.scale
        handed_on = torch.tanh(own)
        return self.down(torch.sigmoid(self.gate(own)) * self.up(x)), handed_on


class WeirPlainLayer(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.mlp = WeirMLP(config, layer_idx)

    def forward(self, x, start, begun, flow, mask, past_key_values, layer_idx):
        out, flow = self.mlp(x, flow)
        return x + out, begun, flow


class WeirSharedLayer(nn.Module):
    def __init__(self, config, layer_idx, block):
        super().__init__()
        self.block = block
        self.linear = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.weigh = nn.Linear(config.hidden_size, 1, bias=False)
        self.mlp = WeirMLP(config, layer_idx)

    def forward(self, x, start, begun, flow, mask, past_key_values, layer_idx):
        begun = torch.cat([begun, x.unsqueeze(-2)], dim=-2)
        x = x + (self.weigh(begun).softmax(dim=-2) * begun).sum(dim=-2)
        x = x + self.linear(self.block(x, start, mask, past_key_values, layer_idx))
        out, flow = self.mlp(x, flow)
        return x + out, begun, flow


class WeirPreTrainedModel(PreTrainedModel):
    config_class = WeirConfig
    base_model_prefix = "model"


class WeirModel(WeirPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        layers, blocks, ties = [], [], {}
        for layer_idx in range(config.num_hidden_layers):
            if layer_idx % 3 == 2:
                if len(blocks) >= config.num_blocks:
                    ties[f"layers.{layer_idx}.block"] = blocks[len(ties) % config.num_blocks]
                else:
                    blocks.append(f"layers.{layer_idx}.block")
                layers.append(WeirSharedLayer(config, layer_idx, WeirAttention(config)))
            else:
                layers.append(WeirPlainLayer(config, layer_idx))
        self._tied_weights_keys = ties
        self.layers = nn.ModuleList(layers)
        self.norm = WeirNorm(config.hidden_size, config.norm_eps)
        self.post_init()

    def get_input_embeddings(self):
        return self.words

    def forward(self, input_ids, attention_mask=None, position_ids=None, past_key_values=None, use_cache=None):
        x = self.words(input_ids)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=x,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        start, flow = x.clone(), None
        begun = x.new_zeros((*x.shape[:2], 0, x.shape[2]))
        for layer_idx, layer in enumerate(self.layers):
            x, begun, flow = layer(x, start, begun, flow, mask, past_key_values, layer_idx)
        return self.norm(x), past_key_values


class WeirForCausalLM(WeirPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"head.weight": "model.words.weight"}

    def __init__(self, config):
        super().__init__(config)
        self.model = WeirModel(config)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.model.words

    def get_output_embeddings(self):
        return self.head

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, use_cache=None, **kwargs):
        x, past_key_values = self.model(input_ids, attention_mask, position_ids, past_key_values, use_cache)
        return CausalLMOutputWithPast(logits=self.head(x), past_key_values=past_key_values)
