"""Modules that call what they are given: `wrapper(x, lambda h: self.block(h))`.

What is called belongs to the module around, which the module that calls knows nothing of. Its code is written where it is called:
there both are at hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from codegen.graph.values import Frame

if TYPE_CHECKING:
    from codegen.graph.objects import ModuleObject


def unfold(root: Frame, modules: Mapping[str, ModuleObject]) -> None:
    """Put the code of modules that call others of the layer they are in, which they do not hold, in the place of their calls."""
    held = {path: {id(inner) for inner in _within(module)} for path, module in modules.items()}
    for frame in [*_frames(root)]:
        path = frame.module_path
        if frame.kind not in ("module", "method") or path is None or path not in modules or frame.parent is None:
            continue
        layer = _layer(path)
        foreign = (inner for inner in _frames(frame) if inner is not frame and inner.module_path in modules)
        if (
            layer
            and path != layer
            and any(
                _layer(inner.module_path or "") == layer and id(modules[inner.module_path or ""]) not in held[path]
                for inner in foreign
            )
        ):
            _dissolve(frame)


def _within(module: ModuleObject) -> Iterator[ModuleObject]:
    yield module
    for child in module.modules.values():
        if child is not None:
            yield from _within(child)


def _frames(frame: Frame) -> Iterator[Frame]:
    """The innermost first."""
    for item in frame.body:
        if isinstance(item, Frame):
            yield from _frames(item)
    yield frame


def _layer(path: str) -> str:
    """The path of the item of a list that a module is in, the outermost; nothing where it is in none."""
    steps = path.split(".")
    at = next((at for at, step in enumerate(steps) if step.isdigit()), None)
    return "" if at is None else ".".join(steps[: at + 1])


def _dissolve(frame: Frame) -> None:
    parent = frame.parent
    assert parent is not None
    for item in frame.body:
        if isinstance(item, Frame):
            item.parent = parent
    at = next(at for at, item in enumerate(parent.body) if item is frame)
    parent.body[at : at + 1] = frame.body
    parent.bindings += frame.bindings
