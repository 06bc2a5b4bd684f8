"""What a call leaves in attributes of modules, and whether the next one could see it.

A table that every call makes anew, and keeps in an attribute only because older code did so, is no state: nothing reads the
attribute before it is written. That is what is watched, in a second run of `forward`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from codegen.graph.regions import ARMS
from codegen.graph.values import Frame, Trace

if TYPE_CHECKING:
    from codegen.graph.objects import ModuleObject

Leftover = tuple[str, str]  # the path of a module, and the name of an attribute that a call fills


class Watched(dict[str, Any]):
    """The attributes of a module, some of which nothing may ask for before they are written."""

    def __init__(self, content: dict[str, Any], names: set[str], trace: Trace):
        super().__init__(content)
        self.unwritten, self.read, self.trace = set(names), set[str](), trace

    def _ask(self, name: object) -> None:
        if isinstance(name, str) and name in self.unwritten:
            self.read.add(name)

    def __getitem__(self, name: str) -> Any:
        self._ask(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self._ask(name)
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        self._ask(name)
        return super().__contains__(name)

    def __setitem__(self, name: str, value: Any) -> None:
        if not self._in_an_arm():
            self.unwritten.discard(name)
        super().__setitem__(name, value)

    def _in_an_arm(self) -> bool:
        """Whether what runs is one way of several, of which the others write nothing."""
        frame: Frame | None = self.trace.frame
        while frame is not None and frame.kind != ARMS:
            frame = frame.parent
        return frame is not None


@contextmanager
def watching(
    modules: Iterable[tuple[str, ModuleObject]], leftovers: frozenset[Leftover], trace: Trace
) -> Iterator[dict[str, Watched]]:
    """Watch the attributes of modules, by the paths of these."""
    watched: dict[str, Watched] = {}
    plain: list[tuple[ModuleObject, dict[str, Any]]] = []
    for path, module in modules:
        names = {name for at, name in leftovers if at == path}
        if names:
            watched[path] = Watched(module.dict, names, trace)
            plain.append((module, module.dict))
            module.dict = watched[path]
    try:
        yield watched
    finally:
        for module, before in plain:
            before.clear()
            before.update(module.dict)
            module.dict = before
