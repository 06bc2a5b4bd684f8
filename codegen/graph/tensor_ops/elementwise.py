"""Element by element: arithmetic, comparison, logic, activations, types, and their in-place forms."""

from __future__ import annotations

from collections.abc import Callable

from codegen.graph.tensor_ops.binding import (
    METHODS,
    Operand,
    apply_rule,
    data_dependent,
    dtype,
    emit,
    fail,
    flag,
    number,
    operand,
    rule,
    tensor,
    text,
)
from codegen.graph.tensor_ops.shapes import broadcast, check_broadcast, floating, is_float, result, shape_of
from codegen.graph.tensor_ops.writing import Derived, store, view
from codegen.graph.values import Tensor, Trace, value_of
from ir.graph import DType
from ir.ops import Category, category

BINARY = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "div",
    "//": "floor_divide",
    "%": "remainder",
    "**": "pow",
    "@": "matmul",
    "==": "eq",
    "!=": "ne",
    "<": "lt",
    "<=": "le",
    ">": "gt",
    ">=": "ge",
    "&": "bitwise_and",
    "|": "bitwise_or",
    "^": "bitwise_xor",
    "<<": "left_shift",
    ">>": "right_shift",
}
COMPARISONS = frozenset({"eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor"})
FRACTIONS = frozenset({"div", "atan2", "logaddexp"})


def elementwise(trace: Trace, op: str, *operands: Operand) -> Tensor:
    """An operation on broadcast operands, with torch's type promotion."""
    shape = broadcast(trace, *(shape_of(x) for x in operands))
    kind = result(trace, operands)
    if op in COMPARISONS:
        kind = DType.BOOL
    elif op in FRACTIONS:
        kind = floating(trace, kind)
    return emit(trace, op, operands, shape, kind)


def _binary_rules(op: str, functions: tuple[str, ...], methods: tuple[str, ...]) -> None:
    def run(trace: Trace, input: object, other: object) -> object:
        return elementwise(trace, op, operand(trace, input), operand(trace, other))

    rule(*functions, methods=methods)(run)


for _op, _functions, _methods in (
    ("floor_divide", ("floor_divide",), ("floor_divide", "__floordiv__")),
    ("remainder", ("remainder",), ("remainder", "__mod__")),
    ("fmod", ("fmod",), ("fmod",)),
    ("maximum", ("maximum", "fmax"), ("maximum",)),
    ("minimum", ("minimum", "fmin"), ("minimum",)),
    ("atan2", ("atan2", "arctan2"), ("atan2",)),
    ("logaddexp", ("logaddexp",), ("logaddexp",)),
    ("eq", ("eq",), ("eq", "__eq__")),
    ("ne", ("ne", "not_equal"), ("ne", "not_equal", "__ne__")),
    ("lt", ("lt", "less"), ("lt", "less", "__lt__")),
    ("le", ("le", "less_equal"), ("le", "less_equal", "__le__")),
    ("gt", ("gt", "greater"), ("gt", "greater", "__gt__")),
    ("ge", ("ge", "greater_equal"), ("ge", "greater_equal", "__ge__")),
    ("logical_and", ("logical_and",), ("logical_and",)),
    ("logical_or", ("logical_or",), ("logical_or",)),
    ("logical_xor", ("logical_xor",), ("logical_xor",)),
    ("bitwise_and", ("bitwise_and",), ("bitwise_and", "__and__")),
    ("bitwise_or", ("bitwise_or",), ("bitwise_or", "__or__")),
    ("bitwise_xor", ("bitwise_xor",), ("bitwise_xor", "__xor__")),
    ("left_shift", ("bitwise_left_shift",), ("bitwise_left_shift",)),
    ("right_shift", ("bitwise_right_shift",), ("bitwise_right_shift",)),
):
    _binary_rules(_op, _functions, _methods)


@rule("pow", methods=("pow", "__pow__"))
def power(trace: Trace, input: object, exponent: object) -> Tensor:
    power = operand(trace, exponent)
    if isinstance(input, Tensor) and is_float(input.dtype) and isinstance(power, float) and power.is_integer():
        power = int(power)  # a product, to both frameworks
    return elementwise(trace, "pow", operand(trace, input), power)


@rule("square", methods=("square",))
def square(trace: Trace, input: object) -> Tensor:
    return elementwise(trace, "pow", tensor(trace, input), 2)


@rule("add", methods=("add", "__add__"))
def add(trace: Trace, input: object, other: object, *, alpha: object = 1) -> Tensor:
    return elementwise(trace, "add", operand(trace, input), _scaled(trace, other, alpha))


