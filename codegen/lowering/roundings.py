"""Where a module rounds numbers before it multiplies: what looks like a slip in its code, and changes the result if it is mended."""

from __future__ import annotations

from collections.abc import Iterable

from ir.graph import DType, Op, Region, Value

SCALED = "Rounded to the type of the model before it is scaled, as the source does."
FACTOR = "The factor is rounded to the type of the model first, as in the source."
_WIDE = (DType.FLOAT32, DType.PROMOTED)


def rounding(regions: Iterable[Region]) -> str:
    """What a reader has to know; nothing where nothing is rounded so."""
    return next((note for region in regions for note in [_rounding(region)] if note), "")


def _rounding(region: Region) -> str:
    held: list[Value] = []  # what the module keeps
    factors: list[Value] = []  # some of it, rounded
    rounded: list[Value] = []  # results, rounded
    for node in region.nodes:
        match node:
            case Op("parameter", _, (Value() as value,)):
                held.append(value)
            case Op("cast", (Value(dtype=dtype) as wide, *_), (Value(dtype=DType.MODEL) as value,)) if dtype in _WIDE:
                (factors if wide in held else rounded).append(value)
            case Op("mul", (Value() as a, Value() as b)):
                if any(x in rounded and y in held and len(y.shape) == 1 for x, y in ((a, b), (b, a))):
                    return SCALED
                if a in factors or b in factors:
                    return FACTOR
            case _:
                pass
    return ""
