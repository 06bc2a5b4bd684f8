"""How JAX writes the operations of `ir.ops`. What jax.numpy has no expression for is a helper function, see HELPERS."""

from __future__ import annotations

import ast
from typing import Any

from codegen.lowering.syntax import (
    DTypeOfRendered,
    Rendered,
    Speller,
    Spellings,
    Unspellable,
    call,
    is_zero,
    literal,
    new_axis,
    path,
    roots,
    same_syntax,
    subscript,
    template,
)
from ir.graph import DType, Ellipsis_, SliceOf
from ir.ops import Category, UnknownPromotion, category, promote

TEMPLATES = {
    "add": "a + b",
    "sub": "a - b",
    "mul": "a * b",
    "div": "a / b",
    "floor_divide": "a // b",
    "remainder": "a % b",
    "fmod": "jnp.fmod(a, b)",
    "pow": "a ** b",
    "atan2": "jnp.arctan2(a, b)",
    "logaddexp": "jnp.logaddexp(a, b)",
    "maximum": "jnp.maximum(a, b)",
    "minimum": "jnp.minimum(a, b)",
    "lerp": "a + weight * (b - a)",
    "neg": "-x",
    **{
        op: f"jnp.{op}(x)"
        for op in (
            "abs sign floor ceil round trunc sqrt exp exp2 expm1 log log1p log2 log10 sin cos tan sinh cosh isnan isinf"
            " isfinite logical_not tanh real imag conj"
        ).split()
    },
    "reciprocal": "1 / x",
    "rsqrt": "jax.lax.rsqrt(x)",
    "atan": "jnp.arctan(x)",
    "detach": "jax.lax.stop_gradient(x)",
    "erf": "jax.lax.erf(x)",
    "erfinv": "jax.lax.erf_inv(x)",
    "clamp": "jnp.clip(x, min=low, max=high)",
    "nan_to_num": "jnp.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)",
    "eq": "a == b",
    "ne": "a != b",
    "lt": "a < b",
    "le": "a <= b",
    "gt": "a > b",
    "ge": "a >= b",
    "logical_and": "jnp.logical_and(a, b)",
    "logical_or": "jnp.logical_or(a, b)",
    "logical_xor": "jnp.logical_xor(a, b)",
    "bitwise_and": "a & b",
    "bitwise_or": "a | b",
    "bitwise_xor": "a ^ b",
    "bitwise_not": "~x",
    "left_shift": "a << b",
    "right_shift": "a >> b",
    **{op: f"jax.nn.{op}(x)" for op in "relu relu6 silu sigmoid selu mish".split()},
    "logsigmoid": "jax.nn.log_sigmoid(x)",
    "hardswish": "jax.nn.hard_swish(x)",
    "hardsigmoid": "jax.nn.hard_sigmoid(x)",
    "softsign": "jax.nn.soft_sign(x)",
    "leaky_relu": "jax.nn.leaky_relu(x, slope)",
    "elu": "jax.nn.elu(x, alpha=alpha)",
    "glu": "jax.nn.glu(x, axis=dim)",
    "matmul": "a @ b",
    "addmm": "x @ w + b",
    "outer": "jnp.outer(a, b)",
    "topk_first": "jax.lax.top_k(jnp.where(jnp.arange(x.shape[0]) < count, x, -jnp.inf), k)",
    "grouped_linear": "grouped_dot(x, w, sizes, axis=2)",
    "grouped_matmul": "grouped_dot(x, w, sizes, axis=1)",
    "embedding": "jnp.take(w, ids, axis=0)",
    "group_norm": "group_norm(x, w, b, groups, eps)",
    "cast": "x.astype(dtype)",
    "transpose": "x.swapaxes(a, b)",
    "permute": "x.transpose(*dims)",
    "expand": "jnp.broadcast_to(x, shape)",
    "cat": "jnp.concatenate(xs, axis=dim)",
    "stack": "jnp.stack(xs, axis=dim)",
    "repeat": "jnp.tile(x, repeats)",
    "repeat_interleave": "jnp.repeat(x, repeats, axis=dim)",
    "unfold": "windows(x, size, step, axis=dim)",
    "diagonal": "jnp.diagonal(x, offset, a, b)",
    "diag_embed": 'jnp.vectorize(jnp.diag, signature="(n)->(n,n)")(x)',
    "where": "jnp.where(condition, a, b)",
    "masked_fill": "jnp.where(mask, value, x)",
    "masked_scatter": "masked_scatter(x, mask, source)",
    "gather": "jnp.take_along_axis(x, index, axis=dim)",
    "scatter": "jnp.put_along_axis(x, index, source, axis=dim, inplace=False)",
    "scatter_add": "x.at[along(index, dim)].add(source)",
    "index_select": "jnp.take(x, index, axis=dim)",
    "one_hot": "jax.nn.one_hot(x, classes, dtype=jnp.int32)",
    "nonzero": "jnp.argwhere(x)",
    "bincount": "jnp.bincount(x, length=length)",
    "sum": "x.sum(axis=dim, keepdims=keepdim, dtype=dtype)",
    "mean": "x.mean(axis=dim, keepdims=keepdim, dtype=dtype)",
    "prod": "x.prod(axis=dim, keepdims=keepdim, dtype=dtype)",
    "var": "x.var(axis=dim, keepdims=keepdim, ddof=correction)",
    "std": "x.std(axis=dim, keepdims=keepdim, ddof=correction)",
    "amax": "x.max(axis=dim, keepdims=keepdim)",
    "amin": "x.min(axis=dim, keepdims=keepdim)",
    "argmax": "x.argmax(axis=dim, keepdims=keepdim)",
    "argmin": "x.argmin(axis=dim, keepdims=keepdim)",
    "all": "jnp.all(x, axis=dim, keepdims=keepdim)",
    "any": "jnp.any(x, axis=dim, keepdims=keepdim)",
    "logsumexp": "jax.nn.logsumexp(x, axis=dim, keepdims=keepdim)",
    "cumsum": "jnp.cumsum(x, axis=dim, dtype=dtype)",
    "cumprod": "jnp.cumprod(x, axis=dim, dtype=dtype)",
    "linspace": "jnp.linspace(start, stop, steps, dtype=dtype)",
    "zeros": "jnp.zeros(shape, dtype=dtype)",
    "ones": "jnp.ones(shape, dtype=dtype)",
    "full": "jnp.full(shape, value, dtype=dtype)",
    "zeros_like": "jnp.zeros_like(x, dtype=dtype)",
    "ones_like": "jnp.ones_like(x, dtype=dtype)",
    "full_like": "jnp.full_like(x, value, dtype=dtype)",
    "tensor": "jnp.array(data, dtype=dtype)",
    "finfo_min": "jnp.finfo(dtype).min",
    "finfo_max": "jnp.finfo(dtype).max",
    "finfo_eps": "jnp.finfo(dtype).eps",
    "finfo_tiny": "jnp.finfo(dtype).tiny",
    "polar": "jax.lax.complex(radius * jnp.cos(angle), radius * jnp.sin(angle))",
    "complex": "jax.lax.complex(real, imag)",
    "view_as_complex": "jax.lax.complex(x[..., 0], x[..., 1])",
    "view_as_real": "jnp.stack((x.real, x.imag), axis=-1)",
    "chunk": "jnp.split(x, chunks, axis=dim)",
    "unbind": "jnp.unstack(x, axis=dim)",
}

