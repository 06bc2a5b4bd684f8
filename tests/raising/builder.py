"""Regions written by hand, as short as the code that they stand for."""

from __future__ import annotations

from dataclasses import dataclass, field

from ir.expressions import Apply, Const, Dim, Expr, Key, Local
from ir.graph import Call, DType, FunctionTarget, Node, Number, Op, Operand, Region, SliceOf, Value

B, T, S = Dim("B"), Dim("T"), Dim("S")
N, K, H = Key(("num_attention_heads",)), Key(("num_key_value_heads",)), Key(("head_dim",))
ALL = SliceOf(None, None, None)


def n(value: object) -> Number:
    return (
        value
        if isinstance(value, Number)
        else Number(value if isinstance(value, (Key, Dim, Local, Apply, Const)) else Const(value))
    )  # type: ignore[arg-type]


def cut(start: object = None, stop: object = None, step: object = None) -> SliceOf:
    return SliceOf(*(None if x is None else n(x) for x in (start, stop, step)))


@dataclass
class Builder:
    """Appends operations; values are numbered as they come."""

    name: str = "forward"
    params: list[Value | Number] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    count: int = 0

    def value(self, shape: tuple[Expr, ...], dtype: DType = DType.MODEL, *names: str) -> Value:
        self.count += 1
        return Value(self.count - 1, shape, dtype, names)

    def param(self, name: str, *shape: Expr, dtype: DType = DType.MODEL) -> Value:
        made = self.value(shape, dtype, name)
        self.params.append(made)
        return made

    def number(self, name: str) -> Number:
        made = Number(Local(name), (name,))
        self.params.append(made)
        return made

    def op(
        self,
        name: str,
        *args: Operand,
        shape: tuple[Expr, ...],
        dtype: DType = DType.MODEL,
        names: tuple[str, ...] = (),
    ) -> Value:
        made = self.value(shape, dtype, *names)
        self.nodes.append(Op(name, args, (made,)))
        return made

    def call(
        self,
        region: Region,
        *args: Operand,
        shapes: tuple[tuple[Expr, ...], ...],
        names: tuple[tuple[str, ...], ...] = (),
    ) -> tuple[Value, ...]:
        results = tuple(self.value(shape, DType.MODEL, *(names[i] if names else ())) for i, shape in enumerate(shapes))
        self.nodes.append(Call(FunctionTarget(region.name), region, args, results))
        return results

    def region(self, *results: Operand) -> Region:
        return Region(self.name, tuple(self.params), tuple(self.nodes), results)


def repeat_kv() -> Region:
    """Each of the K heads as often as query heads share it."""
    b = Builder("repeat_kv")
    x = b.param("hidden_states", B, Local("heads"), S, Local("head_dim"))
    repeats = b.number("n_rep")
    heads, size = b.number("heads"), b.number("head_dim")
    wide = (B, heads.expr, Const(1), S, size.expr)
    x = b.op("getitem", x, (ALL, ALL, None, ALL, ALL), shape=wide)
    x = b.op("expand", x, (n(B), heads, repeats, n(S), size), shape=(B, heads.expr, repeats.expr, S, size.expr))
    merged = Apply("*", (heads.expr, repeats.expr))
    x = b.op("reshape", x, (n(B), n(merged), n(S), size), shape=(B, merged, S, size.expr))
    return b.region(x)


