"""SOURCE -> Repository, whichever of the three kinds it is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from codegen.diagnostics import CompileError, Diagnostic, Severity, printable
from codegen.repo.checkpoint import LISTS, HeaderReader, read_tensors
from codegen.repo.config import parse_config
from codegen.repo.headers import Header, read_local
from codegen.repo.names import inside
from codegen.repo.repository import Files, Repository, TensorHeader
from codegen.repo.text import read_text
from ir.records import dataclass, replace

CONFIG = "config.json"
HUB_NAME = re.compile(r"(?P<name>[\w.\-]+(/[\w.\-]+)?)(@(?P<revision>[\w.\-/]+))?")
PARALLEL = 8  # header requests at a time

UNREAD = Diagnostic(
    "weights-unread",
    "HF_HUB_OFFLINE is set and the cache holds no safetensors of this repository: nothing checks their names and shapes",
    severity=Severity.NOTE,
)


def load(source: str, revision: str | None = None, *, weights: bool = True) -> Repository:
    """Read a source: its configuration and, unless `weights` is off, the headers of its safetensors.

    Raises:
        CompileError: every finding of what could be read.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(path, revision, weights)
    if path.is_file() and path.name in LISTS:
        return _folder(path.parent, revision, weights)
    if path.is_file():
        return _config_file(path, revision)
    named = HUB_NAME.fullmatch(source)
    if named is None or source.startswith(".") or source.endswith(".json"):
        raise CompileError(
            Diagnostic(
                "source-not-found",
                f"{printable(source, 200)} is no file or folder on this machine, nor the name of a repository",
                help="a source is a folder, a config.json, or a Hub repository written org/name or org/name@revision",
            )
        )
    from codegen.repo import hub

    files, commit = hub.open_repository(named["name"], revision or named["revision"])
    repository = _read(named["name"], commit, files, CONFIG, files.header if weights else None, PARALLEL)
    if weights and repository.tensors is None and not files.complete:
        return replace(repository, notes=(*repository.notes, UNREAD))
    return repository


def from_record(
    name: str, revision: str, config: Mapping[str, object], tensors: Mapping[str, TensorHeader] | None = None
) -> Repository:
    """A repository as source.json recorded it: nothing is read again."""
    text = json.dumps(config, indent=2)
    return Repository(name, revision, parse_config(text, CONFIG), text, NoFiles(), tensors)


@dataclass(frozen=True, slots=True)
class NoFiles:
    """A configuration by itself."""

    def names(self) -> tuple[str, ...]:
        return ()

    def path(self, name: str) -> Path | None:
        return None

    def header(self, name: str) -> Header:
        raise AssertionError(name)


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of a folder on this machine."""

    root: Path

    def names(self) -> tuple[str, ...]:
        found = (path for path in self.root.rglob("*") if path.is_file())
        names = (path.relative_to(self.root).as_posix() for path in found)
        return tuple(sorted(name for name in names if not name.startswith(".") and "/." not in name))

    def path(self, name: str) -> Path | None:
        path = inside(self.root, name, "the source")
        return path if path.is_file() else None

    def header(self, name: str) -> Header:
        path = self.path(name)
        assert path is not None, name
        return read_local(path, name)


def folder_identity(path: Path) -> tuple[str, str]:
    """Name and commit of a folder: of the Hub's cache (models--org--name/snapshots/COMMIT), else `org__name` is org/name."""
    path = path.resolve()
    cached = re.fullmatch(r"models--([\w.\-]+?)(?:--([\w.\-]+))?", path.parent.parent.name)
    if path.parent.name == "snapshots" and cached is not None:
        return "/".join(part for part in cached.groups() if part), path.name
    return re.sub(r"[^\w.\-/]+", "_", path.name.replace("__", "/", 1)), ""  # it will stand in emitted code


def _folder(path: Path, revision: str | None, weights: bool) -> Repository:
    _no_revision(path, revision)
    files = Folder(path)
    name, commit = folder_identity(path)
    return _read(name, commit, files, CONFIG, files.header if weights else None, 1)


def _config_file(path: Path, revision: str | None) -> Repository:
    """A config.json by itself: Python files beside it count, weights do not."""
    _no_revision(path, revision)
    name, commit = folder_identity(path.resolve().parent) if path.name == CONFIG else (path.stem, "")
    return _read(name, commit, Folder(path.parent), path.name, None, 1)


def _no_revision(path: Path, revision: str | None) -> None:
    if revision is not None:
        raise CompileError(
            Diagnostic(
                "revision-not-found", f"{path} lies on this machine and has no revisions", help="leave out --revision"
            )
        )


def _read(
    name: str, commit: str, files: Files, config_name: str, header: HeaderReader | None, parallel: int
) -> Repository:
    """Configuration and tensors of a source; what is wrong with either is reported together."""
    findings: list[Diagnostic] = []
    config: dict[str, object] = {}
    text = ""
    try:
        text = _config_text(files, config_name)
        config = parse_config(text, config_name)
    except CompileError as error:
        findings += error.diagnostics
    tensors: Mapping[str, TensorHeader] | None = None
    if header is not None:
        try:
            tensors, faults = read_tensors(files, header, parallel)
            findings += faults
        except CompileError as error:
            findings += error.diagnostics
    if any(finding.severity is Severity.ERROR for finding in findings):
        raise CompileError(*findings)
    return Repository(name, commit, config, text, files, tensors, tuple(findings), config_name)


def _config_text(files: Files, name: str) -> str:
    path = files.path(name)
    if path is None:
        held = files.names()
        listing = ", ".join(printable(other, 60) for other in held[:6]) + (", ..." if len(held) > 6 else "")
        raise CompileError(
            Diagnostic(
                "config-missing",
                f"the source has no {name}",
                notes=(f"it holds {listing}",) if held else ("it is empty",),
                help="name the folder that holds config.json",
            )
        )
    return read_text(path, name)
