"""Layers that are alike are traced once: a call of a module that differs from an earlier one in nothing but its index is
copied from the trace of that one. What a trace asked about the index is asked again for every copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from codegen.graph import expert_lists
from codegen.graph.objects import Foreign, Instance, ModuleObject, SSet, per_layer
from codegen.graph.values import Frame, Node, Scalar, Tensor, TensorValue, handles_in
from ir.expressions import Environment, Expr, Index, evaluate
from ir.records import dataclass, field

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter


@dataclass
class Recording:
    """One traced call: what it was given, what it made, what it gave, what it asked about the index of the layer."""

    module: ModuleObject
    tensors: tuple[TensorValue, ...]
    frame: Frame
    result: Any
    asked: tuple[tuple[Expr, object], ...]


@dataclass
class Recordings:
    """The calls traced so far, by everything that decides what a call does but the index."""

    known: dict[object, Recording] = field(default_factory=dict)

    def call(
        self, interpreter: Interpreter, module: ModuleObject, given: tuple[Any, ...], trace: Callable[[], Any]
    ) -> Any:
        """The result of calling `module` on `given`: copied from a recording, or traced now by `trace`."""
        before = _signature(module)
        arguments = _abstract(given, {})
        if before is None or arguments is None:
            return trace()
        key = (before, arguments)
        recording = self.known.get(key)
        tensors = tuple(tensor.value for tensor in handles_in(given))
        if recording is not None and _same_answers(interpreter, recording, module):
            return _Copy(recording, module, tensors).into(interpreter)
        start = len(interpreter.asked)
        values = [tensor.value for tensor in handles_in(given)]
        result = trace()
        left = _as_it_is(result)
        frame = interpreter.trace.frame.body[-1]
        untouched = [tensor.value for tensor in handles_in(given)] == values and _signature(module) == before
        if recording is None and untouched and isinstance(frame, Frame) and _is_plain(result):
            asked = tuple((e, v) for e, v in interpreter.asked[start:] if per_layer(e))
            self.known[key] = Recording(module, tensors, frame, left, asked)
        return result


def _same_answers(interpreter: Interpreter, recording: Recording, module: ModuleObject) -> bool:
    if not recording.asked:
        return True
    index = _index_of(module)
    if index is None:
        return False
    env = Environment(interpreter.environment.config, indices=index)
    try:
        return all(evaluate(expr, env) == value for expr, value in recording.asked)
    except (KeyError, IndexError, TypeError, ValueError, ArithmeticError):
        return False


def _index_of(module: ModuleObject) -> dict[str, int] | None:
    """The index of the layer, as the module or one below it keeps it."""
    for value in module.dict.values():
        if isinstance(value, Scalar) and isinstance(value.expr, Index) and isinstance(value.value, int):
            return {value.expr.name: value.value}
    for child in module.modules.values():
        found = _index_of(child) if child is not None else None
        if found is not None:
            return found
    return None


# ------------------------------------------------------------------------------------------------------ signatures


def _signature(module: ModuleObject) -> object | None:
    """What decides the behaviour of a module, but for its weights and the index of its layer; None if that cannot be said."""
    attributes = _abstract(tuple(module.dict.items()), {})
    if attributes is None:
        return None
    tensors = tuple(
        (name, None if t is None else (tuple(_size(s) for s in t.shape), t.dtype))
        for group in (module.parameters, module.buffers)
        for name, t in group.items()
    )
    children = []
    for name, child in module.modules.items():
        inner = None if child is None else _signature(child)
        if child is not None and inner is None:
            return None
        children.append((name, inner))
    return (id(module.cls), attributes, tensors, tuple(children))


def _size(size: object) -> object:
    return size.expr if isinstance(size, Scalar) else size


def _abstract(x: Any, seen: dict[int, int]) -> object | None:
    """A value up to the identity of its tensors; None where it may change under the call."""
    match x:
        case Tensor():
            number = seen.setdefault(id(x.value), len(seen))
            return ("tensor", number, tuple(_size(s) for s in x.shape), x.dtype, x.value.everywhere)
        case Scalar(value, expr):
            free = per_layer(expr) and isinstance(value, (int, float)) and not isinstance(value, bool)
            return ("number", None if free else value, expr)
        case tuple():
            parts = tuple(_abstract(item, seen) for item in x)
            return None if any(part is None for part in parts) else ("tuple", parts)
        case dict() | list() if not x:
            return (type(x).__name__,)
        case list():
            return None if any(isinstance(item, (Tensor, dict, list)) for item in x) else _abstract(tuple(x), seen)
        case dict() | SSet():
            return None
        case Foreign():
            return ("object", id(x)) if x.stateless else None
        case Instance():
            known = isinstance(x, ModuleObject) or x.path is not None
            return ("object", id(x)) if known else None
        case None | bool() | int() | float() | str():
            return ("literal", type(x).__name__, x)
        case _:
            return ("object", id(x))


def _is_plain(result: Any) -> bool:
    """Whether a result can be copied."""
    if isinstance(result, (tuple, list)):
        return all(_is_plain(item) for item in result)
    return result is None or isinstance(result, (Tensor, Scalar, bool, int, float, str))


def _as_it_is(result: Any) -> Any:
    """A result with tensors of its own: the caller may write into those that it was given."""
    match result:
        case Tensor():
            return Tensor(result.value)
        case tuple() if type(result) is tuple:
            return tuple(_as_it_is(item) for item in result)
        case list() if type(result) is list:
            return [_as_it_is(item) for item in result]
        case _:
            return result


# ---------------------------------------------------------------------------------------------------------- copies


class _Copy:
    """A recording in terms of another module and other tensors."""

    def __init__(self, recording: Recording, module: ModuleObject, tensors: tuple[TensorValue, ...]):
        self.recording = recording
        self.values: dict[TensorValue, TensorValue] = dict(zip(recording.tensors, tensors, strict=True))
        self.old, self.new = recording.module.module_path, module.module_path
        self._pair(recording.module, module)

    def _pair(self, old: ModuleObject, new: ModuleObject) -> None:
        for mine, theirs in ((old.parameters, new.parameters), (old.buffers, new.buffers), (old.dict, new.dict)):
            for name, value in mine.items():
                other = theirs.get(name)
                if isinstance(value, Tensor) and isinstance(other, Tensor):
                    self.values[value.value] = other.value
        for name, child in old.modules.items():
            other = new.modules.get(name)
            if child is not None and other is not None:
                self._pair(child, other)
                expert_lists.follow(child, other)
                if child.stacked is not None:
                    self._pair(child.stacked.module, other.stacked.module)

    def into(self, interpreter: Interpreter) -> Any:
        parent = interpreter.trace.frame
        parent.body.append(self.frame(self.recording.frame, parent))
        return self.result(self.recording.result)

    def frame(self, frame: Frame, parent: Frame) -> Frame:
        path = frame.module_path
        if path is not None and (path == self.old or path.startswith(f"{self.old}.")):
            path = f"{self.new}{path.removeprefix(self.old or '')}"
        copied = Frame(frame.kind, frame.name, path, parent, frame.span)
        copied.index, copied.count, copied.counter = frame.index, frame.count, frame.counter
        copied.body = [self.frame(item, copied) if isinstance(item, Frame) else self.node(item) for item in frame.body]
        copied.bindings = [
            (name, self.values.get(v, v) if isinstance(v, TensorValue) else v) for name, v in frame.bindings
        ]
        copied.returned = self.result(frame.returned)
        return copied

    def node(self, node: Node) -> Node:
        args = tuple(self.operand(arg) for arg in node.args)
        for value in node.results:
            self.values[value] = TensorValue(value.shape, value.dtype, value.everywhere)
        return Node(node.op, args, tuple(self.values[value] for value in node.results), node.span)

    def operand(self, x: object) -> object:
        if isinstance(x, TensorValue):
            return self.values.get(x, x)
        if isinstance(x, tuple):
            return tuple(self.operand(item) for item in x)
        if isinstance(x, slice):
            return slice(self.operand(x.start), self.operand(x.stop), self.operand(x.step))
        return x

    def result(self, x: Any) -> Any:
        if isinstance(x, Tensor):
            return Tensor(self.values.get(x.value, x.value))
        if isinstance(x, tuple):
            return tuple(self.result(item) for item in x)
        if isinstance(x, list):
            return [self.result(item) for item in x]
        return x
