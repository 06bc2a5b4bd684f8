"""One laboratory for all tests of a run, whichever process they run in."""

from __future__ import annotations

import pytest
import torch

from tests.parity import harness


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> harness.Lab:
    torch.set_num_threads(1)
    return harness.Lab(harness.shared_root(tmp_path_factory.getbasetemp()) / "parity")


@pytest.fixture(scope="session")
def flax() -> harness.Flax:
    return harness.Flax()
