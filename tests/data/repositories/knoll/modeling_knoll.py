"""Several lanes of the residual, read, written and mixed by weights that the lanes themselves determine; one fused in_proj with its
bias as bare parameters; a bias by buckets of the distance in every layer; einsum and einops for every product."""

import math
from typing import Optional

import torch
from einops import rearrange, reduce, repeat
from torch import einsum, nn
from torch.nn import functional as F
from transformers import DynamicCache, PreTrainedModel
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_knoll import KnollConfig


class ScaleNorm(nn.Module):
    """Of unit length, times the root of the width, times what is learned."""

    def __init__(self, dim, eps):
        super().__init__()
        self.g = nn.Parameter(torch.ones(dim))
        self.scale, self.eps = dim**0.5, eps

    def forward(self, x):
        length = x.pow(2).sum(dim=-1, keepdim=True).sqrt().clamp(min=self.eps)
        return x / length * self.scale * self.g


class RelativeBias(nn.Module):
    def __init__(self, heads, buckets, furthest):
        super().__init__()
        self.buckets, self.furthest = buckets, furthest
        self.table = nn.Embedding(buckets, heads)

    @staticmethod
    def bucket(distance, buckets, furthest):
        exact = buckets // 2
        far = (
            exact
            + (torch.log(distance.float().clamp(min=1) / exact) / math.log(furthest / exact) * (buckets - exact)).long()
        )
        return torch.where(distance < exact, distance, torch.minimum(far, torch.full_like(far, buckets - 1)))

    def forward(self, n_query, n_key, device):
        query = torch.arange(n_key - n_query, n_key, device=device)
        key = torch.arange(n_key, device=device)
        distance = (rearrange(query, "i -> i 1") - rearrange(key, "j -> 1 j")).clamp(min=0)
        return rearrange(self.table(self.bucket(distance, self.buckets, self.furthest)), "i j h -> 1 h i j")


class FusedAttention(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        dim = config.embed_dim
        self.heads, self.layer_idx = config.attention_heads, layer_idx
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        self.bias = RelativeBias(config.attention_heads, config.relative_buckets, config.relative_max)
        self.gain = nn.Parameter(torch.zeros(config.attention_heads))
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x, mask, cache=None):
        q, k, v = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        q, k, v = map(lambda t: rearrange(t, "b n (h d) -> b h n d", h=self.heads), (q, k, v))
        if cache is not None:
            k, v = cache.update(k, v, self.layer_idx)
        scores = einsum("b h i d, b h j d -> b h i j", q * q.shape[-1] ** -0.5, k)
        scores = scores * rearrange(self.gain.exp(), "h -> h 1 1") + self.bias(q.shape[-2], k.shape[-2], x.device)
        scores = scores.masked_fill(~mask, -torch.finfo(scores.dtype).max)
        out = einsum("b h i j, b h j d -> b h i d", scores.softmax(dim=-1), v)
        return self.out_proj(rearrange(out, "b h n d -> b n (h d)"))


class FeedForward(nn.Sequential):
    def __init__(self, dim, inner):
        super().__init__(nn.Linear(dim, inner), nn.GELU(), nn.Linear(inner, dim))


class Lanes(nn.Module):
    """[B, T, N, D]: what a block reads of N lanes, and how what it gives is put back."""

    def __init__(self, config, first):
        super().__init__()
        n, dim = config.lanes, config.embed_dim
        self.norm = nn.LayerNorm(dim, eps=config.norm_eps)
        self.static_beta = nn.Parameter(torch.ones(n))
        alpha = torch.zeros(n, 1)
        alpha[first % n, 0] = 1.0
        self.static_alpha = nn.Parameter(torch.cat([alpha, torch.eye(n)], dim=1))
        self.dynamic_alpha = nn.Parameter(torch.zeros(dim, n + 1))
        self.dynamic_beta = nn.Parameter(torch.zeros(dim))
        self.alpha_scale = nn.Parameter(torch.ones(1) * 1e-2)
        self.beta_scale = nn.Parameter(torch.ones(1) * 1e-2)

    def read(self, lanes):
        normed = self.norm(lanes)
        alpha = (
            torch.tanh(einsum("b t n d, d m -> b t n m", normed, self.dynamic_alpha)) * self.alpha_scale
            + self.static_alpha
        )
        beta = torch.tanh(normed @ self.dynamic_beta) * self.beta_scale + self.static_beta
        mixed = einsum("b t n m, b t n d -> b t m d", alpha, lanes)
        return mixed[..., 0, :], mixed[..., 1:, :], beta

    def forward(self, lanes, block):
        x, rest, beta = self.read(lanes)
        return rest + einsum("b t d, b t n -> b t n d", block(x), beta)


class KnollLayer(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.attn_lanes, self.ffn_lanes = Lanes(config, 2 * layer_idx), Lanes(config, 2 * layer_idx + 1)
        self.attn_norm, self.ffn_norm = (ScaleNorm(config.embed_dim, config.norm_eps) for _ in range(2))
        self.attn = FusedAttention(config, layer_idx)
        self.ffn = FeedForward(config.embed_dim, config.ffn_embed_dim)

    def forward(self, lanes, mask, cache=None):
        lanes = self.attn_lanes(lanes, lambda x: self.attn(self.attn_norm(x), mask, cache))
        return self.ffn_lanes(lanes, lambda x: self.ffn(self.ffn_norm(x)))


class KnollForCausalLM(PreTrainedModel, GenerationMixin):
    config_class = KnollConfig

    def __init__(self, config):
        super().__init__(config)
        self.token_emb = nn.Embedding(config.vocab_size, config.embed_dim)
        self.layers = nn.ModuleList()
        for i in range(config.num_layers):
            self.layers.append(KnollLayer(config, i))
        self.norm = ScaleNorm(config.embed_dim, config.norm_eps)
        self.to_logits = nn.Linear(config.embed_dim, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.token_emb

    def forward(
        self,
        input_ids=None,
        attention_mask: Optional[torch.Tensor] = None,
        past_key_values=None,
        use_cache=None,
        **kwargs,
    ):
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache()
        past = 0 if past_key_values is None else past_key_values.get_seq_length()
        n = input_ids.shape[-1]
        mask = (
            torch.arange(past + n, device=input_ids.device)[None]
            <= torch.arange(past, past + n, device=input_ids.device)[:, None]
        )
        mask = rearrange(mask, "i j -> 1 1 i j")
        if attention_mask is not None:
            mask = mask & rearrange(attention_mask.bool(), "b j -> b 1 1 j")
        lanes = repeat(self.token_emb(input_ids), "b t d -> b t n d", n=self.config.lanes)
        for layer in self.layers:
            lanes = layer(lanes, mask, cache=past_key_values)
        x = self.norm(reduce(lanes, "b t n d -> b t d", "sum"))
        return CausalLMOutputWithPast(
            logits=self.to_logits(x) * self.config.multiplier, past_key_values=past_key_values
        )
