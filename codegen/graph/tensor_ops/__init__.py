"""torch as the interpreted program sees it: functions, methods, attributes and operators on tensors.

Every call checks its arguments, works out shape and type, and records operations of `ir.ops.OPS` in the trace. Everything
raises CompileError alone: `unknown-op` for what is not taught, `invalid-op` and `shape-mismatch` for what torch would refuse,
`data-dependent` for what follows from the data, `unknown-dtype` for a type that no DType expresses.

Results that have names (`.values`, `.indices`) are a `Named`, a tuple with `get(name)`.
"""

from __future__ import annotations

from codegen.graph.objects import Foreign
from codegen.graph.scalars import product
from codegen.graph.tensor_ops import create as _create  # noqa: F401
from codegen.graph.tensor_ops import elementwise, layout, network
from codegen.graph.tensor_ops import reduce as _reduce  # noqa: F401
from codegen.graph.tensor_ops.binding import (
    ATTRIBUTES,
    FUNCTIONS,
    Named,
    Operand,
    apply_rule,
    attribute_rule,
    fail,
    operand,
    rule,
    sizes,
    tensor,
)
from codegen.graph.tensor_ops.binding import (
    METHODS as _METHODS,
)
from codegen.graph.tensor_ops.elementwise import BINARY, augmented
from codegen.graph.tensor_ops.indexing import all_or_none as _all_or_none
from codegen.graph.tensor_ops.indexing import getitem as _getitem
from codegen.graph.tensor_ops.indexing import setitem as _setitem
from codegen.graph.tensor_ops.shapes import broadcast, is_float, result
from codegen.graph.values import Tensor, TensorValue, Trace, value_of
from ir.graph import DType

__all__ = [
    "DEVICE",
    "KNOWN",
    "METHODS",
    "Device",
    "Named",
    "attribute",
    "augmented",
    "binary",
    "call",
    "all_or_none",
    "getitem",
    "method",
    "setitem",
    "truth",
    "unary",
]


class Device(Foreign):
    """Where a tensor lies: no number depends on it."""

    classes = ("torch.device",)

    def get(self, interpreter: object, name: str) -> object:
        return {"type": "cpu", "index": None}[name]


DEVICE = Device()


def call(trace: Trace, name: str, args: list[object], kwargs: dict[str, object]) -> object:
    """A function of torch by its full name, `torch.nn.functional.silu`; `torch.Tensor.x` is a method."""
    if name.startswith("torch.Tensor.") and args and isinstance(args[0], Tensor):
        return method(trace, args[0], name.removeprefix("torch.Tensor."), args[1:], kwargs)
    found = FUNCTIONS.get(name)
    if found is None:
        fail(trace, "unknown-op", f"the function `{name}` is not known", _help(name))
    return apply_rule(trace, found, args, kwargs)


def method(trace: Trace, x: Tensor, name: str, args: list[object], kwargs: dict[str, object]) -> object:
    """A method of a tensor."""
    found = _METHODS.get(name)
    if found is None:
        fail(trace, "unknown-op", f"the method `{name}` of a tensor is not known", _help(name))
    return apply_rule(trace, found, [x, *args], kwargs)


def attribute(trace: Trace, x: Tensor, name: str) -> object:
    """An attribute of a tensor that is not a method."""
    found = ATTRIBUTES.get(name)
    if found is None:
        fail(trace, "unknown-op", f"the attribute `{name}` of a tensor is not known", _help(name))
    return found(trace, x)


def _help(name: str) -> str:
    return f"a rule for `{name.rpartition('.')[2]}` in codegen/graph/tensor_ops/ and an operation in ir/ops.py would teach it"


def binary(trace: Trace, op: str, left: object, right: object) -> Tensor:
    """`left op right`, where one of them is a tensor; `op` as Python writes it."""
    found = BINARY.get(op)
    if found is None:
        fail(trace, "unknown-op", f"the operator `{op}` on tensors is not known")
    if found == "matmul":
        return network.matmul(trace, left, right)
    return elementwise.elementwise(trace, found, operand(trace, left), operand(trace, right))


def unary(trace: Trace, op: str, x: Tensor) -> Tensor:
    """`-x`, `+x`, `~x`, `abs(x)`; also by the names of numbers' operations, "neg" and "abs"."""
    match op:
        case "-" | "neg":
            return elementwise.unary_op(trace, "neg", x)
        case "+" | "pos":
            return x
        case "~" | "invert":
            return elementwise.unary_op(trace, "bitwise_not", x)
        case "abs":
            return elementwise.unary_op(trace, "abs", x, "real")
        case _:
            fail(trace, "unknown-op", f"the operator `{op}` on a tensor is not known")


def getitem(trace: Trace, x: Tensor, index: object) -> Tensor:
    """`x[index]`."""
    return _getitem(trace, x, index)


def all_or_none(trace: Trace, x: Tensor, mask: Tensor, holds: bool) -> Tensor:
    """`x[mask]` of a mask that holds everywhere or nowhere."""
    return _all_or_none(trace, x, mask, holds)


