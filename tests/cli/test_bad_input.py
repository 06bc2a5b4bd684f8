"""Input that cannot be meant: every finding in one message, the right exit code, no traceback, nothing left behind."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.checkpoints import entries, safetensors
from tests.cli.small import TENSORS, small_config, small_source
from tests.cli.test_cli import run

REMOVED = object()


def refused(source: Path, *arguments: object) -> list[dict[str, object]]:
    """What the compiler says of a source; it must have written nothing."""
    before = sorted(os.listdir(source.parent))
    result = run("from-hf", source, "--out", source.parent / "package", "--json", *arguments)
    assert result.exit_code == 1, result.output
    assert sorted(os.listdir(source.parent)) == before
    document = json.loads(result.stdout)
    assert document["ok"] is False and document["diagnostics"]
    found = [one for one in document["diagnostics"] if one["severity"] == "error"]
    assert all(one["code"] != "internal-error" for one in found), found
    return found


def codes(found: list[dict[str, object]]) -> list[object]:
    return [one["code"] for one in found]


@pytest.mark.parametrize("text", ("", "{", "[]", "{} {}", '{"a": 1, "a": 2}', '{"a": NaN}', "\x00"))
def test_no_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "config.json").write_text(text)
    assert codes(refused(tmp_path / "source")) == ["config-not-json"]


def test_no_config(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    assert codes(refused(tmp_path / "source")) == ["config-missing"]


def test_all_wrong_values_are_said_at_once(example: Path, tmp_path: Path) -> None:
    source = small_source(
        example, tmp_path / "source", hidden_size=-64, vocab_size="131", num_hidden_layers=100_000, model_type=3
    )
    found = refused(source)
    assert codes(found) == ["config-value"] * 4
    assert all(one["primary"]["file"] == "config.json" for one in found)  # type: ignore[index]


@pytest.mark.parametrize(
    ("changes", "code"),
    (
        ({"num_key_value_heads": 3}, "config-value"),
        ({"sliding_window": -5}, "config-value"),
        ({"auto_map": 3}, "config-value"),
        ({"architectures": "X"}, "config-value"),
        ({"model_type": "acme_net"}, "unknown-model-type"),
        ({"model_type": REMOVED}, "no-model-type"),
        ({"model_type": "clip"}, "no-causal-model"),
        ({"hidden_act": "nonsense"}, "unknown-choice"),
        ({"head_dim": 7}, "source-raises"),
        ({"rope_scaling": "linear"}, "source-raises"),
        ({"rope_scaling": {"rope_type": "nonsense", "factor": 2.0}}, "unknown-choice"),
        ({"rope_scaling": {"rope_type": "linear", "factor": "x"}}, "invalid-op"),
        ({"layer_types": ["nonsense"] * 2}, "source-raises"),
        ({"rms_norm_eps": None}, "config-value"),
        ({"rope_theta": "big"}, "invalid-op"),
        ({"tie_word_embeddings": "yes"}, "config-value"),
        ({"attention_bias": "no"}, "config-value"),
    ),
)
def test_values_that_no_network_has(example: Path, tmp_path: Path, changes: dict[str, object], code: str) -> None:
    source = small_source(example, tmp_path / "source")
    config = {key: value for key, value in small_config(example, **changes).items() if value is not REMOVED}
    (source / "config.json").write_text(json.dumps(config))
    assert codes(refused(source)) == [code]


def test_heads_that_nothing_shares_are_not_asked_about(tmp_path: Path) -> None:
    """Keys and values of all heads: the number of groups is read, and only whether there is one matters."""
    source = Path(__file__).parents[1] / "data" / "other_cases" / "longcat_flash.json"
    config = {**json.loads(source.read_text()), "num_key_value_heads": 3}
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "config.json").write_text(json.dumps(config))
    assert run("from-hf", tmp_path / "source", "--out", tmp_path / "package", "--json").exit_code == 0


def test_keys_that_nothing_reads_are_noted_with_the_reason(example: Path, tmp_path: Path) -> None:
    config = small_config(example, favourite=7, rope_parameters={"rope_type": "default", "factor": 3.0})
    del config["rms_norm_eps"]
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "config.json").write_text(json.dumps({**config, "rms_norm_epsilon": 0.5}))
    result = run("from-hf", tmp_path / "source", "--out", tmp_path / "package", "--json")
    assert result.exit_code == 0, result.output
    (note,) = (one for one in json.loads(result.stdout)["diagnostics"] if one["code"] == "keys-unread")
    assert note["severity"] == "note"
    said = dict(line.rsplit(": ", 1) for line in note["notes"])
    assert said["no result of the model depends on it"] == "`rope_parameters.factor`"
    undeclared = said["not declared by the configuration class, which keeps it; no result of the model depends on it"]
    assert undeclared == "`favourite`, `rms_norm_epsilon`"
    assert "`initializer_range`" in said["matters in training alone"]
    assert "`rms_norm_epsilon` is like `rms_norm_eps`: is it misspelled?" in note["help"]


# Checkpoints


def with_tensors(example: Path, folder: Path, **changes: object) -> Path:
    """A source whose list of tensors is that of the model but for `changes`; None removes one."""
    tensors = {name: shape for name, shape in {**TENSORS, **changes}.items() if shape is not None}
    return small_source(example, folder, tensors)  # type: ignore[arg-type]


def test_every_tensor_without_a_place_is_named(example: Path, tmp_path: Path) -> None:
    wrong = {
        "model.layers.0.self_attn.q_proj.scales": [1],
        "model.layers.1.self_attn.q_proj.scales": [1],
        "score.weight": [1],
    }
    (found,) = refused(with_tensors(example, tmp_path / "source", **wrong))
    assert found["code"] == "unknown-tensor"
    assert found["notes"] == ["model.layers.{0-1}.self_attn.q_proj.scales", "score.weight"]


def test_every_missing_tensor_is_named(example: Path, tmp_path: Path) -> None:
    wrong = {"model.norm.weight": None, "model.layers.1.mlp.up_proj.weight": None}
    (found,) = refused(with_tensors(example, tmp_path / "source", **wrong))
    assert found["code"] == "missing-tensor"
    assert found["notes"] == ["model.layers.1.mlp.up_proj.weight", "model.norm.weight"]


def test_shapes_and_types(example: Path, tmp_path: Path) -> None:
    source = with_tensors(
        example, tmp_path / "source", **{"model.norm.weight": [65], "model.layers.0.mlp.up_proj.weight": [64, 96]}
    )
    types = {name: "F8_E4M3" if name.endswith("down_proj.weight") else "BF16" for name in TENSORS}
    (source / "dtypes.json").write_text(json.dumps(types))
    shapes, kinds = refused(source)
    assert shapes["code"] == "tensor-shape" and kinds["code"] == "tensor-type"
    assert shapes["notes"] == [
        "model.layers.0.mlp.up_proj.weight: [64, 96], the model has [96, 64]",
        "model.norm.weight: [65], the model has [64]",
    ]
    assert "model.layers.{0-1}.mlp.down_proj.weight: F8_E4M3" in kinds["notes"][0]  # type: ignore[index]


def test_no_weights_skips_all_that(example: Path, tmp_path: Path) -> None:
    source = with_tensors(example, tmp_path / "source", **{"model.norm.weight": None})
    assert run("from-hf", source, "--out", tmp_path / "package", "--no-weights").exit_code == 0


def test_what_is_no_parameter_is_noted_with_the_reason(example: Path, tmp_path: Path) -> None:
    stored = {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": [8] for layer in range(2)}
    source = with_tensors(example, tmp_path / "source", **stored, **{"lm_head.weight": [131, 64]})
    result = run("from-hf", source, "--out", tmp_path / "package")
    assert result.exit_code == 0
    assert "note[weights-ignored]: 2 tensors of the checkpoint not read: the model computes" in result.stderr
    assert "model.layers.{0-1}.self_attn.rotary_emb.inv_freq" in result.stderr
    assert "note[weights-tied]: `lm_head.weight` is one tensor with" in result.stderr
    assert "stored as well" in result.stderr


def test_a_buffer_of_another_shape_is_not_ignored(example: Path, tmp_path: Path) -> None:
    (found,) = refused(with_tensors(example, tmp_path / "source", **{"model.rotary_emb.inv_freq": [9]}))
    assert found["code"] == "unknown-tensor"


def test_an_untied_head_must_be_there(example: Path, tmp_path: Path) -> None:
    (found,) = refused(small_source(example, tmp_path / "source", dict(TENSORS), tie_word_embeddings=False))
    assert found["code"] == "missing-tensor" and found["notes"] == ["lm_head.weight"]


def test_truncated_files_and_pointers(example: Path, tmp_path: Path) -> None:
    source = small_source(example, tmp_path / "source")
    header = entries({name: ("BF16", tuple(shape)) for name, shape in TENSORS.items()})
    whole = safetensors(header)
    (source / "model.safetensors").write_bytes(whole[:-7])
    assert codes(refused(source)) == ["weights-truncated"]
    (source / "model.safetensors").write_bytes(whole[:20])
    assert codes(refused(source)) == ["weights-truncated"]
    (source / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    assert codes(refused(source)) == ["lfs-pointer"]
    (source / "model.safetensors").write_bytes(whole)
    assert run("from-hf", source, "--out", tmp_path / "package").exit_code == 0


def test_the_hub_is_not_reachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("from-hf", "org/none-of-these", "--out", tmp_path / "package")
    assert result.exit_code == 1 and "error[hub-unreachable]" in result.stderr
    assert os.listdir(tmp_path) == []
