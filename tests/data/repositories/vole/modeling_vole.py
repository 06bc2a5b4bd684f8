"""Experts in parameter lists, of which each token has some by a sigmoid and all of a shared few; every expert computes and a sparse
weight of zeros puts out the rest; sub-configurations, builders that are class methods, norms on both sides of each part."""

from functools import partial
from typing import Any, Callable, Dict, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import nn
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel

from .configuration_vole import VoleConfig

ACTS: Dict[str, Callable] = {"silu": F.silu, "gelu": F.gelu, "gelu_tanh": partial(F.gelu, approximate="tanh")}


def build_mask(n_query: int, n_key: int, padding: Optional[torch.Tensor], dtype: torch.dtype, device) -> torch.Tensor:
    full = torch.full((n_query, n_key), float("-inf"), dtype=dtype, device=device)
    mask = torch.triu(full, diagonal=n_key - n_query + 1)[None, None]
    if padding is not None:
        mask = mask.masked_fill(padding[:, None, None, :] == 0, torch.finfo(dtype).min)
    return mask.clamp(min=torch.finfo(dtype).min)


class ZeroCenteredNorm(nn.Module):
    def __init__(self, dim, eps=1e-6):
        super().__init__()
        self.dim, self.eps = (dim,), eps
        self.delta = nn.Parameter(torch.zeros(dim))

    @property
    def weight(self):
        return 1.0 + self.delta

    def forward(self, x):
        return F.layer_norm(x, self.dim, self.weight, None, self.eps)


class Rotary(nn.Module):
    def __init__(self, dim, base):
        super().__init__()
        self.register_buffer("inv_freq", base ** -(torch.arange(0, dim, 2, dtype=torch.float) / dim), persistent=False)

    @torch.no_grad()
    def forward(self, position_ids):
        angles = position_ids[..., None].float() * self.inv_freq
        return {
            "cos": angles.cos().repeat_interleave(2, -1)[:, None],
            "sin": angles.sin().repeat_interleave(2, -1)[:, None],
        }

    @staticmethod
    def turn(x, cos, sin):
        pairs = x.view(*x.shape[:-1], -1, 2)
        swapped = torch.stack([-pairs[..., 1], pairs[..., 0]], dim=-1).view_as(x)
        return x * cos.to(x.dtype) + swapped * sin.to(x.dtype)


