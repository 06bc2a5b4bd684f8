"""`x[...]`, and everything that picks or writes elements by index."""

from __future__ import annotations

from codegen.graph.scalars import apply, product
from codegen.graph.tensor_ops.binding import (
    Named,
    Operand,
    Shape,
    canonical,
    data_dependent,
    emit,
    fail,
    flag,
    kind_of,
    operand,
    plain_dim,
    rule,
    size,
    tensor,
    text,
)
from codegen.graph.tensor_ops.create import literal
from codegen.graph.tensor_ops.elementwise import cast, masked_fill
from codegen.graph.tensor_ops.shapes import (
    add,
    agree,
    broadcast,
    ceildiv,
    check_broadcast,
    count,
    of_input,
    replaced,
    shape_of,
    shown,
    sub,
)
from codegen.graph.tensor_ops.writing import Derived, store, view, write
from codegen.graph.values import Scalar, Size, Tensor, Trace, value_of
from ir.expressions import Dim, leaves
from ir.graph import DType
from ir.ops import Category, category

Index = tuple[object, ...]  # sizes, slices of sizes, None, Ellipsis, tensors of integers

HITS = 4099
"""How many elements a tensor is taken to have that are not zero: a size that only a running model knows."""


def getitem(trace: Trace, x: Tensor, index: object) -> Tensor:
    """`x[index]`; a view where the index is made of numbers and slices."""
    part = None if trace.lifting is None else trace.lifting.part(x, index)
    if part is not None:
        return part
    items = _placed(trace, _items(trace, index))
    if any(isinstance(item, Tensor) and item.dtype is DType.BOOL for item in items):
        data_dependent(trace, "the number of elements that a mask selects")
    items = _trimmed(items)
    if not items:
        made = Tensor(x.value)
        return view(trace, x, made, Derived(lambda t, base: Tensor(base.value), lambda t, base, new: new))
    if _mixed(items, len(x.shape)):
        return _in_two_steps(trace, x, items)
    shape = index_shape(trace, x.shape, items)
    made = emit(trace, "getitem", (x, items), shape, x.dtype)
    if any(isinstance(item, Tensor) for item in items):
        return made
    return view(
        trace,
        x,
        made,
        Derived(
            lambda t, base: emit(t, "getitem", (base, items), shape, base.dtype),
            lambda t, base, new: emit(t, "setitem", (base, items, new), base.shape, base.dtype),
        ),
    )


def all_or_none(trace: Trace, x: Tensor, mask: Tensor, holds: bool) -> Tensor:
    """`x[mask]` of a mask that holds everywhere or nowhere: all elements along the axes of the mask, or none."""
    axes = len(mask.shape)
    rows = product(x.shape[:axes]) if holds else 0
    shape = (rows, *x.shape[axes:])
    if not holds:
        return emit(trace, "zeros", (shape, x.dtype), shape, x.dtype)
    if axes == 1:
        return Tensor(x.value)
    return emit(trace, "reshape", (x, shape), shape, x.dtype)


def setitem(trace: Trace, x: Tensor, index: object, value: object) -> None:
    """`x[index] = value`."""
    items = _placed(trace, _items(trace, index))
    new = literal(trace, value, dtype=x.dtype) if isinstance(value, (list, tuple)) else operand(trace, value)
    if any(isinstance(item, Tensor) and item.dtype is DType.BOOL for item in items):
        _set_masked(trace, x, items, new)
        return
    if _mixed(items, len(x.shape)):
        fail(trace, "unknown-op", "a write by numbers and index tensors with a slice between them")
    items = _trimmed(items)
    shape = index_shape(trace, x.shape, items)
    if len(items) == len(x.shape):
        shape = (*shape[:-1], *_end_of_data(items[-1], shape[-1:]))
    if len(shape_of(new)) > len(shape):  # leading axes of size 1 may be left over
        lead = len(shape_of(new)) - len(shape)
        if isinstance(new, Tensor) and all(count(s) == 1 for s in new.shape[:lead]):
            new = emit(trace, "reshape", (new, new.shape[lead:]), new.shape[lead:], new.dtype)
    check_broadcast(trace, shape_of(new), shape)
    write(trace, x, emit(trace, "setitem", (x, items, new), x.shape, x.dtype).value)


