"""The stages, one line each. The first file to read.

SOURCE --repo--> files --source--> syntax trees --graph--> ir.graph --raising--> ir.arch --lowering--> views --render--> package
"""

from __future__ import annotations

import importlib.metadata
import keyword
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from codegen import __version__, render
from codegen.diagnostics import CompileError, Diagnostic
from codegen.repo import Repository

TARGETS = ("torch", "flax")
EMITS = ("graph", "arch")


@dataclass(frozen=True, slots=True)
class Package:
    """What is written: file names and texts, source.json among them, and what there is to note about them."""

    name: str
    files: Mapping[str, str]
    notes: tuple[Diagnostic, ...] = ()


def compile_package(
    repository: Repository,
    *,
    targets: Iterable[str] = TARGETS,
    checkpoints: Mapping[str, Mapping[str, object]] | None = None,
) -> Package:
    """A package for the architecture of `repository`. `checkpoints`: name -> configuration of others that it also serves.

    Raises:
        CompileError: every finding, of whichever stage found them.
    """
    not_available("the compiler's stages", "codegen/pipeline.py calls none yet")


def package_name(config: Mapping[str, object]) -> str:
    """The name of the package for a configuration: its type, as an identifier."""
    name = re.sub(r"\W+", "_", str(config.get("model_type") or "model"), flags=re.ASCII).strip("_").lower() or "model"
    return f"{name}_" if keyword.iskeyword(name) else f"model_{name}" if name[0].isdigit() else name


def record(
    repository: Repository, targets: Iterable[str], checkpoints: Mapping[str, Mapping[str, object]]
) -> dict[str, object]:
    """What source.json says a package was compiled from: all that emitting it again takes."""
    return {
        "repository": repository.name,
        "revision": repository.revision,
        "codegen": __version__,
        "transformers": importlib.metadata.version("transformers"),
        "targets": list(targets),
        "config": dict(repository.config),
        "checkpoints": {name: dict(config) for name, config in sorted(checkpoints.items())},
    }


def emit(repository: Repository, level: str) -> str:
    """The text of one level of the IR: `graph` or `arch`."""
    not_available(f"--emit {level}")


def write(package: Package, out: Path, *, force: bool = False, merge: bool = False) -> render.Written:
    """Put the package where it belongs, all of it or nothing.

    Raises:
        CompileError: `edited-by-hand`, `not-a-package`, `cannot-write`.
    """
    return render.write_package(package.files, out, force=force, merge=merge)


@dataclass(frozen=True, slots=True)
class Report:
    """An answer for people and the same for machines. `passed` is None where nothing was measured."""

    text: str
    facts: Mapping[str, object]
    passed: bool | None = None


def inspect(repository: Repository, against: Repository | None = None) -> Report:
    """The architecture of a source, or the gap between two."""
    not_available("inspect")


def explain(package: Path, fact: str | None = None) -> Report:
    """Which source line and which config key every fact of a package came from."""
    not_available("explain")


def verify(source: str) -> Report:
    """The bring-up checklist, measured. Runs the frameworks in processes of their own."""
    not_available("verify")


def convert(source: str, to: str, out: Path, *, scanned: bool) -> Report:
    """A checkpoint in another layout."""
    not_available("convert")


def generate(package: Path, weights: str, prompt: str, *, chat: bool) -> Report:
    """Text from a package and published weights."""
    not_available("generate")


def not_available(what: str, detail: str = "") -> NoReturn:
    """
    Raises:
        CompileError: `not-available`.
    """
    raise CompileError(Diagnostic("not-available", f"{what} is not available yet", notes=(detail,) if detail else ()))
