"""Layers that are alike are made once: of a class that is instantiated with another index and nothing else new, the third and
all that follow are copies of the first.

The second is made as well, and must be what a copy would have been: a constructor that counts somewhere how often it ran is
seen by that. What the first asked about its index is asked again for every copy; answered otherwise, it is of another kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from codegen.graph.objects import Bound, External, Instance, ModuleObject, per_layer
from codegen.graph.values import Node, Scalar, Tensor, TensorValue
from ir.expressions import Environment, Expr, Index, evaluate
from ir.records import dataclass, field, replace

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter
    from codegen.graph.objects import Class

_LITERALS = (bool, int, float, str, type(None))
_FAILURES = (LookupError, TypeError, ValueError, ArithmeticError)


@dataclass(slots=True)
class _Making:
    """A module as its constructor left it, and what was recorded meanwhile."""

    module: Any
    index: Index
    nodes: list[Any]
    bindings: list[tuple[str, TensorValue | Scalar]]
    random: list[Tensor]
    asked: list[tuple[Expr, object]]
    shared: dict[TensorValue, TensorValue] = field(
        default_factory=dict
    )  # tensors that all layers have, each with itself
    common: dict[int, Any] = field(default_factory=dict)  # and objects
    confirmed: bool | None = (
        None  # that another one was what a copy would have been; one that was not tells that none is
    )

    def answers_are(self, interpreter: Interpreter, at: int) -> bool:
        env = _environment(interpreter, self.index, at)
        try:
            return all(_equal(evaluate(expr, env), value) for expr, value in self.asked)
        except _FAILURES:
            return False


@dataclass(slots=True)
class Repeating:
    """The modules that were made first of their kind, by class and arguments without the index."""

    known: dict[object, list[_Making]] = field(default_factory=dict)
    busy: bool = False

    def make(
        self, interpreter: Interpreter, cls: Class, args: list[Any], kwargs: dict[str, Any], build: Callable[[], Any]
    ) -> Any:
        """`cls(*args, **kwargs)`: a copy of an earlier module, or what `build` makes."""
        given = [*args, *kwargs.values()]
        indices = [x for x in given if isinstance(x, Scalar) and isinstance(x.expr, Index)]
        if self.busy or len(indices) != 1 or not all(map(_is_known, given)):
            return build()
        at = indices[0]
        assert isinstance(at.expr, Index) and isinstance(at.value, int)
        key = (id(cls), len(args), tuple(kwargs), tuple(map(_identity, given)))
        kinds = self.known.setdefault(key, [])
        first = next((one for one in kinds if one.index == at.expr and one.answers_are(interpreter, at.value)), None)
        if first is not None and first.confirmed is True:
            copy = _Copy(_environment(interpreter, at.expr, at.value), dict(first.shared), dict(first.common))
            try:
                return copy.made(interpreter, first)
            except _FAILURES:  # a number that this index has no value for
                return build()
        self.busy = True
        try:
            module, made = _watched(interpreter, at, build)
        finally:
            self.busy = False
        if made is None:
            return module
        if first is None:
            kinds.append(made)
        elif first.confirmed is None:
            first.confirmed = _Comparison(interpreter, first, at.value).holds(made)
        return module


def _watched(interpreter: Interpreter, at: Scalar, build: Callable[[], Any]) -> tuple[Any, _Making | None]:
    """A module, and how it was made; the program may go on to change the module. None where loops within made modules of it:
    their numbers follow from more than this one's.
    """
    frame = interpreter.trace.frame
    starts = len(frame.body), len(frame.bindings), len(interpreter.random), len(interpreter.asked)
    module = build()
    assert isinstance(at.expr, Index) and isinstance(at.value, int)
    as_it_is = _Copy(_environment(interpreter, at.expr, at.value), {}, {}, keeping=True)
    try:
        own, random = as_it_is.of(module), [as_it_is.of(tensor) for tensor in interpreter.random[starts[2] :]]
    except _FAILURES:
        return module, None
    body, bindings = frame.body[starts[0] :], frame.bindings[starts[1] :]
    return module, _Making(own, at.expr, body, bindings, random, interpreter.asked[starts[3] :])


def _is_known(x: Any) -> bool:
    """Whether an argument is a part of the configuration, a number, or a literal."""
    if isinstance(x, Instance):
        return x.path is not None
    return isinstance(x, (Scalar, *_LITERALS))


def _identity(x: Any) -> object:
    if isinstance(x, Scalar):
        return ("number", x.expr, None if isinstance(x.expr, Index) else x.value)
    return ("object", id(x)) if isinstance(x, Instance) else ("literal", type(x), x)


def _environment(interpreter: Interpreter, index: Index, at: int) -> Environment:
    return Environment(interpreter.environment.config, indices={index.name: at})


def _equal(a: object, b: object) -> bool:
    return type(a) is type(b) and a == b


class _Comparison:
    """Whether a module is what a copy of another one would have been."""

    def __init__(self, interpreter: Interpreter, first: _Making, at: int):
        self.first, self.env = first, _environment(interpreter, first.index, at)
        self.pairs: dict[int, Any] = {}
        self.taken: dict[int, Any] = {}

    def holds(self, other: _Making) -> bool:
        first = self.first
        try:
            found = (
                len(first.asked) == len(other.asked)
                and all(a[0] == b[0] for a, b in zip(first.asked, other.asked, strict=True))
                and len(first.nodes) == len(other.nodes)
                and all(map(self._nodes, first.nodes, other.nodes))
                and self.same([list(b) for b in first.bindings], [list(b) for b in other.bindings])
                and self.same(first.random, other.random)
                and self.same(first.module, other.module)
            )
        except _FAILURES:
            return False
        return found

    def _nodes(self, a: Any, b: Any) -> bool:
        if not isinstance(a, Node) or not isinstance(b, Node) or (a.op, a.span) != (b.op, b.span):
            return False
        return self.same(a.args, b.args) and self.same(a.results, b.results)

    def same(self, a: Any, b: Any) -> bool:
        if type(a) is not type(b):
            return False
        match a:
            case TensorValue() if a is b:
                self.first.shared[a] = a
                return True
            case Tensor() | ModuleObject() if a is b:
                self.first.common[id(a)] = a
                return True
            case Scalar():
                value = evaluate(a.expr, self.env) if per_layer(a.expr) else a.value
                return a.expr == b.expr and _equal(value, b.value)
            case TensorValue():
                if any(isinstance(size, Scalar) and per_layer(size.expr) for size in (*a.shape, a.everywhere)):
                    return False
                alike = (a.shape, a.dtype, a.everywhere) == (b.shape, b.dtype, b.everywhere)
                return alike and self._paired(a, b)
            case Tensor():
                if a.base is not None or b.base is not None or a.index is not None or b.index is not None:
                    return a is b
                flags = [getattr(x, name, None) for x in (a, b) for name in ("requires_grad", "persistent")]
                return flags[:2] == flags[2:] and self._paired(a, b) and self.same(a.value, b.value)
            case ModuleObject():
                if a.payload is not None or b.payload is not None or a.path is not None:
                    return a is b
                if id(a) in self.pairs:
                    return self.pairs[id(a)] is b
                return self._paired(a, b) and self._modules(a, b)
            case Bound():
                return a.function is b.function and self.same(a.receiver, b.receiver)
            case slice():
                return all(map(self.same, (a.start, a.stop, a.step), (b.start, b.stop, b.step)))
            case External():
                return bool(a == b)
        if type(a) in _LITERALS:
            return bool(a == b)
        if type(a) in (tuple, list):
            return len(a) == len(b) and all(map(self.same, a, b))
        if type(a) is dict:
            return list(a) == list(b) and all(map(self.same, a.values(), b.values()))
        return a is b

    def _modules(self, a: ModuleObject, b: ModuleObject) -> bool:
        if a.cls is not b.cls or a.transient != b.transient or a.span != b.span or a.module_path != b.module_path:
            return False
        parts = zip(_parts(a), _parts(b), strict=True)
        return all(list(x) == list(y) and all(map(self.same, x.values(), y.values())) for x, y in parts)

    def _paired(self, a: Any, b: Any) -> bool:
        """Whether two objects take each other's place everywhere."""
        return self.pairs.setdefault(id(a), b) is b and self.taken.setdefault(id(b), a) is a


