"""Rotary position embedding: pairs of elements of queries and keys turned by an angle that grows with the position."""

from __future__ import annotations

from codegen.raising.view import Match, View, literal
from ir.arch import Extent, Pairing, Rotary, Tables
from ir.expressions import Apply, Const, Expr
from ir.graph import Ellipsis_, Node, Number, Op, Operand, Raised, SliceOf, Value
from ir.records import replace

RULE = "rotary"
PARTIAL = "partial rotary"


def match(view: View, at: int) -> Match | str | None:
    """`x * cos + rotated(x) * sin` at the sum; None where there is no such sum."""
    total = view.steps[at].node
    if not isinstance(total, Op) or total.name != "add":
        return None
    a, b = total.args
    for plain, turned in ((a, b), (b, a)):
        first, second = view.made_by(plain, "mul"), view.made_by(turned, "mul")
        if first is None or second is None:
            return None
        for rotated, sin in (second.args, second.args[::-1]):
            found = rotation(view, rotated)
            if found is None:
                continue
            x, pairing, covered = found
            cos = next((other for one, other in (first.args, first.args[::-1]) if view.same(one, x)), None)
            if cos is None or not isinstance(sin, Value) or not isinstance(cos, Value):
                return "the rotated tensor is not the one that is multiplied by the cosines"
            if cos.shape[-1] != sin.shape[-1]:
                return "its cosines and sines have different sizes"
            if total.results[0].shape[-1] != x.shape[-1]:
                return "it has another size than its cosines and sines"
            raised = Raised(Rotary(pairing, Tables.FULL), (x, cos, sin), total.results, RULE, total.span)
            steps = frozenset(view.at(node) for node in (total, first, second, *covered))
            return Match(at, steps, (raised,), RULE)
    return None


def match_partial(view: View, at: int) -> Match | str | None:
    """`cat((rotated x[..., :R], x[..., R:]), -1)`: the first elements of a head turn."""
    joined = view.steps[at].node
    if not isinstance(joined, Op) or joined.name != "cat" or not _is_last(joined.args[1], joined):
        return None
    match joined.args[0]:
        case (Value() as turned, Value() as rest):
            rotated, kept = view.node_of(turned), view.made_by(rest, "getitem")
        case _:
            return None
    if not isinstance(rotated, Raised) or not isinstance(rotated.component, Rotary) or kept is None:
        return None
    if rotated.component.extent is not Extent.WHOLE or view.only_user(turned) is None:
        return None
    cut = view.made_by(rotated.args[0], "getitem")
    if cut is None or cut.args[0] != kept.args[0] or not isinstance(cut.args[0], Value):
        return None
    x = cut.args[0]
    low, high = _last_slice(cut.args[1], len(x.shape)), _last_slice(kept.args[1], len(x.shape))
    if low is None or high is None or low.step is not None or high.step is not None:
        return None
    if not _starts_at_zero(low) or high.stop is not None or low.stop != high.start:
        return "the parts of a head that turn and that stay do not make the whole"
    component = replace(rotated.component, extent=Extent.FIRST)
    raised = Raised(component, (x, *rotated.args[1:]), joined.results, PARTIAL, joined.span)
    steps = frozenset(view.at(node) for node in (joined, rotated, kept, cut))
    return Match(at, steps, (raised,), PARTIAL)


def rotation(view: View, operand: Operand) -> tuple[Value, Pairing, list[Node]] | None:
    """Each pair (a, b) of x as (-b, a): x, how elements are paired, the operations."""
    joined = view.made_by(operand, "cat")
    if joined is not None:
        return _halves(view, joined)
    merged = view.made_by(operand, "reshape")
    if merged is not None:
        stacked = view.made_by(merged.args[0], "stack")
        return None if stacked is None else _neighbours(view, merged, stacked)
    return None


