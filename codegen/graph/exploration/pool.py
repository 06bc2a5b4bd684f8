"""Configurations that every reading has to be right about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from codegen.graph.exploration.expressions import paths_of
from codegen.graph.exploration.running import Outcome
from codegen.graph.exploration.runs import Runs
from codegen.graph.exploration.variants import disturbed, holds_settings, plain
from ir.reading import INERT, Json, Path

Entry = tuple[dict[str, Json], Outcome, frozenset[str]]


class Pool:
    """`vocabulary` are names that are looked for within objects of the configuration."""

    def __init__(self, runs: Runs, vocabulary: frozenset[str]):
        self.runs, self.vocabulary = runs, vocabulary
        self._variants: list[dict[str, Json]] | None = None
        self._entries: list[Entry] | None = None

    def variants(self) -> list[dict[str, Json]]:
        """Configurations that every reading has to be right about: each key disturbed, objects in each place that may hold them."""
        if self._variants is None:
            found = [
                self.runs.filled(variant)
                for _, variant in disturbed(self.runs.given, self.runs.declared, self.runs.candidates.plausible)
            ]
            found += [self.runs.filled(variant) for variant in self._respelled()]
            found += list(self._pairs())
            self._variants = list({self.runs.outcome.changes(raw): raw for raw in found}.values())
        return self._variants

    def entries(self) -> list[Entry]:
        """The variants with what the class makes of them, and the keys in which they differ from what is compiled."""
        if self._entries is None:
            outcome = self.runs.outcome
            self._entries = [
                (raw, outcome(raw), frozenset(name for name, _ in outcome.changes(raw))) for raw in self.variants()
            ]
        return self._entries

    def _pairs(self) -> Iterator[dict[str, Json]]:
        """Flags that decide more than themselves the other way, each together with every number made small."""
        for name, now in self.runs.raw.items():
            if not isinstance(now, bool) or len(self.runs.affected(name)) < 2:
                continue
            for other, number in self.runs.raw.items():
                if type(number) is int and number > 1:
                    yield {**self.runs.raw, name: not now, other: 1}
            for other, found in self.runs.raw.items():
                if found is not None and other in self.runs.declared and self.runs.declared[other] is None:
                    yield {**self.runs.raw, name: not now, other: None}

    def _respelled(self) -> Iterator[dict[str, Json]]:
        places = [name for name, types in self.runs.cls.types.items() if "dict" in types and name not in INERT]
        places += [name for name in self.runs.further if isinstance(self.runs.given.get(name), (Mapping, type(None)))]
        objects = [
            plain(inner)
            for name, inner in self.runs.base.resolved.items()
            if isinstance(inner, Mapping) and inner and name not in INERT and holds_settings(inner)
        ]
        bare = {key: item for key, item in self.runs.given.items() if key not in places}
        places = [name for name in dict.fromkeys(places) if name in self.runs.given or not self.runs.is_number(name)]
        places = [name for name in places if any(self._takes(bare, name, inner) for inner in objects)]
        words = {path[-1] for path in self._asked_inside(self.runs.raw)} | self.vocabulary
        for place in places:
            for cleared in (False, True):
                base = {key: item for key, item in self.runs.given.items() if not cleared or key not in places}
                for inner in objects:
                    assert isinstance(inner, dict)
                    more = words | {path[-1] for path in self._asked_inside(self.runs.filled({**base, place: inner}))}
                    yield {**base, place: inner}
                    for name in sorted(inner.keys() | more, key=str):
                        yield {**base, place: {key: item for key, item in inner.items() if key != name}}
                        yield {**base, place: {**inner, name: None}}
                        if name not in inner:
                            strings = [item for item in inner.values() if isinstance(item, str)]
                            yield {**base, place: {**inner, name: next(iter(strings), 0.5)}}
                            yield {**base, place: {**inner, name: 0.5}}

    def _takes(self, bare: Mapping[str, Json], place: str, inner: Json) -> bool:
        """Whether an object in that place matters, where no other place has one."""
        before, after = (
            self.runs.outcome(self.runs.filled(bare)),
            self.runs.outcome(self.runs.filled({**bare, place: inner})),
        )
        return after.failure is None and before.definitions != after.definitions

    def _asked_inside(self, raw: Mapping[str, Json]) -> set[Path]:
        """Keys of objects that a run asked for."""
        return {path for test, _ in self.runs.outcome(raw).questions for path in paths_of(test) if len(path) > 1}
