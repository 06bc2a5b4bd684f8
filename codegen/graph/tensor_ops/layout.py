"""The same elements in another arrangement: reshapes, transposes, joins, parts, padding."""

from __future__ import annotations

from codegen.graph.groups import Joined
from codegen.graph.objects import Gathered, Grown
from codegen.graph.scalars import apply, same, total
from codegen.graph.tensor_ops.binding import (
    Shape,
    canonical,
    data_dependent,
    emit,
    fail,
    integer,
    number,
    plain_dim,
    plain_dims,
    rule,
    size,
    sizes,
    tensor,
    tensors,
    text,
)
from codegen.graph.tensor_ops.shapes import (
    add,
    agree,
    broadcast,
    ceildiv,
    count,
    floordiv,
    mul,
    numel,
    replaced,
    result,
    shown,
    sub,
)
from codegen.graph.tensor_ops.writing import Derived, view
from codegen.graph.values import Size, Tensor, Trace, value_of
from ir.graph import DType


@rule("reshape", methods=("view", "reshape"))
def reshape(trace: Trace, input: object, *shape: object) -> Tensor:
    x = tensor(trace, input)
    if len(shape) == 1 and isinstance(shape[0], DType):
        fail(trace, "unknown-op", "`Tensor.view` of a type reinterprets bits")
    wanted = sizes(trace, shape)
    return reshaped(trace, x, wanted, _inferred(trace, x, wanted))


def reshaped(trace: Trace, x: Tensor, written: Shape, shape: Shape) -> Tensor:
    """`written` may hold a -1 where `shape` has the size."""
    if len(shape) == len(x.shape) and all(same(a, b) for a, b in zip(shape, x.shape, strict=True)):
        made = Tensor(x.value)
        return view(trace, x, made, Derived(lambda t, base: Tensor(base.value), lambda t, base, new: new))
    return view(
        trace,
        x,
        emit(trace, "reshape", (x, written), shape, x.dtype),
        Derived(
            lambda t, base: emit(t, "reshape", (base, written), shape, base.dtype),
            lambda t, base, new: emit(t, "reshape", (new, base.shape), base.shape, base.dtype),
        ),
    )


def _inferred(trace: Trace, x: Tensor, wanted: Shape) -> Shape:
    """The shape with its -1 worked out."""
    holes = [axis for axis, s in enumerate(wanted) if count(s) == -1]
    known = numel(s for axis, s in enumerate(wanted) if axis not in holes)
    have = numel(x.shape)
    if len(holes) > 1 or (holes and (count(known) == 0 or count(have) % count(known))):
        fail(trace, "shape-mismatch", f"{shown(x.shape)} does not have the elements of {shown(wanted)}")
    if not holes:
        if count(known) != count(have):
            fail(trace, "shape-mismatch", f"{shown(x.shape)} does not have the elements of {shown(wanted)}")
        if not same(known, have):
            trace.agreements.append((known, have, trace.span))
        return wanted
    return replaced(wanted, holes[0], _missing(trace, x.shape, wanted, holes[0], have, known))


def _missing(trace: Trace, have: Shape, wanted: Shape, hole: int, elements: Size, known: Size) -> Size:
    """What stands for -1. Sizes that both shapes begin or end with cancel before anything is multiplied."""
    left = 0
    while left < min(hole, len(have)) and same(have[left], wanted[left]):
        left += 1
    right = 0
    while right < min(len(wanted) - hole - 1, len(have) - left) and same(have[-1 - right], wanted[-1 - right]):
        right += 1
    above = numel(have[left : len(have) - right])
    below = numel((*wanted[left:hole], *wanted[hole + 1 : len(wanted) - right]))
    return floordiv(above, below)


@rule(methods=("view_as", "reshape_as"))
def view_as(trace: Trace, input: object, other: object) -> Tensor:
    return reshape(trace, input, tensor(trace, other).shape)


