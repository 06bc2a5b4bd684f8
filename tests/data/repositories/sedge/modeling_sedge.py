"""A small trainer's model with a wrapper around it: settings in a dataclass, a triangle as a buffer, unit queries and keys, values
mixed with those of the first layer, and each layer reading a learned mixture of all that came before it."""

from dataclasses import dataclass, fields
from typing import Optional

import torch
import torch.nn as nn
import torch.nn.functional as F
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_sedge import SedgeConfig


@dataclass
class Settings:
    vocab_size: int
    n_embd: int
    n_layer: int
    n_head: int
    block_size: int
    rope_base: float = 10000.0
    mlp_ratio: int = 4

    @classmethod
    def from_hf(cls, config):
        return cls(**{field.name: getattr(config, field.name) for field in fields(cls)})

    @property
    def head_dim(self) -> int:
        return self.n_embd // self.n_head


def norm(x):
    return F.rms_norm(x, (x.size(-1),))


def precompute_freqs_cis(dim: int, end: int, theta: float) -> torch.Tensor:
    freqs = 1.0 / (theta ** (torch.arange(0, dim, 2)[: (dim // 2)].float() / dim))
    freqs = torch.outer(torch.arange(end, dtype=torch.float32), freqs)
    return torch.polar(torch.ones_like(freqs), freqs)


def apply_rotary(x: torch.Tensor, freqs_cis: torch.Tensor) -> torch.Tensor:
    turned = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2)) * freqs_cis[None, :, None, :]
    return torch.view_as_real(turned).flatten(-2).type_as(x)


class CausalSelfAttention(nn.Module):
    def __init__(self, args: Settings, layer_id: int):
        super().__init__()
        assert args.n_embd % args.n_head == 0, "heads must divide the width"
        self.n_head, self.head_dim, self.n_embd = args.n_head, args.head_dim, args.n_embd
        self.c_attn = nn.Linear(args.n_embd, 3 * args.n_embd, bias=False)
        self.c_proj = nn.Linear(args.n_embd, args.n_embd, bias=False)
        self.lambdas = nn.Parameter(torch.tensor([0.5, 0.5])) if layer_id > 0 else None
        self.register_buffer(
            "tril", torch.tril(torch.ones(args.block_size, args.block_size, dtype=torch.bool)), persistent=False
        )

    def forward(self, x, v1, freqs_cis, layer_past=None):
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(self.n_embd, dim=2)
        q, k, v = (t.view(B, T, self.n_head, self.head_dim) for t in (q, k, v))
        if v1 is None:
            v1 = v
        if self.lambdas is not None:
            v = self.lambdas[0] * v + self.lambdas[1] * v1.view_as(v)
        q, k = apply_rotary(norm(q), freqs_cis), apply_rotary(norm(k), freqs_cis)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if layer_past is not None:
            past_k, past_v = layer_past
            k = torch.cat((past_k, k), dim=-2)
            v = torch.cat((past_v, v), dim=-2)
        S = k.size(-2)
        att = (q @ k.transpose(-2, -1)) * (1.0 / self.head_dim**0.5)
        att = att.masked_fill(self.tril[S - T : S, :S].logical_not(), float("-inf"))
        y = F.softmax(att, dim=-1) @ v
        y = y.transpose(1, 2).contiguous().view(B, T, C)
        return self.c_proj(y), v1, (k, v)


class MLP(nn.Module):
    def __init__(self, args: Settings):
        super().__init__()
        self.c_fc = nn.Linear(args.n_embd, args.mlp_ratio * args.n_embd, bias=False)
        self.c_proj = nn.Linear(args.mlp_ratio * args.n_embd, args.n_embd, bias=False)

    def forward(self, x):
        return self.c_proj(F.relu(self.c_fc(x)).square())


class Block(nn.Module):
    def __init__(self, args: Settings, layer_id: int):
        super().__init__()
        self.attn = CausalSelfAttention(args, layer_id)
        self.mlp = MLP(args)

    def forward(self, x, v1, freqs_cis, layer_past=None):
        y, v1, present = self.attn(norm(x), v1, freqs_cis, layer_past)
        x = x + y
        return x + self.mlp(norm(x)), v1, present


class SedgeForCausalLM(PreTrainedModel, GenerationMixin):
    config_class = SedgeConfig
    base_model_prefix = "transformer"

    def __init__(self, config: SedgeConfig):
        super().__init__(config)
        self.args = args = Settings.from_hf(config)
        self.wte = nn.Embedding(args.vocab_size, args.n_embd)
        for i in range(args.n_layer):
            setattr(self, f"layer_{i}", Block(args, i))
        self.depth_weights = nn.ParameterList([nn.Parameter(torch.zeros(i + 2)) for i in range(args.n_layer)])
        freqs_cis = precompute_freqs_cis(args.head_dim, args.block_size, args.rope_base)
        self.register_buffer("freqs_cis", freqs_cis, persistent=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.wte

    def forward(
        self, input_ids: torch.LongTensor, past_key_values: Optional[tuple] = None, use_cache: bool = False, **kwargs
    ):
        start = 0 if past_key_values is None else past_key_values[0][0].shape[-2]
        if (end := start + input_ids.shape[1]) > self.args.block_size:
            raise ValueError(f"{end} tokens are more than the {self.args.block_size} of a block")
        freqs_cis = self.freqs_cis[start:end]
        x = norm(self.wte(input_ids))
        history, presents, v1 = [x], [], None
        for i in range(self.args.n_layer):
            layer = getattr(self, f"layer_{i}")
            past = None if past_key_values is None else past_key_values[i]
            x, v1, present = layer(x, v1, freqs_cis, past)
            history.append(x)
            presents.append(present)
            x = sum(w * h for w, h in zip(self.depth_weights[i], history))
        logits = F.linear(norm(x), self.wte.weight)
        logits = self.config.logit_cap * torch.tanh(logits.float() / self.config.logit_cap)
        return CausalLMOutputWithPast(logits=logits, past_key_values=tuple(presents) if use_cache else None)
