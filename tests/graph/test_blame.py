"""A failure of the source says what in config.json it has to do with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codegen import pipeline
from codegen.diagnostics import CompileError, Diagnostic
from codegen.repo import load

CONFIGURATION = """
from transformers import PretrainedConfig
from transformers.configuration_utils import PreTrainedConfig

class SmallConfig(PreTrainedConfig):
    model_type = "small"
    attribute_map = {"width": "hidden_size"}
    vocab_size: int = 32
    hidden_size: int = 8
    eps: float = 1e-6
    act: str = "relu"
    second_act: str | None = "relu"
    flag: bool = False
    dims: list[int] | None = None
    extra: dict | None = None

    def validate_width(self):
        if self.hidden_size % 2:
            raise ValueError(f"an odd width: {self.hidden_size}")

    def validate_words(self):
        if self.vocab_size < 4:
            raise ValueError(f"few words: {self.vocab_size}")
"""
MODEL = """
import torch
from torch import nn
from transformers.modeling_utils import PreTrainedModel
from .configuration_small import SmallConfig

TABLE = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}

class SmallForCausalLM(PreTrainedModel):
    config_class = SmallConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.act = TABLE[config.act]()
        self.second = TABLE[config.second_act]()
        self.scale = (config.extra or {}).get("scale", 1.0)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(self, input_ids=None, **kwargs):
        return self.head(self.act(self.embed(input_ids)) * self.scale)
"""


def findings(folder: Path, **changes: object) -> tuple[Diagnostic, ...]:
    """What the compiler says of a small model that brings its own code."""
    (folder / "configuration_small.py").write_text(CONFIGURATION)
    (folder / "modeling_small.py").write_text(MODEL)
    automatic = {
        "AutoConfig": "configuration_small.SmallConfig",
        "AutoModelForCausalLM": "modeling_small.SmallForCausalLM",
    }
    (folder / "config.json").write_text(json.dumps({"model_type": "small", "auto_map": automatic, **changes}, indent=1))
    repository = load(str(folder))
    try:
        pipeline.trace(repository, pipeline.build(repository))
    except CompileError as error:
        return error.diagnostics
    return ()


def place(found: Diagnostic) -> str:
    assert found.primary is not None
    return found.primary.span.file


def test_a_model_that_compiles(tmp_path: Path) -> None:
    assert findings(tmp_path) == ()
    assert findings(tmp_path, eps=1, width=16, dims=[1, 2], extra={"scale": 2}) == ()


def test_a_name_that_a_table_does_not_have(tmp_path: Path) -> None:
    (found,) = findings(tmp_path, act="sigmoud")
    assert found.code == "unknown-choice" and place(found) == "config.json"
    assert found.message == '`act` is "sigmoud", which the source does not know'
    assert found.notes == ("known are `relu`, `sigmoid`, `tanh`",)
    assert found.help == "did you mean `sigmoid`?"
    assert [label.span.file for label in found.secondary] == ["modeling_small.py"]


def test_all_values_of_other_types_are_said(tmp_path: Path) -> None:
    wrong = {"eps": "x", "act": None, "flag": 1, "dims": [1, "2"], "extra": 3, "width": "8"}
    found = findings(tmp_path, **wrong)
    assert {one.code for one in found} == {"config-value"}
    assert sorted(one.message for one in found) == [
        "`act` is null; `SmallConfig` takes a string",
        '`dims` is [1, "2"]; `SmallConfig` takes a list of which each is a whole number or null',
        '`eps` is "x"; `SmallConfig` takes a number',
        "`extra` is 3; `SmallConfig` takes an object or null",
        "`flag` is 1; `SmallConfig` takes true or false",
        '`width` is "8"; `SmallConfig` takes a whole number',
    ]
    assert {place(one) for one in found} == {"config.json"}


def test_all_checks_of_the_source_are_said(tmp_path: Path) -> None:
    found = findings(tmp_path, width=7, vocab_size=3)
    assert sorted(one.message for one in found) == [
        "the source raises ValueError: an odd width: 7",
        "the source raises ValueError: few words: 3",
    ]
    assert sorted(one.notes for one in found) == [("`vocab_size` is 3",), ("`width` is 7",)]


def test_an_operation_says_the_setting_that_it_fails_with(tmp_path: Path) -> None:
    (found,) = findings(tmp_path, extra={"scale": "big"})
    assert found.code == "invalid-op" and found.notes == ('`extra.scale` is "big"',)
    assert place(found) == "config.json"


@pytest.mark.parametrize("changes", ({"act": "x" * 10_000}, {"second_act": "\x1b[31m"}))
def test_what_is_said_is_fit_to_be_shown(tmp_path: Path, changes: dict[str, object]) -> None:
    (found,) = findings(tmp_path, **changes)
    assert len(found.message) < 300 and found.message.isprintable()