DEFAULTS: dict[str, object] = {
    "keepdim": False,
    "descending": False,
    "correction": 0,
    "alpha": 1,
    "is_causal": False,
    "diagonal": 0,
    "nan": 0.0,
}

REPEATS: dict[str, tuple[str, ...]] = {
    "topk_first": ("x",),
    "lerp": ("a",),
    "polar": ("radius", "angle"),
    "view_as_complex": ("x",),
    "view_as_real": ("x",),
    "sort": ("x",),
    "max_dim": ("x",),
    "min_dim": ("x",),
    "aminmax": ("x",),
}
"""Parameters that a spelling mentions more than once: their arguments have to be names."""

HELPERS: dict[str, str] = {
    "tril": '''
def tril(x, diagonal):
    """Zero above the diagonal, which may be traced."""
    rows, columns = jnp.arange(x.shape[-2])[:, None], jnp.arange(x.shape[-1])
    return jnp.where(columns <= rows + diagonal, x, jnp.zeros((), x.dtype))
''',
    "triu": '''
def triu(x, diagonal):
    """Zero below the diagonal, which may be traced."""
    rows, columns = jnp.arange(x.shape[-2])[:, None], jnp.arange(x.shape[-1])
    return jnp.where(columns >= rows + diagonal, x, jnp.zeros((), x.dtype))
''',
    "layer_norm": '''
def layer_norm(x, weight, bias, eps):
    """Over the last axis, in float32 where the type of x has fewer bits."""
    h = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    h = h - h.mean(axis=-1, keepdims=True)
    h = h * jax.lax.rsqrt(jnp.square(h).mean(axis=-1, keepdims=True) + eps)
    h = h if weight is None else h * weight
    h = h if bias is None else h + bias
    return h.astype(x.dtype)
''',
    "rms_norm": '''
def rms_norm(x, weight, eps):
    """Over the last axis, in float32 where the type of x has fewer bits."""
    h = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    eps = jnp.finfo(h.dtype).eps if eps is None else eps
    h = h * jax.lax.rsqrt(jnp.square(h).mean(axis=-1, keepdims=True) + eps)
    h = h if weight is None else h * weight
    return h.astype(x.dtype)
''',
    "group_norm": '''
def group_norm(x, weight, bias, groups, eps):
    """Over groups of axis 1 and all axes after it."""
    h = x.astype(jnp.promote_types(x.dtype, jnp.float32)).reshape(x.shape[0], groups, -1)
    h = h - h.mean(axis=-1, keepdims=True)
    h = h * jax.lax.rsqrt(jnp.square(h).mean(axis=-1, keepdims=True) + eps)
    h, column = h.reshape(x.shape), (-1,) + (1,) * (x.ndim - 2)
    h = h if weight is None else h * weight.reshape(column)
    h = h if bias is None else h + bias.reshape(column)
    return h.astype(x.dtype)
''',
    "attention": '''
def attention(q, k, v, mask=None, *, is_causal=False, scale=None):
    """Heads before tokens; a mask of booleans is True where a token attends."""
    repeats = q.shape[-3] // k.shape[-3]
    k, v = jnp.repeat(k, repeats, axis=-3), jnp.repeat(v, repeats, axis=-3)
    scores = q @ k.swapaxes(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        mask = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf) if mask.dtype == bool else scores + mask
    return jax.nn.softmax(scores.astype(jnp.promote_types(q.dtype, jnp.float32)), axis=-1).astype(q.dtype) @ v
''',
    "grouped_dot": '''
def grouped_dot(x: Array, weight: Array, sizes: Array, axis: int) -> Array:
    """Rows [N, F] of x [N, D] times the weight of their group, whose `axis` is D; rows after the last are zero."""

    def ragged(x: Array, weight: Array, sizes: Array) -> Array:
        axes = jax.lax.RaggedDotDimensionNumbers((((1,), (axis,)), ((), ())), [0], [0])
        return jax.lax.ragged_dot_general(x, weight, sizes, axes)

    def in_blocks(x: Array, weight: Array, sizes: Array) -> Array:
        """Block after block of rows of one group, the last of each group filled up: a CPU has no ragged product."""
        n, groups, width = x.shape[0], sizes.shape[0], weight.shape[3 - axis]
        size = max(1, min(32, -(-n // groups)))
        count = min(n, -(-n // size) + groups)  # more blocks there cannot be
        blocks = -(-sizes // size)  # of each group
        ends, last = jnp.cumsum(sizes), jnp.cumsum(blocks)
        group = jnp.searchsorted(ends, jnp.arange(n), side="right")  # of each row
        place = jnp.arange(n) + ((last - blocks) * size - (ends - sizes))[group]
        rows = jnp.zeros((count * size, x.shape[1]), x.dtype).at[place].set(x).reshape(count, size, x.shape[1])

        def product(rows: Array, group: Array) -> Array:
            return jax.lax.dot_general(rows, weight[group], (((1,), (axis - 1,)), ((), ())))

        def nothing(rows: Array, group: Array) -> Array:
            return jnp.zeros((size, width), x.dtype)

        owner = jnp.searchsorted(last, jnp.arange(count), side="right")  # the group of each block
        out = jax.lax.map(lambda block: jax.lax.cond(block[1] < groups, product, nothing, *block), (rows, owner))
        return jnp.where((group < groups)[:, None], out.reshape(count * size, width)[place], 0)

    return jax.lax.platform_dependent(x, weight, sizes, cpu=in_blocks, default=ragged)
''',
    "windows": '''
def windows(x, size, step, axis):
    """Windows along an axis, as a new last axis."""
    starts = jnp.arange(0, x.shape[axis] - size + 1, step)
    picked = jnp.take(x, starts[:, None] + jnp.arange(size), axis=axis)
    return jnp.moveaxis(picked, picked.ndim - 1 if axis == -1 else axis + 1, -1)
''',
    "masked_scatter": '''
def masked_scatter(x, mask, source):
    """The elements of source, in order, where the mask holds."""
    mask = jnp.broadcast_to(mask, x.shape)
    at = jnp.cumsum(mask.ravel()).reshape(x.shape) - 1
    return jnp.where(mask, source.ravel()[at].astype(x.dtype), x)
''',
    "along": '''
def along(index, axis):
    """What picks elements along one axis, as `x.at[...]` takes it."""
    picked = list(jnp.ix_(*map(jnp.arange, index.shape)))
    picked[axis] = index
    return tuple(picked)
''',
    "pad": '''
def pad(x, widths, value=0):
    """(before, after) for every axis; negative widths remove."""
    return jax.lax.pad(x, jnp.asarray(value, x.dtype), [(before, after, 0) for before, after in widths])
''',
    "top_k": '''
def top_k(x, k, axis=-1, largest=True):
    """The k greatest or least of an axis, and their indices."""
    order = jnp.argsort(x, axis=axis, descending=largest)
    order = jax.lax.slice_in_dim(order, 0, k, axis=axis)
    return jnp.take_along_axis(x, order, axis=axis), order
''',
    "cummax": '''
def cummax(x, axis):
    """The running maximum of an axis and its index, the last of equals."""
    place = jnp.expand_dims(jnp.arange(x.shape[axis]), [a for a in range(x.ndim) if a != axis % x.ndim])

    def greater(a, b):
        later = b[0] >= a[0]
        return jnp.where(later, b[0], a[0]), jnp.where(later, b[1], a[1])

    return jax.lax.associative_scan(greater, (x, jnp.broadcast_to(place, x.shape)), axis=axis % x.ndim)
''',
}
"""Functions that spellings call, by name. A file that uses one of them has to define it."""

