"""Library models with parts changed as a researcher would, under a name that nobody knows, against that code as it runs."""

from __future__ import annotations

import pytest

from tests.parity.harness import Backend, Flax, Lab, Torch, measure, measure_stacked, too_large
from tests.tools.inventions import EDITS, invent

NAMED = (
    (
        "llama",
        ("embeddings into each layer", "glu with clamp", "layer norm of heads"),
    ),  # a name that the loop reads again
    ("llama", ("sum of all layers",)),  # two sums that begin as one
    ("llama", ("scale by depth",)),  # layers that compute with their numbers
    ("qwen3_moe", ("sigmoid and bias", "gate for each head", "gated shared expert")),
    ("mistral", ("sinks", "part of each head rotated", "side by side")),
    ("olmo3", ("skips from the first half", "cap on scores")),
    ("qwen3_next", ("embeddings into each layer",)),  # a first layer that is alone is like one that is not the next
)
DRAWN = tuple(
    (base, seed) for seed, base in enumerate(("llama", "olmo2", "granite", "mixtral", "qwen3_next", "deepseek_v3"))
)


def compare(lab: Lab, base: str, seed: int, only: tuple[str, ...], backend: Backend) -> None:
    made = invent(base, seed, only=only)
    assert not only or set(made.edits) == set(only)
    name = "_".join((base, str(seed), *made.edits)).replace(" ", "_")
    recorded = lab.original(name, made.config, code=made.code)
    measures = measure(backend, lab.package(name, made.config, raised=True, code=made.code), recorded)
    if isinstance(backend, Flax):
        measures |= measure_stacked(backend, lab.package(name, made.config, raised=True, code=made.code), recorded)
    assert not too_large(measures, recorded.tolerance)


@pytest.mark.parametrize(("base", "only"), NAMED)
def test_named_edits_in_torch(lab: Lab, base: str, only: tuple[str, ...]) -> None:
    compare(lab, base, 0, only, Torch())


@pytest.mark.slow
@pytest.mark.parametrize(("base", "only"), NAMED)
def test_named_edits_in_flax(lab: Lab, flax: Flax, base: str, only: tuple[str, ...]) -> None:
    compare(lab, base, 0, only, flax)


@pytest.mark.slow
@pytest.mark.parametrize(("base", "seed"), DRAWN)
def test_drawn_edits_in_torch(lab: Lab, base: str, seed: int) -> None:
    compare(lab, base, seed, (), Torch())


def test_every_edit_fits_a_library_model() -> None:
    for edit in EDITS:
        found = [invent(base, 0, only=(edit.name,)).edits for base in ("llama", "qwen3_moe")]
        assert (edit.name,) in found
