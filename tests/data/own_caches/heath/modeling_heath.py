"""A linear recurrence that keeps its states in a class of its own: lists of tensors by layer, made when they are first needed."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers.configuration_utils import PretrainedConfig
from transformers.modeling_outputs import ModelOutput
from transformers.modeling_utils import PreTrainedModel


class HeathConfig(PretrainedConfig):
    model_type = "heath"

    def __init__(
        self, vocab_size=100, hidden_size=32, num_hidden_layers=2, num_heads=4, mix_every=2, eps=1e-5, **kwargs
    ):
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_heads = num_heads
        self.mix_every = mix_every
        self.eps = eps


class HeathMemory:
    """The running sums of every layer, and for some the inputs of the last token."""

    def __init__(self, config):
        self.sums = [None] * config.num_hidden_layers
        self.last = {}
        self.seen = 0

    def recall(self, layer):
        return self.sums[layer], self.last.get(layer)

    def store(self, layer, sums, last):
        self.sums[layer] = sums
        if last is not None:
            self.last[layer] = last


@dataclass
class HeathOutput(ModelOutput):
    logits: torch.Tensor | None = None
    memory: HeathMemory | None = None


class HeathRecurrence(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        self.layer = layer
        self.num_heads = config.num_heads
        self.head_dim = config.hidden_size // config.num_heads
        self.shifts = layer % config.mix_every == 1
        self.kqv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.decay = nn.Parameter(torch.zeros(config.num_heads))
        self.out = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x, memory=None):
        batch, length, width = x.shape
        sums, last = (None, None) if memory is None else memory.recall(self.layer)
        if self.shifts:
            if last is None:
                last = torch.zeros(batch, 1, width, dtype=x.dtype, device=x.device)
            before = torch.cat([last, x[:, :-1]], dim=1)
            last = x[:, -1:]
            x = 0.5 * (x + before)
        k, q, v = self.kqv(x).view(batch, length, 3, self.num_heads, self.head_dim).unbind(2)
        decay = torch.sigmoid(self.decay)[None, :, None, None]
        if sums is None:
            sums = torch.zeros(batch, self.num_heads, self.head_dim, self.head_dim, dtype=x.dtype, device=x.device)
        if length == 1:
            sums = decay * sums + k[:, 0, :, :, None] * v[:, 0, :, None, :]
            mixed = (q[:, 0, :, None, :] @ sums).squeeze(2)[:, None]
        else:
            steps = []
            for t in range(length):
                sums = decay * sums + k[:, t, :, :, None] * v[:, t, :, None, :]
                steps.append((q[:, t, :, None, :] @ sums).squeeze(2))
            mixed = torch.stack(steps, dim=1)
        if memory is not None:
            memory.store(self.layer, sums, last if self.shifts else None)
        return self.out(mixed.reshape(batch, length, width))


class HeathLayer(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.eps)
        self.recurrence = HeathRecurrence(config, layer)

    def forward(self, x, memory):
        return x + self.recurrence(self.norm(x), memory)


class HeathForCausalLM(PreTrainedModel):
    config_class = HeathConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([HeathLayer(config, i) for i in range(config.num_hidden_layers)])
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(self, input_ids, memory=None, use_cache=None, **kwargs):
        if use_cache and memory is None:
            memory = HeathMemory(self.config)
        x = self.embed(input_ids)
        for layer in self.layers:
            x = layer(x, memory)
        if memory is not None:
            memory.seen += x.shape[1]
        return HeathOutput(logits=self.head(x), memory=memory)
