"""The scores of attention, from the softmax up to the product of queries and keys: what was done to them on the way."""

from __future__ import annotations

from codegen.raising.shapes import merges_heads, same_size
from codegen.raising.view import View, literal, number
from ir.arch import Direction, MaskForm, Precision
from ir.expressions import Apply, Const, Expr
from ir.graph import DType, Node, Number, Op, Operand, SliceOf, Value
from ir.records import dataclass, field

LEAST = -1e30  # no score comes near: what is set to this or less has no weight


@dataclass(frozen=True, slots=True)
class Added:
    """Numbers that are added to scores, which are then multiplied by `factor`."""

    value: Value
    axes: int  # of the scores at that point
    factor: Expr | None = None


@dataclass(frozen=True, slots=True)
class Hidden:
    """Scores that become the least number: where `condition` holds, or where it does not."""

    condition: Value
    axes: int
    where: bool


@dataclass
class Found:
    """What has been recognised so far of one attention."""

    covered: list[Node] = field(default_factory=list)
    precision: Precision = Precision.NATIVE
    wide: bool = False  # its result is cast to the type of the model
    scale: Expr | None = None
    cap: Expr | None = None
    sinks: Value | None = None
    has_sink_column: bool = False
    masks: list[Added | Hidden] = field(default_factory=list)

    def mask(self, view: View, nodes: list[Node], q: Value) -> tuple[MaskForm, Direction, Value | None] | str:
        """All masks as one; what that takes is appended to `nodes`. `q` are the queries, [B, N, T, H]."""
        total: Value | None = None
        hidden: list[tuple[Value, bool]] = []
        for mask in self.masks:
            value = _four_axes(view, nodes, mask.value if isinstance(mask, Added) else mask.condition, mask.axes, q)
            if value is None:
                return "its mask has other axes than its scores"
            match mask:
                case Hidden(_, _, where):
                    hidden.append((value, where))
                case Added(_, _, factor):
                    if factor is not None:
                        value = _made(view, nodes, "mul", (value, Number(factor)), value.shape, value.dtype)
                    total = value if total is None else _sum(view, nodes, total, value)
        if total is not None:
            for condition, where in hidden:
                total = _filled(view, nodes, total, condition, where)
            if total.dtype is not q.dtype:
                total = _made(view, nodes, "cast", (total, q.dtype), total.shape, q.dtype)
            return MaskForm.ADDITIVE, Direction.CAUSAL, total
        for condition, where in hidden:
            turned = view.made_by(condition, "logical_not")
            if where and turned is not None and isinstance(turned.args[0], Value):
                condition = turned.args[0]
            elif where:
                condition = _made(view, nodes, "logical_not", (condition,), condition.shape, DType.BOOL)
            total = condition if total is None else _both(view, nodes, total, condition)
        if total is None:
            return MaskForm.ABSENT, Direction.CAUSAL, None
        return MaskForm.BOOLEAN, Direction.GIVEN, total


def scores_of(view: View, softmax: Op, found: Found) -> Op | str:
    """From the softmax up to the product of queries and keys; a sentence where something else is on the way."""
    (value,) = (arg for arg in softmax.args[:1] if isinstance(arg, Value))
    value = _upcast(view, value, found)
    if found.has_sink_column:
        taken = _without_sinks(view, value, found)
        if isinstance(taken, str):
            return taken
        value = taken
    while True:
        node = view.node_of(value)
        if not isinstance(node, Op):
            return "its scores are not computed here"
        if node.name == "matmul":
            found.covered.append(node)
            return node
        if node.name == "baddbmm":
            return _sum_and_product(view, node, found)
        above = _above(view, node, found)
        if isinstance(above, str):
            return above
        found.covered.append(node)
        value = above


