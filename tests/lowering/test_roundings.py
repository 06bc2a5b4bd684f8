"""Code that rounds before it multiplies says so; code that does not, does not."""

from __future__ import annotations

import pytest

from codegen.lowering.roundings import FACTOR, SCALED, rounding
from ir.expressions import Const
from ir.graph import DType, Node, Number, Op, Operand, Region, Value


def region(*steps: tuple[str, tuple[int | Operand, ...], DType, int]) -> Region:
    """Operations one after the other: name, arguments (a number is an earlier result, 0 the input), type and rank."""
    values = [Value(0, (Const(2), Const(3)), DType.MODEL)]
    nodes: list[Node] = []
    for name, arguments, dtype, rank in steps:
        made = Value(len(values), (Const(3),) * rank, dtype)
        nodes.append(Op(name, tuple(values[x] if isinstance(x, int) else x for x in arguments), (made,)))
        values.append(made)
    return Region("forward", (values[0],), tuple(nodes), (values[-1],))


WEIGHT = Number(Const("weight"))
BACK = ("cast", (1, DType.MODEL), DType.MODEL, 2)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (  # rounded, then scaled
            (
                ("cast", (0, DType.FLOAT32), DType.FLOAT32, 2),
                BACK,
                ("parameter", (WEIGHT,), DType.MODEL, 1),
                ("mul", (3, 2), DType.MODEL, 2),
            ),
            SCALED,
        ),
        (  # scaled, then rounded
            (
                ("cast", (0, DType.FLOAT32), DType.FLOAT32, 2),
                ("parameter", (WEIGHT,), DType.MODEL, 1),
                ("mul", (1, 2), DType.FLOAT32, 2),
                ("cast", (3, DType.MODEL), DType.MODEL, 2),
            ),
            "",
        ),
        (  # a factor that is rounded
            (
                ("parameter", (WEIGHT,), DType.FLOAT32, 0),
                ("cast", (1, DType.MODEL), DType.MODEL, 0),
                ("mul", (0, 2), DType.MODEL, 2),
            ),
            FACTOR,
        ),
        ((("parameter", (WEIGHT,), DType.MODEL, 1), ("mul", (0, 1), DType.MODEL, 2)), ""),
    ],
)
def test_what_is_said(steps: tuple[tuple[str, tuple[int | Operand, ...], DType, int], ...], said: str) -> None:
    assert rounding([region(*steps)]) == said