def _end_of_data(item: object, size: Shape) -> Shape:
    """How much `[:n]` writes, where the data decides n: there is room for that, or the source fails."""
    end = item.stop if isinstance(item, slice) and item.start is None else None
    dims = leaves(end.expr) if isinstance(end, Scalar) else ()
    of_data = any(isinstance(leaf, Dim) and leaf.name.startswith("hits") for leaf in dims)
    return (end,) if of_data and isinstance(end, Scalar) else size


def _set_masked(trace: Trace, x: Tensor, items: Index, new: Operand) -> None:
    """A write where a mask holds: a choice between old and new."""
    if len(items) > 1 and all(item == slice(None) or item is Ellipsis for item in items[1:]):
        items = items[:1]
    mask = items[0]
    if len(items) != 1 or not isinstance(mask, Tensor) or len(mask.shape) > len(x.shape):
        fail(trace, "unknown-op", "a write by a mask together with other indices")
    if len(shape_of(new)) > len(x.shape) - len(mask.shape):
        data_dependent(trace, "what is written where a mask holds")
    for _ in range(len(x.shape) - len(mask.shape)):
        shape = (*mask.shape, 1)
        mask = emit(trace, "unsqueeze", (mask, -1), shape, mask.dtype)
    if isinstance(new, Tensor) and new.shape:
        made = emit(trace, "where", (mask, cast(trace, new, x.dtype), x), x.shape, x.dtype)
    else:
        made = masked_fill(trace, Tensor(x.value), mask, new)
    store(trace, x, made)


def _placed(trace: Trace, items: Index) -> Index:
    """The index with, for a mask of one iteration of a loop that runs once for all, the places where it holds."""
    if trace.lifting is None:
        return items
    found = [trace.lifting.places(item.value) if isinstance(item, Tensor) else None for item in items]
    return tuple(part for item, places in zip(items, found, strict=True) for part in (places or (item,)))


def _items(trace: Trace, index: object) -> Index:
    """The index as a tuple of what an index may hold."""
    items = index if isinstance(index, tuple) else (index,)
    return tuple(_item(trace, item) for item in items)


def _item(trace: Trace, item: object) -> object:
    match item:
        case None:
            return None
        case slice():
            return slice(*(_bound(trace, bound) for bound in (item.start, item.stop, item.step)))
        case Tensor():
            if category(item.dtype) > Category.INTEGER:
                fail(trace, "invalid-op", "a float tensor as an index")
            return item
        case list() | tuple():
            return literal(trace, item, dtype=DType.INT64)
        case _ if item is Ellipsis:
            return item
        case _ if isinstance(value_of(item), int) and not isinstance(value_of(item), bool):
            return item
        case _:
            fail(trace, "unknown-op", f"a {kind_of(item)} as an index")


def _bound(trace: Trace, bound: object) -> Size | None:
    return None if value_of(bound) is None else size(trace, bound)


def _trimmed(items: Index) -> Index:
    """Without what says nothing at the end: an ellipsis, or full slices that no ellipsis counts from the back."""
    if items and items[-1] is Ellipsis:
        items = items[:-1]
    while items and _is_full(items[-1]) and not any(item is Ellipsis for item in items):
        items = items[:-1]
    return items if any(item is not Ellipsis and not _is_full(item) for item in items) else ()


def _is_full(item: object) -> bool:
    return isinstance(item, slice) and item.stop is None and _is(item.start, 0) and _is(item.step, 1)


def _is(bound: object, default: int) -> bool:
    """Whether a bound of a slice is what it is when it is left out."""
    return bound is None or (type(bound) is int and bound == default)


def _expanded(items: Index, rank: int) -> Index:
    """The ellipsis as full slices, one item for every axis."""
    consumed = sum(1 for item in items if item is not None and item is not Ellipsis)
    rest = (slice(None),) * max(rank - consumed, 0)
    if Ellipsis not in [item for item in items if not isinstance(item, Tensor)]:
        return (*items, *rest)
    at = next(i for i, item in enumerate(items) if item is Ellipsis)
    return (*items[:at], *rest, *items[at + 1 :])


def _mixed(items: Index, rank: int) -> bool:
    """Numbers and index tensors that are not side by side: torch and numpy arrange the result differently."""
    full = _expanded(items, rank)
    marks = [i for i, item in enumerate(full) if isinstance(item, (Tensor, int, Scalar))]
    if not any(isinstance(full[i], Tensor) for i in marks) or all(isinstance(full[i], Tensor) for i in marks):
        return False
    return marks != list(range(marks[0], marks[-1] + 1))


