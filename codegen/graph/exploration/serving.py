"""Whether readings and conditions let a configuration pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ir.expressions import Const, Expr, substitute
from ir.reading import Condition, DoesNotRead, Json, Path, Reading, lookup, raw_paths, read, value


def accepted(
    filled: Mapping[str, Json],
    wanted: Mapping[Path, Reading],
    conditions: Sequence[Condition],
    own: Mapping[str, Json],
) -> bool:
    """Whether readings and conditions let a configuration pass. `own` is the one that they were found for."""
    try:
        found = {path: read(reading, filled) for path, reading in wanted.items()}
        return all(met(condition, found, filled) for condition in conditions) and not nested(filled, wanted, own)
    except (DoesNotRead, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return False


def met(condition: Condition, found: Mapping[Path, Json], filled: Mapping[str, Json]) -> bool:
    """Whether the compiled code serves a configuration with the values `found`."""
    if condition.kind == "default":
        return condition.stands(found, filled)
    if condition.reading is not None:
        result = read(condition.reading, filled)
    else:
        known: dict[Expr, Expr] = {key: Const(found[key.path]) for key in condition.keys}  # type: ignore[arg-type]
        result = value(substitute(condition.expr, known), {})
    if condition.kind == "elements":
        return isinstance(result, (list, tuple)) and set(result) <= set(condition.value)  # type: ignore[call-overload]
    if condition.kind == "choice":
        return isinstance(condition.value, tuple) and result in condition.value
    return same(result, condition.value)


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


def same(a: Json, b: Json) -> bool:
    """Equal values of equal types, where an int is as good as a float."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b
