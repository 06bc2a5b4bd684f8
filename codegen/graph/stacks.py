"""States of all layers in one tensor: what every layer takes out of it by its number, and puts back, is a state of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codegen.graph import scalars
from codegen.graph.regions import frames_of, nodes_of
from codegen.graph.values import Frame, Node, Scalar, TensorValue, tensors_in, value_of
from ir.records import dataclass, field

if TYPE_CHECKING:
    from codegen.graph.kept import Kept, Path


class Slice(int):
    """The number of a layer, on the way to its part of a tensor."""


def split(kept: Kept, after: dict[Path, TensorValue], root: Frame, path: Path) -> None:
    """Take a state apart, where all that is done with it is to read and to write the slices of layers."""
    stack = _Stack(kept.before[path])
    if not stack.take(root) or after[path] not in stack.chain or not stack.slices:
        return
    _rename(root, stack.renamed)
    for node, owner in stack.spent:
        owner.body.remove(node)
    for node, owner, before in stack.added:
        owner.body.insert(owner.body.index(before), node)
    for node, owner in stack.written:
        owner.body.remove(node)
    final = stack.chain[after[path]]
    del kept.before[path], after[path]
    for number, old in stack.slices.items():
        kept.before[*path, Slice(number)] = old
        new = final.get(number, old)
        after[*path, Slice(number)] = stack.renamed.get(new, new)


@dataclass
class _Stack:
    """A tensor with an axis of layers, and what becomes of it."""

    whole: TensorValue
    axis: int | None = None
    slices: dict[int, TensorValue] = field(default_factory=dict)  # of every layer, before the call
    chain: dict[TensorValue, dict[int, TensorValue]] = field(default_factory=dict)  # what is in it after every write
    renamed: dict[TensorValue, TensorValue] = field(default_factory=dict)
    spent: list[tuple[Node, Frame]] = field(default_factory=list)  # reads
    written: list[tuple[Node, Frame]] = field(default_factory=list)
    added: list[tuple[Node, Frame, Node]] = field(default_factory=list)  # casts and the like, each before a write

    def take(self, root: Frame) -> bool:
        """Follow all reads and writes; whether there is nothing else."""
        self.chain[self.whole] = {}
        for node, owner in nodes_of(root):
            used = [value for value in tensors_in(node.args) if value in self.chain]
            if used and not (len(used) == 1 and node.args[0] is used[0] and self.step(node, owner, used[0])):
                return False
        return True

    def step(self, node: Node, owner: Frame, whole: TensorValue) -> bool:
        number = self.number(node.args[1]) if node.op in ("getitem", "setitem") else None
        if number is None:
            return False
        if node.op == "getitem":
            (result,) = node.results
            self.renamed[result] = self.held(whole, number)
            self.spent.append((node, owner))
            return True
        source = node.args[2]
        if not isinstance(source, TensorValue):
            return False
        self.chain[node.results[0]] = {**self.chain[whole], number: self.fitted(node, owner, source, number)}
        self.written.append((node, owner))
        return True

    def number(self, index: object) -> int | None:
        """Which layer an index takes the slice of, where it leaves all other axes whole."""
        items = list(index) if isinstance(index, tuple) else [index]
        rank = len(self.whole.shape)
        if any(item is Ellipsis for item in items):
            at = next(at for at, item in enumerate(items) if item is Ellipsis)
            items[at : at + 1] = [slice(None)] * (rank - len(items) + 1)
        marked = [at for at, item in enumerate(items) if isinstance(item, (int, Scalar))]
        if len(marked) != 1 or any(item != slice(None) for at, item in enumerate(items) if at not in marked):
            return None
        number, axis = value_of(items[marked[0]]), marked[0]
        if not isinstance(number, int) or self.axis not in (None, axis):
            return None
        self.axis = axis
        return number % int(str(value_of(self.whole.shape[axis])))

    def held(self, whole: TensorValue, number: int) -> TensorValue:
        if number in self.chain[whole]:
            return self.chain[whole][number]
        if number not in self.slices:
            assert self.axis is not None
            shape = (*self.whole.shape[: self.axis], *self.whole.shape[self.axis + 1 :])
            self.slices[number] = TensorValue(shape, self.whole.dtype)
        return self.slices[number]

    def fitted(self, node: Node, owner: Frame, source: TensorValue, number: int) -> TensorValue:
        """What is written, in the type and shape of the slice."""
        wanted = self.held(self.whole, number)
        if source.dtype is not wanted.dtype:
            cast = TensorValue(source.shape, wanted.dtype)
            self.added.append((Node("cast", (source, wanted.dtype), (cast,), node.span), owner, node))
            source = cast
        if len(source.shape) != len(wanted.shape) or not all(map(scalars.same, source.shape, wanted.shape)):
            wide = TensorValue(wanted.shape, wanted.dtype)
            self.added.append((Node("expand", (source, wanted.shape), (wide,), node.span), owner, node))
            source = wide
        return source


def _rename(frame: Frame, values: dict[TensorValue, TensorValue]) -> None:
    """Use other values everywhere below a frame."""

    def final(value: TensorValue) -> TensorValue:
        while value in values:
            value = values[value]
        return value

    def renamed(x: object) -> object:
        match x:
            case TensorValue():
                return final(x)
            case tuple():
                return tuple(renamed(item) for item in x)
            case list():
                return [renamed(item) for item in x]
            case slice():
                return slice(renamed(x.start), renamed(x.stop), renamed(x.step))
            case _:
                return x

    for node, _ in nodes_of(frame):
        node.args = tuple(renamed(argument) for argument in node.args)
    for inner in frames_of(frame):
        inner.bindings = [(name, final(v) if isinstance(v, TensorValue) else v) for name, v in inner.bindings]