@rule("sub", "subtract", methods=("sub", "subtract", "__sub__"))
def subtract(trace: Trace, input: object, other: object, *, alpha: object = 1) -> Tensor:
    return elementwise(trace, "sub", operand(trace, input), _scaled(trace, other, alpha))


@rule("rsub", methods=("__rsub__",))
def reverse_subtract(trace: Trace, input: object, other: object) -> Tensor:
    return elementwise(trace, "sub", operand(trace, other), operand(trace, input))


def _scaled(trace: Trace, other: object, alpha: object) -> Operand:
    if value_of(alpha) == 1:
        return operand(trace, other)
    return elementwise(trace, "mul", operand(trace, other), number(trace, alpha))


@rule("mul", "multiply", methods=("mul", "multiply", "__mul__"))
def multiply(trace: Trace, input: object, other: object) -> Tensor:
    return elementwise(trace, "mul", operand(trace, input), operand(trace, other))


@rule("div", "divide", "true_divide", methods=("div", "divide", "true_divide", "__truediv__"))
def divide(trace: Trace, input: object, other: object, *, rounding_mode: object = None) -> Tensor:
    mode = value_of(rounding_mode)
    if mode == "floor":
        return elementwise(trace, "floor_divide", operand(trace, input), operand(trace, other))
    if mode not in (None, "trunc"):
        fail(trace, "unknown-op", f"`torch.div` has no rounding mode {mode!r}")
    quotient = elementwise(trace, "div", operand(trace, input), operand(trace, other))
    if mode is None:
        return quotient
    kind = result(trace, (operand(trace, input), operand(trace, other)))
    return cast(trace, elementwise(trace, "trunc", quotient), kind)


@rule("lerp", methods=("lerp",))
def lerp(trace: Trace, input: object, end: object, weight: object) -> Tensor:
    return elementwise(trace, "lerp", tensor(trace, input), tensor(trace, end), operand(trace, weight))


@rule("addcmul", methods=("addcmul",))
def addcmul(trace: Trace, input: object, tensor1: object, tensor2: object, *, value: object = 1) -> Tensor:
    product = elementwise(trace, "mul", _scaled(trace, tensor1, value), operand(trace, tensor2))
    return elementwise(trace, "add", tensor(trace, input), product)


# ------------------------------------------------------------------------------------------------------------ of one


def _unary_rules(op: str, functions: tuple[str, ...], methods: tuple[str, ...], kind: str) -> None:
    def run(trace: Trace, input: object) -> object:
        return unary_op(trace, op, tensor(trace, input), kind)

    def run_activation(trace: Trace, input: object, inplace: object = False) -> object:
        x = tensor(trace, input)
        new = unary_op(trace, op, x, kind)
        return store(trace, x, new) if flag(trace, inplace) else new

    plain = tuple(name for name in functions if not name.startswith("F."))
    rule(*plain, methods=methods)(run)
    rule(*(name for name in functions if name.startswith("F.")))(run_activation)


def unary_op(trace: Trace, op: str, x: Tensor, kind: str = "same") -> Tensor:
    """`kind` of the result: "same" as x, "float" at least, "bool", "real" of complex."""
    out = x.dtype
    if kind == "float":
        out = floating(trace, x.dtype)
    elif kind == "bool":
        out = DType.BOOL
    elif kind == "real" and out is DType.COMPLEX64:
        out = DType.FLOAT32
    return emit(trace, op, (x,), x.shape, out)