def _above(view: View, node: Op, found: Found) -> Value | str:
    """The scores before one operation, which is noted in `found`."""
    match node:
        case Op("add", (Value() as a, Value() as b)):
            if found.cap is not None:
                return "something is added to its scores before they are limited"
            ours = [x for x in (a, b) if _leads_to_product(view, x)]
            if len(ours) != 1:
                return "its mask cannot be told from its scores"
            mask = b if ours[0] is a else a
            found.masks.insert(0, Added(_whole(view, mask, found), len(ours[0].shape), found.scale))
            return ours[0]
        case Op("where" | "masked_fill", args):
            hides = _hides(view, node.name, args)
            if hides is None:
                return f"`{node.name}` does more than hide some of its scores"
            if found.cap is not None or not positive(found.scale):
                return "some of its scores are hidden before they are scaled or limited"
            scores, hidden = hides
            found.masks.insert(0, hidden)
            return scores
        case Op("mul", args) if (limited := _limited(view, args)) is not None:
            if found.cap is not None or found.scale is not None:
                return "its scores are limited twice, or scaled afterwards"
            found.cap, tanh, divided, value = limited
            found.covered += [tanh, divided]
            return value
        case Op("mul" | "div"):
            factor = scaled(node)
            if factor is None:
                return "its scores are scaled by a tensor"
            found.scale = times(factor[0], found.scale)
            return factor[1]
        case Op("cast", (Value() as inner, DType.FLOAT32)):
            found.precision = Precision.FLOAT32
            return inner
        case Op("maximum", (Value() as inner, least)) | Op("clamp", (Value() as inner, least, None)):
            if _is_least(view, least) and found.scale is None and found.cap is None:
                return inner
            return "its scores are limited from below"
        case Op("reshape", (Value() as inner, _), (result,)) if merges_heads(inner.shape, result.shape):
            return inner
        case _:
            return f"its scores come from `{node.name}`"


def _sum_and_product(view: View, node: Op, found: Found) -> Op | str:
    """`beta * mask + alpha * (q @ k)`"""
    mask, _, _, beta, alpha = node.args
    added, factor = number(beta), number(alpha)
    if not isinstance(mask, Value) or added is None or factor is None:
        return "its scores are scaled by a tensor"
    if found.cap is not None:
        return "something is added to its scores before they are limited"
    if not _is_zero(view, mask) and literal(beta) != 0:
        weight = found.scale if literal(beta) == 1 else times(added, found.scale)
        found.masks.insert(0, Added(mask, 3, weight))
    if literal(alpha) != 1:
        found.scale = times(factor, found.scale)
    found.covered.append(node)
    return node


def _upcast(view: View, value: Value, found: Found) -> Value:
    cast = view.made_by(value, "cast")
    if cast is not None and cast.args[1] is DType.FLOAT32 and isinstance(cast.args[0], Value):
        found.covered.append(cast)
        found.precision = Precision.FLOAT32
        return cast.args[0]
    return value


def _without_sinks(view: View, value: Value, found: Found) -> Value | str:
    """The scores before a column of sinks was joined to them, and perhaps the greatest subtracted."""
    shifted = view.made_by(value, "sub")
    if shifted is not None and isinstance(shifted.args[0], Value):
        greatest = view.made_by(shifted.args[1], "max_dim", "amax")
        if greatest is None or greatest.args[0] != shifted.args[0]:
            return "something other than the greatest is subtracted from its scores"
        found.covered += [shifted, greatest]
        value = shifted.args[0]
    joined = view.made_by(value, "cat")
    match joined:
        case Op("cat", ((Value() as scores, Value() as column), dim)) if literal(dim) in (-1, len(value.shape) - 1):
            found.covered.append(joined)
        case _:
            return "it drops a column that was not joined to its scores"
    sinks = per_head(view, column, found)
    if sinks is None:
        return "its sinks are not one number for each head"
    found.sinks = sinks
    return scores


def per_head(view: View, column: Value, found: Found) -> Value | None:
    """The numbers, one for each head, that a tensor of other axes holds."""
    while (node := view.node_of(column)) is not None:
        match node:
            case Op("expand" | "reshape" | "cast" | "unsqueeze", (Value() as inner, *_)):
                found.covered.append(node)
                column = inner
            case Op("getitem", (Value() as inner, index)) if _adds_axes(index):
                found.covered.append(node)
                column = inner
            case _:
                break
    return column if len(column.shape) == 1 else None


