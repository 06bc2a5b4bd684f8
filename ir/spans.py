"""Where in the source a fact came from. Spans never take part in equality."""

from __future__ import annotations

from ir.records import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a source file; lines count from 1, columns from 0, the end is exclusive."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int
