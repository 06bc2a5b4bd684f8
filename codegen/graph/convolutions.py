"""Convolutions that go on from a state: the last inputs of the call before stand where a first call has zeros.

The source may keep the last inputs of a causal convolution for steps of one token alone, and start every prompt from zeros:
`conv(x)[..., :T]` of what is padded by as many zeros as are kept, and `pad(x, (kept - T, 0))` to keep. With the state in the
place of the zeros both are the same where nothing was before, and go on where something was.
"""

from __future__ import annotations

from collections.abc import Iterator

from codegen.graph import scalars
from codegen.graph.makers import makers_of
from codegen.graph.regions import BRANCH_END, nodes_of
from codegen.graph.values import Frame, Node, Scalar, Size, TensorValue, tensors_in, value_of
from ir.expressions import Dim
from ir.records import dataclass

Place = tuple[Node, Frame]


def go_on(root: Frame, old: TensorValue, new: TensorValue) -> None:
    """Let the convolution whose last inputs are the state `new` start from `old`, the state before."""
    found = _find(root, old, new)
    if found is not None:
        found.go_on(old)


def only_for_one(root: Frame, old: TensorValue, new: TensorValue) -> bool:
    """Whether a state is read in the way of one token alone, though that of several leaves one."""
    node = makers_of(root).get(new)
    users = [owner for node, owner in nodes_of(root) if old in set(tensors_in(node.args)) and node.op != BRANCH_END]
    return node is not None and node.op == BRANCH_END and bool(users) and all(map(_is_for_one, users))


def _is_for_one(frame: Frame | None) -> bool:
    """Whether a frame is in the first arm of a branch."""
    while frame is not None:
        if frame.kind == "arm" and frame.parent is not None and frame.parent.body[0] is frame:
            return True
        frame = frame.parent
    return False


@dataclass(frozen=True, slots=True)
class _Convolution:
    x: TensorValue
    kept: Place  # what pads or cuts `x` to as many inputs as are kept
    whole: Node  # the convolution
    cut: Node  # what takes as many of its results as there are inputs

    def go_on(self, old: TensorValue) -> None:
        keep, owner = self.kept
        conv = self.whole
        new = self.x.shape[-1]
        made: list[Node | Frame] = []
        if old.dtype is not self.x.dtype:
            cast = TensorValue(old.shape, self.x.dtype)
            made.append(Node("cast", (old, self.x.dtype), (cast,), keep.span))
            old = cast
        length: Size = scalars.apply("+", old.shape[-1], new)  # type: ignore[assignment]
        full = TensorValue((*self.x.shape[:-1], length), self.x.dtype)
        made.append(Node("cat", ((old, self.x), len(full.shape) - 1), (full,), keep.span))
        first = min(at for at, item in enumerate(owner.body) if item is keep or conv in _nodes(item))
        owner.body[first:first] = made
        keep.op, keep.args = "getitem", (full, (*_whole(full), slice(new, None)))
        conv.args = (full, *conv.args[1:])
        (result,) = conv.results
        kept = old.shape[-1]
        result.shape = (*result.shape[:-1], scalars.apply("+", result.shape[-1], kept))  # type: ignore[arg-type]
        self.cut.args = (result, (*_whole(result), slice(kept, scalars.apply("+", kept, new))))


def _find(root: Frame, old: TensorValue, new: TensorValue) -> _Convolution | None:
    makers = makers_of(root)
    kept = makers.get(new)
    if kept is not None and kept.op == BRANCH_END:
        several = kept.args[2]
        assert isinstance(several, tuple)
        kept = makers.get(several[kept.results.index(new)])
    if kept is None or not _keeps_last(kept, old):
        return None
    x = kept.args[0]
    assert isinstance(x, TensorValue)
    owner = next(owner for node, owner in nodes_of(root) if node is kept)
    whole = [node for node, _ in nodes_of(root) if node.op == "conv1d" and node.args[0] is x]
    if len(whole) != 1 or not _is_causal(whole[0], old.shape[-1]):
        return None
    (result,) = whole[0].results
    users = [node for node, _ in nodes_of(root) if result in set(tensors_in(node.args))]
    if len(users) != 1 or not _takes_first(users[0], x.shape[-1]):
        return None
    return _Convolution(x, (kept, owner), whole[0], users[0])


def _keeps_last(node: Node, old: TensorValue) -> bool:
    """`pad(x, (kept - T, 0))` with zeros, of new inputs."""
    match node:
        case Node(op="pad", args=(TensorValue() as x, (*others, (_, after)), "constant", fill), results=(result,)):
            return (
                value_of(fill) == 0
                and value_of(after) == 0
                and all(pair == (0, 0) for pair in others)
                and isinstance(x.shape[-1], Scalar)
                and x.shape[-1].expr == Dim("T")
                and len(result.shape) == len(old.shape)
                and all(map(scalars.same, result.shape, old.shape))
            )
        case _:
            return False


def _is_causal(node: Node, kept: Size) -> bool:
    """Whether a convolution has as many zeros on both sides as are kept, and as much reach."""
    _, weight, _, steps, pads, holes, _ = node.args
    assert isinstance(weight, TensorValue) and isinstance(pads, tuple)
    reach: Size = scalars.apply("-", weight.shape[-1], 1)  # type: ignore[assignment]
    assert isinstance(steps, tuple) and isinstance(holes, tuple)
    plain = all(value_of(one) == 1 for one in (*steps, *holes))
    return plain and scalars.same(pads[0], kept) and scalars.same(reach, kept)


def _takes_first(node: Node, count: Size) -> bool:
    """`x[..., :count]`"""
    match node:
        case Node(op="getitem", args=(TensorValue(), tuple() as index)):
            *others, last = index
            plain = all(item is Ellipsis or item == slice(None) for item in others)
            return plain and isinstance(last, slice) and value_of(last.start) in (None, 0) and last.stop == count
        case _:
            return False


def _whole(x: TensorValue) -> tuple[slice, ...]:
    return (slice(None),) * (len(x.shape) - 1)


def _nodes(item: Node | Frame) -> Iterator[Node]:
    return (node for node, _ in nodes_of(item)) if isinstance(item, Frame) else iter((item,))
