"""What the interpreter computes with. The union is closed: a host number never carries provenance by accident.

A `Scalar` is a number, string or flag together with the expression that it was computed by; a `Tensor` is a Python object
of the interpreted program (it has an identity and can be written in place) that points at a `TensorValue`, the immutable
result of one recorded operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol
from weakref import WeakKeyDictionary, WeakSet

from codegen.diagnostics import CompileError, Diagnostic, Label
from codegen.graph.notes import Noting
from ir.expressions import Apply, Const, Expr, Plain
from ir.graph import DType
from ir.records import dataclass, field
from ir.spans import Span


@dataclass(frozen=True, slots=True)
class Scalar:
    """A plain value and how it was computed. Deliberately no int: an operation that forgets the expression is a type error."""

    value: Plain
    expr: Expr


@dataclass(frozen=True, slots=True)
class Looked:
    """Among the reads: something within the object of config.json at `path` was looked at."""

    path: tuple[str | int, ...]


Read = Expr | Looked


class Reads(dict[Read, None], Noting[Read]):
    """What was asked of config.json, in order, each thing once."""

    def add(self, read: Read) -> None:
        self[read] = None
        self.log(read)


_value: Any = Scalar.__dict__["value"]  # the slot, below the property of `Watched`


class Watched(Scalar):
    """A key of config.json that notes in `reads` what was asked of its value: itself, or an expression that was all that was asked."""

    __slots__ = ("reads",)
    reads: Reads

    def __init__(self, value: Plain, expr: Expr, reads: Reads):
        _value.__set__(self, value)
        object.__setattr__(self, "expr", expr)
        object.__setattr__(self, "reads", reads)

    @property
    def value(self) -> Plain:
        self.reads.add(self.expr)
        return _value.__get__(self)  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scalar) and self.expr == other.expr and self.value == other.value

    def __hash__(self) -> int:
        return hash((self.value, self.expr))


def unnoticed(x: Scalar) -> Plain:
    """The value of a scalar, which is not noted."""
    return _value.__get__(x)  # type: ignore[no-any-return]


def glance(x: Scalar, *questions: Expr) -> Plain:
    """The value of a scalar, of which no more is used than the answers to the questions."""
    if not isinstance(x, Watched):
        return x.value
    for question in questions:
        x.reads.add(question)
    return _value.__get__(x)  # type: ignore[no-any-return]


def tested(op: str, args: tuple[object, ...]) -> list[object] | None:
    """The values of arguments of a test, of which no more is used than its outcome; None where that cannot be told."""
    watched = [arg for arg in args if isinstance(arg, Watched)]
    if not watched or any(isinstance(arg, Scalar) and not isinstance(arg, Watched) for arg in args):
        return None
    watched[0].reads.add(Apply(op, tuple(arg.expr if isinstance(arg, Watched) else Const(arg) for arg in args)))  # type: ignore[arg-type]
    return [_value.__get__(arg) if isinstance(arg, Watched) else arg for arg in args]


Size = int | Scalar
"""One axis of a shape. Every size has a concrete value while tracing; two sizes are the same axis if their expressions are."""


def value_of(x: object) -> object:
    """The plain value of a scalar; anything else as it is."""
    return x.value if isinstance(x, Scalar) else x


def expr_of(x: Plain | Scalar) -> Expr:
    """The expression of a scalar or a literal."""
    return x.expr if isinstance(x, Scalar) else Const(x)


@dataclass(eq=False, slots=True, weakref_slot=True)
class TensorValue:
    """The result of one recorded operation, a parameter, or an input of the trace. `everywhere` is the number that all of
    its elements are, where that is known."""

    shape: tuple[Size, ...]
    dtype: DType
    everywhere: Plain | Scalar | None = None


@dataclass(eq=False, slots=True, weakref_slot=True)
class Tensor:
    """A tensor object of the interpreted program. Writing in place gives it (and what it is a view of) a new value."""

    value: TensorValue
    base: Tensor | None = None  # the tensor that this one is a view of
    index: object = None  # and how it was made (a `Derived` of tensor_ops)

    @property
    def shape(self) -> tuple[Size, ...]:
        return self.value.shape

    @property
    def dtype(self) -> DType:
        return self.value.dtype


@dataclass(eq=False, slots=True)
class Node:
    """A recorded operation. Arguments hold TensorValues, Scalars, plain values, DTypes, slices, Ellipsis, tuples of these."""

    op: str
    args: tuple[object, ...]
    results: tuple[TensorValue, ...]
    span: Span | None


@dataclass(frozen=True, eq=False, slots=True)
class Known:
    """What makers.py keeps of a frame: a copy of its body, which tells whether the rest is true still, what makes its own
    values, and the frames that are in it."""

    body: list[Node | Frame]
    makers: dict[TensorValue, Node]
    frames: list[Frame]


@dataclass(eq=False, slots=True)
class Frame:
    """A call of the interpreted program, or one iteration of a loop over modules, with what was recorded in it.

    `bindings` is every assignment of a tensor or number to a local name, formal parameters first, in the order of execution.
    What a frame takes and gives is not recorded: it follows from which values are used inside and outside.
    """

    kind: str  # "module", "method", "function", "iteration"
    name: str  # of the method or function
    module_path: str | None  # of the module whose method this is
    parent: Frame | None
    span: Span | None
    body: list[Node | Frame] = field(default_factory=list)
    bindings: list[tuple[str, TensorValue | Scalar]] = field(default_factory=list)
    returned: object = None
    index: int = 0  # of an iteration: that of the module in its list
    count: int = 0  # of the modules in that list
    counter: str = "layer"  # the index of the loop
    known: Known | None = None

    @property
    def within(self) -> str:
        """The path of the module whose code is run, or that has called the function that is."""
        if self.module_path is not None or self.parent is None:
            return self.module_path or ""
        return self.parent.within


class Lifting(Protocol):
    """What operations mean in a loop whose body runs once for all its iterations."""

    def lift(
        self, op: str, args: tuple[object, ...], results: tuple[tuple[tuple[Size, ...], DType], ...]
    ) -> tuple[Tensor, ...] | None:
        """The results of an operation on values of one iteration; None if it is the same in all of them."""

    def number(self, value: TensorValue) -> Tensor | None:
        """The number that a tensor holds, where every iteration has one of its own."""

    def places(self, mask: TensorValue) -> tuple[Tensor, ...] | None:
        """Where a mask of one iteration holds, axis by axis; None if it is none."""

    def part(self, x: Tensor, index: object) -> Tensor | None:
        """The rows that one iteration cuts out of `x`; None if `index` is no such cut."""

    def is_dissolved(self, module: Any) -> bool:
        """Whether calls of a module leave no frame."""

    def holds_rows(self, value: TensorValue) -> bool:
        """Whether a tensor has a row for each of what one iteration treats."""

    def truth(self, value: TensorValue) -> bool | None:
        """Which way all iterations go at a branch; None if `value` does not decide that for all of them."""


class Trace:
    """Records operations into the innermost open frame."""

    def __init__(self) -> None:
        self.root = Frame("function", "", None, None, None)
        self.frame = self.root
        self.widening: Frame | None = None  # in which float32 means the type of a tensor that has at least that
        self.assumed: DType | None = (
            None  # what the model's type is taken for, and how often it was asked: see halves.py
        )
        self.asked_for_halves = 0
        self.span: Span | None = None  # of the expression that is being evaluated; kept by the interpreter
        self.default_dtype = DType.FLOAT32  # of new float tensors; MODEL while modules are built
        self.views: WeakKeyDictionary[Tensor, WeakSet[Tensor]] = WeakKeyDictionary()  # by what they are views of
        self.constants: WeakKeyDictionary[TensorValue, object] = WeakKeyDictionary()  # the data of literal tensors
        self.watched: WeakKeyDictionary[Tensor, Callable[[Tensor], None]] = WeakKeyDictionary()  # told of every write
        self.hits = 0  # how many sizes depend on the data
        self.made: WeakKeyDictionary[TensorValue, Node] = WeakKeyDictionary()  # the operation that a value comes from
        self.parts: WeakKeyDictionary[TensorValue, Any] = WeakKeyDictionary()  # of rows split by the data, see groups
        self.spent: WeakSet[TensorValue] = WeakSet()  # what was of one turn of such a loop, after it
        self.lifting: Lifting | None = None  # of the loop whose body runs once for all its iterations
        self.ragged: Any = None  # rows whose number the data decides, with padding: see ragged.py
        self.evaluate: Callable[[Expr], Any] | None = (
            None  # the value of an expression in the trace, where forward runs
        )
        self.trials: list[Any] = []  # loops that are over experts if a turn asks for rows that the data decides
        self.agreements: list[tuple[Size, Size, Span | None]] = []  # sizes whose equality an operation relied on

    def emit(self, op: str, args: tuple[object, ...], *results: tuple[tuple[Size, ...], DType]) -> tuple[Tensor, ...]:
        """Record an operation whose results have the given shapes and types. Tensors among `args` become their values."""
        plain = tuple(_operand(arg) for arg in args)
        if self.spent and any(value in self.spent for value in tensors_in(plain)):
            label = None if self.span is None else Label(self.span)
            message = "what was made of the tokens of one expert is read after the loop over experts"
            raise CompileError(Diagnostic("data-dependent-loop", message, label))
        if self.parts:
            joined = self.join(op, plain, results)
            if joined is not None:
                return joined
        if self.lifting is not None:
            lifted = self.lifting.lift(op, plain, results)
            if lifted is not None:
                return lifted
        made = self.record(op, plain, *results)
        return made if self.ragged is None else self.ragged.follow(op, plain, made)

    def decided_by_data(self) -> None:
        """Called before rows are asked for whose number the data decides."""
        if self.lifting is None and self.trials:
            self.trials[-1].end(self.frame)

    def join(
        self, op: str, args: tuple[object, ...], results: tuple[tuple[tuple[Size, ...], DType], ...]
    ) -> tuple[Tensor, ...] | None:
        from codegen.graph import groups

        return groups.lift(self, op, args, results)

    def record(self, op: str, args: tuple[object, ...], *results: tuple[tuple[Size, ...], DType]) -> tuple[Tensor, ...]:
        """Record an operation as it is."""
        from codegen.graph.uniform import uniform

        values = tuple(TensorValue(shape, dtype) for shape, dtype in results)
        if len(values) == 1:
            values[0].everywhere = uniform(op, args, values[0].dtype)
        node = Node(op, args, values, self.span)
        self.frame.body.append(node)
        for value in values:
            self.made[value] = node
        return tuple(Tensor(value) for value in values)

    def enter(self, kind: str, name: str, module_path: str | None = None, index: int = 0) -> Frame:
        frame = Frame(kind, name, module_path, self.frame, self.span, index=index)
        self.frame.body.append(frame)
        self.frame = frame
        return frame

    def leave(self, frame: Frame) -> None:
        assert self.frame is frame and frame.parent is not None
        self.frame = frame.parent

    def bind(self, name: str, value: object) -> None:
        """Note that a local variable of the innermost frame was assigned."""
        if isinstance(value, Tensor):
            self.frame.bindings.append((name, value.value))
        elif isinstance(value, Scalar):
            self.frame.bindings.append((name, value))


def handles_in(value: object) -> Iterator[Tensor]:
    """The tensors that a value of the source holds, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from handles_in(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from handles_in(item)


def tensors_in(argument: object) -> list[TensorValue]:
    """The tensors among the arguments of a node, in order. Asked a million times in a compile of many layers."""
    if isinstance(argument, TensorValue):
        return [argument]
    found: list[TensorValue] = []
    if isinstance(argument, (tuple, list)):
        for item in argument:
            kind = type(item)
            if kind is TensorValue:
                found.append(item)
            elif kind not in _NO_TENSORS:
                found += tensors_in(item)
    elif isinstance(argument, slice):
        for item in (argument.start, argument.stop, argument.step):
            found += tensors_in(item)
    return found


_NO_TENSORS = frozenset({int, float, bool, str, type(None), Scalar, DType})


def _operand(x: object) -> object:
    if isinstance(x, Tensor):
        return x.value
    if isinstance(x, (tuple, list)):
        return tuple(_operand(item) for item in x)
    if isinstance(x, slice):
        return slice(_operand(x.start), _operand(x.stop), _operand(x.step))
    return x
