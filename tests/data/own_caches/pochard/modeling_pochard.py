"""Attention and a sum that fades; a cache of its own class, which alone keeps the sum, derived from that of the library."""

import torch
from torch import nn
from transformers.cache_utils import DynamicCache
from transformers.configuration_utils import PretrainedConfig
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel


class PochardConfig(PretrainedConfig):
    model_type = "pochard"

    def __init__(self, vocab_size=97, hidden_size=40, num_hidden_layers=2, use_cache=True, **kwargs):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.use_cache = use_cache
        super().__init__(**kwargs)


class OwnCache(DynamicCache):
    def __init__(self, config, batch_size, dtype, device):
        super().__init__()
        self.last = [
            torch.zeros(batch_size, config.hidden_size, dtype=dtype, device=device)
            for _ in range(config.num_hidden_layers)
        ]


class Layer(nn.Module):
    def __init__(self, config, idx):
        super().__init__()
        self.idx = idx
        self.size = config.hidden_size
        self.a = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.decay = nn.Parameter(torch.zeros(config.hidden_size))

        self.q = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.k = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def attend(self, x, cache):
        k, v = self.k(x)[:, None], x[:, None]
        if cache is not None:
            k, v = cache.update(k, v, self.idx)
        w = self.q(x)[:, None] @ k.transpose(-1, -2)
        past = k.shape[2] - x.shape[1]
        hide = torch.arange(k.shape[2])[None, :] > torch.arange(past, k.shape[2])[:, None]
        return (w.masked_fill(hide, -1e9).softmax(-1) @ v)[:, 0]

    def forward(self, x, cache):
        x = x + self.attend(x, cache)
        own = isinstance(cache, OwnCache)
        state = cache.last[self.idx] if own else torch.zeros(x.shape[0], self.size, dtype=x.dtype, device=x.device)
        y = self.a(x)
        outs = []
        for t in range(x.shape[1]):
            state = state * torch.sigmoid(self.decay) + y[:, t]
            outs.append(state)
        if own:
            cache.last[self.idx] = state
        return x + torch.tanh(torch.stack(outs, dim=1))


class PochardForCausalLM(PreTrainedModel):
    config_class = PochardConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([Layer(config, i) for i in range(config.num_hidden_layers)])
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed

    def forward(self, input_ids=None, attention_mask=None, past_key_values=None, use_cache=None, **kwargs):
        use_cache = use_cache if use_cache is not None else self.config.use_cache
        x = self.embed(input_ids)
        if use_cache and past_key_values is None:
            past_key_values = OwnCache(self.config, x.shape[0], x.dtype, x.device)
        for layer in self.layers:
            x = layer(x, past_key_values)
        return CausalLMOutputWithPast(logits=self.lm_head(x), past_key_values=past_key_values)
