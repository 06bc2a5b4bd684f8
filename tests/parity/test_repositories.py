"""Repositories with modeling code of their own, against that code as it runs: architectures that nobody has published.

Each combines ordinary parts in a way of its own. The code is ours, so that tests may run it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from codegen.diagnostics import CompileError
from codegen.pipeline import compile_package
from codegen.repo import load
from tests.parity.harness import Backend, Flax, Lab, Torch, decode, measure, measure_stacked, too_large
from tests.parity.original import Recorded, relative_error

REPOSITORIES = Path(__file__).resolve().parent.parent / "data" / "repositories"
NAMES = sorted(folder.name for folder in REPOSITORIES.iterdir() if folder.is_dir())

REFUSED = {
    "dune": "unknown-pattern",  # a module that is chosen by a number that is computed from the index of the layer
}
"""What is not compiled yet, with the code of the diagnostic."""
TRAINED = ("cairn",)
"""Whose head scales its rows once, in place, outside of training: only what it does in training has the gradients of it."""
QUICK = ("marl", "newt")


def code_of(name: str) -> Mapping[str, str]:
    return {file.name: file.read_text() for file in REPOSITORIES.joinpath(name).glob("*.py")}


def raw_of(name: str) -> dict[str, object]:
    raw: dict[str, object] = json.loads(REPOSITORIES.joinpath(name, "config.json").read_text())
    return raw


COMPILED = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NAMES if name not in REFUSED
]


PUBLISHED = sorted(
    folder.parent.name for folder in REPOSITORIES.glob("*/published.json") if folder.parent.name not in REFUSED
)
"""Repositories that compute what published ones do, in the idioms of their time, with the configuration as published."""


def compare(lab: Lab, name: str, backend: Backend) -> None:
    recorded = lab.original(name, raw_of(name), code=code_of(name), training=name in TRAINED)
    package = lab.package(name, raw_of(name), raised=True, code=code_of(name))
    check(recorded, package, backend)


def check(recorded: Recorded, package: Path, backend: Backend, *refused: str) -> None:
    """Whether a package computes what the original does, but for what that does not do itself."""
    whole = recorded.arrays["logits"]
    steps = recorded.arrays.get("steps", whole)  # the original may have no cache
    tolerance = recorded.tolerance
    apart = ["decode"] if relative_error(steps, whole) > tolerance else []  # its angles follow from the length
    apart += refused  # by the original too
    apart += ["padded"] if (recorded.facts.padded or 0) > tolerance else []  # and from the padding
    measures = measure(backend, package, recorded, apart)
    if isinstance(backend, Flax):
        measures |= measure_stacked(backend, package, recorded, apart)
    if "decode" in apart:
        model = backend.load(package, recorded.folder, recorded.facts.dtype)
        measures["steps"] = relative_error(decode(backend, model, recorded.arrays["ids_2"]), steps)
    assert not too_large(measures, tolerance)


@pytest.mark.parametrize("name", COMPILED)
def test_torch(lab: Lab, name: str) -> None:
    compare(lab, name, Torch())


@pytest.mark.parametrize("name", COMPILED)
def test_flax(lab: Lab, flax: Flax, name: str) -> None:
    compare(lab, name, flax)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_refused_says_why(name: str) -> None:
    with pytest.raises(CompileError) as caught:
        compile_package(load(str(REPOSITORIES / name)))
    assert REFUSED[name] in {diagnostic.code for diagnostic in caught.value.diagnostics}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_configuration_as_published_compiles(tmp_path: Path, name: str) -> None:
    for file, text in code_of(name).items():
        (tmp_path / file).write_text(text)
    (tmp_path / "config.json").write_text(REPOSITORIES.joinpath(name, "published.json").read_text())
    assert "torch_model.py" in compile_package(load(str(tmp_path))).files
