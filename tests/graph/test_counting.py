"""Positions: those that a caller would pass, unless the source counts the tokens themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codegen.diagnostics import CompileError
from codegen.graph.construction import build
from codegen.graph.forward import Traced, trace_forward
from codegen.source.files import Library, find_library
from ir.expressions import Const
from ir.graph import Call, Loop, Number, Op, Region

MODEL = """
import torch
from torch import nn
from transformers import PreTrainedModel, PretrainedConfig


class Settings(PretrainedConfig):
    model_type = "counted"

    def __init__(self, size=8, words=11, pad=1, **kwargs):
        super().__init__(**kwargs)
        self.size, self.words, self.pad = size, words, pad


class Counted(PreTrainedModel):
    config_class = Settings

    def __init__(self, config):
        super().__init__(config)
        self.pad = config.pad
        self.words = nn.Embedding(config.words, config.size)
        self.places = nn.Embedding(64, config.size)
        self.register_buffer("places_in_order", torch.arange(64).expand((1, -1)), persistent=False)
        self.head = nn.Linear(config.size, config.words)
        self.post_init()

    def count(self, ids, past):
        mask = ids.ne(self.pad).int()
        return (torch.cumsum(mask, dim=1).type_as(mask) + past) * mask

    def forward(self, input_ids, attention_mask=None, position_ids=None, past_key_values=None, use_cache=None):
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        if position_ids is None:
            {default}
        return (self.head(self.words(input_ids) + self.places(position_ids)),)
"""

OWN = "position_ids = self.count(input_ids, past).long() + self.pad"
PLAIN = "position_ids = torch.arange(past, past + input_ids.shape[1])[None]"
UNKNOWN = "position_ids = torch.fft.fft(input_ids)"
UNREAD = "position_ids = torch.fft.fft(torch.arange(3))"


def traced(default: str) -> Traced:
    raw: dict[str, Any] = {
        "model_type": "counted",
        "auto_map": {"AutoConfig": "m.Settings", "AutoModelForCausalLM": "m.Counted"},
        "architectures": ["Counted"],
    }
    files = Library(find_library().root, {"m.py": MODEL.replace("{default}", default)})
    return trace_forward(build(files, raw))


def operations(region: Region) -> Iterator[Op]:
    for node in region.nodes:
        match node:
            case Op():
                yield node
            case Call(region=inner):
                yield from operations(inner)
            case Loop(bodies=bodies):
                for body in bodies:
                    yield from operations(body)
            case _:
                pass


def test_a_count_of_the_tokens_is_the_count_of_the_model() -> None:
    made = traced(OWN)
    assert "positions" in made.inputs
    found = list(operations(made.region))
    assert not any(op.name == "cumsum" for op in found)
    assert any(op.name == "add" and op.args[1] == Number(Const(1)) for op in found)
    assert any(op.name == "ne" for op in found)  # padding has a position of its own


@pytest.mark.parametrize("default", [PLAIN, UNREAD])
def test_a_default_that_reads_no_tokens_is_what_the_caller_passes(default: str) -> None:
    made = traced(default)
    names = {op.name for op in operations(made.region)}
    assert "positions" in made.inputs and "arange" not in names and "ne" not in names


@pytest.mark.parametrize(
    "default",
    [
        "position_ids = torch.arange(input_ids.shape[1]).unsqueeze(0)",
        "position_ids = torch.arange(past, past + input_ids.shape[1]).expand(input_ids.shape[0], -1)",
        "position_ids = torch.ones(input_ids.shape, dtype=torch.long).cumsum(-1) - 1 + past",
        "position_ids = self.places_in_order[:, past : past + input_ids.shape[1]]",
    ],
)
def test_a_default_that_counts_from_the_first_token(default: str) -> None:
    made = traced(default)
    assert "positions" in made.inputs and "arange" not in {op.name for op in operations(made.region)}


@pytest.mark.parametrize(
    "default",
    [
        "position_ids = (torch.arange(input_ids.shape[1]) * past)[None]",
        "position_ids = (torch.arange(input_ids.shape[1]) + past + 1)[None]",
        "position_ids = torch.arange(past, past + 2 * input_ids.shape[1], 2)[None]",
        "position_ids = torch.ones(input_ids.shape, dtype=torch.long).cumsum(-1) + past",
    ],
)
def test_a_default_that_counts_otherwise_is_what_the_model_means(default: str) -> None:
    assert "positions" not in traced(default).inputs


def test_a_count_that_is_not_understood_is_an_error() -> None:
    with pytest.raises(CompileError):
        traced(UNKNOWN)


def test_a_model_of_the_library_that_starts_after_its_padding() -> None:
    case = Path(__file__).resolve().parent.parent / "data" / "other_cases" / "roberta.json"
    made = trace_forward(build(find_library(), json.loads(case.read_text())))
    assert "positions" in made.inputs and "cumsum" not in {op.name for op in operations(made.region)}


SHORT = (
    PLAIN
    + """
        if input_ids.shape[1] {test}:
            position_ids = position_ids + 1"""
)


@pytest.mark.parametrize("test", ["<= self.config.size", "<= 2 * self.config.size", "> self.config.size"])
def test_a_path_for_short_inputs_is_for_no_longer_ones(test: str) -> None:
    made = traced(SHORT.replace("{test}", test))
    assert len(made.limits) == 1


def test_other_models_have_no_limits() -> None:
    assert traced(PLAIN).limits == ()
