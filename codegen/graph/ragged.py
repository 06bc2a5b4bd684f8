"""Tensors whose first so many entries along an axis are what the source computes, and the rest of which is padding.

`nonzero` of a mask of S entries has a number of rows that only the data knows, and at most S. Beside every operation on such
rows one is recorded that has the shape of all S: the indices where the mask holds come first, as sorting by the mask puts them,
and how many there are is a number of the graph. What keeps rows apart runs on padding as well; what does not (the greatest of
an axis, joining, writing) leaves padding out. Whatever comes out with a shape of its own is taken from these operations; the
others have no use then and disappear. Where an operation has no such form, the rows stay as many as the data has.
"""

from __future__ import annotations

from collections.abc import Iterator

from codegen.graph import scalars
from codegen.graph.rowwise import ELEMENTWISE
from codegen.graph.scalars import same
from codegen.graph.values import Scalar, Size, Tensor, TensorValue, Trace, expr_of, value_of
from ir.expressions import Apply, Const, Dim, Expr, leaves
from ir.graph import DType
from ir.ops import OPS
from ir.records import dataclass, field

Shape = tuple[Size, ...]
Results = tuple[tuple[Shape, DType], ...]


class NoForm(Exception):
    """An operation on rows whose number the data decides has no form of fixed shape."""


def is_ragged(size: Size) -> bool:
    """Whether the data decides a size."""
    return isinstance(size, Scalar) and any(map(_is_count, leaves(size.expr)))


def axes(shape: Shape) -> list[int]:
    return [axis for axis, size in enumerate(shape) if is_ragged(size)]


def _is_count(leaf: Expr) -> bool:
    return isinstance(leaf, Dim) and leaf.name.startswith("hits")


