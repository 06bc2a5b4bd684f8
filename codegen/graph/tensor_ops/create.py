"""Tensors out of nothing, and constants of types."""

from __future__ import annotations

from codegen.graph.objects import Foreign, Range, container_expr
from codegen.graph.scalars import apply
from codegen.graph.tensor_ops.binding import (
    Shape,
    data_dependent,
    emit,
    fail,
    number,
    operand,
    rule,
    sizes,
    tensor,
)
from codegen.graph.tensor_ops.binding import (
    dtype as check_dtype,
)
from codegen.graph.tensor_ops.elementwise import cast
from codegen.graph.tensor_ops.shapes import ceildiv
from codegen.graph.tensor_ops.writing import store
from codegen.graph.values import Scalar, Size, Tensor, Trace, value_of
from ir.expressions import Key
from ir.graph import DType
from ir.ops import Category, category


def wanted(trace: Trace, dtype: object, otherwise: DType) -> DType:
    return otherwise if dtype is None else check_dtype(trace, dtype)


def type_of_number(trace: Trace, x: object) -> DType:
    """The type that torch infers for a Python number."""
    value = value_of(x)
    return DType.BOOL if isinstance(value, bool) else DType.INT64 if isinstance(value, int) else trace.default_dtype


@rule("zeros")
def zeros(trace: Trace, *size: object, dtype: object = None) -> Tensor:
    return _filled(trace, "zeros", sizes(trace, size), wanted(trace, dtype, trace.default_dtype))


@rule("empty")
def empty(trace: Trace, *size: object, dtype: object = None) -> Tensor:
    """What is not written before it is read is undefined: zeros are as good as anything, but nobody may count on them."""
    return _undefined(zeros(trace, *size, dtype=dtype))


@rule(methods=("new_empty",))
def new_empty(trace: Trace, input: object, *size: object, dtype: object = None) -> Tensor:
    return _undefined(new_zeros(trace, input, *size, dtype=dtype))


def _undefined(made: Tensor) -> Tensor:
    made.value.everywhere = None
    return made


@rule("ones")
def ones(trace: Trace, *size: object, dtype: object = None) -> Tensor:
    return _filled(trace, "ones", sizes(trace, size), wanted(trace, dtype, trace.default_dtype))


def _filled(trace: Trace, op: str, shape: Shape, dtype: DType) -> Tensor:
    return emit(trace, op, (shape, dtype), shape, dtype)


@rule("full")
def full(trace: Trace, size: object, fill_value: object, *, dtype: object = None) -> Tensor:
    value = operand(trace, fill_value)
    inferred = value.dtype if isinstance(value, Tensor) else type_of_number(trace, value)
    shape, kind = sizes(trace, (size,)), wanted(trace, dtype, inferred)
    return emit(trace, "full", (shape, value, kind), shape, kind)


@rule(methods=("new_zeros",))
def new_zeros(trace: Trace, input: object, *size: object, dtype: object = None) -> Tensor:
    return _filled(trace, "zeros", sizes(trace, size), wanted(trace, dtype, tensor(trace, input).dtype))


@rule(methods=("new_ones",))
def new_ones(trace: Trace, input: object, *size: object, dtype: object = None) -> Tensor:
    return _filled(trace, "ones", sizes(trace, size), wanted(trace, dtype, tensor(trace, input).dtype))


@rule(methods=("new_full",))
def new_full(trace: Trace, input: object, size: object, fill_value: object, *, dtype: object = None) -> Tensor:
    return full(trace, size, fill_value, dtype=wanted(trace, dtype, tensor(trace, input).dtype))


@rule(methods=("new_tensor",))
def new_tensor(trace: Trace, input: object, data: object, *, dtype: object = None) -> Tensor:
    return literal(trace, data, dtype=wanted(trace, dtype, tensor(trace, input).dtype))


@rule("zeros_like", "empty_like")
def zeros_like(trace: Trace, input: object, *, dtype: object = None) -> Tensor:
    x = tensor(trace, input)
    return emit(trace, "zeros_like", (x, _changed(trace, x, dtype)), x.shape, wanted(trace, dtype, x.dtype))


@rule("ones_like")
def ones_like(trace: Trace, input: object, *, dtype: object = None) -> Tensor:
    x = tensor(trace, input)
    return emit(trace, "ones_like", (x, _changed(trace, x, dtype)), x.shape, wanted(trace, dtype, x.dtype))


@rule("full_like")
def full_like(trace: Trace, input: object, fill_value: object, *, dtype: object = None) -> Tensor:
    x, value = tensor(trace, input), operand(trace, fill_value)
    return emit(trace, "full_like", (x, value, _changed(trace, x, dtype)), x.shape, wanted(trace, dtype, x.dtype))


