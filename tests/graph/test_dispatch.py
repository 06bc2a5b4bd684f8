"""Attention is what the function of the file computes, as long as the other forms of the library compute that too."""

from __future__ import annotations

import pytest

from codegen.diagnostics import CompileError
from codegen.graph.construction import Built, build
from codegen.graph.forward import Traced, trace_forward
from codegen.source.files import find_library
from ir.expressions import Key, leaves

MODEL = """
import torch
from torch import nn
from transformers import PreTrainedModel, PretrainedConfig
from transformers.masking_utils import create_causal_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


class Settings(PretrainedConfig):
    model_type = "seeing"

    def __init__(self, size=8, words=11, both_ways=False, **kwargs):
        super().__init__(**kwargs)
        self.size, self.words, self.both_ways = size, words, both_ways


def eager(module, query, key, value, attention_mask, **kwargs):
    scores = query @ key.transpose(2, 3) + attention_mask
    return scores.softmax(-1) @ value, None


class Layer(nn.Module):
    def __init__(self, config, index):
        super().__init__()
        self.index, self.is_causal = index, not config.both_ways
        self.q = nn.Linear(config.size, config.size)

    def forward(self, x, mask, cache):
        k = v = x[:, None]
        if cache is not None:
            k, v = cache.update(k, v, self.index)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface("sdpa", eager)
        return x + attend(self, self.q(x)[:, None], k, v, mask)[0][:, 0]


class Model(PreTrainedModel):
    config_class = Settings
    NAMED = FORMS

    def __init__(self, config):
        super().__init__(config)
        self.words = nn.Embedding(config.words, config.size)
        self.layers = nn.ModuleList([Layer(config, i) for i in range(2)])
        self.head = nn.Linear(config.size, config.words)

    def forward(self, input_ids, attention_mask=None, past_key_values=None, use_cache=None):
        x = self.words(input_ids)
        mask = create_causal_mask(self.config, x, attention_mask, past_key_values)
        for layer in self.layers:
            x = layer(x, mask, past_key_values)
        return self.head(x),
"""


def traced(*, forms: bool, both_ways: bool, named: str = "_supports_sdpa") -> tuple[Built, Traced]:
    raw = {
        "model_type": "seeing",
        "architectures": ["Model"],
        "auto_map": {"AutoConfig": "seeing.Settings", "AutoModelForCausalLM": "seeing.Model"},
        "both_ways": both_ways,
    }
    built = build(find_library({"seeing.py": MODEL.replace("FORMS", repr(forms)).replace("NAMED", named)}), raw)
    return built, trace_forward(built)


@pytest.mark.parametrize(("forms", "both_ways"), [(True, False), (False, False), (False, True)])
def test_one_form_or_forms_that_agree(forms: bool, both_ways: bool) -> None:
    assert [mask.causal for mask in traced(forms=forms, both_ways=both_ways)[1].masks] == [True]


def test_forms_that_do_not_agree() -> None:
    with pytest.raises(CompileError, match="not causal by `both_ways`, on a mask that hides the future") as error:
        traced(forms=True, both_ways=True)
    assert [diagnostic.code for diagnostic in error.value.diagnostics] == ["attention-forms-differ"]


@pytest.mark.parametrize("named", ["_supports_flash_attn", "_supports_flex_attn"])
@pytest.mark.parametrize("both_ways", [False, True])
def test_a_form_that_somebody_may_ask_for(named: str, both_ways: bool) -> None:
    """The function of the file runs; what the form would go by is another configuration's."""
    built, made = traced(forms=True, both_ways=both_ways, named=named)
    assert [mask.causal for mask in made.masks] == [True]
    asked = {leaf for predicate in built.interpreter.predicates.all() for leaf in leaves(predicate.expr)}
    assert Key(("both_ways",)) in asked
