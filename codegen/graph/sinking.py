"""What is made of parameters alone in one loop over the layers, for another: it is made where it is used."""

from __future__ import annotations

from collections.abc import Container

from codegen.graph.regions import nodes_of
from codegen.graph.values import Frame, Node, TensorValue, tensors_in


def sink(root: Frame, parameters: Container[TensorValue], layers: Container[str]) -> None:
    """Move operations on parameters, whose results another iteration of a loop uses, to the innermost call that does.
    `layers` are the paths of modules of the library, which hold no code of the source.
    """
    users: dict[TensorValue, list[tuple[Node, Frame]]] = {}
    nodes = [(node, owner, tensors_in(node.args)) for node, owner in nodes_of(root)]
    for node, owner, given in nodes:
        for value in given:
            users.setdefault(value, []).append((node, owner))
    moved: set[TensorValue] = set()
    for node, owner, given in nodes:
        if not given or not all(value in parameters or value in moved for value in given):
            continue
        here = _iteration(owner)
        if here is None:
            continue
        frames = [frame for result in node.results for _, frame in users.get(result, [])]
        if not frames or any(_iteration(frame) in (None, here) for frame in frames):
            continue
        if len({id(_iteration(frame)) for frame in frames}) > 1:
            continue
        target = _common(frames, layers)
        at = next(at for at, item in enumerate(target.body) if _uses(item, node))
        owner.body.remove(node)
        target.body.insert(at, node)
        moved.update(node.results)


def _iteration(frame: Frame | None) -> Frame | None:
    while frame is not None and frame.kind != "iteration":
        frame = frame.parent
    return frame


def _common(frames: list[Frame], layers: Container[str]) -> Frame:
    """The innermost call of a module of the source that all frames are in."""
    chains = [_chain(frame) for frame in frames]
    common = [row[0] for row in zip(*chains, strict=False) if all(frame is row[0] for frame in row)]
    while common[-1].kind not in ("module", "iteration") or common[-1].module_path in layers:
        common.pop()
    target: Frame = common[-1]
    for frame in frames:
        for inner in reversed(_chain(frame)[len(common) :]):
            if inner.kind == "module" and inner.module_path in layers:
                _dissolve(inner)
    return target


def _dissolve(frame: Frame) -> None:
    """Put what a layer of the library does in the place of its call: it is given another parameter than its own."""
    parent = frame.parent
    assert parent is not None
    if frame not in parent.body:
        return
    for item in frame.body:
        if isinstance(item, Frame):
            item.parent = parent
    at = parent.body.index(frame)
    parent.body[at : at + 1] = frame.body


def _chain(frame: Frame | None) -> list[Frame]:
    chain: list[Frame] = []
    while frame is not None:
        chain.insert(0, frame)
        frame = frame.parent
    return chain


def _uses(item: Node | Frame, made: Node) -> bool:
    nodes = [item] if isinstance(item, Node) else [node for node, _ in nodes_of(item)]
    return any(value in made.results for node in nodes for value in tensors_in(node.args))
