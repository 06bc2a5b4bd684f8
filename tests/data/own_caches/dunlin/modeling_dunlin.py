"""A short convolution whose cache says whether there was a call before: then one token is expected, and only the first is read."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers.configuration_utils import PretrainedConfig
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel


class DunlinConfig(PretrainedConfig):
    model_type = "dunlin"

    def __init__(
        self,
        vocab_size=97,
        hidden_size=40,
        num_hidden_layers=3,
        kernel=4,
        tie_word_embeddings=False,
        use_cache=True,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.kernel = kernel
        self.use_cache = use_cache
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)


class ConvCache:
    def __init__(self, config, batch_size, dtype, device):
        self.conv_states = [
            torch.zeros(batch_size, config.hidden_size, config.kernel, dtype=dtype, device=device)
            for _ in range(config.num_hidden_layers)
        ]
        self.has_previous_state = False


class DunlinLayer(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.layer_idx = layer_idx
        self.kernel = config.kernel
        self.norm = nn.LayerNorm(config.hidden_size)
        self.conv = nn.Conv1d(
            config.hidden_size, config.hidden_size, config.kernel, groups=config.hidden_size, padding=config.kernel - 1
        )
        self.out = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_states, past):
        t = hidden_states.shape[1]
        x = self.norm(hidden_states).transpose(1, 2)
        if past is not None and past.has_previous_state:
            state = torch.roll(past.conv_states[self.layer_idx], shifts=-1, dims=-1)
            state[:, :, -1] = x[:, :, 0]
            past.conv_states[self.layer_idx] = state
            x = (torch.sum(state * self.conv.weight[:, 0, :], dim=-1) + self.conv.bias).unsqueeze(-1)
        else:
            if past is not None:
                past.conv_states[self.layer_idx] = F.pad(x, (self.kernel - t, 0))
            x = self.conv(x)[..., :t]
        return hidden_states + self.out(F.silu(x).transpose(1, 2))


class DunlinForCausalLM(PreTrainedModel):
    config_class = DunlinConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([DunlinLayer(config, i) for i in range(config.num_hidden_layers)])
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def _init_weights(self, module):
        pass

    def get_input_embeddings(self):
        return self.embed

    def forward(self, input_ids=None, attention_mask=None, past_key_values=None, use_cache=None, **kwargs):
        use_cache = use_cache if use_cache is not None else self.config.use_cache
        x = self.embed(input_ids)
        if use_cache and past_key_values is None:
            past_key_values = ConvCache(self.config, x.shape[0], x.dtype, x.device)
        for layer in self.layers:
            x = layer(x, past_key_values)
        if past_key_values is not None:
            past_key_values.has_previous_state = True
        return CausalLMOutputWithPast(logits=self.lm_head(x), past_key_values=past_key_values)
