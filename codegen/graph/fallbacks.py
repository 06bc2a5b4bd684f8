"""Numbers that the configuration may leave open: `width if width is not None else 4 * size`, by whichever statement.

The number is an expression that says both ways, so that the code serves those that give it and those that do not.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from codegen.diagnostics import CompileError
from codegen.graph.predicates import Kind
from codegen.graph.scope import Scope
from codegen.graph.values import Scalar, Size, expr_of, value_of
from ir.expressions import Apply, Const, Expr, Key, Raw, evaluate, leaves, substitute
from ir.reading import lookup
from ir.records import dataclass
from ir.rewriting import replaced, rewritten

if TYPE_CHECKING:
    from codegen.graph.forward import Traced
    from codegen.graph.interpreter import Interpreter

_NULL = Const(None)
_PARTS = (ast.Name, ast.Constant, ast.Attribute, ast.BinOp, ast.expr_context, ast.operator)


def expression(interpreter: Interpreter, node: ast.IfExp, scope: Scope, test: object) -> Scalar | None:
    """What a conditional expression gives; None where it is of another kind."""
    asked = _asked(test)
    if asked is None or not isinstance(node.test, ast.Compare):
        return None
    given, otherwise = (node.orelse, node.body) if asked.for_null else (node.body, node.orelse)
    if ast.dump(given) != ast.dump(node.test.left):
        return None
    return _number(interpreter, asked, given, otherwise, scope)


def statement(interpreter: Interpreter, node: ast.If, scope: Scope, test: object) -> bool:
    """Run `if x is None: x = ...`; whether it is that."""
    asked = _asked(test)
    match node:
        case ast.If(
            test=ast.Compare(left=ast.Name(id=name) as given),
            body=[ast.Assign(targets=[ast.Name(id=target)], value=otherwise)],
            orelse=[],
        ) if asked is not None and asked.for_null and name == target:
            made = _number(interpreter, asked, given, otherwise, scope)
            if made is None:
                return False
            called(interpreter, given, made)
            interpreter.bind(target, made, scope)
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


def decided(interpreter: Interpreter, traced: Traced) -> Traced:
    """A model in which a key that is used or asked for elsewhere too is not open: the code serves those that give it, or those
    that do not, as it is compiled for."""
    predicates, open_numbers = interpreter.predicates, interpreter.open_numbers
    if not open_numbers:
        return traced
    agreements = interpreter.trace.agreements
    elsewhere = {leaf for predicate in predicates.all() for leaf in leaves(predicate.expr)}
    elsewhere |= {leaf for a, b, _ in agreements for size in (a, b) for leaf in leaves(expr_of(size))}
    hidden: dict[Expr, Expr] = dict.fromkeys(open_numbers, _NULL)

    def note(expr: Expr) -> Expr:
        elsewhere.update(leaves(substitute(expr, hidden)))
        return expr

    rewritten(traced, note)
    settled: dict[Expr, Expr] = {}
    for expr in tuple(open_numbers):
        match expr:
            case Apply("if", (Apply(_, (Key() as key, _)), _, otherwise)) if key in elsewhere:
                null = evaluate(key, interpreter.environment) is None
                predicates.add(Kind.STRUCTURE, Apply("is", (key, _NULL)), null, None, "", 2)
                settled[expr] = otherwise if null else key
                del open_numbers[expr]
            case _:
                pass
    predicates.substitute(settled)
    agreed = [(_settled(a, settled), _settled(b, settled), span) for a, b, span in agreements]
    agreements[:] = [(a, b, span) for a, b, span in agreed if expr_of(a) != expr_of(b)]
    return replaced(traced, settled)


def _settled(size: Size, settled: Mapping[Expr, Expr]) -> Size:
    return Scalar(size.value, substitute(size.expr, settled)) if isinstance(size, Scalar) else size


@dataclass(frozen=True, slots=True)
class _Asked:
    """A key whose absence is asked for."""

    key: Key
    for_null: bool  # what is asked is whether it is null
    null: bool  # it is


def _asked(test: object) -> _Asked | None:
    match test:
        case Scalar(expr=Apply("is", (Key() as key, Const(None)))):
            return _Asked(key, True, test.value is True)
        case Scalar(expr=Apply("is not", (Key() as key, Const(None)))):
            return _Asked(key, False, test.value is False)
        case _:
            return None


def _is_given(interpreter: Interpreter, key: Key) -> bool:
    """Whether config.json holds a number for a key, and the configuration class has no question about it."""
    asked = any(Raw(key.path) in leaves(predicate.expr) for predicate in interpreter.predicates.all())
    return not asked and lookup(interpreter.environment.raw, key.path) is not None


def _number(
    interpreter: Interpreter, asked: _Asked, given: ast.expr, otherwise: ast.expr, scope: Scope
) -> Scalar | None:
    """The number, where both ways it is a count of the configuration, and the other way asks and does nothing. What a module is
    given as an argument is null where its caller has no number for it, and a configuration class may have one of its own: then the
    configuration does not leave it open.
    """
    from codegen.graph.interpreter import Raised

    if not all(isinstance(part, _PARTS) for part in ast.walk(otherwise)):
        return None
    if not asked.null and not (isinstance(given, ast.Attribute) and _is_given(interpreter, asked.key)):
        return None
    known = interpreter.predicates.copy()
    try:
        other = interpreter.eval(otherwise, scope)
        found = other if asked.null else interpreter.eval(given, scope)
    except (CompileError, Raised):
        interpreter.predicates = known
        return None
    number: Any = value_of(found)
    asks = not asked.null and len(interpreter.predicates) != len(known)  # what only those that leave it open go by
    if asks or type(number) is not int or type(value_of(other)) is not int:
        interpreter.predicates = known
        return None
    return Scalar(number, Apply("if", (Apply("is not", (asked.key, _NULL)), asked.key, expr_of(other))))
