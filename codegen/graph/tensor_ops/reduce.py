"""Reductions and running sums."""

from __future__ import annotations

from codegen.graph.tensor_ops.binding import (
    Named,
    canonical,
    emit,
    fail,
    flag,
    number,
    plain_dim,
    plain_dims,
    rule,
    tensor,
)
from codegen.graph.tensor_ops.binding import (
    dtype as check_dtype,
)
from codegen.graph.tensor_ops.elementwise import elementwise
from codegen.graph.tensor_ops.shapes import floating, without
from codegen.graph.values import Tensor, Trace, value_of
from ir.graph import DType
from ir.ops import Category, category

Dims = int | tuple[int, ...] | None


def axes(trace: Trace, x: Tensor, dim: object) -> tuple[Dims, tuple[int, ...]]:
    """The axes as an operation has them, and as a tuple counted from the front."""
    rank = len(x.shape)
    if dim is None or dim == () or dim == []:
        return None, tuple(range(rank))
    dims = plain_dims(trace, dim, rank) if rank else ()
    if not isinstance(dim, (list, tuple)):
        return canonical(dims[0], rank) if rank else None, dims
    written = tuple(canonical(axis, rank) for axis in dims)
    return (written[0] if len(written) == 1 else written), dims


def reduced(trace: Trace, op: str, x: Tensor, dim: object, keepdim: object, dtype: DType, *more: object) -> Tensor:
    written, dims = axes(trace, x, dim)
    keep = flag(trace, keepdim) and written is not None
    return emit(trace, op, (x, written, keep, *more), without(x.shape, dims, keep), dtype)


@rule("sum", methods=("sum",))
def sum_(trace: Trace, input: object, dim: object = None, keepdim: object = False, *, dtype: object = None) -> Tensor:
    x = tensor(trace, input)
    kind, asked = _accumulated(trace, x, dtype)
    return reduced(trace, "sum", x, dim, keepdim, kind, asked)


@rule("prod", methods=("prod",))
def prod(trace: Trace, input: object, dim: object = None, keepdim: object = False, *, dtype: object = None) -> Tensor:
    x = tensor(trace, input)
    kind, asked = _accumulated(trace, x, dtype)
    return reduced(trace, "prod", x, dim, keepdim, kind, asked)


def _accumulated(trace: Trace, x: Tensor, dtype: object) -> tuple[DType, DType | None]:
    """The type of a sum, and the type that was asked for if that is another."""
    if dtype is not None:
        asked = check_dtype(trace, dtype)
        return asked, None if asked is x.dtype else asked
    return (DType.INT64 if category(x.dtype) <= Category.INTEGER else x.dtype), None


@rule("mean", methods=("mean",))
def mean(trace: Trace, input: object, dim: object = None, keepdim: object = False, *, dtype: object = None) -> Tensor:
    x = tensor(trace, input)
    kind = x.dtype if dtype is None else check_dtype(trace, dtype)
    if category(kind) < Category.FLOAT:
        fail(trace, "invalid-op", "the mean of integers")
    return reduced(trace, "mean", x, dim, keepdim, kind, None if kind is x.dtype else kind)


def _spread(
    trace: Trace, op: str, input: object, dim: object, unbiased: object, correction: object, keepdim: object
) -> Tensor:
    x = tensor(trace, input)
    if isinstance(value_of(dim), bool):  # var(x, unbiased)
        dim, unbiased = None, dim
    ddof = 1 if flag(trace, unbiased) else 0
    if correction is not None:
        ddof = number(trace, correction)  # type: ignore[assignment]
    return reduced(trace, op, x, dim, keepdim, x.dtype, ddof)


@rule("var", methods=("var",))
def var(
    trace: Trace,
    input: object,
    dim: object = None,
    unbiased: object = True,
    keepdim: object = False,
    *,
    correction: object = None,
) -> Tensor:
    return _spread(trace, "var", input, dim, unbiased, correction, keepdim)


@rule("std", methods=("std",))
def std(
    trace: Trace,
    input: object,
    dim: object = None,
    unbiased: object = True,
    keepdim: object = False,
    *,
    correction: object = None,
) -> Tensor:
    return _spread(trace, "std", input, dim, unbiased, correction, keepdim)


@rule("var_mean")
def var_mean(
    trace: Trace,
    input: object,
    dim: object = None,
    unbiased: object = True,
    keepdim: object = False,
    *,
    correction: object = None,
) -> tuple[Tensor, Tensor]:
    spread = _spread(trace, "var", input, dim, unbiased, correction, keepdim)
    return spread, mean(trace, input, dim, keepdim)


@rule("amax", methods=("amax",))
def amax(trace: Trace, input: object, dim: object = None, keepdim: object = False) -> Tensor:
    x = tensor(trace, input)
    return reduced(trace, "amax", x, dim, keepdim, x.dtype)


@rule("amin", methods=("amin",))
def amin(trace: Trace, input: object, dim: object = None, keepdim: object = False) -> Tensor:
    x = tensor(trace, input)
    return reduced(trace, "amin", x, dim, keepdim, x.dtype)


@rule("max", methods=("max",))
def max_(trace: Trace, input: object, dim: object = None, keepdim: object = False, *, other: object = None) -> object:
    return _extreme(trace, "max", input, dim, keepdim, other)