_UNARY: tuple[tuple[str, tuple[str, ...], tuple[str, ...], str], ...] = (
    ("neg", ("neg", "negative"), ("neg", "negative", "__neg__"), "same"),
    ("abs", ("abs", "absolute"), ("abs", "absolute", "__abs__"), "real"),
    ("sign", ("sign",), ("sign",), "same"),
    ("floor", ("floor",), ("floor",), "same"),
    ("ceil", ("ceil",), ("ceil",), "same"),
    ("trunc", ("trunc", "fix"), ("trunc", "fix"), "same"),
    ("reciprocal", ("reciprocal",), ("reciprocal",), "float"),
    ("sqrt", ("sqrt",), ("sqrt",), "float"),
    ("rsqrt", ("rsqrt",), ("rsqrt",), "float"),
    ("exp", ("exp",), ("exp",), "float"),
    ("exp2", ("exp2", "special.exp2"), ("exp2",), "float"),
    ("expm1", ("expm1", "special.expm1"), ("expm1",), "float"),
    ("log", ("log",), ("log",), "float"),
    ("log1p", ("log1p", "special.log1p"), ("log1p",), "float"),
    ("log2", ("log2",), ("log2",), "float"),
    ("log10", ("log10",), ("log10",), "float"),
    ("sin", ("sin",), ("sin",), "float"),
    ("cos", ("cos",), ("cos",), "float"),
    ("tan", ("tan",), ("tan",), "float"),
    ("atan", ("atan", "arctan"), ("atan", "arctan"), "float"),
    ("sinh", ("sinh",), ("sinh",), "float"),
    ("cosh", ("cosh",), ("cosh",), "float"),
    ("erf", ("erf", "special.erf"), ("erf",), "float"),
    ("erfinv", ("erfinv", "special.erfinv"), ("erfinv",), "float"),
    ("isnan", ("isnan",), ("isnan",), "bool"),
    ("isinf", ("isinf",), ("isinf",), "bool"),
    ("isfinite", ("isfinite",), ("isfinite",), "bool"),
    ("logical_not", ("logical_not",), ("logical_not",), "bool"),
    ("bitwise_not", ("bitwise_not",), ("bitwise_not", "__invert__"), "same"),
    ("relu", ("relu", "F.relu"), ("relu",), "same"),
    ("relu6", ("F.relu6",), (), "same"),
    ("silu", ("F.silu",), (), "same"),
    ("sigmoid", ("sigmoid", "special.expit", "F.sigmoid"), ("sigmoid",), "float"),
    ("logsigmoid", ("F.logsigmoid",), (), "same"),
    ("tanh", ("tanh", "F.tanh"), ("tanh",), "float"),
    ("selu", ("selu", "F.selu"), (), "same"),
    ("mish", ("F.mish",), (), "same"),
    ("hardswish", ("F.hardswish",), (), "same"),
    ("hardsigmoid", ("F.hardsigmoid",), (), "same"),
    ("softsign", ("F.softsign",), (), "same"),
)
for _entry in _UNARY:
    _unary_rules(*_entry)


@rule("round", methods=("round",))
def round_(trace: Trace, input: object, *, decimals: object = 0) -> Tensor:
    if value_of(decimals) != 0:
        fail(trace, "unknown-op", "`torch.round` to decimals is not known")
    return unary_op(trace, "round", tensor(trace, input))


@rule("F.gelu")
def gelu(trace: Trace, input: object, approximate: object = "none") -> Tensor:
    x, mode = tensor(trace, input), text(trace, approximate)
    if mode not in ("none", "tanh"):
        fail(trace, "unknown-op", f"`gelu` has no approximation {mode!r}")
    return emit(trace, "gelu", (x, mode), x.shape, x.dtype)


@rule("F.softplus")
def softplus(trace: Trace, input: object, beta: object = 1, threshold: object = 20) -> Tensor:
    x = tensor(trace, input)
    return emit(trace, "softplus", (x, number(trace, beta), number(trace, threshold)), x.shape, x.dtype)


@rule("F.leaky_relu")
def leaky_relu(trace: Trace, input: object, negative_slope: object = 0.01, inplace: object = False) -> Tensor:
    x = tensor(trace, input)
    new = emit(trace, "leaky_relu", (x, number(trace, negative_slope)), x.shape, x.dtype)
    return store(trace, x, new) if flag(trace, inplace) else new


@rule("F.elu")
def elu(trace: Trace, input: object, alpha: object = 1.0, inplace: object = False) -> Tensor:
    x = tensor(trace, input)
    new = emit(trace, "elu", (x, number(trace, alpha)), x.shape, x.dtype)
    return store(trace, x, new) if flag(trace, inplace) else new


@rule("F.hardtanh")
def hardtanh(
    trace: Trace, input: object, min_val: object = -1.0, max_val: object = 1.0, inplace: object = False
) -> Tensor:
    x = tensor(trace, input)
    new = emit(trace, "clamp", (x, number(trace, min_val), number(trace, max_val)), x.shape, x.dtype)
    return store(trace, x, new) if flag(trace, inplace) else new


@rule("clamp", "clip", methods=("clamp", "clip"))
def clamp(trace: Trace, input: object, min: object = None, max: object = None) -> Tensor:
    x = tensor(trace, input)
    bounds = tuple(None if bound is None else operand(trace, bound) for bound in (min, max))
    given = [bound for bound in bounds if bound is not None]
    if not given:
        fail(trace, "invalid-op", "`torch.clamp` needs a bound")
    shape = broadcast(trace, x.shape, *(shape_of(bound) for bound in given))
    return emit(trace, "clamp", (x, *bounds), shape, result(trace, [x, *given]))