def attend(
    *,
    grouped: bool = True,
    mask: bool = True,
    cap: bool = False,
    softmax: DType | None = DType.FLOAT32,
    scale: str = "mul",
) -> Region:
    """The attention function that most modeling files have."""
    b = Builder("eager_attention_forward")
    heads, size = Local("heads"), Local("head_dim")
    q = b.param("query", B, N, T, size)
    k = b.param("key", B, heads, S, size)
    v = b.param("value", B, heads, S, size)
    m = b.param("attention_mask", B, Const(1), T, S) if mask else None
    scaling = b.number("scaling")
    b.number("heads"), b.number("head_dim")
    if grouped:
        groups = b.number("groups")
        shape = (B, Apply("*", (heads, groups.expr)), S, size)
        repeated = (groups, n(heads), n(size))
        (k,) = b.call(repeat_kv(), k, *repeated, shapes=(shape,), names=(("key_states",),))
        (v,) = b.call(repeat_kv(), v, *repeated, shapes=(shape,), names=(("value_states",),))
    scores_shape = (B, N, T, S)
    if scale == "query":
        q = b.op("mul", q, scaling, shape=q.shape)
    turned = b.op("transpose", k, n(2), n(3), shape=(B, N, size, S))
    scores = b.op("matmul", q, turned, shape=scores_shape, names=("attn_weights",))
    if scale in ("mul", "div"):
        scores = b.op(scale, scores, scaling, shape=scores_shape, names=("attn_weights",))
    if cap:
        limit = b.number("softcap")
        scores = b.op("div", scores, limit, shape=scores_shape)
        scores = b.op("tanh", scores, shape=scores_shape)
        scores = b.op("mul", scores, limit, shape=scores_shape)
    if m is not None:
        scores = b.op("add", scores, m, shape=scores_shape, names=("attn_weights",))
    probs = b.op("softmax", scores, n(-1), softmax, shape=scores_shape, dtype=softmax or DType.MODEL)
    if softmax is not None:
        probs = b.op("cast", probs, DType.MODEL, shape=scores_shape)
    out = b.op("matmul", probs, v, shape=(B, N, T, size), names=("attn_output",))
    out = b.op("transpose", out, n(1), n(2), shape=(B, T, N, size))
    return b.region(out)


def rotate_half() -> Region:
    b = Builder("rotate_half")
    x = b.param("x", B, Local("heads"), T, Local("head_dim"))
    b.number("heads"), b.number("head_dim")
    middle = Apply("//", (Local("head_dim"), Const(2)))
    half = (*x.shape[:-1], middle)
    from ir.graph import Ellipsis_

    x1 = b.op("getitem", x, (Ellipsis_(), cut(None, middle)), shape=half, names=("x1",))
    x2 = b.op("getitem", x, (Ellipsis_(), cut(middle)), shape=half, names=("x2",))
    return b.region(b.op("cat", (b.op("neg", x2, shape=half), x1), n(-1), shape=x.shape))


def rotate_neighbours() -> Region:
    b = Builder("rotate_half")
    x = b.param("x", B, Local("heads"), T, Local("head_dim"))
    b.number("heads"), b.number("head_dim")
    from ir.graph import Ellipsis_

    half = (*x.shape[:-1], Apply("//", (Local("head_dim"), Const(2))))
    x1 = b.op("getitem", x, (Ellipsis_(), cut(None, None, 2)), shape=half, names=("x1",))
    x2 = b.op("getitem", x, (Ellipsis_(), cut(1, None, 2)), shape=half, names=("x2",))
    pairs = b.op("stack", (b.op("neg", x2, shape=half), x1), n(-1), shape=(*half, Const(2)))
    return b.region(b.op("reshape", pairs, tuple(n(size) for size in x.shape), shape=x.shape))  # type: ignore[arg-type]


def apply_rotary(pairs: bool = False) -> Region:
    b = Builder("apply_rotary_pos_emb")
    q = b.param("q", B, Local("heads"), T, Local("head_dim"))
    k = b.param("k", B, Local("kv_heads"), T, Local("head_dim"))
    cos = b.param("cos", B, T, Local("head_dim"))
    sin = b.param("sin", B, T, Local("head_dim"))
    heads, kv_heads, size = b.number("heads"), b.number("kv_heads"), b.number("head_dim")
    wide = (B, Const(1), T, size.expr)
    cos = b.op("unsqueeze", cos, n(1), shape=wide, names=("cos",))
    sin = b.op("unsqueeze", sin, n(1), shape=wide, names=("sin",))
    out = []
    for x, count, name in ((q, heads, "q_embed"), (k, kv_heads, "k_embed")):
        (turned,) = b.call(rotate_neighbours() if pairs else rotate_half(), x, count, size, shapes=(x.shape,))
        plain = b.op("mul", x, cos, shape=x.shape)
        out.append(b.op("add", plain, b.op("mul", turned, sin, shape=x.shape), shape=x.shape, names=(name,)))
    return b.region(*out)