class VoleAttention(nn.Module):
    def __init__(self, config: VoleConfig, layer_idx: int):
        super().__init__()
        self.layer_idx = layer_idx
        self.cfg = cfg = config.attention
        self.repeats = cfg.num_heads // cfg.num_groups
        self.proj = nn.ModuleDict(
            {
                name: nn.Linear(config.hidden_size, n * cfg.head_size, bias=name == "k")
                for name, n in (("q", cfg.num_heads), ("k", cfg.num_groups), ("v", cfg.num_groups))
            }
        )
        self.proj["o"] = nn.Linear(cfg.num_heads * cfg.head_size, config.hidden_size, bias=False)
        if cfg.out_gate:
            self.gate = nn.Linear(config.hidden_size, cfg.num_heads)
        self.norms = nn.ModuleList([ZeroCenteredNorm(cfg.head_size, config.norm_eps) for _ in "qk"])

    def heads(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return self.proj[name](x).view(*x.shape[:2], -1, self.cfg.head_size).transpose(1, 2)

    def forward(self, x, rope: Dict[str, torch.Tensor], mask: torch.Tensor, cache: Optional[Cache] = None):
        q, k, v = (self.heads(name, x) for name in "qkv")
        q, k = (Rotary.turn(norm(t), **rope) for norm, t in zip(self.norms, (q, k)))
        if cache is not None:
            k, v = cache.update(k, v, self.layer_idx)
        k, v = k.repeat_interleave(self.repeats, dim=1), v.repeat_interleave(self.repeats, dim=1)
        scores = torch.baddbmm(
            mask.expand(q.shape[0], q.shape[1], -1, -1).reshape(-1, q.shape[2], k.shape[2]),
            q.reshape(-1, *q.shape[2:]),
            k.reshape(-1, *k.shape[2:]).mT,
            alpha=self.cfg.head_size**-0.5,
        )
        out = torch.bmm(F.softmax(scores, dim=-1), v.reshape(-1, *v.shape[2:])).view_as(q).transpose(1, 2)
        if self.cfg.out_gate:
            out = out * 2 * torch.sigmoid(self.gate(x)).unsqueeze(-1)
        return self.proj["o"](out.flatten(start_dim=-2))


class GatedMLP(nn.Module):
    def __init__(self, dim, width, act):
        super().__init__()
        self.w13 = nn.Linear(dim, 2 * width, bias=False)
        self.w2 = nn.Linear(width, dim, bias=False)
        self.act = ACTS[act]

    @classmethod
    def build(cls, config: VoleConfig, layer_idx: int):
        if config.experts.is_dense(layer_idx):
            return cls(config.hidden_size, config.experts.dense_width, config.act)
        return VoleExperts(config)

    def forward(self, x):
        a, b = torch.tensor_split(self.w13(x), 2, dim=-1)
        return self.w2(self.act(a) * b)


class VoleExperts(nn.Module):
    def __init__(self, config: VoleConfig):
        super().__init__()
        cfg = config.experts
        self.active, self.scale, self.act = cfg.active, cfg.route_scale, ACTS[config.act]
        self.router = nn.Parameter(torch.randn(cfg.count, config.hidden_size) * 0.02)
        self.register_buffer("balance", torch.zeros(cfg.count))
        self.w_in = nn.ParameterList([torch.randn(config.hidden_size, 2 * cfg.width) * 0.02 for _ in range(cfg.count)])
        self.w_out = nn.ParameterList([torch.randn(cfg.width, config.hidden_size) * 0.02 for _ in range(cfg.count)])
        self.shared = GatedMLP(config.hidden_size, cfg.shared * cfg.width, config.act) if cfg.shared else None

    def route(self, x) -> Tuple[torch.Tensor, torch.Tensor]:
        scores = torch.sigmoid(F.linear(x.float(), self.router.float()))
        index = (scores + self.balance).topk(self.active, dim=-1, sorted=False).indices
        weight = scores.gather(-1, index)
        return index, weight / (weight.sum(-1, keepdim=True) + 1e-9) * self.scale

    def forward(self, x):
        index, weight = self.route(x)
        share = torch.zeros(*x.shape[:-1], len(self.w_in), dtype=weight.dtype, device=x.device).scatter_(
            -1, index, weight
        )
        h = torch.einsum("btd,edf->btef", x, torch.stack(list(self.w_in)))
        gate, up = h.chunk(2, dim=-1)
        y = torch.einsum("btef,efd,bte->btd", self.act(gate) * up, torch.stack(list(self.w_out)), share.to(x.dtype))
        return y if self.shared is None else y + self.shared(x)


class VoleLayer(nn.Module):
    def __init__(self, config: VoleConfig, layer_idx: int):
        super().__init__()
        norm = partial(ZeroCenteredNorm, config.hidden_size, eps=config.norm_eps)
        self.before_attn, self.after_attn, self.before_ffn, self.after_ffn = norm(), norm(), norm(), norm()
        self.attn = VoleAttention(config, layer_idx)
        self.ffn = GatedMLP.build(config, layer_idx)
        self.scale = config.residual_scale

    def residual(self, x, part: Callable, before: nn.Module, after: nn.Module, *args: Any, **kwargs: Any):
        return torch.add(x, after(part(before(x), *args, **kwargs)), alpha=self.scale)

    def forward(self, x, **context):
        x = self.residual(x, self.attn, self.before_attn, self.after_attn, **context)
        return self.residual(x, self.ffn, self.before_ffn, self.after_ffn)


class VoleForCausalLM(PreTrainedModel, GenerationMixin):
    config_class = VoleConfig
    _tied_weights_keys = {"lm_head.weight": "embed.weight"}

    def __init__(self, config: VoleConfig):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.embed_norm = ZeroCenteredNorm(config.hidden_size)
        self.rotary = Rotary(config.attention.head_size, config.attention.rotary_base)
        self.layers = nn.ModuleList(map(partial(VoleLayer, config), range(config.num_hidden_layers)))
        self.norm = ZeroCenteredNorm(config.hidden_size, config.norm_eps)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed

    def get_output_embeddings(self):
        return self.lm_head

    def forward(
        self,
        input_ids: Optional[torch.LongTensor] = None,
        attention_mask: Optional[torch.Tensor] = None,
        position_ids: Optional[torch.LongTensor] = None,
        past_key_values: Optional[Cache] = None,
        use_cache: Optional[bool] = None,
        **kwargs,
    ) -> CausalLMOutputWithPast:
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        x = self.embed_norm(self.embed(input_ids))
        if position_ids is None:
            position_ids = torch.arange(past, past + x.shape[1], device=x.device).unsqueeze(0)
        context = {
            "rope": self.rotary(position_ids),
            "mask": build_mask(x.shape[1], past + x.shape[1], attention_mask, x.dtype, x.device),
            "cache": past_key_values,
        }
        for layer in self.layers:
            x = layer(x, **context)
        logits = self.lm_head(self.norm(x)).div(self.config.logit_divisor)
        return CausalLMOutputWithPast(logits=logits, past_key_values=past_key_values)