@dataclass
class Ragged:
    """What is known of the rows of a trace. `padded`: rows -> the tensor with padding; `limits` and `counts`: of each number."""

    trace: Trace
    padded: dict[TensorValue, TensorValue] = field(default_factory=dict)
    limits: dict[str, Size] = field(default_factory=dict)
    masks: dict[str, TensorValue] = field(default_factory=dict)

    def follow(self, op: str, args: tuple[object, ...], made: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What an operation gives that was recorded as it is: the same of fixed shape, where it has that."""
        if op == "nonzero":
            return self._start(args, made)
        if not self.padded or not any(value in self.padded for value in _values(args)):
            return made
        try:
            found = self._form(op, args, tuple((tensor.shape, tensor.dtype) for tensor in made))
        except NoForm:
            return made
        out = []
        for tensor, fixed in zip(made, found, strict=True):
            if axes(tensor.shape):
                self.padded[tensor.value] = fixed.value
            out.append(tensor if axes(tensor.shape) else fixed)
        return tuple(out)

    def _start(self, args: tuple[object, ...], made: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (mask,) = args
        (rows,) = made
        if not isinstance(mask, TensorValue) or len(mask.shape) != 1 or axes(mask.shape):
            return made
        (number,) = leaves(expr_of(rows.shape[0]))
        assert isinstance(number, Dim)
        held = mask if mask.dtype is DType.BOOL else self._op("ne", (mask, 0), mask.shape, DType.BOOL)
        absent = self._op("logical_not", (held,), mask.shape, DType.BOOL)
        absent = self._op("cast", (absent, DType.INT32), mask.shape, DType.INT32)
        order = self._op("argsort", (absent, 0, False, True), mask.shape, DType.INT64)
        self.padded[rows.value] = self._op("reshape", (order, (mask.shape[0], 1)), (mask.shape[0], 1), DType.INT64)
        self.limits[number.name], self.masks[number.name] = mask.shape[0], held
        return made

    # --------------------------------------------------------------------------------------------------- numbers

    def limit(self, size: Size) -> Size:
        """The most that a size can be.

        Raises:
            NoForm: nothing says that.
        """
        return self._most(size.expr, size) if isinstance(size, Scalar) and is_ragged(size) else size

    def _most(self, expr: Expr, size: Size | None = None) -> Size:
        match expr:
            case Dim(name) if name in self.limits:
                return self.limits[name]
            case Const(value):
                return value  # type: ignore[return-value]
            case Apply("-", (left, _)):  # sizes are not below zero
                return self._most(left)
            case Apply("//" | "*" as op, (left, right)) if not any(map(_is_count, leaves(right))):
                return scalars.apply(op, self._most(left), self._plain(right))  # type: ignore[return-value]
            case Apply("*", (left, right)) if not any(map(_is_count, leaves(left))):
                return scalars.apply("*", self._plain(left), self._most(right))  # type: ignore[return-value]
            case Apply("+" | "min" | "max" as op, args):
                return scalars.apply(op, *(self._most(arg) for arg in args))  # type: ignore[return-value]
            case _ if not any(map(_is_count, leaves(expr))):
                return self._plain(expr)
        raise NoForm

    def _plain(self, expr: Expr) -> Size:
        if isinstance(expr, Const):
            return expr.value  # type: ignore[return-value]
        if self.trace.evaluate is None:
            raise NoForm
        return Scalar(self.trace.evaluate(expr), expr)

    def number(self, size: Size) -> TensorValue | Size:
        """A size as the running model has it."""
        return self._number(size.expr) if isinstance(size, Scalar) and is_ragged(size) else size

    def _number(self, expr: Expr) -> TensorValue | Size:
        match expr:
            case Dim(name) if name in self.masks:
                return self._op("sum", (self.masks[name], None, False, None), (), DType.INT64)
            case _ if not any(map(_is_count, leaves(expr))):
                return self._plain(expr)
            case Apply(op, (left, right)) if op in _ARITHMETIC:
                a, b = self._number(left), self._number(right)
                if op == "min":
                    if isinstance(a, TensorValue) and isinstance(b, TensorValue):
                        return self._op("minimum", (a, b), (), DType.INT64)
                    tensor, limit = (a, b) if isinstance(a, TensorValue) else (b, a)
                    return self._op("clamp", (tensor, None, limit), (), DType.INT64)
                return self._op(_ARITHMETIC[op], (a, b), (), DType.INT64)
        raise NoForm

    def _positions(self, length: Size) -> TensorValue:
        return self._op("arange", (0, length, 1, None), (length,), DType.INT64)

    # ------------------------------------------------------------------------------------------------------ forms

    def _form(self, op: str, args: tuple[object, ...], results: Results) -> tuple[Tensor, ...]:
        match op, args:
            case "topk", (TensorValue() as x, wanted, _, True, True) if len(x.shape) == 1 and is_ragged(x.shape[0]):
                return self._greatest(x, wanted, results)  # type: ignore[arg-type]
            case "cat", (tuple() as parts, dim) if any(
                is_ragged(part.shape[_int(dim)]) for part in parts if isinstance(part, TensorValue)
            ):
                return (self._joined(parts, dim, results),)
            case "getitem", (TensorValue() as x, tuple() as index):
                return (self._items(x, index, results),)
            case "setitem", (TensorValue() as x, tuple() as index, TensorValue() as new):
                return (self._written(x, index, new, results),)
        if not self._keeps(op, args, results):
            raise NoForm
        return self._record(op, self._fixed(args), results)

    def _record(self, op: str, args: tuple[object, ...], results: Results) -> tuple[Tensor, ...]:
        shapes = ((tuple(map(self.limit, shape)), dtype) for shape, dtype in results)
        return self.trace.record(op, args, *shapes)

    def _fixed(self, x: object) -> tuple[object, ...]:
        """Arguments with padding, and sizes at their most."""
        return self._argument(x)  # type: ignore[return-value]

    def _argument(self, x: object) -> object:
        match x:
            case TensorValue():
                if x not in self.padded and axes(x.shape):
                    raise NoForm
                return self.padded.get(x, x)
            case tuple():
                return tuple(map(self._argument, x))
            case Scalar():
                return self.limit(x)
            case _:
                return x

    def _keeps(self, op: str, args: tuple[object, ...], results: Results) -> bool:
        """Whether an operation treats the entries along every axis whose size the data decides alike."""
        tensors = _values(args)
        ranks = [len(value.shape) for value in tensors]
        ((shape, _), *_) = results
        if op in ELEMENTWISE or op in ("transpose", "permute", "unsqueeze", "squeeze"):
            return True
        if op in ("linear", "matmul"):
            left, right = tensors[0].shape, tensors[1].shape
            inner = -1 if op == "linear" or len(right) == 1 else -2
            return not is_ragged(left[-1]) and not is_ragged(right[inner])
        if op in ("layer_norm", "rms_norm"):
            normalized = args[OPS[op].position("shape")]
            return isinstance(normalized, tuple) and not any(axes(tensors[0].shape[-len(normalized) :]))
        if op in ("sum", "mean", "amax", "amin", "softmax", "all", "any", "cat", "chunk", "split"):
            names = [param.name for param in OPS[op].params]
            dims = args[names.index("dim")]
            gone = (
                {_int(d) % ranks[0] for d in (dims if isinstance(dims, tuple) else (dims,))}
                if dims is not None
                else None
            )
            return gone is not None and not any(axis in gone for value in tensors for axis in axes(value.shape))
        if op == "index_select":
            source = tensors[0]
            return not is_ragged(source.shape[_int(args[1]) % ranks[0]]) or self._within(tensors[1])
        if op == "reshape":
            return all(set(axes(s)) <= {0} for s in (tensors[0].shape, shape)) and same(
                scalars.product(map(self.limit, tensors[0].shape)), scalars.product(map(self.limit, shape))
            )
        return False

    def _within(self, index: TensorValue) -> bool:
        """Whether an index into rows is of rows that are there: where it is no padding, the source would have failed."""
        return index in self.padded

    def _greatest(self, x: TensorValue, wanted: Size, results: Results) -> tuple[Tensor, ...]:
        return self._record("topk_first", (self._argument(x), self.number(x.shape[0]), self.limit(wanted)), results)

    def _joined(self, parts: tuple[object, ...], dim: object, results: Results) -> Tensor:
        """Parts one after another: what is no padding of the second comes after what is none of the first."""
        ((shape, dtype),) = results
        first, *others = (part for part in parts if isinstance(part, TensorValue))
        if len(others) != 1 or len(first.shape) != 1:
            raise NoForm
        other, fixed = others[0], [self._argument(first), self._argument(others[0])]
        lengths = [self.limit(first.shape[0]), self.limit(other.shape[0])]
        total: Size = scalars.apply("+", *lengths)  # type: ignore[assignment]
        whole = self._op("cat", (tuple(fixed), dim), (total,), dtype)
        positions, own = self._positions(total), self.number(first.shape[0])
        before = self._op("lt", (positions, own), (total,), DType.BOOL)
        skipped = self._op("sub", (lengths[0], own), (), DType.INT64)
        after = self._op("add", (positions, skipped), (total,), DType.INT64)
        last = scalars.apply("-", total, 1)
        at = self._op("where", (before, positions, after), (total,), DType.INT64)
        at = self._op("clamp", (at, None, last), (total,), DType.INT64)
        made = self._op("getitem", (whole, (at,)), (total,), dtype)
        limit = self.limit(shape[0])
        if not same(limit, total):
            raise NoForm
        return Tensor(made)

    def _items(self, x: TensorValue, index: tuple[object, ...], results: Results) -> Tensor:
        ((shape, dtype),) = results
        fixed = self._argument(x)
        assert isinstance(fixed, TensorValue)
        head = index[0] if index else None
        if is_ragged(x.shape[0]) and axes(x.shape) == [0] and isinstance(head, slice) and head.step in (None, 1):
            start, stop = head.start, head.stop
            whole = all(item == slice(None) for item in index[1:])
            if is_ragged(start) and stop is None and whole:
                length = self.limit(x.shape[0])
                at = self._op("add", (self._positions(length), self.number(start)), (length,), DType.INT64)
                at = self._op("clamp", (at, None, scalars.apply("-", length, 1)), (length,), DType.INT64)
                return Tensor(self._op("getitem", (fixed, (at,)), (length, *fixed.shape[1:]), dtype))
            if value_of(start) in (None, 0) and is_ragged(stop) and whole:
                index = (slice(None, self.limit(stop)), *index[1:])
            elif start is not None or stop is not None:
                raise NoForm
        elif not self._passes(x, index):
            raise NoForm
        return self._record("getitem", (fixed, self._argument(index)), results)[0]

    def _passes(self, x: TensorValue, index: tuple[object, ...]) -> bool:
        """Whether an index leaves the axes whole whose sizes the data decides."""
        if any(item is None for item in index):
            return False
        items = list(index)
        if Ellipsis in [item for item in items if not isinstance(item, TensorValue)]:
            at = next(at for at, item in enumerate(items) if item is Ellipsis)
            items[at : at + 1] = [slice(None)] * (len(x.shape) - len(items) + 1)
        return all(items[axis] == slice(None) for axis in axes(x.shape) if axis < len(items))

    def _written(self, x: TensorValue, index: tuple[object, ...], new: TensorValue, results: Results) -> Tensor:
        """A write of the first so many entries of the last axis: what is there before is kept where there is padding."""
        ((shape, dtype),) = results
        *others, last = index
        ends = isinstance(last, slice) and last.start in (None, 0) and last.step in (None, 1) and is_ragged(last.stop)
        plain = all(not isinstance(item, (slice, TensorValue)) and item is not None for item in others)
        if not ends or not plain or len(index) != len(x.shape) or axes(x.shape) or len(new.shape) != 1:
            raise NoForm
        assert isinstance(last, slice)
        fixed, width = self._argument(new), x.shape[-1]
        assert isinstance(fixed, TensorValue)
        where = (*others, slice(None))
        before = self._op("getitem", (x, where), (width,), x.dtype)
        positions = self._positions(width)
        at = self._op("clamp", (positions, None, scalars.apply("-", fixed.shape[0], 1)), (width,), DType.INT64)
        row = self._op("getitem", (fixed, (at,)), (width,), fixed.dtype)
        if row.dtype is not x.dtype:
            row = self._op("cast", (row, x.dtype), (width,), x.dtype)
        held = self._op("lt", (positions, self.number(last.stop)), (width,), DType.BOOL)
        chosen = self._op("where", (held, row, before), (width,), x.dtype)
        return Tensor(self._op("setitem", (x, where, chosen), shape, dtype))

    def _op(self, op: str, args: tuple[object, ...], shape: Shape, dtype: DType) -> TensorValue:
        return self.trace.record(op, args, (shape, dtype))[0].value


_ARITHMETIC = {"+": "add", "-": "sub", "*": "mul", "//": "floor_divide", "min": "minimum"}


def is_empty_unless(trace: Trace, test: Expr, size: Size, *, holds: bool) -> bool:
    """Whether a size is zero wherever `test`, of a number that the data decides, is not as `holds` says: `n > 0` and the like."""
    match test:
        case Apply(">" | "!=", (number, Const(0))) | Apply(">=", (number, Const(1))) if holds:
            pass
        case Apply("<=" | "==", (number, Const(0))) | Apply("<", (number, Const(1))) if not holds:
            pass
        case _:
            return False
    rest = _without(expr_of(size), number)
    if trace.evaluate is None or any(map(_is_count, leaves(rest))):
        return False
    return bool(trace.evaluate(rest) == 0)


def _without(expr: Expr, number: Expr) -> Expr:
    """An expression with zero for a number in it."""
    if expr == number:
        return Const(0)
    return Apply(expr.op, tuple(_without(arg, number) for arg in expr.args)) if isinstance(expr, Apply) else expr


def _values(x: object) -> list[TensorValue]:
    return list(_found(x))


def _found(x: object) -> Iterator[TensorValue]:
    match x:
        case TensorValue():
            yield x
        case tuple():
            for item in x:
                yield from _found(item)
        case slice():
            yield from _found((x.start, x.stop, x.step))


def _int(x: object) -> int:
    value = value_of(x)
    assert isinstance(value, int)
    return value
