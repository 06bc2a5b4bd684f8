"""Whether the way of one new token is that of several, shortened: where it is something else, the way of several is taken for
one token too.

A step of a source may leave a tensor in a shape that broadcasts as it should in batches of one row alone, or forget a limit
that the way of several has. That one, which whole sequences of one token take as well, says what is meant: a prompt, its
parts and single tokens agree. What both ways compute for one token is compared on random numbers, as wide as to reach limits.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from codegen.graph.regions import NARROW, freeze_with_inputs, nodes_of
from codegen.graph.values import Frame, Node, TensorValue, expr_of, value_of
from ir.expressions import Environment, evaluate
from ir.graph import WRITES, DType
from ir.ops import Category, category

if TYPE_CHECKING:
    import numpy as np

Pair = tuple[TensorValue, TensorValue]  # what the way of one token leaves, and what that of several leaves
TOLERANCE = 1e-6
WIDTHS = (1.0, 8.0)  # of the random numbers
DIMS = {"B": 1, "T": 1, "P": 4, "S": 5}
_KEEP = frozenset({"state_extend", "state_append", "cache_update"})


def reads_next(statements: Iterable[ast.AST], name: str) -> bool:
    """Whether statements read a variable before they set it."""
    for node in statements:
        for found in _in_order(node):
            if found.id == name:
                return isinstance(found.ctx, ast.Load)
    return False


def _in_order(node: ast.AST) -> Iterator[ast.Name]:
    """The names in a statement, in the order in which they are evaluated."""
    match node:
        case ast.Name():
            yield node
        case ast.Assign(targets=targets, value=value):
            yield from _all_in_order(value, *targets)
        case ast.AugAssign(target=ast.Name(id=name), value=value):
            yield ast.Name(name, ast.Load())
            yield from _in_order(value)
        case ast.For(target=target, iter=source, body=body, orelse=orelse):
            yield from _all_in_order(source, target, *body, *orelse)
        case _:
            yield from _all_in_order(*ast.iter_child_nodes(node))


def _all_in_order(*nodes: ast.AST) -> Iterator[ast.Name]:
    for node in nodes:
        yield from _in_order(node)


def disagree(
    one: Frame, several: Frame, pairs: Sequence[Pair], environment: Environment, fresh: Mapping[TensorValue, float]
) -> bool:
    """Whether two ways leave other numbers for one token; not where nothing says so.

    `fresh`: states with what they are before the first token, from which the way of several may go on later alone.
    """
    if any(node.op in _KEEP for frame in (one, several) for node, _ in nodes_of(frame)):
        return False
    narrow = {result: node.args[0] for node, _ in nodes_of(one) for result in node.results if node.op == NARROW}
    compared = [(a, b) for a, b in (*pairs, *_written(one, several)) if narrow.get(a, a) is not b]
    if not compared or not all(map(_is_float, compared)):
        return False
    known = replace(environment, dims=DIMS)
    key = _key(one, several, compared, fresh)
    if key not in _ANSWERS:
        _ANSWERS[key] = _compare(one, several, compared, known, fresh)
    return _ANSWERS[key]


_ANSWERS: dict[str, bool] = {}
"""By what both ways do: the layers of a model ask the same over and over."""


def _key(one: Frame, several: Frame, pairs: Sequence[Pair], fresh: Mapping[TensorValue, float]) -> str:
    """All that the answer follows from: operations, sizes, and which values are the same."""
    numbers: dict[TensorValue, int] = {}

    def shown(x: object) -> object:
        match x:
            case TensorValue():
                shape = [value_of(size) for size in x.shape]
                return (numbers.setdefault(x, len(numbers)), shape, x.dtype.value, fresh.get(x))
            case tuple() | list():
                return [shown(item) for item in x]
            case slice():
                return ["slice", shown(x.start), shown(x.stop), shown(x.step)]
            case _:
                return (value_of(x), str(getattr(x, "expr", "")))

    nodes = [(node.op, shown(node.args), shown(node.results)) for arm in (one, several) for node, _ in nodes_of(arm)]
    return repr((nodes, shown(tuple(pairs))))


def _compare(
    one: Frame, several: Frame, compared: Sequence[Pair], known: Environment, fresh: Mapping[TensorValue, float]
) -> bool:
    from ir.evaluate import CannotEvaluate

    try:
        for number, width in enumerate(WIDTHS):
            inputs = _Inputs(known, number, width, fresh)
            left = inputs.run(one, [a for a, _ in compared])
            right = inputs.run(several, [b for _, b in compared])
            if any(_differ(a, b) for a, b in zip(left, right, strict=True)):
                return True
    except (CannotEvaluate, KeyError, TypeError, IndexError, ValueError, ArithmeticError, AssertionError):
        return False
    return False


def _written(one: Frame, several: Frame) -> Iterator[Pair]:
    """What both ways write to a state of the same name."""
    left, right = ({str(value_of(node.args[0])): node.args[2] for node in _writes(arm)} for arm in (one, several))
    for name in left.keys() & right.keys():
        a, b = left[name], right[name]
        assert isinstance(a, TensorValue) and isinstance(b, TensorValue)
        yield a, b


def _writes(arm: Frame) -> Iterator[Node]:
    return (node for node, _ in nodes_of(arm) if node.op == WRITES)


def _is_float(pair: Pair) -> bool:
    return all(category(value.dtype) is Category.FLOAT for value in pair)


def _differ(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether a row along the first two axes, as the state of a head, is another: some are larger than others by far."""
    import numpy as np

    if a.size != b.size or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    rows = int(np.prod(b.shape[:2])) if b.ndim > 2 and b.size else 1
    left, right = a.reshape(rows, -1), b.reshape(rows, -1)
    return bool((np.abs(left - right).max(1, initial=0) > TOLERANCE * np.abs(right).max(1, initial=0)).any())


