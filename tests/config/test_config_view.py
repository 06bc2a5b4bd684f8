"""The emitted Config: what it accepts, what it refuses and in which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codegen.graph.registry import equivalents
from codegen.lowering.config_view import UNDECLARED, unread_keys
from tests.config.law import Compiled, case, compile_config, library


@pytest.fixture(scope="module")
def llama() -> Compiled:
    raw = case("llama")
    larger = {**raw, "hidden_size": 96, "num_hidden_layers": 5, "tie_word_embeddings": True}
    other = {**raw, "attention_bias": True}
    return compile_config(raw, {"org/larger": larger, "org/other": other})


def from_hf(compiled: Compiled, **changes: Any) -> Any:
    return compiled.module.Config.from_hf({**compiled.raw, **changes})


def test_defaults_are_this_checkpoint(llama: Compiled) -> None:
    assert from_hf(llama) == llama.module.Config()


def test_sizes_are_free(llama: Compiled) -> None:
    config = from_hf(
        llama, hidden_size=4096, num_attention_heads=32, num_key_value_heads=8, head_dim=None, num_hidden_layers=80
    )
    assert (config.head_dim, config.num_hidden_layers, config.num_key_value_heads) == (128, 80, 8)


def test_a_file_and_a_folder(llama: Compiled, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(llama.raw))
    assert llama.module.Config.from_hf(tmp_path) == llama.module.Config.from_hf(tmp_path / "config.json")
    with pytest.raises(ValueError, match="cannot be read"):
        llama.module.Config.from_hf(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attention_bias": True}, "attention_bias is True; this code was compiled for False"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'; this code was compiled for 'silu'"),
        (
            {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
            "rope_type is 'yarn'; this code was compiled for 'default'",
        ),
        (
            {"rope_scaling": {"type": "linear", "factor": 4.0}},
            "rope_type is 'linear'; this code was compiled for 'default'",
        ),
        ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "objects that this code does not know"),
        ({"hidden_size": "64"}, "hidden_size is '64', not int"),
        ({"hidden_size": True}, "hidden_size is True, not int"),
        ({"hidden_size": 48.0}, "hidden_size is 48.0, not int"),
        ({"vocab_size": 0}, "a size is not positive"),
        ({"num_hidden_layers": -1}, "a size is not positive"),
        ({"num_attention_heads": 0, "head_dim": None}, "makes no sense"),
        ({"num_key_value_heads": 3}, "num_key_value_heads does not divide num_attention_heads"),
        ({"hidden_size": 50}, "the configuration class refuses hidden_size=50, num_attention_heads=4"),
        ({"rms_norm_eps": None}, "rms_norm_eps is None"),
        ({"per_layer_config": {"0": {"head_dim": 8}}}, "per_layer_config"),
    ],
)
def test_what_is_refused(llama: Compiled, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match="does not fit|makes no sense") as caught:
        from_hf(llama, **changes)
    assert said in str(caught.value)


def test_every_finding_in_one_error(llama: Compiled) -> None:
    with pytest.raises(ValueError, match="attention_bias") as caught:
        from_hf(llama, attention_bias=True, mlp_bias=True, hidden_act="relu")
    assert all(key in str(caught.value) for key in ("attention_bias", "mlp_bias", "hidden_act"))


def test_published_checkpoints(llama: Compiled) -> None:
    checkpoints = llama.module.CHECKPOINTS
    assert checkpoints["org/larger"].hidden_size == 96
    assert checkpoints["org/larger"].tie_word_embeddings
    assert "org/other" not in checkpoints


def test_what_is_served_is_what_is_accepted(llama: Compiled) -> None:
    for changes in (
        {},
        {"hidden_size": 96},
        {"mlp_bias": True},
        {"vocab_size": 0},
        {"num_key_value_heads": 3},
        {"head_dim": "x"},
    ):
        values = llama.lowering.served({**llama.raw, **changes})
        try:
            config = from_hf(llama, **changes)
        except ValueError:
            assert isinstance(values, str), changes
        else:
            assert not isinstance(values, str), values
            assert all(getattr(config, llama.lowering.fields[path]) == value for path, value in values.items())


def test_a_list_of_layers_has_known_kinds_alone() -> None:
    compiled = compile_config(case("cohere2"))
    assert (
        from_hf(compiled, layer_types=None, sliding_window_pattern=2).layer_types
        == ("sliding_attention", "full_attention") * 2
    )
    with pytest.raises(ValueError, match="compiled for 'sliding_attention', 'full_attention'"):
        from_hf(compiled, layer_types=["chunked_attention"] * 4)
    with pytest.raises(ValueError, match="num_hidden_layers"):
        from_hf(compiled, layer_types=["full_attention"] * 3)


def test_the_emitted_text_is_alone(llama: Compiled) -> None:
    assert "codegen" not in llama.text.split("\n", 1)[1]
    assert "transformers" not in llama.text.split("\n", 1)[1]


def test_keys_that_no_code_reads() -> None:
    more = {"top_k": 50, "made_up": 3, "quantization_config": {"bits": 4}, "classifier_dropout": 0.1}
    compiled = compile_config({**case("llama"), **more})
    reasons = dict(unread_keys(compiled.explored, compiled.lowering.fields, {"attention_dropout"}))
    assert reasons["top_k"] == "dropped by the configuration class"
    assert reasons["made_up"] == UNDECLARED
    assert reasons["initializer_range"] == "matters in training alone"
    assert "not implemented" in reasons["attention_dropout"]
    assert reasons["classifier_dropout"] == UNDECLARED
    assert "refused" in reasons["quantization_config"]
    assert "hidden_size" not in reasons
    assert "hidden_act" not in reasons


def test_names_of_one_function(llama: Compiled) -> None:
    assert equivalents(library(), "silu") == ("silu", "swish")
    assert equivalents(library(), "gelu_new") == ("gelu_new",)
    assert from_hf(llama, hidden_act="swish") == llama.module.Config()


def test_what_follows_from_a_key_that_must_be_as_it_was_is_written_out() -> None:
    compiled = compile_config(case("gpt_neo"))
    assert 'raw["attention_layers"] if "attention_layers" in raw else ("global", "local") * 2' in compiled.text.replace(
        "'", '"'
    )
    with pytest.raises(ValueError, match="attention_types is"):
        from_hf(compiled, attention_types=[[["global"], 4]])
    with pytest.raises(ValueError, match="attention_types is"):
        from_hf(compiled, attention_types=[None])