@rule("flatten", methods=("flatten", "ravel"))
def flatten(trace: Trace, input: object, start_dim: object = 0, end_dim: object = -1) -> Tensor:
    x = tensor(trace, input)
    first, last = plain_dim(trace, start_dim, len(x.shape)), plain_dim(trace, end_dim, len(x.shape))
    if first == last and x.shape:
        return reshaped(trace, x, x.shape, x.shape)
    joined = numel(x.shape[first : last + 1])
    head, tail = x.shape[:first], x.shape[last + 1 :]
    return reshaped(trace, x, (*head, -1, *tail), (*head, joined, *tail))


@rule("unflatten", methods=("unflatten",))
def unflatten(trace: Trace, input: object, dim: object, sizes: object) -> Tensor:
    x = tensor(trace, input)
    axis = plain_dim(trace, dim, len(x.shape))
    items = sizes if isinstance(sizes, (list, tuple)) else (sizes,)
    return reshape(trace, x, (*x.shape[:axis], *items, *x.shape[axis + 1 :]))


@rule("transpose", "swapaxes", "swapdims", methods=("transpose", "swapaxes", "swapdims"))
def transpose(trace: Trace, input: object, dim0: object, dim1: object) -> Tensor:
    x = tensor(trace, input)
    a, b = sorted((plain_dim(trace, dim0, len(x.shape)), plain_dim(trace, dim1, len(x.shape))))

    def turn(t: Trace, base: Tensor) -> Tensor:
        shape = list(base.shape)
        shape[a], shape[b] = shape[b], shape[a]
        return emit(t, "transpose", (base, a, b), tuple(shape), base.dtype)

    if a == b:
        return reshaped(trace, x, x.shape, x.shape)
    return view(trace, x, turn(trace, x), Derived(turn, lambda t, base, new: turn(t, new)))


@rule("t", methods=("t",))
def matrix_transpose(trace: Trace, input: object) -> Tensor:
    x = tensor(trace, input)
    if len(x.shape) > 2:
        fail(trace, "invalid-op", "`t` of a tensor of more than two axes")
    return transpose(trace, x, 0, 1) if len(x.shape) == 2 else x


@rule("permute", methods=("permute",))
def permute(trace: Trace, input: object, *dims: object) -> Tensor:
    x = tensor(trace, input)
    items = dims[0] if len(dims) == 1 and isinstance(dims[0], (list, tuple)) else dims
    order = plain_dims(trace, items, len(x.shape))
    if len(order) != len(x.shape):
        fail(trace, "invalid-op", f"`permute` names {len(order)} of {len(x.shape)} axes")
    return permuted(trace, x, order)


def permuted(trace: Trace, x: Tensor, order: tuple[int, ...]) -> Tensor:
    inverse = tuple(order.index(axis) for axis in range(len(order)))

    def turn(t: Trace, base: Tensor, dims: tuple[int, ...]) -> Tensor:
        return emit(t, "permute", (base, dims), tuple(base.shape[axis] for axis in dims), base.dtype)

    if order == tuple(range(len(order))):
        return reshaped(trace, x, x.shape, x.shape)
    derived = Derived(lambda t, base: turn(t, base, order), lambda t, base, new: turn(t, new, inverse))
    return view(trace, x, turn(trace, x, order), derived)


@rule("movedim", "moveaxis", methods=("movedim", "moveaxis"))
def movedim(trace: Trace, input: object, source: object, destination: object) -> Tensor:
    x = tensor(trace, input)
    rank = len(x.shape)
    sources, targets = plain_dims(trace, source, rank), plain_dims(trace, destination, rank)
    if len(sources) != len(targets):
        fail(trace, "invalid-op", "`movedim` takes as many sources as destinations")
    rest = [axis for axis in range(rank) if axis not in sources]
    order = [sources[targets.index(axis)] if axis in targets else -1 for axis in range(rank)]
    return permuted(trace, x, tuple(axis if axis >= 0 else rest.pop(0) for axis in order))


