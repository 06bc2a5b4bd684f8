"""A package serves the configurations that need its code, whatever the source asked on the way."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from codegen.pipeline import compile_package
from codegen.repo import load

CASES = Path(__file__).resolve().parent.parent / "data" / "cases"


def case(name: str, **changes: object) -> dict[str, Any]:
    found = json.loads((CASES / f"{name}.json").read_text())
    return {**found.get("config", found), **changes}


def config_class(folder: Path, name: str, raise_components: bool = True, changes: str = "{}") -> type:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(case(name, **json.loads(changes))))
    package = compile_package(load(str(folder)), raise_components=raise_components)
    module = types.ModuleType("emitted_for_variation")
    sys.modules[module.__name__] = module
    exec(compile(package.files["config.py"], "config.py", "exec"), module.__dict__)
    found = module.__dict__["Config"]
    assert isinstance(found, type)
    return found


def refusal(config: type, raw: Mapping[str, Any]) -> str:
    try:
        config.from_hf(raw)  # type: ignore[attr-defined]
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("heads", (1, 2, 4))
def test_heads_of_keys_are_free(tmp_path: Path, heads: int) -> None:
    config = config_class(tmp_path, "llama")
    assert refusal(config, case("llama", num_key_value_heads=heads)) == ""


def test_they_are_free_for_a_checkpoint_without_groups_too(tmp_path: Path) -> None:
    config = config_class(tmp_path, "llama", changes='{"num_key_value_heads": 4}')
    assert refusal(config, case("llama", num_key_value_heads=2)) == ""
    assert "num_key_value_heads does not divide num_attention_heads" in refusal(
        config, case("llama", num_key_value_heads=3)
    )


def test_without_components_the_arm_of_the_source_is_the_code(tmp_path: Path) -> None:
    config = config_class(tmp_path, "llama", raise_components=False)
    assert "num_key_value_heads" in refusal(config, case("llama", num_key_value_heads=4))


def test_what_is_returned_and_what_decides_nothing_is_free(tmp_path: Path) -> None:
    config = config_class(tmp_path, "bloom")
    for changes in ({"return_dict": False}, {"output_hidden_states": True}, {"pretraining_tp": 2}):
        assert refusal(config, case("bloom", **changes)) == ""
    assert "slow_but_exact" in refusal(config, case("bloom", slow_but_exact=True, pretraining_tp=2))
    assert "apply_residual_connection_post_layernorm" in refusal(
        config, case("bloom", apply_residual_connection_post_layernorm=True)
    )


def test_sizes_that_an_operation_needs_equal(tmp_path: Path) -> None:
    config = config_class(tmp_path, "helium")
    assert "num_attention_heads * head_dim is not hidden_size" in refusal(config, case("helium", head_dim=24))
    assert "2 does not divide head_dim" in refusal(config, case("helium", head_dim=15))


def test_what_only_the_library_asks_for_is_no_less_asked_for(tmp_path: Path) -> None:
    """Masks that look both ways are another program, though no class declares the key that says so."""
    config = config_class(tmp_path, "qwen2")
    assert "is_causal" in refusal(config, case("qwen2", is_causal=False))


def test_a_key_that_is_given_with_what_its_absence_stands_for(tmp_path: Path) -> None:
    config = config_class(tmp_path, "qwen2")
    raw = case("qwen2")
    assert "head_dim" not in raw and "is_causal" not in raw
    width = raw["hidden_size"] // raw["num_attention_heads"]
    plain = config.from_hf(raw)  # type: ignore[attr-defined]
    assert config.from_hf({**raw, "head_dim": width, "is_causal": True}) == plain  # type: ignore[attr-defined]
    twice = {**raw, "num_attention_heads": raw["num_attention_heads"] * 2, "head_dim": width // 2}
    assert refusal(config, twice) == ""
    assert "head_dim is" in refusal(config, {**twice, "head_dim": width})
    assert "head_dim is None" in refusal(config, {**raw, "head_dim": None})


def test_the_configuration_of_another_type(tmp_path: Path) -> None:
    config = config_class(tmp_path, "qwen2")
    raw = case("qwen2")
    assert "model_type is 'llama'; this code was compiled for 'qwen2'" in refusal(
        config, {**raw, "model_type": "llama"}
    )
    assert refusal(config, {key: value for key, value in raw.items() if key != "model_type"}) == ""


def test_what_is_wrong_is_said_before_what_comes_of_it(tmp_path: Path) -> None:
    """Heads that are none divide nothing: no error of a division hides that."""
    said = refusal(config_class(tmp_path, "qwen2"), case("qwen2", num_key_value_heads=0))
    assert "a size is not positive" in said and "Error" not in said


YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 0.5,
    "original_max_position_embeddings": 32,
}


def test_what_a_helper_of_the_library_asks_on_the_way_to_a_number(tmp_path: Path) -> None:
    """A scale of zero is no scale to the helper: it computes the number in another way."""
    config = config_class(tmp_path, "qwen2", changes=json.dumps({"rope_scaling": YARN}))
    assert refusal(config, case("qwen2", rope_scaling=YARN)) == ""
    assert refusal(config, case("qwen2", rope_scaling={**YARN, "mscale": 0.7, "beta_fast": 16.0, "factor": 8.0})) == ""
    for key in ("mscale", "mscale_all_dim", "beta_fast", "beta_slow"):
        assert f"{key}=0" in refusal(config, case("qwen2", rope_scaling={**YARN, key: 0}))
    assert "factor=0.5" in refusal(config, case("qwen2", rope_scaling={**YARN, "factor": 0.5}))
