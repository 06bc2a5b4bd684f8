"""How PyTorch writes the operations of `ir.ops`: the same calls as the source made, in one idiom."""

from __future__ import annotations

import ast

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
    stored,
    subscript,
    template,
)
from ir.graph import DType
from ir.ops import CREATES, OPS

TEMPLATES = {
    "add": "a + b",
    "sub": "a - b",
    "mul": "a * b",
    "div": "a / b",
    "floor_divide": "a // b",
    "remainder": "a % b",
    "fmod": "torch.fmod(a, b)",
    "pow": "a ** b",
    "atan2": "torch.atan2(a, b)",
    "logaddexp": "torch.logaddexp(a, b)",
    "maximum": "torch.maximum(a, b)",
    "minimum": "torch.minimum(a, b)",
    "lerp": "torch.lerp(a, b, weight)",
    "neg": "-x",
    **{
        op: f"torch.{op}(x)"
        for op in (
            "abs sign floor ceil round trunc reciprocal sqrt rsqrt exp exp2 expm1 log log1p log2 log10 sin cos tan atan sinh"
            " cosh erf erfinv isnan isinf isfinite logical_not sigmoid tanh polar view_as_complex view_as_real real imag conj"
        ).split()
    },
    "detach": "x.detach()",
    "clamp": "torch.clamp(x, min=low, max=high)",
    "nan_to_num": "torch.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)",
    "eq": "a == b",
    "ne": "a != b",
    "lt": "a < b",
    "le": "a <= b",
    "gt": "a > b",
    "ge": "a >= b",
    "logical_and": "torch.logical_and(a, b)",
    "logical_or": "torch.logical_or(a, b)",
    "logical_xor": "torch.logical_xor(a, b)",
    "bitwise_and": "a & b",
    "bitwise_or": "a | b",
    "bitwise_xor": "a ^ b",
    "bitwise_not": "~x",
    "left_shift": "a << b",
    "right_shift": "a >> b",
    **{op: f"F.{op}(x)" for op in "relu relu6 silu logsigmoid selu mish hardswish hardsigmoid softsign".split()},
    "gelu": "F.gelu(x, approximate=approximate)",
    "softplus": "F.softplus(x, beta=beta, threshold=threshold)",
    "leaky_relu": "F.leaky_relu(x, slope)",
    "elu": "F.elu(x, alpha=alpha)",
    "glu": "F.glu(x, dim=dim)",
    "softmax": "F.softmax(x, dim=dim, dtype=dtype)",
    "log_softmax": "F.log_softmax(x, dim=dim, dtype=dtype)",
    "matmul": "a @ b",
    "addmm": "F.linear(x, w.T, b)",
    "baddbmm": "torch.baddbmm(b, x, y, beta=beta, alpha=alpha)",
    "outer": "torch.outer(a, b)",
    "topk_first": "topk_first(x, count, k)",
    "grouped_linear": "grouped_linear(x, w, sizes)",
    "grouped_matmul": "grouped_linear(x, w.mT, sizes)",
    "embedding": "F.embedding(ids, w)",
    "layer_norm": "F.layer_norm(x, shape, weight=w, bias=b, eps=eps)",
    "rms_norm": "F.rms_norm(x, shape, weight=w, eps=eps)",
    "group_norm": "F.group_norm(x, groups, weight=w, bias=b, eps=eps)",
    "attention": "F.scaled_dot_product_attention("
    "q, k, v, attn_mask=mask, is_causal=is_causal, scale=scale, enable_gqa=enable_gqa)",
    "solve_triangular": "torch.linalg.solve_triangular(a, b, upper=upper, left=left, unitriangular=unitriangular)",
    "transpose": "x.transpose(a, b)",
    "permute": "x.permute(*dims)",
    "cat": "torch.cat(xs, dim=dim)",
    "stack": "torch.stack(xs, dim=dim)",
    "repeat": "x.repeat(*repeats)",
    "repeat_interleave": "x.repeat_interleave(repeats, dim=dim)",
    "flip": "x.flip(*dims)",
    "unfold": "x.unfold(dim, size, step)",
    "diagonal": "x.diagonal(offset, a, b)",
    "diag_embed": "torch.diag_embed(x)",
    "tril": "torch.tril(x, diagonal=diagonal)",
    "triu": "torch.triu(x, diagonal=diagonal)",
    "where": "torch.where(condition, a, b)",
    "masked_fill": "x.masked_fill(mask, value)",
    "masked_scatter": "x.masked_scatter(mask, source)",
    "gather": "x.gather(dim, index)",
    "scatter": "x.scatter(dim, index, source)",
    "scatter_add": "x.scatter_add(dim, index, source)",
    "scatter_reduce": "x.scatter_reduce(dim, index, source, reduce, include_self=include_self)",
    "index_select": "x.index_select(dim, index)",
    "index_add": "x.index_add(dim, index, source)",
    "index_copy": "x.index_copy(dim, index, source)",
    "one_hot": "F.one_hot(x, classes)",
    "bucketize": "torch.bucketize(x, boundaries, right=right)",
    "searchsorted": "torch.searchsorted(sorted, x, right=right)",
    "nonzero": "x.nonzero()",
    "bincount": "torch.bincount(x, minlength=length)",
    "sum": "x.sum(dim=dim, keepdim=keepdim, dtype=dtype)",
    "mean": "x.mean(dim=dim, keepdim=keepdim, dtype=dtype)",
    "prod": "x.prod(dim=dim, keepdim=keepdim, dtype=dtype)",
    "var": "x.var(dim=dim, keepdim=keepdim, correction=correction)",
    "std": "x.std(dim=dim, keepdim=keepdim, correction=correction)",
    "amax": "x.amax(dim=dim, keepdim=keepdim)",
    "amin": "x.amin(dim=dim, keepdim=keepdim)",
    "argmax": "x.argmax(dim=dim, keepdim=keepdim)",
    "argmin": "x.argmin(dim=dim, keepdim=keepdim)",
    "all": "x.all(dim=dim, keepdim=keepdim)",
    "any": "x.any(dim=dim, keepdim=keepdim)",
    "logsumexp": "torch.logsumexp(x, dim=dim, keepdim=keepdim)",
    "norm": "torch.linalg.vector_norm(x, ord=order, dim=dim, keepdim=keepdim)",
    "cumsum": "x.cumsum(dim=dim, dtype=dtype)",
    "cumprod": "x.cumprod(dim=dim, dtype=dtype)",
    "linspace": "torch.linspace(start, stop, steps, dtype=dtype)",
    "full": "torch.full(shape, value, dtype=dtype)",
    "zeros_like": "torch.zeros_like(x, dtype=dtype)",
    "ones_like": "torch.ones_like(x, dtype=dtype)",
    "full_like": "torch.full_like(x, value, dtype=dtype)",
    "tensor": "torch.tensor(data, dtype=dtype)",
    "finfo_min": "torch.finfo(dtype).min",
    "finfo_max": "torch.finfo(dtype).max",
    "finfo_eps": "torch.finfo(dtype).eps",
    "finfo_tiny": "torch.finfo(dtype).tiny",
    "polar": "torch.polar(radius, angle)",
    "complex": "torch.complex(real, imag)",
    "chunk": "x.chunk(chunks, dim=dim)",
    "unbind": "x.unbind(dim=dim)",
    "max_dim": "x.max(dim=dim, keepdim=keepdim)",
    "min_dim": "x.min(dim=dim, keepdim=keepdim)",
    "cummax": "x.cummax(dim=dim)",
    "aminmax": "torch.aminmax(x, dim=dim, keepdim=keepdim)",
}

