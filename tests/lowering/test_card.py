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
from ir.reading import DROPOUT, UNTRAINED
from ir.records import replace
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


def test_dropout_is_what_the_modules_of_the_model_ask_for(tmp_path: Path) -> None:
    """A head that is not compiled has a dropout of its own."""
    text = card(tmp_path, "gpt2", attn_pdrop=0.1, embd_pdrop=0.1, resid_pdrop=0.1, summary_first_dropout=0.1)
    (line,) = (line for line in text.splitlines() if DROPOUT in line)
    assert all(f"`{key}`" in line for key in ("attn_pdrop", "embd_pdrop", "resid_pdrop"))
    assert "`summary_first_dropout`" in text.replace(line, "")


@pytest.mark.parametrize(
    ("name", "tensor", "why"),
    [
        ("gemma2", "rotary_emb.inv_freq", "follow from the configuration"),
        ("gpt2", "h.0.attn.bias", "not loaded by the original"),
    ],
)
def test_why_tensors_are_not_read(tmp_path: Path, name: str, tensor: str, why: str) -> None:
    found = re.findall(r"^- tensors `(.*)`: (.*)$", card(tmp_path, name), re.MULTILINE)
    (reason,) = (reason for pattern, reason in found if re.search(pattern, tensor))
    assert reason.startswith(why)


def test_a_source_that_is_no_repository_is_not_recorded_as_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(load_case("qwen3")))
    package = compile_package(load(str(tmp_path)))
    record = json.loads(package.files["source.json"])
    assert record["repository"] is None and record["name"] == tmp_path.name
    assert compile_package(replace(load(str(tmp_path)), name="org/name")).files["source.json"].count('"org/name"') == 2
