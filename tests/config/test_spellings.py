"""Releases of the library write the same configuration with other keys: every spelling of it gives the same package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from codegen.graph.exploration import ConfigurationClass, normal_spelling
from codegen.pipeline import compile_package
from codegen.repo import from_record
from tests.config.law import CASES, case, library, load

NAMES = sorted(path.stem for path in CASES.glob("*.json"))
QUICK = ("qwen3", "llama", "gpt2")
ABOUT_CONFIG = ("README.md", "source.json")  # list the keys of the config.json that was given

# What is not written in one way, and why.
UNLIKE = {
    "granite_swa": "a list that says of each layer whether it turns at all is served as it is, written out or not",
    "mpt": "an object that belongs to a configuration within it is saved with keys of the library's own",
    "moshi": "a configuration within it keeps a number under a private name, and does not take it back under that",
}
OBJECTS = "what single layers have of their own is an object for each in the newer spelling"
OTHER_CODE = {
    "gemma4_text": OBJECTS,
    "gemma4_unified_text": OBJECTS,
}  # sizes of single layers are read from these objects


def saved(raw: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A configuration as this release of the library writes it."""
    from transformers import AutoConfig

    (folder / "config.json").write_text(json.dumps(raw))
    AutoConfig.from_pretrained(folder).save_pretrained(folder)
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return {
        **found,
        "model_type": raw["model_type"],
    }  # a type without a class of its own is saved as the one whose class it has


def files(raw: Mapping[str, Any]) -> dict[str, str]:
    package = compile_package(from_record("org/name", "", raw))
    return {name: text for name, text in package.files.items() if name not in ABOUT_CONFIG}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NAMES]
)
def test_all_spellings_give_the_same_package(name: str, tmp_path: Path) -> None:
    raw = case(name)
    spelled = saved(raw, tmp_path)
    assert raw != spelled
    one = files(raw)
    other = files(spelled)
    unlike = [file for file in one if one[file] != other[file]]
    if name in OTHER_CODE:
        assert {"config.py", "torch_model.py", "flax_model.py"} <= {*unlike}
        return
    assert unlike == (["config.py", "test_model.py"] if name in UNLIKE else [])


@pytest.mark.parametrize("name", QUICK)
def test_the_normal_spelling_is_one(name: str, tmp_path: Path) -> None:
    """It says the same, is its own normal spelling, and no key of it follows from the others."""
    raw = case(name)
    cls = ConfigurationClass(library(), raw)
    normal = normal_spelling(cls, raw)
    assert normal_spelling(cls, saved(raw, tmp_path)) == normal == normal_spelling(cls, normal)
    wanted = cls(normal).resolved
    assert {**cls(raw).resolved, "transformers_version": None} == {**wanted, "transformers_version": None}
    for key in normal.keys() - {"model_type", "architectures"}:
        assert cls({name: item for name, item in normal.items() if name != key}).resolved != wanted


def test_what_a_saved_list_hides() -> None:
    """A list of kinds that is written out hides the flags that it followed from: others may leave it out and set them."""
    raw = case("qwen3")
    spelled = {**raw, "layer_types": ["full_attention", "full_attention", "full_attention"], "sliding_window": None}
    config = load(files(spelled)["config.py"]).Config
    config.from_hf({**raw, "max_window_layers": 3})
    windows = {**raw, "use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}
    with pytest.raises(ValueError, match="sliding_attention"):
        config.from_hf(windows)


def test_a_list_hides_what_else_would_say_it() -> None:
    """Where a list is written out, nothing is asked of the older key for it; those that have that key are not served without."""
    raw = case("nemotron_h")
    older = raw["hybrid_override_pattern"]
    list_of = load(files(raw)["config.py"]).Config.from_hf(raw).layers_block_type
    newer = {name: item for name, item in raw.items() if name != "hybrid_override_pattern"}
    config = load(files({**newer, "layers_block_type": list(list_of)})["config.py"]).Config
    assert len(list_of) == len(older) and config().layers_block_type == list_of
    with pytest.raises(ValueError, match="hybrid_override_pattern"):
        config.from_hf(raw)


def test_a_text_with_a_letter_for_each_layer_stays_as_it_is() -> None:
    raw = case("nemotron_h")
    config = load(files(raw)["config.py"]).Config
    for pattern in ("M*", f"{raw['hybrid_override_pattern']}M"):
        with pytest.raises(ValueError, match="hybrid_override_pattern is another"):
            config.from_hf({**raw, "hybrid_override_pattern": pattern})


def test_a_flag_that_is_null_may_be_false() -> None:
    config = load(files(case("gemma"))["config.py"]).Config
    for given in ({}, {"use_bidirectional_attention": None}, {"use_bidirectional_attention": False}):
        assert config.from_hf({**case("gemma"), **given}) == config.from_hf(case("gemma"))
    with pytest.raises(ValueError, match="use_bidirectional_attention is True; this code was compiled for None"):
        config.from_hf({**case("gemma"), "use_bidirectional_attention": True})
