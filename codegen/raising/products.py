"""Products that are spelled as sums over letters, as the transposed matrix products that the rules know."""

from __future__ import annotations

from collections.abc import Callable

from ir.expressions import Const
from ir.graph import Number, Op, Operand, Value

TakeId = Callable[[], int]


def spelled_out(op: Op, take_id: TakeId) -> tuple[Op, ...] | None:
    """`einsum` of two tensors over one letter as a product of matrices, each with the common letters before its rows and
    columns: `bqhd,bkhd->bhqk` is `a.permute(0, 2, 1, 3) @ b.permute(0, 2, 1, 3).transpose(2, 3)`. None for any other operation.
    """
    if op.name != "einsum" or not isinstance(op.args[1], tuple) or len(op.args[1]) != 2:
        return None
    a, b = op.args[1]
    equation = op.args[0].expr.value if isinstance(op.args[0], Number) and isinstance(op.args[0].expr, Const) else None
    (result,) = op.results
    if not isinstance(equation, str) or not isinstance(a, Value) or not isinstance(b, Value):
        return None
    if not a.dtype is b.dtype is result.dtype:
        return None
    inputs, output = equation.split("->")
    first, second = inputs.split(",")
    roles = _roles(first, second, output)
    if roles is None:
        return None
    batch, row, column, inner = roles
    sizes = dict(zip(first + second, (*a.shape, *b.shape), strict=True))
    nodes: list[Op] = []

    def moved(value: Value, letters: str, wanted: str, into: Value | None = None) -> Value:
        if letters == wanted:
            return value
        made = into or Value(take_id(), tuple(sizes[letter] for letter in wanted), value.dtype)
        axes = [letters.index(letter) for letter in wanted]
        exchanged = [Number(Const(at)) for at, axis in enumerate(axes) if at != axis]
        if len(exchanged) == 2:
            nodes.append(Op("transpose", (value, *exchanged), (made,), op.span))
        else:
            nodes.append(Op("permute", (value, tuple(Number(Const(axis)) for axis in axes)), (made,), op.span))
        return made

    left = moved(a, first, batch + row + inner)
    right = moved(b, second, batch + inner + column if second == batch + inner + column else batch + column + inner)
    if second != batch + inner + column:
        turned = Value(take_id(), tuple(sizes[letter] for letter in batch + inner + column), b.dtype)
        axes: tuple[Operand, ...] = (Number(Const(len(batch))), Number(Const(len(batch) + 1)))
        nodes.append(Op("transpose", (right, *axes), (turned,), op.span))
        right = turned
    made = batch + row + column
    plain = made == output
    product = result if plain else Value(take_id(), tuple(sizes[letter] for letter in made), result.dtype)
    nodes.append(Op("matmul", (left, right), (product,), op.span))
    if not plain:
        moved(product, made, output, result)
    return tuple(nodes)


def _roles(first: str, second: str, output: str) -> tuple[str, str, str, str] | None:
    """The common letters, those of the rows, of the columns and of the sum; None where it is no product of matrices."""
    if any(len(set(term)) != len(term) or not term.isalpha() for term in (first, second, output)):
        return None
    batch = "".join(letter for letter in output if letter in first and letter in second)
    row = "".join(letter for letter in first if letter not in second)
    column = "".join(letter for letter in second if letter not in first)
    inner = "".join(letter for letter in first if letter in second and letter not in output)
    if not batch or not len(row) == len(column) == len(inner) == 1 or set(output) != set(batch + row + column):
        return None
    return batch, row, column, inner