@rule("broadcast_to", methods=("expand", "broadcast_to"))
def expand(trace: Trace, input: object, *size: object) -> Tensor:
    x = tensor(trace, input)
    wanted = sizes(trace, size)
    lead = len(wanted) - len(x.shape)
    if lead < 0:
        fail(trace, "shape-mismatch", f"`expand` of {shown(x.shape)} to fewer axes")
    shape: list[Size] = list(wanted)
    for axis in range(lead, len(wanted)):
        have = x.shape[axis - lead]
        if count(wanted[axis]) == -1:
            shape[axis] = have
        elif count(have) != 1:
            shape[axis] = agree(trace, wanted[axis], have)
    return expanded(trace, x, tuple(shape))


def expanded(trace: Trace, x: Tensor, shape: Shape) -> Tensor:
    if len(shape) == len(x.shape) and all(same(a, b) for a, b in zip(shape, x.shape, strict=True)):
        return reshaped(trace, x, shape, shape)
    made = emit(trace, "expand", (x, shape), shape, x.dtype)
    return view(trace, x, made, Derived(lambda t, base: emit(t, "expand", (base, shape), shape, base.dtype), None))


@rule(methods=("expand_as",))
def expand_as(trace: Trace, input: object, other: object) -> Tensor:
    return expand(trace, input, tensor(trace, other).shape)


@rule("broadcast_tensors")
def broadcast_tensors(trace: Trace, *args: object) -> tuple[Tensor, ...]:
    parts = tensors(trace, args)
    shape = broadcast(trace, *(x.shape for x in parts))
    return tuple(expanded(trace, x, shape) for x in parts)


@rule("unsqueeze", methods=("unsqueeze",))
def unsqueeze(trace: Trace, input: object, dim: object) -> Tensor:
    x = tensor(trace, input)
    axis = plain_dim(trace, dim, len(x.shape) + 1)

    def widen(t: Trace, base: Tensor) -> Tensor:
        shape = (*base.shape[:axis], 1, *base.shape[axis:])
        return emit(t, "unsqueeze", (base, canonical(axis, len(shape))), shape, base.dtype)

    def narrow(t: Trace, base: Tensor, new: Tensor) -> Tensor:
        return emit(t, "squeeze", (new, (canonical(axis, len(new.shape)),)), base.shape, base.dtype)

    return view(trace, x, widen(trace, x), Derived(widen, narrow))


@rule("squeeze", methods=("squeeze",))
def squeeze(trace: Trace, input: object, dim: object = None) -> Tensor:
    x = tensor(trace, input)
    rank = len(x.shape)
    named = range(rank) if dim is None else plain_dims(trace, dim, rank) if rank else ()
    dims = tuple(axis for axis in named if count(x.shape[axis]) == 1)
    for axis in named:
        if not isinstance(x.shape[axis], int):
            trace.agreements.append((x.shape[axis], count(x.shape[axis]), trace.span))
    if not dims:
        return reshaped(trace, x, x.shape, x.shape)
    shape = tuple(s for axis, s in enumerate(x.shape) if axis not in dims)
    written = tuple(canonical(axis, rank) for axis in dims)

    def narrow(t: Trace, base: Tensor) -> Tensor:
        return emit(t, "squeeze", (base, written), shape, base.dtype)

    def widen(t: Trace, base: Tensor, new: Tensor) -> Tensor:
        return emit(t, "reshape", (new, base.shape), base.shape, base.dtype)

    return view(trace, x, narrow(trace, x), Derived(narrow, widen))


# ------------------------------------------------------------------------------------------------------------- joining