def setitem(trace: Trace, x: Tensor, index: object, value: object) -> None:
    """`x[index] = value`."""
    _setitem(trace, x, index, value)


def truth(trace: Trace, x: Tensor) -> object:
    """`bool(x)`: of a literal alone.

    Raises:
        CompileError: the data decides.
    """
    return elementwise.item(trace, x)


# --------------------------------------------------------------------------------------------------------- attributes

attribute_rule("shape")(lambda trace, x: tuple(x.shape))
attribute_rule("dtype")(lambda trace, x: x.dtype)
attribute_rule("device")(lambda trace, x: DEVICE)
attribute_rule("ndim")(lambda trace, x: len(x.shape))
attribute_rule("data")(lambda trace, x: x)
attribute_rule("is_cuda", "is_meta", "is_sparse", "is_quantized", "is_mps", "is_nested")(lambda trace, x: False)
attribute_rule("requires_grad")(lambda trace, x: False)
attribute_rule("grad", "grad_fn", "names")(lambda trace, x: None)
attribute_rule("is_leaf")(lambda trace, x: True)
attribute_rule("T")(
    lambda trace, x: (
        layout.permute(trace, x, tuple(reversed(range(len(x.shape)))))
        if len(x.shape) != 2
        else layout.transpose(trace, x, 0, 1)
    )
)
attribute_rule("mT", "H", "mH")(lambda trace, x: layout.transpose(trace, x, -1, -2))
attribute_rule("real")(lambda trace, x: network.real(trace, x))
attribute_rule("imag")(lambda trace, x: network.imag(trace, x))


@rule(methods=("size",))
def size(trace: Trace, input: object, dim: object = None) -> object:
    x = tensor(trace, input)
    if dim is None:
        return tuple(x.shape)
    at = value_of(dim)
    if not isinstance(at, int) or not -len(x.shape) <= at < len(x.shape):
        fail(trace, "invalid-op", f"there is no axis {at} in a tensor of {len(x.shape)} axes")
    return x.shape[at]


@rule(methods=("__len__",))
def length(trace: Trace, input: object) -> object:
    return size(trace, input, 0)


@rule("numel", methods=("numel", "nelement"))
def numel(trace: Trace, input: object) -> object:
    return product(tensor(trace, input).shape)


@rule(methods=("dim", "ndimension"))
def dim(trace: Trace, input: object) -> int:
    return len(tensor(trace, input).shape)


@rule("is_floating_point", methods=("is_floating_point",))
def is_floating_point(trace: Trace, input: object) -> bool:
    return is_float(tensor(trace, input).dtype) and tensor(trace, input).dtype is not DType.COMPLEX64


@rule("is_complex", methods=("is_complex",))
def is_complex(trace: Trace, input: object) -> bool:
    return tensor(trace, input).dtype is DType.COMPLEX64


@rule("is_tensor")
def is_tensor(trace: Trace, obj: object) -> bool:
    return isinstance(obj, Tensor)


@rule(methods=("get_device",))
def get_device(trace: Trace, input: object) -> int:
    return -1


@rule(methods=("is_contiguous",))
def is_contiguous(trace: Trace, input: object) -> bool:
    return True


@rule("broadcast_shapes")
def broadcast_shapes(trace: Trace, *shapes: object) -> tuple[object, ...]:
    return broadcast(trace, *(sizes(trace, (shape,)) for shape in shapes))


@rule("promote_types", "result_type")
def promote_types(trace: Trace, type1: object, type2: object) -> DType:
    def stand_in(x: object) -> Operand:
        return Tensor(TensorValue((1,), x)) if isinstance(x, DType) else operand(trace, x)

    return result(trace, (stand_in(type1), stand_in(type2)))


@rule("get_default_dtype")
def get_default_dtype(trace: Trace) -> DType:
    return trace.default_dtype


for _name in (
    "add", "sub", "mul", "div", "pow", "neg", "abs", "sqrt", "rsqrt", "exp", "log", "sigmoid", "tanh", "relu", "floor",
    "clamp", "clamp_min", "clamp_max", "masked_fill", "masked_scatter", "scatter", "scatter_add", "scatter_reduce",
    "index_add", "index_copy", "tril", "triu", "addcmul", "reciprocal", "round", "remainder", "floor_divide", "sin", "cos",
    "logical_and", "logical_or", "logical_not", "bitwise_and", "bitwise_or", "bitwise_not", "cumsum", "nan_to_num", "lerp",
    "ceil", "trunc", "square", "subtract", "multiply", "divide", "baddbmm", "addmm",
):  # fmt: skip
    rule(methods=(_name + "_",))(elementwise.inplace(_name))

rule("relu_")(elementwise.inplace("relu"))

KNOWN: frozenset[str] = frozenset(FUNCTIONS)
METHODS: frozenset[str] = frozenset(_METHODS)
