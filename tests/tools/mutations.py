"""Published configurations with something wrong in them: the draws of the fuzzing tests."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

DATA = Path(__file__).resolve().parent.parent / "data"
Config = dict[str, Any]
At = tuple[str | int, ...]

HUGE = (10**6, 2**31, 2**63, 10**30, -(10**30), 1e300, 1e-300)
OTHER_TYPES = (True, False, 0, 1, 7, 0.5, -1, "", "8", "true", "none", [], [1], [None], ["x"], {}, {"a": 1}, [[]], [{}])
WORDS = (
    "silu",
    "gelu",
    "linear",
    "yarn",
    "default",
    "full_attention",
    "sliding_attention",
    "mamba",
    "\x1b[31m",
    "../x",
    "é",
)
UNKNOWN = ("new_flag", "attention_temperature", "rope_scaling", "head_dim", "sliding_window", "quantization_config", "per_layer_config")  # fmt: skip


def published() -> dict[str, Config]:
    found: dict[str, Config] = json.loads((DATA / "published_configs.json").read_text())
    return found


def small() -> dict[str, Config]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(DATA.glob("*cases/*.json"))}


@dataclass(frozen=True, slots=True)
class Draw:
    """A configuration and how it came from the one called `base`."""

    base: str
    changes: tuple[str, ...]
    config: Config


def paths(config: object, path: At = ()) -> Iterator[At]:
    """Every key, and the first and the last element of every list."""
    if isinstance(config, Mapping):
        for name, inner in config.items():
            yield (*path, name)
            yield from paths(inner, (*path, name))
    elif isinstance(config, Sequence) and not isinstance(config, str):
        for i in sorted({0, len(config) - 1} if config else ()):
            yield (*path, i)


@st.composite
def draws(draw: st.DrawFn, configs: Mapping[str, Config], others: Mapping[str, Config] | None = None) -> Draw:
    """One to three changes of a configuration: mostly one, which is what a person gets wrong. Keys and values of `others` get in."""
    base = draw(st.sampled_from(sorted(configs)))
    config = json.loads(json.dumps(configs[base]))
    changes = []
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        kind = draw(st.sampled_from(KINDS))
        said = kind(draw, config, others or configs)
        if said:
            changes.append(said)
    return Draw(base, tuple(changes), config)


def owner_of(config: Any, path: At) -> Any:
    for step in path[:-1]:
        config = config[step]
    return config


def pick(draw: st.DrawFn, config: Config) -> At:
    return draw(st.sampled_from(list(paths(config)) or [()]))


def put(config: Config, path: At, new: object) -> str:
    if not path:
        return ""
    owner_of(config, path)[path[-1]] = copy.deepcopy(new)  # another change must not reach what it was taken from
    return f"{'.'.join(map(str, path))} = {json.dumps(new)[:80]}"


def drop(draw: st.DrawFn, config: Config, configs: Mapping[str, Config]) -> str:
    path = pick(draw, config)
    if not path:
        return ""
    del owner_of(config, path)[path[-1]]
    return f"without {'.'.join(map(str, path))}"


def null(draw: st.DrawFn, config: Config, configs: Mapping[str, Config]) -> str:
    return put(config, pick(draw, config), None)


def retype(draw: st.DrawFn, config: Config, configs: Mapping[str, Config]) -> str:
    return put(config, pick(draw, config), draw(st.sampled_from(OTHER_TYPES)))


def swap(draw: st.DrawFn, config: Config, configs: Mapping[str, Config]) -> str:
    one, other = pick(draw, config), pick(draw, config)
    if not one or not other or one[: len(other)] == other or other[: len(one)] == one:
        return ""
    a, b = owner_of(config, one)[one[-1]], owner_of(config, other)[other[-1]]
    return f"{put(config, one, b)}, {put(config, other, a)}"


def huge(draw: st.DrawFn, config: Config, configs: Mapping[str, Config]) -> str:
    return put(config, _number(draw, config), draw(st.sampled_from(HUGE)))


def negative(draw: st.DrawFn, config: Config, configs: Mapping[str, Config]) -> str:
    path = _number(draw, config)
    return put(config, path, -owner_of(config, path)[path[-1]]) if path else ""


def nearby(draw: st.DrawFn, config: Config, configs: Mapping[str, Config]) -> str:
    path = _number(draw, config)
    if not path:
        return ""
    now = owner_of(config, path)[path[-1]]
    return put(config, path, draw(st.sampled_from((now + 1, now - 1, now * 2, now // 2, now / 2, 0, 1, 3))))


def unknown_key(draw: st.DrawFn, config: Config, configs: Mapping[str, Config]) -> str:
    """A key that this one has not: any, or one that another configuration has."""
    other = configs[draw(st.sampled_from(sorted(configs)))]
    name = draw(st.sampled_from([*UNKNOWN, *sorted(other)]))
    return put(config, (name,), other.get(name, draw(st.sampled_from(OTHER_TYPES))))


def unknown_word(draw: st.DrawFn, config: Config, configs: Mapping[str, Config]) -> str:
    words = [path for path in paths(config) if isinstance(owner_of(config, path)[path[-1]], str)]
    if not words:
        return ""
    path = draw(st.sampled_from(words))
    return put(config, path, draw(st.sampled_from((*WORDS, owner_of(config, path)[path[-1]] + "x"))))


def transplant(draw: st.DrawFn, config: Config, configs: Mapping[str, Config]) -> str:
    """A value that another configuration has under the same key."""
    path = pick(draw, config)[:1]
    others = sorted(json.dumps(other[path[0]]) for other in configs.values() if path and path[0] in other)
    return put(config, path, json.loads(draw(st.sampled_from(others)))) if others else ""


def _number(draw: st.DrawFn, config: Config) -> At:
    found = [path for path in paths(config) if type(owner_of(config, path)[path[-1]]) in (int, float)]
    return draw(st.sampled_from(found)) if found else ()


KINDS = (drop, null, retype, swap, huge, negative, nearby, unknown_key, unknown_word, transplant)
