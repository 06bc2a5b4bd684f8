"""How many tokens a network has positions for: the rows of every table that is read at the places of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ir.expressions import Apply, Const, Dim, Expr, Index, Local, leaves, substitute
from ir.graph import Branch, Call, Loop, Number, Op, Operand, Region, Scan, Value

SAME = frozenset(
    {"cast", "detach", "expand", "getitem", "permute", "repeat", "reshape", "squeeze", "transpose", "unsqueeze"}
)
"""Operations that leave every number what it is."""
COMPARISONS = frozenset({"eq", "ge", "gt", "le", "lt", "ne"})
PAST = Dim("P")
ZERO, ONE = Const(0), Const(1)


def limits(region: Region, inputs: Sequence[str]) -> tuple[Expr, ...]:
    """How many tokens tables of positions are for, each over the configuration; `inputs` are the names of what `region` takes."""
    known: dict[int, Expr | None] = {}
    for param, name in zip(region.params, inputs, strict=False):
        if isinstance(param, Value) and name in ("positions", "valid"):
            known[param.id] = ZERO if name == "positions" else None
    return tuple(dict.fromkeys(limit for limit in _limits(region, known) if not _depends(limit)))


def _limits(region: Region, known: dict[int, Expr | None]) -> Iterator[Expr]:
    """`known`: what the place of a token is increased by in a value; None for ones and zeros."""
    for node in region.nodes:
        match node:
            case Op("embedding", (Value(id=at), Value(shape=shape), *_)) if (more := known.get(at)) is not None:
                yield _minus(shape[0], more)
            case Op("getitem", (Value(shape=shape), Value(id=at))) if (more := known.get(at)) is not None:
                yield _minus(shape[0], more)
            case Op("getitem", (Value(shape=shape), (Value(id=at), *_))) if (more := known.get(at)) is not None:
                yield _minus(shape[0], more)
            case Op("gather", (Value(shape=shape), Number(Const(int() as axis)), Value(id=at), *_)) if (
                more := known.get(at)
            ) is not None:
                yield _minus(shape[axis], more)
            case Op("index_select", (Value(shape=shape), Number(Const(int() as axis)), Value(id=at))) if (
                more := known.get(at)
            ) is not None:
                yield _minus(shape[axis], more)
            case Op():
                _note(node, known)
            case Call(region=inner):
                below, numbers = _passed(node.args, inner, known), _numbers(node.args, inner)
                yield from (substitute(limit, numbers) for limit in _limits(inner, below))
                for made, result in zip(inner.results, node.results, strict=False):
                    if isinstance(made, Value) and made.id in below:
                        more = below[made.id]
                        known[result.id] = None if more is None else substitute(more, numbers)
            case Loop():
                for body, varying in zip(node.bodies, node.varying, strict=True):
                    yield from _limits(body, _passed((*node.carried, *node.invariant, *varying), body, known))
            case Branch(then=then, otherwise=otherwise):
                for arm in (then, otherwise):
                    yield from _limits(arm, _passed(node.args, arm, known))
            case Scan():
                pass  # its steps see one token each


def _note(node: Op, known: dict[int, Expr | None]) -> None:
    """What is known of the result of an operation."""
    result = node.results[0].id if len(node.results) == 1 else None
    match node:
        case _ if result is None:
            pass
        case Op("arange", (Number(start), *_)) if start in (ZERO, PAST):
            known[result] = ZERO
        case Op(name) if name in COMPARISONS:
            known[result] = None
        case Op("cumsum", (Value(id=at), *_)) if at in known and known[at] is None:
            known[result] = ONE
        case Op("add", (Value(id=at), Number(expr), *_) | (Number(expr), Value(id=at), *_)):
            if (more := known.get(at)) is not None:
                known[result] = more if expr == PAST else _plus(more, expr)
        case Op("sub", (Value(id=at), Number(expr), *_)) if (more := known.get(at)) is not None:
            known[result] = _minus(more, expr)
        case Op("mul", (Value(id=a), Value(id=b))) if a in known and b in known:
            known[result] = known[a] if known[a] is not None else known[b]
        case Op(name, (Value(id=at), *_)) if name in SAME and at in known:
            known[result] = known[at]


def _passed(args: Sequence[Operand], inner: Region, known: dict[int, Expr | None]) -> dict[int, Expr | None]:
    pairs = zip(args, inner.params, strict=False)
    return {b.id: known[a.id] for a, b in pairs if isinstance(a, Value) and isinstance(b, Value) and a.id in known}


def _numbers(args: Sequence[Operand], inner: Region) -> dict[Expr, Expr]:
    """What a helper calls the numbers that it is passed, and what these are."""
    pairs = zip(args, inner.params, strict=False)
    return {b.expr: a.expr for a, b in pairs if isinstance(a, Number) and isinstance(b, Number)}


def _plus(a: Expr, b: Expr) -> Expr:
    match a, b:
        case Const(int() as x), Const(int() as y):
            return Const(x + y)
        case (Const(0), other) | (other, Const(0)):
            return other
        case _:
            return Apply("+", (a, b))


def _minus(a: Expr, b: Expr) -> Expr:
    match a, b:
        case Const(int() as x), Const(int() as y):
            return Const(x - y)
        case _, Const(0):
            return a
        case Apply("+", (first, Const(int() as x))), Const(int() as y):
            return _plus(first, Const(x - y))
        case _:
            return Apply("-", (a, b))


def _depends(limit: Expr) -> bool:
    """Whether a size is no number of the configuration, but of the input or of a frame."""
    return any(isinstance(leaf, (Dim, Index, Local)) for leaf in leaves(limit))
