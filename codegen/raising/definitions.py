"""What components mean, in operations of the graph. Raising a definition gives the component back: a law that tests hold."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import assert_never

from ir.arch import Attention, Cap, Extent, Heads, MaskForm, Pairing, Precision, RootMeanSquare, Rotary, Sinks, Tables
from ir.expressions import Apply, Const, Expr
from ir.graph import DType, Ellipsis_, Node, Number, Op, Operand, Raised, Region, SliceOf, Value
from ir.records import dataclass, field, replace


@dataclass
class _Writer:
    take_id: Callable[[], int]
    nodes: list[Node] = field(default_factory=list)

    def op(
        self, name: str, *args: Operand, shape: tuple[Expr, ...], dtype: DType, result: Value | None = None
    ) -> Value:
        made = result if result is not None else Value(self.take_id(), shape, dtype)
        self.nodes.append(Op(name, args, (made,)))
        return made


def definition(node: Raised, take_id: Callable[[], int]) -> tuple[Node, ...]:
    """The operations that a component stands for; new values take their numbers from `take_id`."""
    writer = _Writer(take_id)
    match node.component:
        case Attention():
            _attention(writer, node.component, node.args, node.results[0])
        case Rotary():
            _rotary(writer, node.component, node.args, node.results[0])
        case RootMeanSquare():
            _root_mean_square(writer, node.args, node.results[0])
        case _:
            assert_never(node.component)
    return tuple(writer.nodes)


def _int(value: int) -> Number:
    return Number(Const(value))


def _attention(w: _Writer, component: Attention, args: tuple[Operand, ...], result: Value) -> None:
    q, k, v, mask, scale, cap, sinks = args
    assert isinstance(q, Value) and isinstance(k, Value) and isinstance(v, Value)
    dtype = q.dtype
    batch, heads, tokens, size = q.shape
    if component.heads is Heads.GROUPED:
        groups = Number(Apply("//", (heads, k.shape[1])))
        k = w.op("repeat_interleave", k, groups, _int(1), shape=(batch, heads, *k.shape[2:]), dtype=dtype)
        v = w.op("repeat_interleave", v, groups, _int(1), shape=(batch, heads, *v.shape[2:]), dtype=dtype)
    shape = (batch, heads, tokens, k.shape[2])
    turned = w.op("transpose", k, _int(2), _int(3), shape=(batch, heads, size, k.shape[2]), dtype=dtype)
    scores = w.op("matmul", q, turned, shape=shape, dtype=dtype)
    scores = w.op("mul", scores, scale, shape=shape, dtype=dtype)
    if component.cap is Cap.TANH:
        scores = w.op("div", scores, cap, shape=shape, dtype=dtype)
        scores = w.op("tanh", scores, shape=shape, dtype=dtype)
        scores = w.op("mul", scores, cap, shape=shape, dtype=dtype)
    if component.mask is MaskForm.BOOLEAN:
        assert isinstance(mask, Value)
        least = w.op("finfo_min", dtype, shape=(), dtype=dtype)
        hidden = w.op("logical_not", mask, shape=mask.shape, dtype=DType.BOOL)
        scores = w.op("masked_fill", scores, hidden, least, shape=shape, dtype=dtype)
    elif component.mask is MaskForm.ADDITIVE:
        scores = w.op("add", scores, mask, shape=shape, dtype=dtype)
    if component.sinks is Sinks.COLUMN:
        column = w.op(
            "reshape", sinks, tuple(map(_int, (1, -1, 1, 1))), shape=(Const(1), heads, Const(1), Const(1)), dtype=dtype
        )
        spread = (Number(batch), Number(heads), Number(tokens), _int(1))
        column = w.op("expand", column, spread, shape=(*shape[:3], Const(1)), dtype=dtype)
        scores = w.op(
            "cat", (scores, column), _int(-1), shape=(*shape[:3], Apply("+", (shape[3], Const(1)))), dtype=dtype
        )
    weights = _softmax(w, component, scores, dtype)
    if component.sinks is Sinks.COLUMN:
        weights = w.op("getitem", weights, (Ellipsis_(), SliceOf(None, _int(-1), None)), shape=shape, dtype=dtype)
    w.op("matmul", weights, v, shape=result.shape, dtype=dtype, result=result)


def _softmax(w: _Writer, component: Attention, scores: Value, dtype: DType) -> Value:
    if component.softmax is Precision.NATIVE:
        return w.op("softmax", scores, _int(-1), None, shape=scores.shape, dtype=dtype)
    weights = w.op("softmax", scores, _int(-1), DType.FLOAT32, shape=scores.shape, dtype=DType.FLOAT32)
    return w.op("cast", weights, dtype, shape=scores.shape, dtype=dtype)


def _rotary(w: _Writer, component: Rotary, args: tuple[Operand, ...], result: Value) -> None:
    x, cos, sin = args
    assert isinstance(x, Value) and isinstance(cos, Value) and isinstance(sin, Value)
    if component.extent is Extent.FIRST:
        _partial(w, component, args, result)
        return
    if component.tables is Tables.HALF:
        cos, sin = (_doubled(w, component.pairing, table, x.shape[-1]) for table in (cos, sin))
    if component.tables is Tables.SIGNED:
        middle = Apply("//", (sin.shape[-1], Const(2)))
        upper = (Ellipsis_(), SliceOf(Number(middle), None, None))
        sin = w.op("getitem", sin, upper, shape=(*sin.shape[:-1], middle), dtype=sin.dtype)
        sin = _doubled(w, component.pairing, sin, x.shape[-1])
    half = Apply("//", (x.shape[-1], Const(2)))
    shape = (*x.shape[:-1], half)

    def part(cut: SliceOf) -> Value:
        assert isinstance(x, Value)
        return w.op("getitem", x, (Ellipsis_(), cut), shape=shape, dtype=x.dtype)

    if component.pairing is Pairing.HALVES:
        first, second = part(SliceOf(None, Number(half), None)), part(SliceOf(Number(half), None, None))
        turned = w.op("neg", second, shape=shape, dtype=x.dtype)
        rotated = w.op("cat", (turned, first), _int(-1), shape=x.shape, dtype=x.dtype)
    else:
        first, second = part(SliceOf(None, None, _int(2))), part(SliceOf(_int(1), None, _int(2)))
        turned = w.op("neg", second, shape=shape, dtype=x.dtype)
        pairs = w.op("stack", (turned, first), _int(-1), shape=(*shape, Const(2)), dtype=x.dtype)
        rotated = w.op("reshape", pairs, tuple(map(Number, x.shape)), shape=x.shape, dtype=x.dtype)
    plain = w.op("mul", x, cos, shape=x.shape, dtype=x.dtype)
    turned = w.op("mul", rotated, sin, shape=x.shape, dtype=x.dtype)
    w.op("add", plain, turned, shape=x.shape, dtype=x.dtype, result=result)


def _partial(w: _Writer, component: Rotary, args: tuple[Operand, ...], result: Value) -> None:
    x, cos, sin = args
    assert isinstance(x, Value) and isinstance(cos, Value)
    size = cos.shape[-1] if component.tables is not Tables.HALF else Apply("*", (cos.shape[-1], Const(2)))
    left = Apply("-", (x.shape[-1], size))
    first, rest = SliceOf(None, Number(size), None), SliceOf(Number(size), None, None)
    turned = w.op("getitem", x, (Ellipsis_(), first), shape=(*x.shape[:-1], size), dtype=x.dtype)
    kept = w.op("getitem", x, (Ellipsis_(), rest), shape=(*x.shape[:-1], left), dtype=x.dtype)
    rotated = Value(w.take_id(), turned.shape, x.dtype)
    _rotary(w, replace(component, extent=Extent.WHOLE), (turned, cos, sin), rotated)
    w.op("cat", (rotated, kept), _int(-1), shape=x.shape, dtype=x.dtype, result=result)


def _doubled(w: _Writer, pairing: Pairing, table: Value, size: Expr) -> Value:
    shape = (*table.shape[:-1], size)
    if pairing is Pairing.HALVES:
        return w.op("cat", (table, table), _int(-1), shape=shape, dtype=table.dtype)
    return w.op("repeat_interleave", table, _int(2), _int(-1), shape=shape, dtype=table.dtype)


def _root_mean_square(w: _Writer, args: tuple[Operand, ...], result: Value) -> None:
    x, eps = args
    assert isinstance(x, Value)
    shape = (*x.shape[:-1], Const(1))
    square = w.op("pow", x, _int(2), shape=x.shape, dtype=x.dtype)
    mean = w.op("mean", square, _int(-1), Number(Const(True)), None, shape=shape, dtype=x.dtype)
    mean = w.op("add", mean, eps, shape=shape, dtype=x.dtype)
    inverse = w.op("rsqrt", mean, shape=shape, dtype=x.dtype)
    w.op("mul", x, inverse, shape=x.shape, dtype=x.dtype, result=result)


def as_region(node: Raised) -> Region:
    """The definition of a component as a region that takes its arguments."""
    ids = itertools.count(1 + max((v.id for v in (*node.results, *node.args) if isinstance(v, Value)), default=0))
    params = tuple(arg if isinstance(arg, (Value, Number)) else Number(Const(None)) for arg in node.args)
    return Region(type(node.component).__name__, params, definition(node, lambda: next(ids)), node.results)
