"""Masks that the source computes: whatever their spelling, what they hide decides; what hides other tokens stays as it is."""

from __future__ import annotations

import textwrap

import pytest

from codegen.graph.construction import build
from codegen.graph.forward import Traced, trace_forward
from codegen.source.files import find_library

MODEL = """
import torch
from torch import nn
from transformers import PreTrainedModel, PretrainedConfig
from transformers.modeling_attn_mask_utils import _prepare_4d_causal_attention_mask


class Settings(PretrainedConfig):
    model_type = "seeing"

    def __init__(self, size=8, words=11, **kwargs):
        super().__init__(**kwargs)
        self.size, self.words = size, words


class Layer(nn.Module):
    def __init__(self, config, index):
        super().__init__()
        self.index = index
        self.q = nn.Linear(config.size, config.size)
        self.register_buffer("tril", torch.tril(torch.ones(64, 64, dtype=torch.bool)).view(1, 1, 64, 64), persistent=False)

    def forward(self, x, valid, positions, cache):
        k = v = x[:, None]
        if cache is not None:
            k, v = cache.update(k, v, self.index)
        q = self.q(x)[:, None]
        scores = q @ k.transpose(2, 3)
        new, total = q.shape[2], k.shape[2]
{mask}
        return x + (scores.softmax(-1) @ v)[:, 0]


class Model(PreTrainedModel):
    config_class = Settings

    def __init__(self, config):
        super().__init__(config)
        self.words = nn.Embedding(config.words, config.size)
        self.layers = nn.ModuleList([Layer(config, i) for i in range(2)])
        self.head = nn.Linear(config.size, config.words)

    def forward(self, input_ids, attention_mask=None, past_key_values=None, use_cache=None):
        x = self.words(input_ids)
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        positions = torch.arange(x.shape[1]) + past
        for layer in self.layers:
            x = layer(x, attention_mask, positions, past_key_values)
        return self.head(x),
"""

SAME = {
    "full and triu": """
        mask = torch.full((new, total), torch.finfo(x.dtype).min)
        mask = torch.triu(mask, diagonal=total - new + 1)[None, None]
        scores = scores + mask + (1.0 - valid[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
    """,
    "a table of booleans": """
        scores = torch.where(self.tril[:, :, total - new : total, :total], scores, -1e9)
        scores = scores.masked_fill(valid[:, None, None, :] == 0, float("-inf"))
    """,
    "places compared": """
        seen = (torch.arange(total)[None, :] <= positions[:, None])[None, None] & valid.bool()[:, None, None]
        scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
    """,
    "one less the mask": """
        seen = torch.ones(total, total).tril()[total - new :][None, None] * valid[:, None, None, :]
        scores = scores * seen - 10000.0 * (1.0 - seen) if False else scores + (1.0 - seen) * -10000.0
    """,
    "what the library prepares": """
        mask = _prepare_4d_causal_attention_mask(valid, (x.shape[0], new), x, total - new)
        scores = scores + mask
    """,
    "numbers set in place": """
        mask = torch.zeros(x.shape[0], 1, new, total)
        mask.masked_fill_(torch.arange(total) > positions[:, None], -65504.0)
        mask = mask.masked_fill(valid[:, None, None, :].logical_not(), -65504.0)
        scores = scores + mask
    """,
    "one token does without": """
        if new > 1:
            scores = scores.masked_fill(~self.tril[:, :, total - new : total, :total], -1e9)
        scores = scores + (1.0 - valid[:, None, None, :].float()) * -1e9
    """,
    "nothing where nothing is padded": """
        mask = None
        if 0 in valid and not valid.all():
            mask = (1.0 - valid[:, None, None, :].float()) * -1e9
        scores = scores.masked_fill(~(torch.arange(total)[None, :] <= positions[:, None])[None, None], -1e9)
        if mask is not None:
            scores = scores + mask
    """,
    "attention in one operation": """
        seen = (torch.arange(total)[None, :] <= positions[:, None])[None, None] & valid.bool()[:, None, None]
        return x + nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)[:, 0]
    """,
}
OTHER = {
    "one token too many": """
        scores = scores + torch.triu(torch.full((new, total), -1e9), diagonal=total - new + 2)[None, None]
        scores = scores.masked_fill(valid[:, None, None, :] == 0, -1e9)
    """,
    "padding is seen": """
        scores = scores + torch.triu(torch.full((new, total), -1e9), diagonal=total - new + 1)[None, None]
    """,
    "what is seen is hidden": """
        seen = (torch.arange(total)[None, :] <= positions[:, None])[None, None] & valid.bool()[:, None, None]
        scores = scores.masked_fill(seen, -1e9)
    """,
    "little is added": """
        seen = (torch.arange(total)[None, :] <= positions[:, None])[None, None] & valid.bool()[:, None, None]
        scores = scores + (1.0 - seen.float()) * -5.0
    """,
}


def traced(mask: str) -> Traced:
    source = MODEL.replace("{mask}", textwrap.indent(textwrap.dedent(mask).strip("\n"), " " * 8))
    raw = {
        "model_type": "seeing",
        "architectures": ["Model"],
        "auto_map": {"AutoConfig": "modeling_seeing.Settings", "AutoModelForCausalLM": "modeling_seeing.Model"},
    }
    return trace_forward(build(find_library({"modeling_seeing.py": source}), raw))


@pytest.mark.parametrize("name", SAME)
def test_masks_are_known_by_what_they_hide(name: str) -> None:
    found = traced(SAME[name])
    assert [mask.name for mask in found.masks] == ["mask"]
    assert not {"valid", "positions"} & set(found.inputs)


@pytest.mark.parametrize("name", OTHER)
def test_what_hides_other_tokens_is_no_mask_of_ours(name: str) -> None:
    assert not traced(OTHER[name]).masks
