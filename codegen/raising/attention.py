"""Scaled dot-product attention: scores of queries and keys, scaled, limited, masked, a softmax, and the values by it."""

from __future__ import annotations

from dataclasses import dataclass, field

from codegen.raising.view import Match, View, literal, number
from ir.arch import Attention, Cap, Heads, MaskForm, Precision, Sinks
from ir.expressions import Apply, Const, Expr
from ir.graph import DType, Node, Number, Op, Operand, Raised, SliceOf, Value

RULE = "attention"


@dataclass
class _Found:
    """What has been recognised so far."""

    covered: list[Node] = field(default_factory=list)
    precision: Precision = Precision.NATIVE
    wide: bool = False  # its result is cast to the type of the model
    scale: Expr | None = None
    cap: Expr | None = None
    sinks: Value | None = None
    has_sink_column: bool = False
    masks: list[Value] = field(default_factory=list)
    heads: Heads = Heads.OWN


def match(view: View, at: int) -> Match | str | None:
    """Attention around the softmax at `at`; a sentence why it is none; None where there is no softmax."""
    softmax = view.steps[at].node
    if not isinstance(softmax, Op) or softmax.name != "softmax":
        return None
    found = _Found(covered=[softmax])
    below = _weights_to_values(view, softmax, found)
    if isinstance(below, str):
        return below
    above = _scores(view, softmax, found)
    if isinstance(above, str):
        return above
    return _component(view, below, above, found)


def _weights_to_values(view: View, softmax: Op, found: _Found) -> Op | str:
    """From the softmax down to the product with the values."""
    if literal(softmax.args[1]) not in (-1, len(softmax.results[0].shape) - 1):
        return "its softmax is not over the last axis"
    if softmax.args[2] is DType.FLOAT32:
        found.precision = Precision.FLOAT32
    value = softmax.results[0]
    while True:
        user = view.only_user(value)
        match user:
            case None:
                return "its weights are used more than once"
            case Op("cast", (_, DType.MODEL)):
                found.wide = True
            case Op("getitem", (_, index)) if _drops_last(index):
                found.has_sink_column = True
            case Op("matmul", (Value() as first, Value())) if first.id == value.id:
                found.covered.append(user)
                return user
            case _:
                return f"its weights go to `{user.name}`, not to a product with values"
        found.covered.append(user)
        value = user.results[0]


def _drops_last(index: Operand) -> bool:
    """`[..., :-1]`"""
    items = index if isinstance(index, tuple) else (index,)
    last = items[-1]
    return isinstance(last, SliceOf) and last.start is None and literal(last.stop) == -1 and last.step is None


def _scores(view: View, softmax: Op, found: _Found) -> Op | str:
    """From the softmax up to the product of queries and keys."""
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
        match node:
            case Op("matmul"):
                found.covered.append(node)
                return node
            case Op("add", (Value() as a, Value() as b)):
                if found.scale is not None or found.cap is not None:
                    return "something is added to its scores before they are scaled or limited"
                ours = [x for x in (a, b) if _leads_to_product(view, x)]
                if len(ours) != 1:
                    return "its mask cannot be told from its scores"
                mask = b if ours[0] is a else a
                found.masks.insert(0, _whole(view, mask, found))
                value = ours[0]
            case Op("mul", args) if _limited(view, args) is not None:
                limited = _limited(view, args)
                assert limited is not None
                if found.cap is not None or found.scale is not None:
                    return "its scores are limited twice, or scaled afterwards"
                found.cap, tanh, divided, value = limited
                found.covered += [tanh, divided]
            case Op("mul" | "div", (a, b)):
                scaled = _scaled(node)
                if scaled is None:
                    return "its scores are scaled by a tensor"
                factor, value = scaled
                found.scale = _times(factor, found.scale)
            case Op("cast", (Value() as inner, DType.FLOAT32)):
                value = inner
                found.precision = Precision.FLOAT32
            case Op():
                return f"its scores come from `{node.name}`"
        found.covered.append(node)


def _upcast(view: View, value: Value, found: _Found) -> Value:
    cast = view.made_by(value, "cast")
    if cast is not None and cast.args[1] is DType.FLOAT32 and isinstance(cast.args[0], Value):
        found.covered.append(cast)
        found.precision = Precision.FLOAT32
        return cast.args[0]
    return value


def _without_sinks(view: View, value: Value, found: _Found) -> Value | str:
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
    if len(column.shape) != 1:
        return "its sinks are not one number for each head"
    found.sinks = column
    return scores


def _adds_axes(index: Operand) -> bool:
    items = index if isinstance(index, tuple) else (index,)
    return all(item is None or item == SliceOf(None, None, None) for item in items)


def _leads_to_product(view: View, value: Value) -> bool:
    """Whether scaling, limiting, masking and casting alone lie between a value and a product of two tensors."""
    node = view.node_of(value)
    match node:
        case Op("matmul"):
            return True
        case Op("add" | "mul" | "div" | "tanh" | "cast", args):
            return any(isinstance(arg, Value) and _leads_to_product(view, arg) for arg in args)
        case _:
            return False


def _whole(view: View, mask: Value, found: _Found) -> Value:
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


