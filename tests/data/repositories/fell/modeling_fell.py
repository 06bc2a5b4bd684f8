"""Slopes on the distance kept as a buffer, one head of keys and values, masks of booleans, logits scaled by a rule."""

import math
import warnings
from typing import List, Optional, Tuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from .configuration_fell import FellConfig


def gen_slopes(n_heads, alibi_bias_max=8, device=None):
    _n_heads = 2 ** math.ceil(math.log2(n_heads))
    m = torch.arange(1, _n_heads + 1, dtype=torch.float32, device=device)
    m = m.mul(alibi_bias_max / _n_heads)
    slopes = 1.0 / torch.pow(2, m)
    if _n_heads != n_heads:
        slopes = torch.concat([slopes[1::2], slopes[::2]])[:n_heads]
    return slopes.view(1, n_heads, 1, 1)


def build_alibi_bias(n_heads, seq_len, alibi_bias_max=8, device=None, dtype=None):
    alibi_bias = torch.arange(1 - seq_len, 1, dtype=torch.int32, device=device).view(1, 1, 1, seq_len)
    alibi_bias = alibi_bias * gen_slopes(n_heads, alibi_bias_max, device=device)
    return alibi_bias.to(dtype=dtype)


def _reset_is_causal(num_query_tokens, num_key_tokens, original_is_causal):
    if original_is_causal and num_query_tokens != num_key_tokens:
        if num_query_tokens != 1:
            raise NotImplementedError("not for several tokens on a cache")
        return False
    return original_is_causal


def scaled_multihead_dot_product_attention(
    query, key, value, n_heads, past_key_value=None, softmax_scale=None, attn_bias=None, key_padding_mask=None, is_causal=False
):
    q = rearrange(query, "b s (h d) -> b h s d", h=n_heads)
    k = rearrange(key, "b s (h d) -> b h d s", h=1)
    v = rearrange(value, "b s (h d) -> b h s d", h=1)
    if past_key_value is not None:
        if len(past_key_value) != 0:
            k = torch.cat([past_key_value[0], k], dim=3)
            v = torch.cat([past_key_value[1], v], dim=2)
        past_key_value = (k, v)
    b, _, s_q, d = q.shape
    s_k = k.size(-1)
    if softmax_scale is None:
        softmax_scale = 1 / math.sqrt(d)
    attn_weight = q.matmul(k) * softmax_scale
    if attn_bias is not None:
        _s_q = max(0, attn_bias.size(2) - s_q)
        _s_k = max(0, attn_bias.size(3) - s_k)
        attn_bias = attn_bias[:, :, _s_q:, _s_k:]
        if attn_bias.size(-1) != 1 and attn_bias.size(-1) != s_k:
            raise RuntimeError(f"attn_bias (shape: {attn_bias.shape}) is expected to broadcast")
        attn_weight = attn_weight + attn_bias
    min_val = torch.finfo(q.dtype).min
    if key_padding_mask is not None:
        attn_weight = attn_weight.masked_fill(~key_padding_mask.view((b, 1, 1, s_k)), min_val)
    if is_causal and (not q.size(2) == 1):
        s = max(s_q, s_k)
        causal_mask = attn_weight.new_ones(s, s, dtype=torch.float32)
        causal_mask = causal_mask.tril()
        causal_mask = causal_mask.to(torch.bool)
        causal_mask = ~causal_mask
        causal_mask = causal_mask[-s_q:, -s_k:]
        attn_weight = attn_weight.masked_fill(causal_mask.view(1, 1, s_q, s_k), min_val)
    attn_weight = torch.softmax(attn_weight, dim=-1)
    out = attn_weight.to(v.dtype).matmul(v)
    out = rearrange(out, "b h s d -> b s (h d)")
    return out, past_key_value


class LPLayerNorm(nn.LayerNorm):
    def forward(self, x):
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class FellAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.d_model = config.d_model
        self.n_heads = config.n_heads
        self.head_dim = config.d_model // config.n_heads
        self.clip_qkv = config.attn_config["clip_qkv"]
        self.Wqkv = nn.Linear(self.d_model, self.d_model + 2 * self.head_dim, bias=not config.no_bias)
        self.out_proj = nn.Linear(self.d_model, self.d_model, bias=not config.no_bias)

    def forward(self, x, past_key_value=None, attn_bias=None, attention_mask=None, is_causal=True):
        qkv = self.Wqkv(x)
        if self.clip_qkv:
            qkv = qkv.clamp(min=-self.clip_qkv, max=self.clip_qkv)
        query, key, value = qkv.split([self.d_model, self.head_dim, self.head_dim], dim=2)
        context, past_key_value = scaled_multihead_dot_product_attention(
            query,
            key,
            value,
            self.n_heads,
            past_key_value=past_key_value,
            attn_bias=attn_bias,
            key_padding_mask=attention_mask,
            is_causal=is_causal,
        )
        return self.out_proj(context), past_key_value


class FellMLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.up_proj = nn.Linear(config.d_model, config.expansion_ratio * config.d_model, bias=not config.no_bias)
        self.act = nn.GELU(approximate="none")
        self.down_proj = nn.Linear(config.expansion_ratio * config.d_model, config.d_model, bias=not config.no_bias)

    def forward(self, x):
        return self.down_proj(self.act(self.up_proj(x)))


NORMS = {"low_precision_layernorm": LPLayerNorm, "layernorm": nn.LayerNorm}


class FellBlock(nn.Module):
    def __init__(self, config):
        super().__init__()
        norm_class = NORMS["low_precision_layernorm"]
        self.norm_1 = norm_class(config.d_model)
        self.attn = FellAttention(config)
        self.norm_2 = norm_class(config.d_model)
        self.ffn = FellMLP(config)

    def forward(self, x, past_key_value=None, attn_bias=None, attention_mask=None, is_causal=True):
        a = self.norm_1(x)
        b, past_key_value = self.attn(
            a, past_key_value=past_key_value, attn_bias=attn_bias, attention_mask=attention_mask, is_causal=is_causal
        )
        x = x + b
        x = x + self.ffn(self.norm_2(x))
        return x, past_key_value


class FellPreTrainedModel(PreTrainedModel):
    config_class = FellConfig
    base_model_prefix = "transformer"

    def _init_weights(self, module):
        return


class FellModel(FellPreTrainedModel):
    def __init__(self, config: FellConfig):
        super().__init__(config)
        self.alibi = config.attn_config["alibi"]
        self.alibi_bias_max = config.attn_config["alibi_bias_max"]
        self.is_causal = True
        self.wte = nn.Embedding(config.vocab_size, config.d_model)
        if not self.alibi:
            self.wpe = nn.Embedding(config.max_seq_len, config.d_model)
        self.blocks = nn.ModuleList([FellBlock(config) for _ in range(config.n_layers)])
        self.norm_f = LPLayerNorm(config.d_model)
        self.register_buffer(
            "attn_bias",
            build_alibi_bias(config.n_heads, config.max_seq_len, self.alibi_bias_max, dtype=torch.float32),
            persistent=False,
        )
        if config.no_bias:
            for module in self.modules():
                if hasattr(module, "bias") and isinstance(module.bias, nn.Parameter):
                    module.register_parameter("bias", None)
        self.post_init()

    def get_input_embeddings(self):
        return self.wte

    def forward(self, input_ids, past_key_values=None, attention_mask=None, return_dict=None, use_cache=None):
        use_cache = use_cache if use_cache is not None else self.config.use_cache
        if attention_mask is not None:
            attention_mask = attention_mask.bool()
        S = input_ids.size(1)
        assert S <= self.config.max_seq_len, f"Cannot forward input with seq_len={S}"
        x = self.wte(input_ids)
        attn_bias = self.attn_bias.to(x.dtype)
        if use_cache and past_key_values is None:
            past_key_values = [() for _ in range(self.config.n_layers)]
        for b_idx, block in enumerate(self.blocks):
            past_key_value = past_key_values[b_idx] if past_key_values is not None else None
            x, past_key_value = block(
                x,
                past_key_value=past_key_value,
                attn_bias=attn_bias,
                attention_mask=attention_mask,
                is_causal=self.is_causal,
            )
            if past_key_values is not None:
                past_key_values[b_idx] = past_key_value
        x = self.norm_f(x)
        return BaseModelOutputWithPast(last_hidden_state=x, past_key_values=past_key_values)


class FellForCausalLM(FellPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "transformer.wte.weight"}

    def __init__(self, config: FellConfig):
        super().__init__(config)
        if not config.tie_word_embeddings:
            raise ValueError("FellForCausalLM only supports tied word embeddings")
        self.transformer = FellModel(config)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.logit_scale = None
        if config.logit_scale is not None:
            logit_scale = config.logit_scale
            if isinstance(logit_scale, str):
                if logit_scale == "inv_sqrt_d_model":
                    logit_scale = 1 / math.sqrt(config.d_model)
                else:
                    raise ValueError(f"logit_scale={logit_scale!r} is not recognized")
            self.logit_scale = logit_scale
        self.post_init()

    def get_input_embeddings(self):
        return self.transformer.wte

    def get_output_embeddings(self):
        return self.lm_head

    def forward(
        self,
        input_ids: torch.LongTensor,
        past_key_values: Optional[List[Tuple[torch.FloatTensor]]] = None,
        attention_mask: Optional[torch.Tensor] = None,
        labels: Optional[torch.LongTensor] = None,
        return_dict: Optional[bool] = None,
        use_cache: Optional[bool] = None,
    ):
        outputs = self.transformer(
            input_ids=input_ids, past_key_values=past_key_values, attention_mask=attention_mask, use_cache=use_cache
        )
        logits = F.linear(outputs.last_hidden_state, self.transformer.wte.weight)
        if self.logit_scale is not None:
            if self.logit_scale == 0:
                warnings.warn("Multiplying logits by 0")
            logits = logits * self.logit_scale
        return CausalLMOutputWithPast(logits=logits, past_key_values=outputs.past_key_values)