_TYPES = {DType.BOOL: "jnp.bool_", DType.INT64: "jnp.int32"}  # JAX has 64-bit integers only when it is told to


def dtype(of: DType) -> ast.expr:
    if of in (DType.MODEL, DType.PROMOTED):
        raise Unspellable("the type of the model, with no value at hand that has it")
    return path(_TYPES.get(of, f"jnp.{of.value}"))


def _linear(x: Rendered, w: Rendered, b: Rendered) -> ast.expr:
    product = template('jnp.einsum("...i,oi->...o", x, w)', x=_expr(x), w=_expr(w))  # w.T would be copied by XLA
    return product if b is None else template("p + b", p=product, b=_expr(b))


def _baddbmm(b: Rendered, x: Rendered, y: Rendered, beta: Rendered, alpha: Rendered) -> ast.expr:
    product = template("x @ y", x=_expr(x), y=_expr(y))
    if alpha != 1:
        product = template("alpha * p", p=product, alpha=_expr(alpha))
    if is_zero(beta):
        return product
    added = _expr(b) if beta == 1 else template("beta * b", b=_expr(b), beta=_expr(beta))
    return template("b + p", b=added, p=product)


def _einsum(equation: Rendered, xs: Rendered) -> ast.expr:
    assert isinstance(xs, tuple)
    return call("jnp.einsum", _expr(equation), *(_expr(x) for x in xs))