def _in_two_steps(trace: Trace, x: Tensor, items: Index) -> Tensor:
    """The numbers first, then the rest, as torch does it."""
    full = _expanded(items, len(x.shape))
    whole = slice(None)
    first = tuple(item if isinstance(item, (int, Scalar)) else whole for item in full if item is not None)
    second = tuple(item for item in full if not isinstance(item, (int, Scalar)))
    return getitem(trace, getitem(trace, x, first), second)


def index_shape(trace: Trace, shape: Shape, items: Index) -> Shape:
    """The shape of `x[items]`. Index tensors stand where the first of them is, or in front if they are apart."""
    full = _expanded(items, len(shape))
    if sum(1 for item in full if item is not None) > len(shape):
        fail(trace, "invalid-op", f"too many indices for {shown(shape)}")
    picked = broadcast(trace, *(item.shape for item in full if isinstance(item, Tensor)))
    together = _adjacent(full)
    out: list[Size] = [] if together else list(picked)
    axis, placed = 0, not together
    for item in full:
        if item is None:
            out.append(1)
            continue
        if isinstance(item, slice):
            out.append(slice_length(trace, shape[axis], item))
        elif isinstance(item, Tensor):
            if not placed:
                out += picked
                placed = True
        elif not -count(shape[axis]) <= value_of(item) < count(shape[axis]):  # type: ignore[operator]
            fail(trace, "invalid-op", f"index {value_of(item)} in an axis of {count(shape[axis])}")
        axis += 1
    return tuple(out)


def _adjacent(full: Index) -> bool:
    marks = [i for i, item in enumerate(full) if isinstance(item, Tensor)]
    return bool(marks) and not any(item is None or isinstance(item, slice) for item in full[marks[0] : marks[-1] + 1])


def slice_length(trace: Trace, whole: Size, item: slice) -> Size:
    """How many elements a slice has. Which of two bounds is the lesser is decided by their values."""
    step = 1 if item.step is None else item.step
    if count(step) <= 0:
        fail(trace, "invalid-op", "a slice whose step is not positive")
    start = _clamped(whole, item.start, 0)
    stop = _clamped(whole, item.stop, whole)
    length = sub(stop, start)
    if count(length) <= 0:
        return 0
    return length if count(step) == 1 else ceildiv(length, step)


def _clamped(whole: Size, bound: Size | None, otherwise: Size) -> Size:
    if bound is None:
        return otherwise
    if count(bound) < 0:
        bound = add(whole, bound)
        return bound if count(bound) >= 0 else 0
    return bound if count(bound) < count(whole) else whole


# ----------------------------------------------------------------------------------------------------- gather, scatter


@rule("gather", methods=("gather",))
def gather(trace: Trace, input: object, dim: object, index: object, *, sparse_grad: object = False) -> Tensor:
    x, at = tensor(trace, input), tensor(trace, index)
    axis = plain_dim(trace, dim, len(x.shape))
    x = _cut(trace, x, at, axis)
    return emit(trace, "gather", (x, canonical(axis, len(x.shape)), at), at.shape, x.dtype)


def _cut(trace: Trace, x: Tensor, at: Tensor, axis: int) -> Tensor:
    """The part of `x` that an index of fewer elements reaches."""
    if len(x.shape) != len(at.shape):
        fail(trace, "shape-mismatch", f"{shown(x.shape)} is indexed by {shown(at.shape)}")
    for a, (have, need) in enumerate(zip(x.shape, at.shape, strict=True)):
        if a != axis and count(have) > count(need):
            x = getitem(trace, x, (*(slice(None),) * a, slice(None, need)))
    return x


@rule("take_along_dim", methods=("take_along_dim",))
def take_along_dim(trace: Trace, input: object, indices: object, dim: object = None) -> Tensor:
    from codegen.graph.tensor_ops.layout import expanded, flatten

    x, at = tensor(trace, input), tensor(trace, indices)
    if dim is None:
        x, at, dim = flatten(trace, x), flatten(trace, at), 0
    axis = plain_dim(trace, dim, len(x.shape))
    shape = broadcast(trace, replaced(x.shape, axis, 1), replaced(at.shape, axis, 1))
    x = expanded(trace, x, replaced(shape, axis, x.shape[axis]))
    at = expanded(trace, at, replaced(shape, axis, at.shape[axis]))
    return gather(trace, x, axis, at)


