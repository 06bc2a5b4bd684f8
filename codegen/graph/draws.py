"""Methods that draw random numbers in every call: what a model computes with them is no function of its input alone.

Looked for where a model cannot be compiled anyway: a trace ends at the first thing that has no meaning, which may come before.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from codegen.diagnostics import Diagnostic, Label
from codegen.graph import library
from codegen.graph.objects import ModuleObject
from ir.spans import Span

DRAWS = frozenset("rand randn randint randperm normal bernoulli multinomial".split())
_BEFORE = ("init", "reset")  # methods that fill parameters
HELP = "with a seed they are the numbers of one generator of one framework, without one no two calls agree"


def found(model: ModuleObject) -> Iterator[Diagnostic]:
    """One finding for every place in the classes of the modules, but for what runs in training alone."""
    seen: set[ast.AST] = set()
    for _, module in library.walk_modules(model, "", True, set()):
        node, file = module.cls.node, module.cls.namespace.file.name
        if module.cls.module.startswith("stubs.") or not isinstance(node, ast.ClassDef) or node in seen:
            continue
        seen.add(node)
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and not method.name.lstrip("_").startswith(_BEFORE):
                yield from (_finding(call, method.name, file) for call in _calls(method))


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    if isinstance(node, (ast.If, ast.IfExp)) and _asks_for_training(node.test):
        return
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr=name)) if name in DRAWS:
            yield node
    for inner in ast.iter_child_nodes(node):
        yield from _calls(inner)


def _asks_for_training(test: ast.expr) -> bool:
    return any(isinstance(part, ast.Attribute) and part.attr == "training" for part in ast.walk(test))


def _finding(call: ast.Call, method: str, file: str) -> Diagnostic:
    end = call.end_lineno or call.lineno
    span = Span(file, call.lineno, call.col_offset, end, call.end_col_offset or 0)
    message = (
        f"`{ast.unparse(call.func)}` draws numbers in every call of `{method}`, which no other framework draws alike"
    )
    return Diagnostic("random-numbers", message, Label(span), help=HELP)
