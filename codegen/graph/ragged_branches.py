"""Branches on how many rows the data selects: `if blocks > 0`, where the other way leaves nothing of what this way would make."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, NoReturn

from codegen.graph.ragged import is_empty_unless, is_ragged
from codegen.graph.scope import Scope
from codegen.graph.tensor_ops.shapes import count
from codegen.graph.values import Scalar, Tensor

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter


def run(interpreter: Interpreter, node: ast.If, scope: Scope, test: Scalar) -> None:
    """Run both arms. A variable that one leaves empty is what the other one makes, which is as empty there.

    Raises:
        Unsupported: `branch-on-data`, the arms differ in anything else.
    """
    from codegen.graph.interpreter import Jump

    interpreter.trace.decided_by_data()

    def refuse() -> NoReturn:
        interpreter.node = node.test
        message = (
            "a branch on how many rows the data selects, whose arms differ in more than that one of them leaves none,"
        )
        interpreter.unsupported(f"{message} has no meaning", code="branch-on-data")

    before = dict(scope.vars)
    held = [(value, value.value) for value in before.values() if isinstance(value, Tensor)]
    arms: list[dict[str, Any]] = []
    for body in (node.body, node.orelse):
        scope.vars.clear()
        scope.vars.update(before)
        try:
            interpreter.exec_body(body, scope)
        except Jump:
            refuse()
        arms.append(dict(scope.vars))
    if any(tensor.value is not value for tensor, value in held):
        refuse()
    scope.vars.clear()
    then, otherwise = arms
    for name in dict.fromkeys([*then, *otherwise]):
        one, other = then.get(name), otherwise.get(name)
        if name in before and one is other:
            scope.vars[name] = one
        elif name in then and name in otherwise:
            scope.vars[name] = _joined(interpreter, test, one, other) or refuse()
        elif name in before:
            refuse()


def _joined(interpreter: Interpreter, test: Scalar, then: Any, otherwise: Any) -> Tensor | None:
    """What both arms leave of a variable, if one of them leaves nothing of it."""
    for mine, empty, holds in ((then, otherwise, True), (otherwise, then, False)):
        if not isinstance(mine, Tensor) or not isinstance(empty, Tensor) or not _is_empty(empty):
            continue
        sizes = [size for size in mine.shape if is_ragged(size)]
        if any(is_empty_unless(interpreter.trace, test.expr, size, holds=holds) for size in sizes):
            return mine
    return None


def _is_empty(tensor: Tensor) -> bool:
    return any(not isinstance(size, Scalar) and count(size) == 0 for size in tensor.shape)
