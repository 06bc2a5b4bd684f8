"""A state of each head that fades at a fixed rate, computed for all tokens at once and carried between calls; each part also sees the
token before through a learned share of each channel; norms of groups, a gate, and a cache that is a list of dicts."""

from typing import Any, Dict, List, NamedTuple, Optional

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PretrainedConfig, PreTrainedModel
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast


class ScreeConfig(PretrainedConfig):
    model_type = "scree"

    def __init__(
        self,
        vocab_size=32000,
        width=1024,
        depth=12,
        heads=8,
        key_size=64,
        value_size=128,
        expand=3,
        group_eps=1e-5,
        **kwargs,
    ):
        self.vocab_size, self.width, self.depth, self.heads = vocab_size, width, depth, heads
        self.key_size, self.value_size, self.expand, self.group_eps = key_size, value_size, expand, group_eps
        super().__init__(**kwargs)

    @property
    def hidden_size(self):
        return self.width

    @property
    def num_hidden_layers(self):
        return self.depth


class Decays(NamedTuple):
    """Powers of a head's rate: between tokens, since the state was left, and until it is left again."""

    within: torch.Tensor
    since: torch.Tensor
    until: torch.Tensor
    whole: torch.Tensor


class Shift(nn.Module):
    """x, and some of the token before it."""

    def __init__(self, width):
        super().__init__()
        self.mix = nn.Parameter(torch.full((width,), 0.5))

    def forward(self, x, before):
        before = torch.cat([before[:, None], x[:, :-1]], dim=1)
        return torch.lerp(x, before, self.mix), x[:, -1]


class Retention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, self.key_size, self.value_size = config.heads, config.key_size, config.value_size
        self.shift = Shift(config.width)
        self.query = nn.Linear(config.width, self.heads * self.key_size, bias=False)
        self.key = nn.Linear(config.width, self.heads * self.key_size, bias=False)
        self.value = nn.Linear(config.width, self.heads * self.value_size, bias=False)
        self.gate = nn.Linear(config.width, self.heads * self.value_size, bias=False)
        self.norm = nn.GroupNorm(self.heads, self.heads * self.value_size, eps=config.group_eps)
        self.out = nn.Linear(self.heads * self.value_size, config.width, bias=False)

    def decays(self, length: int, like: torch.Tensor) -> Decays:
        rate = torch.log1p(-torch.exp2(-5.0 - torch.arange(self.heads, device=like.device, dtype=torch.float32)))
        place = torch.arange(length, device=like.device, dtype=torch.float32)
        apart = place[:, None] - place[None, :]
        within = torch.exp(rate[:, None, None] * apart.clamp(min=0)) * (apart >= 0)
        since = torch.exp(rate[:, None] * (place + 1))
        until = torch.exp(rate[:, None] * (length - 1 - place))
        return Decays(*(part.to(like.dtype) for part in (within, since, until, torch.exp(rate * length))))

    def forward(self, x, state: Dict[str, Any]):
        batch, length, _ = x.shape
        x, state["token"] = self.shift(x, state["token"])
        q = self.query(x).view(batch, length, self.heads, self.key_size)
        k = self.key(x).view(batch, length, self.heads, self.key_size) * self.key_size**-0.5
        v = self.value(x).view(batch, length, self.heads, self.value_size)
        decays = self.decays(length, x)
        y = torch.einsum("bthk,bshk,hts,bshv->bthv", q, k, decays.within, v)
        y = y + torch.einsum("bthk,bhkv,ht->bthv", q, state["memory"], decays.since)
        state["memory"] = state["memory"] * decays.whole[None, :, None, None] + torch.einsum(
            "bshk,hs,bshv->bhkv", k, decays.until, v
        )
        y = self.norm(y.reshape(batch * length, -1)).view(batch, length, -1)
        return self.out(y * F.silu(self.gate(x)))


class ChannelMix(nn.Module):
    def __init__(self, config):
        super().__init__()
        inner = config.expand * config.width
        self.shift = Shift(config.width)
        self.up, self.down = nn.Linear(config.width, inner, bias=False), nn.Linear(inner, config.width, bias=False)
        self.receive = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x, state):
        shifted, state["channel"] = self.shift(x, state["channel"])
        return torch.sigmoid(self.receive(x)) * self.down(F.relu(self.up(shifted)) ** 2)


class ScreeBlock(nn.Module):
    def __init__(self, config):
        super().__init__()
        for name in ("ln1", "ln2"):
            self.add_module(name, nn.LayerNorm(config.width))
        self.retention, self.channel = Retention(config), ChannelMix(config)

    def forward(self, x, state):
        x = x + self.retention(self.ln1(x), state)
        x = x + self.channel(self.ln2(x), state)
        return x


class ScreeForCausalLM(PreTrainedModel, GenerationMixin):
    config_class = ScreeConfig
    _is_stateful = True

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.width)
        self.ln0 = nn.LayerNorm(config.width)
        self.blocks = nn.ModuleList([ScreeBlock(config) for _ in range(config.depth)])
        self.ln_out = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed

    def initial_state(self, x: torch.Tensor) -> List[Dict[str, torch.Tensor]]:
        config, batch = self.config, x.shape[0]
        return [
            {
                "token": x.new_zeros(batch, config.width),
                "channel": x.new_zeros(batch, config.width),
                "memory": x.new_zeros(batch, config.heads, config.key_size, config.value_size),
            }
            for _ in self.blocks
        ]

    def forward(
        self,
        input_ids,
        past_key_values: Optional[List[Dict[str, torch.Tensor]]] = None,
        use_cache: Optional[bool] = None,
        **kwargs,
    ):
        x = self.ln0(self.embed(input_ids))
        states = self.initial_state(x) if past_key_values is None else past_key_values
        for block, state in zip(self.blocks, states):
            x = block(x, state)
        return CausalLMOutputWithPast(logits=self.head(self.ln_out(x)), past_key_values=states if use_cache else None)