def _softmax(function: str, x: Rendered, dim: Rendered, kind: Rendered) -> ast.expr:
    operand = _expr(x) if kind is None else template("x.astype(dtype)", x=_expr(x), dtype=_expr(kind))
    return call(function, operand, axis=_expr(dim))


def _softplus(x: Rendered, beta: Rendered, threshold: Rendered) -> ast.expr:
    """Above a threshold of 20 the linear part is exact to the last bits of float32; a lower one is part of the function."""
    if not (isinstance(threshold, (int, float)) and threshold >= 20):
        raise Unspellable("softplus with a low threshold")
    if beta == 1:
        return call("jax.nn.softplus", _expr(x))
    return template("jax.nn.softplus(beta * x) / beta", x=_expr(x), beta=_expr(beta))


def _gelu(x: Rendered, approximate: Rendered) -> ast.expr:
    return call("jax.nn.gelu", _expr(x), approximate=literal(approximate == "tanh"))


def _conv(axes: str, x: Rendered, w: Rendered, b: Rendered, *more: Rendered) -> ast.expr:
    stride, padding, dilation, groups = more
    assert isinstance(padding, tuple)
    keywords = {"window_strides": _expr(stride), "padding": _expr(tuple((p, p) for p in padding))}
    if not (isinstance(dilation, tuple) and all(d == 1 for d in dilation)):
        keywords["rhs_dilation"] = _expr(dilation)
    if groups != 1:
        keywords["feature_group_count"] = _expr(groups)
    layout = (f"NC{axes}", f"OI{axes}", f"NC{axes}")
    keywords["dimension_numbers"] = _expr(layout)
    made = call("jax.lax.conv_general_dilated", _expr(x), _expr(w), **keywords)
    if b is None:
        return made
    column = subscript(_expr(b), [ast.Slice(None, None, None), *(ast.Constant(None) for _ in axes)])
    return template("made + b", made=made, b=column)


