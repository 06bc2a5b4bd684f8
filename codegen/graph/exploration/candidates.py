"""What a key could hold instead of what it holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from codegen.graph.exploration.expressions import constants_of
from codegen.graph.exploration.running import ConfigurationClass
from codegen.graph.exploration.variants import ABSENT, holds_settings, is_inside, plain, strings_of, values_named
from ir.expressions import Apply, Expr
from ir.reading import INERT, Json, Path, lookup


class Candidates:
    """`words` are names that the value at hand may have within an object."""

    def __init__(self, cls: ConfigurationClass, given: Mapping[str, Json], resolved: Mapping[str, Json]):
        self.declared, self.types, self.spellings, self.resolved = cls.declared, cls.types, cls.spellings, resolved
        self.strings = strings_of(given, set())
        self.words: tuple[str, ...] = ()

    def __call__(self, raw: Mapping[str, Json], path: Path, expr: Expr) -> Iterator[Json]:
        """What a key could hold instead, what is most like a published configuration first."""
        now = lookup(raw, path)
        inside = is_inside(raw, path)
        if not inside or now is None:
            yield from self.plausible(path)
        yield from constants_of(expr)
        if inside:
            if isinstance(expr, Apply) and expr.op == "in":
                yield ABSENT
            yield None
        match now:
            case bool():
                yield not now
            case int():
                yield from (now * 2, now + 1, max(now - 1, 1), now // 2, 1, 0)
            case float():
                yield from (now * 2, now / 2, 1.0, 0.0)
            case str():
                if len(now) > 1 and isinstance(expr, Apply) and expr.op == "==":
                    yield now[:-1]  # of a text that has a letter for each layer
                yield from (word for word in sorted(self.strings) if word != now)
                yield "something else"
            case list() if now:
                yield from (now[:-1], [*now, now[-1]], [])
            case list():
                yield [1]
            case dict() if now:
                yield {}

    def plausible(self, path: Path) -> Iterator[Json]:
        """Values for a key that holds nothing: what the resolved configuration has under that name, then objects of it."""
        types = self.types.get(str(path[0]), ()) if len(path) == 1 else ()
        for new in self._plausible(path):
            if not types or type(new).__name__ in types or (type(new) is int and "float" in types):
                yield new

    def _plausible(self, path: Path) -> Iterator[Json]:
        name = path[-1]
        yield from values_named(self.resolved, name)
        for attribute, others in self.spellings.items():
            if name in others and attribute in self.resolved:
                yield plain(self.resolved[attribute])
        if isinstance(name, str) and name in self.declared and self.declared[name] is not None:
            yield self.declared[name]
        if len(path) == 1:
            for name, inner in self.resolved.items() if path[0] not in INERT else ():
                if isinstance(inner, Mapping) and inner and name not in INERT and holds_settings(inner):
                    yield from self._objects(inner)
        yield from (2, 0.5, True, "something else")
        if not any(isinstance(item, list) for item in values_named(self.resolved, path[-1])):
            yield [1]  # a list of what is known to be in such a list says more
        yield {"something": 1}

    def _objects(self, inner: Mapping[str, Json]) -> Iterator[Json]:
        """An object as it is, with what is asked for in it, and without."""
        yield plain(inner)
        words = [item for item in inner.values() if isinstance(item, str)]
        for name in self.words:
            if name in inner:
                yield {key: plain(item) for key, item in inner.items() if key != name}
            else:
                for new in (*words[:1], 0.5):
                    yield {**{key: plain(item) for key, item in inner.items()}, name: new}
