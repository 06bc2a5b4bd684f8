"""Queries, keys and values of a group side by side in one transposed weight; unit queries and keys with a learned temperature of each
head; norms behind each part, and a learned scale of every channel of what is added."""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import nn
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel

from .configuration_plover import PloverConfig


class TransposedLinear(nn.Module):
    """[in, out], as the first language models had it."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_in, n_out))
        self.bias = nn.Parameter(torch.zeros(n_out))
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x):
        return F.linear(x, self.weight.t(), self.bias)


class LayerScale(nn.Module):
    def __init__(self, dim, init):
        super().__init__()
        self.gamma = nn.Parameter(init * torch.ones(dim))

    def forward(self, x):
        return x * self.gamma


class PloverRotary(nn.Module):
    def __init__(self, config):
        super().__init__()
        dim = config.head_dim
        self.register_buffer(
            "inv_freq", 1.0 / config.rope_theta ** (torch.arange(0, dim, 2).float() / dim), persistent=False
        )

    @torch.no_grad()
    def forward(self, x, position_ids):
        freqs = torch.einsum("bt,d->btd", position_ids.float(), self.inv_freq)
        emb = torch.cat([freqs, freqs], dim=-1)
        return emb.cos().to(x.dtype), emb.sin().to(x.dtype)


def rotate_half(x):
    a, b = x.chunk(2, dim=-1)
    return torch.cat([-b, a], dim=-1)


class PloverAttention(nn.Module):
    def __init__(self, config: PloverConfig, layer_idx: int):
        super().__init__()
        self.layer_idx = layer_idx
        self.heads, self.groups, self.dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        self.per_group = self.heads // self.groups
        self.qkv = TransposedLinear(config.hidden_size, self.groups * (self.per_group + 2) * self.dim)
        self.out = TransposedLinear(self.heads * self.dim, config.hidden_size)
        self.log_temperature = nn.Parameter(torch.full((self.heads, 1, 1), 1.0))

    def forward(self, x, rope, mask, past_key_values: Optional[Cache] = None):
        batch, length, _ = x.shape
        packed = self.qkv(x).view(batch, length, self.groups, self.per_group + 2, self.dim)
        q = packed[:, :, :, :-2].reshape(batch, length, self.heads, self.dim).transpose(1, 2)
        k = packed[:, :, :, -2].transpose(1, 2)
        v = packed[:, :, :, -1].transpose(1, 2)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        cos, sin = (part.unsqueeze(1) for part in rope)
        q = q * cos + rotate_half(q) * sin
        k = k * cos + rotate_half(k) * sin
        if past_key_values is not None:
            k, v = past_key_values.update(k, v, self.layer_idx)
        k = k.repeat_interleave(self.per_group, dim=1)
        v = v.repeat_interleave(self.per_group, dim=1)
        temperature = self.log_temperature.clamp(max=4.0).exp()
        scores = (q @ k.transpose(-1, -2)) * temperature
        if mask is not None:
            scores = scores + mask
        weights = scores.softmax(dim=-1, dtype=torch.float32).to(v.dtype)
        y = (weights @ v).transpose(1, 2).reshape(batch, length, -1)
        return self.out(y)


class PloverMLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.up = TransposedLinear(config.hidden_size, 2 * config.intermediate_size)
        self.down = TransposedLinear(config.intermediate_size, config.hidden_size)

    def forward(self, x):
        gate, x = self.up(x).chunk(2, dim=-1)
        return self.down(F.mish(gate) * x)


class PloverLayer(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.attn = PloverAttention(config, layer_idx)
        self.mlp = PloverMLP(config)
        self.attn_norm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps, bias=False)
        self.mlp_norm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps, bias=False)
        self.ls1 = LayerScale(config.hidden_size, config.layer_scale_init)
        self.ls2 = LayerScale(config.hidden_size, config.layer_scale_init)

    def forward(self, x, rope, mask, past_key_values=None):
        x = x + self.ls1(self.attn_norm(self.attn(x, rope, mask, past_key_values)))
        return x + self.ls2(self.mlp_norm(self.mlp(x)))


class PloverPreTrainedModel(PreTrainedModel):
    config: PloverConfig
    config_class = PloverConfig
    base_model_prefix = "model"

    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, LayerScale):
            module.gamma.data.fill_(self.config.layer_scale_init)


class PloverModel(PloverPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.embed_norm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps)
        self.layers = nn.ModuleList([PloverLayer(config, i) for i in range(config.num_hidden_layers)])
        self.rotary = PloverRotary(config)
        self.post_init()

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values: Optional[Cache] = None,
        inputs_embeds=None,
        use_cache=None,
        **kwargs,
    ):
        if inputs_embeds is None:
            inputs_embeds = self.embed(input_ids)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        if position_ids is None:
            seen = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = torch.arange(seen, seen + inputs_embeds.shape[1], device=inputs_embeds.device)[None]
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        x = self.embed_norm(inputs_embeds)
        rope = self.rotary(x, position_ids)
        for layer in self.layers:
            x = layer(x, rope, mask, past_key_values)
        return BaseModelOutputWithPast(last_hidden_state=x, past_key_values=past_key_values)


class PloverForCausalLM(PloverPreTrainedModel, GenerationMixin):
    def __init__(self, config):
        super().__init__(config)
        self.model = PloverModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=True)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, use_cache=None, **kwargs):
        out = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
        )
        return CausalLMOutputWithPast(logits=self.lm_head(out.last_hidden_state), past_key_values=out.past_key_values)
