"""Experts in plain loops over their list: biased sequences of layers whose results are added, and copies of tokens that are overwritten."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaForCausalLM, LlamaModel


class FellConfig(LlamaConfig):
    model_type = "fell"
    num_experts: int = 8
    num_experts_per_tok: int = 2


class FellExpert(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.net = nn.Sequential(
            nn.LayerNorm(config.hidden_size),
            nn.Linear(config.hidden_size, config.intermediate_size),
            nn.GELU(),
            nn.Linear(config.intermediate_size, config.hidden_size),
        )
        self.scale = nn.Parameter(torch.ones(config.hidden_size))

    def forward(self, x):
        return self.net(x) * self.scale


class FellAdding(nn.Module):
    """Results are added to where the tokens stand."""

    def __init__(self, config):
        super().__init__()
        self.top_k = config.num_experts_per_tok
        self.gate = nn.Linear(config.hidden_size, config.num_experts, bias=False)
        self.experts = nn.ModuleList(FellExpert(config) for _ in range(config.num_experts))

    def forward(self, inputs):
        x = inputs.reshape(-1, inputs.shape[-1])
        logits = self.gate(x)
        weights, selected = torch.topk(logits, self.top_k)
        weights = F.softmax(weights, dim=1, dtype=torch.float).to(inputs.dtype)
        results = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            token, nth = torch.where(selected == i)
            results[token] += weights[token, nth, None] * expert(x[token])
        return results.view(inputs.shape)


class FellWriting(nn.Module):
    """A copy of each token for every expert that it goes to, written over; then the best expert once more."""

    def __init__(self, config):
        super().__init__()
        self.top_k = config.num_experts_per_tok
        self.gate = nn.Linear(config.hidden_size, config.num_experts, bias=False)
        self.experts = nn.ModuleList([FellExpert(config) for _ in range(config.num_experts)])
        self.extra = nn.ModuleList([FellExpert(config) for _ in range(config.num_experts)])

    def forward(self, inputs):
        x = inputs.reshape(-1, inputs.shape[-1])
        scores = self.gate(x).softmax(dim=-1)
        topk_weight, topk_idx = torch.topk(scores, k=self.top_k, dim=-1)
        flat_topk_idx = topk_idx.view(-1)
        copies = x.repeat_interleave(self.top_k, dim=0)
        y = torch.empty_like(copies)
        for i, expert in enumerate(self.experts):
            y[flat_topk_idx == i] = expert(copies[flat_topk_idx == i])
        y = (y.view(*topk_weight.shape, -1) * topk_weight.unsqueeze(-1)).sum(dim=1)
        more = torch.zeros_like(x)
        for i in range(len(self.extra)):
            mask = (topk_idx == i).any(dim=-1)
            if mask.any():
                more[mask] += self.extra[i](x[mask]) * scores[mask, i].unsqueeze(-1)
        return (y + more).view(inputs.shape)


class FellLayer(LlamaDecoderLayer):
    def __init__(self, config, layer_idx):
        super().__init__(config, layer_idx)
        self.mlp = FellAdding(config) if layer_idx == 0 else FellWriting(config)


class FellModel(LlamaModel):
    config_class = FellConfig

    def __init__(self, config):
        super().__init__(config)
        self.layers = nn.ModuleList([FellLayer(config, i) for i in range(config.num_hidden_layers)])
        self.post_init()


class FellForCausalLM(LlamaForCausalLM):
    config_class = FellConfig

    def __init__(self, config):
        super().__init__(config)
        self.model = FellModel(config)
        self.post_init()