@rule("min", methods=("min",))
def min_(trace: Trace, input: object, dim: object = None, keepdim: object = False, *, other: object = None) -> object:
    return _extreme(trace, "min", input, dim, keepdim, other)


def _extreme(trace: Trace, op: str, input: object, dim: object, keepdim: object, other: object) -> object:
    """Three functions of one name: of two tensors, along an axis with indices, or of all elements."""
    x = tensor(trace, input)
    second = dim if isinstance(dim, Tensor) else other
    if second is not None:
        return elementwise(trace, "maximum" if op == "max" else "minimum", x, tensor(trace, second))
    if dim is None:
        return reduced(trace, "amax" if op == "max" else "amin", x, None, False, x.dtype)
    axis, keep = plain_dim(trace, dim, len(x.shape)), flag(trace, keepdim)
    shape = without(x.shape, (axis,), keep)
    args = (x, canonical(axis, len(x.shape)), keep)
    return Named(trace.emit(op + "_dim", args, (shape, x.dtype), (shape, DType.INT64)))


class Extremes(Named):
    fields = ("min", "max")


@rule("aminmax", methods=("aminmax",))
def aminmax(trace: Trace, input: object, *, dim: object = None, keepdim: object = False) -> Extremes:
    x = tensor(trace, input)
    written, dims = axes(trace, x, dim)
    keep = flag(trace, keepdim) and written is not None
    shape = without(x.shape, dims, keep)
    return Extremes(trace.emit("aminmax", (x, written, keep), (shape, x.dtype), (shape, x.dtype)))


@rule("argmax", methods=("argmax",))
def argmax(trace: Trace, input: object, dim: object = None, keepdim: object = False) -> Tensor:
    return reduced(trace, "argmax", tensor(trace, input), dim, keepdim, DType.INT64)


@rule("argmin", methods=("argmin",))
def argmin(trace: Trace, input: object, dim: object = None, keepdim: object = False) -> Tensor:
    return reduced(trace, "argmin", tensor(trace, input), dim, keepdim, DType.INT64)


@rule("all", methods=("all",))
def all_(trace: Trace, input: object, dim: object = None, keepdim: object = False) -> Tensor:
    return reduced(trace, "all", tensor(trace, input), dim, keepdim, DType.BOOL)


@rule("any", methods=("any",))
def any_(trace: Trace, input: object, dim: object = None, keepdim: object = False) -> Tensor:
    return reduced(trace, "any", tensor(trace, input), dim, keepdim, DType.BOOL)


@rule("logsumexp", methods=("logsumexp",))
def logsumexp(trace: Trace, input: object, dim: object, keepdim: object = False) -> Tensor:
    x = tensor(trace, input)
    return reduced(trace, "logsumexp", x, dim, keepdim, floating(trace, x.dtype))


@rule("norm", "functional.norm", methods=("norm",))
def norm(
    trace: Trace, input: object, p: object = "fro", dim: object = None, keepdim: object = False, dtype: object = None
) -> Tensor:
    order = 2 if value_of(p) in ("fro", None) else p
    return vector_norm(trace, input, order, dim, keepdim, dtype=dtype)


@rule("linalg.vector_norm")
def vector_norm(
    trace: Trace, input: object, ord: object = 2, dim: object = None, keepdim: object = False, *, dtype: object = None
) -> Tensor:
    x = tensor(trace, input)
    if dtype is not None and dtype is not x.dtype:
        fail(trace, "unknown-op", "a norm in another type than its operand's")
    written, dims = axes(trace, x, dim)
    keep = flag(trace, keepdim) and written is not None
    args = (x, number(trace, ord), written, keep)
    return emit(trace, "norm", args, without(x.shape, dims, keep), x.dtype)


@rule("linalg.norm")
def linalg_norm(trace: Trace, input: object, ord: object = None, dim: object = None, keepdim: object = False) -> Tensor:
    if isinstance(dim, (list, tuple)) and len(dim) > 1 and ord is not None:
        fail(trace, "unknown-op", "the norm of matrices")
    return vector_norm(trace, input, 2 if ord is None else ord, dim, keepdim)


@rule("cumsum", methods=("cumsum",))
def cumsum(trace: Trace, input: object, dim: object, *, dtype: object = None) -> Tensor:
    return _running(trace, "cumsum", input, dim, dtype)


@rule("cumprod", methods=("cumprod",))
def cumprod(trace: Trace, input: object, dim: object, *, dtype: object = None) -> Tensor:
    return _running(trace, "cumprod", input, dim, dtype)


def _running(trace: Trace, op: str, input: object, dim: object, dtype: object) -> Tensor:
    x = tensor(trace, input)
    kind, asked = _accumulated(trace, x, dtype)
    axis = canonical(plain_dim(trace, dim, len(x.shape)), len(x.shape))
    return emit(trace, op, (x, axis, asked), x.shape, kind)


@rule("cummax", methods=("cummax",))
def cummax(trace: Trace, input: object, dim: object) -> Named:
    x = tensor(trace, input)
    axis = canonical(plain_dim(trace, dim, len(x.shape)), len(x.shape))
    return Named(trace.emit("cummax", (x, axis), (x.shape, x.dtype), (x.shape, DType.INT64)))