# What torch assumes where an argument is left out; everywhere the same for a name
DEFAULTS: dict[str, object] = {
    "keepdim": False,
    "largest": True,
    "sorted": True,
    "descending": False,
    "stable": False,
    "correction": 1,
    "beta": 1,
    "alpha": 1,
    "threshold": 20,
    "approximate": "none",
    "right": False,
    "include_self": True,
    "is_causal": False,
    "enable_gqa": False,
    "left": True,
    "unitriangular": False,
    "diagonal": 0,
    "nan": 0.0,
}
_CASTS = {DType.FLOAT32: "float", DType.FLOAT64: "double", DType.INT64: "long", DType.BOOL: "bool", DType.INT32: "int"}


HELPERS: dict[str, str] = {
    "grouped_linear": '''
def grouped_linear(x: Tensor, weight: Tensor, sizes: Tensor) -> Tensor:
    """Rows [N, F] of x [N, D] times the weight [E, F, D] of their group; rows after the last group give zero."""
    counts = sizes.tolist()
    *groups, rest = x.split([*counts, len(x) - sum(counts)])
    out = [F.linear(rows, w) for rows, w in zip(groups, weight, strict=True) if len(rows)]
    return torch.cat([*out, rest.new_zeros(len(rest), weight.shape[1])])
''',
    "topk_first": '''
def topk_first(x: Tensor, count: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k greatest of the first entries of x [N], and where they are; zeros follow where there are fewer than k."""
    values, index = x[:count].topk(min(k, int(count)))
    room = (0, k - len(index))
    return F.pad(values, room), F.pad(index, room)
''',
}
"""Functions that spellings call, by name. A file that uses one of them has to define it."""


