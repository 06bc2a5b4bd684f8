"""Bounded reading of text and strict reading of JSON."""

from __future__ import annotations

import json
from pathlib import Path

from codegen.diagnostics import CompileError, Diagnostic, Label, printable
from codegen.excerpts import remember
from ir.spans import Span

MAX_TEXT = 32 << 20  # bytes of a configuration or Python file
LFS = b"version https://git-lfs"


def read_bytes(path: Path, name: str, limit: int = MAX_TEXT) -> bytes:
    """
    Raises:
        CompileError: `file-unreadable`, `file-too-large` or `lfs-pointer`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise CompileError(Diagnostic("file-unreadable", f"cannot read {name}: {error.strerror or error}")) from None
    if len(data) > limit:
        raise CompileError(Diagnostic("file-too-large", f"{name} is larger than {limit >> 20} MiB"))
    if data.startswith(LFS):
        raise CompileError(lfs_pointer(name))
    return data


def lfs_pointer(name: str) -> Diagnostic:
    return Diagnostic(
        "lfs-pointer",
        f"{name} is a Git LFS pointer, not the file itself",
        help="fetch the content first (`git lfs pull`), or name the repository on the Hub instead of the clone",
    )


def read_text(path: Path, name: str) -> str:
    """
    Raises:
        CompileError: as `read_bytes`, or `file-not-text`.
    """
    try:
        text = read_bytes(path, name).decode("utf-8")
    except UnicodeDecodeError as error:
        raise CompileError(
            Diagnostic("file-not-text", f"{name} is not UTF-8 text: byte {error.start} cannot be decoded")
        ) from None
    remember(name, text)
    return text


class DuplicateKey(ValueError):
    """An object names the same key twice; readers differ in which one they take."""


class NotANumber(ValueError):
    """NaN where a number should stand."""


def parse_object(text: str, name: str, code: str, what: str) -> dict[str, object]:
    """The JSON object that a file holds. `code` is that of the diagnostic, `what` says what the file is.

    Raises:
        CompileError: not JSON, more than one document, no object, a key twice, NaN, nesting without end.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except json.JSONDecodeError as error:
        span = Span(name, error.lineno, error.colno - 1, error.lineno, error.colno)
        message = "a second JSON document follows the first" if error.msg == "Extra data" else error.msg
        raise CompileError(Diagnostic(code, f"{name} is not valid JSON", Label(span, message))) from None
    except (DuplicateKey, NotANumber) as error:
        raise CompileError(Diagnostic(code, f"{name}: {error}")) from None
    except (RecursionError, ValueError):
        raise CompileError(Diagnostic(code, f"{name} is nested too deeply or holds an endless number")) from None
    if not isinstance(value, dict):
        raise CompileError(Diagnostic(code, f"{name} is no JSON object: {what} is one"))
    return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DuplicateKey(f"the key {printable(repr(twice), 200)} stands twice in the same object")
    return result


def _constant(text: str) -> float:
    if text == "NaN":
        raise NotANumber("NaN is no value that a configuration can have")
    return float(text)  # Infinity: published configurations bound intervals with it
