"""Models that keep what they need of the tokens before in objects of their own: classes, lists, tuples."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from codegen.diagnostics import CompileError
from codegen.pipeline import compile_package
from codegen.repo import load
from codegen.verify.reference import randomize
from tests.parity import harness
from tests.parity.original import LENGTH, relative_error, tokens

DATA = Path(__file__).parents[1] / "data" / "own_caches"
TOLERANCE = 1e-9
NAMES = ("heath", "scree", "shoal", "shoal_scaled", "shoal_table", "skerry", "tarn", "tarn_limited")
EDITS = {
    "tarn_limited": (
        "tarn",
        "x = self.conv(x)[..., :length]",
        "x = self.conv(x)[..., :length].clamp(max=0.4)",
    ),
    "shoal_scaled": (
        "shoal",
        "        scores = scores.masked_fill(",
        "        scores = scores * (1 + rows / 10)[:, None]\n        scores = scores.masked_fill(",
    ),
    "shoal_table": (
        "shoal",
        "\n    def forward(self, x, past=None):\n        batch,",
        """        self.table = None

    def forward(self, x, past=None):
        start = 0 if past is None else past[0].shape[2]
        self.table = torch.arange(start + x.shape[1], device=x.device).to(x.dtype).cos()
        x = x * self.table[start:, None]
        batch,""",
    ),
}
"""Sources that are another with a line of their own: a limit that the way of one token forgets, scores that are scaled by place,
a table that a module keeps though every call makes it anew."""
KEPT = {
    "heath": {"sums", "last"},
    "scree": {"conv_states", "ssm_states"},
    **dict.fromkeys(("shoal", "shoal_scaled", "shoal_table"), {"past_key", "past_value", "past_key2", "past_value2"}),
    "tarn": {"last", "total"},
    "tarn_limited": {"last", "total"},
    "skerry": {"memory", "total", "weight", "largest"},
}
"""What a layer keeps, as the source calls it."""


Case = tuple[Path, Path, np.ndarray, np.ndarray]


@pytest.fixture(scope="module", params=NAMES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return made(request.param, tmp_path_factory)


def made(called: str, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A checkpoint, the package compiled for it, tokens and the original's logits."""
    name, *edit = EDITS.get(called, (called,))
    folder = tmp_path_factory.mktemp(called)
    package = tmp_path_factory.mktemp("packages") / f"own_{called}"
    shutil.copytree(DATA / name, folder, dirs_exist_ok=True)
    if edit:
        text = (folder / f"modeling_{name}.py").read_text()
        assert edit[0] in text
        (folder / f"modeling_{name}.py").write_text(text.replace(*edit))
    spec = importlib.util.spec_from_file_location(f"modeling_{name}", folder / f"modeling_{name}.py")
    assert spec and spec.loader
    source = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(source)
    raw = json.loads((folder / "config.json").read_text())
    kind = getattr(source, raw["architectures"][0])
    model = kind(kind.config_class(**raw)).eval()
    randomize(model, 0)
    model.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(raw))
    ids = tokens(raw["vocab_size"], 2, LENGTH)
    with torch.no_grad():
        logits = model.double()(ids).logits.numpy()
    package.mkdir()
    for file, text in compile_package(load(str(folder))).files.items():
        (package / file).write_text(text)
    return folder, package, ids.numpy(), logits


def test_what_a_layer_keeps_has_the_names_of_the_source(case: Case) -> None:
    folder, package, _, _ = case
    cache = harness.Torch().load(package, folder, "float64").init_cache(2, LENGTH)
    assert KEPT[folder.name.rstrip("0123456789")] <= set(vars(cache))


def test_whole_sequences_and_steps_equal_the_original(case: Case) -> None:
    check(harness.Torch(), case)


@pytest.mark.parametrize("cuts", [(5, 1, 4, 2, 1, 4), (2, 3, 1, 1, 10), (9, 8)])
def test_chunks_of_any_sizes_equal_whole_sequences(cuts: tuple[int, ...], case: Case) -> None:
    """A prompt in parts, short and long ones, and single tokens between them."""
    folder, package, ids, logits = case
    assert sum(cuts) == ids.shape[1]
    backend = harness.Torch()
    model = backend.load(package, folder, "float64")
    cache = model.init_cache(ids.shape[0], ids.shape[1])
    parts, at = [], 0
    for count in cuts:
        with torch.no_grad():
            part, cache = model.step(torch.from_numpy(ids[:, at : at + count]), cache)
        parts.append(part.numpy())
        at += count
    assert relative_error(np.concatenate(parts, axis=1), logits) < TOLERANCE


@pytest.mark.slow
def test_whole_sequences_and_steps_equal_the_original_in_flax(case: Case, flax: harness.Flax) -> None:
    check(flax, case)


def check(backend: harness.Backend, case: Case) -> None:
    folder, package, ids, logits = case
    model = backend.load(package, folder, "float64")
    assert relative_error(backend.logits(model, ids), logits) < TOLERANCE
    assert relative_error(harness.decode(backend, model, ids), logits) < TOLERANCE
    assert harness.round_trip(package, model, folder) == []


def test_a_step_costs_the_same_whatever_was_before(case: Case) -> None:
    """A model whose states do not grow with the tokens has as many numbers in its cache for a longer one."""
    folder, package, _, _ = case
    model = harness.Torch().load(package, folder, "float64")

    def numbers(length: int) -> int:
        held = [value for value in vars(model.init_cache(2, length)).values() if isinstance(value, dict)]
        return sum(tensor.numel() for states in held for tensor in states.values())

    assert (numbers(2 * LENGTH) == numbers(LENGTH)) is not folder.name.startswith("shoal")


OTHERS = ("dunlin", "gadwall", "garganey", "pochard")
"""A way that reads one token alone, and is taken by what was before: sizes fit for several, and the rest would be lost. A flat list in
which every layer has two places. Pairs in one list that are keys and values in some layers and states in others. A cache that is known
by its class."""


@pytest.mark.parametrize("name", OTHERS)
def test_what_was_taken_for_something_else(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    check(harness.Torch(), made(name, tmp_path_factory))


def test_layers_that_would_share_a_place_are_refused() -> None:
    with pytest.raises(CompileError) as caught:
        compile_package(load(str(DATA / "grebe")))
    assert caught.value.diagnostics[0].code in ("cache-order", "unknown-pattern")
