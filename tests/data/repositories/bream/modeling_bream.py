"""Pairs side by side turned in a part of each head; every third layer sees a span; scores and logits capped; caches are tuples."""

import math
from typing import Optional, Tuple

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import logging

from .configuration_bream import BreamConfig

logger = logging.get_logger(__name__)


def fixed_angles(x, base, seq_len, offset=0):
    dim = x.shape[-1]
    inv_freq = 1.0 / (base ** (torch.arange(0, dim, 2, device=x.device) / dim))
    places = torch.arange(offset, offset + seq_len, device=x.device).float()
    angles = torch.einsum("i , j -> i j", places, inv_freq)
    return torch.sin(angles), torch.cos(angles)


def rotate_every_two(x):
    x1 = x[:, :, :, ::2]
    x2 = x[:, :, :, 1::2]
    return torch.stack((-x2, x1), dim=-1).flatten(-2)


def turn(x, sin, cos):
    sin, cos = (t[None, :, None, :].repeat_interleave(2, 3) for t in (sin, cos))
    return x * cos + rotate_every_two(x) * sin


class BreamAttention(nn.Module):
    def __init__(self, config, span=None):
        super().__init__()
        self.config = config
        self.span = span
        self.num_heads = config.num_attention_heads
        self.head_dim = config.head_size
        self.rotary_ndims = config.rotary_ndims
        self.query = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.key = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.value = nn.Linear(config.hidden_size, config.hidden_size, bias=True)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def _split(self, x):
        return x.view(*x.size()[:-1], self.num_heads, self.head_dim)

    def forward(self, hidden_states, attention_mask=None, layer_past=None, use_cache=False):
        query, key, value = (self._split(f(hidden_states)) for f in (self.query, self.key, self.value))
        offset = layer_past[0].shape[-2] if layer_past is not None else 0
        n = self.rotary_ndims
        k_rot, k_pass = key[..., :n], key[..., n:]
        q_rot, q_pass = query[..., :n], query[..., n:]
        sin, cos = fixed_angles(k_rot, self.config.rotary_base, key.shape[1], offset)
        key = torch.cat([turn(k_rot, sin, cos), k_pass], dim=-1).permute(0, 2, 1, 3)
        query = torch.cat([turn(q_rot, sin, cos), q_pass], dim=-1).permute(0, 2, 1, 3)
        value = value.permute(0, 2, 1, 3)
        if layer_past is not None:
            key = torch.cat((layer_past[0], key), dim=-2)
            value = torch.cat((layer_past[1], value), dim=-2)
        present = (key, value) if use_cache else None

        scores = torch.matmul(query.float(), key.float().transpose(-1, -2)) / math.sqrt(self.head_dim)
        if self.config.score_softcap:
            scores = self.config.score_softcap * torch.tanh(scores / self.config.score_softcap)
        n_query, n_key = query.shape[-2], key.shape[-2]
        rows = torch.arange(n_key - n_query, n_key, device=scores.device)[:, None]
        columns = torch.arange(n_key, device=scores.device)[None, :]
        seen = columns <= rows
        if self.span is not None:
            seen = seen & (columns > rows - self.span)
        scores = torch.where(seen, scores, torch.finfo(scores.dtype).min)
        if attention_mask is not None:
            scores = scores + attention_mask
        probs = nn.functional.softmax(scores, dim=-1).to(value.dtype)
        out = torch.matmul(probs, value).permute(0, 2, 1, 3).contiguous()
        out = self.dense(out.view(*out.shape[:-2], -1))
        return (out, present) if use_cache else (out,)


class BreamBlock(nn.Module):
    def __init__(self, config, span):
        super().__init__()
        self.ln = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.attention = BreamAttention(config, span)
        self.fc_in = nn.Linear(config.hidden_size, config.ffn_mult * config.hidden_size)
        self.fc_out = nn.Linear(config.ffn_mult * config.hidden_size, config.hidden_size)

    def forward(self, hidden_states, attention_mask=None, layer_past=None, use_cache=False):
        residual = hidden_states
        hidden_states = self.ln(hidden_states)
        outputs = self.attention(hidden_states, attention_mask, layer_past, use_cache)
        feed_forward = self.fc_out(nn.functional.gelu(self.fc_in(hidden_states), approximate="tanh"))
        return (outputs[0] + feed_forward + residual,) + outputs[1:]


class BreamPreTrainedModel(PreTrainedModel):
    config_class = BreamConfig
    base_model_prefix = "transformer"
    _no_split_modules = ["BreamBlock"]

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            module.weight.data.normal_(mean=0.0, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.data.zero_()
        elif isinstance(module, nn.LayerNorm):
            module.bias.data.zero_()
            module.weight.data.fill_(1.0)


class BreamModel(BreamPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.wte = nn.Embedding(config.vocab_size, config.hidden_size)
        self.h = nn.ModuleList([BreamBlock(config, config.spans[i]) for i in range(config.num_hidden_layers)])
        self.ln_f = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.post_init()

    def get_input_embeddings(self):
        return self.wte

    def forward(
        self,
        input_ids: Optional[torch.LongTensor] = None,
        past_key_values: Optional[Tuple[Tuple[torch.Tensor]]] = None,
        attention_mask: Optional[torch.FloatTensor] = None,
        use_cache: Optional[bool] = None,
        return_dict: Optional[bool] = None,
    ):
        use_cache = use_cache if use_cache is not None else self.config.use_cache
        return_dict = return_dict if return_dict is not None else self.config.use_return_dict
        if past_key_values is None:
            past_key_values = tuple([None] * len(self.h))
        if attention_mask is not None:
            attention_mask = attention_mask[:, None, None, :].float()
            attention_mask = (1.0 - attention_mask) * torch.finfo(torch.float32).min
        hidden_states = self.wte(input_ids)
        presents = () if use_cache else None
        for block, layer_past in zip(self.h, past_key_values):
            outputs = block(hidden_states, attention_mask=attention_mask, layer_past=layer_past, use_cache=use_cache)
            hidden_states = outputs[0]
            if use_cache:
                presents = presents + (outputs[1],)
        hidden_states = self.ln_f(hidden_states)
        if not return_dict:
            return tuple(v for v in [hidden_states, presents] if v is not None)
        return BaseModelOutputWithPast(last_hidden_state=hidden_states, past_key_values=presents)


class BreamForCausalLM(BreamPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.transformer = BreamModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(self, input_ids=None, past_key_values=None, attention_mask=None, labels=None, use_cache=None, return_dict=None):
        return_dict = return_dict if return_dict is not None else self.config.use_return_dict
        outputs = self.transformer(
            input_ids,
            past_key_values=past_key_values,
            attention_mask=attention_mask,
            use_cache=use_cache,
            return_dict=return_dict,
        )
        logits = self.lm_head(outputs[0]).float()
        if self.config.final_softcap is not None:
            logits = torch.tanh(logits / self.config.final_softcap) * self.config.final_softcap
        if not return_dict:
            return (logits,) + outputs[1:]
        return CausalLMOutputWithPast(logits=logits, past_key_values=outputs.past_key_values)
