"""Tensors of published checkpoints <-> parameters of the module tree, by the library's conversion table.

How a transform matches a name follows `WeightTransform` in the library's core_model_loading.py, what is done in which order
`convert_and_load_state_dict_in_model` and `revert_weight_conversion` there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache

from codegen.diagnostics import CompileError, Diagnostic
from codegen.lowering.conversion_table import Conversion, Convert, Kind, Rename
from codegen.lowering.layouts import Layout, Shape, names, with_names
from codegen.lowering.operations import Collected, Series, Surroundings, convert
from ir.records import dataclass, field, replace

LAYER, COUNT = "7919", "7907"  # stand for `{}` and `*` while patterns are matched: nothing is numbered as high


@dataclass(frozen=True, slots=True)
class Model:
    """What tensors are matched with: the conversions, in order, the prefix that may be missing, the shapes of the parameters
    by path, the configuration.
    """

    conversions: tuple[Conversion, ...]
    base: str = ""
    parameters: Mapping[str, Shape] = field(default_factory=dict)
    config: Mapping[str, object] = field(default_factory=dict)

    @property
    def renames(self) -> tuple[Rename, ...]:
        return tuple(one for one in self.conversions if isinstance(one, Rename))

    @property
    def converters(self) -> tuple[Convert, ...]:
        return tuple(one for one in self.conversions if isinstance(one, Convert))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor belongs: a path, or what makes the parameter at that path, and others, of it and of what `pattern` and
    the other sources of the conversion match. `number` is what `*` of the pattern stands for.
    """

    path: str
    conversion: Convert | None = None
    pattern: str = ""
    number: int = 0


def places(stored: Iterable[str], model: Model) -> dict[str, Place]:
    """Name -> where it belongs; what has no place keeps a path that the model does not have."""
    out: dict[str, Place] = {}
    stored = list(stored)
    for name, changed in zip(stored, _renamed(stored, model.renames), strict=True):
        place = _based(_converted(changed, model.converters), model)
        if place.path not in model.parameters and name in model.parameters:
            place = Place(name)
        elif place.path not in model.parameters and (bare := _based(Place(name), model)).path in model.parameters:
            place = bare
        out[name] = place
    return out


def _renamed(stored: list[str], renames: Iterable[Rename]) -> list[str]:
    """Every rename in turn, of all names at once: a group of renames counts if its first pattern is found anywhere."""
    for rename in renames:
        matches = [_match(rename, name) for name in stored]
        active = rename.kind is not Kind.GROUP or any(match is not None and match.branch == 0 for match in matches)
        stored = [
            name if match is None or not active else match.name(rename)
            for name, match in zip(stored, matches, strict=True)
        ]
    return stored


def _converted(name: str, converters: Iterable[Convert]) -> Place:
    for conversion in converters:
        match = _match(conversion, name)
        if match is not None:
            pattern = _patterns(conversion)[0][match.branch]
            number = re.search(pattern.replace("*", r"(\d+)"), name) if "*" in pattern else None
            return Place(match.name(conversion), conversion, pattern, int(number[1]) if number else 0)
    return Place(name)


def _based(place: Place, model: Model) -> Place:
    """The prefix of the base model is put on or taken off where that leads to a parameter."""
    bare = place.path.removeprefix(f"{model.base}.") if model.base else place.path
    if bare != place.path and bare in model.parameters:
        return replace(place, path=bare)
    if model.base and f"{model.base}.{place.path}" in model.parameters:
        return replace(place, path=f"{model.base}.{place.path}")
    return place


@dataclass(frozen=True, slots=True)
class Matched:
    """How a checkpoint holds parameters, by path. `strays` are tensors that have no place, `failed` the parameters for which
    tensors are there that do not make them; `findings` say why, and blame tensors.
    """

    layouts: Mapping[str, Layout]
    strays: tuple[str, ...]
    failed: frozenset[str]
    findings: tuple[Diagnostic, ...]
    blamed: frozenset[str]


