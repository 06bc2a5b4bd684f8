"""Answers of the commands: text for people, the same facts for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from codegen.diagnostics import Diagnostic
from ir.records import dataclass


@dataclass(frozen=True, slots=True)
class Report:
    """An answer for people and the same for machines. `passed` is None where nothing was measured."""

    text: str
    facts: Mapping[str, object]
    passed: bool | None = None
    notes: tuple[Diagnostic, ...] = ()


def columns(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Lines with the cells of each row below those of the one before; the last cell is as long as it is."""
    if not rows:
        return []
    count = max(map(len, rows))
    filled = [[*row, *[""] * (count - len(row))] for row in rows]
    widths = [max(len(row[at]) for row in filled) for at in range(count)]
    return [
        indent + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in filled
    ]