def _changed(trace: Trace, x: Tensor, dtype: object) -> DType | None:
    return None if dtype is None or dtype is x.dtype else check_dtype(trace, dtype)


@rule("arange")
def arange(trace: Trace, start: object, end: object = None, step: object = 1, *, dtype: object = None) -> Tensor:
    if end is None:
        start, end = 0, start
    numbers = tuple(number(trace, x) for x in (start, end, step))
    whole = all(isinstance(value_of(x), int) for x in numbers)
    kind = wanted(trace, dtype, DType.INT64 if whole else trace.default_dtype)
    length = _arange_length(trace, *numbers, whole=whole)
    asked = None if whole and kind is DType.INT64 else kind
    return emit(trace, "arange", (*numbers, asked), (length,), kind)


def _arange_length(trace: Trace, start: object, end: object, step: object, *, whole: bool) -> Size:
    if value_of(step) == 0:
        fail(trace, "invalid-op", "`torch.arange` with a step of 0")
    distance = apply("-", end, start)  # type: ignore[arg-type]
    if not whole:
        length = apply("ceil", apply("/", distance, step))  # type: ignore[arg-type]
    elif value_of(step) == 1:
        length = distance
    elif value_of(step) > 0:  # type: ignore[operator]
        length = ceildiv(distance, step)  # type: ignore[arg-type]
    else:
        length = apply("-", 0, apply("//", distance, apply("neg", step)))  # type: ignore[arg-type]
    if value_of(length) < 0:  # type: ignore[operator]
        fail(trace, "invalid-op", "`torch.arange` has its end before its start")
    return length  # type: ignore[return-value]


@rule("linspace")
def linspace(trace: Trace, start: object, end: object, steps: object, *, dtype: object = None) -> Tensor:
    length = sizes(trace, (steps,))
    kind = wanted(trace, dtype, trace.default_dtype)
    return emit(trace, "linspace", (number(trace, start), number(trace, end), length[0], kind), length, kind)


@rule("eye")
def eye(trace: Trace, n: object, m: object = None, *, dtype: object = None) -> Tensor:
    shape = sizes(trace, (n, n if m is None else m))
    kind = wanted(trace, dtype, trace.default_dtype)
    return emit(trace, "eye", (*shape, kind), shape, kind)


@rule("tensor", "as_tensor", "asarray", "from_numpy", "scalar_tensor")
def literal(trace: Trace, data: object, *, dtype: object = None) -> Tensor:
    """A tensor of numbers written out; of a tensor, itself as another type."""
    if isinstance(data, Tensor):
        return cast(trace, data, wanted(trace, dtype, data.dtype))
    if isinstance(data, Range):
        return arange(trace, data.start, data.stop, data.step, dtype=dtype)
    computed = _computed(trace, data, dtype)
    if computed is not None:
        return computed
    if isinstance(data, (list, tuple)) and (found := [x for x in _leaves(data) if isinstance(x, Tensor)]):
        return _stacked(trace, data, found, dtype)
    shape = _literal_shape(trace, data)
    kind = wanted(trace, dtype, _literal_type(trace, data))
    made = emit(trace, "tensor", (_whole(data) or _frozen(trace, data), kind), shape, kind)
    if not isinstance(data, (list, tuple)):
        trace.constants[made.value] = data
    return made


def _whole(data: object) -> Scalar | None:
    """A list of numbers of the configuration, as it stands there."""
    expr = container_expr(data)
    if not isinstance(expr, Key) or not isinstance(data, list):
        return None
    kept = all(isinstance(x, Scalar) and x.expr == Key((*expr.path, at)) for at, x in enumerate(data))
    return Scalar(tuple(x.value for x in data), expr) if kept and data else None  # type: ignore[arg-type]


def _computed(trace: Trace, data: object, dtype: object) -> Tensor | None:
    """A list that follows from the place of its elements, none of which is looked at."""
    from codegen.graph import formulas  # which makes tensors

    if not isinstance(data, formulas.Sequence) or data.changed() or not formulas.can_be_computed(data.formula):
        return None
    kind = wanted(trace, dtype, _literal_type(trace, list(data.values.values())))
    return formulas.tensor_of(trace, data.formula, kind) if category(kind) is Category.FLOAT else None