def match_checkpoint(stored: Mapping[str, Shape | None], model: Model) -> Matched:
    """The layout of every parameter that a checkpoint holds, and what is wrong with its names: `weight-operation` where a
    conversion cannot be followed, `missing-tensor` where it lacks a tensor, `doubled-tensor` where two have the same place.
    """
    out: dict[str, Layout] = {}
    groups: dict[str, tuple[Convert, dict[str, dict[str, int]]]] = {}
    findings, strays, failed = _Findings(), list[str](), set[str]()
    for name, place in places(sorted(stored, key=_natural), model).items():
        if place.path not in model.parameters:
            strays.append(name)
        elif place.conversion is not None:
            _, found = groups.setdefault(place.path, (place.conversion, {}))
            found.setdefault(place.pattern, {})[name] = place.number
        elif place.path in out:
            findings.add("doubled-tensor", f"are the same tensor as {_shown(out[place.path])}", name)
        else:
            out[place.path] = name
    for path, (conversion, found) in groups.items():
        try:
            made = _layouts(path, conversion, found, model, stored)
        except CompileError as error:
            first, *_ = error.diagnostics
            findings.add(first.code, first.message, *(name for many in found.values() for name in many))
            failed.add(path)
            continue
        for target, layout in made.items():
            if target in out:
                findings.add("doubled-tensor", f"are the same tensor as {_shown(out[target])}", *names(layout))
            elif target not in model.parameters:
                strays += names(layout)
            else:
                out[target] = layout
    return Matched(out, tuple(dict.fromkeys(strays)), frozenset(failed), tuple(findings.all()), findings.names())


def _layouts(
    path: str,
    conversion: Convert,
    found: Mapping[str, Mapping[str, int]],
    model: Model,
    stored: Mapping[str, Shape | None],
) -> dict[str, Layout]:
    """The parameters that a conversion makes of the tensors that its patterns found, by path."""
    sources, _ = _patterns(conversion)
    if absent := [source for source in sources if source not in found]:
        raise CompileError(
            Diagnostic(
                "missing-tensor", f"are parts of `{path}`, and nothing is there that matches {', '.join(absent)}"
            )
        )
    collected = {pattern: _series(pattern, many) for pattern, many in found.items()}
    first = next(iter(next(iter(found.values()))))
    return _made(path, conversion, collected, model, stored.get(first))


def _series(pattern: str, many: Mapping[str, int]) -> Layout | Series:
    """One tensor, or several that are numbered from 0 on."""
    first = next(iter(many))
    if "*" not in pattern:
        if len(many) > 1:
            raise CompileError(Diagnostic("doubled-tensor", "are all the same tensor"))
        return first
    if sorted(many.values()) == list(range(len(many))):
        for at in reversed(list(re.finditer(r"\d+", first))):
            template = f"{first[: at.start()]}*{first[at.end() :]}"
            if all(template.replace("*", str(number)) == name for name, number in many.items()):
                return Series(template, len(many))
    raise CompileError(Diagnostic("missing-tensor", "are parts of one, but are not numbered from 0 without a gap"))


def _made(
    path: str, conversion: Convert, collected: Collected, model: Model, tensor: Shape | None
) -> dict[str, Layout]:
    sources, targets = _patterns(conversion)
    prefix, first, suffix = path.partition(targets[0])
    if not first:
        raise CompileError(Diagnostic("weight-operation", f"`{targets[0]}` is no part of `{path}`"))
    known = Surroundings(model.config, model.parameters.get(path), tensor, lambda target: prefix + target + suffix)
    made = convert(replace(conversion, sources=sources), targets, collected, known)
    return {prefix + target + suffix: layout for target, layout in made.items() if not isinstance(layout, Series)}


