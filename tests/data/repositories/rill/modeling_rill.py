"""A letter for each layer: short convolutions that keep their tail, windows and whole attention by scaled_dot_product_attention with
arguments of its own, chosen from a registry of classes; what a layer keeps is a tuple."""

import functools
from typing import Dict, List, Optional, Tuple, Type

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_rill import RillConfig

MIXERS: Dict[str, Type[nn.Module]] = {}


def register(*names):
    def wrap(cls):
        for name in names:
            MIXERS[name] = cls
        return cls

    return wrap


def rope_table(positions: Tensor, rope, dim: int) -> Tuple[Tensor, Tensor]:
    freqs = rope.base ** (-torch.arange(0, dim, 2, device=positions.device, dtype=torch.float32) / dim)
    angles = torch.einsum("t,f->tf", positions.to(torch.float32), freqs)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """[B, N, T, H]: even channels with odd ones, of the first part of a head."""
    dim = 2 * cos.shape[-1]
    turning, rest = x[..., :dim], x[..., dim:]
    even, odd = turning[..., 0::2], turning[..., 1::2]
    turned = torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2)
    return torch.cat((turned.to(x.dtype), rest), dim=-1)


@register("conv")
class ConvMixer(nn.Module):
    def __init__(self, config: RillConfig, kind: str):
        super().__init__()
        self.kernel = config.conv_kernel
        self.in_proj = nn.Linear(config.d_model, 3 * config.d_model, bias=False)
        self.conv = nn.Conv1d(config.d_model, config.d_model, self.kernel, groups=config.d_model, bias=True)
        self.out_proj = nn.Linear(config.d_model, config.d_model, bias=False)

    def forward(self, x: Tensor, *, past: Optional[Tuple[Tensor]] = None, **unused) -> Tuple[Tensor, Tuple[Tensor]]:
        b, c, x = self.in_proj(x).chunk(3, dim=-1)
        y = (b * x).transpose(1, 2)
        y = F.pad(y, (self.kernel - 1, 0)) if past is None else torch.cat([past[0], y], dim=-1)
        tail = y[..., -(self.kernel - 1) :]
        return self.out_proj(c * self.conv(y).transpose(1, 2)), (tail,)


@register("window", "full")
class Attention(nn.Module):
    def __init__(self, config: RillConfig, kind: str):
        super().__init__()
        self.n_heads, self.n_kv_heads, self.head_size = config.n_heads, config.n_kv_heads, config.head_size
        self.window = config.window if kind == "window" else None
        widths = [self.n_heads * self.head_size] + [self.n_kv_heads * self.head_size] * 2
        self.widths = widths
        self.wqkv = nn.Linear(config.d_model, sum(widths), bias=True)
        self.wo = nn.Linear(widths[0], config.d_model, bias=False)
        self.q_scale = nn.Parameter(torch.ones(self.n_heads, 1, self.head_size))
        self.k_scale = nn.Parameter(torch.ones(self.n_kv_heads, 1, self.head_size))

    def split_heads(self, x: Tensor, n: int) -> Tensor:
        return x.unflatten(-1, (n, self.head_size)).transpose(1, 2)

    def forward(self, x: Tensor, *, rope, past: Optional[Tuple[Tensor, Tensor]] = None):
        q, k, v = torch.split(self.wqkv(x), self.widths, dim=-1)
        q, k, v = (
            self.split_heads(q, self.n_heads),
            self.split_heads(k, self.n_kv_heads),
            self.split_heads(v, self.n_kv_heads),
        )
        q = F.normalize(q, dim=-1) * self.q_scale
        k = F.normalize(k, dim=-1) * self.k_scale
        q, k = rotate(q, *rope), rotate(k, *rope)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        T, S = q.shape[2], k.shape[2]
        options = dict(scale=4.0, enable_gqa=self.n_heads != self.n_kv_heads)
        if self.window is None and past is None:
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True, **options)
        else:
            distance = torch.arange(S - T, S, device=x.device).unsqueeze(1) - torch.arange(
                S, device=x.device
            ).unsqueeze(0)
            seen = distance >= 0
            if self.window is not None:
                seen &= distance < self.window
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, **options)
        return self.wo(out.transpose(1, 2).flatten(2)), (k, v)


def swiglu_mlp(width: int, inner: int) -> nn.ModuleDict:
    linear = functools.partial(nn.Linear, bias=False)
    return nn.ModuleDict(
        {
            "gate": nn.Sequential(linear(width, inner), nn.SiLU()),
            "up": linear(width, inner),
            "down": linear(inner, width),
        }
    )


class RillLayer(nn.Module):
    def __init__(self, config: RillConfig, kind: str):
        super().__init__()
        Norm = functools.partial(nn.RMSNorm, config.d_model, eps=1e-5)
        self.norms = nn.ModuleDict({name: Norm() for name in ("mixer", "mlp")})
        self.mixer = MIXERS[kind](config, kind)
        self.mlp = swiglu_mlp(config.d_model, config.d_ff)

    def forward(self, x: Tensor, **context):
        mixed, present = self.mixer(self.norms["mixer"](x), **context)
        x = x + mixed
        h = self.norms["mlp"](x)
        return x + self.mlp["down"](self.mlp["gate"](h) * self.mlp["up"](h)), present


class RillForCausalLM(PreTrainedModel, GenerationMixin):
    config_class = RillConfig

    def __init__(self, config: RillConfig):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList(RillLayer(config, kind) for kind in config.kinds)
        self.final = nn.RMSNorm(config.d_model, eps=1e-5)
        self.unembed = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed

    @staticmethod
    def seen_so_far(past: Optional[List[tuple]]) -> int:
        return 0 if past is None else next(entry[0].shape[2] for entry in past if len(entry) == 2)

    def forward(
        self, input_ids, past_key_values: Optional[List[tuple]] = None, use_cache: Optional[bool] = None, **kwargs
    ):
        start = self.seen_so_far(past_key_values)
        rope = self.config.rope_ns
        dim = int(self.config.head_size * rope.fraction) // 2 * 2
        table = rope_table(torch.arange(start, start + input_ids.size(1), device=input_ids.device), rope, dim)
        x = self.embed(input_ids) * self.config.embed_scale
        presents = []
        for block, past in zip(self.blocks, past_key_values or [None] * len(self.blocks)):
            x, present = block(x, rope=table, past=past)
            presents += [present]
        logits = self.unembed(self.final(x))
        return CausalLMOutputWithPast(logits=logits, past_key_values=presents if use_cache else None)