def _stacked(trace: Trace, data: object, found: list[Tensor], dtype: object) -> Tensor:
    """A list of tensors without axes."""
    if any(x.shape for x in found) or not isinstance(data, (list, tuple)) or len(found) != len(data):
        data_dependent(trace, "a literal tensor with tensors in it")
    kind = wanted(trace, dtype, found[0].dtype)
    parts = tuple(cast(trace, x, kind) for x in found)
    return emit(trace, "stack", (parts, -1), (len(parts),), kind)


def _leaves(data: object) -> list[object]:
    return [leaf for item in data for leaf in _leaves(item)] if isinstance(data, (list, tuple)) else [data]


def _frozen(trace: Trace, data: object) -> object:
    if isinstance(data, (list, tuple)):
        return tuple(_frozen(trace, item) for item in data)
    return number(trace, data)


def _literal_shape(trace: Trace, data: object) -> Shape:
    if not isinstance(data, (list, tuple)):
        return ()
    inner = [_literal_shape(trace, item) for item in data]
    if any(shape != inner[0] for shape in inner):
        fail(trace, "invalid-op", "a literal tensor whose rows differ in length")
    return (len(data), *(inner[0] if inner else ()))


def _literal_type(trace: Trace, data: object) -> DType:
    kinds = [type_of_number(trace, leaf) for leaf in _leaves(data)]
    if not kinds or any(kind not in (DType.BOOL, DType.INT64) for kind in kinds):
        return trace.default_dtype
    return DType.INT64 if DType.INT64 in kinds else DType.BOOL


class Finfo(Foreign):
    """`torch.finfo(dtype)`: its numbers depend on the type that the model is loaded in, so they are operations."""

    classes = ("torch.finfo",)
    OPS = {
        "min": "finfo_min",
        "max": "finfo_max",
        "eps": "finfo_eps",
        "tiny": "finfo_tiny",
        "smallest_normal": "finfo_tiny",
    }

    def __init__(self, trace: Trace, dtype: DType):
        self.trace, self.dtype = trace, dtype

    def get(self, interpreter: object, name: str) -> object:
        return emit(self.trace, self.OPS[name], (self.dtype,), (), self.dtype)


class Iinfo(Foreign):
    """`torch.iinfo(dtype)`."""

    classes = ("torch.iinfo",)
    BITS = {DType.INT64: 63, DType.INT32: 31, DType.INT16: 15, DType.INT8: 7}

    def __init__(self, dtype: DType):
        self.dtype = dtype

    def get(self, interpreter: object, name: str) -> object:
        if self.dtype is DType.UINT8:
            return {"min": 0, "max": 255, "bits": 8}[name]
        bits = self.BITS[self.dtype]
        return {"min": -(2**bits), "max": 2**bits - 1, "bits": bits + 1}[name]


@rule("finfo")
def finfo(trace: Trace, type: object = None) -> Finfo:
    return Finfo(trace, trace.default_dtype if type is None else check_dtype(trace, type))


@rule("iinfo")
def iinfo(trace: Trace, type: object) -> Iinfo:
    return Iinfo(check_dtype(trace, type))


def unknowable(trace: Trace, shape: Shape, kind: DType) -> Tensor:
    """Random numbers: what fills a parameter before a checkpoint does. Nothing prints them, so nothing can depend on them."""
    if trace.default_dtype is not DType.MODEL:
        fail(trace, "unknown-op", "a random tensor", "a compiled model computes the same every time")
    return trace.emit("random", (shape, kind), (shape, kind))[0]


@rule("rand", "randn")
def random(trace: Trace, *size: object, dtype: object = None) -> Tensor:
    return unknowable(trace, sizes(trace, size), wanted(trace, dtype, trace.default_dtype))


@rule("rand_like", "randn_like", "bernoulli", methods=("bernoulli",))
def random_like(trace: Trace, input: object, *, dtype: object = None) -> Tensor:
    x = tensor(trace, input)
    return unknowable(trace, x.shape, wanted(trace, dtype, x.dtype))


@rule("randint")
def random_integers(trace: Trace, low: object, high: object, size: object = None, *, dtype: object = None) -> Tensor:
    shape = sizes(trace, (high if size is None else size,))
    return unknowable(trace, shape, wanted(trace, dtype, DType.INT64))


@rule("normal", methods=("normal_", "uniform_", "trunc_normal_", "bernoulli_", "exponential_"))
def random_(trace: Trace, input: object, *args: object, mean: object = 0, std: object = 1) -> Tensor:
    x = tensor(trace, input)
    return store(trace, x, unknowable(trace, x.shape, x.dtype))


@rule("tril_indices", "triu_indices")
def triangle(trace: Trace, row: object, col: object, offset: object = 0) -> Tensor:
    fail(trace, "unknown-op", "the indices of a triangle are not known", "a mask of `torch.tril` says the same")
