"""Checkpoints of a base model, whose names lack its prefix, and of the whole where the base was compiled."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.parity.harness import Backend, Flax, Lab, Torch, module

RAW = json.loads((Path(__file__).parents[1] / "data" / "cases" / "gpt2.json").read_text())


def renamed(folder: Path, out: Path, change: Callable[[str], str]) -> Path:
    """The checkpoint under other names."""
    out.mkdir()
    shutil.copy(folder / "config.json", out)
    save_file(
        {change(name): value for name, value in load_file(folder / "model.safetensors").items()},
        out / "model.safetensors",
    )
    return out


@pytest.mark.parametrize("backend", [Torch, Flax])
def test_the_prefix_of_the_base_model_may_be_absent(lab: Lab, tmp_path: Path, backend: type[Backend]) -> None:
    package, folder, run = lab.package("gpt2", RAW, raised=True), lab.original("gpt2", RAW).folder, backend()
    bare = renamed(folder, tmp_path / "bare", lambda name: name.removeprefix("transformer."))
    ids = np.arange(14).reshape(2, 7)
    whole, other = (run.load(package, where, "float32") for where in (folder, bare))
    assert np.array_equal(run.logits(other, ids), run.logits(whole, ids))
    for model, where in ((whole, folder), (other, bare)):
        stored, given = load_file(where / "model.safetensors"), module(package, "weights").to_hf(model)
        assert given.keys() == stored.keys()
        assert all(np.array_equal(given[name], value) for name, value in stored.items())


def test_other_prefixes_are_no_part_of_names(lab: Lab, tmp_path: Path) -> None:
    package, folder = lab.package("gpt2", RAW, raised=True), lab.original("gpt2", RAW).folder
    strange = renamed(folder, tmp_path / "strange", lambda name: name.replace("transformer.h", "model.h"))
    with pytest.raises(ValueError, match=r"model\.h\.0\.ln_1\.weight has no place"):
        Torch().load(package, strange, "float32")


def test_a_tensor_with_the_prefix_and_one_without_are_two(lab: Lab, tmp_path: Path) -> None:
    package, folder = lab.package("gpt2", RAW, raised=True), lab.original("gpt2", RAW).folder
    twice = renamed(folder, tmp_path / "twice", str)
    tensors = load_file(twice / "model.safetensors")
    save_file({**tensors, "wte.weight": tensors["transformer.wte.weight"]}, twice / "model.safetensors")
    with pytest.raises(ValueError, match="before their names and without it"):
        Torch().load(package, twice, "float32")


def test_a_table_without_the_prefix_takes_names_with_it(lab: Lab) -> None:
    weights = module(lab.package("gpt2", RAW, raised=True), "weights")
    assert weights.table_name("transformer.wte.weight", {"wte.weight"}) == "wte.weight"
    assert weights.table_name("wte.weight", {"transformer.wte.weight"}) == "transformer.wte.weight"
    assert weights.table_name("other.wte.weight", {"wte.weight"}) == "other.wte.weight"


def test_a_folder_is_a_checkpoint_where_it_has_a_configuration(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    weights = module(lab.package("gpt2", RAW, raised=True), "weights")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repository, **_: f"/downloaded/{repository}")
    Path("gpt2").mkdir()
    assert weights.folder("gpt2") == Path("/downloaded/gpt2")
    Path("gpt2/config.json").write_text("{}")
    assert weights.folder("gpt2") == Path("gpt2")
