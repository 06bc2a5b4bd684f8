"""A decaying weighted mean of all tokens, kept as a sum, a weight and the largest exponent so far; what calls hand on is a list
of tensors of all layers, of which the exponents start far below zero. The way for one token leaves out the axis of the tokens."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers.configuration_utils import PretrainedConfig
from transformers.modeling_outputs import ModelOutput
from transformers.modeling_utils import PreTrainedModel


class SkerryConfig(PretrainedConfig):
    model_type = "skerry"

    def __init__(self, vocab_size=100, hidden_size=32, mixed_size=None, num_hidden_layers=2, halve_every=2, **kwargs):
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.mixed_size = mixed_size if mixed_size is not None else hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.halve_every = halve_every


@dataclass
class SkerryOutput(ModelOutput):
    logits: torch.Tensor | None = None
    memory: list | None = None


def weighted_mean(decay, key, value, memory):
    total, weight, largest = memory
    mean = torch.zeros_like(value)
    for t in range(key.shape[1]):
        exponent = torch.maximum(largest - decay, key[:, t])
        old, new = torch.exp(largest - decay - exponent), torch.exp(key[:, t] - exponent)
        total = old * total + new * value[:, t]
        weight = old * weight + new
        largest = exponent
        mean[:, t] = total / weight
    return mean, (total, weight, largest)


class SkerryMixer(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.layer_idx = layer_idx
        self.log_decay = nn.Parameter(torch.zeros(config.mixed_size))
        self.share = nn.Parameter(torch.zeros(config.hidden_size))
        self.shift = nn.ZeroPad2d((0, 0, 1, -1))
        self.key = nn.Linear(config.hidden_size, config.mixed_size)
        self.value = nn.Linear(config.hidden_size, config.mixed_size)
        self.out = nn.Linear(config.mixed_size, config.hidden_size)

    def forward(self, x, memory=None):
        i = self.layer_idx
        if x.shape[1] == 1 and memory is not None:
            before = memory[0][:, :, i]
        else:
            before = self.shift(x)
            if memory is not None:
                before[:, 0] = memory[0][:, :, i]
        mixed = x * self.share + before * (1 - self.share)
        held = tuple(m[:, :, i] for m in memory[1:])
        mean, held = weighted_mean(torch.exp(self.log_decay), self.key(mixed), self.value(mixed), held)
        memory[0][:, :, i] = x[:, -1]
        for kept, new in zip(memory[1:], held, strict=True):
            kept[:, :, i] = new
        return self.out(mean)


class SkerryBlock(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size)
        self.mixer = SkerryMixer(config, layer_idx)

    def forward(self, x, memory):
        return x + self.mixer(self.norm(x), memory)


class SkerryForCausalLM(PreTrainedModel):
    config_class = SkerryConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([SkerryBlock(config, i) for i in range(config.num_hidden_layers)])
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(self, input_ids, memory=None, use_cache=None, **kwargs):
        x = self.embed(input_ids)
        if memory is None:
            shape = (x.shape[0], self.config.hidden_size, self.config.num_hidden_layers)
            memory = [torch.zeros(shape, dtype=x.dtype, device=x.device) for _ in range(4)]
            memory[3] -= 1e30
        for i, layer in enumerate(self.layers):
            x = layer(x, memory)
            if (i + 1) % self.config.halve_every == 0:
                x = x / 2
        return SkerryOutput(logits=self.head(x), memory=memory)
