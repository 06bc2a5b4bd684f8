"""Matrix products, layers, softmax, convolutions, attention, complex numbers."""

from __future__ import annotations

from codegen.graph.tensor_ops.binding import (
    Shape,
    canonical,
    canonical_dim,
    emit,
    fail,
    flag,
    number,
    plain_dim,
    rule,
    sizes,
    tensor,
    tensors,
    text,
)
from codegen.graph.tensor_ops.binding import (
    dtype as check_dtype,
)
from codegen.graph.tensor_ops.elementwise import clamp_min, divide
from codegen.graph.tensor_ops.layout import expanded, squeeze, unsqueeze
from codegen.graph.tensor_ops.reduce import vector_norm
from codegen.graph.tensor_ops.shapes import (
    add,
    agree,
    broadcast,
    count,
    floordiv,
    is_float,
    mul,
    replaced,
    result,
    shown,
    sub,
)
from codegen.graph.values import Size, Tensor, Trace, value_of
from ir.graph import DType


@rule("matmul", "linalg.matmul", methods=("matmul", "__matmul__"))
def matmul(trace: Trace, input: object, other: object) -> Tensor:
    a, b = tensor(trace, input), tensor(trace, other)
    if not a.shape or not b.shape:
        fail(trace, "shape-mismatch", "a matrix product with a tensor without axes")
    same_type(trace, a, b)
    agree(trace, a.shape[-1], b.shape[-2] if len(b.shape) > 1 else b.shape[0])
    batch = broadcast(trace, a.shape[:-2], b.shape[:-2])
    rows = a.shape[-2:-1] if len(a.shape) > 1 else ()
    columns = b.shape[-1:] if len(b.shape) > 1 else ()
    return emit(trace, "matmul", (a, b), (*batch, *rows, *columns), a.dtype)


def same_type(trace: Trace, a: Tensor, b: Tensor) -> None:
    """A product takes operands of one type. MODEL and float32 are one type where the model is loaded in float32 alone."""
    if a.dtype is not b.dtype and not {a.dtype, b.dtype} <= {DType.MODEL, DType.FLOAT32, DType.PROMOTED}:
        fail(trace, "shape-mismatch", f"a product of {a.dtype.value} and {b.dtype.value}")


@rule("bmm", methods=("bmm",))
def bmm(trace: Trace, input: object, mat2: object) -> Tensor:
    return matmul(trace, input, mat2)


@rule("mm", "mv", "dot", methods=("mm", "mv", "dot"))
def mm(trace: Trace, input: object, mat2: object) -> Tensor:
    return matmul(trace, input, mat2)


@rule("outer", "ger", methods=("outer",))
def outer(trace: Trace, input: object, vec2: object) -> Tensor:
    a, b = tensor(trace, input), tensor(trace, vec2)
    if len(a.shape) != 1 or len(b.shape) != 1:
        fail(trace, "shape-mismatch", "`torch.outer` takes two vectors")
    return emit(trace, "outer", (a, b), (a.shape[0], b.shape[0]), result(trace, (a, b)))


@rule("F.linear")
def linear(trace: Trace, input: object, weight: object, bias: object = None) -> Tensor:
    x, w = tensor(trace, input), tensor(trace, weight)
    b = None if bias is None else tensor(trace, bias)
    same_type(trace, x, w)
    agree(trace, x.shape[-1], w.shape[-1])
    columns: Shape = w.shape[:1] if len(w.shape) == 2 else ()
    return emit(trace, "linear", (x, w, b), (*x.shape[:-1], *columns), x.dtype)


@rule("addmm", methods=("addmm",))
def addmm(trace: Trace, input: object, mat1: object, mat2: object, *, beta: object = 1, alpha: object = 1) -> Tensor:
    b, x, w = tensor(trace, input), tensor(trace, mat1), tensor(trace, mat2)
    if value_of(beta) != 1 or value_of(alpha) != 1:
        fail(trace, "unknown-op", "`torch.addmm` with factors")
    agree(trace, x.shape[1], w.shape[0])
    shape = (x.shape[0], w.shape[1])
    broadcast(trace, b.shape, shape)
    return emit(trace, "addmm", (b, x, w), shape, x.dtype)


@rule("baddbmm", methods=("baddbmm",))
def baddbmm(
    trace: Trace, input: object, batch1: object, batch2: object, *, beta: object = 1, alpha: object = 1
) -> Tensor:
    b, x, y = tensor(trace, input), tensor(trace, batch1), tensor(trace, batch2)
    agree(trace, x.shape[2], y.shape[1])
    shape = (agree(trace, x.shape[0], y.shape[0]), x.shape[1], y.shape[2])
    broadcast(trace, b.shape, shape)
    return emit(trace, "baddbmm", (b, x, y, number(trace, beta), number(trace, alpha)), shape, x.dtype)