def dtype(of: DType) -> ast.expr:
    if of in (DType.MODEL, DType.PROMOTED):
        raise Unspellable("the type of the model, with no value at hand that has it")
    return path(f"torch.{of.value}")


def _cast(x: Rendered, to: Rendered) -> ast.expr:
    if isinstance(to, DType) and to in _CASTS:
        return template(f"x.{_CASTS[to]}()", x=_expr(x))
    return template("x.to(dtype)", x=_expr(x), dtype=_expr(to))


def _linear(x: Rendered, w: Rendered, b: Rendered) -> ast.expr:
    args = [_expr(x), _expr(w)] + ([] if b is None else [_expr(b)])
    return call("F.linear", *args)


def _conv(function: str, x: Rendered, w: Rendered, b: Rendered, *more: Rendered) -> ast.expr:
    keywords = {} if b is None else {"bias": _expr(b)}
    for key, value, default in zip(("stride", "padding", "dilation", "groups"), more, (1, 0, 1, 1), strict=True):
        items = value if isinstance(value, tuple) else (value,)
        if all(isinstance(item, int) and item == default for item in items):
            continue
        equal = all(same_syntax(_expr(item), _expr(items[0])) for item in items)
        keywords[key] = _expr(items[0] if equal else items)
    return call(function, _expr(x), _expr(w), **keywords)


def _sized(text: str, x: Rendered, shape: Rendered) -> ast.expr:
    """Sizes one by one; of no axes, an empty tuple."""
    return template(text if shape != () else text.replace("*", ""), x=_expr(x), shape=_expr(shape))


def _unsqueeze(x: Rendered, dim: Rendered) -> ast.expr:
    assert isinstance(dim, int)
    return new_axis(_expr(x), dim) or template("x.unsqueeze(dim)", x=_expr(x), dim=literal(dim))


def _squeeze(x: Rendered, dims: Rendered) -> ast.expr:
    assert isinstance(dims, tuple)
    return template("x.squeeze(dims)", x=_expr(x), dims=_expr(dims[0] if len(dims) == 1 else dims))


def _split(x: Rendered, sizes: Rendered, dim: Rendered) -> ast.expr:
    assert isinstance(sizes, tuple)
    parts = [_expr(size) for size in sizes]
    if all(same_syntax(part, parts[0]) for part in parts):
        return template("x.chunk(parts, dim=dim)", x=_expr(x), parts=literal(len(parts)), dim=_expr(dim))
    return template("x.split(sizes, dim=dim)", x=_expr(x), sizes=ast.Tuple(parts, ast.Load()), dim=_expr(dim))


def _pad(x: Rendered, widths: Rendered, mode: Rendered, value: Rendered) -> ast.expr:
    assert isinstance(widths, tuple)
    pairs = [pair for pair in widths if isinstance(pair, tuple)]
    while pairs and all(is_zero(width) for width in pairs[0]):
        pairs = pairs[1:]
    flat = tuple(width for pair in reversed(pairs) for width in pair)
    keywords = {} if mode == "constant" else {"mode": _expr(mode)}
    if mode == "constant" and not is_zero(value):
        keywords["value"] = _expr(value)
    return call("F.pad", _expr(x), _expr(flat), **keywords)


def _roll(x: Rendered, shifts: Rendered, dims: Rendered) -> ast.expr:
    assert isinstance(shifts, tuple) and isinstance(dims, tuple)
    if len(shifts) == len(dims) == 1:
        shifts, dims = shifts[0], dims[0]
    return template("x.roll(shifts, dims)", x=_expr(x), shifts=_expr(shifts), dims=_expr(dims))


def _getitem(x: Rendered, index: Rendered) -> ast.expr:
    assert isinstance(index, tuple)
    return subscript(_expr(x), [_expr(item) for item in index])


def _setitem(x: Rendered, index: Rendered, y: Rendered) -> ast.expr:
    raise Unspellable("`setitem` is a statement in PyTorch")


