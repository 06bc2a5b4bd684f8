"""Ways of a source for one token at a time, which it takes by what it keeps and not by how many tokens there are.

A call on what an earlier one left may read the first of its tokens alone, for the source never gives it more. On several tokens the
rest of such a way computes something, by sizes that stretch, which no call of the source does.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import assert_never

from codegen.diagnostics import CompileError, Diagnostic, Label
from ir.expressions import Const, Dim
from ir.graph import Branch, Call, DType, Loop, Number, Op, Operand, Raised, Region, Scan, SliceOf, Value

TOKENS = Dim("T")
PLACES = frozenset({DType.INT64, DType.INT32, DType.INT16, DType.INT8, DType.UINT8, DType.BOOL})


def check(region: Region) -> None:
    """Refuse a region that takes the first of several tokens for all.

    Raises:
        CompileError: `unknown-state`.
    """
    for op in _ops(region):
        match op.args:
            case [Value() as x, tuple(index)] if op.name == "getitem" and x.dtype not in PLACES and _first(x, index):
                message = "the source goes on from what it keeps with one token alone, however many there are"
                place = None if op.span is None else Label(op.span, "the first of several tokens")
                raise CompileError(Diagnostic("unknown-state", message, place))
            case _:
                pass


def _ops(region: Region) -> Iterator[Op]:
    """The operations of a region, but for those of ways that a question chooses: it may be how many tokens there are."""
    for node in region.nodes:
        match node:
            case Op():
                yield node
            case Call(region=inner):
                yield from _ops(inner)
            case Loop(bodies=bodies):
                yield from chain.from_iterable(map(_ops, bodies))
            case Scan(body=inner):
                yield from _ops(inner)
            case Branch() | Raised():
                pass
            case _:
                assert_never(node)


def _first(x: Value, index: tuple[Operand, ...]) -> bool:
    """Whether an index takes the first entry of the axis of the tokens of this call."""
    whole = [step for step in index if step is not None]
    return any(size == TOKENS and _is_first(step) for size, step in zip(x.shape, whole, strict=False))


def _is_first(step: Operand | SliceOf) -> bool:
    match step:
        case Number(Const(0)) | SliceOf(None | Number(Const(0)), Number(Const(1)), _):
            return True
        case _:
            return False
