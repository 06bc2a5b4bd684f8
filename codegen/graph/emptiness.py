"""Questions about whether anything is in the cache: one trace has one answer, and what is emitted runs on an empty cache too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ir.expressions import Dim, Environment, Expr, evaluate, leaves
from ir.records import replace

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

_COUNTS = frozenset({"P", "S", "T"})


def answer(interpreter: Interpreter, question: Expr, outcome: bool) -> bool:
    """The answer to a question that `outcome` answers where something is in the cache. That it would be another where
    nothing is in the cache is noted; where the trace is to begin with nothing, it is that other one."""
    surroundings = interpreter.surroundings
    asked = {leaf.name for leaf in leaves(question) if isinstance(leaf, Dim)}
    if not surroundings.cached or not asked & {"P", "S"} or not asked <= _COUNTS:
        return outcome
    known = interpreter.environment
    dims = replace(surroundings.sizes, past=0).dims
    try:
        empty = bool(evaluate(question, Environment(known.config, known.raw, dims, known.indices, known.locals)))
    except (KeyError, IndexError, TypeError, ValueError, ArithmeticError):
        return outcome
    surroundings.asked_whether_empty |= empty is not outcome
    return empty if surroundings.begins else outcome
