"""Same input, same bytes: whatever the hash seed, the locale, the time zone, the folder, or the order of keys."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def emitted(root: Path, source: Path, folder: Path, **environment: str) -> dict[str, bytes]:
    """The files of the package that `source` gives, compiled in a process of its own that works in `folder`."""
    folder.mkdir(parents=True)
    env = {**os.environ, "PYTHONPATH": str(root), **environment}
    command = [sys.executable, "-m", "codegen", "from-hf", str(source), "--out", "package"]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    files = sorted(path for path in (folder / "package").rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def expected(root: Path, example: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return emitted(root, example, tmp_path_factory.mktemp("expected") / "a", PYTHONHASHSEED="0")


@pytest.mark.parametrize(
    "environment",
    (
        {"PYTHONHASHSEED": "1"},
        {"PYTHONHASHSEED": "77", "TZ": "Asia/Kathmandu"},
        {"PYTHONHASHSEED": "0", "LC_ALL": "C", "PYTHONUTF8": "0", "COLUMNS": "40", "HOME": "/nonexistent"},
    ),
)
def test_surroundings_do_not_matter(
    root: Path, example: Path, tmp_path: Path, expected: dict[str, bytes], environment: dict[str, str]
) -> None:
    assert emitted(root, example, tmp_path / "some where" / "else", **environment) == expected


def test_the_order_of_keys_does_not_matter(
    root: Path, example: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    config = json.loads((example / "config.json").read_text())
    source = tmp_path / example.name
    source.mkdir()
    (source / "config.json").write_text(json.dumps(dict(reversed(config.items()))))
    found = emitted(root, source, tmp_path / "out")
    differing = {name for name, data in found.items() if data != expected.get(name)}
    assert differing <= {"package/source.json"}, "which holds the configuration as it was published"


def test_what_was_recorded_is_enough_to_emit_again(
    root: Path, example: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    from codegen import pipeline, regenerate

    (tmp_path / "package").mkdir()
    for name, data in expected.items():
        (tmp_path / name).write_bytes(data)
    record = regenerate.read_record(tmp_path / "package")
    package = pipeline.compile_package(record.repository, targets=record.targets, checkpoints=record.checkpoints)
    assert {f"package/{name}": text.encode() for name, text in package.files.items()} == expected
