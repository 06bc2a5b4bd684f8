"""Rows that are split by sizes which only the data knows, a product for each part, and the parts joined again.

    parts = x.split(sizes.tolist(), dim=0)
    torch.cat([linear(parts[i], weight[i]) for i in range(len(weight))], dim=0)

is one product of groups of rows. Nothing else is done with such parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from codegen.diagnostics import CompileError, Diagnostic, Label
from codegen.graph.objects import Foreign
from codegen.graph.values import Scalar, Size, Tensor, TensorValue, Trace, value_of
from ir.expressions import Dim
from ir.graph import DType
from ir.records import dataclass

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

MESSAGE = "what is done with numbers read from a tensor has no meaning"
HELP = (
    "rows may be split by them, if each part is multiplied with a weight of its own and all are joined again in order"
)


class Counts(Foreign):
    """The numbers of a tensor with one axis, as a list of Python."""

    def __init__(self, sizes: TensorValue):
        self.sizes = sizes

    def item(self, interpreter: Interpreter, index: Any) -> Any:
        interpreter.unsupported(MESSAGE, HELP, "data-dependent")

    def iterate(self, interpreter: Interpreter) -> Any:
        interpreter.unsupported(MESSAGE, HELP, "data-dependent")

    def length(self, interpreter: Interpreter) -> Any:
        return self.sizes.shape[0]

    def truth(self, interpreter: Interpreter) -> Any:
        interpreter.unsupported(MESSAGE, HELP, "data-dependent")


class Joined(Foreign):
    """A list to which every turn of a loop over experts appended the rows of its expert: good to be joined again in order."""

    def __init__(self, rows: TensorValue):
        self.rows = rows

    def item(self, interpreter: Interpreter, index: Any) -> Any:
        interpreter.unsupported(MESSAGE, HELP, "data-dependent")

    def iterate(self, interpreter: Interpreter) -> Any:
        interpreter.unsupported(MESSAGE, HELP, "data-dependent")

    def length(self, interpreter: Interpreter) -> Any:
        return self

    def truth(self, interpreter: Interpreter) -> Any:
        return True  # there is a token, and it goes to some expert

    def binary(self, interpreter: Interpreter, op: str, other: Any, reflected: bool) -> Any:
        if value_of(other) == 0 and not reflected and op in (">", "!=", "=="):
            return op != "=="
        interpreter.unsupported(MESSAGE, HELP, "data-dependent")


class Parts(Foreign):
    """The parts of `whole`, split along its first axis."""

    def __init__(self, trace: Trace, whole: Tensor, counts: Counts):
        self.trace, self.whole, self.sizes = trace, whole, counts.sizes

    def item(self, interpreter: Interpreter, index: Any) -> Any:
        number, count = value_of(index), value_of(self.sizes.shape[0])
        if not isinstance(number, int) or not isinstance(count, int) or not 0 <= number < count:
            interpreter.unsupported(MESSAGE, HELP, "data-dependent")
        return _part(self.trace, Part(self.whole.value, self.sizes, number), self.whole.shape[1:], self.whole.dtype)

    def iterate(self, interpreter: Interpreter) -> Any:
        return (self.item(interpreter, number) for number in range(int(value_of(self.sizes.shape[0]))))  # type: ignore[call-overload]

    def length(self, interpreter: Interpreter) -> Any:
        return self.sizes.shape[0]


@dataclass(frozen=True, slots=True)
class Part:
    """Part `number` of rows, and the weights of all parts once it was multiplied with its own."""

    whole: TensorValue
    sizes: TensorValue
    number: int
    weight: TensorValue | None = None


def _part(trace: Trace, part: Part, rest: tuple[Size, ...], dtype: DType) -> Tensor:
    value = TensorValue((Scalar(1, Dim("part")), *rest), dtype)
    trace.parts[value] = part
    return Tensor(value)


def lift(
    trace: Trace, op: str, args: tuple[object, ...], results: tuple[tuple[tuple[Size, ...], DType], ...]
) -> tuple[Tensor, ...] | None:
    """The result of an operation on parts; None if there are none among its arguments."""
    values = [value for arg in args for value in (arg if isinstance(arg, tuple) else (arg,))]
    parts = [trace.parts[value] for value in values if isinstance(value, TensorValue) and value in trace.parts]
    if not parts:
        return None
    ((shape, dtype), *_) = results
    match op, args:
        case "linear", (TensorValue(), TensorValue() as w, None):
            weight = _weight_of(trace, w, parts[0].number)
            if parts[0].weight is None and weight is not None:
                made = Part(parts[0].whole, parts[0].sizes, parts[0].number, weight)
                return (_part(trace, made, shape[1:], dtype),)
        case "cat", (tuple() as joined, 0) if len(joined) == len(parts):
            first = parts[0]
            expected = [Part(first.whole, first.sizes, number, first.weight) for number in range(len(parts))]
            if parts == expected and first.weight is not None and value_of(first.sizes.shape[0]) == len(parts):
                rows = (first.whole.shape[0], *shape[1:])
                return trace.record("grouped_linear", (first.whole, first.weight, first.sizes), (rows, dtype))
    _refuse(trace)


def _weight_of(trace: Trace, w: TensorValue, number: int) -> TensorValue | None:
    """The weights of all parts, if `w` is that of one."""
    node = trace.made.get(w)
    if node is None or node.op != "getitem":
        return None
    whole, index = node.args
    alone = isinstance(index, tuple) and len(index) == 1 and value_of(index[0]) == number
    return whole if alone and isinstance(whole, TensorValue) and len(whole.shape) == 3 else None


def _refuse(trace: Trace) -> NoReturn:
    label = None if trace.span is None else Label(trace.span)
    raise CompileError(Diagnostic("data-dependent", MESSAGE, label, help=HELP))
