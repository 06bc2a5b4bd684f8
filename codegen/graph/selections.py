"""Questions about where the tokens are, that choose between numbers: another scale beyond some position.

What is asked is one number for the whole call that follows from positions and padding alone, as whether the longest position is
past a limit. Both ways are computed, and the answer selects: nothing but numbers and tensors of one shape may differ.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from codegen.graph import tensor_ops
from codegen.graph.longer import State
from codegen.graph.makers import Makers, follows_from, makers_of
from codegen.graph.scope import Scope
from codegen.graph.values import Scalar, Tensor, TensorValue, value_of
from ir.graph import DType

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

_KEEP_THE_LEAST = frozenset(
    {"amax", "amin", "cast", "reshape", "unsqueeze", "squeeze", "expand", "getitem", "transpose", "detach", "max_dim"}
)


def decides(interpreter: Interpreter, test: object) -> bool:
    """Whether a test is a number of the whole call that positions and padding decide."""
    if not interpreter.framing or interpreter.surroundings.sketch or not isinstance(test, Tensor) or test.shape:
        return False
    if test.dtype is not DType.BOOL or test.value.everywhere is not None:
        return False
    return follows_from(makers_of(interpreter.trace.root), test.value, _places(interpreter))


def _places(interpreter: Interpreter) -> tuple[TensorValue, ...]:
    surroundings = interpreter.surroundings
    found = (surroundings.positions, surroundings.valid, surroundings.fresh)
    return tuple(value for value in found if value is not None)


def holds(interpreter: Interpreter, test: TensorValue) -> bool:
    """Whether a number that follows from places is known not to be zero: the longest position plus one."""
    least = _least(makers_of(interpreter.trace.root), test, interpreter.surroundings.positions)
    return least is not None and least > 0


def _least(makers: Makers, value: TensorValue, positions: TensorValue) -> float | None:
    """What a value is not below, if that is known."""
    if value is positions:
        return 0
    node = makers.get(value)
    if node is None or not isinstance(node.args[0], TensorValue):
        return None
    if node.op in _KEEP_THE_LEAST:
        return _least(makers, node.args[0], positions)
    if node.op == "add":
        terms = [
            _least(makers, term, positions) if isinstance(term, TensorValue) else _number(term)
            for term in node.args[:2]
        ]
        return None if None in terms else sum(terms)  # type: ignore[arg-type]
    return None


def _number(x: object) -> float | None:
    return None if isinstance(x, Scalar) or not isinstance(x, (int, float)) else x


def expression(interpreter: Interpreter, node: ast.IfExp, scope: Scope, test: Tensor) -> Any:
    """Either value, as the test says.

    Raises:
        Unsupported: `branch-on-data`, one is no number, or they differ in shape or type.
    """
    then, otherwise = interpreter.eval(node.body, scope), interpreter.eval(node.orelse, scope)
    interpreter.node = node.test
    return _selected(interpreter, test, then, otherwise)


def statement(interpreter: Interpreter, node: ast.If, scope: Scope, test: Tensor) -> None:
    """Run both arms; of a variable that they leave different numbers in, either, as the test says.

    Raises:
        Unsupported: `branch-on-data`, they differ in anything else.
    """
    from codegen.graph.interpreter import Jump

    before = State.of(scope)
    arms: list[State] = []
    for body in (node.body, node.orelse):
        try:
            interpreter.exec_body(body, scope)
        except Jump:
            _refuse(interpreter, node)
        arms.append(State.of(scope))
        before.restore(scope)
    then, otherwise = arms
    if any(_written(before, arm) for arm in arms):
        _refuse(interpreter, node)
    interpreter.node = node.test
    for name in dict.fromkeys([*then.variables, *otherwise.variables]):
        if name not in then.variables or name not in otherwise.variables:
            scope.vars.pop(name, None)  # of one arm alone: who reads it afterwards is told that it is not defined
            continue
        scope.vars[name] = _selected(interpreter, test, then.variables[name], otherwise.variables[name])
        if isinstance(scope.vars[name], Tensor):
            interpreter.trace.bind(name, scope.vars[name])


def _written(before: State, arm: State) -> bool:
    """Whether an arm leaves anything but variables: in modules, or in tensors that were there before it."""
    for (_, old), (_, new) in zip(before.slots, arm.slots, strict=True):
        if old.keys() != new.keys() or any(new[name] is not value for name, value in old.items()):
            return True
    for name, items in before.lists.items():
        left = arm.lists.get(name, ())
        if arm.variables.get(name) is before.variables[name] and list(map(id, left)) != list(map(id, items)):
            return True
    return any(arm.values.get(key, (tensor, value))[1] is not value for key, (tensor, value) in before.values.items())


def _selected(interpreter: Interpreter, test: Tensor, then: Any, otherwise: Any) -> Any:
    if then is otherwise:
        return then
    one, other = value_of(then), value_of(otherwise)
    if _is_number(one) and _is_number(other) and type(one) is type(other):
        pass
    elif not isinstance(then, Tensor) or not isinstance(otherwise, Tensor):
        interpreter.unsupported("a branch on the data of a tensor", code="branch-on-data")
    elif then.dtype is not otherwise.dtype or then.shape != otherwise.shape:
        interpreter.unsupported("a branch on the data of a tensor", code="branch-on-data")
    return tensor_ops.call(interpreter.tensor_span(), "torch.where", [test, then, otherwise], {})


def _is_number(x: object) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool)


def _refuse(interpreter: Interpreter, node: ast.If) -> None:
    interpreter.node = node.test
    interpreter.unsupported("a branch on the data of a tensor", code="branch-on-data")
