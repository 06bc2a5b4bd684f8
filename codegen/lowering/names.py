"""Names of the emitted classes: those of the source without the model's prefix, told apart by what the classes differ in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

Labels = Sequence[Sequence[str]]
"""Lists of the configuration that hold one word for each layer."""


class Named(Protocol):
    """A class to name: what the source calls it, where its instances stand, and the classes of their children."""

    name: str
    source_name: str

    @property
    def paths(self) -> Sequence[str]: ...

    @property
    def held(self) -> Iterable[Named]: ...


OWN_NAMES = frozenset(
    {
        "Any",
        "Array",
        "Buffer",
        "Cache",
        "Callable",
        "Config",
        "Embed",
        "NamedTuple",
        "Path",
        "Sequence",
        "Stack",
        "Tensor",
    }
)
"""What an emitted file defines or imports beside the classes of the source."""


def name_classes(classes: Sequence[Named], top: Named, library: frozenset[str], labels: Labels) -> None:
    """Give every class its name, callees before callers: the top is Model, the stack below it Decoder. A class that would hide
    one of `library`, as that of a layer of the framework that the model uses too, keeps its name."""
    prefix = _prefix(top.source_name, [made.source_name for made in classes])
    reserved = OWN_NAMES | library
    same: dict[str, list[Named]] = {}
    for made in classes:
        same.setdefault(_plain(made, made is top, prefix, reserved), []).append(made)
    same = _without_modality(same, reserved)
    taken = {*same, *reserved}
    for name, group in same.items():
        for made in group:
            made.name = name
    for name, group in same.items():
        if len(group) == 1:
            continue
        apart = next((names for names in _told_apart(name, group, labels) if _are_free(names, taken)), None)
        names = apart or [name, *(f"{name}{number}" for number in range(2, len(group) + 1))]
        taken |= {*names}
        for made, own in zip(group, names, strict=True):
            made.name = own


def _without_modality(same: dict[str, list[Named]], reserved: frozenset[str]) -> dict[str, list[Named]]:
    """Names without the word that tells classes for text from those for something else, where there are no others."""
    shorter = {name: re.sub(r"^Text(?=[A-Z])", "", name) for name in same}
    taken = Counter(shorter.values())
    return {
        name if taken[shorter[name]] > 1 or shorter[name] in reserved else shorter[name]: group
        for name, group in same.items()
    }


def _plain(made: Named, is_top: bool, prefix: str, reserved: frozenset[str]) -> str:
    name = made.source_name.removeprefix(prefix) or made.source_name
    if is_top:
        name = "Model"
    elif name == "Model" or name.endswith("Model"):
        name = (name.removesuffix("Model") or "Decoder") if name != "Model" else "Decoder"
    return made.source_name if not name[0].isalpha() or name in reserved else name


def _are_free(names: Sequence[str], taken: set[str]) -> bool:
    return len({*names}) == len(names) and not taken.intersection(names)


def _told_apart(name: str, group: Sequence[Named], labels: Labels) -> Iterator[list[str]]:
    """Names for classes of one name: by what the configuration calls their layers, by the one child that none of the others
    has, by what their owners call them."""
    for sequence in labels:
        found = [_only({sequence[layer] for layer in _layers(made) if layer < len(sequence)}) for made in group]
        yield from _prefixed(name, found)
    children = [{child.name for child in made.held} for made in group]
    yield from _prefixed(name, [_only(own - _others(children, at), "") for at, own in enumerate(children)])
    yield from _prefixed(name, [_only({path.rpartition(".")[2] for path in made.paths}) for made in group])


def _others(sets: Sequence[set[str]], at: int) -> set[str]:
    return set().union(*(own for number, own in enumerate(sets) if number != at))


def _only(found: set[str], none: str | None = None) -> str | None:
    return next(iter(found)) if len(found) == 1 else none if not found else None


def _layers(made: Named) -> Iterator[int]:
    for path in made.paths:
        yield next((int(part) for part in path.split(".") if part.isdigit()), 0)


def _prefixed(name: str, words: Sequence[str | None]) -> Iterator[list[str]]:
    """The name after what is in each of `words` and not in it, if that is something."""
    known = [part.lower() for part in _parts(name)]
    prefixes = []
    for word in words:
        if word is None:
            return
        parts = [part for part in _parts(word) if not any(_abbreviates(part.lower(), other) for other in known)]
        prefixes.append("".join(part[0].upper() + part[1:] for part in parts))
    if all(prefix.isidentifier() and not prefix[-1].isdigit() for prefix in prefixes):
        yield [prefix + name for prefix in prefixes]


_GENERAL = frozenset({"layer", "layers", "module", "modules"})


def _parts(name: str) -> list[str]:
    """The words of a name in either spelling: `sliding_attention`, `SlidingAttention`."""
    return re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)


def _abbreviates(short: str, word: str) -> bool:
    """Whether a word says no more than another: `attn` and `conv` are attention and convolution, all is a module."""
    letters = iter(word)
    return (
        short in _GENERAL
        or short == word
        or (len(short) > 2 and short[0] == word[0] and all(letter in letters for letter in short))
    )


def _prefix(top: str, names: Sequence[str]) -> str:
    """What the classes of one file start with: the longest start of the top's name that another class shares too."""
    best = ""
    for end in range(1, len(top)):
        start = top[:end]
        if end < len(top) and not top[end].isupper():
            continue
        shared = [n for n in names if n.startswith(start) and n[len(start) :][:1].isupper()]
        if len(shared) >= max(2, len(names) // 3):
            best = start
    return best


def words_of_layers(resolved: Mapping[str, object], count: int) -> dict[str, Sequence[str]]:
    """The lists of a configuration that hold one word for each of `count` layers, by their names."""
    lists = {
        name: value for name, value in resolved.items() if isinstance(value, (list, tuple)) and len(value) == count
    }
    return {name: value for name, value in lists.items() if all(isinstance(item, str) and item for item in value)}