@rule("einsum")
def einsum(trace: Trace, equation: object, *operands: object) -> Tensor:
    form = text(trace, equation).replace(" ", "")
    items = operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    parts = tensors(trace, items)
    inputs, arrow, output = form.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(parts):
        fail(trace, "invalid-op", f"`einsum` of {len(parts)} tensors by {form!r}")
    known: dict[str, Size] = {}
    leading: list[Shape] = []
    for term, x in zip(terms, parts, strict=True):
        _name_axes(trace, term, x, known, leading)
    if not arrow:
        letters = "".join(terms).replace(".", "")
        output = ("..." if leading else "") + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    batch = broadcast(trace, *leading) if leading else ()
    shape: list[Size] = []
    for letter in output.replace("...", "."):
        shape += batch if letter == "." else (known[letter],)
    return emit(trace, "einsum", (f"{inputs}->{output}", parts), tuple(shape), result(trace, parts))


def _name_axes(trace: Trace, term: str, x: Tensor, known: dict[str, Size], leading: list[Shape]) -> None:
    head, dots, tail = term.partition("...")
    rest = len(x.shape) - len(head) - len(tail)
    if rest < 0 or (rest and not dots):
        fail(trace, "shape-mismatch", f"`einsum` reads {shown(x.shape)} as {term!r}")
    if dots:
        leading.append(x.shape[len(head) : len(head) + rest])
    pairs = [*zip(head, x.shape, strict=False), *zip(tail, x.shape[len(x.shape) - len(tail) :], strict=True)]
    for letter, size in pairs:
        have = known.get(letter)
        if have is None or count(have) == 1 != count(size):
            known[letter] = size
        elif count(size) != 1 or count(have) == 1:
            known[letter] = agree(trace, have, size)


@rule("F.embedding")
def embedding(
    trace: Trace,
    input: object,
    weight: object,
    padding_idx: object = None,
    max_norm: object = None,
    norm_type: object = 2.0,
    scale_grad_by_freq: object = False,
    sparse: object = False,
) -> Tensor:
    ids, w = tensor(trace, input), tensor(trace, weight)
    if max_norm is not None:
        fail(trace, "unknown-op", "an embedding that renormalises its weight")
    return emit(trace, "embedding", (ids, w), (*ids.shape, *w.shape[1:]), w.dtype)


# -------------------------------------------------------------------------------------------------------------- norms


@rule("F.layer_norm", "layer_norm")
def layer_norm(
    trace: Trace,
    input: object,
    normalized_shape: object,
    weight: object = None,
    bias: object = None,
    eps: object = 1e-5,
    cudnn_enable: object = True,
) -> Tensor:
    x = tensor(trace, input)
    shape = _trailing(trace, x, normalized_shape)
    w, b = (None if p is None else tensor(trace, p) for p in (weight, bias))
    return emit(trace, "layer_norm", (x, w, b, shape, number(trace, eps)), x.shape, x.dtype)


@rule("F.rms_norm", "rms_norm")
def rms_norm(
    trace: Trace, input: object, normalized_shape: object, weight: object = None, eps: object = None
) -> Tensor:
    x = tensor(trace, input)
    shape = _trailing(trace, x, normalized_shape)
    w = None if weight is None else tensor(trace, weight)
    return emit(trace, "rms_norm", (x, w, shape, None if eps is None else number(trace, eps)), x.shape, x.dtype)


def _trailing(trace: Trace, x: Tensor, normalized_shape: object) -> Shape:
    shape = sizes(trace, (normalized_shape,))
    if len(shape) > len(x.shape):
        fail(trace, "shape-mismatch", f"{shown(x.shape)} is normalised over {shown(shape)}")
    for have, want in zip(x.shape[len(x.shape) - len(shape) :], shape, strict=True):
        agree(trace, have, want)
    return shape


@rule("F.group_norm", "group_norm")
def group_norm(
    trace: Trace, input: object, num_groups: object, weight: object = None, bias: object = None, eps: object = 1e-5
) -> Tensor:
    x = tensor(trace, input)
    w, b = (None if p is None else tensor(trace, p) for p in (weight, bias))
    groups = sizes(trace, ((num_groups,),))[0]
    if count(x.shape[1]) % count(groups):
        fail(trace, "shape-mismatch", f"{count(x.shape[1])} channels in {count(groups)} groups")
    return emit(trace, "group_norm", (x, w, b, groups, number(trace, eps)), x.shape, x.dtype)