def _norm_shape(function: str, op: str, x: Rendered, *more: Rendered) -> ast.expr:
    shape = more[-2]
    if not isinstance(shape, tuple) or len(shape) != 1:
        raise Unspellable(f"`{op}` over several axes")
    return SPELLINGS.fill(function, op, (x, *more))


def _attention(*args: Rendered) -> ast.expr:
    q, k, v, mask, is_causal, scale, _ = args
    keywords = {}
    if is_causal:
        keywords["is_causal"] = _expr(is_causal)
    if scale is not None:
        keywords["scale"] = _expr(scale)
    masks = [] if mask is None else [_expr(mask)]
    return call("attention", _expr(q), _expr(k), _expr(v), *masks, **keywords)


def _solve(a: Rendered, b: Rendered, upper: Rendered, left: Rendered, unitriangular: Rendered) -> ast.expr:
    if left is not True:
        raise Unspellable("`solve_triangular` from the right")
    keywords = {"lower": literal(not upper)}
    if unitriangular:
        keywords["unit_diagonal"] = literal(True)
    return call("jax.scipy.linalg.solve_triangular", _expr(a), _expr(b), **keywords)


def _reshape(x: Rendered, shape: Rendered) -> ast.expr:
    return template("x.reshape(*shape)" if shape != () else "x.reshape(shape)", x=_expr(x), shape=_expr(shape))


def _unsqueeze(x: Rendered, dim: Rendered) -> ast.expr:
    assert isinstance(dim, int)
    return new_axis(_expr(x), dim) or template("jnp.expand_dims(x, dim)", x=_expr(x), dim=literal(dim))


