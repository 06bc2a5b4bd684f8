"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # test processes run side by side
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # and none may reach the network: those that serve a Hub unset it
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# examples are the same in every run, and how long one takes says more about the machine than about the code
settings.register_profile("default", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def example(root: Path) -> Path:
    """A published configuration of a small dense decoder."""
    return next((root / "docs" / "examples").glob("*__*"))


LONG = (
    "cli/test_fuzzed_configs",
    "config/test_law",
    "graph/test_perturbation",
    "laws/test_hypothesis_configs",
    "parity/test_original",
    "parity/test_half_precision",
)
"""Files whose slow tests cover every architecture: an hour or more on two cores. `pytest -m long` runs them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow") is not None and any(part in item.path.as_posix() for part in LONG):
            item.add_marker(pytest.mark.long)
