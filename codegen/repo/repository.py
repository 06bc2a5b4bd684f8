"""What a source holds, as the later stages see it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from codegen.diagnostics import Diagnostic
from ir.records import dataclass

if TYPE_CHECKING:
    from codegen.repo.headers import Header


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """What a checkpoint says about a tensor without its data. None where a published list does not say it."""

    shape: tuple[int, ...] | None
    dtype: str | None  # as safetensors spells it: BF16, F32, ...
    file: str


class Files(Protocol):
    """The files of a source, read when asked for. Names are relative, with forward slashes."""

    def names(self) -> tuple[str, ...]:
        """Every file of the source, sorted."""

    def path(self, name: str) -> Path | None:
        """Where the file lies on this machine (fetched if need be), or None if the source has no such file.

        Raises:
            CompileError: the name leads out of the source, or the file cannot be had.
        """

    def header(self, name: str) -> Header:
        """The header of a safetensors file that the source has."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A source whose config.json has been read and whose tensors are known by name."""

    name: str  # `org/name`, or the name of the folder
    revision: str  # the commit; empty for a folder that does not say
    config: Mapping[str, object]  # as published: no key renamed, no default filled in
    config_text: str
    files: Files
    tensors: Mapping[str, TensorHeader] | None  # None: the source has no safetensors, or they were not asked for
    notes: tuple[Diagnostic, ...] = ()  # what was noticed and is no error
    config_file: str = "config.json"

    @property
    def source(self) -> str:
        """How the source is named in what is emitted."""
        return f"{self.name}@{self.revision[:8]}" if self.revision else self.name

    def text(self, name: str) -> str | None:
        """The text of a file of the source, or None if there is none of that name."""
        from codegen.repo.text import read_text

        path = self.files.path(name)
        return None if path is None else read_text(path, name)

    def python_files(self) -> tuple[str, ...]:
        """The names of the source's Python files."""
        return tuple(name for name in self.files.names() if name.endswith(".py"))
