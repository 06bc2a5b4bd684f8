"""What is written for Orbax is what Orbax reads: into the emitted model, with the very numbers of the checkpoint."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from codegen import pipeline
from codegen.repo import load
from codegen.weights import targets
from tests.cli.small import TENSORS
from tests.weights.small import checkpoint
from tests.weights.test_conversion import ranges


@pytest.fixture(scope="module")
def checkpoints(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A checkpoint and the name of the package compiled for it."""
    root = tmp_path_factory.mktemp("orbax")
    source = checkpoint(example, root / "org__small", types=dict.fromkeys(TENSORS, "F32"))
    pipeline.write(pipeline.compile_package(load(str(source))), root / "emitted_for_orbax")
    sys.path.insert(0, str(root))
    yield source, "emitted_for_orbax"
    sys.path.remove(str(root))


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [targets.CHUNK, 1000], ids=["one file each", "many files each"])
@pytest.mark.parametrize("scanned", [False, True], ids=["unscanned", "scanned"])
def test_orbax_restores_it(
    scanned: bool, chunk: int, checkpoints: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nnx = pytest.importorskip("flax.nnx")
    orbax = pytest.importorskip("orbax.checkpoint")
    jnp = pytest.importorskip("jax.numpy")
    monkeypatch.setattr(targets, "CHUNK", chunk)
    source, name = checkpoints
    pipeline.convert(str(source), "orbax", tmp_path / "out", scanned=scanned)
    flax = importlib.import_module(f"{name}.flax_model")
    config = importlib.import_module(f"{name}.config").Config.from_hf(source)

    def fresh() -> object:
        return flax.Model(config, dtype=jnp.float32, scan_layers=scanned, rngs=nnx.Rngs(0))

    definition, empty = nnx.split(nnx.eval_shape(fresh))
    restored = nnx.merge(definition, orbax.StandardCheckpointer().restore(tmp_path / "out", empty))
    params = {".".join(map(str, path)): np.asarray(p.get_value()) for path, p in nnx.to_flat_state(nnx.state(restored))}
    stored = {key: data for path in source.glob("*.safetensors") for key, data in numbers(path).items()}
    up = "model.layers.{}.mlp.up_proj.weight"
    for layer in range(2):
        found = (
            params["model.layers.mlp.up_proj.kernel"][layer]
            if scanned
            else params[f"model.layers.{layer}.mlp.up_proj.kernel"]
        )
        assert found.tobytes() == stored[up.format(layer)]
    assert sum(value.nbytes for value in params.values()) == sum(map(len, stored.values()))
    loaded = flax.Model.from_pretrained(source, dtype=jnp.float32, scan_layers=scanned)
    for path, param in nnx.to_flat_state(nnx.state(loaded)):
        assert params[".".join(map(str, path))].tobytes() == np.asarray(param.get_value()).tobytes()


def numbers(path: Path) -> dict[str, bytes]:
    data = path.read_bytes()
    return {name: data[start:stop] for name, (start, stop) in ranges(path).items()}


def test_the_fingerprint_is_in_the_checkpoint(checkpoints: tuple[Path, str], tmp_path: Path) -> None:
    pipeline.convert(str(checkpoints[0]), "orbax", tmp_path / "out", scanned=True)
    marked = json.loads((tmp_path / "out" / "_CHECKPOINT_METADATA").read_text())["custom_metadata"]
    assert marked == {
        "layout": json.loads((tmp_path / "out" / "layout.json").read_text())["fingerprint"],
        "scanned": True,
    }


@pytest.mark.parametrize(
    ("count", "files", "rows"), [(28, 3, 7), (28, 1, 28), (131, 4, 33), (6, 6, 1), (7, 100, 1), (1, 5, 1)]
)
def test_files_are_of_one_length(count: int, files: int, rows: int) -> None:
    """Nothing is padded where the rows can be divided about evenly."""
    assert targets._rows(count, targets.CHUNK * files) == rows
