"""A selective scan behind a short convolution; the states of all layers are two tensors of a cache that is full from the start."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers.configuration_utils import PretrainedConfig
from transformers.modeling_outputs import ModelOutput
from transformers.modeling_utils import PreTrainedModel


class ScreeConfig(PretrainedConfig):
    model_type = "scree"

    def __init__(
        self, vocab_size=100, hidden_size=32, state_size=8, conv_kernel=4, num_hidden_layers=2, eps=1e-5, **kwargs
    ):
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.state_size = state_size
        self.conv_kernel = conv_kernel
        self.num_hidden_layers = num_hidden_layers
        self.eps = eps


class ScreeCache:
    def __init__(self, config, batch_size, dtype, device):
        shape = (config.num_hidden_layers, batch_size, config.hidden_size)
        self.conv_states = torch.zeros(*shape, config.conv_kernel - 1, dtype=dtype, device=device)
        self.ssm_states = torch.zeros(*shape, config.state_size, dtype=dtype, device=device)


@dataclass
class ScreeOutput(ModelOutput):
    logits: torch.Tensor | None = None
    cache_params: ScreeCache | None = None


class ScreeMixer(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.layer_idx = layer_idx
        self.kernel = config.conv_kernel
        self.in_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.conv = nn.Conv1d(config.hidden_size, config.hidden_size, config.conv_kernel, groups=config.hidden_size)
        self.select = nn.Linear(config.hidden_size, 2 * config.state_size)
        self.log_decay = nn.Parameter(torch.zeros(config.hidden_size, config.state_size))
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x, cache_params=None):
        batch, length, width = x.shape
        x = self.in_proj(x).transpose(1, 2)
        if cache_params is not None:
            x = torch.cat([cache_params.conv_states[self.layer_idx], x], dim=-1)
            cache_params.conv_states[self.layer_idx].copy_(x[..., -(self.kernel - 1) :])
            state = cache_params.ssm_states[self.layer_idx]
        else:
            x = F.pad(x, (self.kernel - 1, 0))
            state = torch.zeros(batch, width, self.log_decay.shape[-1], dtype=x.dtype, device=x.device)
        x = F.silu(self.conv(x)).transpose(1, 2)
        into, out = self.select(x).chunk(2, dim=-1)
        decay = torch.exp(-torch.exp(self.log_decay))
        rows = []
        for t in range(length):
            state = decay * state + x[:, t, :, None] * into[:, t, None, :]
            rows.append((state * out[:, t, None, :]).sum(-1))
        if cache_params is not None:
            cache_params.ssm_states[self.layer_idx].copy_(state)
        return self.out_proj(torch.stack(rows, dim=1))


class ScreeBlock(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.eps)
        self.mixer = ScreeMixer(config, layer_idx)

    def forward(self, x, cache_params=None):
        return x + self.mixer(self.norm(x), cache_params=cache_params)


class ScreeForCausalLM(PreTrainedModel):
    config_class = ScreeConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([ScreeBlock(config, i) for i in range(config.num_hidden_layers)])
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(self, input_ids, cache_params=None, use_cache=None, **kwargs):
        x = self.embed(input_ids)
        if use_cache and cache_params is None:
            cache_params = ScreeCache(self.config, x.shape[0], x.dtype, x.device)
        for layer in self.layers:
            x = layer(x, cache_params=cache_params)
        return ScreeOutput(logits=self.head(x), cache_params=cache_params)
