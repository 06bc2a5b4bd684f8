"""How a package is called, where the source leaves less to its caller than a package does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parity import harness
from tests.parity.original import read, record, relative_error

pytestmark = pytest.mark.slow

CASES = Path(__file__).parents[1] / "data" / "other_cases"


def case(lab: harness.Lab, name: str) -> tuple[Path, harness.Recorded]:
    raw = json.loads((CASES / f"{name}.json").read_text())
    folder = lab.root / "calling" / name
    if not folder.exists():
        record(raw, folder, gradients=False)
    return lab.package(name, raw, raised=True), read(folder)


@pytest.mark.parametrize("name", ["trocr", "prophetnet"])
def test_the_last_position_alone_of_a_source_that_gives_all(lab: harness.Lab, flax: harness.Flax, name: str) -> None:
    package, original = case(lab, name)
    ids, last = original.arrays["ids_2"], original.arrays["logits"][:, -1:]
    with torch.no_grad():
        ours = harness.Torch().load(package, original.folder, original.facts.dtype)(
            torch.from_numpy(ids), last_only=True
        )
    assert relative_error(ours.numpy(), last) < original.tolerance
    ours = flax.load(package, original.folder, original.facts.dtype)(ids, last_only=True)
    assert relative_error(np.asarray(ours), last) < original.tolerance


@pytest.mark.parametrize("name", ["kimi_linear", "olmo_hybrid"])
def test_what_was_loaded_generates(lab: harness.Lab, flax: harness.Flax, name: str) -> None:
    """What loading notes of a checkpoint goes with the model into compiled code."""
    package, original = case(lab, name)
    ids = original.arrays["ids_2"][:, :5]
    model = flax.load(package, original.folder, original.facts.dtype)
    ours = np.asarray(model.generate(ids, 3))
    theirs = harness.Torch().load(package, original.folder, original.facts.dtype).generate(torch.from_numpy(ids), 3)
    assert ours.shape == (ids.shape[0], 8) and np.array_equal(ours, theirs.numpy())


def test_a_mask_that_nothing_reads_is_refused(lab: harness.Lab, flax: harness.Flax) -> None:
    package, original = case(lab, "rwkv")
    ids = original.arrays["ids_2"]
    for backend in (harness.Torch(), flax):
        model = backend.load(package, original.folder, original.facts.dtype)
        array = torch.from_numpy if isinstance(backend, harness.Torch) else np.asarray
        with pytest.raises(ValueError, match="rows of one length"):
            backend.logits(model, ids, np.ones_like(ids))
        with pytest.raises(ValueError, match="rows of one length"):
            model.step(array(ids), model.init_cache(2, 17), attention_mask=array(np.ones_like(ids)))
        with pytest.raises(ValueError, match="rows of one length"):
            model.generate(array(ids), 2, attention_mask=array(np.ones_like(ids)))


@pytest.mark.parametrize("name", ["trocr", "roberta"])
def test_no_more_tokens_than_there_are_positions(lab: harness.Lab, flax: harness.Flax, name: str) -> None:
    package, original = case(lab, name)
    rows = {"trocr": 0, "roberta": -2}[name] + original.raw["max_position_embeddings"]  # type: ignore[operator]
    for backend in (harness.Torch(), flax):
        model = backend.load(package, original.folder, original.facts.dtype)
        array = torch.from_numpy if isinstance(backend, harness.Torch) else np.asarray
        whole = np.full((1, rows + 1), 7)
        assert np.isfinite(backend.logits(model, whole[:, :-1])).all()
        with pytest.raises(ValueError, match=f"positions for {rows}"):
            backend.logits(model, whole)
        with pytest.raises(ValueError, match=f"positions for {rows}"):
            model.init_cache(1, rows + 1)
        with pytest.raises(ValueError, match=f"positions for {rows}"):
            model.generate(array(whole[:, :6]), rows - 4)
        with pytest.raises(ValueError, match="room for 4"):
            model.step(array(whole[:, :5]), model.init_cache(1, 4))
        _, cache = model.step(array(whole[:, :3]), model.init_cache(1, 4))
        with pytest.raises(ValueError, match="5 tokens: the cache has room for 4"):
            model.step(array(whole[:, :2]), cache)


@pytest.mark.parametrize("masked", [False, True])
def test_a_cache_is_for_as_many_rows(lab: harness.Lab, flax: harness.Flax, masked: bool) -> None:
    package, original = case(lab, "trocr")
    for backend in (harness.Torch(), flax):
        model = backend.load(package, original.folder, original.facts.dtype)
        array = torch.from_numpy if isinstance(backend, harness.Torch) else np.asarray
        for rows in (1, 3):
            ids = np.full((rows, 3), 7)
            mask = array(np.ones_like(ids)) if masked else None
            with pytest.raises(ValueError, match=f"{rows} rows of tokens: the cache is for 2"):
                model.step(array(ids), model.init_cache(2, 4), attention_mask=mask)


@pytest.mark.parametrize("new", [1, 3])
def test_generation_takes_the_last_position(lab: harness.Lab, flax: harness.Flax, new: int) -> None:
    package, original = case(lab, "trocr")
    limit: int = original.raw["max_position_embeddings"]  # type: ignore[assignment]
    ids = np.arange(2 * (limit + 1 - new)).reshape(2, -1) % 7 + 3
    made = []
    for backend in (harness.Torch(), flax):
        model = backend.load(package, original.folder, original.facts.dtype)
        array = torch.from_numpy if isinstance(backend, harness.Torch) else np.asarray
        made.append(np.asarray(model.generate(array(ids), new)))
        with pytest.raises(ValueError, match="positions for"):
            model.generate(array(ids), new + 1)
    assert made[0].shape == (2, limit + 1) and np.array_equal(*made)
