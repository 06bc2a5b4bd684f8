"""Symbolic numbers as Python syntax. Precedence is the syntax tree's business, never a string's."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import assert_never

from ir.expressions import Apply, Const, Dim, Expr, Index, Key, Local, Raw

Leaf = Key | Raw | Dim | Index | Local
Resolve = Callable[[Leaf], ast.expr]

_BINARY: dict[str, ast.operator] = {
    "+": ast.Add(),
    "-": ast.Sub(),
    "*": ast.Mult(),
    "/": ast.Div(),
    "//": ast.FloorDiv(),
    "%": ast.Mod(),
    "**": ast.Pow(),
    "^": ast.BitXor(),
    "&": ast.BitAnd(),
    "|": ast.BitOr(),
    "<<": ast.LShift(),
    ">>": ast.RShift(),
}
_COMPARE: dict[str, ast.cmpop] = {
    "==": ast.Eq(),
    "!=": ast.NotEq(),
    "<": ast.Lt(),
    "<=": ast.LtE(),
    ">": ast.Gt(),
    ">=": ast.GtE(),
    "is": ast.Is(),
    "is not": ast.IsNot(),
    "in": ast.In(),
    "not in": ast.NotIn(),
}
_MATH = frozenset({"ceil", "floor", "sqrt", "log", "log2", "exp", "cos", "sin", "gcd", "lcm"})


def to_syntax(expr: Expr, resolve: Resolve) -> ast.expr:
    """`expr` as Python; `resolve` says how a leaf is spelled where the text will stand."""
    match expr:
        case Const(value):
            return ast.Constant(value)
        case Key() | Raw() | Dim() | Index() | Local():
            return resolve(expr)
        case Apply(op, args):
            return apply_syntax(op, [to_syntax(arg, resolve) for arg in args])
        case _:
            assert_never(expr)


def apply_syntax(op: str, args: list[ast.expr]) -> ast.expr:
    """One operation on rendered arguments."""
    if op == "**":
        return ast.BinOp(_signed(args[0]), ast.Pow(), args[1])
    if op in _BINARY:
        return ast.BinOp(args[0], _BINARY[op], args[1])
    if op in _COMPARE:
        return ast.Compare(args[0], [_COMPARE[op]], [args[1]])
    if op == "neg":
        return ast.UnaryOp(ast.USub(), args[0])
    if op == "not":
        return ast.UnaryOp(ast.Not(), args[0])
    if op == "getitem":
        return ast.Subscript(args[0], args[1], ast.Load())
    if op == "if":
        return ast.IfExp(args[0], args[1], args[2])
    if op == "tuple":
        return ast.Tuple(args, ast.Load())
    if op == "list":
        return ast.List(args, ast.Load())
    function = ast.Name(op, ast.Load())
    return ast.Call(ast.Attribute(ast.Name("math", ast.Load()), op, ast.Load()) if op in _MATH else function, args, [])


def _signed(base: ast.expr) -> ast.expr:
    """The base of a power; the sign of a negative number apart, since a power binds closer."""
    match base:
        case ast.Constant(int() | float() as value) if value < 0:
            return ast.UnaryOp(ast.USub(), ast.Constant(-value))
        case _:
            return base
