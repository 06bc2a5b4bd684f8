"""What generated/ holds: packages, the repositories that each serves, and how large these are."""

from __future__ import annotations

import importlib
import math
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType

from codegen import regenerate
from codegen.lowering.views import is_repository
from ir.records import dataclass

SIZE = re.compile(r"(?<![A-Za-z0-9.])\d+(\.\d+)?[bm](?![a-z0-9])", re.IGNORECASE)
"""The part of a repository's name that says how many parameters it has, in billions or millions."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A package, what it was made from, the repositories that it is known to serve, patterns of names, and for which frameworks
    it is.
    """

    package: str
    source: str
    checkpoints: tuple[str, ...]
    patterns: tuple[str, ...]
    targets: tuple[str, ...]


def entries(generated: Path) -> Iterator[Entry]:
    """Every package below `generated`, by name.

    Raises:
        CompileError: `not-a-package`.
    """
    for folder in regenerate.packages(generated):
        record = regenerate.read_record(folder)
        names = {record.repository.name, *record.checkpoints}
        served = tuple(sorted(name for name in names if is_repository(name)))
        yield Entry(folder.name, record.repository.name, served, patterns(served), record.targets)


def patterns(names: Iterable[str]) -> tuple[str, ...]:
    """Names of repositories as a family: what follows a size, and the size, is a star. Each name matches one."""
    found = sorted({_pattern(name) for name in names}, key=lambda pattern: (len(pattern), pattern))
    return tuple(sorted(p for p in found if not any(p != q and _covers(q, p) for q in found)))


def _pattern(name: str) -> str:
    size = SIZE.search(name)
    return name if size is None else f"{name[: size.start()]}*"


def _covers(pattern: str, other: str) -> bool:
    return fnmatchcase(other, pattern.replace("[", "[[]"))


def parameters(folder: Path) -> dict[str, int]:
    """The numbers that each known checkpoint of a package holds, by the package's own table of tensors."""
    config, weights = _modules(folder, ("config", "weights"))
    return {
        name: sum(math.prod(shape) for shape in weights.tensors(cfg).values())
        for name, cfg in sorted(config.CHECKPOINTS.items())
    }


def _modules(folder: Path, names: Sequence[str]) -> list[ModuleType]:
    """Modules of a package that need no framework, without the package's own imports, which do."""
    package = ModuleType(f"listed_{folder.name}")
    package.__path__ = [str(folder)]
    sys.modules[package.__name__] = package
    return [importlib.import_module(f"{package.__name__}.{name}") for name in names]
