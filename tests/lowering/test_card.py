"""What the card tells of a network beyond its modules, and that its examples can be followed."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
from torch import nn

from codegen.pipeline import compile_package
from codegen.repo import load
from ir.reading import UNTRAINED
from tests.parity.original import build, load_case


def card(folder: Path, name: str, **changes: object) -> str:
    (folder / "config.json").write_text(json.dumps({**load_case(name), **changes}))
    return compile_package(load(str(folder))).files["README.md"]


@pytest.mark.parametrize(
    ("ends", "said"), [([1, 7], "[1, 7]"), (7, "tokenizer.eos_token_id"), (None, "tokenizer.eos_token_id")]
)
def test_all_tokens_that_end_a_text(tmp_path: Path, ends: object, said: str) -> None:
    assert f"eos_token_id={said}," in card(tmp_path, "gemma2", eos_token_id=ends)


def test_layers_are_those_that_the_configuration_has_a_word_for(tmp_path: Path) -> None:
    near, far = "sliding_attention", "full_attention"
    kinds = [near, far, far, near]
    text = card(tmp_path, "gemma2", layer_types=kinds, num_hidden_layers=len(kinds))
    for word, numbers in ((near, "0, 3"), (far, "1-2")):
        assert f"layers with layer_types {word}, here {numbers}," in text
        assert f"`self_attn` of layers with layer_types {word}: " in text
    assert "`mlp`: gated MLP" in text


def test_ties_are_named(tmp_path: Path) -> None:
    expected = "`lm_head.weight` and `model.embed_tokens.weight` are one tensor where `tie_word_embeddings`."
    assert expected in card(tmp_path, "qwen3")


def test_examples_are_python_and_name_no_checkpoint_that_is_none(tmp_path: Path) -> None:
    text = card(tmp_path, "gpt2")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) > 5 and all(ast.parse(block) for block in blocks)
    assert 'from_pretrained("path/to/checkpoint"' in text and "| repository |" not in text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bloom", "gemma2", "gpt2", "llama", "opt", "xglm"])
def test_a_row_that_the_original_does_not_train_is_named(tmp_path: Path, name: str) -> None:
    text = card(tmp_path, name, pad_token_id=3)
    rows = [layer.padding_idx for layer in build(tmp_path).modules() if isinstance(layer, nn.Embedding)]
    assert (f"`pad_token_id` of config.json: {UNTRAINED}" in text) == (3 in rows)
