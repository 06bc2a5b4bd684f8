"""A program for every operation, with random shapes and arguments. Programs run on torch and on the compiler's rules alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

Array = np.ndarray[Any, Any]
Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass(frozen=True)
class Case:
    """`program(torch, F, *args)` for the args that `draw` makes. `exact`: the printed PyTorch gives the same bits."""

    op: str
    program: Callable[..., Any]
    draw: Callable[[Draw], list[Any]]
    tolerance: float = 1e-11
    flax: bool = True
    exact: bool = True

    @property
    def name(self) -> str:
        return self.op


CASES: list[Case] = []
_NAMES: dict[str, int] = {}


def case(op: str, program: Callable[..., Any], *draws: Callable[[Draw], Any], **options: Any) -> None:
    """Register a case; several of one operation are numbered."""
    CASES.append(Case(op, program, lambda draw: _arguments(draw, draws), **options))


class Shared:
    """What the arguments of one call agree on."""

    def __init__(self, draw: Draw):
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**16)))
        self.sizes: dict[str, int] = {}
        self.rank = 0
        self.shape: tuple[int, ...] = ()

    def __call__(self, strategy: st.SearchStrategy[Any]) -> Any:
        return self.draw(strategy)

    def size(self, letter: str) -> int:
        """A size that all arguments of the call mean by a letter."""
        if letter not in self.sizes:
            self.sizes[letter] = self.draw(st.integers(2, 5))
        return self.sizes[letter]


def _arguments(draw: Draw, draws: tuple[Callable[..., Any], ...]) -> list[Any]:
    shared = Shared(draw)
    return [make(shared) for make in draws]


# ------------------------------------------------------------------------------------------------------------ arguments


def values(d: Shared, shape: tuple[int, ...], kind: str = "float") -> Array:
    match kind:
        case "float":
            return d.rng.normal(size=shape)
        case "positive":
            return d.rng.uniform(0.1, 3, size=shape)
        case "unit":
            return d.rng.uniform(-0.9, 0.9, size=shape)
        case "float32":
            return d.rng.normal(size=shape).astype(np.float32)
        case "int":
            return d.rng.integers(-5, 6, size=shape)
        case "bits":
            return d.rng.integers(0, 6, size=shape)
        case "count":
            return d.rng.integers(1, 6, size=shape)
        case "bool":
            return d.rng.integers(0, 2, size=shape).astype(bool)
        case "distinct":
            return d.rng.permutation(int(np.prod(shape))).reshape(shape).astype(np.float64) - 3
        case _:
            raise AssertionError(kind)


def some(low: int = 1, high: int = 3, kind: str = "float") -> Callable[[Shared], Array]:
    """An array of random shape."""

    def make(d: Shared) -> Array:
        rank = d(st.integers(low, high))
        d.shape = tuple(d(st.integers(2, 5)) for _ in range(rank))
        d.rank = rank
        return values(d, d.shape, kind)

    return make


def like(kind: str = "float") -> Callable[[Shared], Array]:
    """An array that broadcasts with the one before."""

    def make(d: Shared) -> Array:
        shape = tuple(1 if d(st.booleans()) else size for size in d.shape)
        return values(d, shape[d(st.integers(0, len(shape))) :], kind)

    return make


def same(kind: str = "float") -> Callable[[Shared], Array]:
    return lambda d: values(d, d.shape, kind)


def of(letters: str, kind: str = "float") -> Callable[[Shared], Array]:
    """An array with named sizes; `1` is 1."""

    def make(d: Shared) -> Array:
        d.shape = tuple(1 if letter == "1" else d.size(letter) for letter in letters)
        d.rank = len(letters)
        return values(d, d.shape, kind)

    return make


def below(letters: str, limit: str) -> Callable[[Shared], Array]:
    """Indices into an axis."""
    return lambda d: d.rng.integers(0, d.size(limit), size=tuple(d.size(letter) for letter in letters))


def permutation(letter: str) -> Callable[[Shared], Array]:
    return lambda d: d.rng.permutation(d.size(letter))


def axis(d: Shared) -> int:
    return int(d(st.integers(-d.rank, d.rank - 1)))


def new_axis(d: Shared) -> int:
    return int(d(st.integers(-d.rank - 1, d.rank)))


def axes(d: Shared) -> Any:
    """None, one axis, or several."""
    kind = d(st.integers(0, 2))
    if kind == 0:
        return None
    if kind == 1:
        return axis(d)
    return tuple(sorted(d(st.sets(st.integers(0, d.rank - 1), min_size=1, max_size=d.rank))))


def flag(d: Shared) -> bool:
    return bool(d(st.booleans()))


def one_of(*options: Any) -> Callable[[Shared], Any]:
    return lambda d: d(st.sampled_from(options))


def integer(low: int, high: int) -> Callable[[Shared], int]:
    return lambda d: int(d(st.integers(low, high)))


# ------------------------------------------------------------------------------------------------------------ arithmetic

SCALARS = one_of(2, 0.5, -1.5, 3)

for _op, _program in {
    "add": lambda t, F, x, y: x + y,
    "sub": lambda t, F, x, y: x - y,
    "mul": lambda t, F, x, y: x * y,
    "div": lambda t, F, x, y: x / y,
    "atan2": lambda t, F, x, y: t.atan2(x, y),
    "logaddexp": lambda t, F, x, y: t.logaddexp(x, y),
    "maximum": lambda t, F, x, y: t.maximum(x, y),
    "minimum": lambda t, F, x, y: t.minimum(x, y),
    "eq": lambda t, F, x, y: x == y,
    "ne": lambda t, F, x, y: x != y,
    "lt": lambda t, F, x, y: x < y,
    "le": lambda t, F, x, y: x <= y,
    "gt": lambda t, F, x, y: x > y,
    "ge": lambda t, F, x, y: x >= y,
    "logical_and": lambda t, F, x, y: t.logical_and(x > 0, y > 0),
    "logical_or": lambda t, F, x, y: t.logical_or(x > 0, y > 0),
    "logical_xor": lambda t, F, x, y: t.logical_xor(x > 0, y > 0),
}.items():
    case(_op, _program, some(1, 3), like())
for _op, _program in {
    "add": lambda t, F, x, s: x + s,
    "sub": lambda t, F, x, s: s - x,
    "mul": lambda t, F, x, s: s * x,
    "div": lambda t, F, x, s: x / s,
    "gt": lambda t, F, x, s: x > s,
}.items():
    case(_op, _program, some(1, 3), SCALARS)
    case(_op, _program, some(1, 2, "int"), SCALARS, tolerance=1e-6)
case("div", lambda t, F, x, s: s / x, some(1, 2, "positive"), SCALARS)
case("pow", lambda t, F, x: x**2, some())
case("pow", lambda t, F, x: t.pow(x, -0.5), some(1, 2, "positive"))
case("pow", lambda t, F, x, y: x**y, some(1, 2, "positive"), like())
case("pow", lambda t, F, x: (-2.0) ** t.floor(x), some(1, 2))
case("floor_divide", lambda t, F, x, y: x // y, some(1, 2, "int"), like("count"))
case("remainder", lambda t, F, x, y: x % y, some(1, 2, "int"), like("count"))
case("fmod", lambda t, F, x, y: t.fmod(x, y), some(1, 2), same("positive"))
case("lerp", lambda t, F, x, y: t.lerp(x, y, 0.25), some(), same())
case("clamp", lambda t, F, x: x.clamp(min=-0.5, max=0.5), some())
case("clamp", lambda t, F, x: t.clamp(x, max=0.5), some())
case("clamp", lambda t, F, x: x.clamp_(min=-0.1, max=0.5), some())
case("clamp", lambda t, F, x, y: t.clamp(x, min=y), some(), like())
case("nan_to_num", lambda t, F, x: t.nan_to_num(x / 0, nan=1.5), some(1, 2, "int"), tolerance=1e-6)
case("neg", lambda t, F, x: -x, some())
for _op in "abs sign floor ceil round trunc exp exp2 expm1 sin cos tan atan sinh cosh erf sigmoid tanh isnan isinf isfinite".split():
    case(_op, lambda t, F, x, _op=_op: getattr(t, _op)(x), some(), tolerance=1e-9 if _op == "erf" else 1e-11)
case("erfinv", lambda t, F, x: t.erfinv(t.tanh(x)), some(), tolerance=1e-6)
for _op in "reciprocal sqrt rsqrt log log1p log2 log10".split():
    case(_op, lambda t, F, x, _op=_op: getattr(t, _op)(x), some(1, 3, "positive"))
case("exp", lambda t, F, x: x.exp(), some(1, 2, "int"), tolerance=1e-5)
case("logical_not", lambda t, F, x: t.logical_not(x), some(1, 2, "bool"))
for _op, _program in {
    "bitwise_and": lambda t, F, x, y: x & y,
    "bitwise_or": lambda t, F, x, y: x | y,
    "bitwise_xor": lambda t, F, x, y: x ^ y,
    "left_shift": lambda t, F, x, y: x << y,
    "right_shift": lambda t, F, x, y: x >> y,
}.items():
    case(_op, _program, some(1, 2, "bits"), like("bits"))
case("bitwise_and", lambda t, F, x, y: x & y, some(1, 2, "bool"), like("bool"))
case("bitwise_not", lambda t, F, x: ~x, some(1, 2, "bool"))

for _op in "relu relu6 silu logsigmoid selu mish hardswish hardsigmoid softsign".split():
    case(_op, lambda t, F, x, _op=_op: getattr(F, _op)(x * 4), some(), tolerance=1e-9)
case("gelu", lambda t, F, x: F.gelu(x), some(), tolerance=1e-9)
case("detach", lambda t, F, x: x.detach(), some())
case("gelu", lambda t, F, x: F.gelu(x, approximate="tanh"), some())
case("softplus", lambda t, F, x: F.softplus(x * 10), some(), tolerance=1e-8)
case("softplus", lambda t, F, x: F.softplus(x, beta=2.0), some(), tolerance=1e-8)
case("leaky_relu", lambda t, F, x: F.leaky_relu(x, 0.2), some())
case("elu", lambda t, F, x: F.elu(x, alpha=0.7), some())
case("glu", lambda t, F, x: F.glu(t.cat((x, x * 2), dim=-1), dim=-1), some())
case("softmax", lambda t, F, x, dim: t.softmax(x, dim=dim), some(), axis)
case("softmax", lambda t, F, x: F.softmax(x, dim=-1, dtype=t.float32), some(), tolerance=1e-6)
case("log_softmax", lambda t, F, x, dim: F.log_softmax(x, dim=dim), some(), axis)

# ------------------------------------------------------------------------------------------------------ products, layers

case("matmul", lambda t, F, x, y: x @ y, of("BNTD"), of("BNDS"))
case("matmul", lambda t, F, x, y: t.matmul(x, y), of("BTD"), of("DS"))
case("matmul", lambda t, F, x, y: t.bmm(x, y), of("BTD"), of("BDS"))
case("matmul", lambda t, F, x, y: t.matmul(x, y), of("BTD"), of("D"))
case("linear", lambda t, F, x, w: F.linear(x, w), of("BTD"), of("FD"))
case("linear", lambda t, F, x, w, b: F.linear(x, w, bias=b), of("BTD"), of("FD"), of("F"))
case("addmm", lambda t, F, b, x, w: t.addmm(b, x, w), of("F"), of("TD"), of("DF"))
case("baddbmm", lambda t, F, b, x, y: t.baddbmm(b, x, y, beta=0.5, alpha=0.25), of("B1S"), of("BTD"), of("BDS"))
case("baddbmm", lambda t, F, b, x, y: b.baddbmm(batch1=x, batch2=y), of("BTS"), of("BTD"), of("BDS"))
case("einsum", lambda t, F, x, y: t.einsum("btnh,bsnh->bnts", x, y), of("BTNH"), of("BSNH"))
case("einsum", lambda t, F, x, y: t.einsum("...td,df->...tf", x, y), of("BNTD"), of("DF"))
case("outer", lambda t, F, x, y: t.outer(x, y), of("T"), of("D"))
case("embedding", lambda t, F, ids, w: F.embedding(ids, w, padding_idx=0), below("BT", "V"), of("VD"))
case("layer_norm", lambda t, F, x, w, b: F.layer_norm(x, (w.shape[0],), w, b, 1e-6), of("BTD"), of("D"), of("D"))
case("layer_norm", lambda t, F, x: F.layer_norm(x, x.shape[-1:], eps=1e-5), of("BTD"))
case("rms_norm", lambda t, F, x, w: F.rms_norm(x, (x.shape[-1],), w, 1e-6), of("BTD"), of("D"))
case(
    "group_norm",
    lambda t, F, x, w, b: F.group_norm(t.cat((x, x * x), 1), 2, t.cat((w, w)), t.cat((b, b)), 1e-6),
    of("BCT"),
    of("C"),
    of("C"),
)
case("conv1d", lambda t, F, x, w, b: F.conv1d(F.pad(x, (3, 3)), w, b), of("BCT"), of("FCK"), of("F"))
case(
    "conv1d",
    lambda t, F, x, w: F.conv1d(x, w.unsqueeze(1), None, padding=w.shape[-1] - 1, groups=w.shape[0]),
    of("BCT"),
    of("CK"),
)
case(
    "conv1d",
    lambda t, F, x, w: F.conv1d(F.pad(x, (4, 4)), w[..., :2], stride=2, padding=1, dilation=2),
    of("BCT"),
    of("FCK"),
)
case("conv1d", lambda t, F, x, w: F.conv1d(F.pad(x, (3, 3)), w), of("CT"), of("FCK"))
case(
    "conv2d",
    lambda t, F, x, w, b: F.conv2d(F.pad(x, (3, 3, 3, 3)), w, b, stride=(1, 2)),
    of("BCTS"),
    of("FCKJ"),
    of("F"),
)
case("attention", lambda t, F, q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), *[of("BNTH")] * 3)
case(
    "attention",
    lambda t, F, q, k, v, m: F.scaled_dot_product_attention(q, k, v, attn_mask=m, scale=0.3),
    of("BNTH"),
    of("BNSH"),
    of("BNSH"),
    of("B1TS"),
)
case(
    "solve_triangular",
    lambda t, F, x, y: t.linalg.solve_triangular(x * 0.1 + t.eye(x.shape[-1], dtype=x.dtype), y, upper=False),
    of("BTT"),
    of("BTD"),
)
case(
    "solve_triangular",
    lambda t, F, x, y: t.linalg.solve_triangular(x, y, upper=True, unitriangular=True),
    of("BTT", "unit"),
    of("BTD"),
)

# --------------------------------------------------------------------------------------------------------------- layout

case("cast", lambda t, F, x: x.float(), some(), tolerance=1e-6)
case("cast", lambda t, F, x: x.to(t.float32).to(x.dtype), some(), tolerance=1e-6)
case("cast", lambda t, F, x, y: y.type_as(x) * x, some(), same("int"))
case("cast", lambda t, F, x: (x * 3).long(), some())
case("cast", lambda t, F, x: x.bool(), some(1, 2, "bits"))
case("cast", lambda t, F, x: x.to(dtype=t.int32), some(1, 2, "bits"))
case("reshape", lambda t, F, x: x.view(x.shape[0], -1), some(2, 4))
case("reshape", lambda t, F, x: x.reshape(*x.shape[:-1], -1, x.shape[-1]).contiguous(), some(1, 3))
case("reshape", lambda t, F, x: x.flatten(0, 1), some(2, 4))
case("reshape", lambda t, F, x: t.flatten(x), some(2, 3))
case("reshape", lambda t, F, x: x.repeat(1, 2).unflatten(-1, (2, -1)), of("TD"))
case("transpose", lambda t, F, x, a, b: x.transpose(a, b), of("BTD"), integer(0, 1), integer(-1, 2))
case("transpose", lambda t, F, x: x.mT @ x, of("BTD"))
case("permute", lambda t, F, x: x.permute(0, 2, 1, 3), of("BTNH"))
case("permute", lambda t, F, x: t.movedim(x, -1, 1), of("BTNH"))
case("permute", lambda t, F, x: x.permute((2, 0, 1)), of("BTN"))
case("expand", lambda t, F, x: x[:, None].expand(x.shape[0], 3, -1, x.shape[2]), of("TND"))
case("expand", lambda t, F, x, y: x.expand_as(y), of("1D"), of("TD"))
case("unsqueeze", lambda t, F, x, dim: x.unsqueeze(dim), some(), new_axis)
case("unsqueeze", lambda t, F, x: x.unsqueeze(1).unsqueeze(-1).unsqueeze(0), some())
case("squeeze", lambda t, F, x, dim: x.unsqueeze(dim).squeeze(dim), some(), new_axis)
case("squeeze", lambda t, F, x: (x[:, None, :, None] * 2).squeeze(), of("TD"))
case("cat", lambda t, F, x, dim: t.cat((x, x * 2, x), dim=dim), some(), axis)
case("cat", lambda t, F, x, y: t.cat([x, y], dim=1), of("BT"), of("BS"))
case("stack", lambda t, F, x, dim: t.stack((x, -x), dim=dim), some(), new_axis)
case("repeat", lambda t, F, x, n: x.repeat(n, 1, 2), of("TD"), integer(1, 3))
case("repeat_interleave", lambda t, F, x, n, dim: x.repeat_interleave(n, dim=dim), some(), integer(1, 3), axis)
case("repeat_interleave", lambda t, F, x: t.repeat_interleave(x, 2), some())
case("flip", lambda t, F, x, dim: x.flip(dim), some(), axis)
case("flip", lambda t, F, x: t.flip(x, dims=(0, 1)), of("BTD"))
case("roll", lambda t, F, x, n, dim: t.roll(x, n, dim), some(), integer(-2, 2), axis)
case("roll", lambda t, F, x: t.roll(x, shifts=(1, -1), dims=(0, 1)), of("BT"))
case("pad", lambda t, F, x, a, b: F.pad(x, (a, b)), some(), integer(0, 2), integer(0, 2))
case("pad", lambda t, F, x, a: F.pad(x, (0, 0, a, 1), value=-1.5), of("BTD"), integer(-1, 2))
case("pad", lambda t, F, x, y: F.pad(x, (0, 0, 0, 0, x.shape[0] - y.shape[0], 0)), of("TBD"), of("S"))
case("pad", lambda t, F, x: F.pad(x, (1, 1), mode="replicate"), of("BTD"))
case("unfold", lambda t, F, x: x.unfold(1, 2, 1), of("BTD"))
case("unfold", lambda t, F, x: x.unfold(-1, 2, 2), of("BTD"))
case("diagonal", lambda t, F, x: x.diagonal(0, 1, 2), of("BTS"))
case("diagonal", lambda t, F, x: t.diagonal(x, 1), of("TS"))
case("diag_embed", lambda t, F, x: t.diag_embed(x), of("BT"))
case("tril", lambda t, F, x, n: t.tril(x, diagonal=n), of("BTS"), integer(-1, 1))
case("triu", lambda t, F, x, n: x.triu(n), of("TS"), integer(-1, 1))
case("split", lambda t, F, x: x.split((1, x.shape[-1] - 1), dim=-1), some())
case("split", lambda t, F, x: F.pad(x, (0, 3)).split(2, dim=-1), of("BTD"))
case("chunk", lambda t, F, x: t.cat((x, x + 1), -1).chunk(2, dim=-1), some())
case("split", lambda t, F, x: F.pad(x, (0, 5 - x.shape[-1])).chunk(2, dim=-1), of("BT"))
case("unbind", lambda t, F, x, dim: x.unbind(dim), some(2), axis)

# -------------------------------------------------------------------------------------------------------------- indexing

case("getitem", lambda t, F, x: x[:, -1], of("BTD"))
case(
    "getitem", lambda t, F, x: (x[..., 0, :], x[..., -1, :, :] * 2, x[..., 1:, :], x[0, ...], x[..., :] + 1), of("BTD")
)
case("getitem", lambda t, F, x: (x[..., None], x[..., None, :], x[None, ..., 0], x[:, :, :]), of("BTD"))
case("setitem", lambda t, F, x: _set(x, (..., 0, slice(None)), 1.5), of("BTD"))
case("getitem", lambda t, F, x: x[..., : x.shape[-1] // 2], of("BTD"))
case("getitem", lambda t, F, x: (x[..., 0::2], x[..., 1::2]), of("BTD"))
case("getitem", lambda t, F, x: x[:, None, :, None], of("BT"))
case("getitem", lambda t, F, x: (x[0], x[-1:], x[:, 1:-1], x[:, :7]), of("BTD"))
case("getitem", lambda t, F, x, i: x[i], of("VD"), below("BT", "V"))
case("getitem", lambda t, F, x, i, j: x[i, j, None], of("BT"), below("S", "B"), below("S", "T"))
case("getitem", lambda t, F, x, i: x[:, i], of("BVD"), below("S", "V"))
case("getitem", lambda t, F, x, i: x[0, :, i], of("BTV"), below("S", "V"))
case("getitem", lambda t, F, x, i: x[i, :, i], of("TST"), below("D", "T"))
case("setitem", lambda t, F, x, y: _set(x, (slice(None), 0), y), of("BTD"), of("BD"))
case("setitem", lambda t, F, x: _set(x, (..., slice(1, None)), 2.5), of("BT"))
case("setitem", lambda t, F, x, i, y: _set(x, i, y), of("VD"), permutation("V"), of("1D"))
case("where", lambda t, F, x, y: t.where(x > 0, x, y), some(), like())
case("where", lambda t, F, x: t.where(x > 0, x, 0.0), some())
case("masked_fill", lambda t, F, x, m: x.masked_fill(m, float("-inf")), some(), like("bool"))
case("masked_fill", lambda t, F, x, m: _set(x, m, -1.0), of("BTD"), of("BT", "bool"))
case("masked_scatter", lambda t, F, x, m, y: x.masked_scatter(m, y), of("BTD"), of("BTD", "bool"), of("BTD"))
case("gather", lambda t, F, x, i: x.gather(1, i), of("BVD"), below("BTD", "V"))
case("gather", lambda t, F, x, i: t.gather(x, -1, i[:, :1]), of("BTV"), below("BTS", "V"))
case("gather", lambda t, F, x, i: t.take_along_dim(x, i[..., None], dim=1), of("BVD"), below("BT", "V"))
case("scatter", lambda t, F, x, i: t.zeros_like(x).scatter(-1, i, 1.0), of("BV"), below("BT", "V"))
case(
    "scatter",
    lambda t, F, x, i, y: x.scatter(0, i[:, None].expand(-1, y.shape[1]), y),
    of("VD"),
    permutation("V"),
    of("VD"),
)
case("scatter", lambda t, F, x, i: x.scatter_(1, i[:1], 7.0), of("BV"), below("BT", "V"))
case("scatter_add", lambda t, F, x, i, y: x.scatter_add(1, i, y), of("BV"), below("BT", "V"), of("BT"))
case("scatter_reduce", lambda t, F, x, i, y: x.scatter_reduce(1, i, y, "amax"), of("BV"), below("BT", "V"), of("BT"))
case("index_select", lambda t, F, x, i: x.index_select(1, i), of("BVD"), below("S", "V"))
case("index_add", lambda t, F, x, i, y: x.index_add(0, i, y), of("VD"), below("S", "V"), of("SD"))
case("index_add", lambda t, F, x, i, y: x.index_add_(1, i, y), of("BV"), below("S", "V"), of("BS"))
case("index_copy", lambda t, F, x, i, y: x.index_copy(1, i, y), of("BV"), permutation("V"), of("BV"))
case("one_hot", lambda t, F, i: F.one_hot(i, 5), below("BT", "V"))
case("bucketize", lambda t, F, x, e: t.bucketize(x, e.cumsum(0)), of("BT"), of("S", "positive"))
case("bucketize", lambda t, F, x, e: t.bucketize(x, e.cumsum(0), right=True), of("BT"), of("S", "positive"))
case("searchsorted", lambda t, F, x, e: t.searchsorted(e.cumsum(0), x, right=True), of("BT"), of("S", "positive"))
case("nonzero", lambda t, F, x: _three(x).nonzero(), of("BT"), tolerance=0)
case("topk", lambda t, F, x, k: t.topk(x, k, dim=-1), some(1, 3, "distinct"), integer(1, 2))
case("topk", lambda t, F, x: x.topk(2, dim=0, largest=False).values, some(1, 3, "distinct"))
case("sort", lambda t, F, x, dim, down: t.sort(x, dim=dim, descending=down), some(1, 3, "distinct"), axis, flag)
case("argsort", lambda t, F, x, dim: x.argsort(dim=dim), some(1, 3, "distinct"), axis)
case("argsort", lambda t, F, x: t.argsort(x, dim=-1, descending=True, stable=True), some(1, 2, "int"))

# ------------------------------------------------------------------------------------------------------------ reductions

for _op in "sum mean amax amin".split():
    case(_op, lambda t, F, x, dim, keep, _op=_op: getattr(x, _op)(dim=dim, keepdim=keep) if dim is not None else getattr(t, _op)(x), some(), axes, flag)  # fmt: skip
case("sum", lambda t, F, x: x.sum(-1, keepdim=True, dtype=t.float32), some(), tolerance=1e-5)
case("sum", lambda t, F, x: x.sum(0), some(1, 2, "int"))
case("mean", lambda t, F, x: x.pow(2).mean(-1, keepdim=True), some())
case("amax", lambda t, F, x: x.max(), some())
case("prod", lambda t, F, x, dim, keep: x.prod(dim, keepdim=keep), some(), axis, flag)
for _op in ("var", "std"):
    case(
        _op, lambda t, F, x, dim, keep, _op=_op: getattr(x, _op)(dim, unbiased=False, keepdim=keep), some(), axis, flag
    )
    case(_op, lambda t, F, x, dim, _op=_op: getattr(t, _op)(x, dim), some(), axis)
for _op in ("argmax", "argmin"):
    case(
        _op,
        lambda t, F, x, dim, keep, _op=_op: getattr(x, _op)(dim=dim, keepdim=keep),
        some(1, 3, "distinct"),
        axis,
        flag,
    )
for _op in ("all", "any"):
    case(
        _op, lambda t, F, x, dim, keep, _op=_op: getattr(x, _op)(dim=dim, keepdim=keep), some(1, 3, "bool"), axis, flag
    )
    case(_op, lambda t, F, x, _op=_op: getattr(t, _op)(x), some(1, 3, "bool"))
case("logsumexp", lambda t, F, x, dim, keep: t.logsumexp(x, dim, keepdim=keep), some(), axis, flag)
case("norm", lambda t, F, x, dim, keep: x.norm(dim=dim, keepdim=keep), some(), axis, flag)
case("norm", lambda t, F, x: t.linalg.vector_norm(x), some())
case("norm", lambda t, F, x: F.normalize(x, p=2.0, dim=-1), some())
case("cumsum", lambda t, F, x, dim: x.cumsum(dim), some(), axis)
case("cumsum", lambda t, F, x: x.long().cumsum(-1) - 1, some(1, 3, "bool"))
case("cumprod", lambda t, F, x, dim: t.cumprod(x, dim=dim), some(), axis)
case("max_dim", lambda t, F, x, dim, keep: t.max(x, dim=dim, keepdim=keep), some(1, 3, "distinct"), axis, flag)
case("min_dim", lambda t, F, x, dim: x.min(dim).values, some(1, 3, "distinct"), axis)
case("cummax", lambda t, F, x, dim: t.cummax(x, dim), some(1, 3, "distinct"), axis)
case("aminmax", lambda t, F, x, dim, keep: t.aminmax(x, dim=dim, keepdim=keep), some(), axis, flag)

# -------------------------------------------------------------------------------------------------------------- creation

case("arange", lambda t, F, n: t.arange(n), integer(1, 5))
case("arange", lambda t, F, x: t.arange(0, x.shape[0], 2, dtype=t.int64).float() / x.shape[0], of("T"), tolerance=1e-6)
case("arange", lambda t, F, n: t.arange(1.0, n, 0.5), integer(2, 5))
case("arange", lambda t, F, n: t.arange(n, 0, -1, dtype=t.float64), integer(2, 5))
case("linspace", lambda t, F, n: t.linspace(0, 1, n), integer(2, 5), tolerance=1e-6)
case("zeros", lambda t, F, x: t.zeros(x.shape[0], 2), some())
case("zeros", lambda t, F, x: x.new_zeros((3, x.shape[-1])), some())
case("ones", lambda t, F, x: t.ones(x.shape, dtype=t.bool), some())
case("full", lambda t, F, x: t.full((x.shape[0], 2), -2.5), some())
case("full", lambda t, F, n: t.full((n, n), 3), integer(1, 4))
case("zeros_like", lambda t, F, x: t.zeros_like(x), some())
case("zeros_like", lambda t, F, x: t.zeros_like(x, dtype=t.bool), some())
case("ones_like", lambda t, F, x: t.ones_like(x) * x, some())
case("full_like", lambda t, F, x: t.full_like(x, 1.5), some())
case("eye", lambda t, F, n: t.eye(n), integer(1, 4))
case("eye", lambda t, F, n: t.eye(n, 3, dtype=t.float64), integer(1, 4))
case("tensor", lambda t, F, x: x * t.tensor(0.5, dtype=t.float64), some())
case("tensor", lambda t, F: t.tensor([[1, 2], [3, 4]]))
for _name in ("min", "max", "eps", "tiny"):
    case(
        f"finfo_{_name}",
        lambda t, F, x, _name=_name: t.full((2, x.shape[0]), getattr(t.finfo(x.dtype), _name), dtype=x.dtype),
        some(1, 1),
    )
case(
    "polar",
    lambda t, F, r, a: t.view_as_real(t.polar(t.abs(r), a)),
    some(1, 3, "float32"),
    same("float32"),
    tolerance=1e-5,
)
case(
    "complex",
    lambda t, F, a, b: t.complex(a, b) * t.complex(b, a),
    some(1, 3, "float32"),
    same("float32"),
    tolerance=1e-5,
)
case(
    "view_as_complex", lambda t, F, x: t.view_as_complex(t.stack((x, x * 2), -1)), some(1, 3, "float32"), tolerance=1e-6
)
case("view_as_real", lambda t, F, x: t.view_as_real(t.complex(x, x)), some(1, 3, "float32"), tolerance=1e-6)
case("real", lambda t, F, x: t.complex(x, x + 1).real + 1, some(1, 3, "float32"), tolerance=1e-6)
case("imag", lambda t, F, x: t.complex(x, x + 1).imag + 1, some(1, 3, "float32"), tolerance=1e-6)
case("conj", lambda t, F, x: t.view_as_real(t.conj(t.complex(x, x + 1)) * 1), some(1, 3, "float32"), tolerance=1e-6)

# -------------------------------------------------------------------------------------------------------- writes in place


def _set(x: Any, index: Any, value: Any) -> Any:
    x[index] = value
    return x


def _three(x: Any) -> Any:
    """A tensor with three elements that are not zero."""
    flat = x.reshape(-1) * 0
    flat[0] = 1
    flat[1] = 2
    flat[-1] = 3
    return flat


def _rotate_in_place(t: Any, F: Any, x: Any) -> Any:
    a, b = x.chunk(2, dim=-1)
    a.mul_(2)
    b[:, 0] = a[:, 1]
    return x, a, b


def _write_through_views(t: Any, F: Any, x: Any) -> Any:
    view = x.transpose(0, 1)[1:]
    other = x.view(-1)
    view += 1
    view[0].zero_()
    return x, other, view


def _fresh_buffer(t: Any, F: Any, x: Any, y: Any) -> Any:
    out = x.new_empty(x.shape[0], x.shape[1] + y.shape[1])
    out[:, : x.shape[1]].copy_(x)
    out[:, x.shape[1] :] = y
    return out


def _alias(t: Any, F: Any, x: Any) -> Any:
    kept = x.clone()
    x /= 2
    y = x
    y += kept
    return x, y, kept


def _unsqueezed(t: Any, F: Any, x: Any) -> Any:
    x.unsqueeze(1)[:, 0, 1:].fill_(3.0)
    x.permute(1, 0)[0].add_(1)
    x.squeeze().mul_(2)
    return x


case("setitem", lambda t, F, x: _rotate_in_place(t, F, t.cat((x, x), -1)), of("BD"))
case("setitem", _write_through_views, of("TD"))
case("setitem", _fresh_buffer, of("BT"), of("BS"))
case("div", _alias, of("BT"))
case("setitem", _unsqueezed, of("BT"))
