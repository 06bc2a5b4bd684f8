"""Masks that are not there where they would hide nothing: for one new token, for inputs without padding.

The source asks whether there is a mask, or whether anything is padded. What is traced is the path of all inputs, which has the
mask. The other path is run as well, on the side, and what it leaves is compared with what the first leaves, for inputs of the
kind that it is for. Where these differ the branch is one on data, and refused.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from codegen.graph import branches
from codegen.graph.evaluating import FAILURES, Drawing, close
from codegen.graph.makers import Makers, follows_from, makers_of
from codegen.graph.scope import Scope
from codegen.graph.state import Absence, World
from codegen.graph.undoing import mark
from codegen.graph.values import Scalar, Tensor, TensorValue
from codegen.graph.visibility import Call, calls
from ir.expressions import Environment, evaluate

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

TOLERANCE = 1e-6


def _fitting(interpreter: Interpreter, makers: Makers, world: World) -> Iterator[Call]:
    for call in calls(interpreter, makers):
        if (call.new == 1 or not world.one) and (not world.whole or call.valid.all()):
            if call.past or not interpreter.surroundings.cached:
                yield call


def _inputs(interpreter: Interpreter) -> frozenset[TensorValue]:
    surroundings = interpreter.surroundings
    known = (surroundings.valid, surroundings.fresh, surroundings.positions)
    return frozenset(value for value in known if value is not None)


def leave_out(interpreter: Interpreter, mask: TensorValue, world: World) -> bool:
    """Whether a mask is the same everywhere in a world where the source has none, and so may be there; it is noted."""
    makers = makers_of(interpreter.trace.root)
    if not follows_from(makers, mask, _inputs(interpreter)):
        return False
    try:
        for call in _fitting(interpreter, makers, world):
            found = np.asarray(call.values.value(mask))
            if not world.whole:
                found = _seen_parts(found, call)
            if found.size and (found != found.flat[0]).any():
                return False
    except FAILURES:
        return False
    interpreter.surroundings.absence.optional[mask] = world
    return True


def _seen_parts(found: np.ndarray[Any, Any], call: Call) -> np.ndarray[Any, Any]:
    """What a mask says of tokens that are no padding, where it has an axis of rows and one of tokens."""
    if found.ndim and found.shape[-1] == call.new + call.past:
        return found[..., call.valid.all(0)]
    return found


# ---------------------------------------------------------------------------------------------------------- questions


def padding(interpreter: Interpreter, value: TensorValue) -> bool | None:
    """The answer to a question whether tokens are padding, for all inputs or the world that is being looked at; None where
    a tensor is no such question."""
    state: Absence = interpreter.surroundings.absence
    makers = makers_of(interpreter.trace.root)
    if value.shape or not follows_from(makers, value, _inputs(interpreter)):
        return None
    answers: dict[bool, set[bool]] = {True: set(), False: set()}
    try:
        for call in calls(interpreter, makers):
            if call.past and not interpreter.surroundings.cached:  # of which only the new tokens are given
                continue
            answers[bool(call.valid.all())].add(bool(np.asarray(call.values.value(value))))
    except FAILURES:
        return None
    if len(answers[True]) != 1 or len(answers[False]) != 1 or answers[True] == answers[False]:
        return None
    state.asked.append(World(whole=True))
    whole = state.answers is not None and state.answers.whole
    (answer,) = answers[whole]
    return answer


def is_absent(interpreter: Interpreter, x: object) -> bool:
    """Whether the source has None in the place of a tensor, in the world that is being looked at."""
    if not interpreter.framing or not isinstance(x, Tensor):
        return False
    state: Absence = interpreter.surroundings.absence
    world = state.optional.get(x.value)
    if world is None:
        return False
    state.asked.append(world)
    return state.answers is not None and _includes(state.answers, world)


def _is_without(interpreter: Interpreter, value: TensorValue, world: World) -> bool:
    """Whether a tensor stands for None in a world."""
    known = interpreter.surroundings.absence.optional.get(value)
    return known is not None and _includes(world, known)


def _includes(inner: World, outer: World) -> bool:
    """Whether all inputs of one world are in another."""
    return (inner.one or not outer.one) and (inner.whole or not outer.whole)


# ----------------------------------------------------------------------------------------------------------- branches


def run(interpreter: Interpreter, node: ast.If, scope: Scope, test: Any, asked: list[World]) -> None:
    """Run the arm of all inputs, after a test that asked about padding or masks.

    Raises:
        Unsupported: another arm gives something else for the inputs that it is for.
    """
    general = interpreter.branch(test)
    if interpreter.surroundings.sketch:
        interpreter.exec_body(node.body if general else node.orelse, scope)
        return
    worlds = dict.fromkeys(World(w.one or v.one, w.whole or v.whole) for w in asked for v in asked)
    others = [world for given in worlds for world in _differing(interpreter, node, scope, given, general)]
    before = makers_of(interpreter.trace.root)
    left = [(world, _on_the_side(interpreter, node, scope, world, not general)) for world in others]
    interpreter.exec_body(node.body if general else node.orelse, scope)
    for world, (variables, made) in left:
        if not _agree(
            interpreter, world, variables, dict(scope.vars), {**made, **makers_of(interpreter.trace.root)}, before
        ):
            interpreter.node = node.test
            interpreter.unsupported("a branch on the data of a tensor, whose arms differ", code="branch-on-data")


def _differing(interpreter: Interpreter, node: ast.If, scope: Scope, world: World, general: bool) -> Iterator[World]:
    """The inputs of a world that take the other arm."""
    state: Absence = interpreter.surroundings.absence
    undo, variables, asked = mark(interpreter), dict(scope.vars), list(state.asked)
    state.answers = world
    try:
        answer = interpreter.eval(node.test, scope)
        one, several = _by_length(interpreter, answer)
    finally:
        state.answers = None
        state.asked[:] = asked
        scope.vars.clear()
        scope.vars.update(variables)
        undo()
    if world.one:
        several = general
    if one is not general and several is not general:
        yield world
    elif one is not general:
        yield World(one=True, whole=world.whole)
    elif several is not general:
        interpreter.unsupported("a branch on the data of a tensor", code="branch-on-data")


def _by_length(interpreter: Interpreter, answer: Any) -> tuple[bool, bool]:
    """A test for one new token, and for several."""
    if branches.asks_for_one(interpreter, answer):
        assert isinstance(answer, Scalar)
        one = bool(evaluate(answer.expr, Environment(dims={"T": 1})))
        return one, bool(answer.value)
    outcome = interpreter.branch(answer)
    return outcome, outcome


def _on_the_side(
    interpreter: Interpreter, node: ast.If, scope: Scope, world: World, arm: bool
) -> tuple[dict[str, Any], Makers]:
    """What an arm leaves in the variables, and the operations so far with those that it made; nothing of it is kept."""
    state: Absence = interpreter.surroundings.absence
    undo, variables, asked = mark(interpreter), dict(scope.vars), list(state.asked)
    values = [(tensor, tensor.value) for tensor in variables.values() if isinstance(tensor, Tensor)]
    state.answers = world
    try:
        interpreter.exec_body(node.body if arm else node.orelse, scope)
        left = {name: _content(value) for name, value in scope.vars.items()}
        return left, makers_of(interpreter.trace.root)
    finally:
        state.answers = None
        state.asked[:] = asked
        for tensor, value in values:
            tensor.value = value
        scope.vars.clear()
        scope.vars.update(variables)
        undo()


def _content(value: Any) -> Any:
    """A variable as it is now, whatever becomes of the object."""
    return Tensor(value.value) if isinstance(value, Tensor) else value


def _agree(
    interpreter: Interpreter,
    world: World,
    other: dict[str, Any],
    ours: dict[str, Any],
    makers: Makers,
    before: Makers,
) -> bool:
    """Whether an arm leaves what ours leaves, for the inputs of a world."""
    pairs = []
    for name in dict.fromkeys([*other, *ours]):
        a, b = other.get(name), ours.get(name)
        if (
            isinstance(a, Tensor)
            and isinstance(b, Tensor)
            and a.value is not b.value
            and _is_without(interpreter, a.value, world)
        ):
            a = None
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            pairs += [(a.value, b.value)] if a.value is not b.value else []
        elif a is None and isinstance(b, Tensor):
            if not leave_out(interpreter, b.value, world):
                return False
        elif a is not b and not (type(a) is type(b) and a == b):
            return False
    try:
        for call in _fitting(interpreter, makers, world):
            given = call.values
            drawing = Drawing(
                makers, given.environment, given.sizes, given.given, before=before, inputs=_inputs(interpreter)
            )
            if not all(close(drawing, a, b, TOLERANCE) for a, b in pairs):
                return False
    except FAILURES:
        return False
    return True
