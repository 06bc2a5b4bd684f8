"""What a trace decided by the sizes of its input: one trace stands for all sizes, so it must have gone one way for all of them.

Paths that are meant for some sizes have been compared or kept as branches before (branches.py, longer.py, shortcuts.py,
alternatives.py). What is left over, `T % 2 == 0` or a list with one item for each token, would be what the sizes of the trace
made of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codegen.diagnostics import CompileError, Diagnostic, Label
from codegen.graph import alternatives
from codegen.graph.values import expr_of
from ir.expressions import Dim, Expr, evaluate, leaves

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

HELP = "write it so that one computation serves every size, or compile a copy in which one of the ways is the only one"


def check(interpreter: Interpreter) -> None:
    """
    Raises:
        CompileError: `branch-on-length`, at what another batch or length would decide otherwise.
    """
    found: dict[Diagnostic, None] = {}
    for predicate in interpreter.predicates:
        if predicate.stage == 2 and _is_plain(predicate.expr) and _varies(interpreter, (predicate.expr,)):
            found[_diagnostic("how many rows or tokens there are decides what is computed", predicate.span)] = None
    for expr, span in interpreter.undecided:
        if alternatives.answers(interpreter, expr):
            found[_diagnostic("how many tokens there are decides between two computations", span)] = None
    for a, b, span in interpreter.trace.agreements:
        first, second = expr_of(a), expr_of(b)
        if isinstance(a, int) != isinstance(b, int) and _varies(interpreter, (first, second)):
            found[_diagnostic("this is computed for one number of rows or tokens alone", span)] = None
    if found:
        raise CompileError(*found)


def _is_plain(expr: Expr) -> bool:
    """Whether the sizes of the input alone decide; how they compare with a size of the configuration was noted when it was asked."""
    return all(isinstance(leaf, Dim) for leaf in leaves(expr)) and not alternatives.is_one_token(expr)


def _varies(interpreter: Interpreter, exprs: tuple[Expr, ...]) -> bool:
    """Whether an expression has other values, or two are equal, for some sizes of the input alone."""
    sizes = {leaf.name for expr in exprs for leaf in leaves(expr) if isinstance(leaf, Dim)}
    if not sizes or not sizes <= alternatives.INPUT:
        return False
    found = set()
    for dims in alternatives.sizes_to_ask(interpreter):
        here = alternatives.environment(interpreter, dims, {})
        try:
            values = [evaluate(expr, here) for expr in exprs]
        except (ArithmeticError, LookupError, TypeError, ValueError):
            continue
        found.add(repr(values[0] if len(values) == 1 else values[0] == values[1]))
    return len(found) > 1 or (len(exprs) > 1 and found == {"False"})


def _diagnostic(message: str, span: Any) -> Diagnostic:
    return Diagnostic("branch-on-length", message, Label(span) if span else None, (), HELP)
