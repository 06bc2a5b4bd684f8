"""A pipeline that compiles at once, so that the commands can be tested by themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from codegen import pipeline, render
from codegen.diagnostics import CompileError, Diagnostic
from codegen.repo import Repository


def compiled(
    repository: Repository,
    *,
    targets=pipeline.TARGETS,
    checkpoints: Mapping[str, object] | None = None,
    names: Mapping[str, str] | None = None,
):
    """A package whose model file shows what it was compiled from. `"refuse": N` in the configuration gives N errors."""
    refused = repository.config.get("refuse", 0)
    if refused == "crash":
        raise ZeroDivisionError("crashed \x1b[31m")
    if refused:
        raise CompileError(*(Diagnostic("unknown-part", f"part {i} is unknown") for i in range(int(str(refused)))))
    files = {"model.py": f"CONFIG = {dict(repository.config)!r}\n", "README.md": f"# {repository.name}\n"}
    facts = {
        "repository": repository.name,
        "revision": repository.revision,
        "targets": list(targets),
        "config": dict(repository.config),
        "checkpoints": dict(checkpoints or {}),
    }
    name = str(repository.config.get("model_type", "model"))
    return pipeline.Package(name, {**files, "source.json": render.manifest(facts, files)})


@pytest.fixture
def fake_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "compile_package", compiled)


def source(folder: Path, **config: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like a checkout of this project, which is the working directory."""
    root = tmp_path / "checkout"
    (root / "codegen").mkdir(parents=True)
    (root / "codegen" / "pipeline.py").touch()
    (root / "generated").mkdir()
    monkeypatch.chdir(root)
    return root
