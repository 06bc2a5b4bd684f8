"""A model that nobody published, against its own code run by torch: every third layer runs one of two blocks that take turns,
gates go from layer to layer, and what shared layers begin with is kept in a tensor that grows with the layers.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from codegen.pipeline import compile_package
from codegen.repo import load
from tests.parity.harness import Flax, Torch, measure, measure_stacked, module, too_large
from tests.parity.original import Recorded, read, record

REPOSITORY = Path(__file__).parents[1] / "data" / "repositories" / "weir"
RAW = json.loads((REPOSITORY / "config.json").read_text())


def register() -> None:
    """Tell transformers of the classes of the repository."""
    from transformers import AutoConfig, AutoModelForCausalLM

    package = "tests_repository_weir"
    if package in sys.modules:
        return
    sys.modules[package] = ModuleType(package)
    sys.modules[package].__path__ = [str(REPOSITORY)]
    configuration = importlib.import_module(f"{package}.configuration_weir").WeirConfig
    AutoConfig.register("weir", configuration)
    AutoModelForCausalLM.register(configuration, importlib.import_module(f"{package}.modeling_weir").WeirForCausalLM)


def original(folder: Path, changes: Mapping[str, object]) -> Recorded:
    register()
    record({key: value for key, value in {**RAW, **changes}.items() if key != "auto_map"}, folder)
    return read(folder)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source") / "weir"
    shutil.copytree(REPOSITORY, source)
    out = tmp_path_factory.mktemp("packages") / "weir"
    out.mkdir()
    for file, text in compile_package(load(str(source))).files.items():
        (out / file).write_text(text)
    return out


DEPTHS = pytest.mark.parametrize("depth", [9, 17], ids=["as compiled", "deeper"])


@DEPTHS
def test_torch(package: Path, tmp_path: Path, depth: int) -> None:
    found = original(tmp_path / "original", {"num_hidden_layers": depth})
    assert not too_large(measure(Torch(), package, found), 5e-6)


@pytest.mark.slow
@DEPTHS
def test_flax(package: Path, tmp_path: Path, depth: int, flax: Flax) -> None:
    found = original(tmp_path / "original", {"num_hidden_layers": depth})
    assert not too_large({**measure(flax, package, found), **measure_stacked(flax, package, found)}, 5e-6)


def test_the_layers_of_one_block_have_one_parameter(package: Path) -> None:
    cfg = module(package, "config").Config.from_hf(RAW)
    layers = module(package, "torch_model").Model(cfg).model.layers
    first, second, third = (layers[at].block.qkv.weight for at in (2, 5, 8))
    assert third is first
    assert second is not first


def test_without_ties_every_layer_has_its_own(package: Path) -> None:
    cfg = module(package, "config").Config.from_hf({**RAW, "tie_word_embeddings": False})
    layers = module(package, "torch_model").Model(cfg).model.layers
    assert layers[8].block.qkv.weight is not layers[2].block.qkv.weight
    names = module(package, "weights").tensors(cfg)
    assert "model.layers.8.block.qkv.weight" in names
    assert "model.layers.8.block.qkv.weight" not in module(package, "weights").tensors(
        module(package, "config").Config.from_hf(RAW)
    )


def test_another_number_of_blocks_is_refused(package: Path) -> None:
    with pytest.raises(ValueError, match="num_blocks"):
        module(package, "config").Config.from_hf({**RAW, "num_blocks": 3})