def _adds_axes(index: Operand) -> bool:
    items = index if isinstance(index, tuple) else (index,)
    return all(item is None or item == SliceOf(None, None, None) for item in items)


def _leads_to_product(view: View, value: Value) -> bool:
    """Whether scaling, limiting, masking and casting alone lie between a value and a product of two tensors."""
    node = view.node_of(value)
    match node:
        case Op("matmul" | "baddbmm"):
            return True
        case Op("where" | "masked_fill", args):
            hides = _hides(view, node.name, args)
            return hides is not None and _leads_to_product(view, hides[0])
        case Op("add" | "mul" | "div" | "tanh" | "cast" | "maximum" | "clamp" | "reshape", args):
            return any(isinstance(arg, Value) and _leads_to_product(view, arg) for arg in args)
        case _:
            return False


def _hides(view: View, name: str, args: tuple[Operand, ...]) -> tuple[Value, Hidden] | None:
    """Scores, and where they become the least number."""
    match name, args:
        case "where", (Value() as condition, Value() as scores, least) if _is_least(view, least):
            return scores, Hidden(condition, len(scores.shape), False)
        case "where", (Value() as condition, least, Value() as scores) if _is_least(view, least):
            return scores, Hidden(condition, len(scores.shape), True)
        case "masked_fill", (Value() as scores, Value() as condition, least) if _is_least(view, least):
            return scores, Hidden(condition, len(scores.shape), True)
        case _:
            return None


def _is_least(view: View, operand: Operand) -> bool:
    """Whether a number is the least of some type, or far below all scores."""
    match view.node_of(operand):
        case Op("finfo_min"):
            return True
        case Op("full", (_, inner, _)) | Op("tensor", (inner, _)) | Op("cast", (inner, _)):
            return _is_least(view, inner)
        case None:
            value = literal(operand)
            if isinstance(operand, Number) and isinstance(operand.expr, Apply) and operand.expr.op == "neg":
                value = literal(Number(operand.expr.args[0]))
                value = -value if isinstance(value, (int, float)) else value
            return isinstance(value, (int, float)) and value <= LEAST
        case _:
            return False


def _is_zero(view: View, value: Value) -> bool:
    node = view.node_of(value)
    return isinstance(node, Op) and node.name == "zeros"


def positive(scale: Expr | None) -> bool:
    """Whether a scale is greater than nothing whatever the configuration says."""
    match scale:
        case None:
            return True
        case Const(value):
            return isinstance(value, (int, float)) and value > 0
        case Apply("sqrt" | "exp", _) | Apply("**", (_, Const(0.5 | -0.5))):
            return True
        case Apply("*" | "/", args):
            return all(positive(arg) for arg in args)
        case _:
            return False


def may_be_negative(scale: Expr | None) -> bool:
    """Whether a scale is less than nothing for some numbers that are not: fused attentions take its square root."""
    match scale:
        case Const(value):
            return isinstance(value, (int, float)) and value < 0
        case Apply("sqrt" | "exp", _) | Apply("**", (_, Const(float()))):
            return False
        case Apply("**", (base, _)):
            return may_be_negative(base)
        case Apply("neg" | "-", _):
            return True
        case Apply("*" | "/" | "+" | "//", args):
            return any(may_be_negative(arg) for arg in args)
        case _:
            return False


def _whole(view: View, mask: Value, found: Found) -> Value:
    """The mask before it was cut to a length that it has."""
    cut = view.made_by(mask, "getitem")
    if cut is not None and isinstance(cut.args[0], Value) and cut.args[0].shape == mask.shape:
        found.covered.append(cut)
        return cut.args[0]
    return mask


