"""Whether layers can be stacked: they are one program then, which has no number of its own, and have parameters of one size."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from codegen.lowering.instances import CONTAINERS
from ir.expressions import Environment, Index, evaluate, leaves

if TYPE_CHECKING:
    from codegen.lowering.program import Lowering

OWN_NUMBER = "layer"
Definition = TypeVar("Definition", ast.FunctionDef, ast.ClassDef)


def compute_with_numbers(helpers: Iterable[str], classes: Iterable[str]) -> bool:
    """Whether a method of a class reads `self.layer`, the number that its constructor keeps, for more than to hand it to a
    helper that has no use for it."""
    functions = {node.name: node for text in helpers for node in _definitions(text, ast.FunctionDef)}
    return any(_computes(made, functions) for text in classes for made in _definitions(text, ast.ClassDef))


def _definitions(text: str, kind: type[Definition]) -> Iterator[Definition]:
    return (node for node in ast.parse(text).body if isinstance(node, kind))


def _computes(made: ast.ClassDef, functions: Mapping[str, ast.FunctionDef]) -> bool:
    methods = [node for node in made.body if isinstance(node, ast.FunctionDef)]
    kept = (node for method in methods if method.name == "__init__" for node in method.body if _keeps_number(node))
    if next(kept, None) is None:
        return False
    return any(_reads(method, functions, "self") for method in methods if method.name != "__init__")


def _keeps_number(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and _is_number(node.targets[0], "self") and _is_number(node.value, "")


def _is_number(node: ast.AST, owner: str) -> bool:
    """Whether this is `self.layer`, or `layer` where nobody owns it."""
    match node:
        case ast.Attribute(ast.Name(found), text):
            return owner == found and text == OWN_NUMBER
        case ast.Name(text):
            return not owner and text == OWN_NUMBER
        case _:
            return False


def _reads(body: ast.FunctionDef, functions: Mapping[str, ast.FunctionDef], owner: str) -> bool:
    idle = {
        id(arg)
        for call in ast.walk(body)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in functions
        for arg, param in zip(call.args, functions[call.func.id].args.args, strict=False)
        if _is_number(arg, owner) and not _uses(functions[call.func.id], param.arg, functions)
    }
    return any(_is_number(node, owner) and id(node) not in idle for node in ast.walk(body))


def _uses(function: ast.FunctionDef, param: str, functions: Mapping[str, ast.FunctionDef]) -> bool:
    """Whether a helper reads a parameter; one that is called otherwise than the number is taken to."""
    return param != OWN_NUMBER or _reads(function, functions, "")


def same_sizes(lowering: Lowering, labels: Sequence[object]) -> bool:
    """Whether layers that have the same label, or all where none has one, have parameters of the same sizes, and are modules
    rather than lists of them."""
    path, count = lowering.layers()
    if any(lowering.modules[f"{path}.{at}"].kind in CONTAINERS for at in range(count)):
        return False
    known: dict[object, object] = {}
    for place, size in enumerate(lowering.sizes()):
        indices = {leaf.name for leaf in leaves(size) if isinstance(leaf, Index)}
        for at in range(count) if indices else ():
            label = labels[at] if at < len(labels) else None
            environment = Environment(lowering.given.resolved, indices=dict.fromkeys(indices, at))
            try:
                value = evaluate(size, environment)
            except (KeyError, IndexError, TypeError, ValueError, ArithmeticError):
                continue  # counted along another list
            if known.setdefault((place, size, label), value) != value:
                return False
    return True
