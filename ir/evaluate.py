"""What operations and regions compute, in numpy: the reference that every lowering and every raising is held to.

MODEL is the type the caller names; bfloat16, which numpy lacks, is computed in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist
from typing import Any, assert_never

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ir.evaluate_products import einsum
from ir.expressions import Const, Dim, Environment, Local, places
from ir.expressions import evaluate as evaluate_expr
from ir.graph import (
    Branch,
    Call,
    DType,
    DTypeOf,
    Ellipsis_,
    Loop,
    ModuleTarget,
    Node,
    Number,
    Op,
    Operand,
    Raised,
    Region,
    Scan,
    SliceOf,
    Value,
)
from ir.ops import Category, category, promote, result_type
from ir.records import dataclass, field, replace

Array = np.ndarray[Any, np.dtype[Any]]

_FLAT: dict[DType, type[np.generic]] = {
    DType.FLOAT64: np.float64,
    DType.FLOAT32: np.float32,
    DType.BFLOAT16: np.float32,
    DType.FLOAT16: np.float16,
    DType.INT64: np.int64,
    DType.INT32: np.int32,
    DType.INT16: np.int16,
    DType.INT8: np.int8,
    DType.UINT8: np.uint8,
    DType.BOOL: np.bool_,
    DType.COMPLEX64: np.complex64,
}
_BACK = {np.dtype(flat): dtype for dtype, flat in reversed(_FLAT.items())}


class CannotEvaluate(Exception):
    """An operation without a numpy form, a parameter without a value, or arguments that do not fit."""


@dataclass(frozen=True)
class Context:
    """What a region needs beyond its arguments.

    `model` is what MODEL stands for. `parameters` are found by their path from the module that the region belongs to.
    `special` computes operations otherwise than as if nothing came before the tokens and all logits were wanted, from
    their evaluated arguments. `define` gives the region that a raised component stands for.
    """

    environment: Environment = field(default_factory=Environment)
    model: DType = DType.FLOAT32
    parameters: Mapping[str, Array] = field(default_factory=dict)
    special: Mapping[str, Callable[..., object]] = field(default_factory=dict)
    define: Callable[[Raised], Region] | None = None
    prefix: str = ""

    def dtype(self, dtype: DType) -> DType:
        """A type without MODEL in it."""
        if dtype is DType.MODEL:
            return self.model
        return promote(self.model, DType.FLOAT32) if dtype is DType.PROMOTED else dtype


def evaluate_region(region: Region, args: Sequence[object], context: Context | None = None) -> tuple[Any, ...]:
    """The results of a region for arguments that are arrays and numbers.

    Raises:
        CannotEvaluate: see there.
    """
    return _Evaluation(context or Context()).region(region, args)


def evaluate_op(name: str, args: Sequence[object], *, model: DType = DType.FLOAT32) -> Any:
    """An operation on arrays and plain values; types are DTypes, indices as Python has them. Several results are a tuple.

    Raises:
        CannotEvaluate: see there.
    """
    if name not in _RULES:
        raise CannotEvaluate(f"no numpy form of `{name}`")
    context = Context(model=model)
    plain = [_plain(arg, context) for arg in args]
    with np.errstate(all="ignore"):
        result = _RULES[name](*plain)
    return tuple(_array(x) for x in result) if isinstance(result, (tuple, list)) else _array(result)


def _array(x: object) -> Any:
    return np.asarray(x)


def _plain(arg: object, context: Context) -> object:
    if isinstance(arg, DType):
        return context.dtype(arg)
    return tuple(_plain(item, context) for item in arg) if isinstance(arg, tuple) else arg


class _Evaluation:
    def __init__(self, context: Context):
        self.context = context

    def region(self, region: Region, args: Sequence[object]) -> tuple[Any, ...]:
        if len(args) != len(region.params):
            raise CannotEvaluate(f"`{region.name}` takes {len(region.params)} arguments, not {len(args)}")
        frame = _Frame(self.context)
        for param, arg in zip(region.params, args, strict=True):
            frame.bind(param, arg)
        for node in region.nodes:
            self.node(node, frame)
        return tuple(frame.operand(result) for result in region.results)

    def node(self, node: Node, frame: _Frame) -> None:
        match node:
            case Op():
                self.op(node, frame)
            case Call(target, region, args, results):
                prefix = frame.context.prefix
                if isinstance(target, ModuleTarget):
                    prefix = _path(prefix, target.path)
                environment = frame.environment()
                if prefix != frame.context.prefix:
                    environment = replace(environment, indices={**environment.indices, **places(prefix)})
                inner = replace(frame.context, prefix=prefix, environment=environment)
                frame.bind_all(results, _Evaluation(inner).region(region, [frame.operand(arg) for arg in args]))
            case Loop():
                self.loop(node, frame)
            case Scan():
                self.scan(node, frame)
            case Branch(condition, then, otherwise, args, results):
                arm = then if evaluate_expr(condition, frame.environment()) else otherwise
                inner = replace(frame.context, environment=frame.environment())
                frame.bind_all(results, _Evaluation(inner).region(arm, [frame.operand(arg) for arg in args]))
            case Raised(args=args, results=results):
                if frame.context.define is None:
                    raise CannotEvaluate("a raised component without a definition")
                region = frame.context.define(node)
                inner = replace(frame.context, environment=frame.environment())
                frame.bind_all(results, _Evaluation(inner).region(region, [frame.operand(arg) for arg in args]))
            case _:
                assert_never(node)

    def op(self, node: Op, frame: _Frame) -> None:
        args = [frame.operand(arg) for arg in node.args]
        if node.name == "parameter":
            path = _path(frame.context.prefix, str(args[0]))
            if path not in frame.context.parameters:
                raise CannotEvaluate(f"the parameter `{path}` has no value")
            frame.bind_all(node.results, (frame.context.parameters[path],))
            return
        if node.name in frame.context.special:
            made = frame.context.special[node.name](*args)
        elif node.name in _FRESH:
            made = _FRESH[node.name](node, args, frame)
        else:
            made = evaluate_op(node.name, args, model=frame.context.model)
        frame.bind_all(node.results, made if isinstance(made, tuple) else (made,))

    def loop(self, node: Loop, frame: _Frame) -> None:
        carried = [frame.operand(arg) for arg in node.carried]
        invariant = [frame.operand(arg) for arg in node.invariant]
        for index, kind in enumerate(node.kinds):
            environment = frame.environment()
            indices = {**environment.indices, node.index: index}
            inner = replace(
                frame.context,
                environment=replace(environment, indices=indices),
                prefix=frame.context.prefix,
            )
            varying = [frame.operand(arg) for arg in node.varying[kind]]
            body = _numbered(node.bodies[kind], index)
            carried = list(_Evaluation(inner).region(body, [*carried, *invariant, *varying]))
        frame.bind_all(node.results, carried)

    def scan(self, node: Scan, frame: _Frame) -> None:
        args = [frame.operand(arg) for arg in node.args]
        sliced = node.carries + len(node.axes)
        carried, whole = args[: node.carries], args[sliced:]
        environment = frame.environment()
        stacks: list[list[Any]] = [[] for _ in node.stacked]
        length = evaluate_expr(node.length, environment)
        assert isinstance(length, int)
        for index in range(length):
            dims = {**environment.dims, node.index: index}
            inner = replace(frame.context, environment=replace(environment, dims=dims))
            pairs = zip(args[node.carries : sliced], node.axes, strict=True)
            slices = [np.take(x, index, axis=axis) for x, axis in pairs]
            made = _Evaluation(inner).region(node.body, [*carried, *slices, *whole])
            carried = list(made[: node.carries])
            for stack, piece in zip(stacks, made[node.carries :], strict=True):
                stack.append(piece)
        joined = [np.stack(stack, axis=axis) for stack, axis in zip(stacks, node.stacked, strict=True) if stack]
        if not length:
            joined = [np.zeros(_shape(result, environment)) for result in node.results[node.carries :]]
        frame.bind_all(node.results, [*carried, *joined])


def _shape(value: Value, environment: Environment) -> tuple[int, ...]:
    return tuple(evaluate_expr(size, environment) for size in value.shape)  # type: ignore[misc]


def _path(prefix: str, path: str) -> str:
    if path.startswith("^"):
        return path[1:]
    return f"{prefix}.{path}" if prefix and path else prefix or path


def _numbered(region: Region, index: int) -> Region:
    """The body of a loop for one module of the list: `{}` in a path is its index."""

    def filled(node: Any) -> Any:
        match node:
            case Op("parameter", (Number(Const(str() as path)),), results):
                return Op("parameter", (Number(Const(path.replace("{}", str(index)))),), results)
            case Call(ModuleTarget(path, method), inner, args, results, span):
                return Call(ModuleTarget(path.replace("{}", str(index)), method), inner, args, results, span)
            case _:
                return node

    return replace(region, nodes=tuple(filled(node) for node in region.nodes))


class _Frame:
    """The values of one region, and the sizes that follow from them."""

    def __init__(self, context: Context):
        self.context = context
        self.values: dict[int, Any] = {}
        self.dims: dict[str, int] = dict(context.environment.dims)
        self.locals: dict[str, object] = dict(context.environment.locals)

    def environment(self) -> Environment:
        return replace(self.context.environment, dims=self.dims, locals=self.locals)

    def bind(self, param: Value | Number, arg: object) -> None:
        if isinstance(param, Value):
            self.values[param.id] = arg
            self._learn(param, arg)
        elif isinstance(param.expr, Local):
            self.locals[param.expr.name] = arg

    def bind_all(self, results: Sequence[Value], made: Sequence[object]) -> None:
        if len(results) != len(made):
            raise CannotEvaluate(f"{len(made)} results where {len(results)} are wanted")
        for result, value in zip(results, made, strict=True):
            self.bind(result, value)

    def _learn(self, value: Value, arg: object) -> None:
        for expr, size in zip(value.shape, np.asarray(arg).shape, strict=False):
            if isinstance(expr, Dim):
                self.dims.setdefault(expr.name, size)

    def operand(self, operand: Operand) -> Any:
        match operand:
            case Value(id=key):
                return self.values[key]
            case Number(expr):
                return evaluate_expr(expr, self.environment())
            case DType():
                return operand
            case DTypeOf(value):
                return _BACK[np.asarray(self.values[value.id]).dtype]
            case SliceOf(start, stop, step):
                return slice(*(self.operand(bound) for bound in (start, stop, step)))
            case Ellipsis_():
                return Ellipsis
            case None:
                return None
            case tuple():
                return tuple(self.operand(item) for item in operand)
            case _:
                assert_never(operand)


# --------------------------------------------------------------------------------------------- caches that are still empty


def _zero_state(node: Op, args: Sequence[Any], frame: _Frame) -> Array:
    """What a recurrence has before the first token."""
    (result,) = node.results
    shape = [evaluate_expr(size, frame.environment()) for size in result.shape]
    return np.zeros(shape, _FLAT[frame.context.dtype(result.dtype)])


def _behind_zeros(node: Op, args: Sequence[Any], frame: _Frame) -> Array:
    _, _, x, size = args
    return np.concatenate([np.zeros((*x.shape[:-1], size), x.dtype), x], axis=-1)


_FRESH: dict[str, Callable[[Op, Sequence[Any], _Frame], Any]] = {
    "cache_update": lambda node, args, frame: (args[0], args[1]),
    "last_only": lambda node, args, frame: args[0],
    "state_read": _zero_state,
    "state_write": lambda node, args, frame: (),
    "state_extend": _behind_zeros,
    "state_append": lambda node, args, frame: args[2],
}


# ----------------------------------------------------------------------------------------------------------- operations


def kind(x: object) -> DType:
    """The type of an array."""
    return _BACK[np.asarray(x).dtype]


def _as(x: object, dtype: DType) -> Array:
    return np.asarray(x).astype(_FLAT[dtype])


def _unchanged(x: object, dtype: DType) -> Array:
    """As `_as`, for what is not written to: it may be the array itself."""
    return np.asarray(x).astype(_FLAT[dtype], copy=False)


def _common(*operands: object) -> DType:
    """torch's type of an elementwise operation: arrays without axes and Python numbers are weak."""
    arrays = [x for x in operands if isinstance(x, (np.ndarray, np.generic))]
    numbers = tuple(x for x in operands if not isinstance(x, (np.ndarray, np.generic)))
    wide = tuple(kind(x) for x in arrays if np.ndim(x))
    narrow = tuple(kind(x) for x in arrays if not np.ndim(x))
    return result_type(wide, narrow, numbers, DType.FLOAT32)


