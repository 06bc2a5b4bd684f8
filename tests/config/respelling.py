"""The same configuration with the keys of other releases of the library: written by rules of the classes, none per model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Raw = Mapping[str, Any]

OLD_NAMES = {"dtype": "torch_dtype"}
NEW_NAMES = {old: new for new, old in OLD_NAMES.items()}
IN_ROPE = ("rope_theta", "partial_rotary_factor")  # keys that moved into the object


def spellings(raw: Raw) -> Iterator[tuple[str, dict[str, Any]]]:
    """What was changed, and the configuration; those in which nothing is left out. Some may say something else: the library tells."""
    for said, change in (
        ("dtype", lambda given, _: _renamed(given, NEW_NAMES)),
        ("torch_dtype", lambda given, _: _renamed(given, OLD_NAMES)),
        ("names of the class", lambda given, cls: _renamed(given, cls.attribute_map)),
        ("other names", lambda given, cls: _renamed(given, {new: old for old, new in cls.attribute_map.items()})),
        ("rope_parameters", lambda given, _: _one_object(given)),
        ("rope_scaling", lambda given, _: _scattered(given)),
        ("type", lambda given, _: _kinds(given, "rope_type", "type")),
        ("rope_type", lambda given, _: _kinds(given, "type", "rope_type")),
    ):
        found = _everywhere(raw, change)
        if found != raw:
            yield said, found


def _everywhere(raw: Raw, change: Any) -> dict[str, Any]:
    """A change made to a configuration and to those within it."""
    from transformers import CONFIG_MAPPING

    changed = change(raw, CONFIG_MAPPING[raw["model_type"]])
    return {
        name: _everywhere(value, change)
        if isinstance(value, Mapping) and value.get("model_type") in CONFIG_MAPPING
        else value
        for name, value in changed.items()
    }


def _renamed(raw: Raw, names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name) if names.get(name) not in raw else name: value for name, value in raw.items()}


def _one_object(raw: Raw) -> dict[str, Any]:
    """The newer spelling: `rope_parameters` with the base and the share that turns within it."""
    if "rope_parameters" in raw or not {"rope_theta", "rope_scaling"} & raw.keys():
        return dict(raw)
    scaling = raw.get("rope_scaling") or {}
    if any(isinstance(value, Mapping) for value in scaling.values()):
        return dict(raw)
    kind = {} if {"rope_type", "type"} & scaling.keys() else {"rope_type": "default"}
    moved = {name: raw[name] for name in IN_ROPE if name in raw}
    kept = {name: value for name, value in raw.items() if name not in (*IN_ROPE, "rope_scaling")}
    return {**kept, "rope_parameters": {**kind, **moved, **scaling}}


def _scattered(raw: Raw) -> dict[str, Any]:
    """The older spelling: `rope_scaling` beside the base and the share that turns."""
    given = raw.get("rope_parameters")
    if not given or "rope_scaling" in raw or any(isinstance(value, Mapping) for value in given.values()):
        return dict(raw)
    moved = {name: given[name] for name in IN_ROPE if name in given}
    rest = {name: value for name, value in given.items() if name not in IN_ROPE}
    kept = {name: value for name, value in raw.items() if name != "rope_parameters"}
    return {**kept, **moved, "rope_scaling": rest if rest != {"rope_type": "default"} else None}


def _kinds(raw: Raw, old: str, new: str) -> dict[str, Any]:
    def respelled(given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {new if name == old and new not in given else name: respelled(value) for name, value in given.items()}

    return {
        name: respelled(value) if name in ("rope_scaling", "rope_parameters") else value for name, value in raw.items()
    }
