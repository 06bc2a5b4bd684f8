"""Tensors whose elements are all one number: what follows from that number alone needs no running model."""

from __future__ import annotations

from collections.abc import Sequence

from codegen.graph import scalars
from codegen.graph.values import Scalar, TensorValue, value_of
from ir.expressions import Plain
from ir.graph import DType

Known = Plain | Scalar

_CREATED: dict[str, Known] = {"zeros": 0, "zeros_like": 0, "ones": 1, "ones_like": 1}
_FILLED = frozenset({"full", "full_like"})
_MOVED = frozenset(
    "reshape transpose permute expand unsqueeze squeeze repeat repeat_interleave flip roll getitem index_select".split()
)
_COMPUTED = {
    "eq": "==",
    "ne": "!=",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "add": "+",
    "sub": "-",
    "mul": "*",
}


def uniform(op: str, args: Sequence[object], dtype: DType) -> Known | None:
    """The number that every element of the result of `op` is; None where nothing says so."""
    if op in _CREATED:
        return _CREATED[op]
    if op in _FILLED:
        return known(args[1])
    if op in _MOVED or op == "tensor":
        return known(args[0])
    if op == "cast":
        return _cast(known(args[0]), dtype)
    if op == "where":
        condition = known(args[0])
        return None if condition is None or isinstance(condition, Scalar) else known(args[1 if condition else 2])
    if op in _COMPUTED:
        return _apply(_COMPUTED[op], known(args[0]), known(args[1]))
    return None


def known(x: object) -> Known | None:
    """The number that an operand is, if it is one."""
    match x:
        case TensorValue():
            return x.everywhere
        case Scalar() | bool() | int() | float():
            return x
        case _:
            return None


def _apply(op: str, a: Known | None, b: Known | None) -> Known | None:
    if not _is_whole(a) or not _is_whole(b):
        return None
    return scalars.apply(op, a, b)


def _cast(x: Known | None, dtype: DType) -> Known | None:
    if dtype is DType.BOOL:
        return None if x is None or isinstance(x, Scalar) else bool(x)
    return x if _is_whole(x) else None


def _is_whole(x: Known | None) -> bool:
    """Whole numbers are the same in every type; others may be rounded."""
    return isinstance(value_of(x), int)
