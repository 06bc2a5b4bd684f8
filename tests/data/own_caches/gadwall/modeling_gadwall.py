"""Each layer mixes in the token before twice; the last tokens of all layers are one flat list, two of each layer."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers.configuration_utils import PretrainedConfig
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import ModelOutput


class GadwallConfig(PretrainedConfig):
    model_type = "gadwall"

    def __init__(self, vocab_size=97, hidden_size=40, num_hidden_layers=2, use_cache=True, **kwargs):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.use_cache = use_cache
        super().__init__(**kwargs)


@dataclass
class GadwallOutput(ModelOutput):
    logits: torch.FloatTensor = None
    state: list[torch.FloatTensor] | None = None


class Layer(nn.Module):
    def __init__(self, config, idx):
        super().__init__()
        self.idx = idx
        self.a = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.b = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x, state):
        i = self.idx
        before = torch.cat((state[i * 2].unsqueeze(1), x[:, :-1]), dim=1)
        state[i * 2] = x[:, -1]
        x = x + self.a(before)
        before = torch.cat((state[i * 2 + 1].unsqueeze(1), x[:, :-1]), dim=1)
        state[i * 2 + 1] = x[:, -1]
        return x + torch.tanh(self.b(before)), state


class GadwallForCausalLM(PreTrainedModel):
    config_class = GadwallConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([Layer(config, i) for i in range(config.num_hidden_layers)])
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed

    def forward(self, input_ids=None, attention_mask=None, state=None, use_cache=None, **kwargs):
        x = self.embed(input_ids)
        if state is None:
            state = [torch.zeros_like(x[:, 0]) for _ in range(2 * self.config.num_hidden_layers)]
        for layer in self.layers:
            x, state = layer(x, state)
        return GadwallOutput(logits=self.lm_head(x), state=state)
