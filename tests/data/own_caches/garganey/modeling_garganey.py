"""Attention in every second layer, a sum that fades in the others; one list keeps a pair for each: keys and values, or two states."""

import torch
from torch import nn
from transformers.configuration_utils import PretrainedConfig
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel


class GarganeyConfig(PretrainedConfig):
    model_type = "garganey"

    def __init__(self, vocab_size=97, hidden_size=40, num_hidden_layers=2, use_cache=True, **kwargs):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.use_cache = use_cache
        super().__init__(**kwargs)


class Fading(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.size = config.hidden_size
        self.value = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.fade = nn.Parameter(torch.zeros(config.hidden_size))

    def forward(self, x, past):
        if past is None:
            before, total = x.new_zeros(x.shape[0], self.size), x.new_zeros(x.shape[0], self.size)
        else:
            before, total = past
        values = self.value(x) - torch.cat((before[:, None], x[:, :-1]), dim=1)
        totals = []
        for at in range(x.shape[1]):
            total = total * torch.sigmoid(self.fade) + values[:, at]
            totals.append(total)
        return torch.stack(totals, dim=1), (x[:, -1], total)


class Attending(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.query = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.key = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x, past):
        keys, values = self.key(x), x
        if past is not None:
            keys, values = torch.cat((past[0], keys), dim=1), torch.cat((past[1], values), dim=1)
        scores = self.query(x) @ keys.transpose(1, 2) * 0.2
        first = keys.shape[1] - x.shape[1]
        hidden = torch.arange(keys.shape[1])[None] > torch.arange(first, keys.shape[1])[:, None]
        return scores.masked_fill(hidden, -1e9).softmax(-1) @ values, (keys, values)


class GarganeyForCausalLM(PreTrainedModel):
    config_class = GarganeyConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        kinds = (Fading, Attending)
        self.layers = nn.ModuleList([kinds[at % 2](config) for at in range(config.num_hidden_layers)])
        self.norms = nn.ModuleList([nn.LayerNorm(config.hidden_size) for _ in range(config.num_hidden_layers)])
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed

    def forward(self, input_ids=None, attention_mask=None, past_key_values=None, use_cache=None, **kwargs):
        x = self.embed(input_ids)
        pasts = [None] * len(self.layers) if past_key_values is None else past_key_values
        kept = []
        for layer, norm, past in zip(self.layers, self.norms, pasts, strict=True):
            y, now = layer(norm(x), past)
            x = x + y
            kept.append(now)
        return CausalLMOutputWithPast(logits=self.lm_head(x), past_key_values=kept if use_cache else None)
