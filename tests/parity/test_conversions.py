"""Checkpoints that the library converts when it loads them: our layouts of their parameters, against what it makes of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from codegen import graph, pipeline
from codegen.joints import naming_of
from codegen.lowering import layouts
from codegen.lowering.accounting import account, stored_layouts
from codegen.lowering.layouts import Chunk, Concat, Deinterleaved, Layout, Shape, Stack, Transposed
from codegen.repo import load

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

DATA = Path(__file__).parents[1] / "data"
FAST = ("mixtral", "olmoe", "hrm_text", "olmo_hybrid", "deepseek_v4", "inkling2_text")
SLOW = (
    "afmoe",
    "bailing_hybrid",
    "beam",
    "deepseek_v3",
    "ernie4_5_moe",
    "flex_olmo",
    "glm4_moe",
    "hunyuan_v1_moe",
    "jamba",
    "kimi_linear",
    "laguna",
    "lfm2_moe",
    "longcat_flash",
    "minimax",
    "nemotron_h",
    "phimoe",
    "qwen3_5_moe",
    "qwen3_next",
    "qwen4_exp_text",
)


def value_of(layout: Layout, shape: Shape, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    """A parameter of `shape`, by what the kinds of layout mean."""
    match layout:
        case str():
            return tensors[layout]
        case Stack(of):
            parts = [layouts.with_names(of, lambda name, i=i: name.replace("*", str(i))) for i in range(shape[0])]
            return np.stack([value_of(part, shape[1:], tensors) for part in parts])
        case Concat(parts, axis):
            return np.concatenate([value_of(part, (), tensors) for part in parts], axis)
        case Chunk(of, index, count, axis):
            return np.split(value_of(of, (), tensors), count, axis)[index]
        case Transposed(of, first, second):
            return value_of(of, (), tensors).swapaxes(first, second)
        case Deinterleaved(of, axis, 1):
            whole = value_of(of, (), tensors)
            return np.concatenate([whole.take(range(start, whole.shape[axis], 2), axis) for start in (0, 1)], axis)
        case _:
            raise AssertionError(layout)


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_converted_checkpoint_is_read_as_the_library_reads_it(name: str, tmp_path: Path) -> None:
    from safetensors.numpy import load_file
    from transformers import AutoModelForCausalLM

    from tests.parity.original import build

    source = next(DATA.glob(f"*cases/{name}.json"))
    shutil.copy(source, tmp_path / "config.json")
    build(tmp_path).save_pretrained(tmp_path)
    shutil.copy(source, tmp_path / "config.json")
    original = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)  # as a user's loads, not as saved
    theirs = {path: tensor.numpy() for path, tensor in original.state_dict().items()}
    tensors = load_file(tmp_path / "model.safetensors")

    repository = load(str(tmp_path))
    built = pipeline.build(repository)
    naming, entries = naming_of(built), graph.state_entries(built)
    assert repository.tensors is not None
    accounts = account(repository.tensors, entries, graph.transient_buffers(built), naming)
    sizes = {entry.name: entry.sizes for entry in entries}
    assert any(not isinstance(layout, str) for layout in accounts.layouts.values())
    for path, layout in accounts.layouts.items():
        assert np.array_equal(value_of(layout, sizes[path], tensors), theirs[path]), path
    stored = stored_layouts(accounts, naming)
    for path in accounts.layouts:
        assert stored(path) == naming.published(path)
        assert layouts.from_data(json.loads(json.dumps(layouts.to_data(stored(path))))) == stored(path)


def test_the_original_is_saved_as_a_package_records_it(tmp_path: Path) -> None:
    """What the record does not name stays as the library saves it; the rest is stored as it says."""
    from safetensors.torch import load_file

    from codegen.verify.reference import save
    from tests.parity.original import build

    source = DATA / "other_cases" / "mixtral.json"
    shutil.copy(source, tmp_path / "config.json")
    model, mlp = build(tmp_path), "model.layers.{}.mlp"
    names = {
        "model.norm.weight": "norm.weight",
        f"{mlp}.experts.down_proj": f"{mlp}.experts.down_proj",
        f"{mlp}.experts.gate_up_proj": {"Stack": {"Concat": ["l.{}.gate.*", "l.{}.up.*"], "axis": 0}},
    }
    save(model, tmp_path / "usual", source, {})
    save(model, tmp_path / "other", source, names)
    usual, other, state = (
        load_file(tmp_path / "usual" / "model.safetensors"),
        load_file(tmp_path / "other" / "model.safetensors"),
        model.state_dict(),
    )
    same = {name for name in usual if ".experts." not in name and name != "model.norm.weight"}
    assert all(torch.equal(other.pop(name), usual[name]) for name in same)
    assert torch.equal(other.pop("norm.weight"), usual["model.norm.weight"])
    for layer in range(model.config.num_hidden_layers):
        down, gate_up = (state[f"{mlp}.experts.{name}".format(layer)] for name in ("down_proj", "gate_up_proj"))
        assert torch.equal(other.pop(f"{mlp}.experts.down_proj".format(layer)), down)
        for expert, value in enumerate(gate_up):
            halves = other.pop(f"l.{layer}.gate.{expert}"), other.pop(f"l.{layer}.up.{expert}")
            assert torch.equal(torch.cat(halves), value)
    assert not other
