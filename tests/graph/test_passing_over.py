"""Layers that a loop passes over, and slots of the cache that nothing fills."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from codegen.diagnostics import CompileError
from codegen.graph.construction import build
from codegen.graph.forward import Traced, trace_forward
from codegen.source.files import Library, find_library
from ir.graph import Call, Loop, Op, Region

MODEL = """
import torch
from torch import nn
from transformers import DynamicCache, PreTrainedModel, PretrainedConfig


class Settings(PretrainedConfig):
    model_type = "passing"

    def __init__(self, size=8, words=11, depth=4, passed=(1, 2), **kwargs):
        super().__init__(**kwargs)
        self.size, self.words, self.num_hidden_layers, self.passed = size, words, depth, list(passed)


class Layer(nn.Module):
    def __init__(self, config, index):
        super().__init__()
        self.index = index
        self.inner = nn.Linear(config.size, config.size)

    def forward(self, x, cache):
        k = self.inner(x)[:, None]
        if cache is not None:
            k, _ = cache.update(k, k, self.index)
        return x + k.mean(2)


class Passing(PreTrainedModel):
    config_class = Settings

    def __init__(self, config):
        super().__init__(config)
        self.words = nn.Embedding(config.words, config.size)
        self.layers = nn.ModuleList([Layer(config, i) for i in range(config.num_hidden_layers)])
        self.head = nn.Linear(config.size, config.words)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, past_key_values=None, use_cache=None):
        x = self.words(input_ids)
        for index, layer in enumerate(self.layers):
            held = past_key_values is not None and past_key_values.layers[index].is_initialized
            {rule}
            x = layer(x, past_key_values)
        return (self.head(x),)
"""

PASSED = "if index in self.config.passed and not held:\n                continue"
DECIDING = "if held:\n                x = x + 1"


def traced(rule: str) -> Traced:
    raw: dict[str, Any] = {
        "model_type": "passing",
        "auto_map": {"AutoConfig": "m.Settings", "AutoModelForCausalLM": "m.Passing"},
        "architectures": ["Passing"],
    }
    return trace_forward(build(Library(find_library().root, {"m.py": MODEL.replace("{rule}", rule)}), raw))


def loops(region: Region) -> Iterator[Loop]:
    for node in region.nodes:
        if isinstance(node, Loop):
            yield node
        elif isinstance(node, Call):
            yield from loops(node.region)


def test_a_layer_that_is_passed_over_has_its_place_in_the_loop() -> None:
    (loop,) = loops(traced(PASSED).region)
    assert loop.kinds == (0, 1, 1, 0)
    assert loop.bodies[1].nodes == () and loop.bodies[0].nodes


def test_an_answer_that_changes_nothing_is_let_be() -> None:
    made = traced("pass")
    (loop,) = loops(made.region)
    assert loop.kinds == (0, 0, 0, 0)


def test_a_step_that_is_not_like_the_first_is_an_error() -> None:
    with pytest.raises(CompileError, match="cache of a layer is empty"):
        traced(DECIDING)


def test_the_cache_is_used() -> None:
    (loop,) = loops(traced(PASSED).region)
    calls = [node for node in loop.bodies[0].nodes if isinstance(node, Call)]
    assert any(isinstance(n, Op) and n.name == "cache_update" for call in calls for n in call.region.nodes)
