"""What the library makes of arguments of its helpers that are not the usual ones: honoured, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from codegen.diagnostics import CompileError
from codegen.graph.construction import build
from codegen.graph.forward import Traced, trace_forward
from codegen.source.files import Library, find_library

MODEL = """
import torch
from torch import nn
from transformers import PreTrainedModel, PretrainedConfig
from transformers.masking_utils import create_causal_mask
from transformers.modeling_utils import slice_logits_to_keep


class Settings(PretrainedConfig):
    model_type = "odd"

    def __init__(self, size=8, words=11, **kwargs):
        super().__init__(**kwargs)
        self.size, self.words = size, words


class Odd(PreTrainedModel):
    config_class = Settings

    def __init__(self, config):
        super().__init__(config)
        self.words = nn.Embedding(config.words, config.size)
        self.places = nn.Embedding(64, config.size)
        self.head = nn.Linear(config.size, config.words)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, position_ids=None, past_key_values=None, logits_to_keep={keep}):
        x = self.words(input_ids)
        if position_ids is None:
            past = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = torch.arange(x.shape[1], device=x.device)[None] + past
        seen = {positions}
        mask = create_causal_mask(
            config=self.config, inputs_embeds=x, attention_mask=attention_mask, past_key_values=past_key_values,
            position_ids=seen,
        )
        x = x + self.places(position_ids)
        key, value = x[:, None], x[:, None]
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, 0)
        weights = (x[:, None] @ key.transpose(2, 3) + mask).softmax(-1)
        x = (weights @ value)[:, 0]
        {tail}
"""
SLICED = "return (self.head(slice_logits_to_keep(x, logits_to_keep)),)"
BY_HAND = """kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        return (self.head(x[:, kept, :]),)"""


def traced(*, positions: str = "position_ids", keep: str = "0", tail: str = SLICED) -> Traced:
    raw: dict[str, Any] = {
        "model_type": "odd",
        "auto_map": {"AutoConfig": "m.Settings", "AutoModelForCausalLM": "m.Odd"},
        "architectures": ["Odd"],
    }
    text = MODEL.replace("{positions}", positions).replace("{keep}", keep).replace("{tail}", tail)
    return trace_forward(build(Library(find_library().root, {"m.py": text}), raw))


@pytest.mark.parametrize(
    "positions",
    ["position_ids", "position_ids + 2", "position_ids.view(1, -1)", "2 * position_ids - position_ids", "None"],
)
def test_positions_that_go_up_by_one(positions: str) -> None:
    assert [mask.name for mask in traced(positions=positions).masks] == ["mask"]


@pytest.mark.parametrize(
    "positions",
    ["position_ids // 2", "position_ids % 4", "2 * position_ids", "torch.zeros_like(position_ids)", "-position_ids"],
)
def test_positions_of_several_sequences(positions: str) -> None:
    with pytest.raises(CompileError, match="positions that do not go up by one"):
        traced(positions=positions)


@pytest.mark.parametrize("tail", [SLICED, BY_HAND])
def test_logits_of_all_positions(tail: str) -> None:
    traced(tail=tail)


@pytest.mark.parametrize("tail", [SLICED, BY_HAND])
def test_logits_of_some_positions(tail: str) -> None:
    with pytest.raises(CompileError, match="logits of some positions"):
        traced(keep="1", tail=tail)
