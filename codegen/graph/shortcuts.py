"""Whether the way of one new token is that of several, shortened: where it is something else, the way of several is taken for
one token too.

A step of a source may leave a tensor in a shape that broadcasts as it should in batches of one row alone. The way of several
tokens, which whole sequences of one token take as well, says what is meant.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator


def reads_next(statements: Iterable[ast.AST], name: str) -> bool:
    """Whether statements read a variable before they set it."""
    for node in statements:
        for found in _in_order(node):
            if found.id == name:
                return isinstance(found.ctx, ast.Load)
    return False


def _in_order(node: ast.AST) -> Iterator[ast.Name]:
    """The names in a statement, in the order in which they are evaluated."""
    match node:
        case ast.Name():
            yield node
        case ast.Assign(targets=targets, value=value):
            yield from _all_in_order(value, *targets)
        case ast.AugAssign(target=ast.Name(id=name), value=value):
            yield ast.Name(name, ast.Load())
            yield from _in_order(value)
        case ast.For(target=target, iter=source, body=body, orelse=orelse):
            yield from _all_in_order(source, target, *body, *orelse)
        case _:
            yield from _all_in_order(*ast.iter_child_nodes(node))


def _all_in_order(*nodes: ast.AST) -> Iterator[ast.Name]:
    for node in nodes:
        yield from _in_order(node)