def _arange(start: Rendered, stop: Rendered, step: Rendered, kind: Rendered) -> ast.expr:
    keywords = {} if kind is None else {"dtype": _expr(kind)}
    if step != 1 or isinstance(step, float):
        return call("torch.arange", _expr(start), _expr(stop), _expr(step), **keywords)
    return call("torch.arange", *([] if is_zero(start) else [_expr(start)]), _expr(stop), **keywords)


def _filled(function: str, shape: Rendered, kind: Rendered) -> ast.expr:
    assert isinstance(shape, tuple)
    sizes = [_expr(size) for size in shape] or [ast.Tuple([], ast.Load())]
    return call(function, *sizes, dtype=_expr(kind))


def _eye(rows: Rendered, columns: Rendered, kind: Rendered) -> ast.expr:
    sizes = [_expr(rows), _expr(columns)]
    return call("torch.eye", *(sizes[:1] if same_syntax(*sizes) else sizes), dtype=_expr(kind))


def _einsum(equation: Rendered, xs: Rendered) -> ast.expr:
    assert isinstance(xs, tuple)
    return call("torch.einsum", _expr(equation), *(_expr(x) for x in xs))


_ORDERING = {
    "argsort": "x.argsort(dim=dim, descending=descending, stable=stable)",
    "topk": "x.topk(k, dim=dim, largest=largest, sorted=sorted)",
    "sort": "x.sort(dim=dim, descending=descending, stable=stable)",
}


def _ordered(op: str) -> Speller:
    """Along the last axis unless another is named."""

    def spell_op(*args: Rendered) -> ast.expr:
        at = OPS[op].position("dim")
        text = _ORDERING[op].replace("dim=dim, ", "") if args[at] == -1 else _ORDERING[op]
        return SPELLINGS.fill(text, op, args)

    return spell_op


FUNCTIONS: dict[str, Speller] = {
    **{op: _ordered(op) for op in _ORDERING},
    "cast": _cast,
    "linear": _linear,
    "conv1d": lambda *args: _conv("F.conv1d", *args),
    "conv2d": lambda *args: _conv("F.conv2d", *args),
    "reshape": lambda x, shape: _sized("x.reshape(*shape)", x, shape),
    "expand": lambda x, shape: _sized("x.expand(*shape)", x, shape),
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "split": _split,
    "pad": _pad,
    "roll": _roll,
    "getitem": _getitem,
    "setitem": _setitem,
    "arange": _arange,
    "zeros": lambda shape, kind: _filled("torch.zeros", shape, kind),
    "ones": lambda shape, kind: _filled("torch.ones", shape, kind),
    "eye": _eye,
    "einsum": _einsum,
}

SPELLINGS = Spellings(TEMPLATES, FUNCTIONS, dtype, DEFAULTS)


def _expr(rendered: Rendered) -> ast.expr:
    return SPELLINGS.expr(rendered)


def spell(op: str, args: tuple[Rendered, ...], *, device: ast.expr | None = None) -> ast.expr:
    """The operation as an expression. `device` is where tensors made out of nothing go.

    Raises:
        Unspellable: there is no such expression; of `setitem`, see `assign`.
    """
    made = SPELLINGS.spell(op, args)
    if device is not None and op in CREATES and isinstance(made, ast.Call):
        made.keywords.append(ast.keyword("device", device))
    return made


def assign(op: str, args: tuple[Rendered, ...], target: str, *, fresh: bool) -> list[ast.stmt] | None:
    """Statements after which `target` holds the result of a write; None for operations that are expressions.

    `fresh`: the tensor that is written to is needed no more, by anyone, and may be overwritten.
    """
    if op != "setitem":
        return None
    x, index, y = args
    assert isinstance(index, tuple)
    source = _expr(x)
    out: list[ast.stmt] = []
    if not (fresh and isinstance(source, ast.Name) and source.id == target):
        value = source if fresh else template("x.clone()", x=source)
        out.append(ast.Assign([ast.Name(target, ast.Store())], value))
    return [*out, stored(target, index, y)]


REPEATS: dict[str, tuple[str, ...]] = {}
"""Parameters that a spelling mentions more than once: their arguments have to be names."""


def imports(node: ast.AST) -> set[str]:
    """The modules that printed code refers to: torch, F, math."""
    return roots(node) & {"torch", "F", "math", "nn"}


__all__ = ["DTypeOfRendered", "REPEATS", "Unspellable", "assign", "dtype", "imports", "spell"]
