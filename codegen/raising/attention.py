"""Scaled dot-product attention: scores of queries and keys, scaled, limited, masked, a softmax, and the values by it."""

from __future__ import annotations

from codegen.raising.scores import Found, may_be_negative, per_head, scaled, scores_of, times
from codegen.raising.shapes import merges_heads
from codegen.raising.view import Match, View, literal
from ir.arch import Attention, Cap, Heads, Precision, Sinks
from ir.expressions import Const
from ir.graph import DType, Node, Number, Op, Operand, Raised, SliceOf, Value

RULE = "attention"


def match(view: View, at: int) -> Match | str | None:
    """Attention around the softmax at `at`; a sentence why it is none; None where there is no softmax."""
    softmax = view.steps[at].node
    if not isinstance(softmax, Op) or softmax.name != "softmax":
        return None
    found = Found(covered=[softmax])
    below = _weights_to_values(view, softmax, found)
    if isinstance(below, str):
        return below
    above = scores_of(view, softmax, found)
    if isinstance(above, str):
        return above
    return _component(view, below, above, found)


def _weights_to_values(view: View, softmax: Op, found: Found) -> Op | str:
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
            case Op("reshape", _, (result,)) if merges_heads(value.shape, result.shape):
                pass
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


def _component(view: View, product: Op, scores: Op, found: Found) -> Match | str:
    flat_q, turned = scores.args[-4:-2] if scores.name == "baddbmm" else scores.args
    assert isinstance(flat_q, Value) and isinstance(turned, Value)
    flat_keys = _turned_back(view, turned, found)
    if flat_keys is None:
        return "its keys are not transposed"
    q, keys = _narrow(view, flat_q, found), _narrow(view, flat_keys, found)
    values = product.args[1]
    assert isinstance(values, Value)
    values = _unmerged(view, values, found)
    if not len(q.shape) == len(keys.shape) == len(values.shape) == 4:
        return "its queries, keys or values have no axis of heads"
    q, keys = _both_narrow(view, q, keys, found)
    k, v = _ungrouped(view, keys, found), _ungrouped(view, values, found)
    if (k is keys) != (v is values):
        return "its keys are repeated for groups of heads, its values are not, or the other way round"
    if may_be_negative(found.scale):
        return "its scores are scaled by a number that may be less than nothing"
    if found.cap is not None and found.sinks is not None:
        return "its scores are limited and have sinks"
    anchor, result, after = _result(view, product, q, v, found)
    sinked = _scaled_by_sinks(view, anchor, found)
    if sinked is not None:
        anchor, result, after = sinked, sinked.results[0], ()
    nodes: list[Node] = []
    if q.dtype in (DType.FLOAT32, DType.PROMOTED) and k.dtype is DType.MODEL:
        narrow = Value(view.take_id(), q.shape, DType.MODEL, q.names)
        nodes.append(Op("cast", (q, DType.MODEL), (narrow,)))
        q = narrow
    if not q.dtype == k.dtype == v.dtype == result.dtype:
        return "its queries, keys and values have different types"
    mask = found.mask(view, nodes, q)
    if isinstance(mask, str):
        return mask
    form, direction, value = mask
    component = Attention(
        form,
        direction,
        softmax=found.precision,
        heads=Heads.OWN if k is keys and k.shape[1] == q.shape[1] else Heads.GROUPED,
        cap=Cap.ABSENT if found.cap is None else Cap.TANH,
        sinks=Sinks.ABSENT if found.sinks is None else Sinks.COLUMN,
    )
    scale = Number(found.scale if found.scale is not None else Const(1.0))
    cap = None if found.cap is None else Number(found.cap)
    args = (q, k, v, value, scale, cap, found.sinks)
    nodes += [Raised(component, args, (result,), RULE, product.span), *after]
    return Match(view.at(anchor), frozenset(view.at(node) for node in found.covered), tuple(nodes), RULE)


def _turned_back(view: View, turned: Value, found: Found) -> Value | None:
    """Keys [B, N, S, H] or [B * N, S, H] before their last two axes were exchanged, and perhaps batch and heads merged."""
    merged = _unmerged(view, turned, found)
    node = view.made_by(merged, "transpose", "permute")
    if node is None or not _swaps_last(node):
        return None
    found.covered.append(node)
    (keys,) = (arg for arg in node.args[:1] if isinstance(arg, Value))
    return keys