def _squeeze(x: Rendered, dims: Rendered) -> ast.expr:
    assert isinstance(dims, tuple)
    return template("x.squeeze(dims)", x=_expr(x), dims=_expr(dims[0] if len(dims) == 1 else dims))


def _axes(function: str, x: Rendered, dims: Rendered) -> ast.expr:
    assert isinstance(dims, tuple)
    return call(function, _expr(x), axis=_expr(dims[0] if len(dims) == 1 else dims))


def _roll(x: Rendered, shifts: Rendered, dims: Rendered) -> ast.expr:
    assert isinstance(shifts, tuple) and isinstance(dims, tuple)
    if len(shifts) == len(dims) == 1:
        shifts, dims = shifts[0], dims[0]
    return call("jnp.roll", _expr(x), _expr(shifts), axis=_expr(dims))


_PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _pad(x: Rendered, widths: Rendered, mode: Rendered, value: Rendered) -> ast.expr:
    """Widths that are not literals may turn out negative, which `jnp.pad` does not take."""
    assert isinstance(widths, tuple)
    flat = [width for pair in widths if isinstance(pair, tuple) for width in pair]
    plain = all(isinstance(width, int) and width >= 0 for width in flat)
    if mode != "constant":
        if not plain:
            raise Unspellable("widths that may be negative, with a mode of its own")
        return call("jnp.pad", _expr(x), _expr(widths), mode=literal(_PAD_MODES[str(mode)]))
    if plain:
        keywords = {} if is_zero(value) else {"constant_values": _expr(value)}
        return call("jnp.pad", _expr(x), _expr(widths), **keywords)
    return call("pad", _expr(x), _expr(widths), *([] if is_zero(value) else [_expr(value)]))


def _getitem(x: Rendered, index: Rendered) -> ast.expr:
    assert isinstance(index, tuple)
    return subscript(_expr(x), [_expr(item) for item in index])


def _at(x: Rendered, index: tuple[Rendered, ...], update: str, y: Rendered) -> ast.expr:
    place = subscript(template("x.at", x=_expr(x)), [_expr(item) for item in index] or [ast.Constant(...)])
    return template(f"place.{update}(y)", place=place, y=_expr(y))


def _along_axis(update: str, x: Rendered, dim: Rendered, index: Rendered, source: Rendered) -> ast.expr:
    """`x.at[:, index].add(source)`."""
    assert isinstance(dim, int)
    whole: Rendered = SliceOf(None, None, None)
    before: tuple[Rendered, ...] = (Ellipsis_(),) if dim == -1 else (whole,) * dim
    return _at(x, (*before, index), update, source)


_REDUCTIONS = {"sum": "add", "prod": "multiply", "amax": "max", "amin": "min"}


def _scatter_reduce(
    x: Rendered, dim: Rendered, index: Rendered, source: Rendered, reduce: Rendered, include_self: Rendered
) -> ast.expr:
    if reduce not in _REDUCTIONS or include_self is not True:
        raise Unspellable(f"`scatter_reduce` by {reduce}")
    picked = call("along", _expr(index), _expr(dim))
    return _at(x, (picked,), _REDUCTIONS[str(reduce)], source)


def _searchsorted(known: Rendered, x: Rendered, right: Rendered) -> ast.expr:
    keywords = {"side": literal("right")} if right else {}
    return call("jnp.searchsorted", _expr(known), _expr(x), **keywords)


def _norm(x: Rendered, order: Rendered, dim: Rendered, keepdim: Rendered) -> ast.expr:
    if isinstance(dim, int):
        keywords = {} if order == 2 else {"ord": _infinite(order)}
        keywords["axis"] = literal(dim)
        if keepdim:
            keywords["keepdims"] = literal(True)
        return call("jnp.linalg.norm", _expr(x), **keywords)
    if order != 2:
        raise Unspellable("a norm of several axes by another order than 2")
    keywords = ({} if dim is None else {"axis": _expr(dim)}) | ({"keepdims": literal(True)} if keepdim else {})
    return call("jnp.sqrt", call("jnp.sum", call("jnp.square", _expr(x)), **keywords))


