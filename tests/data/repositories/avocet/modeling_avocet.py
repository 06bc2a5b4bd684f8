"""A trainer's model in a wrapper: parts in a dict, among them the list of layers and what drops; tables that all modules share in a dict
of their own; a mask that hides nothing is taken away; what must not be narrowed is kept from autocast by name."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from .configuration_avocet import AvocetConfig, Bias


class Tables(dict):
    """Tensors that are no buffers, so that nobody saves them."""


class Drop(nn.Dropout):
    def forward(self, x):
        return x if self.p == 0.0 else F.dropout(x, self.p, self.training)


class Turn(nn.Module):
    def __init__(self, sizes, tables):
        super().__init__()
        self.sizes = sizes
        self.__tables = tables
        if tables.get("angles") is None:
            half = sizes.width // sizes.heads // 2
            rates = 50.0 ** -(torch.arange(half) / half)
            tables["angles"] = torch.arange(sizes.room)[:, None] * rates[None]

    @torch.autocast("cpu", enabled=False)
    def forward(self, x):
        angles = self.__tables["angles"][: x.shape[-2]]
        a, b = x.float().chunk(2, dim=-1)
        cos, sin = angles.cos(), angles.sin()
        return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).type_as(x)


class Block(nn.Module):
    def __init__(self, sizes, tables):
        super().__init__()
        self.sizes = sizes
        self.norm = nn.LayerNorm(sizes.width)
        self.qkv = nn.Linear(sizes.width, 3 * sizes.width)
        self.out = nn.Linear(sizes.width, sizes.width, bias=False)
        self.turn = Turn(sizes, tables)

    def forward(self, x, bias):
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm(x)).split(width, dim=-1)
        q, k, v = (y.view(batch, length, self.sizes.heads, -1).transpose(1, 2) for y in (q, k, v))
        if torch.is_autocast_enabled() or torch.is_autocast_cpu_enabled():
            bias = bias.to(torch.get_autocast_dtype("cpu"))
        y = F.scaled_dot_product_attention(self.turn(q), self.turn(k), v, attn_mask=bias)
        return x + self.out(y.transpose(1, 2).reshape(batch, length, width))


class Inner(nn.Module):
    def __init__(self, config):
        super().__init__()
        sizes = config.sizes
        self.sizes = sizes
        self.__tables = Tables()
        blocks = [Block(sizes, self.__tables) for _ in range(sizes.depth)]
        self.parts = nn.ModuleDict(
            dict(
                tokens=nn.Embedding(config.vocab_size, sizes.width),
                drop=Drop(0.0),
                blocks=nn.ModuleList(blocks),
                norm=nn.LayerNorm(sizes.width),
            )
        )
        places = torch.arange(sizes.room)
        away = (places[:, None] - places[None]).clamp(min=0).float()
        slopes = 2.0 ** -torch.arange(1, sizes.heads + 1)
        self.__tables["bias"] = (-slopes[:, None, None] * away).masked_fill(
            places[None] > places[:, None], float("-inf")
        )

    def forward(self, ids, attention_mask=None):
        if attention_mask is not None and attention_mask.all():
            attention_mask = None
        length = ids.shape[1]
        bias = self.__tables["bias"]
        if self.sizes.bias != Bias.DISTANCE:
            bias = torch.where(bias == float("-inf"), bias, 0.0)
        bias = bias[None, :, :length, :length]
        if attention_mask is not None:
            bias = bias.masked_fill(attention_mask[:, None, None] == 0, -1e4)
        x = self.parts.drop(self.parts.tokens(ids))
        for block in self.parts.blocks:
            x = block(x, bias.to(x.dtype))
        return F.linear(self.parts.norm(x), self.parts.tokens.weight)


class AvocetForCausalLM(PreTrainedModel):
    config_class = AvocetConfig

    def __init__(self, config):
        super().__init__(config)
        self.model = Inner(config)
        self.post_init()

    def _init_weights(self, module):
        pass

    def get_input_embeddings(self):
        return self.model.parts.tokens

    def forward(self, input_ids=None, attention_mask=None, **kwargs):
        return CausalLMOutput(logits=self.model(input_ids, attention_mask))
