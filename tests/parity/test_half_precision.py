"""What is emitted, in bfloat16: it computes in float32 where the original does, and nowhere else."""

from __future__ import annotations

import pytest

from tests.parity.gaps import KNOWN_GAPS
from tests.parity.half import differing_norms, half_errors
from tests.parity.harness import Backend, Flax, Lab, Torch
from tests.parity.original import NAMES, load_case
from tests.parity.test_original import QUICK

WORSE = 1.5  # times the error of the original itself; it is a sum over thousands of logits

cases = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NAMES if name not in KNOWN_GAPS],
)


@cases
def test_torch(lab: Lab, name: str) -> None:
    compare(lab, name, Torch())


@cases
@pytest.mark.slow
def test_flax(lab: Lab, flax: Flax, name: str) -> None:
    compare(lab, name, flax)


def compare(lab: Lab, name: str, backend: Backend) -> None:
    recorded, package = lab.original(name, load_case(name)), lab.package(name, load_case(name), raised=True)
    assert not differing_norms(backend, package, recorded)
    ours, theirs = half_errors(backend, package, recorded)
    assert ours <= WORSE * theirs
