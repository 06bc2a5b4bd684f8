"""What is not right yet. Every entry is asserted to be wrong in just this way, so that none outlives its mending."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gap:
    """A configuration that is refused, with the code of the diagnostic."""

    code: str
    raised_only: bool = False  # compiles with raising off


@dataclass(frozen=True, slots=True)
class Inexact:
    """Unraised PyTorch differs from the original in rounding: which operation, why, and by how much at most."""

    operation: str
    reason: str
    at_most: float


KNOWN_GAPS: dict[str, Gap] = {}

# (name, framework) -> what is measured and beyond its tolerance
MEASURED_GAPS: dict[tuple[str, str], frozenset[str]] = {}

NOT_EXACT: dict[str, Inexact] = {}
