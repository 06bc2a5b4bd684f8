"""What a call of the source leaves for the next one in objects of its own: a cache class of the modeling file, tuples of
tensors, attributes of layers of a cache.

Whatever `forward` gives back under the name of one of its parameters is what the next call is given. A first, sketched call
on nothing tells what there is; its tensors become states of the layers that use them, and a second call, on those, is the
trace. A state starts as zeros, or as what is made of nothing for all tokens so far. The nodes that read and write are added
when the trace is over: where a state is used first, and where what it becomes has been computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from codegen.diagnostics import CompileError, Diagnostic, Label
from codegen.graph import scalars
from codegen.graph.convolutions import go_on, only_for_one
from codegen.graph.makers import makers_of
from codegen.graph.objects import Instance, ModuleObject
from codegen.graph.recurrent import APPENDS, READS
from codegen.graph.regions import nodes_of
from codegen.graph.sizes import USUAL, Sizes
from codegen.graph.stacks import Slice, split
from codegen.graph.values import Frame, Node, Scalar, Size, Tensor, TensorValue, Trace, tensors_in, value_of
from ir.expressions import Dim, Index, leaves
from ir.graph import WRITES, DType
from ir.records import dataclass, field

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

Path = tuple[object, ...]
Kind = tuple[tuple[Size, ...], DType]
Slot = tuple[Path, dict[str, Any]]  # the way to an attribute of a module, and the attributes of that

MAX_DEPTH = 12
LAYER = Index("layer")


class UnsettledStates(Exception):
    """What a call leaves is of other shapes or types than what it was given."""


@dataclass
class Kept:
    """What calls keep: by the name of a parameter, the object that it is given."""

    given: dict[str, Any]
    sizes: Sizes = USUAL
    before: dict[Path, TensorValue] = field(default_factory=dict)  # what the states were when the call began
    starts: dict[Path, int | float] = field(default_factory=dict)  # what those are at first that are not zeros
    unclear: dict[Path, str] = field(default_factory=dict)  # those that nothing says the beginning of, and what to say
    dropped: set[TensorValue] = field(default_factory=set)  # states that a way for one token has that is not taken
    slots: tuple[Slot, ...] = ()  # attributes of modules that keep states, while a call runs

    def start(self, path: Path) -> int | float:
        """What is everywhere in a state, or in the tensor of all layers that it is a part of, before the first token."""
        return self.starts.get(path, self.starts.get(path[:-1], 0))

    @property
    def fresh(self) -> dict[TensorValue, int | float]:
        """The states of this call, with what they are everywhere before the first token."""
        return {value: self.start(path) for path, value in self.before.items()}

    @property
    def tensors(self) -> dict[Path, Tensor]:
        if self.slots:
            return {path: held for path, slot in self.slots if isinstance(held := slot.get(str(path[-1])), Tensor)}
        return dict(leaves_of(self.given))

    def place(self, modules: Iterable[tuple[str, ModuleObject]]) -> None:
        """Let modules have what they kept."""
        known = {steps_to(path): module for path, module in modules}
        found = [(path, known[path[:-1]].dict, tensor) for path, tensor in leaves_of(self.given) if path[:-1] in known]
        for path, slot, tensor in found:
            slot[str(path[-1])] = tensor
        self.slots = tuple((path, slot) for path, slot, _ in found)

    def take(self, modules: Iterable[tuple[str, ModuleObject]], before: Mapping[int, Mapping[str, Any]]) -> None:
        """What modules keep, where they had nothing."""
        self.given, self.slots = {}, ()
        for path, module in modules:
            for name, tensor in module.dict.items():
                if isinstance(tensor, Tensor) and before[id(module.dict)].get(name, tensor) is None:
                    place: dict[Any, Any] = self.given
                    for step in steps_to(path):
                        place = place.setdefault(step, {})
                    place[name] = tensor

    @property
    def holders(self) -> list[Any]:
        """The lists and dicts, attributes of objects among them, that calls may write to."""
        if self.slots:
            return list({id(slot): slot for _, slot in self.slots}.values())
        return list(holders_of(self.given))

    def begin(self) -> None:
        """Put states in the place of what a call left."""
        self.before, self.dropped = {}, set()
        seen: dict[int, TensorValue] = {}
        for path, tensor in leaves_of(self.given):
            if id(tensor) not in seen:
                shape = tuple(
                    self.sizes.P if isinstance(s, Scalar) and s.expr in (Dim("T"), Dim("S")) else s
                    for s in tensor.shape
                )
                tensor.value, tensor.base, tensor.index = TensorValue(shape, tensor.dtype), None, None
                seen[id(tensor)] = tensor.value
            self.before[path] = seen[id(tensor)]


def steps_to(path: str) -> Path:
    """The way to a module."""
    return tuple(int(step) if step.isdigit() else step for step in path.split(".") if step)


def handed_over(output: Any, parameters: Iterable[str]) -> dict[str, Any]:
    """What `forward` gives back under the name of a parameter."""
    if not isinstance(output, Instance):
        return {}
    names = [name for name in parameters if name in output.dict and output.dict[name] is not None]
    return {name: output.dict[name] for name in names if any(True for _ in leaves_of({name: output.dict[name]}))}


def holders_of(x: Any, depth: int = 0, seen: set[int] | None = None) -> Iterator[Any]:
    seen = set() if seen is None else seen
    if isinstance(x, ModuleObject) or depth > MAX_DEPTH or id(x) in seen:
        return
    seen.add(id(x))
    match x:
        case Instance():
            if x.path is None:
                yield from holders_of(x.dict, depth, seen)
                yield from holders_of(x.payload, depth, seen)
        case dict():
            yield x
            for item in x.values():
                yield from holders_of(item, depth + 1, seen)
        case list():
            yield x
            for item in x:
                yield from holders_of(item, depth + 1, seen)
        case tuple():
            for item in x:
                yield from holders_of(item, depth + 1, seen)
        case _:
            return


def check_start(kept: Kept, trace: Trace) -> None:
    """Before the first token a state is zeros: those that the source writes into, or zeros that it takes where there is none.
    What it writes into may be another number everywhere: then that is what the state starts as. Where nothing in the first call
    says so, the state is one that nothing may depend on.
    """
    zeros, others = set(_zeros(trace.root)), set(_others(trace.root))
    for path, tensor in kept.tensors.items():
        value = _written_into(trace.made, tensor.value)
        start = filled_with(trace.made, value)
        if _grows(tensor) or start == 0:
            continue
        if value is not tensor.value and start is not None:
            kept.starts[path] = start
            continue
        sizes = tuple(value_of(size) for size in tensor.shape)
        if start is not None or sizes in others or not zeros & {sizes, sizes[-1:]}:
            called = next((part for part in reversed(path) if isinstance(part, str)), "it")
            kept.unclear[path] = f"a state whose beginning is not seen to be zeros: `{called}`"


def _written_into(makers: Mapping[TensorValue, Node], value: TensorValue) -> TensorValue:
    """What was there before parts of it were set."""
    while (node := makers.get(value)) is not None and node.op == "setitem":
        assert isinstance(node.args[0], TensorValue)
        value = node.args[0]
    return value


def filled_with(makers: Mapping[TensorValue, Node], value: TensorValue) -> int | float | None:
    """The number that a tensor is everywhere, exactly; None where nothing says so."""
    if value.everywhere is not None:
        held = value_of(value.everywhere)
        return held if isinstance(held, (int, float)) else None
    match makers.get(value):
        case Node(op="add" | "sub" as op, args=(TensorValue() as first, int() | float() as number)) if (
            first.everywhere == 0
        ):
            return number if op == "add" else -number
        case _:
            return None


def _zeros(root: Frame) -> Iterator[tuple[object, ...]]:
    """The shapes of tensors of zeros, and how many zeros others are padded with."""
    for node, _ in nodes_of(root):
        for result in node.results:
            if value_of(result.everywhere) in (0, False) and result.everywhere is not None:
                yield tuple(value_of(size) for size in result.shape)
        match node:
            case Node(op="pad", args=(_, tuple() as pairs, "constant", fill), results=(result,)) if value_of(fill) == 0:
                yield from ((value_of(before),) for before, _ in pairs)
                if any(isinstance(before, Scalar) and _of_input(before) for before, _ in pairs):
                    yield tuple(value_of(size) for size in result.shape)  # as many as are kept, of no tokens at all
            case _:
                pass


def _others(root: Frame) -> Iterator[tuple[object, ...]]:
    """The shapes of tensors that are one number other than zero."""
    makers = makers_of(root)
    for result in makers:
        if filled_with(makers, result) not in (0, None):
            yield tuple(value_of(size) for size in result.shape)


def _grows(tensor: Tensor) -> bool:
    return any(isinstance(size, Scalar) and size.expr in (Dim("T"), Dim("S")) for size in tensor.shape)


def leaves_of(root: Any) -> Iterator[tuple[Path, Tensor]]:
    """The tensors in an object, by the way to them. Modules and configurations are no part of it."""
    seen: set[int] = set()

    def visit(x: Any, path: Path) -> Iterator[tuple[Path, Tensor]]:
        if isinstance(x, Tensor):
            yield path, x
            return
        if isinstance(x, (dict, list, tuple, Instance)):
            if id(x) in seen or len(path) > MAX_DEPTH:
                return
            seen.add(id(x))
        match x:
            case ModuleObject():
                return
            case Instance():
                if x.path is None:
                    yield from visit(x.dict, path)
                    yield from visit(x.payload, path)
            case dict():
                for key, item in x.items():
                    yield from visit(item, (*path, value_of(key)))
            case list() | tuple():
                for at, item in enumerate(x):
                    yield from visit(item, (*path, at))
            case _:
                return

    yield from visit(root, ())


# ------------------------------------------------------------------------------------------------- reads and writes


def settle(interpreter: Interpreter, kept: Kept, root: Frame, logits: TensorValue) -> None:
    """Add the reads and writes of the states that the result depends on, now or in a later call.

    Raises:
        UnsettledStates: one is left in another shape or type than it had.
        CompileError: `unknown-state`, one is of no layer.
    """
    after = {path: tensor.value for path, tensor in kept.tensors.items()}
    for path, old in kept.before.items():
        if path in after:
            go_on(root, old, after[path])
    used = {value for node, _ in nodes_of(root) for value in tensors_in(node.args)}
    if kept.dropped - used:
        raise CompileError(Diagnostic("unknown-state", "a state from which several tokens do not go on"))
    for path in _live(kept, root, logits, after):
        if path in kept.unclear:
            raise CompileError(Diagnostic("unknown-state", kept.unclear[path]))
        if path not in after:
            raise UnsettledStates
        _check(kept.before[path], after[path])
        _check_written(kept, path, after[path], root)
        if only_for_one(root, kept.before[path], after[path]):
            raise CompileError(Diagnostic("unknown-state", "a state from which several tokens do not go on"))
    for path in _live(kept, root, logits, after):
        split(kept, after, root, path)
    live = _live(kept, root, logits, after)
    placed = [(path, *_place(root, kept.before[path], after[path])) for path in live]
    names = _names({path: at for path, _, at in placed}, kept, root)
    for path, frame, at in placed:
        _settle(root, names[path], kept.start(path), frame, at, kept.before[path], after[path])


def _check(old: TensorValue, new: TensorValue) -> None:
    grown = any(isinstance(size, Scalar) and size.expr == Dim("S") for size in new.shape)
    if old.dtype is not new.dtype or len(old.shape) != len(new.shape):
        raise UnsettledStates
    for a, b in zip(old.shape, new.shape, strict=True):
        if _is_past(a) and grown:
            continue
        if not scalars.same(a, b) or (isinstance(b, Scalar) and _of_input(b)):
            raise UnsettledStates


def _is_past(size: Size) -> bool:
    return isinstance(size, Scalar) and size.expr == Dim("P")


def _check_written(kept: Kept, path: Path, new: TensorValue, root: Frame) -> None:
    """A state that does not start as zeros is the tensor that parts are written to: what the first call made of it before is
    its start.

    Raises:
        CompileError: `unknown-state`, it is made anew.
    """
    if path in kept.starts and _written_into(makers_of(root), new) is not kept.before[path]:
        raise CompileError(Diagnostic("unknown-state", "a state that does not start as zeros, and is made anew"))


def _of_input(size: Scalar) -> bool:
    return any(isinstance(leaf, Dim) and leaf != Dim("B") for leaf in leaves(size.expr))


def _live(kept: Kept, root: Frame, logits: TensorValue, after: dict[Path, TensorValue]) -> list[Path]:
    """The states that the logits of this call or of a later one depend on."""
    makers = makers_of(root)
    needed: set[TensorValue] = set()
    states = {value: path for path, value in kept.before.items()}
    found: dict[Path, None] = {}
    todo = [logits]
    while todo:
        value = todo.pop()
        if value in needed:
            continue
        needed.add(value)
        if value in states and states[value] not in found:
            found[states[value]] = None
            if states[value] in after:
                todo.append(after[states[value]])
        node = makers.get(value)
        if node is not None:
            todo += tensors_in(node.args)
    return [path for path in kept.before if path in found]


def _place(root: Frame, old: TensorValue, new: TensorValue) -> tuple[Frame, int]:
    """The innermost call of a module that a state is used and left in, and the layer."""
    chains = [_chain(owner) for node, owner in nodes_of(root) if _uses(node, old) or new in node.results]
    if not chains:
        raise AssertionError("a state that is used nowhere")
    common = chains[0]
    for chain in chains[1:]:
        common = [a for a, b in zip(common, chain, strict=False) if a is b]
    layers = [frame.index for frame in common if frame.kind == "iteration"]
    while common and common[-1].kind not in ("module", "iteration"):
        common.pop()
    if not layers or not common:
        span = next((node.span for node, _ in nodes_of(root) if _uses(node, old)), None)
        message = "a state that belongs to none of the layers"
        raise CompileError(Diagnostic("unknown-state", message, None if span is None else Label(span)))
    return common[-1], layers[0]


def _uses(node: Node, value: TensorValue) -> bool:
    return any(found is value for found in tensors_in(node.args))


def _chain(frame: Frame | None) -> list[Frame]:
    chain: list[Frame] = []
    while frame is not None:
        chain.insert(0, frame)
        frame = frame.parent
    return chain


def _settle(
    root: Frame, name: str, start: int | float, frame: Frame, layer: int, old: TensorValue, new: TensorValue
) -> None:
    number = Scalar(layer, LAYER)
    grows = [at for at, size in enumerate(old.shape) if _is_past(size)]
    if grows:
        _append(root, name, number, grows[0], old, new)
        return
    first = next(at for at, item in enumerate(frame.body) if any(_uses(node, old) for node in _nodes(item)))
    frame.body.insert(first, Node(READS, (name, number, *((start,) if start else ())), (old,), frame.span))
    if new is old:
        return
    last = max(at for at, item in enumerate(frame.body) if any(new in node.results for node in _nodes(item)))
    frame.body.insert(last + 1, Node(WRITES, (name, number, new), (), frame.span))


def _append(root: Frame, name: str, number: Scalar, axis: int, old: TensorValue, new: TensorValue) -> None:
    """What is joined to that of the tokens before is appended to the state.

    Raises:
        CompileError: `unknown-state`, something else is done with it.
    """
    users = [(node, owner) for node, owner in nodes_of(root) if _uses(node, old)]
    for node, _ in users:
        match node:
            case Node(op="cat", args=((first, TensorValue() as x), at), results=(result,)) if (
                first is old and result is new and value_of(at) in (axis, axis - len(old.shape)) and len(users) == 1
            ):
                node.op, node.args = APPENDS, (name, number, x, axis)
                return
    message = "what is kept of all tokens is not joined to that of the new ones, and used as such"
    span = users[0][0].span if users else None
    raise CompileError(Diagnostic("unknown-state", message, None if span is None else Label(span)))


def _nodes(item: Node | Frame) -> Iterator[Node]:
    if isinstance(item, Frame):
        yield from (node for node, _ in nodes_of(item))
    else:
        yield item


# -------------------------------------------------------------------------------------------------------------- names

_TAKEN = frozenset({"k", "v", "kv", "valid", "length", "padded", "ids", "count", "update", "append", "mark"})


def _names(layers: Mapping[Path, int], kept: Kept, root: Frame) -> dict[Path, str]:
    """A name for every state that is the same in all layers with such a one: what the source calls it, and which of several it
    is. `layers`: that of each state."""
    bound: dict[TensorValue, str] = {}
    for name, value in _bindings(root):
        if isinstance(value, TensorValue):
            bound.setdefault(value, name)
    forms: dict[tuple[tuple[object, ...], tuple[object, ...], int], str] = {}
    names: dict[Path, str] = {}
    seen: Counter[tuple[object, ...]] = Counter()
    for path, layer in layers.items():
        form, state = _form(path), kept.before[path]
        kind = (
            state.dtype,
            *map(_is_past, state.shape),
        )  # layers that keep other things may have the same place for them
        several = form, kind, seen[(form, layer)]  # a flat list has those of a layer one after the other
        seen[(form, layer)] += 1
        if several not in forms:
            texts = [part for part in form if isinstance(part, str) and part]
            own = len(texts) > 1 and isinstance(form[-1], str)  # an attribute or a key of the source's
            wanted = texts[-1] if own else bound.get(state, texts[-1])
            forms[several] = _unused(wanted, forms.values())
        names[path] = forms[several]
    return names


def _form(path: Path) -> tuple[object, ...]:
    """The way to a state but for the number of the layer: of a slice, or the first number on it."""
    numbers = [at for at, part in enumerate(path) if isinstance(part, int)]
    at = next((at for at in numbers if isinstance(path[at], Slice)), numbers[0] if numbers else None)
    return path if at is None else (*path[:at], "", *path[at + 1 :])


def _unused(name: str, taken: Iterable[str]) -> str:
    name = name.strip("_") or "state"
    known, number, text = {*taken, *_TAKEN}, 2, name if name.isidentifier() else "state"
    start = text
    while text in known:
        text, number = f"{start}{number}", number + 1
    return text


def _bindings(frame: Frame) -> Iterator[tuple[str, object]]:
    yield from frame.bindings
    for item in frame.body:
        if isinstance(item, Frame):
            yield from _bindings(item)
