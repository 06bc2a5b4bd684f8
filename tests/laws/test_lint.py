"""The project's own code passes ruff and mypy --strict."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PARTS = ("codegen", "ir", "tests")


def run(root: Path, *command: str) -> str:
    done = subprocess.run([sys.executable, "-m", *command], cwd=root, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_ruff_finds_nothing(root: Path) -> None:
    assert run(root, "ruff", "check", "--no-cache", *PARTS) == ""


def test_code_is_formatted(root: Path) -> None:
    assert run(root, "ruff", "format", "--no-cache", "--check", *PARTS) == ""


@pytest.mark.slow
def test_types_are_strict(root: Path) -> None:
    assert run(root, "mypy") == ""