@rule("cat", "concat", "concatenate")
def cat(trace: Trace, tensors: object, dim: object = 0) -> Tensor:
    if isinstance(tensors, Gathered):
        axis = plain_dim(trace, dim, len(tensors.piece.shape))
        stacked = Tensor(tensors.along(axis))
        return flatten(trace, stacked, axis, axis + 1)
    if isinstance(tensors, Joined):
        if plain_dim(trace, dim, len(tensors.rows.shape)) != 0:
            data_dependent(trace, "the length of what is joined")
        return Tensor(tensors.rows)
    parts = [x for x in _tensors(trace, tensors) if not _is_void(x)]
    if not parts:
        fail(trace, "invalid-op", "`torch.cat` of nothing")
    if len(parts) == 1:
        return Tensor(parts[0].value)
    rank = len(parts[0].shape)
    axis = plain_dim(trace, dim, rank)
    if any(len(x.shape) != rank for x in parts):
        fail(trace, "shape-mismatch", "`torch.cat` of tensors that differ in their number of axes")
    shape: list[Size] = list(parts[0].shape)
    for other in parts[1:]:
        for a in range(rank):
            if a != axis:
                shape[a] = agree(trace, shape[a], other.shape[a])
    shape[axis] = total(x.shape[axis] for x in parts)
    return emit(trace, "cat", (tuple(parts), canonical(axis, rank)), tuple(shape), result(trace, parts))


_tensors = tensors


def _is_void(x: Tensor) -> bool:
    """An empty tensor of one axis joins anything, as torch has it."""
    return len(x.shape) == 1 and x.shape[0] == 0


@rule("hstack")
def hstack(trace: Trace, tensors: object) -> Tensor:
    parts = _tensors(trace, tensors)
    return cat(trace, parts, 0 if len(parts[0].shape) == 1 else 1)


@rule("vstack")
def vstack(trace: Trace, tensors: object) -> Tensor:
    return cat(trace, [x if len(x.shape) > 1 else unsqueeze(trace, x, 0) for x in _tensors(trace, tensors)], 0)


@rule("stack")
def stack(trace: Trace, tensors: object, dim: object = 0) -> Tensor:
    if isinstance(tensors, Gathered):
        return Tensor(tensors.along(plain_dim(trace, dim, len(tensors.piece.shape) + 1)))
    parts = _tensors(trace, tensors)
    if not parts:
        fail(trace, "invalid-op", "`torch.stack` of nothing")
    rank = len(parts[0].shape) + 1
    axis = plain_dim(trace, dim, rank)
    shape = parts[0].shape
    for other in parts[1:]:
        if len(other.shape) != len(shape):
            fail(trace, "shape-mismatch", "`torch.stack` of tensors that differ in their number of axes")
        shape = tuple(agree(trace, a, b) for a, b in zip(shape, other.shape, strict=True))
    grown = isinstance(tensors, Grown) and value_of(tensors.size) == len(parts)
    made = (*shape[:axis], tensors.size if grown else len(parts), *shape[axis:])  # type: ignore[attr-defined]
    return emit(trace, "stack", (parts, canonical(axis, rank)), made, result(trace, parts))


@rule("meshgrid")
def meshgrid(trace: Trace, *tensors: object, indexing: object = "ij") -> tuple[Tensor, ...]:
    items = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors
    parts = _tensors(trace, items)
    if text(trace, indexing) != "ij":
        fail(trace, "unknown-op", "`torch.meshgrid` with other than matrix indexing")
    shape = tuple(x.shape[0] for x in parts)
    rows = [tuple(s if a == axis else 1 for a, s in enumerate(shape)) for axis in range(len(parts))]
    return tuple(expanded(trace, reshaped(trace, x, row, row), shape) for x, row in zip(parts, rows, strict=True))


# --------------------------------------------------------------------------------------------------------------- parts


def slice_of(trace: Trace, x: Tensor, axis: int, start: Size, length: Size) -> Tensor:
    from codegen.graph.tensor_ops.indexing import getitem

    return getitem(trace, x, (*(slice(None),) * axis, slice(start, add(start, length))))


def _parts(
    trace: Trace, x: Tensor, op: str, args: tuple[object, ...], axis: int, lengths: tuple[Size, ...]
) -> tuple[Tensor, ...]:
    """Slices of an axis, recorded as one operation; each is a view."""
    results = trace.emit(op, args, *((replaced(x.shape, axis, length), x.dtype) for length in lengths))
    start: Size = 0
    for made, length in zip(results, lengths, strict=True):
        _slice_view(trace, x, made, axis, start, length)
        start = add(start, length)
    return results


