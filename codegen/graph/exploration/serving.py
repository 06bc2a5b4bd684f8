"""Whether readings and conditions let a configuration pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ir.reading import Condition, DoesNotRead, Json, Path, Reading, lookup, raw_paths, read


def accepted(
    filled: Mapping[str, Json],
    wanted: Mapping[Path, Reading],
    conditions: Sequence[Condition],
    own: Mapping[str, Json],
) -> bool:
    """Whether readings and conditions let a configuration pass. `own` is the one that they were found for."""
    try:
        found = {path: read(reading, filled) for path, reading in wanted.items()}
        return all(condition.holds(found, filled) for condition in conditions) and not nested(filled, wanted, own)
    except (DoesNotRead, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return False


def nested(raw: Mapping[str, Json], wanted: Mapping[Path, Reading], own: Mapping[str, Json]) -> bool:
    """Whether an object of which single values are read holds objects that nobody reads, and that are none of `own`."""
    paths = set().union(*(raw_paths(reading) for reading in wanted.values())) if wanted else set()
    for owner in {path[:-1] for path in paths if len(path) > 1}:
        found = lookup(raw, owner)
        if isinstance(found, Mapping) and any(
            isinstance(item, Mapping)
            and not any(path[: len(owner) + 1] == (*owner, name) for path in paths)
            and not isinstance(lookup(own, (*owner, name)), Mapping)
            for name, item in found.items()
        ):
            return True
    return False