@rule("F.normalize")
def normalize(trace: Trace, input: object, p: object = 2.0, dim: object = 1, eps: object = 1e-12) -> Tensor:
    x = tensor(trace, input)
    length = clamp_min(trace, vector_norm(trace, x, p, dim, True), eps)
    return divide(trace, x, expanded(trace, length, x.shape))


@rule("F.cosine_similarity")
def cosine_similarity(trace: Trace, x1: object, x2: object, dim: object = 1, eps: object = 1e-8) -> Tensor:
    fail(trace, "unknown-op", "`cosine_similarity` is not known")


@rule("softmax", "F.softmax", "special.softmax", methods=("softmax",))
def softmax(trace: Trace, input: object, dim: object = None, _stacklevel: object = 3, dtype: object = None) -> Tensor:
    return _softmax(trace, "softmax", input, dim, _stacklevel, dtype)


@rule("log_softmax", "F.log_softmax", "special.log_softmax", methods=("log_softmax",))
def log_softmax(
    trace: Trace, input: object, dim: object = None, _stacklevel: object = 3, dtype: object = None
) -> Tensor:
    return _softmax(trace, "log_softmax", input, dim, _stacklevel, dtype)


def _softmax(trace: Trace, op: str, input: object, dim: object, third: object, dtype: object) -> Tensor:
    x = tensor(trace, input)
    if isinstance(third, DType):  # torch.softmax and the method have dtype as the third
        dtype = third
    if dim is None:
        fail(trace, "invalid-op", f"`{op}` without an axis")
    kind = x.dtype if dtype is None else check_dtype(trace, dtype)
    if not is_float(kind):
        fail(trace, "invalid-op", f"`{op}` of integers")
    axis = canonical_dim(trace, dim, len(x.shape))
    return emit(trace, op, (x, axis, None if kind is x.dtype else kind), x.shape, kind)


@rule("F.glu")
def glu(trace: Trace, input: object, dim: object = -1) -> Tensor:
    x = tensor(trace, input)
    axis = plain_dim(trace, dim, len(x.shape))
    half = floordiv(x.shape[axis], 2)
    return emit(trace, "glu", (x, canonical(axis, len(x.shape))), replaced(x.shape, axis, half), x.dtype)


@rule("F.prelu", "prelu", methods=("prelu",))
def prelu(trace: Trace, input: object, weight: object) -> Tensor:
    fail(trace, "unknown-op", "`prelu` is not known")


# ------------------------------------------------------------------------------------------------------- convolution


@rule("F.conv1d", "conv1d")
def conv1d(
    trace: Trace,
    input: object,
    weight: object,
    bias: object = None,
    stride: object = 1,
    padding: object = 0,
    dilation: object = 1,
    groups: object = 1,
) -> Tensor:
    return _conv(trace, 1, input, weight, bias, stride, padding, dilation, groups)


@rule("F.conv2d", "conv2d")
def conv2d(
    trace: Trace,
    input: object,
    weight: object,
    bias: object = None,
    stride: object = 1,
    padding: object = 0,
    dilation: object = 1,
    groups: object = 1,
) -> Tensor:
    return _conv(trace, 2, input, weight, bias, stride, padding, dilation, groups)


def _conv(
    trace: Trace,
    axes: int,
    input: object,
    weight: object,
    bias: object,
    stride: object,
    padding: object,
    dilation: object,
    groups: object,
) -> Tensor:
    x, w = tensor(trace, input), tensor(trace, weight)
    b = None if bias is None else tensor(trace, bias)
    steps, holes = _each(trace, stride, axes), _each(trace, dilation, axes)
    pads = _padding(trace, padding, w.shape[2:], holes, axes)
    parts = sizes(trace, ((groups,),))[0]
    if len(w.shape) != axes + 2 or len(x.shape) not in (axes + 1, axes + 2):
        fail(trace, "shape-mismatch", f"a convolution of {shown(x.shape)} with {shown(w.shape)}")
    if len(x.shape) == axes + 1:
        batched = _conv(trace, axes, unsqueeze(trace, x, 0), w, b, steps, pads, holes, parts)
        return squeeze(trace, batched, 0)
    agree(trace, x.shape[-1 - axes], mul(w.shape[1], parts))
    spatial = []
    for axis in range(axes):
        reach = add(mul(holes[axis], sub(w.shape[2 + axis], 1)), 1)
        room = sub(add(x.shape[len(x.shape) - axes + axis], mul(2, pads[axis])), reach)
        if count(room) < 0:
            fail(trace, "shape-mismatch", "a convolution wider than what it goes over")
        spatial.append(add(floordiv(room, steps[axis]), 1))
    shape = (*x.shape[: len(x.shape) - axes - 1], w.shape[0], *spatial)
    return emit(trace, f"conv{axes}d", (x, w, b, steps, pads, holes, parts), shape, x.dtype)


