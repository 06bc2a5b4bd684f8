"""Lists of numbers that follow from their place by one expression: what a comprehension over a range says once for all places, so
that a tensor of them is computed, and not written out."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from codegen.diagnostics import CompileError
from codegen.graph import operators
from codegen.graph.objects import Range, SList
from codegen.graph.scope import Scope
from codegen.graph.tensor_ops.binding import emit
from codegen.graph.values import Scalar, Size, Tensor, Trace, expr_of, value_of
from ir.expressions import Apply, Const, Environment, Expr, Index, evaluate, leaves, substitute
from ir.graph import DType
from ir.records import dataclass

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

PLACE = Index("place")
LEAST = 3  # elements of a list that is worth a formula
MANY = 64  # of a list whose length is written in the source: a shorter one may be any numbers
_COMPARE = {ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<=", ast.Eq: "==", ast.NotEq: "!="}


@dataclass(frozen=True, slots=True)
class Formula:
    """The element at a place, over a range of places."""

    element: Expr
    start: Size
    stop: Size
    count: Size


class Sequence(SList):
    """A list by a formula. Its elements are made when one of them is asked for."""

    __slots__ = ("formula", "made", "values")

    def __init__(self, values: Mapping[int, int | float], formula: Formula):
        super().__init__([None] * len(values))
        self.formula, self.values = formula, values
        self.made: tuple[Any, ...] = ()

    def changed(self) -> bool:
        made = self.made or (None,) * len(self.values)
        return len(self) != len(made) or any(a is not b for a, b in zip(super().__iter__(), made, strict=True))

    def fill(self) -> None:
        if self.made or self.changed():
            return
        element = self.formula.element
        self.made = tuple(
            Scalar(value, substitute(element, {PLACE: Const(place)})) for place, value in self.values.items()
        )
        super().__setitem__(slice(None), self.made)

    def __iter__(self) -> Iterator[Any]:
        self.fill()
        return super().__iter__()

    def __getitem__(self, index: Any) -> Any:
        self.fill()
        return super().__getitem__(index)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.fill()
        super().__setitem__(index, value)

    def __add__(self, other: list[Any]) -> list[Any]:
        return [*self, *other]

    def __radd__(self, other: list[Any]) -> list[Any]:
        return [*other, *self]


class _No(Exception):
    """An element that is no expression of its place."""


def listed(interpreter: Interpreter, node: ast.ListComp, scope: Scope) -> Sequence | None:
    """The list that a comprehension makes; None where it asks something about the places, or makes something else."""
    (generator,) = node.generators
    match generator:
        case ast.comprehension(target=ast.Name(id=name), iter=ast.Call(func=ast.Name(id="range")), ifs=[]):
            pass
        case _:
            return None
    if not _is_plain(node.elt):
        return None
    source = interpreter.eval(generator.iter, scope)
    if not isinstance(source, Range) or value_of(source.step) != 1:
        return None
    places = source.host()
    if len(places) < (LEAST if isinstance(source.stop, Scalar) else MANY) or source.of_input:
        return None
    inner = Scope(scope, scope.namespace, "comprehension", None)
    inner.vars = {name: Scalar(places[-1], PLACE)}
    asked, known = len(interpreter.asked), interpreter.predicates.copy()
    try:
        element = _element(interpreter, node.elt, inner)
        values = _values(interpreter, element, places)
    except (_No, CompileError, KeyError, TypeError, ValueError, ArithmeticError, interpreter_error()):
        interpreter.predicates = known
        del interpreter.asked[asked:]
        return None
    if PLACE not in leaves(element) or not all(isinstance(value, (int, float)) for value in values.values()):
        return None
    if isinstance(source.stop, Scalar):
        list(operators.iterate(interpreter, source))  # how many there are is counted
    return Sequence(values, Formula(element, source.start, source.stop, operators.length(interpreter, source)))


def _values(interpreter: Interpreter, element: Expr, places: range) -> Mapping[int, Any]:
    """The element at every place, worked out once for all layers."""
    known = interpreter.listed
    if (element, places) not in known or any(isinstance(leaf, Index) and leaf != PLACE for leaf in leaves(element)):
        known[element, places] = {place: evaluate(element, _at(interpreter, place)) for place in places}
    return known[element, places]


def interpreter_error() -> type[Exception]:
    from codegen.graph.interpreter import Raised

    return Raised


def _at(interpreter: Interpreter, place: int) -> Environment:
    env = interpreter.environment
    return Environment(env.config, env.raw, env.dims, {**env.indices, PLACE.name: place}, env.locals)


_PARTS = (ast.Name, ast.Constant, ast.Attribute, ast.IfExp, ast.Compare, ast.BinOp, ast.UnaryOp, ast.Call)
_SIGNS = (ast.expr_context, ast.cmpop, ast.operator, ast.unaryop)


def _is_plain(node: ast.expr) -> bool:
    return all(isinstance(part, (*_PARTS, *_SIGNS)) for part in ast.walk(node))


def _element(interpreter: Interpreter, node: ast.expr, scope: Scope) -> Expr:
    """
    Raises:
        _No: it is no number, or decided by a question about the place.
    """
    match node:
        case ast.IfExp(test=ast.Compare(left=left, ops=[op], comparators=[right]), body=body, orelse=orelse) if (
            type(op) in _COMPARE
        ):
            asked = Apply(_COMPARE[type(op)], (_element(interpreter, left, scope), _element(interpreter, right, scope)))
            return Apply("if", (asked, _element(interpreter, body, scope), _element(interpreter, orelse, scope)))
        case _:
            known = interpreter.predicates.copy()
            value = interpreter.eval(node, scope)
            if not isinstance(value_of(value), (int, float)) or isinstance(value_of(value), bool):
                raise _No
            found = [p for p in interpreter.predicates.all() if PLACE in leaves(p.expr)]
            if found:
                interpreter.predicates = known
                raise _No
            return expr_of(value)


# ---------------------------------------------------------------------------------------------------------- tensors

_BINARY = {"+": "add", "-": "sub", "*": "mul", "/": "div", "**": "pow", "//": "floor_divide", "%": "remainder"}
_ASKED = {">": "gt", ">=": "ge", "<": "lt", "<=": "le", "==": "eq", "!=": "ne"}
_UNARY = {
    "sqrt": "sqrt",
    "exp": "exp",
    "log": "log",
    "neg": "neg",
    "cos": "cos",
    "sin": "sin",
    "float": "",
    "log2": "log2",
}


def can_be_computed(formula: Formula) -> bool:
    """Whether there is an operation on tensors for all of it."""

    def known(expr: Expr) -> bool:
        if PLACE not in leaves(expr):
            return True
        match expr:
            case Apply("if", args):
                return all(map(known, args))
            case Apply("log", (a, b)):
                return known(a) and known(b)
            case Apply(op, (a, b)):
                return (op in _BINARY or op in _ASKED) and known(a) and known(b)
            case Apply(op, (a,)):
                return op in _UNARY and known(a)
            case _:
                return expr == PLACE

    return known(formula.element)


def tensor_of(trace: Trace, formula: Formula, dtype: DType) -> Tensor:
    """The list as a tensor."""
    shape = (formula.count,)
    (steps,) = trace.emit("arange", (formula.start, formula.stop, 1, None), (shape, DType.INT64))
    places = emit(trace, "cast", (steps, dtype), shape, dtype)

    def number(expr: Expr) -> object:
        return expr.value if isinstance(expr, Const) else Scalar(None, expr)

    def of(expr: Expr) -> object:
        if PLACE not in leaves(expr):
            return number(expr)
        match expr:
            case Apply("if", (asked, then, otherwise)):
                return emit(trace, "where", (of(asked), of(then), of(otherwise)), shape, dtype)
            case Apply("log", (a, b)):
                below = Scalar(None, Apply("log", (b,))) if PLACE not in leaves(b) else of(Apply("log", (b,)))
                return emit(trace, "div", (of(Apply("log", (a,))), below), shape, dtype)
            case Apply(op, (a, b)) if op in _BINARY:
                return emit(trace, _BINARY[op], (of(a), of(b)), shape, dtype)
            case Apply(op, (a, b)):
                return emit(trace, _ASKED[op], (of(a), of(b)), shape, DType.BOOL)
            case Apply(op, (a,)):
                return emit(trace, _UNARY[op], (of(a),), shape, dtype) if _UNARY[op] else of(a)
            case _:
                return places

    made = of(formula.element)
    assert isinstance(made, Tensor)
    return made