def attention_module(pairs: bool = False, kv: Expr = K, **options: object) -> Region:
    """Rotary embedding, cache and attention of a module, without its projections; `kv` is the number of heads of keys."""
    b = Builder("forward")
    q = b.param("query_states", B, N, T, H)
    k = b.param("key_states", B, kv, T, H)
    v = b.param("value_states", B, kv, T, H)
    cos, sin = b.param("cos", B, T, H), b.param("sin", B, T, H)
    mask = b.param("attention_mask", B, Const(1), T, S)
    q, k = b.call(
        apply_rotary(pairs),
        q,
        k,
        cos,
        sin,
        n(N),
        n(kv),
        n(H),
        shapes=(q.shape, k.shape),
        names=(("query_states",), ("key_states",)),
    )
    k2, v2 = b.value((B, kv, S, H), DType.MODEL, "key_states"), b.value((B, kv, S, H), DType.MODEL, "value_states")
    b.nodes.append(Op("cache_update", (k, v, n(Key(("layer",)))), (k2, v2)))
    inner = attend(**options)  # type: ignore[arg-type]
    extra = {
        "scaling": Apply("**", (H, Const(-0.5))),
        "heads": kv,
        "head_dim": H,
        "groups": Apply("//", (N, kv)),
        "softcap": Key(("cap",)),
    }
    numbers = [n(extra[p.names[0]]) for p in inner.params if isinstance(p, Number)]
    tensors = [q, k2, v2, *([mask] if options.get("mask", True) else [])]
    (out,) = b.call(inner, *tensors, *numbers, shapes=((B, T, N, H),), names=(("attn_output",),))
    return b.region(out)


def rotary_module(*, doubled: str = "cat") -> Region:
    """Positions -> cosines and sines, each angle twice."""
    b = Builder("forward")
    positions = b.param("position_ids", B, T, dtype=DType.INT64)
    half = Apply("//", (H, Const(2)))
    frequencies = b.op("parameter", Number(Const("inv_freq")), shape=(half,), dtype=DType.FLOAT32)
    f32 = DType.FLOAT32
    column = b.op("getitem", frequencies, (None, ALL, None), shape=(Const(1), half, Const(1)), dtype=f32)
    column = b.op("expand", column, (n(B), n(half), n(1)), shape=(B, half, Const(1)), dtype=f32)
    row = b.op("getitem", positions, (ALL, None, ALL), shape=(B, Const(1), T), dtype=DType.INT64)
    row = b.op("cast", row, f32, shape=(B, Const(1), T), dtype=f32)
    product = b.op("matmul", column, row, shape=(B, half, T), dtype=f32)
    angles = b.op("transpose", product, n(1), n(2), shape=(B, T, half), dtype=f32, names=("freqs",))
    if doubled == "cat":
        wide = b.op("cat", (angles, angles), n(-1), shape=(B, T, H), dtype=f32, names=("emb",))
    else:
        wide = b.op("repeat_interleave", angles, n(2), n(-1), shape=(B, T, H), dtype=f32, names=("emb",))
    out = []
    for name in ("cos", "sin"):
        table = b.op(name, wide, shape=(B, T, H), dtype=f32)
        table = b.op("mul", table, n(Key(("attention_factor",))), shape=(B, T, H), dtype=f32, names=(name,))
        out.append(b.op("cast", table, DType.MODEL, shape=(B, T, H)))
    return b.region(*out)


def decoder(*, doubled: str = "cat", also_wide: bool = False, pairs: bool = False) -> Region:
    """A rotary module, and two layers of which each is attention alone."""
    from ir.graph import Loop, ModuleTarget

    body = Builder("layers")
    x = [body.param(name, B, count, T, H) for name, count in (("q", N), ("k", K), ("v", K))]
    cos, sin, mask = body.param("cos", B, T, H), body.param("sin", B, T, H), body.param("mask", B, Const(1), T, S)
    out = body.value((B, T, N, H))
    body.nodes.append(Call(ModuleTarget("layers.{}.self_attn"), attention_module(pairs), (*x, cos, sin, mask), (out,)))
    back = body.op("transpose", out, n(1), n(2), shape=(B, N, T, H))
    b = Builder("forward")
    positions = b.param("position_ids", B, T, dtype=DType.INT64)
    q, k, v = (b.param(name, B, count, T, H) for name, count in (("q", N), ("k", K), ("v", K)))
    mask = b.param("mask", B, Const(1), T, S)
    cos, sin = b.value((B, T, H), DType.MODEL, "cos"), b.value((B, T, H), DType.MODEL, "sin")
    b.nodes.append(Call(ModuleTarget("rotary_emb"), rotary_module(doubled=doubled), (positions,), (cos, sin)))
    result = b.value((B, N, T, H))
    region = body.region(back)
    b.nodes.append(Loop("layers", (region,), (0, 0), (q,), (k, v, cos, sin, mask), ((),), (result,)))
    extra = (b.op("neg", cos, shape=cos.shape),) if also_wide else ()
    return b.region(result, *extra)
