"""What is done with a parameter says what Flax calls it."""

from __future__ import annotations

import pytest

from codegen.lowering.matrices import Use, scales, uses_of
from ir.expressions import Const
from ir.graph import DType, Node, Number, Op, Operand, Region, Value

ONE = Number(Const(1))


class Body:
    """A region that does things with `x` and the parameter `weight`, written one after the other."""

    def __init__(self, rank: int):
        self.nodes: list[Node] = []
        self.x = Value(0, (Const(2), Const(3)), DType.MODEL)
        self.weight = self.op("parameter", Number(Const("weight")), rank=rank)

    def op(self, name: str, *args: Operand, rank: int = 2) -> Value:
        made = Value(len(self.nodes) + 1, (Const(3),) * rank, DType.MODEL)
        self.nodes.append(Op(name, args, (made,)))
        return made

    def region(self, result: Value) -> Region:
        return Region("forward", (self.x,), tuple(self.nodes), (result,))


def test_a_vector_that_is_multiplied_by_is_a_scale() -> None:
    plain, offset = Body(1), Body(1)
    assert scales("weight", [plain.region(plain.op("mul", plain.weight, plain.x))])
    wide = offset.op("cast", offset.weight, DType.FLOAT32, rank=1)
    assert scales("weight", [offset.region(offset.op("mul", offset.x, offset.op("add", ONE, wide, rank=1)))])
    assert not scales("bias", [plain.region(plain.weight)])


@pytest.mark.parametrize("use", ["add", "cat", "exp"])
def test_a_vector_of_another_use_is_none(use: str) -> None:
    both, given = Body(1), Body(1)
    product = both.op("mul", both.weight, both.x)
    assert not scales("weight", [both.region(both.op(use, product, both.weight))])
    assert not scales("weight", [given.region(given.weight)])


@pytest.mark.parametrize(
    ("name", "use"), [("linear", Use.LINEAR), ("matmul", Use.TURNED), ("embedding", Use.EMBEDDING)]
)
def test_matrices_are_known_in_any_type(name: str, use: Use) -> None:
    plain, wide = Body(2), Body(2)
    assert uses_of("weight", [plain.region(plain.op(name, plain.x, plain.weight))]) == {use}
    cast = wide.op("cast", wide.weight, DType.FLOAT32)
    region = wide.region(wide.op(name, wide.x, cast))
    assert uses_of("weight", [region]) == frozenset()
    assert uses_of("weight", [region], in_any_type=True) == {use}
