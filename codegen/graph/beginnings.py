"""What the source computes where there is no state yet, beside what it computes with one that is zeros.

A model is traced with states that tokens before have left, and a state is zeros before the first token. Where the source asks
whether there is one, the other arm is run on the side, and what both leave in the variables is compared for such zeros. Mostly
these are the same. Where they are not (a layer with a bias, of zeros), both arms are computed, and a state of its own says
for each row whether there were tokens before.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, cast

from codegen.graph import scalars, tensor_ops
from codegen.graph.makers import makers_of
from codegen.graph.recurrent import READS
from codegen.graph.scope import Scope
from codegen.graph.unmasked import arms, asked_about, differ, on_the_side
from codegen.graph.values import Size, Tensor, TensorValue
from ir.graph import BEGUN, WRITES, DType

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter


def question(interpreter: Interpreter, test: ast.expr, scope: Scope) -> bool:
    """Whether a condition is `state is None`, or that it is not."""
    name, surroundings = asked_about(test), interpreter.surroundings
    value = None if name is None else scope.vars.get(name)
    if surroundings.sketch or not isinstance(value, Tensor):
        return False
    return any(held is value for held in surroundings.states.held.values()) or _is_kept(interpreter, value)


def _is_kept(interpreter: Interpreter, x: Tensor) -> bool:
    """Whether a tensor is what the source keeps in objects of its own, and of one size whatever was before."""
    surroundings = interpreter.surroundings
    if surroundings.kept is None or x.value not in surroundings.kept.before.values():
        return False
    return surroundings.sizes.P not in x.shape


def run(interpreter: Interpreter, node: ast.If, scope: Scope) -> None:
    """Run the arm with a state, and the other one where it computes something else than that does with zeros.

    Raises:
        Unsupported: it does, and leaves what cannot be joined, or the state is in an object of the source.
    """
    name, ours, other = arms(node)
    before, state = makers_of(interpreter.trace.root), scope.vars[name]
    left = on_the_side(interpreter, other, name, scope)
    interpreter.exec_body(ours, scope)
    if left is None:
        return
    variables, made = left
    pairs = {key: pair for key, x in variables.items() if (pair := _pair(x, scope.vars.get(key))) is not None}
    kept = interpreter.surroundings.kept
    known = {state.value: 0 if kept is None else kept.fresh.get(state.value, 0)}
    makers = {**made, **makers_of(interpreter.trace.root)}
    if not pairs or not differ(interpreter, list(pairs.values()), makers, before, whole=True, states=known):
        return
    interpreter.node = node.test
    reading = makers.get(state.value)
    if reading is None or reading.op != READS:
        interpreter.unsupported("without a state this computes something else than with zeros", code="unknown-state")
    _choose(interpreter, other, scope, name, list(pairs), reading.args[1])


def expression(interpreter: Interpreter, node: ast.IfExp, scope: Scope) -> Any:
    """The value of either side, as of a statement that gives it a name."""

    def assigned(side: ast.expr) -> list[ast.stmt]:
        statement = ast.Assign([ast.Name(_CHOSEN, ast.Store())], side)
        return [ast.fix_missing_locations(ast.copy_location(statement, node))]

    statement = ast.If(node.test, assigned(node.body), assigned(node.orelse))
    run(interpreter, ast.copy_location(statement, node), scope)
    return scope.vars.pop(_CHOSEN)


_CHOSEN = "chosen"


def _pair(other: Any, ours: Any) -> tuple[TensorValue, TensorValue] | None:
    if not isinstance(other, Tensor) or not isinstance(ours, Tensor) or other.value is ours.value:
        return None
    return other.value, ours.value


def _choose(
    interpreter: Interpreter, other: list[ast.stmt], scope: Scope, name: str, keys: list[str], layer: object
) -> None:
    """Of the variables `keys`, which hold what there is with a state, what there is without one in rows that begin."""
    ours = dict(scope.vars)
    scope.vars[name] = None
    interpreter.exec_body(other, scope)
    without = {key: scope.vars[key] for key in keys}
    scope.vars.clear()
    scope.vars.update(ours)
    trace, batch = interpreter.tensor_span(), interpreter.surroundings.sizes.B
    (begun,) = trace.emit(READS, (BEGUN, layer), ((batch,), DType.FLOAT32))
    trace.bind(BEGUN, begun)
    for key in keys:
        chosen = _where(interpreter, begun, ours[key], without[key])
        scope.vars[key] = chosen
        trace.bind(key, chosen)
    trace.emit(WRITES, (BEGUN, layer, tensor_ops.call(trace, "torch.ones_like", [begun], {})))


def _where(interpreter: Interpreter, begun: Tensor, ours: Tensor, without: Tensor) -> Tensor:
    """
    Raises:
        Unsupported: they are of other shapes or types, or not of one row for each of the batch.
    """
    batch = interpreter.surroundings.sizes.B
    if ours.dtype is not without.dtype or not _same(ours.shape, without.shape) or not _same(ours.shape[:1], (batch,)):
        interpreter.unsupported("without a state this is of another shape or type than with one", code="unknown-state")
    trace = interpreter.tensor_span()
    rows = tensor_ops.method(trace, begun, "view", [-1, *(1 for _ in ours.shape[1:])], {})
    test = tensor_ops.call(trace, "torch.gt", [rows, 0], {})
    return cast(Tensor, tensor_ops.call(trace, "torch.where", [test, ours, without], {}))


def _same(one: tuple[Size, ...], other: tuple[Size, ...]) -> bool:
    return len(one) == len(other) and all(map(scalars.same, one, other))
