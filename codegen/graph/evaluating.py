"""What the tensors of a trace hold for an input of some size: code is understood by what it gives, not by how it is written.

numpy takes its time to load, so who asks imports this module where it does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from codegen.graph.makers import Makers, follows_from
from codegen.graph.regions import BRANCH_END, NARROW
from codegen.graph.values import Node, Scalar, TensorValue
from ir.evaluate import Array, CannotEvaluate, evaluate_op
from ir.expressions import Dim, Environment, Expr, evaluate, leaves
from ir.graph import DType
from ir.records import dataclass, field

MOST = 2**26  # numbers in a tensor that is evaluated: half a gigabyte
FAILURES = (CannotEvaluate, KeyError, TypeError, IndexError, ValueError, ArithmeticError, AssertionError)
"""What is raised where a value is not known, or an operation does not fit an input."""


@dataclass
class Evaluator:
    """The values of one call with inputs of `sizes`. `given` are inputs, and whatever else is to be taken as it is."""

    makers: Makers
    environment: Environment
    sizes: Mapping[str, int]
    given: Mapping[TensorValue, Array]
    known: dict[TensorValue, Any] = field(default_factory=dict)

    def value(self, value: TensorValue) -> Any:
        """
        Raises:
            CannotEvaluate: it follows from something that is not given.
        """
        if value in self.given:
            return self.given[value]
        if value not in self.known:
            node = self.makers.get(value)
            if node is None:
                raise CannotEvaluate("a value that nothing makes")
            self.known |= zip(node.results, self._results(node), strict=True)
        return self.known[value]

    def number(self, number: object) -> Any:
        """A size or another number, for this input."""
        if not isinstance(number, Scalar):
            return number
        expr: Expr = number.expr
        if not any(isinstance(leaf, Dim) for leaf in leaves(expr)):
            return number.value
        env = self.environment
        return evaluate(expr, Environment(env.config, env.raw, self.sizes, env.indices, env.locals))

    def shape(self, value: TensorValue) -> tuple[int, ...]:
        return tuple(self.number(size) for size in value.shape)

    def _results(self, node: Node) -> tuple[Any, ...]:
        if node.op == BRANCH_END:
            _, one, several = node.args
            assert isinstance(one, tuple) and isinstance(several, tuple)
            return tuple(self.value(value) for value in (one if self.sizes["T"] == 1 else several))
        if node.op == NARROW:
            (inner,) = node.args
            assert isinstance(inner, TensorValue)
            return (self.value(inner),)
        if any(self._is_large(result) for result in node.results):
            raise CannotEvaluate("a tensor of too many numbers")
        made = evaluate_op(node.op, [self._argument(arg) for arg in node.args], model=DType.FLOAT64)
        return made if isinstance(made, tuple) else (made,)

    def _is_large(self, value: TensorValue) -> bool:
        try:
            return math.prod(self.shape(value)) > MOST
        except (LookupError, TypeError, ValueError, ArithmeticError):  # a size that only the evaluation tells
            return False

    def _argument(self, x: object) -> object:
        match x:
            case TensorValue():
                return self.value(x)
            case Scalar():
                return self.number(x)
            case tuple() | list():
                return tuple(self._argument(item) for item in x)
            case slice():
                return slice(self._argument(x.start), self._argument(x.stop), self._argument(x.step))
            case _:
                return x


def close(values: Evaluator, old: TensorValue, new: TensorValue, tolerance: float) -> bool:
    """Whether two tensors hold the same, but for rounding; not where one of them cannot be evaluated."""
    try:
        a, b = np.asarray(values.value(old)), np.asarray(values.value(new))
    except FAILURES:
        return False
    return a.shape == b.shape and np.allclose(a, b, rtol=tolerance, atol=tolerance)


@dataclass
class Drawing(Evaluator):
    """An evaluation that takes any numbers in the place of what was there `before`, unless it follows from `inputs` alone."""

    before: Makers = field(default_factory=dict)
    inputs: frozenset[TensorValue] = frozenset()

    def value(self, value: TensorValue) -> Any:
        if value in self.given or value in self.known:
            return super().value(value)
        if (value in self.before or value not in self.makers) and not follows_from(self.makers, value, self.inputs):
            self.known[value] = self.drawn(value)
            return self.known[value]
        return super().value(value)

    def drawn(self, value: TensorValue) -> Array:
        shape = self.shape(value)
        numbers = np.random.default_rng(len(self.known)).standard_normal(shape)
        return numbers < 0 if value.dtype is DType.BOOL else numbers
