"""One spelling for each configuration: releases of the library write the same one with other keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from codegen.graph.exploration.running import ConfigurationClass
from codegen.graph.exploration.variants import ABSENT, changed, holds_settings, plain
from ir.reading import Json, Path, lookup, same

BOOK = ("transformers_version", "_name_or_path", "_commit_hash", "ignore_keys_at_rope_validation")  # not of the model
_RENAMED = {"torch_dtype": "dtype"}
_KEPT = ("model_type", "architectures")  # say which code is meant


def newer_names(cls: ConfigurationClass, raw: Mapping[str, Json]) -> dict[str, Json]:
    """`raw` with the newer names of keys that every class has under two, where the class makes the same of it."""
    renamed, outcome = _of_one_release(raw), cls(raw)
    made = cls(renamed) if outcome.failure is None else outcome
    return renamed if made.failure is None and _equal(said(made.resolved), said(outcome.resolved)) else dict(raw)


def normal_spelling(cls: ConfigurationClass, raw: Mapping[str, Json]) -> dict[str, Json]:
    """The keys that the class itself has for what it makes of `raw`, without those that follow from others.

    What is made of all spellings of a configuration is the same, and so is this. Where the class does not take what it
    made, `raw` as it is, but for keys that every class has under two names.
    """
    outcome = cls(raw)
    wanted = said(outcome.resolved)

    def gives(keys: Mapping[str, Json]) -> bool:
        made = cls(keys)
        return made.failure is None and _equal(said(made.resolved), wanted)

    candidates = (_as_json(wanted, private) for private in (lambda name: None, lambda name: name.lstrip("_")))
    found = next((keys for keys in candidates if gives(keys)), None) if outcome.failure is None else None
    if found is None:
        return newer_names(cls, raw)
    if cls.fills:  # what has its default goes without a run
        found = {name: item for name, item in found.items() if name in _KEPT or not _is_default(cls, name, item)}
    for phase in (_containers, _within_configurations, _plain_keys):
        found = _without(found, list(phase(found)), gives)
    return found


def _of_one_release(raw: Mapping[str, Json]) -> dict[str, Json]:
    """`raw` and the configurations within it with the newer names of keys that every class has."""
    renamed = {_RENAMED[name] if _RENAMED.get(name, name) not in raw else name: item for name, item in raw.items()}
    return {
        name: _of_one_release(item) if isinstance(item, Mapping) and "model_type" in item else item
        for name, item in renamed.items()
    }


def _is_default(cls: ConfigurationClass, name: str, item: Json) -> bool:
    return name in cls.declared and _equal(item, cls.declared[name])


def _containers(keys: Mapping[str, Json]) -> Iterator[Path]:
    """Lists and objects, of which the longest says least."""
    yield from ((name,) for name, item in keys.items() if isinstance(item, (list, dict)) and name not in _KEPT)


def _within_configurations(keys: Mapping[str, Json], path: Path = ()) -> Iterator[Path]:
    for name, item in keys.items():
        if isinstance(item, dict) and not holds_settings(item):
            for inner in item:
                if inner not in _KEPT:
                    yield (*path, name, inner)
            yield from _within_configurations(item, (*path, name))


def _plain_keys(keys: Mapping[str, Json]) -> Iterator[Path]:
    yield from ((name,) for name, item in keys.items() if not isinstance(item, (list, dict)) and name not in _KEPT)


def _without(
    keys: dict[str, Json], paths: Sequence[Path], gives: Callable[[Mapping[str, Json]], bool]
) -> dict[str, Json]:
    """`keys` less as many of `paths` as can go, all at once where that does it."""
    fewer = keys
    for path in paths:
        if isinstance(lookup(fewer, path[:-1]), Mapping):
            fewer = changed(fewer, path, ABSENT) or fewer
    if not paths or gives(fewer):
        return fewer
    if len(paths) == 1:
        return keys
    half = len(paths) // 2
    return _without(_without(keys, paths[:half], gives), paths[half:], gives)


def said(resolved: Mapping[str, Json]) -> dict[str, Json]:
    """What a configuration says, whoever wrote it; what the library keeps for itself included."""
    return {
        name: said(item) if isinstance(item, Mapping) else item for name, item in resolved.items() if name not in BOOK
    }


def _equal(a: Json, b: Json) -> bool:
    """Whether two attributes are the same, types included."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_equal(a[name], b[name]) for name in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(_equal, a, b))
    return type(a) is type(b) and same(a, b)


def _as_json(owner: Mapping[str, Json], private: Callable[[str], str | None]) -> dict[str, Json]:
    """An object as config.json has it, where names are strings, in one order. `private` says which key an attribute of the
    library's own was made of, None for no key."""
    named: dict[str, Json] = {}
    for name, item in owner.items():
        key = private(name) if isinstance(name, str) and name.startswith("_") else str(name)
        if key is not None:
            named.setdefault(key, item)
    return {
        name: _as_json(item, private) if isinstance(item, Mapping) else plain(item)
        for name, item in sorted(named.items())
    }