def _infinite(order: Rendered) -> ast.expr:
    if isinstance(order, float) and order in (float("inf"), float("-inf")):
        return template("jnp.inf" if order > 0 else "-jnp.inf")
    return _expr(order)


def _arange(start: Rendered, stop: Rendered, step: Rendered, kind: Rendered) -> ast.expr:
    keywords = {} if kind is None else {"dtype": _expr(kind)}
    if step != 1 or isinstance(step, float):
        return call("jnp.arange", _expr(start), _expr(stop), _expr(step), **keywords)
    return call("jnp.arange", *([] if is_zero(start) else [_expr(start)]), _expr(stop), **keywords)


def _eye(rows: Rendered, columns: Rendered, kind: Rendered) -> ast.expr:
    sizes = [_expr(rows), _expr(columns)]
    return call("jnp.eye", *(sizes[:1] if same_syntax(*sizes) else sizes), dtype=_expr(kind))


def _split(x: Rendered, sizes: Rendered, dim: Rendered) -> ast.expr:
    """Parts by the places where they end; equal parts by their number."""
    assert isinstance(sizes, tuple)
    parts = [_expr(size) for size in sizes]
    if all(same_syntax(part, parts[0]) for part in parts):
        return call("jnp.split", _expr(x), literal(len(parts)), axis=_expr(dim))
    ends: list[ast.expr] = []
    total = 0
    for size, part in zip(sizes[:-1], parts[:-1], strict=True):
        if isinstance(size, int) and (not ends or isinstance(ends[-1], ast.Constant)):
            total += size
            ends.append(literal(total))
        else:
            ends.append(template("a + b", a=ends[-1], b=part) if ends else part)
    return call("jnp.split", _expr(x), ast.Tuple(ends, ast.Load()), axis=_expr(dim))


def _topk(x: Rendered, k: Rendered, dim: Rendered, largest: Rendered, in_order: Rendered) -> ast.expr:
    if dim == -1 and largest is True:
        return call("jax.lax.top_k", _expr(x), _expr(k))
    keywords = ({} if dim == -1 else {"axis": _expr(dim)}) | ({} if largest is True else {"largest": _expr(largest)})
    return call("top_k", _expr(x), _expr(k), **keywords)


def _pair(first: str, second: str, op: str, *args: Rendered) -> ast.expr:
    return ast.Tuple([SPELLINGS.fill(first, op, args), SPELLINGS.fill(second, op, args)], ast.Load())


def _argsort(x: Rendered, dim: Rendered, descending: Rendered, stable: Rendered) -> ast.expr:
    text = "jnp.argsort(x, descending=descending)" if dim == -1 else "jnp.argsort(x, axis=dim, descending=descending)"
    return SPELLINGS.fill(text, "argsort", (x, dim, descending, stable))


def _triangle(op: str, x: Rendered, diagonal: Rendered) -> ast.expr:
    """jax.numpy wants to know the diagonal when it compiles; one that follows from where the tokens start is not known then."""
    if isinstance(diagonal, int):
        return SPELLINGS.fill(f"jnp.{op}(x, k=diagonal)", op, (x, diagonal))
    return call(op, _expr(x), _expr(diagonal))


