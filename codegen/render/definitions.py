"""The definitions of a module by name, and digests of them: how a hand edit is told from what was emitted.

Every statement of the module has a key, and every statement of a class body one below its class: `apply_rope`, `Attention`
(its head alone), `Attention.forward`. A digest covers the comments above a statement, but no blank lines.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache


@lru_cache(maxsize=16)  # the files of a package, which are checked and then taken apart
def parsed(text: str) -> list[ast.stmt]:
    """The statements of a module. Raises SyntaxError, ValueError, RecursionError."""
    return ast.parse(text).body


def definitions(text: str) -> dict[str, str]:
    """Key -> digest, in order. Raises SyntaxError."""
    lines = text.splitlines()
    body = parsed(text)
    start = min((_first(node) for node in body[:1]), default=1)  # what stands above the first statement is the header
    return dict(_digests(body, lines, start, ""))


def _digests(body: Sequence[ast.stmt], lines: list[str], start: int, prefix: str) -> Iterator[tuple[str, str]]:
    for key, node in zip(keys(body), body, strict=True):
        if isinstance(node, ast.ClassDef):
            inner = _first(node.body[0])
            yield prefix + key, _digest(lines[start - 1 : inner - 1])
            yield from _digests(node.body, lines, inner, f"{key}.")
        else:
            yield prefix + key, _digest(lines[start - 1 : node.end_lineno])
        start = (node.end_lineno or start) + 1


def keys(body: Sequence[ast.stmt]) -> list[str]:
    """A name for each statement, unique among them."""
    result: list[str] = []
    for node in body:
        name = key = _key(node)
        count = 1
        while key in result:
            count += 1
            key = f"{name}#{count}"
        result.append(key)
    return result


def _key(node: ast.stmt) -> str:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
        case ast.Expr(value=ast.Constant(value=str())):
            return "docstring"
        case _:
            return ast.unparse(node).split("\n")[0][:80]


def _first(node: ast.stmt) -> int:
    """The first line of a statement, decorators included."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _digest(lines: list[str]) -> str:
    text = "\n".join(line.rstrip() for line in lines if line.strip())
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
