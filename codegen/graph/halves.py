"""Questions whether the model's type is one of two bytes, of which a tensor is cast to that type if it is.

One trace is for all types of the model. An arm that does no more than cast what is float32 to the type that was asked for is taken for
all of them, with the model's own type in its place: to a wider type that changes no number.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from codegen.diagnostics import CompileError
from codegen.graph.scope import Scope
from codegen.graph.undoing import mark
from codegen.graph.values import Tensor, TensorValue
from ir.graph import DType

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

HALVES = (DType.FLOAT16, DType.BFLOAT16)
WIDER = (DType.FLOAT32, DType.PROMOTED)


def same(interpreter: Interpreter, left: DType, right: DType) -> bool:
    """`left == right`, which is noted where it asks whether the model's type is one of two bytes."""
    trace = interpreter.trace
    if DType.MODEL in (left, right) and (left in HALVES or right in HALVES):
        trace.asked_for_halves += 1
        return trace.assumed in (left, right)
    return left is right


def run(interpreter: Interpreter, node: ast.If, scope: Scope) -> bool:
    """Take the arm for a type of two bytes, after a test that asked for it; whether it only casts."""
    named = all(
        isinstance(step, ast.Assign) and all(isinstance(t, ast.Name) for t in step.targets) for step in node.body
    )
    if interpreter.trace.assumed is not None or node.orelse or not named:
        return False
    return all(_takes(interpreter, node, scope, assumed, keep=assumed is HALVES[-1]) for assumed in HALVES)


def _takes(interpreter: Interpreter, node: ast.If, scope: Scope, assumed: DType, *, keep: bool) -> bool:
    from codegen.graph.interpreter import Jump, Raised

    undo, before = mark(interpreter), dict(scope.vars)
    values = {id(held): held.value for held in before.values() if isinstance(held, Tensor)}
    casts = False
    interpreter.trace.assumed = assumed
    try:
        if interpreter.branch(interpreter.eval(node.test, scope)):
            interpreter.exec_body(node.body, scope)
            casts = _only_casts(interpreter, before, values, scope.vars)
    except (Jump, Raised, CompileError):
        casts = False
    finally:
        interpreter.trace.assumed = None
    if not casts or not keep:
        for held in before.values():
            if isinstance(held, Tensor):
                held.value = values[id(held)]
        scope.vars.clear()
        scope.vars.update(before)
        undo()
    return casts


def _only_casts(
    interpreter: Interpreter, before: dict[str, Any], values: dict[int, TensorValue], after: dict[str, Any]
) -> bool:
    for name in {*before, *after}:
        old, new = before.get(name), after.get(name)
        if not isinstance(old, Tensor) or not isinstance(new, Tensor):
            if old is not new:
                return False
            continue
        start = values[id(old)]
        if new.value is start:
            continue
        made = interpreter.trace.made.get(new.value)
        if made is None or made.op != "cast" or made.args != (start, DType.MODEL) or start.dtype not in WIDER:
            return False
    return True