def published(path: str, model: Model) -> Layout:
    """What the library stores for the parameter at `path` when it saves a fresh model; `{}` may stand for a layer.

    Raises:
        CompileError: `weight-operation` where a conversion cannot be followed.
    """
    name = path.replace("{}", LAYER)
    usual = [one for one in reversed(model.conversions) if not (isinstance(one, Rename) and one.kind is Kind.PREFIX)]
    backwards = [_reverse(one) for one in usual]
    renames = [one for one in backwards if isinstance(one, Rename)]
    for forward, back in zip(usual, backwards, strict=True):
        if isinstance(forward, Convert) and isinstance(back, Convert) and (match := _match(back, name)) is not None:
            return _published(name, forward, back, match, renames, model)
    return _unmarked(_saved(name, renames))


def _published(name: str, forward: Convert, back: Convert, match: Match, renames: list[Rename], model: Model) -> Layout:
    """The layout of a parameter by the conversion that is taken back when a model is saved."""
    patterns, _ = _patterns(forward)
    collected: dict[str, Layout | Series] = {}
    for pattern, target in zip(patterns, _patterns(back)[1], strict=True):
        stored = _saved(match.replaced(target).replace("*", COUNT), renames)
        collected[pattern] = Series(stored.replace(COUNT, "*")) if "*" in pattern else stored
    path = match.replaced(_patterns(forward)[1][0])
    made = _made(path, forward, collected, model, None)
    if name not in made:
        raise CompileError(Diagnostic("weight-operation", f"the conversion of `{path}` does not lead to `{name}`"))
    return with_names(made[name], _unmarked)


def _saved(name: str, renames: Iterable[Rename]) -> str:
    for rename in renames:
        match = _match(rename, name)
        name = name if match is None else match.name(rename)
    return name


def _unmarked(name: str) -> str:
    """With `{}` for the layer, and how far from it where a conversion shifts its number."""
    near = {str(int(LAYER) + offset): f"{{{offset:+d}}}" for offset in range(-9, 10) if offset}
    return ".".join(near.get(step, step) for step in name.replace(LAYER, "{}").split("."))


def _natural(name: str) -> list[tuple[int, str, int]]:
    """Sorts numbers as numbers, within words too."""
    return [
        (0, "", int(step)) if step.isdigit() else (1, word := step.rstrip("0123456789"), int(step[len(word) :] or -1))
        for step in name.split(".")
    ]


# Findings


class _Findings:
    """What is wrong, and with which tensors."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], list[str]] = {}

    def add(self, code: str, said: str, *which: str) -> None:
        self.found.setdefault((code, said), []).extend(which)

    def names(self) -> frozenset[str]:
        return frozenset(name for which in self.found.values() for name in which)

    def all(self) -> Iterator[Diagnostic]:
        """One for all tensors of which the same is wrong."""
        for (code, said), which in self.found.items():
            shown = compact(sorted(which))
            text = f"{counted(which)} of the checkpoint {said}: {shown[0]}{', ...' if shown[1:] else ''}"
            yield Diagnostic(code, text, notes=tuple(shown))


def counted(which: Collection[object]) -> str:
    return f"{len(which)} tensor{'' if len(which) == 1 else 's'}"


def _shown(layout: Layout) -> str:
    first, *others = dict.fromkeys(names(layout))
    return f"{first}{', ...' if others else ''}"


def compact(which: Sequence[str]) -> list[str]:
    """The names in order, those that differ only in a number as one: `layers.{0-27}.norm.weight`."""
    groups: dict[str, list[list[int]]] = {}
    for name in which:
        steps = name.split(".")
        key = ".".join("{}" if step.isdigit() else step for step in steps)
        groups.setdefault(key, []).append([int(step) for step in steps if step.isdigit()])
    return [text for key, numbers in groups.items() for text in _compacted(key, numbers)]


def _compacted(key: str, numbers: list[list[int]]) -> list[str]:
    columns = [sorted(set(column)) for column in zip(*numbers, strict=True)]
    if math.prod(map(len, columns)) != len({tuple(row) for row in numbers}):
        return [key.format(*row) for row in numbers]
    return [key.format(*(_ranges(column) for column in columns))]


def _ranges(numbers: list[int]) -> str:
    """`3`, or `{0-27}`, or `{0-2,7}`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    text = ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)
    return text if len(numbers) == 1 else f"{{{text}}}"


