"""Feed-forward parts chosen from a table of classes; experts with a bias in their choice alone, one for all tokens behind a gate of its
own; einops for every change of axes."""

from typing import Optional

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import nn
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import CausalLMOutputWithPast, MoeModelOutputWithPast
from transformers.modeling_utils import PreTrainedModel

from .configuration_larch import LarchConfig


class LarchNorm(nn.RMSNorm):
    pass


class LarchRotary(nn.Module):
    def __init__(self, config: LarchConfig):
        super().__init__()
        self.dim, self.theta = config.head_dim, config.rope_theta

    def forward(self, position_ids):
        steps = torch.arange(0, self.dim, 2, dtype=torch.int64, device=position_ids.device).float()
        freqs = position_ids[:, :, None].float() * (self.theta ** -(steps / self.dim))
        return rearrange([freqs.cos(), freqs.sin()], "two b t d -> two b 1 t d")


def apply_rotary(x, rope):
    cos, sin = rope.to(x.dtype)
    a, b = rearrange(x, "b h t (two d) -> two b h t d", two=2)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class LarchAttention(nn.Module):
    def __init__(self, config: LarchConfig, layer_idx: int):
        super().__init__()
        self.layer_idx = layer_idx
        self.heads, self.kv_heads, self.dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, self.heads * self.dim, bias=False)
        self.kv_proj = nn.Linear(config.hidden_size, 2 * self.kv_heads * self.dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.dim, config.hidden_size, bias=False)
        self.q_norm = LarchNorm(self.dim, eps=config.norm_eps)
        self.k_norm = LarchNorm(self.dim, eps=config.norm_eps)

    def forward(self, x, rope, mask, past_key_values: Optional[Cache] = None):
        q = rearrange(self.q_proj(x), "b t (h d) -> b h t d", h=self.heads)
        k, v = rearrange(self.kv_proj(x), "b t (h two d) -> two b h t d", two=2, h=self.kv_heads)
        q, k = apply_rotary(self.q_norm(q), rope), apply_rotary(self.k_norm(k), rope)
        if past_key_values is not None:
            k, v = past_key_values.update(k, v, self.layer_idx)
        k, v = (repeat(t, "b h s d -> b (h n) s d", n=self.heads // self.kv_heads) for t in (k, v))
        scores = torch.einsum("bhtd,bhsd->bhts", q, k) * self.dim**-0.5
        if mask is not None:
            scores = scores + mask
        weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)
        return self.o_proj(rearrange(weights @ v, "b h t d -> b t (h d)"))


class LarchMLP(nn.Module):
    def __init__(self, config: LarchConfig, size: Optional[int] = None):
        super().__init__()
        size = size or config.intermediate_size
        self.w1 = nn.Linear(config.hidden_size, size, bias=False)
        self.w2 = nn.Linear(size, config.hidden_size, bias=False)
        self.w3 = nn.Linear(config.hidden_size, size, bias=False)

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class LarchRouter(nn.Module):
    def __init__(self, config: LarchConfig):
        super().__init__()
        self.top_k, self.scale = config.num_experts_per_tok, config.routed_scale
        self.weight = nn.Parameter(torch.zeros(config.num_experts, config.hidden_size))
        self.choice_bias = nn.Parameter(torch.zeros(config.num_experts))

    def forward(self, x):
        probs = torch.sigmoid(F.linear(x.float(), self.weight.float()))
        chosen = (probs + self.choice_bias.float()).topk(self.top_k, dim=-1, sorted=False).indices
        weights = probs.gather(-1, chosen)
        return chosen, (self.scale * weights / (weights.sum(-1, keepdim=True) + 1e-20)).to(x.dtype)


class LarchSparse(nn.Module):
    def __init__(self, config: LarchConfig):
        super().__init__()
        self.router = LarchRouter(config)
        self.experts = nn.ModuleList([LarchMLP(config, config.moe_intermediate_size) for _ in range(config.num_experts)])
        self.shared = LarchMLP(config, 2 * config.moe_intermediate_size)
        self.shared_gate = nn.Linear(config.hidden_size, 1, bias=True)

    def forward(self, x):
        flat = rearrange(x, "b t d -> (b t) d")
        chosen, weights = self.router(flat)
        out = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            rows, slots = torch.where(chosen == number)
            if rows.numel() == 0:
                continue
            out.index_add_(0, rows, expert(flat[rows]) * weights[rows, slots, None])
        out = out + torch.sigmoid(self.shared_gate(flat)) * self.shared(flat)
        return rearrange(out, "(b t) d -> b t d", b=x.shape[0])


FEED_FORWARDS = {"dense": LarchMLP, "sparse": LarchSparse}


class LarchLayer(nn.Module):
    def __init__(self, config: LarchConfig, layer_idx: int):
        super().__init__()
        self.attn_norm = LarchNorm(config.hidden_size, eps=config.norm_eps)
        self.ffn_norm = LarchNorm(config.hidden_size, eps=config.norm_eps)
        self.attn = LarchAttention(config, layer_idx)
        self.ffn = FEED_FORWARDS[config.mlp_kinds[layer_idx]](config)

    def forward(self, x, rope, mask, past_key_values=None):
        x = x + self.attn(self.attn_norm(x), rope, mask, past_key_values)
        return x + self.ffn(self.ffn_norm(x))


class LarchPreTrainedModel(PreTrainedModel):
    config_class = LarchConfig
    base_model_prefix = "model"


class LarchModel(LarchPreTrainedModel):
    def __init__(self, config: LarchConfig):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([LarchLayer(config, i) for i in range(config.num_hidden_layers)])
        self.norm = LarchNorm(config.hidden_size, eps=config.norm_eps)
        self.rotary = LarchRotary(config)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed_tokens

    def forward(
        self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, inputs_embeds=None, use_cache=None, **kwargs
    ):
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        if position_ids is None:
            seen = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = torch.arange(inputs_embeds.shape[1], device=inputs_embeds.device).unsqueeze(0) + seen
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        rope = self.rotary(position_ids)
        x = inputs_embeds
        for layer in self.layers:
            x = layer(x, rope, mask, past_key_values)
        return MoeModelOutputWithPast(last_hidden_state=self.norm(x), past_key_values=past_key_values)


class LarchForCausalLM(LarchPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: LarchConfig):
        super().__init__(config)
        self.model = LarchModel(config)
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
        logits = self.lm_head(outputs.last_hidden_state)
        return CausalLMOutputWithPast(logits=logits, past_key_values=outputs.past_key_values)
