"""Which operation makes a tensor, and what it follows from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from codegen.graph.values import Frame, Known, Node, TensorValue, tensors_in

Makers = Mapping[TensorValue, Node]


def makers_of(root: Frame) -> dict[TensorValue, Node]:
    """By value, the operation that makes it, of all operations so far."""
    found: dict[TensorValue, Node] = {}
    frames = [root]
    while frames:
        known = _known(frames.pop())
        found.update(known.makers)
        frames += known.frames
    return found


def _known(frame: Frame) -> Known:
    """What a frame itself holds; asked for again and again while it is recorded, and mostly the same."""
    if frame.known is None or frame.known.body != frame.body:
        nodes = [item for item in frame.body if isinstance(item, Node)]
        frames = [item for item in frame.body if isinstance(item, Frame)]
        frame.known = Known([*frame.body], {result: node for node in nodes for result in node.results}, frames)
    return frame.known


def follows_from(makers: Makers, value: TensorValue, known: Collection[TensorValue | None]) -> bool:
    """Whether a value follows from known inputs alone; most do not, which the first other input tells."""
    seen: set[TensorValue] = set()
    todo = [value]
    while todo:
        at = todo.pop()
        if at in seen:
            continue
        seen.add(at)
        node = makers.get(at)
        if node is not None:
            todo += operands(node)
        elif at not in known:
            return False
    return True


def operands(node: Node) -> Iterator[TensorValue]:
    """The tensors that a node works on."""
    for argument in node.args:
        yield from tensors_in(argument)
