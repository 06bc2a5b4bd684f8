"""Groups of layers with common weights, a kernel stored [in, out], learned positions after an offset and slopes on the distance."""

import torch
from torch import nn
from transformers.cache_utils import DynamicCache
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from .configuration_dune import DuneConfig


class DuneSelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.qkv = Conv1D(3 * config.hidden_size, config.hidden_size)
        self.proj = Conv1D(config.hidden_size, config.hidden_size)
        slopes = 2.0 ** (-config.alibi_max * torch.arange(1, self.num_heads + 1).float() / self.num_heads)
        self.register_buffer("slopes", slopes.view(1, -1, 1, 1), persistent=False)

    def forward(self, x, mask, positions, past_key_values, layer_idx):
        batch, length, width = x.shape
        q, k, v = (
            part.view(batch, length, self.num_heads, self.head_dim).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        if past_key_values is not None:
            k, v = past_key_values.update(k, v, layer_idx)
        keys = torch.arange(k.shape[2], device=x.device)
        distance = keys[None, None, None, :] - positions[:, None, :, None]
        scores = (q @ k.mT) / self.head_dim**0.5
        scores = scores + self.slopes * distance
        if mask is not None:
            scores = scores + mask
        out = scores.softmax(dim=-1) @ v
        return self.proj(out.transpose(1, 2).flatten(2))


class DuneLayer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.attention = DuneSelfAttention(config)
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon, bias=False)
        self.norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.inner = Conv1D(config.inner_size, config.hidden_size)
        self.outer = Conv1D(config.hidden_size, config.inner_size)

    def forward(self, x, mask, positions, past_key_values, layer_idx):
        x = self.norm1(x + self.attention(x, mask, positions, past_key_values, layer_idx))
        return self.norm2(x + self.outer(torch.square(torch.relu(self.inner(x)))))


class DunePreTrainedModel(PreTrainedModel):
    config_class = DuneConfig
    base_model_prefix = "model"


class DuneForCausalLM(DunePreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"head.weight": "words.weight"}

    def __init__(self, config):
        super().__init__(config)
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.places = nn.Embedding(config.positions + config.position_offset, config.hidden_size)
        self.groups = nn.ModuleList([DuneLayer(config) for _ in range(config.num_groups)])
        self.head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def get_input_embeddings(self):
        return self.words

    def get_output_embeddings(self):
        return self.head

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, use_cache=None, **kwargs):
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        slots = (torch.arange(input_ids.shape[1], device=input_ids.device) + past)[None]
        if position_ids is None:
            position_ids = slots
        x = self.words(input_ids) + self.places(position_ids + self.config.position_offset)
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=x,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        for layer_idx in range(self.config.num_hidden_layers):
            group = int(layer_idx / (self.config.num_hidden_layers / self.config.num_groups))
            x = self.groups[group](x, mask, slots, past_key_values, layer_idx)
        logits = self.head(x)
        if self.config.logit_cap is not None:
            logits = self.config.logit_cap * torch.tanh(logits / self.config.logit_cap)
        return CausalLMOutputWithPast(logits=logits, past_key_values=past_key_values)