def _each(trace: Trace, given: object, axes: int) -> Shape:
    found = sizes(trace, (given if isinstance(given, (list, tuple)) else (given,),))
    return found * axes if len(found) == 1 else found


def _padding(trace: Trace, padding: object, kernel: Shape, holes: Shape, axes: int) -> Shape:
    if value_of(padding) == "valid":
        return (0,) * axes
    if value_of(padding) == "same":
        reach = [mul(hole, sub(k, 1)) for hole, k in zip(holes, kernel, strict=True)]
        if any(count(r) % 2 for r in reach):
            fail(trace, "unknown-op", "a convolution padded to the same size by an even kernel")
        return tuple(floordiv(r, 2) for r in reach)
    return _each(trace, padding, axes)


# --------------------------------------------------------------------------------------------------------- attention


@rule("F.scaled_dot_product_attention")
def attention(
    trace: Trace,
    query: object,
    key: object,
    value: object,
    attn_mask: object = None,
    dropout_p: object = 0.0,
    is_causal: object = False,
    scale: object = None,
    enable_gqa: object = False,
) -> Tensor:
    q, k, v = tensor(trace, query), tensor(trace, key), tensor(trace, value)
    if value_of(dropout_p) != 0:
        fail(trace, "unknown-op", "attention with dropout")
    mask = None if attn_mask is None else tensor(trace, attn_mask)
    agree(trace, q.shape[-1], k.shape[-1])
    agree(trace, k.shape[-2], v.shape[-2])
    factor = None if scale is None else number(trace, scale)
    args = (q, k, v, mask, flag(trace, is_causal), factor, flag(trace, enable_gqa))
    return emit(trace, "attention", args, (*q.shape[:-1], v.shape[-1]), q.dtype)


@rule("linalg.solve_triangular")
def solve_triangular(
    trace: Trace, input: object, B: object, *, upper: object, left: object = True, unitriangular: object = False
) -> Tensor:
    a, b = tensor(trace, input), tensor(trace, B)
    batch = broadcast(trace, a.shape[:-2], b.shape[:-2])
    args = (a, b, flag(trace, upper), flag(trace, left), flag(trace, unitriangular))
    return emit(trace, "solve_triangular", args, (*batch, *b.shape[-2:]), a.dtype)


# ----------------------------------------------------------------------------------------------------------- complex


@rule("polar")
def polar(trace: Trace, abs: object, angle: object) -> Tensor:
    return _complex(trace, "polar", tensor(trace, abs), tensor(trace, angle))


@rule("complex")
def complex_(trace: Trace, real: object, imag: object) -> Tensor:
    return _complex(trace, "complex", tensor(trace, real), tensor(trace, imag))


def _complex(trace: Trace, op: str, a: Tensor, b: Tensor) -> Tensor:
    single(trace, a)
    single(trace, b)
    return emit(trace, op, (a, b), broadcast(trace, a.shape, b.shape), DType.COMPLEX64)


def single(trace: Trace, x: Tensor) -> None:
    if x.dtype is not DType.FLOAT32:
        fail(trace, "unknown-dtype", f"complex numbers made of {x.dtype.value}", "only those of float32 are known")


@rule("view_as_complex")
def view_as_complex(trace: Trace, input: object) -> Tensor:
    x = tensor(trace, input)
    single(trace, x)
    return emit(trace, "view_as_complex", (x,), x.shape[:-1], DType.COMPLEX64)


@rule("view_as_real")
def view_as_real(trace: Trace, input: object) -> Tensor:
    x = tensor(trace, input)
    return emit(trace, "view_as_real", (x,), (*x.shape, 2), DType.FLOAT32)


def _part(trace: Trace, op: str, x: Tensor) -> Tensor:
    return emit(trace, op, (x,), x.shape, x.dtype if op == "conj" else DType.FLOAT32)


@rule("real")
def real(trace: Trace, input: object) -> Tensor:
    return _part(trace, "real", tensor(trace, input))


@rule("imag")
def imag(trace: Trace, input: object) -> Tensor:
    return _part(trace, "imag", tensor(trace, input))


@rule("conj", methods=("conj",))
def conj(trace: Trace, input: object) -> Tensor:
    return _part(trace, "conj", tensor(trace, input))