# How a transform matches


@cache
def _patterns(conversion: Conversion) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sources as regular expressions and targets as replacements; in the table either may be both, for the way back."""
    targets, groups = [], []
    for target in conversion.targets:
        target = re.sub(r"\(\?.+?\)?\)", "", target.removeprefix("^"))  # an assertion says nothing about a target
        if group := re.search(r"\(.+?\)", target):
            groups.append(group[0])
            target = target.replace(group[0], r"\1", 1)
        targets.append(target.replace(r"\.", "."))
    sources = []
    for i, source in enumerate(conversion.sources):
        if r"\1" in source and groups:
            source = source.replace(r"\1", groups[0], 1)
        paired = len(conversion.sources) == len(conversion.targets)
        anchored = paired and conversion.targets[i].startswith("^") and not source.startswith("^")
        sources.append(f"^{source}" if anchored else source)
    return tuple(sources), tuple(targets)


@dataclass(frozen=True, slots=True)
class Match:
    """A pattern found in a name: what lies outside of the scope, the rest, the text that matched, what it captured there."""

    prefix: str
    rest: str
    text: str
    captured: tuple[str, ...]
    branch: int

    def name(self, conversion: Conversion) -> str:
        """The name with what the conversion puts there: its first target, or in a group that of the same place."""
        _, targets = _patterns(conversion)
        if isinstance(conversion, Rename) and conversion.kind is Kind.GROUP:
            return self.replaced(re.sub(r"\\(\d+)", lambda at: self.captured[int(at[1]) - 1], targets[self.branch]))
        first = self.captured[0] if self.captured else ""
        offset = conversion.offset if isinstance(conversion, Rename) else 0
        return self.replaced(targets[0].replace(r"\1", str(int(first) + offset) if offset else first))

    def replaced(self, text: str) -> str:
        return self.prefix + self.rest.replace(self.text, text, 1)


def _match(conversion: Conversion, name: str) -> Match | None:
    prefix = ""
    if conversion.scope is not None:
        scope = f"{conversion.scope}." if conversion.scope else ""
        base = f"{conversion.base}." if conversion.base else ""
        fits = [candidate for candidate in (base + scope, scope) if name.startswith(candidate)]
        if not fits:
            return None
        prefix = fits[0]
    rest = name[len(prefix) :]
    found = _pattern(conversion).search(rest)
    if found is None:
        return None
    group = next(key for key, text in found.groupdict().items() if text is not None)
    captured = tuple(text or "" for text in found.groups()[found.re.groupindex[group] :])
    return Match(prefix, rest, found[0], captured, int(group[1:]))


@cache
def _pattern(conversion: Conversion) -> re.Pattern[str]:
    """All sources, the longest first; each ends where a name ends."""
    sources, _ = _patterns(conversion)
    branches = []
    for i, source in sorted(enumerate(sources), key=lambda pair: -len(pair[1])):
        pattern = source.replace("*.", r".*\.")
        boundary = r"(?!\w)" if re.search(r"[a-zA-Z0-9]$", pattern) else ""
        branches.append(f"(?P<g{i}>{pattern}{boundary})")
    return re.compile("|".join(branches))


def _reverse(conversion: Conversion) -> Conversion:
    pairs = (conversion.targets, conversion.sources)
    if isinstance(conversion, Convert):
        return replace(conversion, sources=pairs[0], targets=pairs[1])
    if conversion.kind is Kind.GROUP:
        ordered = sorted(zip(*pairs, strict=True))
        pairs = (tuple(pair[0] for pair in ordered), tuple(pair[1] for pair in ordered))
    return replace(conversion, sources=pairs[0], targets=pairs[1], offset=-conversion.offset)


__all__ = ["Matched", "Model", "Place", "compact", "counted", "match_checkpoint", "places", "published"]