def _parts(module: ModuleObject) -> tuple[dict[str, Any], ...]:
    return module.dict, module.parameters, module.buffers, module.modules


class _Copy:
    """A module with another index, and what was recorded when it was made. `keeping` its tensors' values, it is what the module
    is now."""

    def __init__(
        self, env: Environment, values: dict[TensorValue, TensorValue], objects: dict[int, Any], keeping: bool = False
    ):
        self.env, self.values, self.objects, self.keeping = env, values, objects, keeping

    def made(self, interpreter: Interpreter, first: _Making) -> Any:
        nodes = [Node(node.op, self.of(node.args), self.of(node.results), node.span) for node in first.nodes]
        bindings = [(name, self.of(value)) for name, value in first.bindings]
        random, module = [self.of(tensor) for tensor in first.random], self.of(first.module)
        trace = interpreter.trace
        trace.frame.body += nodes
        trace.frame.bindings += bindings
        trace.made.update((value, node) for node in nodes for value in node.results)
        interpreter.random += random
        return module

    def of(self, x: Any) -> Any:
        match x:
            case Scalar():
                return Scalar(evaluate(x.expr, self.env), x.expr) if per_layer(x.expr) else x  # type: ignore[arg-type]
            case TensorValue():
                if self.keeping:
                    return x
                if x not in self.values:
                    self.values[x] = TensorValue(x.shape, x.dtype, x.everywhere)
                return self.values[x]
            case Tensor():
                return x if x.base is not None or x.index is not None else self._once(x, self._tensor)
            case ModuleObject():
                return x if x.payload is not None or x.path is not None else self._once(x, self._module)
            case Bound():
                return Bound(x.function, self.of(x.receiver))
            case slice():
                return slice(self.of(x.start), self.of(x.stop), self.of(x.step))
        if type(x) in (tuple, list):
            return type(x)([self.of(item) for item in x])
        if type(x) is dict:
            return {key: self.of(item) for key, item in x.items()}
        return x

    def _once(self, x: Any, make: Callable[[Any], Any]) -> Any:
        if id(x) not in self.objects:
            self.objects[id(x)] = make(x)
        return self.objects[id(x)]

    def _tensor(self, x: Tensor) -> Tensor:
        return replace(x, value=self.of(x.value))

    def _module(self, x: ModuleObject) -> ModuleObject:
        copied = ModuleObject(x.cls, transient=set(x.transient), module_path=x.module_path, span=x.span)
        self.objects[id(x)] = copied  # before its parts, which may speak of it
        for mine, theirs in zip(_parts(copied), _parts(x), strict=True):
            mine.update((name, self.of(item)) for name, item in theirs.items())
        return copied