def _halves(view: View, joined: Op) -> tuple[Value, Pairing, list[Node]] | None:
    """`cat((-x2, x1), -1)` of the halves of x."""
    parts, dim = joined.args
    if not isinstance(parts, tuple) or len(parts) != 2 or not _is_last(dim, joined):
        return None
    negated = view.made_by(parts[0], "neg")
    if negated is None:
        return None
    chunked = view.made_by(parts[1], "chunk", "split")
    if chunked is not None and chunked is view.node_of(negated.args[0]):
        in_order = (parts[1], negated.args[0]) == tuple(chunked.results) and _is_last(chunked.args[2], joined)
        x = chunked.args[0]
        return (x, Pairing.HALVES, [joined, negated, chunked]) if in_order and isinstance(x, Value) else None
    second, first = view.made_by(negated.args[0], "getitem"), view.made_by(parts[1], "getitem")
    if first is None or second is None or first.args[0] != second.args[0]:
        return None
    x = first.args[0]
    if not isinstance(x, Value):
        return None
    low, high = _last_slice(first.args[1], len(x.shape)), _last_slice(second.args[1], len(x.shape))
    middle = low.stop if low is not None else None
    if low is None or high is None or not _starts_at_zero(low) or high.stop is not None:
        return None
    if not _is_half(middle, x.shape[-1]) or high.start != middle:
        return None
    return x, Pairing.HALVES, [joined, negated, first, second]


def _neighbours(view: View, merged: Op, stacked: Op) -> tuple[Value, Pairing, list[Node]] | None:
    """`stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)`."""
    parts, dim = stacked.args
    if not isinstance(parts, tuple) or len(parts) != 2 or literal(dim) not in (-1, len(stacked.results[0].shape) - 1):
        return None
    negated = view.made_by(parts[0], "neg")
    odd = view.made_by(negated.args[0], "getitem") if negated is not None else None
    even = view.made_by(parts[1], "getitem")
    if negated is None or odd is None or even is None or odd.args[0] != even.args[0]:
        return None
    x = even.args[0]
    if not isinstance(x, Value) or merged.results[0].shape[:-1] != x.shape[:-1]:
        return None
    first, second = _last_slice(even.args[1], len(x.shape)), _last_slice(odd.args[1], len(x.shape))
    if first is None or second is None or literal(first.step) != 2 or literal(second.step) != 2:
        return None
    if not _starts_at_zero(first) or literal(second.start) != 1 or first.stop is not None or second.stop is not None:
        return None
    return x, Pairing.NEIGHBOURS, [merged, stacked, negated, odd, even]


def _is_last(dim: Operand, node: Op) -> bool:
    return literal(dim) in (-1, len(node.results[0].shape) - 1)


def _last_slice(index: Operand, rank: int) -> SliceOf | None:
    """The slice of the last axis in an index that leaves the others as they are."""
    items = index if isinstance(index, tuple) else (index,)
    everything = SliceOf(None, None, None)
    if not items or not isinstance(items[-1], SliceOf):
        return None
    rest = items[:-1]
    reaches = Ellipsis_() in rest or len(items) == rank
    return items[-1] if reaches and all(item in (Ellipsis_(), everything) for item in rest) else None


def _starts_at_zero(part: SliceOf) -> bool:
    return part.start is None or literal(part.start) == 0


def _is_half(middle: Operand, size: Expr) -> bool:
    """Whether a number is half of `size`, as expressions go."""
    if not isinstance(middle, Number):
        return False
    if isinstance(size, Const) and isinstance(middle.expr, Const):
        return isinstance(size.value, int) and middle.expr.value == size.value // 2
    two = Const(2)
    if size in (Apply("*", (middle.expr, two)), Apply("*", (two, middle.expr)), Apply("+", (middle.expr, middle.expr))):
        return True
    return middle.expr in (Apply("//", (size, two)), Apply("int", (Apply("/", (size, two)),)))


def takes_first_half(cut: Op) -> bool:
    """`x[..., : x.shape[-1] // 2]`"""
    if cut.name != "getitem" or not isinstance(cut.args[0], Value):
        return False
    part = _last_slice(cut.args[1], len(cut.args[0].shape))
    return (
        part is not None and _starts_at_zero(part) and part.step is None and _is_half(part.stop, cut.args[0].shape[-1])
    )
