"""Python files as syntax trees: those of the installed transformers package, found without importing it, and a repository's own.

A file is cut into its top-level statements by their first column, and each is parsed when it is first needed: of the
megabyte of library source behind one model, a few hundred lines matter.
"""

from __future__ import annotations

import ast
import bisect
import functools
import importlib.util
import itertools
import re
from collections.abc import Mapping
from pathlib import Path

from codegen.diagnostics import CompileError, Diagnostic, Label
from ir.records import dataclass, field
from ir.spans import Span

LIBRARY = "transformers"
_CHANGED = "Licensed under the Apache License, Version 2.0 (apache.org/licenses/LICENSE-2.0). Changed: written anew."
REPOSITORY = "repository"

_TRIPLE = re.compile(
    r'"""[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*"""|' r"'''[^'\\]*(?:(?:\\.|'(?!''))[^'\\]*)*'''", re.DOTALL
)
_STATEMENT = re.compile(r"^(?=[^ \t\r\n#)\]}])(?!(?:else|elif|except|finally)\b)", re.MULTILINE)
_DEFINITION = re.compile(r"(?:async[ ]+)?(?:def|class)[ ]+(\w+)")
_ASSIGNMENT = re.compile(r"(\w+)[ ]*(?::[^=\n]+)?=(?!=)")


@dataclass(slots=True)
class Chunk:
    """A top-level statement that is parsed on demand. `names` is what it defines, None where only parsing can tell."""

    text: str
    line: int  # counted from 0
    names: tuple[str, ...] | None
    file: SourceFile
    parsed: list[ast.stmt] | None = None

    def statements(self) -> list[ast.stmt]:
        """The statement; none or several where the cut was not the parser's.

        Raises:
            CompileError: the file is no Python.
        """
        if self.parsed is None:
            try:
                self.parsed = ast.parse("\n" * self.line + self.text).body
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                end = self.line + self.text.count("\n")
                self.parsed = [s for s in self.file.whole() if self.line < s.lineno <= end]
        return self.parsed


@dataclass(slots=True, eq=False)
class SourceFile:
    """A module: `dotted` is its full name, `package` what its relative imports start from, `name` what is shown to users."""

    dotted: str
    package: str
    name: str
    text: str
    _chunks: list[Chunk] | None = field(default=None)
    _whole: list[ast.stmt] | None = field(default=None)

    def chunks(self) -> list[Chunk]:
        """The top-level statements in order."""
        if self._chunks is None:
            self._chunks = _cut(self)
        return self._chunks

    def notices(self) -> tuple[str, ...]:
        """The copyright lines of the comments that the file begins with, and its licence, where that is one that asks others to
        say that they changed something."""
        comments = [*itertools.takewhile(lambda line: not line or line.startswith("#"), self.text.splitlines())]
        holders = [line.strip("# ") for line in comments if line.startswith("# Copyright")]
        licensed = any("Licensed under the Apache License, Version 2.0" in line for line in comments)
        return (*holders, *([_CHANGED] if licensed else []))

    def whole(self) -> list[ast.stmt]:
        """The file parsed at once.

        Raises:
            CompileError: it is no Python.
        """
        if self._whole is None:
            self._whole = _parse(self.text, self.name)
        return self._whole


def _cut(file: SourceFile) -> list[Chunk]:
    text = file.text
    starts = _starts(text)
    chunks: list[Chunk] = []
    line, last, index = 0, 0, 0
    while index < len(starts):
        start = first = starts[index]
        while text[starts[index]] == "@" and index + 1 < len(starts):
            index += 1
            first = starts[index]
        end = starts[index + 1] if index + 1 < len(starts) else len(text)
        line += text.count("\n", last, start)
        last = start
        chunks.append(Chunk(text[start:end], line, _names(text, first), file))
        index += 1
    return chunks


