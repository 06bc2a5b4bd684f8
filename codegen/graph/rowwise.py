"""Which operations keep the rows of a tensor apart: row i of the result follows from row i of the operands alone."""

from __future__ import annotations

from codegen.graph.scalars import same
from codegen.graph.tensor_ops.shapes import count
from codegen.graph.values import Size, TensorValue, tensors_in, value_of
from ir.ops import OPS

Shape = tuple[Size, ...]

ELEMENTWISE = frozenset(
    "add sub mul div floor_divide remainder fmod pow atan2 logaddexp maximum minimum lerp neg abs sign floor ceil round trunc"
    " reciprocal sqrt rsqrt exp exp2 expm1 log log1p log2 log10 sin cos tan atan sinh cosh erf erfinv clamp nan_to_num isnan"
    " isinf isfinite eq ne lt le gt ge logical_and logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor"
    " bitwise_not left_shift right_shift relu relu6 silu gelu sigmoid logsigmoid tanh softplus leaky_relu elu selu mish"
    " hardswish hardsigmoid softsign where masked_fill cast zeros_like ones_like full_like polar complex real imag conj".split()
)
_ALONG_AN_AXIS = frozenset(
    "softmax log_softmax glu split chunk unbind topk sort argsort max_dim min_dim cummax aminmax sum mean prod var std amax"
    " amin argmax argmin all any logsumexp norm cumsum cumprod unsqueeze squeeze flip roll repeat_interleave cat stack unfold"
    " gather scatter scatter_add scatter_reduce transpose permute diagonal".split()
)


def keeps_rows(op: str, args: tuple[object, ...], rows: frozenset[TensorValue], shape: Shape) -> bool:
    """Whether `op` treats every row of the operands that are among `rows` alike, and the result of `shape` has their rows."""
    tensors = list(tensors_in(args))
    ranks = [(value, len(value.shape)) for value in tensors]
    if op in ELEMENTWISE:
        return all(_lines_up(value, rank, value in rows, len(shape)) for value, rank in ranks)
    if op in ("linear", "matmul"):
        return _is_product(args, rows)
    if op == "embedding":
        return args[0] in rows and args[1] not in rows
    if op == "one_hot":
        return True
    if op in ("layer_norm", "rms_norm"):
        normalized = args[OPS[op].position("shape")]
        assert isinstance(normalized, tuple)
        return args[0] in rows and len(normalized) < len(tensors[0].shape) and not rows & set(tensors[1:])
    if op in ("reshape", "expand"):
        return bool(shape) and same(shape[0], tensors[0].shape[0]) and count(shape[0]) == count(tensors[0].shape[0])
    if op == "getitem":
        return _getitem(args, rows)
    if op == "pad":
        widths = args[1]
        return isinstance(widths, tuple) and all(value_of(width) == 0 for width in widths[0])
    if op in _ALONG_AN_AXIS:
        return _other_axes(op, args, rows)
    return False


def _lines_up(value: TensorValue, rank: int, is_row: bool, result: int) -> bool:
    """Whether broadcasting puts the rows of an operand first, and stretches what has none over them."""
    return rank == result if is_row else rank < result or count(value.shape[0]) == 1


def _is_product(args: tuple[object, ...], rows: frozenset[TensorValue]) -> bool:
    left, right = args[0], args[1]
    assert isinstance(left, TensorValue) and isinstance(right, TensorValue)
    if left not in rows or len(left.shape) < 2 or any(value in rows for value in tensors_in(args[2:])):
        return False
    return len(right.shape) <= 2 if right not in rows else len(left.shape) == len(right.shape) > 2


def _getitem(args: tuple[object, ...], rows: frozenset[TensorValue]) -> bool:
    source, index = args
    assert isinstance(source, TensorValue) and isinstance(index, tuple) and index
    picks = [at for at, item in enumerate(index) if isinstance(item, TensorValue)]
    if source in rows:
        whole = index[0] is Ellipsis or (isinstance(index[0], slice) and index[0] == slice(None))
        consumed = sum(1 for item in index if item is not None and item is not Ellipsis)
        return whole and not picks and consumed < len(source.shape) + (index[0] is not Ellipsis)
    together = bool(picks) and picks == list(range(picks[0], picks[-1] + 1))
    return together and picks[0] == 0 and all(value in rows and len(value.shape) == 1 for value in tensors_in(index))


def _other_axes(op: str, args: tuple[object, ...], rows: frozenset[TensorValue]) -> bool:
    """Whether an operation along axes leaves the first alone."""
    tensors = list(tensors_in(args))
    if not all(value in rows for value in tensors):
        return False
    rank = len(tensors[0].shape)
    if op == "permute":
        dims = args[1]
        return isinstance(dims, tuple) and _int(dims[0]) % rank == 0
    if op in ("transpose", "diagonal"):
        return all(_int(d) % rank != 0 for d in args[-2:])
    names = [param.name for param in OPS[op].params]
    dim = args[names.index("dim") if "dim" in names else names.index("dims")]
    if dim is None:
        return False
    if op in ("unsqueeze", "stack"):
        rank += 1
    return all(_int(d) % rank != 0 for d in (dim if isinstance(dim, tuple) else (dim,)))


def _int(x: object) -> int:
    value = value_of(x)
    assert isinstance(value, int)
    return value
