"""What the source computes where it is given no mask or no cache, beside what it computes with one that says nothing.

A model is traced with a mask of padding and a cache, and what is emitted stands for calls without them too: that is right if
the source does the same then. Where it asks whether there is a mask, or a cache, the other arm is run on the side, and what both
leave in the variables is evaluated for inputs without padding, of whole sequences where it asked for a cache.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from codegen.diagnostics import CompileError
from codegen.graph.makers import Makers, makers_of
from codegen.graph.scope import Scope
from codegen.graph.state import KeyValueCache
from codegen.graph.undoing import mark
from codegen.graph.values import Node, Tensor, TensorValue
from ir.graph import DType

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

WHOLE_NUMBERS = (DType.BOOL, DType.INT32, DType.INT64)
DIFFERENT = 1e-4  # more than the types of numbers in two ways to compute the same explain


def question(interpreter: Interpreter, test: ast.expr, scope: Scope) -> bool:
    """Whether a condition is `mask is None`, or that it is not, of the mask or the cache that the trace passes."""
    name, surroundings = asked_about(test), interpreter.surroundings
    if name is None or surroundings.sketch or surroundings.absence.answers is not None:
        return False
    value = scope.vars.get(name)
    if isinstance(value, Tensor):
        return value.value in (surroundings.valid, surroundings.fresh)
    return isinstance(value, KeyValueCache)


def asked_about(test: ast.expr) -> str | None:
    """The variable that a condition asks of whether it is None."""
    match test:
        case ast.Compare(left=ast.Name(id=name), ops=[ast.Is() | ast.IsNot()], comparators=[ast.Constant(value=None)]):
            return name
        case _:
            return None


def arms(node: ast.If) -> tuple[str, list[ast.stmt], list[ast.stmt]]:
    """The variable that a statement asks about, what it does where that is there, and where it is None."""
    name = asked_about(node.test)
    assert name is not None and isinstance(node.test, ast.Compare)
    absent = isinstance(node.test.ops[0], ast.Is)
    return (name, node.orelse, node.body) if absent else (name, node.body, node.orelse)


def run(interpreter: Interpreter, node: ast.If, scope: Scope) -> None:
    """Run the arm with a mask, or a cache.

    Raises:
        Unsupported: the other arm gives something else for inputs that are without.
    """
    name, ours, other = arms(node)
    cache = isinstance(scope.vars[name], KeyValueCache)
    before = makers_of(interpreter.trace.root)
    left = on_the_side(interpreter, other, name, scope)
    interpreter.exec_body(ours, scope)
    if left is None:
        return
    variables, made = left
    pairs = [
        (a.value, b.value)
        for name, a in variables.items()
        if isinstance(a, Tensor) and isinstance(b := scope.vars.get(name), Tensor) and a.value is not b.value
    ]
    if pairs and differ(interpreter, pairs, {**made, **makers_of(interpreter.trace.root)}, before, whole=cache):
        interpreter.node = node.test
        without = "a cache this computes something else than with an empty one"
        without = without if cache else "a mask this computes something else than with one that hides nothing"
        interpreter.unsupported(f"without {without}", code="branch-on-data")


def on_the_side(
    interpreter: Interpreter, body: list[ast.stmt], name: str, scope: Scope
) -> tuple[dict[str, Any], Makers] | None:
    """What an arm leaves in the variables where there is no mask, and the operations so far with its own; nothing of it is kept.
    None where it leaves the function, or cannot be followed."""
    from codegen.graph.interpreter import Jump, Raised

    undo, variables = mark(interpreter), dict(scope.vars)
    values = [(tensor, tensor.value) for tensor in variables.values() if isinstance(tensor, Tensor)]
    scope.vars[name] = None
    try:
        interpreter.exec_body(body, scope)
        left = {name: Tensor(x.value) if isinstance(x, Tensor) else x for name, x in scope.vars.items()}
        return left, makers_of(interpreter.trace.root)
    except (Jump, Raised, CompileError):
        return None
    finally:
        for tensor, value in values:
            tensor.value = value
        scope.vars.clear()
        scope.vars.update(variables)
        undo()


def differ(
    interpreter: Interpreter,
    pairs: list[tuple[TensorValue, TensorValue]],
    makers: Makers,
    before: Makers,
    *,
    whole: bool,
    states: Mapping[TensorValue, int | float] = MappingProxyType({}),
) -> bool:
    """Whether some of the pairs are known to hold other numbers, for inputs without padding; with `whole`, for whole sequences,
    of which the cache gives back what it is given. `states`: what those are everywhere."""
    import numpy as np  # which takes its time

    from codegen.graph.evaluating import FAILURES, Drawing
    from codegen.graph.visibility import calls
    from ir.evaluate import CannotEvaluate

    class Whole(Drawing):
        def _results(self, node: Node) -> tuple[Any, ...]:
            if node.op == "cache_update":
                return tuple(self._argument(given) for given in node.args[:2])
            return super()._results(node)

        def drawn(self, value: TensorValue) -> Any:
            if value.dtype in WHOLE_NUMBERS:  # tokens, how many there are: not any number will do
                raise CannotEvaluate("what follows from the tokens")
            return super().drawn(value)

    surroundings = interpreter.surroundings
    known = (surroundings.valid, surroundings.fresh, surroundings.positions)
    inputs = frozenset(value for value in known if value is not None)
    for one, other in pairs:
        try:
            for call in calls(interpreter, makers):
                if not call.valid.all() or (call.past and (whole or not surroundings.cached)):
                    continue
                given = call.values
                drawing = Whole(makers, given.environment, given.sizes, dict(given.given), before=before, inputs=inputs)
                drawing.known |= {state: np.full(drawing.shape(state), start) for state, start in states.items()}
                a, b = np.asarray(drawing.value(one)), np.asarray(drawing.value(other))
                if a.shape != b.shape and _broadcast(a.shape, b.shape) is None:
                    return True
                if not np.allclose(a, b, rtol=DIFFERENT, atol=DIFFERENT):
                    return True
        except FAILURES:
            continue
    return False


def _broadcast(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...] | None:
    import numpy as np  # which takes its time

    try:
        return np.broadcast_shapes(one, other)
    except ValueError:
        return None