def _starts(text: str) -> list[int]:
    """Where lines begin that may begin a statement: not within a string of several lines."""
    lines = [m.start() for m in _STATEMENT.finditer(text)]
    starts: list[int] = []
    at = 0
    for string in _TRIPLE.finditer(text):
        before = bisect.bisect_right(lines, string.start(), at)
        starts += lines[at:before]
        at = bisect.bisect_left(lines, string.end(), before)
    return starts + lines[at:]


def _names(text: str, start: int) -> tuple[str, ...] | None:
    found = _DEFINITION.match(text, start) or _ASSIGNMENT.match(text, start)
    return (found.group(1),) if found else None


def _parse(text: str, file: str) -> list[ast.stmt]:
    try:
        return ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        column = max((getattr(error, "offset", None) or 1) - 1, 0)
        label = Label(Span(file, line, column, line, column + 1))
        message = f"{file} is no Python that can be parsed: {getattr(error, 'msg', None) or error}"
        raise CompileError(Diagnostic("unparsable-source", message, label)) from None


class Library:
    """All modules that can be read, by their dotted names."""

    def __init__(self, root: Path, repository: Mapping[str, str] | None = None, shared: Library | None = None):
        self.root = root
        self.repository = dict(repository or {})
        self._shared = shared  # where the modules that are not the repository's are kept
        self._modules: dict[str, SourceFile | None] = {}
        self._directories: dict[Path, frozenset[str]] = {}

    def module(self, dotted: str) -> SourceFile | None:
        """The module of that name, None if there is no such file."""
        if self._shared is not None and dotted.partition(".")[0] != REPOSITORY:
            return self._shared.module(dotted)
        if dotted not in self._modules:
            self._modules[dotted] = self._load(dotted)
        return self._modules[dotted]

    def with_repository(self, files: Mapping[str, str]) -> Library:
        """The same library together with the files of a repository."""
        return Library(self.root, files, self)

    def _load(self, dotted: str) -> SourceFile | None:
        head, _, rest = dotted.partition(".")
        if head == REPOSITORY:
            return self._load_repository(dotted, rest)
        if head != LIBRARY:
            return None
        folder = self.root.joinpath(*rest.split(".")) if rest else self.root
        file, name = folder.with_name(folder.name + ".py"), dotted.replace(".", "/")
        if rest and self._exists(file):
            return SourceFile(dotted, dotted.rpartition(".")[0], f"{name}.py", file.read_text("utf-8"))
        init = folder / "__init__.py"
        if self._exists(init):
            return SourceFile(dotted, dotted, f"{name}/__init__.py", init.read_text("utf-8"))
        return None

    def _load_repository(self, dotted: str, rest: str) -> SourceFile | None:
        path = rest.replace(".", "/") + ".py"
        if path in self.repository:
            return SourceFile(dotted, dotted.rpartition(".")[0], path, self.repository[path])
        return SourceFile(dotted, dotted, "", "") if dotted == REPOSITORY else None

    def _exists(self, file: Path) -> bool:
        names = self._directories.get(file.parent)
        if names is None:
            names = frozenset(p.name for p in file.parent.iterdir()) if file.parent.is_dir() else frozenset()
            self._directories[file.parent] = names
        return file.name in names


def find_library(repository: Mapping[str, str] | None = None) -> Library:
    """The installed transformers package.

    Raises:
        CompileError: there is none.
    """
    spec = importlib.util.find_spec(LIBRARY)
    if spec is None or not spec.submodule_search_locations:
        raise CompileError(
            Diagnostic("no-transformers", "the transformers package is not installed", help="pip install transformers")
        )
    library = _library(Path(spec.submodule_search_locations[0]))
    return library.with_repository(repository) if repository else library


@functools.cache
def _library(root: Path) -> Library:
    """Its files are parsed once in a process, however many models are compiled."""
    return Library(root)


def library_version() -> str:
    """The version of the installed transformers package, as its top file says it.

    Raises:
        CompileError: there is none, or it does not say.
    """
    file = find_library().root / "__init__.py"
    found = re.search(r'^__version__ = "([^"]+)"', file.read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise CompileError(Diagnostic("no-transformers", f"{LIBRARY}/{file.name} says no version"))
    return found[1]