@rule("clamp_min", methods=("clamp_min",))
def clamp_min(trace: Trace, input: object, min: object) -> Tensor:
    return clamp(trace, input, min, None)


@rule("clamp_max", methods=("clamp_max",))
def clamp_max(trace: Trace, input: object, max: object) -> Tensor:
    return clamp(trace, input, None, max)


@rule("nan_to_num", methods=("nan_to_num",))
def nan_to_num(trace: Trace, input: object, nan: object = 0.0, posinf: object = None, neginf: object = None) -> Tensor:
    x = tensor(trace, input)
    numbers = tuple(None if n is None else number(trace, n) for n in (nan, posinf, neginf))
    return emit(trace, "nan_to_num", (x, *numbers), x.shape, x.dtype)


@rule("F.dropout", "dropout", "F.alpha_dropout", "F.dropout1d", "F.dropout2d")
def dropout(trace: Trace, input: object, p: object = 0.5, training: object = True, inplace: object = False) -> Tensor:
    """The identity, as models are compiled for inference."""
    if flag(trace, training) and value_of(p) != 0:
        fail(trace, "unknown-op", "dropout while training: a random result", "bind `training` to False")
    return tensor(trace, input)


@rule("where", methods=())
def where(trace: Trace, condition: object, input: object = None, other: object = None) -> object:
    from codegen.graph.tensor_ops.indexing import nonzero

    mask = tensor(trace, condition)
    if input is None and other is None:
        return nonzero(trace, mask, as_tuple=True)
    a, b = operand(trace, input), operand(trace, other)
    shape = broadcast(trace, mask.shape, shape_of(a), shape_of(b))
    return emit(trace, "where", (mask, a, b), shape, result(trace, (a, b)))


@rule(methods=("where",))
def where_method(trace: Trace, input: object, condition: object, other: object) -> object:
    return where(trace, condition, input, other)


@rule("masked_fill", methods=("masked_fill",))
def masked_fill(trace: Trace, input: object, mask: object, value: object) -> Tensor:
    x, where_, fill = tensor(trace, input), tensor(trace, mask), operand(trace, value)
    if where_.dtype is not DType.BOOL:
        fail(trace, "invalid-op", "`masked_fill` takes a mask of booleans")
    shape = broadcast(trace, x.shape, where_.shape)
    return emit(trace, "masked_fill", (x, where_, fill), shape, x.dtype)


# ------------------------------------------------------------------------------------------------------------- types


def cast(trace: Trace, x: Tensor, to: DType) -> Tensor:
    """`x` as another type; `x` itself where nothing changes for any type of the model."""
    if to is DType.FLOAT32 and trace.widening is trace.frame:
        to = DType.PROMOTED
    if to is trace.assumed:
        to = DType.MODEL
    return x if x.dtype is to else emit(trace, "cast", (x, to), x.shape, to)


@rule(methods=("to",))
def to(trace: Trace, input: object, *args: object, dtype: object = None, other: object = None) -> Tensor:
    x = tensor(trace, input)
    wanted: DType | None = dtype if isinstance(dtype, DType) else None
    if isinstance(other, Tensor):
        wanted = other.dtype
    for arg in args:
        if isinstance(arg, DType):
            wanted = arg
        elif isinstance(arg, Tensor):
            wanted = arg.dtype
        elif isinstance(value_of(arg), (int, float)) and not isinstance(value_of(arg), bool):
            fail(trace, "invalid-op", "`Tensor.to` of a number")
    return x if wanted is None else cast(trace, x, wanted)


@rule(methods=("type_as",))
def type_as(trace: Trace, input: object, other: object) -> Tensor:
    return cast(trace, tensor(trace, input), tensor(trace, other).dtype)


@rule(methods=("type",))
def type_(trace: Trace, input: object, dtype: object) -> Tensor:
    name = value_of(dtype)
    if isinstance(name, str) and name in _LEGACY_TYPES:
        return cast(trace, tensor(trace, input), _LEGACY_TYPES[name])
    return cast(trace, tensor(trace, input), _dtype(trace, dtype))


_dtype = dtype
_LEGACY_TYPES = {"torch.FloatTensor": DType.FLOAT32, "torch.LongTensor": DType.INT64, "torch.BoolTensor": DType.BOOL}


def _cast_rule(name: str, to: DType) -> None:
    def run(trace: Trace, input: object) -> object:
        return cast(trace, tensor(trace, input), to)

    rule(methods=(name,))(run)