def _limited(view: View, args: tuple[Operand, ...]) -> tuple[Expr, Op, Op, Value] | None:
    """`tanh(x / cap) * cap`: cap, the tanh, the division, x."""
    for a, b in (args, args[::-1]):
        cap = number(b)
        tanh = view.made_by(a, "tanh")
        if cap is None or tanh is None:
            continue
        divided = view.made_by(tanh.args[0], "div")
        if divided is not None and number(divided.args[1]) == cap and isinstance(divided.args[0], Value):
            return cap, tanh, divided, divided.args[0]
    return None


def scaled(node: Op) -> tuple[Expr, Value] | None:
    """The factor of a product with a number, or of a quotient by one, and the tensor."""
    match node:
        case Op("mul", (Value() as x, Number() as factor)) | Op("mul", (Number() as factor, Value() as x)):
            expr = number(factor)
            return None if expr is None else (expr, x)
        case Op("div", (Value() as x, Number() as divisor)):
            expr = number(divisor)
            return None if expr is None else (_inverse(expr), x)
        case _:
            return None


def _inverse(expr: Expr) -> Expr:
    match expr:
        case Apply("sqrt", (inner,)) | Apply("**", (inner, Const(0.5))):
            return Apply("**", (inner, Const(-0.5)))
        case _:
            return Apply("/", (Const(1.0), expr))


def times(a: Expr, b: Expr | None) -> Expr:
    """The product of two scales, of which the second may be absent."""
    return a if b is None else Apply("*", (a, b))


# ------------------------------------------------------------------------------------------------ masks as one


def _made(
    view: View, nodes: list[Node], name: str, args: tuple[Operand, ...], shape: tuple[Expr, ...], dtype: DType
) -> Value:
    names = ("bias",) if dtype is not DType.BOOL else ("mask",)
    made = Value(view.take_id(), shape, dtype, names if shape else ())
    nodes.append(Op(name, args, (made,)))
    return made


def _four_axes(view: View, nodes: list[Node], mask: Value, axes: int, q: Value) -> Value | None:
    """A mask of scores that have `axes` axes, as one of scores [B, N, T, S]; None where it does not fit them."""
    batch, heads, tokens, _ = q.shape
    shape = mask.shape
    if len(shape) > axes:
        return None
    if axes == 3 and len(shape) == 3 and shape[0] != Const(1):
        if not same_size(shape[0], Apply("*", (batch, heads))):
            return None
        rows = Const(1) if shape[1] == Const(1) else tokens
        sizes = (Number(batch), Number(heads), Number(rows), Number(shape[2]))
        return _made(view, nodes, "reshape", (mask, sizes), (batch, heads, rows, shape[2]), mask.dtype)
    if len(shape) == 4:
        return mask
    missing = 4 - len(shape)
    index = (None,) * missing + (SliceOf(None, None, None),) * len(shape)
    return _made(view, nodes, "getitem", (mask, index), (*(Const(1),) * missing, *shape), mask.dtype)


def _wider(a: Value, b: Value) -> tuple[Expr, ...]:
    """The shape of two masks together."""
    return tuple(y if x == Const(1) else x for x, y in zip(a.shape, b.shape, strict=True))


def _sum(view: View, nodes: list[Node], a: Value, b: Value) -> Value:
    dtype = a.dtype if a.dtype is b.dtype else DType.PROMOTED
    return _made(view, nodes, "add", (a, b), _wider(a, b), dtype)


def _both(view: View, nodes: list[Node], a: Value, b: Value) -> Value:
    return _made(view, nodes, "bitwise_and", (a, b), _wider(a, b), DType.BOOL)


def _filled(view: View, nodes: list[Node], total: Value, condition: Value, where: bool) -> Value:
    """The sum of what is added, with the least number where a condition hides tokens."""
    dtype = DType.FLOAT32 if total.dtype is DType.FLOAT32 else DType.MODEL
    least = _made(view, nodes, "finfo_min", (dtype,), (), dtype)
    shape = _wider(total, condition)
    if where:
        return _made(view, nodes, "masked_fill", (total, condition, least), shape, total.dtype)
    return _made(view, nodes, "where", (condition, total, least), shape, total.dtype)