def _scaled(node: Op) -> tuple[Expr, Value] | None:
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


def _times(a: Expr, b: Expr | None) -> Expr:
    return a if b is None else Apply("*", (a, b))


def _folded(view: View, value: Value, found: _Found) -> Value:
    """Queries or keys before they were scaled by a number."""
    node = view.node_of(value)
    if isinstance(node, Op) and node.name in ("mul", "div") and view.only_user(value) is not None:
        scaled = _scaled(node)
        if scaled is not None:
            found.covered.append(node)
            found.scale = _times(scaled[0], found.scale)
            return scaled[1]
    return value


def _both_narrow(view: View, q: Value, k: Value, found: _Found) -> tuple[Value, Value]:
    """Queries and keys before both were cast to float32, which the softmax then is in."""
    casts = [view.made_by(x, "cast") for x in (q, k)]
    narrow = [cast.args[0] for cast in casts if cast is not None and cast.args[1] is DType.FLOAT32]
    match narrow:
        case [Value() as q_narrow, Value() as k_narrow] if found.precision is Precision.FLOAT32 or found.wide:
            found.covered += [cast for cast in casts if cast is not None]
            found.precision = Precision.FLOAT32
            return q_narrow, k_narrow
        case _:
            return q, k


def _component(view: View, product: Op, scores: Op, found: _Found) -> Match | str:
    q, turned = scores.args
    values = product.args[1]
    assert isinstance(q, Value) and isinstance(turned, Value) and isinstance(values, Value)
    if len(q.shape) != 4:
        return "its queries have no axis of heads"
    transposed = view.made_by(turned, "transpose", "permute")
    if transposed is None or not _swaps_last(transposed):
        return "its keys are not transposed"
    found.covered.append(transposed)
    keys = transposed.args[0]
    assert isinstance(keys, Value)
    q, keys = _folded(view, q, found), _folded(view, keys, found)
    q, keys = _both_narrow(view, q, keys, found)
    k, v = _ungrouped(view, keys, found), _ungrouped(view, values, found)
    if (k is keys) != (v is values):
        return "its keys are repeated for groups of heads, its values are not, or the other way round"
    heads = Heads.OWN if k is keys else Heads.GROUPED
    (result,) = product.results
    if not q.dtype == k.dtype == v.dtype == result.dtype:
        return "its queries, keys and values have different types"
    component = Attention(
        MaskForm.ADDITIVE if found.masks else MaskForm.ABSENT,
        softmax=found.precision,
        heads=heads,
        cap=Cap.ABSENT if found.cap is None else Cap.TANH,
        sinks=Sinks.ABSENT if found.sinks is None else Sinks.COLUMN,
    )
    nodes, mask = _mask(view, found)
    scale = Number(found.scale if found.scale is not None else Const(1.0))
    cap = None if found.cap is None else Number(found.cap)
    args = (q, k, v, mask, scale, cap, found.sinks)
    raised = Raised(component, args, product.results, RULE, product.span)
    covered = frozenset(view.at(node) for node in found.covered)
    return Match(view.at(product), covered, (*nodes, raised), RULE)


def _mask(view: View, found: _Found) -> tuple[tuple[Node, ...], Value | None]:
    """What is added to the scores, as one value."""
    if not found.masks:
        return (), None
    total, *others = found.masks
    nodes: list[Node] = []
    for other in others:
        shape = max((total.shape, other.shape), key=lambda shape: sum(size != Const(1) for size in shape))
        both = Value(view.take_id(), shape, total.dtype, ("bias",))
        nodes.append(Op("add", (total, other), (both,)))
        total = both
    return tuple(nodes), total


def _swaps_last(node: Op) -> bool:
    if node.name == "transpose":
        return {literal(node.args[1]), literal(node.args[2])} in ({2, 3}, {-1, -2}, {2, -1}, {-2, 3})
    dims = node.args[1]
    return isinstance(dims, tuple) and [literal(dim) for dim in dims] == [0, 1, 3, 2]


def _ungrouped(view: View, value: Value, found: _Found) -> Value:
    """Keys or values before each head was repeated for the query heads that share it."""
    match view.node_of(value):
        case Op("repeat_interleave", (Value() as base, _, dim)) as node if literal(dim) == 1:
            found.covered.append(node)
            return base
        case Op("reshape", (Value() as wide, _)) as merged if len(value.shape) == 4:
            spread = view.made_by(wide, "expand")
            if spread is None or len(wide.shape) != 5:
                return value
            inserted = view.made_by(spread.args[0], "getitem", "unsqueeze")
            if inserted is None or not _inserts_third(inserted) or not isinstance(inserted.args[0], Value):
                return value
            base = inserted.args[0]
            if base.shape[2:] != value.shape[2:]:
                return value
            found.covered += [merged, spread, inserted]
            return base
        case _:
            return value


def _inserts_third(node: Op) -> bool:
    """`[:, :, None]`, with or without the rest."""
    if node.name == "unsqueeze":
        return literal(node.args[1]) == 2
    index = node.args[1]
    everything = SliceOf(None, None, None)
    if not isinstance(index, tuple) or len(index) < 3:
        return False
    return index[:3] == (everything, everything, None) and all(item == everything for item in index[3:])