@rule("index_select", methods=("index_select",))
def index_select(trace: Trace, input: object, dim: object, index: object) -> Tensor:
    x, at = tensor(trace, input), tensor(trace, index)
    axis = plain_dim(trace, dim, len(x.shape))
    length = at.shape[0] if at.shape else 1
    return emit(trace, "index_select", (x, canonical(axis, len(x.shape)), at), replaced(x.shape, axis, length), x.dtype)


@rule("scatter", methods=("scatter",))
def scatter(
    trace: Trace,
    input: object,
    dim: object,
    index: object,
    src: object = None,
    *,
    value: object = None,
    reduce: object = None,
) -> Tensor:
    source = operand(trace, value if src is None else src)
    if reduce is not None:
        if value_of(reduce) != "add" or not isinstance(source, Tensor):
            fail(trace, "unknown-op", f"`scatter` with reduce={value_of(reduce)!r}")
        return scatter_add(trace, input, dim, index, source)
    return _scattered(trace, "scatter", input, dim, index, source)


@rule("scatter_add", methods=("scatter_add",))
def scatter_add(trace: Trace, input: object, dim: object, index: object, src: object) -> Tensor:
    return _scattered(trace, "scatter_add", input, dim, index, tensor(trace, src))


def _scattered(
    trace: Trace, op: str, input: object, dim: object, index: object, source: Operand, *more: object
) -> Tensor:
    x, at = tensor(trace, input), tensor(trace, index)
    axis = plain_dim(trace, dim, len(x.shape))
    if isinstance(source, Tensor) and source.shape:
        source = _cut(trace, source, at, -1)
    part = _cut(trace, Tensor(x.value), at, axis)
    if part.value is x.value:
        return emit(trace, op, (x, canonical(axis, len(x.shape)), at, source, *more), x.shape, x.dtype)
    made = emit(trace, op, (part, canonical(axis, len(x.shape)), at, source, *more), part.shape, x.dtype)
    whole = tuple(slice(None) if a == axis else slice(None, need) for a, need in enumerate(at.shape))
    return emit(trace, "setitem", (x, _trimmed(whole), made), x.shape, x.dtype)


@rule("scatter_reduce", methods=("scatter_reduce",))
def scatter_reduce(
    trace: Trace, input: object, dim: object, index: object, src: object, reduce: object, *, include_self: object = True
) -> Tensor:
    kind = text(trace, reduce)
    if kind not in ("sum", "prod", "mean", "amax", "amin"):
        fail(trace, "unknown-op", f"`scatter_reduce` by {kind!r}")
    source = tensor(trace, src)
    return _scattered(trace, "scatter_reduce", input, dim, index, source, kind, flag(trace, include_self))


@rule("index_add", methods=("index_add",))
def index_add(trace: Trace, input: object, dim: object, index: object, source: object, *, alpha: object = 1) -> Tensor:
    if value_of(alpha) != 1:
        fail(trace, "unknown-op", "`index_add` with a factor")
    return _indexed(trace, "index_add", input, dim, index, source)


@rule("index_copy", methods=("index_copy",))
def index_copy(trace: Trace, input: object, dim: object, index: object, source: object) -> Tensor:
    return _indexed(trace, "index_copy", input, dim, index, source)


def _indexed(trace: Trace, op: str, input: object, dim: object, index: object, source: object) -> Tensor:
    x, at, new = tensor(trace, input), tensor(trace, index), tensor(trace, source)
    axis = plain_dim(trace, dim, len(x.shape))
    if len(new.shape) != len(x.shape):
        fail(trace, "shape-mismatch", f"{shown(new.shape)} is added to {shown(x.shape)}")
    for a in range(len(x.shape)):
        agree(trace, new.shape[a], at.shape[0] if a == axis else x.shape[a])
    return emit(trace, op, (x, canonical(axis, len(x.shape)), at, cast(trace, new, x.dtype)), x.shape, x.dtype)


@rule("masked_scatter", methods=("masked_scatter",))
def masked_scatter(trace: Trace, input: object, mask: object, source: object) -> Tensor:
    x, where = tensor(trace, input), tensor(trace, mask)
    return emit(
        trace, "masked_scatter", (x, where, tensor(trace, source)), broadcast(trace, x.shape, where.shape), x.dtype
    )