def _floating(dtype: DType) -> DType:
    return dtype if category(dtype) >= Category.FLOAT else DType.FLOAT32


def _binary(function: Callable[..., Any], fractions: bool = False) -> Callable[..., Any]:
    def run(a: object, b: object) -> Any:
        common = _common(a, b)
        common = _floating(common) if fractions else common
        made = np.asarray(function(_unchanged(a, common), _unchanged(b, common)))
        return made.astype(_FLAT[common], copy=False)

    return run


def _compare(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(a: object, b: object) -> Any:
        common = _common(a, b)
        return function(_unchanged(a, common), _unchanged(b, common))

    return run


def _logic(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, b: function(np.asarray(a) != 0, np.asarray(b) != 0)


def _float(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(x: object, *more: object) -> Any:
        out = _floating(kind(x))
        return np.asarray(function(_as(x, out), *more)).astype(_FLAT[out], copy=False)

    return run


def _keep(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, *more: np.asarray(function(np.asarray(x), *more)).astype(np.asarray(x).dtype)


def _power(a: object, b: object) -> Any:
    common = _common(a, b)
    return np.power(_as(a, common), _as(b, common))


def _sigmoid(x: Array) -> Any:
    return 0.5 * (np.tanh(0.5 * x) + 1)


_erf = np.vectorize(math.erf, otypes=[np.float64])
_erfinv = np.vectorize(lambda x: NormalDist().inv_cdf((x + 1) / 2) / math.sqrt(2), otypes=[np.float64])


def _gelu(x: Array, approximate: str) -> Any:
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + (_erf(x / math.sqrt(2)) if x.size else x))


def _softplus(x: Array, beta: float, threshold: float) -> Any:
    return np.where(beta * x > threshold, x, np.log1p(np.exp(np.minimum(beta * x, threshold))) / beta)


def _relu6(x: Array) -> Any:
    return np.clip(x, 0, 6)


def _clamp(x: Array, low: object, high: object) -> Any:
    common = _common(x, *(bound for bound in (low, high) if bound is not None))
    out = _as(x, common)
    out = out if low is None else np.maximum(out, _as(low, common))
    return out if high is None else np.minimum(out, _as(high, common))


def _nan_to_num(x: Array, nan: float | None, posinf: float | None, neginf: float | None) -> Any:
    return np.nan_to_num(x, nan=0.0 if nan is None else nan, posinf=posinf, neginf=neginf)


def _glu(x: Array, dim: int) -> Any:
    a, b = np.split(x, 2, axis=dim)
    return a * _sigmoid(b)


def _softmax(x: Array, dim: int, dtype: DType | None) -> Any:
    h = x if dtype is None else _as(x, dtype)
    if not h.size:
        return h
    e = np.exp(h - _finite_max(h, dim))
    return e / e.sum(axis=dim, keepdims=True)


def _log_softmax(x: Array, dim: int, dtype: DType | None) -> Any:
    h = x if dtype is None else _as(x, dtype)
    return h - _logsumexp(h, dim, True)


def _finite_max(x: Array, dim: Any) -> Any:
    """The maximum that exponents are taken against; NaN where all are -inf, as in torch's softmax."""
    return x.max(axis=dim, keepdims=True)


def _logsumexp(x: Array, dim: Any, keepdim: bool) -> Any:
    x = _as(x, _floating(kind(x)))
    top = x.max(axis=dim, keepdims=True)
    top = np.where(np.isfinite(top), top, 0).astype(x.dtype)
    out = np.log(np.exp(x - top).sum(axis=dim, keepdims=True)) + top
    return out if keepdim else np.squeeze(out, axis=dim)


def _grouped(x: Array, w: Array, sizes: Array) -> Array:
    """Rows [N, I] in groups, each with its own matrix of [E, I, O]; rows that are in no group give zero."""
    group = np.repeat(np.arange(len(w)), sizes)
    out = np.zeros((len(x), w.shape[-1]), x.dtype)
    out[: len(group)] = np.einsum("ni,nio->no", x[: len(group)], w[group])
    return out


def _matmul(a: Array, b: Array) -> Any:
    return np.matmul(a, b)


def _linear(x: Array, w: Array, b: Array | None) -> Any:
    out = np.matmul(x, w.T)
    return out if b is None else out + b


def _norm_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(range(-len(shape), 0))


def _layer_norm(x: Array, w: Array | None, b: Array | None, shape: tuple[int, ...], eps: float) -> Any:
    axes = _norm_axes(shape)
    h = x - x.mean(axis=axes, keepdims=True)
    h = h / np.sqrt(np.square(h).mean(axis=axes, keepdims=True) + eps)
    h = h if w is None else h * w
    return (h if b is None else h + b).astype(x.dtype)


def _rms_norm(x: Array, w: Array | None, shape: tuple[int, ...], eps: float | None) -> Any:
    eps = float(np.finfo(x.dtype).eps) if eps is None else eps
    h = x / np.sqrt(np.square(x).mean(axis=_norm_axes(shape), keepdims=True) + eps)
    return (h if w is None else h * w).astype(x.dtype)


def _group_norm(x: Array, w: Array | None, b: Array | None, groups: int, eps: float) -> Any:
    h = x.reshape(x.shape[0], groups, -1)
    h = h - h.mean(axis=-1, keepdims=True)
    h = (h / np.sqrt(np.square(h).mean(axis=-1, keepdims=True) + eps)).reshape(x.shape)
    column = (-1,) + (1,) * (x.ndim - 2)
    h = h if w is None else h * w.reshape(column)
    return (h if b is None else h + b.reshape(column)).astype(x.dtype)


def _conv(axes: int) -> Callable[..., Any]:
    def run(x: Array, w: Array, b: Array | None, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
        x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
        reach = tuple((k - 1) * d + 1 for k, d in zip(w.shape[2:], dilation, strict=True))
        spatial = tuple(range(2, 2 + axes))
        windows = sliding_window_view(x, reach, axis=spatial)
        pick = [
            slice(None),
            slice(None),
            *(slice(None, None, s) for s in stride),
            *(slice(None, None, d) for d in dilation),
        ]
        windows = windows[tuple(pick)]
        each_in, each_out = w.shape[1], w.shape[0] // groups
        parts = []
        for g in range(groups):
            local = windows[:, g * each_in : (g + 1) * each_in]
            weight = w[g * each_out : (g + 1) * each_out]
            over = [1, *range(2 + axes, 2 + 2 * axes)]
            parts.append(np.tensordot(local, weight, axes=(over, [1, *range(2, 2 + axes)])))
        out = np.moveaxis(np.concatenate(parts, axis=-1), -1, 1)
        return out if b is None else out + b.reshape((-1,) + (1,) * axes)

    return run


def _attention(
    q: Array, k: Array, v: Array, mask: Array | None, is_causal: bool, scale: float | None, enable_gqa: bool
) -> Any:
    if enable_gqa:
        k, v = (np.repeat(x, q.shape[-3] // x.shape[-3], axis=-3) for x in (k, v))
    scores = np.matmul(q, np.swapaxes(k, -1, -2)) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        mask = np.tril(np.ones(scores.shape[-2:], bool))
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    return np.matmul(_softmax(scores, -1, None), v).astype(q.dtype)


def _solve_triangular(a: Array, b: Array, upper: bool, left: bool, unitriangular: bool) -> Any:
    a = np.triu(a) if upper else np.tril(a)
    if unitriangular:
        eye = np.eye(a.shape[-1], dtype=a.dtype)
        a = a * (1 - eye) + eye
    if left:
        return np.linalg.solve(a, b)
    return np.swapaxes(np.linalg.solve(np.swapaxes(a, -1, -2), np.swapaxes(b, -1, -2)), -1, -2)


def _expand(x: Array, shape: tuple[int, ...]) -> Any:
    return np.broadcast_to(x, shape)


def _joined(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(xs: tuple[Array, ...], dim: int) -> Any:
        common = _common(*xs)
        return function([_as(x, common) for x in xs], axis=dim)

    return run


_MODES: dict[str, Any] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _pad(x: Array, widths: tuple[tuple[int, int], ...], mode: str, value: float) -> Any:
    grown = tuple((max(a, 0), max(b, 0)) for a, b in widths)
    cut = tuple(slice(max(-a, 0), b if b < 0 else None) for a, b in widths)
    if mode != "constant":
        return np.pad(x, grown, mode=_MODES[mode])[cut]
    return np.pad(x, grown, constant_values=value)[cut]


def _unfold(x: Array, dim: int, size: int, step: int) -> Any:
    axis = dim % x.ndim
    windows = sliding_window_view(x, size, axis=axis)
    return windows[(*(slice(None),) * axis, slice(None, None, step))]


def _diag_embed(x: Array) -> Any:
    return x[..., None] * np.eye(x.shape[-1], dtype=x.dtype)


def _getitem(x: Array, index: tuple[Any, ...]) -> Any:
    return x[index]


def _setitem(x: Array, index: tuple[Any, ...], y: object) -> Any:
    out = x.copy()
    out[index] = y
    return out


def _where(condition: Array, a: object, b: object) -> Any:
    common = _common(a, b)
    return np.where(condition, _as(a, common), _as(b, common))


def _masked_fill(x: Array, mask: Array, value: object) -> Any:
    return np.where(mask, np.asarray(value).astype(x.dtype), x)


def _masked_scatter(x: Array, mask: Array, source: Array) -> Any:
    shape = np.broadcast_shapes(x.shape, mask.shape)
    out, where = np.broadcast_to(x, shape).copy(), np.broadcast_to(mask, shape)
    out[where] = source.ravel()[: int(where.sum())]
    return out


def _along(index: Array, dim: int) -> tuple[Any, ...]:
    picked: list[Any] = list(np.ix_(*(np.arange(size) for size in index.shape)))
    picked[dim] = index
    return tuple(picked)


def _scatter(x: Array, dim: int, index: Array, source: object) -> Any:
    out = x.copy()
    out[_along(index, dim)] = source
    return out


_COMBINE: dict[str, Any] = {"sum": np.add, "prod": np.multiply, "amax": np.maximum, "amin": np.minimum}


def _scatter_reduce(x: Array, dim: int, index: Array, source: object, reduce: str, include_self: bool) -> Any:
    if reduce not in _COMBINE or not include_self:
        raise CannotEvaluate(f"`scatter_reduce` by {reduce}")
    out = x.copy()
    _COMBINE[reduce].at(out, _along(index, dim), source)
    return out


def _slices(x: Array, dim: int, index: Array) -> tuple[Any, ...]:
    return (*(slice(None),) * (dim % x.ndim), index)


def _index_add(x: Array, dim: int, index: Array, source: Array) -> Any:
    out = x.copy()
    np.add.at(out, _slices(x, dim, index), source)
    return out


def _index_copy(x: Array, dim: int, index: Array, source: Array) -> Any:
    out = x.copy()
    out[_slices(x, dim, index)] = source
    return out


def _accumulate(x: Array, dtype: DType | None) -> Array:
    if dtype is not None:
        return _as(x, dtype)
    return x.astype(np.int64) if category(kind(x)) <= Category.INTEGER else x


def _order(x: Array, dim: int, descending: bool) -> Any:
    if not descending:
        return np.argsort(x, axis=dim, kind="stable")
    flipped = np.flip(x, axis=dim)
    return x.shape[dim] - 1 - np.flip(np.argsort(flipped, axis=dim, kind="stable"), axis=dim)


def _sort(x: Array, dim: int, descending: bool, stable: bool) -> Any:
    order = _order(x, dim, descending)
    return np.take_along_axis(x, order, axis=dim), order


def _topk(x: Array, k: int, dim: int, largest: bool, in_order: bool) -> Any:
    order = np.take(_order(x, dim, largest), np.arange(k), axis=dim)
    return np.take_along_axis(x, order, axis=dim), order


def _topk_first(x: Array, counted: Array, k: int) -> Any:
    order = _order(np.where(np.arange(len(x)) < counted, x, -np.inf), 0, True)[:k]
    return x[order], order


def _argument(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, dim, keepdim: function(x, axis=dim, keepdims=keepdim).astype(np.int64)


def _cummax(x: Array, dim: int) -> Any:
    top = np.maximum.accumulate(x, axis=dim)
    shape = [1] * x.ndim
    shape[dim] = x.shape[dim]
    place = np.arange(x.shape[dim]).reshape(shape)
    return top, np.maximum.accumulate(np.where(x == top, place, 0), axis=dim)


def _norm(x: Array, order: float, dim: Any, keepdim: bool) -> Any:
    if math.isinf(order):
        return (np.max if order > 0 else np.min)(np.abs(x), axis=dim, keepdims=keepdim)
    return ((np.abs(x) ** order).sum(axis=dim, keepdims=keepdim) ** (1 / order)).astype(x.dtype)


def _arange(start: Any, stop: Any, step: Any, dtype: DType | None) -> Any:
    return np.arange(start, stop, step).astype(_FLAT[DType.INT64 if dtype is None else dtype])


def _like(fill: Callable[[Array], object]) -> Callable[..., Any]:
    def run(x: Array, *more: Any) -> Any:
        dtype = more[-1]
        value = more[0] if len(more) > 1 else fill(x)
        return np.full(x.shape, value, x.dtype if dtype is None else _FLAT[dtype])

    return run


def _finfo(which: str) -> Callable[..., Any]:
    return lambda dtype: getattr(np.finfo(np.zeros((), _FLAT[dtype]).dtype), which)


def _split(x: Array, sizes: tuple[int, ...], dim: int) -> Any:
    return tuple(np.split(x, np.cumsum(sizes)[:-1], axis=dim))


def _chunk(x: Array, chunks: int, dim: int) -> Any:
    each = -(-x.shape[dim] // chunks)
    return tuple(np.split(x, range(each, x.shape[dim], each), axis=dim))


def _complex64(a: Array, b: Array) -> Any:
    return (a + 1j * b).astype(np.complex64)


_RULES: dict[str, Callable[..., Any]] = {
    "add": _binary(lambda a, b: a | b if a.dtype == bool else a + b),
    "sub": _binary(np.subtract),
    "mul": _binary(np.multiply),
    "div": _binary(np.divide, fractions=True),
    "floor_divide": _binary(np.floor_divide),
    "remainder": _binary(np.mod),
    "fmod": _binary(np.fmod),
    "pow": _power,
    "atan2": _binary(np.arctan2, fractions=True),
    "logaddexp": _binary(np.logaddexp, fractions=True),
    "maximum": _binary(np.maximum),
    "minimum": _binary(np.minimum),
    "lerp": lambda a, b, weight: (a + weight * (b - a)).astype(a.dtype),
    "neg": _keep(np.negative),
    "abs": np.abs,
    "sign": _keep(np.sign),
    "floor": _keep(np.floor),
    "ceil": _keep(np.ceil),
    "round": _keep(np.round),
    "trunc": _keep(np.trunc),
    "reciprocal": _float(lambda x: 1 / x),
    "sqrt": _float(np.sqrt),
    "rsqrt": _float(lambda x: 1 / np.sqrt(x)),
    "exp": _float(np.exp),
    "exp2": _float(np.exp2),
    "expm1": _float(np.expm1),
    "log": _float(np.log),
    "log1p": _float(np.log1p),
    "log2": _float(np.log2),
    "log10": _float(np.log10),
    "sin": _float(np.sin),
    "cos": _float(np.cos),
    "tan": _float(np.tan),
    "atan": _float(np.arctan),
    "sinh": _float(np.sinh),
    "cosh": _float(np.cosh),
    "erf": _float(lambda x: _erf(x) if x.size else x),
    "erfinv": _float(lambda x: _erfinv(x) if x.size else x),
    "clamp": _clamp,
    "nan_to_num": _nan_to_num,
    "isnan": np.isnan,
    "isinf": np.isinf,
    "isfinite": np.isfinite,
    "eq": _compare(np.equal),
    "ne": _compare(np.not_equal),
    "lt": _compare(np.less),
    "le": _compare(np.less_equal),
    "gt": _compare(np.greater),
    "ge": _compare(np.greater_equal),
    "logical_and": _logic(np.logical_and),
    "logical_or": _logic(np.logical_or),
    "logical_xor": _logic(np.logical_xor),
    "logical_not": lambda x: np.asarray(x) == 0,
    "bitwise_and": _binary(np.bitwise_and),
    "bitwise_or": _binary(np.bitwise_or),
    "bitwise_xor": _binary(np.bitwise_xor),
    "bitwise_not": np.invert,
    "left_shift": _binary(np.left_shift),
    "right_shift": _binary(np.right_shift),
    "detach": _keep(lambda x: x),
    "relu": _keep(lambda x: np.maximum(x, 0)),
    "relu6": _keep(_relu6),
    "silu": _float(lambda x: x * _sigmoid(x)),
    "gelu": _float(_gelu),
    "sigmoid": _float(_sigmoid),
    "logsigmoid": _float(lambda x: -np.logaddexp(0, -x)),
    "tanh": _float(np.tanh),
    "softplus": _float(_softplus),
    "leaky_relu": _float(lambda x, slope: np.where(x > 0, x, x * slope)),
    "elu": _float(lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))),
    "selu": _float(lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0)))),
    "mish": _float(lambda x: x * np.tanh(np.logaddexp(0, x))),
    "hardswish": _float(lambda x: x * _relu6(x + 3) / 6),
    "hardsigmoid": _float(lambda x: _relu6(x + 3) / 6),
    "softsign": _float(lambda x: x / (1 + np.abs(x))),
    "glu": _float(_glu),
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "matmul": _matmul,
    "linear": _linear,
    "grouped_linear": lambda x, w, sizes: _grouped(x, np.swapaxes(w, 1, 2), sizes),
    "grouped_matmul": lambda x, w, sizes: _grouped(x, w, sizes),
    "addmm": lambda b, x, w: b + np.matmul(x, w),
    "baddbmm": lambda b, x, y, beta, alpha: (alpha * np.matmul(x, y) + (beta * b if beta else 0)).astype(x.dtype),
    "einsum": lambda equation, xs: einsum(equation, [_as(x, _common(*xs)) for x in xs]),
    "outer": lambda a, b: _binary(np.multiply)(a[:, None], b[None, :]),
    "embedding": lambda ids, w: w[ids],
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "conv1d": _conv(1),
    "conv2d": _conv(2),
    "attention": _attention,
    "solve_triangular": _solve_triangular,
    "cast": _as,
    "reshape": lambda x, shape: np.reshape(x, shape),
    "transpose": lambda x, a, b: np.swapaxes(x, a, b),
    "permute": lambda x, dims: np.transpose(x, dims),
    "expand": _expand,
    "unsqueeze": lambda x, dim: np.expand_dims(x, dim),
    "squeeze": lambda x, dims: np.squeeze(x, axis=dims),
    "cat": _joined(np.concatenate),
    "stack": _joined(np.stack),
    "repeat": lambda x, repeats: np.tile(x, repeats),
    "repeat_interleave": lambda x, repeats, dim: np.repeat(x, repeats, axis=dim),
    "flip": lambda x, dims: np.flip(x, axis=dims),
    "roll": lambda x, shifts, dims: np.roll(x, shifts, axis=dims),
    "pad": _pad,
    "unfold": _unfold,
    "diagonal": lambda x, offset, a, b: np.diagonal(x, offset, a, b),
    "diag_embed": _diag_embed,
    "tril": lambda x, diagonal: np.tril(x, diagonal),
    "triu": lambda x, diagonal: np.triu(x, diagonal),
    "getitem": _getitem,
    "setitem": _setitem,
    "where": _where,
    "masked_fill": _masked_fill,
    "masked_scatter": _masked_scatter,
    "gather": lambda x, dim, index: np.take_along_axis(x, index, axis=dim),
    "scatter": _scatter,
    "scatter_add": lambda x, dim, index, source: _scatter_reduce(x, dim, index, source, "sum", True),
    "scatter_reduce": _scatter_reduce,
    "index_select": lambda x, dim, index: np.take(x, np.atleast_1d(index), axis=dim),
    "index_add": _index_add,
    "index_copy": _index_copy,
    "one_hot": lambda x, classes: (x[..., None] == np.arange(classes)).astype(np.int64),
    "bucketize": lambda x, known, right: np.searchsorted(known, x, side="right" if right else "left"),
    "searchsorted": lambda known, x, right: np.searchsorted(known, x, side="right" if right else "left"),
    "nonzero": lambda x: np.argwhere(x),
    "bincount": lambda x, length: np.bincount(x, minlength=length),
    "sum": lambda x, dim, keepdim, dtype: (h := _accumulate(x, dtype)).sum(axis=dim, keepdims=keepdim, dtype=h.dtype),
    "prod": lambda x, dim, keepdim, dtype: (h := _accumulate(x, dtype)).prod(axis=dim, keepdims=keepdim, dtype=h.dtype),
    "mean": lambda x, dim, keepdim, dtype: _accumulate(x, dtype).mean(axis=dim, keepdims=keepdim),
    "var": lambda x, dim, keepdim, ddof: x.var(axis=dim, keepdims=keepdim, ddof=ddof),
    "std": lambda x, dim, keepdim, ddof: x.std(axis=dim, keepdims=keepdim, ddof=ddof),
    "amax": lambda x, dim, keepdim: x.max(axis=dim, keepdims=keepdim),
    "amin": lambda x, dim, keepdim: x.min(axis=dim, keepdims=keepdim),
    "argmax": _argument(np.argmax),
    "argmin": _argument(np.argmin),
    "argsort": lambda x, dim, descending, stable: _order(x, dim, descending),
    "all": lambda x, dim, keepdim: np.all(x, axis=dim, keepdims=keepdim),
    "any": lambda x, dim, keepdim: np.any(x, axis=dim, keepdims=keepdim),
    "logsumexp": _logsumexp,
    "norm": _norm,
    "cumsum": lambda x, dim, dtype: np.cumsum(_accumulate(x, dtype), axis=dim),
    "cumprod": lambda x, dim, dtype: np.cumprod(_accumulate(x, dtype), axis=dim),
    "arange": _arange,
    "linspace": lambda start, stop, steps, dtype: np.linspace(start, stop, steps).astype(_FLAT[dtype]),
    "zeros": lambda shape, dtype: np.zeros(shape, _FLAT[dtype]),
    "ones": lambda shape, dtype: np.ones(shape, _FLAT[dtype]),
    "full": lambda shape, value, dtype: np.full(shape, value, _FLAT[dtype]),
    "zeros_like": _like(lambda x: 0),
    "ones_like": _like(lambda x: 1),
    "full_like": _like(lambda x: 0),
    "eye": lambda rows, columns, dtype: np.eye(rows, columns, dtype=_FLAT[dtype]),
    "tensor": lambda data, dtype: np.array(data).astype(_FLAT[dtype]),
    "finfo_min": _finfo("min"),
    "finfo_max": _finfo("max"),
    "finfo_eps": _finfo("eps"),
    "finfo_tiny": _finfo("tiny"),
    "polar": lambda radius, angle: _complex64(radius * np.cos(angle), radius * np.sin(angle)),
    "complex": _complex64,
    "view_as_complex": lambda x: _complex64(x[..., 0], x[..., 1]),
    "view_as_real": lambda x: np.stack((x.real, x.imag), axis=-1),
    "real": np.real,
    "imag": np.imag,
    "conj": np.conj,
    "split": _split,
    "chunk": _chunk,
    "unbind": lambda x, dim: tuple(np.moveaxis(x, dim, 0)),
    "topk": _topk,
    "topk_first": _topk_first,
    "sort": _sort,
    "max_dim": lambda x, dim, keepdim: (x.max(axis=dim, keepdims=keepdim), _argument(np.argmax)(x, dim, keepdim)),
    "min_dim": lambda x, dim, keepdim: (x.min(axis=dim, keepdims=keepdim), _argument(np.argmin)(x, dim, keepdim)),
    "cummax": _cummax,
    "aminmax": lambda x, dim, keepdim: (x.min(axis=dim, keepdims=keepdim), x.max(axis=dim, keepdims=keepdim)),
}
