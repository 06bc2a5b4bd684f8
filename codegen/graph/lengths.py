"""What a trace decided by the sizes of its input: one trace stands for all sizes, so it must have gone one way for all of them.

Paths that are meant for some sizes have been compared or kept as branches before (branches.py, longer.py, shortcuts.py). What
is left over, `T % 2 == 0` or a list with one item for each token, would be what the sizes of the trace made of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codegen.diagnostics import CompileError, Diagnostic, Label
from codegen.graph.values import expr_of
from ir.expressions import Apply, Const, Dim, Environment, Expr, evaluate, leaves

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

SIZES = (
    (2, 1, 0),
    (2, 3, 0),
    (1, 4, 0),
    (3, 8, 0),
    (3, 17, 0),
    (2, 1, 2),
    (1, 4, 5),
    (2, 2, 30),
    (1, 99_991, 0),
    (1, 1, 99_991),
)
"""Rows of a batch, new tokens, and tokens in the cache."""
_INPUT = frozenset({"B", "T", "P", "S"})
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
    for a, b, span in interpreter.trace.agreements:
        first, second = expr_of(a), expr_of(b)
        if isinstance(a, int) != isinstance(b, int) and _varies(interpreter, (first, second)):
            found[_diagnostic("this is computed for one number of rows or tokens alone", span)] = None
    if found:
        raise CompileError(*found)


def _is_plain(expr: Expr) -> bool:
    """Whether the sizes of the input alone decide, and not how they compare with a size of the configuration, which may be a
    limit that all inputs keep to, or how many tokens fill a block."""
    return all(isinstance(leaf, Dim) for leaf in leaves(expr)) and not _is_one_token(expr)


def _is_one_token(expr: Expr) -> bool:
    """A question for the case of one token, which has its own rules."""
    match expr:
        case Apply("==" | "!=" | ">" | "<=" | ">=" | "<", (Dim("T" | "S" | "P"), Const(0 | 1 | 2))):
            return True
        case _:
            return False


def _varies(interpreter: Interpreter, exprs: tuple[Expr, ...]) -> bool:
    """Whether an expression has other values, or two are equal, for some sizes of the input alone."""
    sizes = {leaf.name for expr in exprs for leaf in leaves(expr) if isinstance(leaf, Dim)}
    if not sizes or not sizes <= _INPUT:
        return False
    env, cached = interpreter.environment, interpreter.surroundings.cached
    found = set()
    for batch, new, past in SIZES:
        if cached is not (past > 0):  # what a first call does otherwise is compared with the ones after it elsewhere
            continue
        dims = {"B": batch, "T": new, "P": past, "S": new + past}
        here = Environment(env.config, env.raw, dims, env.indices, env.locals)
        try:
            values = [evaluate(expr, here) for expr in exprs]
        except (ArithmeticError, LookupError, TypeError, ValueError):
            continue
        found.add(repr(values[0] if len(values) == 1 else values[0] == values[1]))
    return len(found) > 1 or (len(exprs) > 1 and found == {"False"})


def _diagnostic(message: str, span: Any) -> Diagnostic:
    return Diagnostic("branch-on-length", message, Label(span) if span else None, (), HELP)