def _slice_view(trace: Trace, x: Tensor, made: Tensor, axis: int, start: Size, length: Size) -> None:
    index = (*(slice(None),) * axis, slice(start, add(start, length)))

    def back(t: Trace, base: Tensor, new: Tensor) -> Tensor:
        return emit(t, "setitem", (base, index, new), base.shape, base.dtype)

    view(trace, x, made, Derived(lambda t, base: Tensor(slice_of(t, base, axis, start, length).value), back))


@rule("split", "split_with_sizes", methods=("split", "split_with_sizes"))
def split(trace: Trace, input: object, split_size_or_sections: object, dim: object = 0) -> object:
    from codegen.graph.groups import Counts, Parts

    x = tensor(trace, input)
    axis = plain_dim(trace, dim, len(x.shape))
    if isinstance(split_size_or_sections, Counts) and axis == 0:
        return Parts(trace, x, split_size_or_sections)
    return divided(trace, x, split_size_or_sections, axis)


def divided(trace: Trace, x: Tensor, split_size_or_sections: object, axis: int) -> tuple[Tensor, ...]:
    """Parts along an axis, all of one size or by their sizes."""
    whole, written = x.shape[axis], canonical(axis, len(x.shape))
    if isinstance(split_size_or_sections, (list, tuple)):
        lengths = sizes(trace, (split_size_or_sections,))
        agree(trace, total(lengths), whole)
        return _parts(trace, x, "split", (x, lengths, written), axis, lengths)
    each = size(trace, split_size_or_sections)
    number_of = -(-count(whole) // count(each))
    last = sub(whole, mul(each, number_of - 1))
    if count(last) == count(each):
        trace.agreements.append((last, each, trace.span))
        last = each
    lengths = (*(each,) * (number_of - 1), last)
    if number_of == 1:
        return (reshaped(trace, x, x.shape, x.shape),)
    return _parts(trace, x, "split", (x, lengths, written), axis, lengths)


@rule("chunk", methods=("chunk",))
def chunk(trace: Trace, input: object, chunks: object, dim: object = 0) -> tuple[Tensor, ...]:
    x = tensor(trace, input)
    axis, wanted = plain_dim(trace, dim, len(x.shape)), integer(trace, chunks)
    whole = x.shape[axis]
    each = ceildiv(whole, wanted)
    number_of = -(-count(whole) // max(count(each), 1))
    if number_of != wanted:
        fail(trace, "shape-mismatch", f"an axis of {count(whole)} does not fall into {wanted} parts")
    if wanted == 1:
        return (reshaped(trace, x, x.shape, x.shape),)
    if count(whole) % wanted == 0:
        exact = floordiv(whole, wanted)
        if not same(mul(exact, wanted), whole):
            trace.agreements.append((mul(exact, wanted), whole, trace.span))
        written = canonical(axis, len(x.shape))
        return _parts(trace, x, "chunk", (x, wanted, written), axis, (exact,) * wanted)
    return divided(trace, x, (*(each,) * (wanted - 1), sub(whole, mul(each, wanted - 1))), axis)


@rule("tensor_split", methods=("tensor_split",))
def tensor_split(trace: Trace, input: object, indices_or_sections: object, dim: object = 0) -> tuple[Tensor, ...]:
    x = tensor(trace, input)
    axis = plain_dim(trace, dim, len(x.shape))
    whole = x.shape[axis]
    if isinstance(indices_or_sections, (list, tuple)):
        bounds: Shape = (0, *sizes(trace, (indices_or_sections,)), whole)
        lengths = tuple(sub(b, a) for a, b in zip(bounds, bounds[1:], strict=False))
        return divided(trace, x, lengths, axis)
    wanted = integer(trace, indices_or_sections)
    if count(whole) % wanted == 0:
        return chunk(trace, x, wanted, axis)
    return fail(trace, "unknown-op", "`tensor_split` into parts of unequal size")


@rule("unbind", methods=("unbind",))
def unbind(trace: Trace, input: object, dim: object = 0) -> tuple[Tensor, ...]:
    x = tensor(trace, input)
    axis = plain_dim(trace, dim, len(x.shape))
    parts = count(x.shape[axis])
    if not isinstance(x.shape[axis], int):
        trace.agreements.append((x.shape[axis], parts, trace.span))
    shape = (*x.shape[:axis], *x.shape[axis + 1 :])
    if parts == 1:
        return (squeeze(trace, x, axis),)
    results = trace.emit("unbind", (x, canonical(axis, len(x.shape))), *((shape, x.dtype),) * parts)
    for at, made in enumerate(results):
        _element_view(trace, x, made, axis, at)
    return results


def _element_view(trace: Trace, x: Tensor, made: Tensor, axis: int, at: int) -> None:
    from codegen.graph.tensor_ops.indexing import getitem

    index = (*(slice(None),) * axis, at)

    def back(t: Trace, base: Tensor, new: Tensor) -> Tensor:
        return emit(t, "setitem", (base, index, new), base.shape, base.dtype)

    view(trace, x, made, Derived(lambda t, base: Tensor(getitem(t, base, index).value), back))


@rule("select", methods=("select",))
def select(trace: Trace, input: object, dim: object, index: object) -> Tensor:
    from codegen.graph.tensor_ops.indexing import getitem

    x = tensor(trace, input)
    return getitem(trace, x, (*(slice(None),) * plain_dim(trace, dim, len(x.shape)), size(trace, index)))


@rule("narrow", methods=("narrow",))
def narrow(trace: Trace, input: object, dim: object, start: object, length: object) -> Tensor:
    x = tensor(trace, input)
    return slice_of(trace, x, plain_dim(trace, dim, len(x.shape)), size(trace, start), size(trace, length))


# ---------------------------------------------------------------------------------------------------------- repetition


@rule("tile", methods=("repeat", "tile"))
def repeat(trace: Trace, input: object, *dims: object) -> Tensor:
    x = tensor(trace, input)
    repeats = sizes(trace, dims)
    if len(repeats) < len(x.shape):
        repeats = (*(1,) * (len(x.shape) - len(repeats)), *repeats)
    if all(count(r) == 1 and isinstance(r, int) for r in repeats) and len(repeats) == len(x.shape):
        return Tensor(x.value)
    padded = (*(1,) * (len(repeats) - len(x.shape)), *x.shape)
    return emit(trace, "repeat", (x, repeats), tuple(mul(r, s) for r, s in zip(repeats, padded, strict=True)), x.dtype)


@rule("repeat_interleave", methods=("repeat_interleave",))
def repeat_interleave(
    trace: Trace, input: object, repeats: object, dim: object = None, *, output_size: object = None
) -> Tensor:
    x = tensor(trace, input)
    if isinstance(repeats, Tensor):
        data_dependent(trace, "how often `repeat_interleave` repeats")
    times = size(trace, repeats)
    if dim is None:
        x, dim = flatten(trace, x) if len(x.shape) != 1 else x, 0
    axis = plain_dim(trace, dim, len(x.shape))
    shape = replaced(x.shape, axis, mul(x.shape[axis], times))
    return emit(trace, "repeat_interleave", (x, times, canonical(axis, len(x.shape))), shape, x.dtype)


@rule("flip", methods=("flip",))
def flip(trace: Trace, input: object, *dims: object) -> Tensor:
    x = tensor(trace, input)
    items = dims[0] if len(dims) == 1 and isinstance(dims[0], (list, tuple)) else dims
    axes = tuple(canonical(a, len(x.shape)) for a in plain_dims(trace, items, len(x.shape)))
    return emit(trace, "flip", (x, axes), x.shape, x.dtype)


@rule("roll", methods=("roll",))
def roll(trace: Trace, input: object, shifts: object, dims: object = None) -> Tensor:
    x = tensor(trace, input)
    if dims is None:
        fail(trace, "unknown-op", "`torch.roll` over all axes at once")
    axes = tuple(canonical(a, len(x.shape)) for a in plain_dims(trace, dims, len(x.shape)))
    moves = sizes(trace, (shifts if isinstance(shifts, (list, tuple)) else (shifts,),))
    return emit(trace, "roll", (x, moves, axes), x.shape, x.dtype)


@rule("F.pad")
def pad(trace: Trace, input: object, pad: object, mode: object = "constant", value: object = None) -> Tensor:
    x = tensor(trace, input)
    widths = sizes(trace, (pad,))
    if len(widths) % 2 or len(widths) // 2 > len(x.shape):
        fail(trace, "invalid-op", f"{len(widths)} widths to pad {len(x.shape)} axes")
    kind = text(trace, mode)
    if kind not in ("constant", "reflect", "replicate", "circular"):
        fail(trace, "unknown-op", f"`pad` has no mode {kind!r}")
    pairs = [(0, 0)] * (len(x.shape) - len(widths) // 2)
    pairs += [(widths[at], widths[at + 1]) for at in range(len(widths) - 2, -1, -2)]  # type: ignore[misc]
    shape = tuple(add(add(have, before), after) for have, (before, after) in zip(x.shape, pairs, strict=True))
    if any(count(s) < 0 for s in shape):
        fail(trace, "shape-mismatch", "`pad` removes more than there is")
    if all(isinstance(w, int) and w == 0 for w in widths):
        return Tensor(x.value)
    fill = 0 if value is None or kind != "constant" else number(trace, value)
    return emit(trace, "pad", (x, tuple(pairs), kind, fill), shape, x.dtype)


@rule(methods=("unfold",))
def unfold(trace: Trace, input: object, dimension: object, size: object, step: object) -> Tensor:
    x = tensor(trace, input)
    axis = plain_dim(trace, dimension, len(x.shape))
    width, stride = sizes(trace, (size,)) + sizes(trace, (step,))
    windows = add(floordiv(sub(x.shape[axis], width), stride), 1)
    shape = (*replaced(x.shape, axis, windows), width)
    return emit(trace, "unfold", (x, canonical(axis, len(x.shape)), width, stride), shape, x.dtype)


@rule("diagonal", "linalg.diagonal", methods=("diagonal",))
def diagonal(trace: Trace, input: object, offset: object = 0, dim1: object = 0, dim2: object = 1) -> Tensor:
    x = tensor(trace, input)
    rank = len(x.shape)
    a, b = plain_dim(trace, dim1, rank), plain_dim(trace, dim2, rank)
    shift = integer(trace, offset)
    rows, columns = (x.shape[a], x.shape[b]) if shift >= 0 else (x.shape[b], x.shape[a])
    columns = apply("-", columns, abs(shift))  # type: ignore[assignment]
    length = rows if count(rows) <= count(columns) else columns
    shape = (*(s for axis, s in enumerate(x.shape) if axis not in (a, b)), length)
    return emit(trace, "diagonal", (x, shift, a, b), shape, x.dtype)


@rule("diag_embed", methods=("diag_embed",))
def diag_embed(trace: Trace, input: object) -> Tensor:
    x = tensor(trace, input)
    return emit(trace, "diag_embed", (x,), (*x.shape, x.shape[-1]), x.dtype)


@rule("tril", methods=("tril",))
def tril(trace: Trace, input: object, diagonal: object = 0) -> Tensor:
    x = tensor(trace, input)
    return emit(trace, "tril", (x, size(trace, diagonal)), x.shape, x.dtype)


@rule("triu", methods=("triu",))
def triu(trace: Trace, input: object, diagonal: object = 0) -> Tensor:
    x = tensor(trace, input)
    return emit(trace, "triu", (x, size(trace, diagonal)), x.shape, x.dtype)


@rule(methods=("unsqueeze_",))
def unsqueeze_(trace: Trace, input: object, dim: object) -> Tensor:
    x = tensor(trace, input)
    if x.base is not None or trace.views.get(x):
        fail(trace, "unknown-op", "`unsqueeze_` of a tensor that shares its elements")
    x.value = unsqueeze(trace, Tensor(x.value), dim).value
    return x