FUNCTIONS: dict[str, Speller] = {
    "tril": lambda *args: _triangle("tril", *args),
    "triu": lambda *args: _triangle("triu", *args),
    "argsort": _argsort,
    "linear": _linear,
    "baddbmm": _baddbmm,
    "einsum": _einsum,
    "softmax": lambda *args: _softmax("jax.nn.softmax", *args),
    "log_softmax": lambda *args: _softmax("jax.nn.log_softmax", *args),
    "softplus": _softplus,
    "gelu": _gelu,
    "conv1d": lambda *args: _conv("L", *args),
    "conv2d": lambda *args: _conv("HW", *args),
    "layer_norm": lambda *args: _norm_shape("layer_norm(x, w, b, eps)", "layer_norm", *args),
    "rms_norm": lambda *args: _norm_shape("rms_norm(x, w, eps)", "rms_norm", *args),
    "attention": _attention,
    "solve_triangular": _solve,
    "reshape": _reshape,
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "flip": lambda *args: _axes("jnp.flip", *args),
    "roll": _roll,
    "pad": _pad,
    "getitem": _getitem,
    "setitem": lambda x, index, y: _at(x, index, "set", y),
    "index_add": lambda *args: _along_axis("add", *args),
    "index_copy": lambda *args: _along_axis("set", *args),
    "scatter_reduce": _scatter_reduce,
    "bucketize": lambda x, boundaries, right: _searchsorted(boundaries, x, right),
    "searchsorted": _searchsorted,
    "norm": _norm,
    "arange": _arange,
    "eye": _eye,
    "split": _split,
    "topk": _topk,
    "cummax": lambda x, dim: call("cummax", _expr(x), axis=_expr(dim)),
    "sort": lambda *args: _pair(
        "jnp.sort(x, axis=dim, descending=descending)", "jnp.argsort(x, axis=dim, descending=descending)", "sort", *args
    ),
    "max_dim": lambda *args: _pair(
        "x.max(axis=dim, keepdims=keepdim)", "x.argmax(axis=dim, keepdims=keepdim)", "max_dim", *args
    ),
    "min_dim": lambda *args: _pair(
        "x.min(axis=dim, keepdims=keepdim)", "x.argmin(axis=dim, keepdims=keepdim)", "min_dim", *args
    ),
    "aminmax": lambda *args: _pair(
        "x.min(axis=dim, keepdims=keepdim)", "x.max(axis=dim, keepdims=keepdim)", "aminmax", *args
    ),
}
SPELLINGS = Spellings(TEMPLATES, FUNCTIONS, dtype, DEFAULTS)


def _expr(rendered: Rendered) -> ast.expr:
    return SPELLINGS.expr(rendered)


def spell(op: str, args: tuple[Rendered, ...]) -> ast.expr:
    """The operation as an expression of jax.numpy.

    Raises:
        Unspellable: there is no such expression.
    """
    return SPELLINGS.spell(op, args)


_FRACTIONS = frozenset(
    "div atan2 logaddexp reciprocal sqrt rsqrt exp exp2 expm1 log log1p log2 log10 sin cos tan atan sinh cosh erf erfinv sigmoid tanh".split()
)
_ELEMENTWISE = (
    frozenset("add sub mul floor_divide remainder fmod pow maximum minimum lerp clamp where masked_fill".split())
    | _FRACTIONS
)


def settles(op: str, args: tuple[Any, ...], result: DType) -> bool:
    """Whether the result has to be cast to its type, because JAX by itself makes it of another.

    Integers turned into floats are float32 in PyTorch, and in JAX what its 64-bit switch says; tensors without axes are weak
    in PyTorch and strong in JAX.
    """
    if op not in _ELEMENTWISE or category(result) < Category.FLOAT:
        return False
    counted = args[:1] + args[2:] if op == "masked_fill" else args[1:] if op == "where" else args
    tensors = [arg for arg in counted if hasattr(arg, "dtype") and hasattr(arg, "shape")]
    floats = [x.dtype for x in tensors if category(x.dtype) >= Category.FLOAT]
    if not floats:
        return True
    return any(dtype is not result and not _absorbed(dtype, result) for dtype in floats)


def _absorbed(dtype: DType, result: DType) -> bool:
    """Whether `result`, with something of `dtype`, stays what it is."""
    try:
        return promote(dtype, result) is result
    except UnknownPromotion:
        return False


def imports(node: ast.AST) -> set[str]:
    """The modules that printed code refers to: jax, jnp, math."""
    return roots(node) & {"jax", "jnp", "math", "nnx", "np"}


def helpers(node: ast.AST) -> set[str]:
    """The HELPERS that printed code calls."""
    return roots(node) & set(HELPERS)


__all__ = ["DTypeOfRendered", "HELPERS", "REPEATS", "Unspellable", "dtype", "helpers", "imports", "settles", "spell"]
