"""A short convolution and a gated sum, whose states are attributes of the layers that have them: nothing is handed from call to
call. The convolution goes on from its last inputs in steps of one token alone."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers.configuration_utils import PretrainedConfig
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel


class TarnConfig(PretrainedConfig):
    model_type = "tarn"

    def __init__(self, vocab_size=100, hidden_size=32, wide_size=40, reach=4, num_hidden_layers=2, **kwargs):
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.wide_size = wide_size
        self.reach = reach
        self.num_hidden_layers = num_hidden_layers


class TarnSum(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate = nn.Linear(config.wide_size, config.wide_size)
        self.total = None

    def forward(self, x):
        share = torch.sigmoid(self.gate(x))
        total = self.total
        if total is None:
            total = torch.zeros_like(x[:, 0])
        rows = []
        for t in range(x.shape[1]):
            total = share[:, t] * total + (1 - share[:, t]) * x[:, t]
            rows.append(total)
        self.total = total
        return torch.stack(rows, dim=1)


class TarnMixer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.reach = config.reach
        self.into = nn.Linear(config.hidden_size, config.wide_size)
        self.conv = nn.Conv1d(
            config.wide_size, config.wide_size, config.reach, groups=config.wide_size, padding=config.reach - 1
        )
        self.sum = TarnSum(config)
        self.out = nn.Linear(config.wide_size, config.hidden_size)
        self.last = None

    def forward(self, x, use_cache):
        x = self.into(x).transpose(1, 2)
        length = x.shape[-1]
        if not use_cache:
            self.last, self.sum.total = None, None
            x = self.conv(x)[..., :length]
        elif length > 1:
            self.last = F.pad(x, (self.reach - length - 1, 0))
            x = self.conv(x)[..., :length]
        else:
            if self.last is None:
                self.last = x.new_zeros(x.shape[0], x.shape[1], self.reach - 1)
            joined = torch.cat([self.last, x], dim=-1)
            x = (joined * self.conv.weight[:, 0]).sum(-1, keepdim=True) + self.conv.bias[:, None]
            self.last = joined[..., 1:]
        return self.out(self.sum(F.silu(x).transpose(1, 2)))


class TarnBlock(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size)
        self.mixer = TarnMixer(config)

    def forward(self, x, use_cache):
        return x + self.mixer(self.norm(x), use_cache)


class TarnForCausalLM(PreTrainedModel):
    config_class = TarnConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([TarnBlock(config) for _ in range(config.num_hidden_layers)])
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(self, input_ids, past_key_values=None, use_cache=None, **kwargs):
        x = self.embed(input_ids)
        for layer in self.layers:
            x = layer(x, bool(use_cache))
        return CausalLMOutputWithPast(logits=self.head(x), past_key_values=past_key_values)
