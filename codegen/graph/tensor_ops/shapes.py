"""Shape and type arithmetic that many rules share. Sizes are symbols with a value: values decide, expressions are carried."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from codegen.graph.scalars import apply, product, same
from codegen.graph.tensor_ops.binding import Operand, Shape, fail
from codegen.graph.values import Scalar, Size, Tensor, Trace, expr_of, value_of
from ir.expressions import Apply, Dim, Expr, leaves
from ir.graph import DType
from ir.ops import Category, UnknownPromotion, category, result_type


def count(size: Size) -> int:
    """The value of a size."""
    return value_of(size)  # type: ignore[return-value]


def of_input(size: Size) -> bool:
    """Whether a size depends on that of what the model is given."""
    return isinstance(size, Scalar) and any(isinstance(leaf, Dim) for leaf in leaves(size.expr))


def add(a: Size, b: Size) -> Size:
    return apply("+", a, b)  # type: ignore[return-value]


def sub(a: Size, b: Size) -> Size:
    return apply("-", a, b)  # type: ignore[return-value]


def mul(a: Size, b: Size) -> Size:
    return apply("*", a, b)  # type: ignore[return-value]


def floordiv(a: Size, b: Size) -> Size:
    return apply("//", a, b)  # type: ignore[return-value]


def ceildiv(a: Size, b: Size) -> Size:
    """a / b rounded up; exact division where the expressions show it."""
    down = floordiv(a, b)
    if same(mul(down, b), a):
        return down
    return floordiv(add(a, sub(b, 1)), b)


def numel(shape: Iterable[Size]) -> Size:
    return product(shape)


def agree(trace: Trace, a: Size, b: Size) -> Size:
    """Two sizes that have to be equal, and the one to go on with: a symbol rather than a literal, the simpler of two."""
    if count(a) != count(b):
        fail(trace, "shape-mismatch", f"sizes {count(a)} and {count(b)} do not agree")
    if a is b or same(a, b):
        return a if _weight(expr_of(a)) <= _weight(expr_of(b)) else b
    trace.agreements.append((a, b, trace.span))
    if isinstance(a, int) or isinstance(b, int):
        return b if isinstance(a, int) else a
    return a if _weight(expr_of(a)) <= _weight(expr_of(b)) else b


def _weight(expr: Expr) -> int:
    return 1 + sum(_weight(arg) for arg in expr.args) if isinstance(expr, Apply) else 1


def broadcast(trace: Trace, *shapes: Shape) -> Shape:
    """The shape that all shapes stretch to."""
    rank = max((len(shape) for shape in shapes), default=0)
    result: list[Size] = []
    for axis in range(-rank, 0):
        sizes = [shape[axis] for shape in shapes if len(shape) >= -axis]
        wide = [size for size in sizes if count(size) != 1]
        if not wide:
            result.append(next((size for size in sizes if isinstance(size, Scalar)), sizes[0]))
            continue
        size = wide[0]
        for other in wide[1:]:
            size = agree(trace, size, other)
        for narrow in sizes:
            if isinstance(narrow, Scalar) and narrow.value == 1:
                trace.agreements.append((narrow, 1, trace.span))
        result.append(size)
    return tuple(result)


def check_broadcast(trace: Trace, small: Shape, large: Shape) -> None:
    """A CompileError unless `small` stretches to `large`."""
    together = broadcast(trace, small, large)
    if [count(a) for a in together] != [count(b) for b in large]:
        fail(trace, "shape-mismatch", f"{shown(small)} does not broadcast to {shown(large)}")


def shown(shape: Shape) -> str:
    return "[" + ", ".join(str(count(size)) for size in shape) + "]"


def shape_of(x: Operand) -> Shape:
    return x.shape if isinstance(x, Tensor) else ()


def result(trace: Trace, operands: Sequence[Operand]) -> DType:
    """The type of an elementwise operation."""
    tensors = [x for x in operands if isinstance(x, Tensor)]
    numbers = tuple(value_of(x) for x in operands if not isinstance(x, Tensor))
    wide = tuple(x.dtype for x in tensors if x.shape)
    narrow = tuple(x.dtype for x in tensors if not x.shape)
    try:
        return result_type(wide, narrow, numbers, trace.default_dtype)
    except UnknownPromotion as error:
        fail(trace, "unknown-dtype", f"the type of the result depends on the type of the model: {error}")


def is_float(dtype: DType) -> bool:
    return category(dtype) >= Category.FLOAT


def floating(trace: Trace, dtype: DType) -> DType:
    """The type of a function that has fractions as results."""
    return dtype if is_float(dtype) else trace.default_dtype


def without(shape: Shape, dims: Sequence[int], keepdim: bool) -> Shape:
    """A shape reduced over axes."""
    if keepdim:
        return tuple(1 if axis in dims else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in dims)


def replaced(shape: Shape, dim: int, size: Size) -> Shape:
    return (*shape[:dim], size, *shape[dim + 1 :])
