"""Everything the compiler has to say to its user, as data. One renderer turns it into text, one into JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

from ir.records import dataclass, field
from ir.spans import Span


class Severity(Enum):
    ERROR = "error"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Label:
    """A place in a source file and what is to be said about it."""

    span: Span
    text: str = ""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """`code` is kebab-case and stable; docs/diagnostics.md has a section for each."""

    code: str
    message: str
    primary: Label | None = None
    secondary: tuple[Label, ...] = ()
    help: str = ""
    notes: tuple[str, ...] = field(default=())
    severity: Severity = Severity.ERROR
    key: tuple[str | int, ...] = ()  # of config.json that this is about


class CompileError(Exception):
    """The input cannot be compiled. Carries every finding, not the first alone.

    `contexts` is what was being evaluated, innermost first, for those who know more about it than who found the fault.
    """

    def __init__(self, *diagnostics: Diagnostic):
        super().__init__("; ".join(d.message for d in diagnostics))
        self.diagnostics = diagnostics
        self.contexts: list[tuple[Any, Any]] = []


SourceReader = Callable[[str], str | None]
"""Gives the text of the file that a span names, or None where it cannot be shown."""

MAX_EXCERPT = 4  # lines of a source excerpt before the middle is left out
MAX_TEXT = 2000  # characters of a message that came from the input


def printable(text: str, limit: int = MAX_TEXT) -> str:
    """Text from an untrusted file, fit for a terminal: no control or bidirectional characters, and not endless."""
    safe = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
    return safe if len(safe) <= limit else f"{safe[:limit]}... ({len(text)} characters)"


def to_text(diagnostic: Diagnostic, sources: SourceReader = lambda file: None) -> str:
    """The diagnostic as a compiler prints it: headline, labelled source excerpts, notes, help."""
    lines = [f"{diagnostic.severity.value}[{diagnostic.code}]: {printable(diagnostic.message)}"]
    labels = ([] if diagnostic.primary is None else [(diagnostic.primary, "^")]) + [
        (label, "-") for label in diagnostic.secondary
    ]
    width = max((len(str(label.span.end_line)) for label, _ in labels), default=0)
    for label, mark in labels:
        lines += _excerpt(label, mark, width, sources(label.span.file))
    margin = " " * width
    for note in diagnostic.notes:
        lines.append(_indented(f"{margin} = note: ", note))
    if diagnostic.help:
        lines.append(_indented(f"{margin} = help: ", diagnostic.help))
    return "\n".join(lines)


def _indented(head: str, text: str) -> str:
    return head + printable(text).replace("\n", "\n" + " " * len(head))


def _excerpt(label: Label, mark: str, width: int, source: str | None) -> list[str]:
    span, margin = label.span, " " * width
    arrow = "-->" if mark == "^" else ":::"
    lines = [f"{margin}{arrow} {printable(span.file)}:{span.line}:{span.column + 1}"]
    texts = [] if source is None else source.splitlines()
    if not 1 <= span.line <= len(texts):
        return lines + ([f"{margin} = {printable(label.text)}"] if label.text else [])
    lines.append(f"{margin} |")
    last = min(span.end_line, len(texts))
    shown = list(range(span.line, last + 1))
    if len(shown) > MAX_EXCERPT:
        shown = [*shown[: MAX_EXCERPT - 1], last]
    before = span.line
    for number in shown:
        if number > before + 1:
            lines.append(f"{margin} ...")
        before = number
        text = printable(texts[number - 1].expandtabs(4))
        lines.append(f"{number:>{width}} | {text}".rstrip())
    lines.append(f"{margin} | {_underline(span, texts, mark)} {printable(label.text)}".rstrip())
    return lines


def _underline(span: Span, texts: list[str], mark: str) -> str:
    """Marks under the last line shown. Columns count UTF-8 bytes in `ast` and characters elsewhere: close enough."""
    last = min(span.end_line, len(texts))
    text = texts[last - 1]
    start = span.column if last == span.line else len(text) - len(text.lstrip())
    stop = min(span.end_column, len(text))
    head = text[:start].expandtabs(4)
    return " " * len(head) + mark * max(1, len(text[:stop].expandtabs(4)) - len(head))


Json = dict[str, object]


def to_json(diagnostic: Diagnostic) -> Json:
    """The same facts, for machines."""
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity.value,
        "message": diagnostic.message,
        "primary": None if diagnostic.primary is None else _label_json(diagnostic.primary),
        "secondary": [_label_json(label) for label in diagnostic.secondary],
        "notes": list(diagnostic.notes),
        "key": ".".join(map(str, diagnostic.key)) or None,
        "help": diagnostic.help,
    }


def _label_json(label: Label) -> Json:
    span = label.span
    return {
        "file": span.file,
        "line": span.line,
        "column": span.column,
        "end_line": span.end_line,
        "end_column": span.end_column,
        "text": label.text,
    }


def raise_all(findings: Iterable[Diagnostic]) -> None:
    """Raise CompileError if any of the findings is an error."""
    found = tuple(findings)
    if any(diagnostic.severity is Severity.ERROR for diagnostic in found):
        raise CompileError(*found)
