"""Numbers that the configuration may leave open: `width if width is not None else 4 * size`, by whichever statement.

Where the key is null, the number is an expression that says both ways, so that the code serves those who give it as well.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from codegen.diagnostics import CompileError
from codegen.graph.predicates import Kind, Predicates
from codegen.graph.scope import Scope
from codegen.graph.values import Scalar, expr_of, value_of
from ir.expressions import Apply, Const, Expr, Key, leaves
from ir.rewriting import replaced

if TYPE_CHECKING:
    from codegen.graph.forward import Traced
    from codegen.graph.interpreter import Interpreter

_NULL = Const(None)
_PARTS = (ast.Name, ast.Constant, ast.Attribute, ast.BinOp, ast.expr_context, ast.operator)


def expression(interpreter: Interpreter, node: ast.IfExp, scope: Scope, test: object) -> Scalar | None:
    """What a conditional expression gives; None where it is of another kind."""
    absent = _absent(test)
    if absent is None or not isinstance(node.test, ast.Compare):
        return None
    key, is_null = absent
    given, otherwise = (node.orelse, node.body) if is_null else (node.body, node.orelse)
    if ast.dump(given) != ast.dump(node.test.left):
        return None
    return _number(interpreter, key, otherwise, scope)


def statement(interpreter: Interpreter, node: ast.If, scope: Scope, test: object) -> bool:
    """Run `if x is None: x = ...`; whether it is that."""
    absent = _absent(test)
    match node:
        case ast.If(
            test=ast.Compare(left=ast.Name(id=asked)),
            body=[ast.Assign(targets=[ast.Name(id=name) as target], value=otherwise)],
            orelse=[],
        ) if absent is not None and name == asked:
            key, is_null = absent
            made = _number(interpreter, key, otherwise, scope) if is_null else None
            if made is None:
                return False
            called(interpreter, target, made)
            interpreter.assign(target, made, scope)
            return True
        case _:
            return False


def called(interpreter: Interpreter, target: ast.expr, value: object) -> None:
    """Note what the source calls such a number."""
    if isinstance(value, Scalar) and is_open(value.expr) and value.expr not in interpreter.open_numbers:
        match target:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                interpreter.open_numbers[value.expr] = name
            case _:
                pass


def is_open(expr: Expr) -> bool:
    """Whether an expression is a key of the configuration or, where that is null, another number."""
    match expr:
        case Apply("if", (Apply("is not", (Key() as asked, Const(None))), Key() as given, _)):
            return asked == given
        case _:
            return False


def decided(traced: Traced, predicates: Predicates, open_numbers: dict[Expr, str]) -> Traced:
    """A model in which a key that is asked for elsewhere too is not open: the code serves those where it is null."""
    asked = {leaf for predicate in predicates.all() for leaf in leaves(predicate.expr)}
    settled: dict[Expr, Expr] = {}
    for expr in tuple(open_numbers):
        match expr:
            case Apply("if", (_, key, otherwise)) if key in asked:
                predicates.add(Kind.STRUCTURE, Apply("is", (key, _NULL)), True, None, "", 2)
                settled[expr] = otherwise
                del open_numbers[expr]
            case _:
                pass
    return replaced(traced, settled)


def _absent(test: object) -> tuple[Key, bool] | None:
    """The key, null in this configuration, that a test asks for, and whether null is what it asks for."""
    match test:
        case Scalar(expr=Apply("is", (Key() as key, Const(None))), value=True):
            return key, True
        case Scalar(expr=Apply("is not", (Key() as key, Const(None))), value=False):
            return key, False
        case _:
            return None


def _number(interpreter: Interpreter, key: Key, otherwise: ast.expr, scope: Scope) -> Scalar | None:
    """The number, where the other arm is a count of the configuration, and asking for it has no effect."""
    from codegen.graph.interpreter import Raised

    if not all(isinstance(part, _PARTS) for part in ast.walk(otherwise)):
        return None
    known = interpreter.predicates.copy()
    try:
        made = interpreter.eval(otherwise, scope)
    except (CompileError, Raised):
        interpreter.predicates = known
        return None
    value: Any = value_of(made)
    if type(value) is not int:
        interpreter.predicates = known
        return None
    return Scalar(value, Apply("if", (Apply("is not", (key, _NULL)), key, expr_of(made))))
