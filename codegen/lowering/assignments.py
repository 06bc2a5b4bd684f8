"""How the emitted Config gives a variable its value: on one line, or in the branches of an `if` where that does not fit."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from codegen.lowering.config_syntax import unparsed

WIDTH = 110  # characters that a line may have between the indentation of a method and its end


def assigned(name: str, text: str) -> tuple[str, ...]:
    """The statements that give `name` the value of an expression."""
    if len(f"{name} = {text}") <= WIDTH:
        return (f"{name} = {text}",)
    node = ast.parse(text, mode="eval").body
    if not isinstance(node, ast.IfExp):
        return (f"{name} = {text}",)
    wanted = _absent(node)
    if wanted is not None and name not in _names(node.body):
        return (f"{name} = {unparsed(wanted)}", f"if {name} is None:", f"    {name} = {unparsed(node.body)}")
    arms = _joined(_arms(node))
    lines = []
    for at, (test, value) in enumerate(arms):
        lines.append("else:" if test is None else f"{'elif' if at else 'if'} {unparsed(test)}:")
        lines.append(f"    {name} = {unparsed(value)}")
    return tuple(lines)


def _absent(node: ast.IfExp) -> ast.expr | None:
    """`x` of `other if x is None else x`."""
    match node.test:
        case ast.Compare(left=found, ops=[ast.Is()], comparators=[ast.Constant(value=None)]):
            return found if ast.dump(found) == ast.dump(node.orelse) else None
    return None


def _arms(node: ast.expr) -> Iterator[tuple[ast.expr | None, ast.expr]]:
    """Tests and values, the last without a test; the arm that is a choice itself comes last."""
    if not isinstance(node, ast.IfExp):
        yield None, node
        return
    test, then, otherwise = node.test, node.body, node.orelse
    if isinstance(then, ast.IfExp) and not isinstance(otherwise, ast.IfExp):
        test, then, otherwise = ast.UnaryOp(ast.Not(), test), otherwise, then
    yield test, then
    yield from _arms(otherwise)


def _joined(arms: Iterable[tuple[ast.expr | None, ast.expr]]) -> list[tuple[ast.expr | None, ast.expr]]:
    """With one arm for tests in a row that lead to the same value."""
    found: list[tuple[ast.expr | None, ast.expr]] = []
    for test, value in arms:
        before = found[-1] if found else None
        if before is not None and test is not None and ast.dump(before[1]) == ast.dump(value):
            assert before[0] is not None
            found[-1] = ast.BoolOp(ast.Or(), [before[0], test]), value
        else:
            found.append((test, value))
    return found


def _names(node: ast.expr) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
