"""Expressions of the emitted Config as text."""

from __future__ import annotations

import ast


class _Positive(ast.NodeTransformer):
    """`not a is b` as `a is not b`, and the like."""

    OPPOSITE = {
        ast.Is: ast.IsNot,
        ast.In: ast.NotIn,
        ast.Eq: ast.NotEq,
        ast.IsNot: ast.Is,
        ast.NotIn: ast.In,
        ast.NotEq: ast.Eq,
    }

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        match node:
            case ast.UnaryOp(op=ast.Not(), operand=ast.Compare(left=left, ops=[op], comparators=right)) if (
                type(op) in self.OPPOSITE
            ):
                return ast.Compare(left, [self.OPPOSITE[type(op)]()], right)
        return node


def unparsed(node: ast.expr) -> str:
    """The text, without brackets that nobody would write."""
    text = ast.unparse(ast.fix_missing_locations(_Positive().visit(ast.Expression(node)).body))
    at = text.find(GENERATED)
    while at >= 0:
        end = _closing(text, at + len(GENERATED) - 1)
        if text[end + 1 : end + 2] == ")":
            text = text[: at + len(GENERATED) - 1] + text[at + len(GENERATED) : end] + text[end + 1 :]
        at = text.find(GENERATED, at + 1)
    return text


GENERATED = "tuple(("  # `ast` puts brackets of its own around a generator that is the only argument


def _closing(text: str, opening: int) -> int:
    depth = 0
    for i in range(opening, len(text)):
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        if not depth:
            return i
    return len(text)
