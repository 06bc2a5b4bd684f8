"""Rotation by complex numbers, a mask updated from the positions in the cache, attention classes by implementation."""

import math
from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import nn
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import is_flash_attn_2_available, logging

from .configuration_moor import MoorConfig

if is_flash_attn_2_available():
    from flash_attn import flash_attn_func

logger = logging.get_logger(__name__)


def precompute_freqs_cis(dim: int, end: int, theta: float = 10000.0):
    freqs = 1.0 / (theta ** (torch.arange(0, dim, 2)[: (dim // 2)].float() / dim))
    t = torch.arange(end, device=freqs.device)
    freqs = torch.outer(t, freqs).float()
    return torch.polar(torch.ones_like(freqs), freqs)


def apply_rotary_emb(xq, xk, freqs_cis):
    xq_ = torch.view_as_complex(xq.float().reshape(*xq.shape[:-1], -1, 2))
    xk_ = torch.view_as_complex(xk.float().reshape(*xk.shape[:-1], -1, 2))
    freqs_cis = freqs_cis.unsqueeze(2)
    xq_out = torch.view_as_real(xq_ * freqs_cis).flatten(3)
    xk_out = torch.view_as_real(xk_ * freqs_cis).flatten(3)
    return xq_out.type_as(xq), xk_out.type_as(xk)


class MoorRMSNorm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))
        self.eps = eps
        self.dim = dim

    def forward(self, x):
        norm = x.norm(2, dim=-1, keepdim=True)
        rms = norm * self.dim ** (-1.0 / 2)
        return self.scale * (x / (rms + self.eps))


class MoorAttention(nn.Module):
    def __init__(self, config: MoorConfig, layer_idx: Optional[int] = None):
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        if layer_idx is None:
            logger.warning_once("no layer_idx")
        self.n_head = config.n_head
        self.n_kv_head = config.n_kv_head
        self.head_dim = config.n_embd // config.n_head
        self.c_attn = nn.Linear(config.n_embd, (self.n_head + 2 * self.n_kv_head) * self.head_dim, bias=True)
        self.c_proj = nn.Linear(self.n_head * self.head_dim, config.n_embd, bias=False)

    def split(self, x):
        bsz, q_len, _ = x.size()
        sizes = [self.n_head * self.head_dim, self.n_kv_head * self.head_dim, self.n_kv_head * self.head_dim]
        q, k, v = self.c_attn(x).split(sizes, dim=-1)
        return (
            q.view(bsz, q_len, self.n_head, self.head_dim),
            k.view(bsz, q_len, self.n_kv_head, self.head_dim),
            v.view(bsz, q_len, self.n_kv_head, self.head_dim),
        )

    def forward(self, x, attention_mask=None, freqs_cis=None, past_key_value=None, output_attentions=False, cache_position=None):
        bsz, q_len, _ = x.size()
        q, k, v = self.split(x)
        q, k = apply_rotary_emb(q, k, freqs_cis)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if past_key_value is not None:
            k, v = past_key_value.update(k, v, self.layer_idx, {"cache_position": cache_position})
        k = torch.repeat_interleave(k, self.n_head // self.n_kv_head, dim=1)
        v = torch.repeat_interleave(v, self.n_head // self.n_kv_head, dim=1)
        scores = torch.einsum("bhqd,bhkd->bhqk", q, k) * (1.0 / math.sqrt(self.head_dim))
        if attention_mask is not None:
            scores = scores + attention_mask[:, :, :, : k.shape[-2]]
        weights = F.softmax(scores.float(), dim=-1).to(q.dtype)
        out = torch.einsum("bhqk,bhkd->bhqd", weights, v)
        out = out.transpose(1, 2).contiguous().view(bsz, q_len, -1)
        return self.c_proj(out), (weights if output_attentions else None), past_key_value


class MoorFlashAttention2(MoorAttention):
    def forward(self, x, attention_mask=None, freqs_cis=None, past_key_value=None, output_attentions=False, cache_position=None):
        q, k, v = self.split(x)
        q, k = apply_rotary_emb(q, k, freqs_cis)
        out = flash_attn_func(q, k, v, causal=True)
        return self.c_proj(out.flatten(2)), None, past_key_value


class MoorSdpaAttention(MoorAttention):
    def forward(self, x, attention_mask=None, freqs_cis=None, past_key_value=None, output_attentions=False, cache_position=None):
        if output_attentions:
            return super().forward(x, attention_mask, freqs_cis, past_key_value, output_attentions, cache_position)
        bsz, q_len, _ = x.size()
        q, k, v = self.split(x)
        q, k = apply_rotary_emb(q, k, freqs_cis)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if past_key_value is not None:
            k, v = past_key_value.update(k, v, self.layer_idx, {"cache_position": cache_position})
        k = torch.repeat_interleave(k, self.n_head // self.n_kv_head, dim=1)
        v = torch.repeat_interleave(v, self.n_head // self.n_kv_head, dim=1)
        is_causal = True if attention_mask is None and q_len > 1 else False
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=attention_mask, dropout_p=0.0, is_causal=is_causal)
        out = out.transpose(1, 2).contiguous().view(bsz, q_len, -1)
        return self.c_proj(out), None, past_key_value


MOOR_ATTENTION_CLASSES = {"eager": MoorAttention, "flash_attention_2": MoorFlashAttention2, "sdpa": MoorSdpaAttention}


class MoorMLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 2 * config.n_inner, bias=False)
        self.c_proj = nn.Linear(config.n_inner, config.n_embd, bias=False)

    def forward(self, x):
        a, b = self.c_fc(x).chunk(2, dim=-1)
        return self.c_proj(F.silu(a) * b)


class MoorBlock(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.norm_1 = MoorRMSNorm(config.n_embd, config.rms_norm_eps)
        self.attn = MOOR_ATTENTION_CLASSES[config._attn_implementation](config=config, layer_idx=layer_idx)
        self.norm_2 = MoorRMSNorm(config.n_embd, config.rms_norm_eps)
        self.mlp = MoorMLP(config)
        self.resid_scale = config.resid_scale

    def forward(self, x, attention_mask, freqs_cis, past_key_value, output_attentions, cache_position):
        h, weights, present = self.attn(
            self.norm_1(x), attention_mask, freqs_cis, past_key_value, output_attentions, cache_position
        )
        x = x + h * self.resid_scale
        x = x + self.mlp(self.norm_2(x)) * self.resid_scale
        outputs = (x,)
        if output_attentions:
            outputs += (weights,)
        return outputs + (present,)


class MoorPreTrainedModel(PreTrainedModel):
    config_class = MoorConfig
    base_model_prefix = "transformer"
    _supports_flash_attn_2 = True
    _supports_sdpa = True
    _supports_cache_class = True

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            module.weight.data.normal_(mean=0.0, std=0.02)


class MoorModel(MoorPreTrainedModel):
    def __init__(self, config: MoorConfig):
        super().__init__(config)
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.h = nn.ModuleList([MoorBlock(config, i) for i in range(config.n_layer)])
        self.ln_f = MoorRMSNorm(config.n_embd, config.rms_norm_eps)
        self.freqs_cis = precompute_freqs_cis(
            config.n_embd // config.n_head, config.max_position_embeddings * 2, config.rope_theta
        )
        self.post_init()

    def get_input_embeddings(self):
        return self.wte

    def _update_causal_mask(self, attention_mask, input_tensor, cache_position, past_seen_tokens):
        if self.config._attn_implementation == "flash_attention_2":
            if attention_mask is not None and 0.0 in attention_mask:
                return attention_mask
            return None
        dtype, device = input_tensor.dtype, input_tensor.device
        min_dtype = torch.finfo(dtype).min
        sequence_length = input_tensor.shape[1]
        target_length = (
            attention_mask.shape[-1]
            if isinstance(attention_mask, torch.Tensor)
            else past_seen_tokens + sequence_length
        )
        causal_mask = torch.full((sequence_length, target_length), fill_value=min_dtype, dtype=dtype, device=device)
        if sequence_length != 1:
            causal_mask = torch.triu(causal_mask, diagonal=1)
        causal_mask *= torch.arange(target_length, device=device) > cache_position.reshape(-1, 1)
        causal_mask = causal_mask[None, None, :, :].expand(input_tensor.shape[0], 1, -1, -1)
        if attention_mask is not None:
            causal_mask = causal_mask.clone()
            if attention_mask.dim() == 2:
                mask_length = attention_mask.shape[-1]
                padding_mask = causal_mask[..., :mask_length].eq(0.0) * attention_mask[:, None, None, :].eq(0.0)
                causal_mask[..., :mask_length] = causal_mask[..., :mask_length].masked_fill(padding_mask, min_dtype)
        return causal_mask

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        use_cache=None,
        output_attentions=None,
        output_hidden_states=None,
        return_dict=None,
        cache_position=None,
    ):
        output_attentions = output_attentions if output_attentions is not None else self.config.output_attentions
        use_cache = use_cache if use_cache is not None else self.config.use_cache
        return_dict = return_dict if return_dict is not None else self.config.use_return_dict
        if (input_ids is None) ^ (inputs_embeds is not None):
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.wte(input_ids)
        return_legacy_cache = False
        if use_cache and not isinstance(past_key_values, Cache):
            return_legacy_cache = past_key_values is not None
            past_key_values = DynamicCache()
        past_seen_tokens = past_key_values.get_seq_length() if past_key_values is not None else 0
        if cache_position is None:
            cache_position = torch.arange(
                past_seen_tokens, past_seen_tokens + inputs_embeds.shape[1], device=inputs_embeds.device
            )
        if position_ids is None:
            position_ids = cache_position.unsqueeze(0)
        causal_mask = self._update_causal_mask(attention_mask, inputs_embeds, cache_position, past_seen_tokens)
        freqs_cis = self.freqs_cis.to(inputs_embeds.device)[position_ids]
        x = inputs_embeds
        all_hidden_states = () if output_hidden_states else None
        all_self_attns = () if output_attentions else None
        next_decoder_cache = None
        for decoder_layer in self.h:
            if output_hidden_states:
                all_hidden_states += (x,)
            layer_outputs = decoder_layer(x, causal_mask, freqs_cis, past_key_values, output_attentions, cache_position)
            x = layer_outputs[0]
            if use_cache:
                next_decoder_cache = layer_outputs[2 if output_attentions else 1]
            if output_attentions:
                all_self_attns += (layer_outputs[1],)
        x = self.ln_f(x)
        next_cache = next_decoder_cache if use_cache else None
        if return_legacy_cache:
            next_cache = next_cache.to_legacy_cache()
        if not return_dict:
            return tuple(v for v in [x, next_cache, all_hidden_states, all_self_attns] if v is not None)
        return BaseModelOutputWithPast(
            last_hidden_state=x, past_key_values=next_cache, hidden_states=all_hidden_states, attentions=all_self_attns
        )


class MoorForCausalLM(MoorPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "transformer.wte.weight"}

    def __init__(self, config):
        super().__init__(config)
        self.transformer = MoorModel(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.transformer.wte

    def get_output_embeddings(self):
        return self.lm_head

    def forward(
        self,
        input_ids: torch.LongTensor = None,
        attention_mask: Optional[torch.Tensor] = None,
        position_ids: Optional[torch.LongTensor] = None,
        past_key_values: Optional[Cache] = None,
        inputs_embeds: Optional[torch.FloatTensor] = None,
        labels: Optional[torch.LongTensor] = None,
        use_cache: Optional[bool] = None,
        output_attentions: Optional[bool] = None,
        output_hidden_states: Optional[bool] = None,
        return_dict: Optional[bool] = None,
        cache_position: Optional[torch.LongTensor] = None,
    ) -> Tuple:
        return_dict = return_dict if return_dict is not None else self.config.use_return_dict
        outputs = self.transformer(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=return_dict,
            cache_position=cache_position,
        )
        hidden_states = outputs[0]
        logits = self.lm_head(hidden_states).float()
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[..., :-1, :].reshape(-1, logits.size(-1)), labels[..., 1:].reshape(-1))
        if not return_dict:
            output = (logits,) + outputs[1:]
            return (loss,) + output if loss is not None else output
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