class _Inputs:
    """Random numbers for what arms take from before the branch, the same for both; all in float64."""

    def __init__(self, environment: Environment, seed: int, width: float, fresh: Mapping[TensorValue, float]):
        import numpy as np

        self.environment, self.width, self.fresh = environment, width, fresh
        self.generator = np.random.default_rng(seed)
        self.held: dict[TensorValue, np.ndarray] = {}

    def run(self, arm: Frame, outputs: list[TensorValue]) -> tuple[np.ndarray, ...]:
        from ir.evaluate import Context, evaluate_region

        region, taken = freeze_with_inputs(_wide(arm, None), outputs, {})
        context = Context(self.environment, DType.FLOAT64)
        return evaluate_region(region, [self.array(value) for value in taken], context)

    def array(self, value: TensorValue) -> np.ndarray:
        import numpy as np

        if value not in self.held:
            shape = [evaluate(expr_of(size), self.environment) for size in value.shape]
            if value in self.fresh:
                self.held[value] = np.full(shape, self.fresh[value], np.float64)  # type: ignore[arg-type]
            elif category(value.dtype) is Category.FLOAT:
                self.held[value] = self.width * self.generator.standard_normal(shape)  # type: ignore[arg-type]
            else:
                self.held[value] = np.ones(shape, bool if value.dtype is DType.BOOL else np.int64)  # type: ignore[arg-type]
        return self.held[value]


def _wide(frame: Frame, parent: Frame | None) -> Frame:
    """A copy that computes in float64 where the source says float32, and writes nothing."""
    copy = replace(frame, kind="function" if parent is None else frame.kind, parent=parent, body=[])
    for item in frame.body:
        if isinstance(item, Frame):
            copy.body.append(_wide(item, copy))
        elif item.op != WRITES:
            args = tuple(DType.FLOAT64 if arg is DType.FLOAT32 else arg for arg in item.args)
            copy.body.append(Node(item.op, args, item.results, item.span))
    return copy
