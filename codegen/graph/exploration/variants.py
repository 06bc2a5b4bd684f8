"""Variants of a configuration: one key changed, or every key in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from ir.reading import Json, Path, lookup

MAX_SETTINGS = 24
ABSENT = object()


def differing_paths(a: Mapping[str, Json], b: Mapping[str, Json], path: Path = ()) -> Iterator[Path]:
    """The keys in which two configurations differ."""
    for name in [*a, *(name for name in b if name not in a)]:
        left, right = a.get(name, ABSENT), b.get(name, ABSENT)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            yield from differing_paths(left, right, (*path, name))
        elif left is ABSENT or right is ABSENT or left is None or right is None:
            if left is not right:
                yield (*path, name)


def holds_settings(inner: Mapping[str, Json]) -> bool:
    """Whether an object holds settings, not a configuration of its own."""
    return len(inner) <= MAX_SETTINGS and "model_type" not in inner and all(isinstance(key, str) for key in inner)


def key_at(path: Path, config: Mapping[str, Json]) -> Path:
    """The key that a path begins with: one of the inner configuration where `config` holds another."""
    for at in range(1, len(path)):
        inner = lookup(config, path[:at])
        if not isinstance(inner, Mapping) or holds_settings(inner):
            return path[:at]
    return path


def keys_of(config: Mapping[str, Json]) -> Iterator[Path]:
    """Every key of a configuration; of an inner one, its own keys."""
    for name, item in config.items():
        if isinstance(item, Mapping) and not holds_settings(item):
            yield from ((name, *inner) for inner in keys_of(item))
        else:
            yield (name,)


def is_plain_list(items: Sequence[Json]) -> bool:
    return all(isinstance(item, (bool, int, float, str, type(None))) for item in items)


def changed(raw: Mapping[str, Json], path: Path, new: Json) -> dict[str, Json] | None:
    """`raw` with another value at `path`, sharing everything else with it; None if there is no such place."""
    made = _changed(raw, path, new)
    return made if isinstance(made, dict) else None


def _changed(owner: Json, path: Path, new: Json) -> Json:
    step, rest = path[0], path[1:]
    if isinstance(owner, Mapping):
        if rest or new is ABSENT:
            if step not in owner:
                return None
        if not rest and new is ABSENT:
            return {name: item for name, item in owner.items() if name != step}
        inner = _changed(owner[step], rest, new) if rest else new
        return None if rest and inner is None else {**owner, step: inner}
    if isinstance(owner, list) and isinstance(step, int) and step < len(owner) and (rest or new is not ABSENT):
        inner = _changed(owner[step], rest, new) if rest else new
        return None if rest and inner is None else [*owner[:step], inner, *owner[step + 1 :]]
    return None


def disturbed(
    raw: Mapping[str, Json],
    declared: Mapping[str, Json],
    plausible: Callable[[Path], Iterator[Json]] = lambda path: iter(()),
) -> Iterator[tuple[Path, dict[str, Json]]]:
    """Every key of `raw` doubled, flipped, nulled, removed and retyped, one at a time, and every other field given."""
    for path in list(_all_paths(raw)):
        now = lookup(raw, path)
        for new in _disturbances(now):
            variant = changed(raw, path, new)
            if variant is not None:
                yield path, variant
    for name, default in declared.items():
        if name in raw:
            continue
        candidates = (
            [*_disturbances(default)]
            if default is not None
            else [v for v, _ in zip(plausible((name,)), range(3), strict=False)]
        )
        for new in candidates:
            if new is not ABSENT:
                yield (name,), {**raw, name: new}


def _disturbances(now: Json) -> Iterator[Json]:
    yield ABSENT
    if now is not None:
        yield None
    match now:
        case bool():
            yield not now
        case int():
            yield from (now * 2, now + 1)
        case float():
            yield from (now * 2, now * 0.5)
        case str():
            yield now + "x"
        case list() if now:
            yield from (now[:-1], now[::-1])
        case dict() if now:
            yield {}


def retyped(raw: Mapping[str, Json]) -> Iterator[tuple[Path, dict[str, Json]]]:
    """Every key of `raw` with a value of another type."""
    for path in list(_all_paths(raw)):
        now = lookup(raw, path)
        new: Json = str(now) if not isinstance(now, str) else 7
        variant = changed(raw, path, new)
        if variant is not None:
            yield path, variant


def _all_paths(raw: Json, path: Path = ()) -> Iterator[Path]:
    if isinstance(raw, Mapping):
        for name, inner in raw.items():
            yield (*path, name)
            yield from _all_paths(inner, (*path, name))


def is_inside(raw: Json, path: Path) -> bool:
    owner = lookup(raw, path[:-1])
    if isinstance(owner, Mapping):
        return path[-1] in owner
    return isinstance(owner, (list, tuple))


def values_named(resolved: Json, name: str | int) -> Iterator[Json]:
    """Values under `name` anywhere in the resolved configuration."""
    if isinstance(resolved, Mapping):
        if name in resolved and resolved[name] is not None:
            yield plain(resolved[name])
        for inner in resolved.values():
            yield from values_named(inner, name)


def strings_at(raw: Json, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Where strings stand in the objects of a configuration."""
    if isinstance(raw, Mapping):
        for name, inner in raw.items():
            yield from strings_at(inner, (*path, name))
    elif isinstance(raw, str) and path:
        yield path, raw


def strings_of(raw: Json, found: set[str]) -> set[str]:
    if isinstance(raw, str) and len(raw) < 40:
        found.add(raw)
    elif isinstance(raw, Mapping):
        for inner in raw.values():
            strings_of(inner, found)
    elif isinstance(raw, (list, tuple)):
        for inner in raw:
            strings_of(inner, found)
    return found


def plain(x: Json) -> Json:
    """A value as JSON has it."""
    if isinstance(x, Mapping):
        return {key: plain(inner) for key, inner in x.items()}
    if isinstance(x, (list, tuple)):
        return [plain(inner) for inner in x]
    return x