for _name, _to in (
    ("float", DType.FLOAT32),
    ("double", DType.FLOAT64),
    ("half", DType.FLOAT16),
    ("bfloat16", DType.BFLOAT16),
    ("long", DType.INT64),
    ("int", DType.INT32),
    ("short", DType.INT16),
    ("char", DType.INT8),
    ("byte", DType.UINT8),
    ("bool", DType.BOOL),
):
    _cast_rule(_name, _to)


rule(methods=("contiguous", "cpu", "cuda", "requires_grad_", "pin_memory", "resolve_conj"))(
    lambda trace, input, *args: tensor(trace, input)
)


@rule("clone", methods=("clone", "__copy__", "__deepcopy__"))
def clone(trace: Trace, input: object, *memo: object) -> Tensor:
    return Tensor(tensor(trace, input).value)


@rule("detach", methods=("detach",))
def detach(trace: Trace, input: object) -> Tensor:
    x = tensor(trace, input)
    if category(x.dtype) is not Category.FLOAT:
        return view(trace, x, Tensor(x.value), Derived(lambda t, base: Tensor(base.value), lambda t, base, new: new))

    def stopped(trace: Trace, base: Tensor) -> Tensor:
        return trace.emit("detach", (base,), (base.shape, base.dtype))[0]

    return view(trace, x, stopped(trace, x), Derived(stopped, lambda t, base, new: new))


# ---------------------------------------------------------------------------------------------------------- in place


def inplace(name: str, method: str | None = None) -> Callable[..., object]:
    """The in-place form of a method: the result is stored in the tensor."""
    found = METHODS[method or name]

    def run(trace: Trace, input: object, *args: object, **kwargs: object) -> object:
        x = tensor(trace, input)
        new = apply_rule(trace, found, [Tensor(x.value), *args], dict(kwargs))
        assert isinstance(new, Tensor)
        return store(trace, x, new)

    return run


@rule(methods=("copy_",))
def copy_(trace: Trace, input: object, other: object) -> Tensor:
    x, source = tensor(trace, input), operand(trace, other)
    check_broadcast(trace, shape_of(source), x.shape)
    if not isinstance(source, Tensor):
        return store(trace, x, emit(trace, "full_like", (x, source, None), x.shape, x.dtype))
    new = cast(trace, source, x.dtype)
    if len(new.shape) != len(x.shape) or any(
        value_of(a) != value_of(b) for a, b in zip(new.shape, x.shape, strict=True)
    ):
        new = emit(trace, "expand", (new, x.shape), x.shape, x.dtype)
    return store(trace, x, new)


@rule(methods=("fill_",))
def fill_(trace: Trace, input: object, value: object) -> Tensor:
    x = tensor(trace, input)
    return store(trace, x, emit(trace, "full_like", (x, operand(trace, value), None), x.shape, x.dtype))


@rule(methods=("zero_",))
def zero_(trace: Trace, input: object) -> Tensor:
    x = tensor(trace, input)
    return store(trace, x, emit(trace, "zeros_like", (x, None), x.shape, x.dtype))


@rule(methods=("tolist", "numpy"))
def tolist(trace: Trace, input: object) -> object:
    """The numbers of a tensor as Python's; of data, a list that rows may be split by."""
    from codegen.graph.groups import Counts

    x = tensor(trace, input)
    if trace.lifting is not None and trace.lifting.holds_rows(x.value):
        return x  # numbers that are only good for an index: as they are
    if len(x.shape) != 1 or x.value in trace.constants or category(x.dtype) != Category.INTEGER:
        return item(trace, x)
    return Counts(x.value)


@rule(methods=("item", "__bool__", "__int__", "__float__"))
def item(trace: Trace, input: object) -> object:
    x = tensor(trace, input)
    if x.value in trace.constants:
        return trace.constants[x.value]
    number = None if trace.lifting is None else trace.lifting.number(x.value)
    if number is not None:
        return number
    if x.value.everywhere is not None:
        return x.value.everywhere
    data_dependent(trace, "a Python value read from a tensor")


def augmented(trace: Trace, op: str, left: Tensor, right: object) -> Tensor:
    """`left op= right`, where left is a tensor."""
    if op not in BINARY:
        fail(trace, "unknown-op", f"the operator `{op}=` on a tensor is not known")
    from codegen.graph.tensor_ops import binary

    new = binary(trace, op, Tensor(left.value), right)
    assert isinstance(new, Tensor)
    return store(trace, left, new)