@rule("masked_select", methods=("masked_select",))
def masked_select(trace: Trace, input: object, mask: object) -> Tensor:
    data_dependent(trace, "the number of elements that a mask selects")


@rule("nonzero", "argwhere", methods=("nonzero", "argwhere"))
def nonzero(trace: Trace, input: object, *, as_tuple: object = False) -> object:
    """The number of rows is a size of its own, that only a running model knows."""
    x = tensor(trace, input)
    trace.decided_by_data()
    rows = Scalar(HITS, Dim(f"hits{trace.hits}"))
    trace.hits += 1
    found = emit(trace, "nonzero", (x,), (rows, len(x.shape)), DType.INT64)
    if not flag(trace, as_tuple):
        return found
    return tuple(getitem(trace, found, (slice(None), axis)) for axis in range(len(x.shape)))


@rule("F.one_hot")
def one_hot(trace: Trace, input: object, num_classes: object = -1) -> Tensor:
    x = tensor(trace, input)
    classes = size(trace, num_classes)
    if count(classes) < 0:
        data_dependent(trace, "the number of classes of `one_hot`")
    return emit(trace, "one_hot", (x, classes), (*x.shape, classes), DType.INT64)


@rule("bucketize", methods=())
def bucketize(
    trace: Trace, input: object, boundaries: object, *, out_int32: object = False, right: object = False
) -> Tensor:
    x = operand(trace, input)
    kind = DType.INT32 if flag(trace, out_int32) else DType.INT64
    if kind is DType.INT32 or not isinstance(x, Tensor):
        fail(trace, "unknown-op", "`bucketize` in this form")
    return emit(trace, "bucketize", (x, tensor(trace, boundaries), flag(trace, right)), x.shape, kind)


@rule("searchsorted")
def searchsorted(
    trace: Trace, sorted_sequence: object, input: object, *, right: object = False, side: object = None
) -> Tensor:
    x, known = tensor(trace, input), tensor(trace, sorted_sequence)
    after = flag(trace, right) or value_of(side) == "right"
    if len(known.shape) != 1:
        fail(trace, "unknown-op", "`searchsorted` in rows")
    return emit(trace, "searchsorted", (known, x, after), x.shape, DType.INT64)


# --------------------------------------------------------------------------------------------------------------- order


@rule("topk", methods=("topk",))
def topk(
    trace: Trace, input: object, k: object, dim: object = -1, largest: object = True, sorted: object = True
) -> Named:
    x = tensor(trace, input)
    axis, wanted = plain_dim(trace, dim, len(x.shape)), size(trace, k)
    if of_input(x.shape[axis]) and not of_input(wanted):
        wanted = size(trace, apply("min", wanted, x.shape[axis]))  # a short sequence has no more than that
    if count(wanted) > count(x.shape[axis]):
        fail(trace, "shape-mismatch", f"the {count(wanted)} greatest of {count(x.shape[axis])}")
    shape = replaced(x.shape, axis, wanted)
    args = (x, wanted, canonical(axis, len(x.shape)), flag(trace, largest), flag(trace, sorted))
    return Named(trace.emit("topk", args, (shape, x.dtype), (shape, DType.INT64)))


@rule("sort", methods=("sort",))
def sort(trace: Trace, input: object, dim: object = -1, descending: object = False, stable: object = False) -> Named:
    x = tensor(trace, input)
    axis = plain_dim(trace, dim, len(x.shape))
    args = (x, canonical(axis, len(x.shape)), flag(trace, descending), flag(trace, stable))
    return Named(trace.emit("sort", args, (x.shape, x.dtype), (x.shape, DType.INT64)))


@rule("argsort", methods=("argsort",))
def argsort(
    trace: Trace, input: object, dim: object = -1, descending: object = False, stable: object = False
) -> Tensor:
    x = tensor(trace, input)
    axis = plain_dim(trace, dim, len(x.shape))
    args = (x, canonical(axis, len(x.shape)), flag(trace, descending), flag(trace, stable))
    return emit(trace, "argsort", args, x.shape, DType.INT64)


@rule("unique", "unique_consecutive", "bincount", methods=("unique", "bincount"))
def unique(trace: Trace, *args: object, minlength: object = None, return_inverse: object = None) -> Tensor:
    data_dependent(trace, "the shape of the result")
