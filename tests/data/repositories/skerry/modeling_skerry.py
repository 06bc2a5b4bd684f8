"""A library model whose feed-forward parts are given another `forward` one by one, once they are made."""

import types

import torch
import torch.nn.functional as F
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaForCausalLM


class SkerryConfig(LlamaConfig):
    model_type = "skerry"


def squared(self, x):
    return self.down_proj(torch.square(F.relu(self.gate_proj(x))) * self.up_proj(x))



class SkerryForCausalLM(LlamaForCausalLM):
    config_class = SkerryConfig

    def __init__(self, config):
        super().__init__(config)
        for layer in self.model.layers:
            layer.mlp.forward = types.MethodType(squared, layer.mlp)