def _swaps_last(node: Op) -> bool:
    """Whether the last two of three or four axes change places."""
    rank = len(node.results[0].shape)
    if node.name == "transpose":
        axes = {axis % rank for axis in map(literal, node.args[1:]) if isinstance(axis, int)}
        return axes == {rank - 2, rank - 1}
    dims = node.args[1]
    return isinstance(dims, tuple) and [literal(dim) for dim in dims] == [*range(rank - 2), rank - 1, rank - 2]


def _unmerged(view: View, value: Value, found: Found) -> Value:
    """A tensor before its axes of batch and heads were merged."""
    node = view.made_by(value, "reshape")
    if node is None or len(value.shape) != 3:
        return value
    (inner,) = (arg for arg in node.args[:1] if isinstance(arg, Value))
    if not merges_heads(inner.shape, value.shape):
        return value
    found.covered.append(node)
    return inner


def _narrow(view: View, value: Value, found: Found) -> Value:
    """Queries or keys before they were scaled by a number, and before batch and heads were merged."""
    while True:
        node = view.node_of(value)
        factor = scaled(node) if isinstance(node, Op) and view.only_user(value) is not None else None
        if factor is not None:
            assert node is not None
            found.covered.append(node)
            found.scale = times(factor[0], found.scale)
            value = factor[1]
            continue
        unmerged = _unmerged(view, value, found)
        if unmerged is value:
            return value
        value = unmerged


def _both_narrow(view: View, q: Value, k: Value, found: Found) -> tuple[Value, Value]:
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


def _result(view: View, product: Op, q: Value, v: Value, found: Found) -> tuple[Op, Value, tuple[Node, ...]]:
    """What takes the place of the product: an operation, its result with an axis of heads, and what gives the product's own."""
    (result,) = product.results
    if len(result.shape) == 4:
        return product, result, ()
    user = view.only_user(result)
    if isinstance(user, Op) and user.name == "reshape" and merges_heads(result.shape, user.results[0].shape):
        found.covered.append(user)
        return user, user.results[0], ()
    wide = Value(view.take_id(), (*q.shape[:3], v.shape[3]), result.dtype, result.names)
    sizes = tuple(map(Number, result.shape))
    return product, wide, (Op("reshape", (wide, sizes), (result,), product.span),)


def _scaled_by_sinks(view: View, attended: Op, found: Found) -> Op | None:
    """`out * sigmoid(logsumexp(scores) - sinks)`: a learned score beside those of the tokens takes that much away."""
    (result,) = attended.results
    user = view.only_user(result)
    softmax = found.covered[0]
    if user is None or user.name != "mul" or found.sinks is not None or found.cap is not None:
        return None
    share = user.args[1] if user.args[0] == result else user.args[0]
    above, widened = _above_casts(view, share)
    sigmoid = view.made_by(above, "sigmoid")
    above, narrowed = _above_casts(view, sigmoid.args[0]) if sigmoid is not None else (None, [])
    match view.made_by(above, "sub"):
        case Op("sub", (Value() as total, Value() as column)) as difference:
            pass
        case _:
            return None
    summed = view.made_by(total, "logsumexp")
    if summed is None or literal(summed.args[1]) not in (-1, 3) or not isinstance(softmax, Op):
        return None
    is_column = isinstance(share, Value) and len(share.shape) == 4 and share.shape[-1] == Const(1)
    if not is_column or not view.same(summed.args[0], softmax.args[0]) or not _along_heads(column, total):
        return None
    sinks = per_head(view, column, found)
    if sinks is None:
        return None
    found.sinks = sinks
    found.covered += [user, *widened, *narrowed, difference, summed, *([sigmoid] if sigmoid is not None else [])]
    return user


def _above_casts(view: View, operand: Operand) -> tuple[Operand, list[Node]]:
    """What a value was before it was cast and got a last axis; the operations between."""
    steps: list[Node] = []
    while (node := view.made_by(operand, "cast", "unsqueeze")) is not None:
        if node.name == "unsqueeze" and literal(node.args[1]) not in (-1, len(node.results[0].shape) - 1):
            break
        steps.append(node)
        operand = node.args[0]
    return operand, steps


def _along_heads(column: Value, scores: Value) -> bool:
    """Whether all axes but the second have one element, so that the tensor differs by head alone."""
    others = (*column.shape[:1], *column.shape[2:])
    return len(column.shape) == len(scores.shape) and all(size == Const(1) for size in others)


def _ungrouped(view: View, value: Value, found: Found) -> Value:
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
