"""Comprehensions of configuration classes: one turn for a layer is like another, and each thing is worked out once.

An expression that calls nothing but plain readers gives the same for the same item, and asks the same of the configuration.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from codegen.graph import operators
from codegen.graph.scope import Scope
from codegen.graph.values import Scalar, Watched

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

_PARTS = (
    ast.Name,
    ast.Constant,
    ast.Attribute,
    ast.BoolOp,
    ast.IfExp,
    ast.Compare,
    ast.BinOp,
    ast.UnaryOp,
    ast.Subscript,
)
_SIGNS = (ast.expr_context, ast.boolop, ast.cmpop, ast.operator, ast.unaryop)
_READERS = frozenset({"len", "int", "float", "str", "bool", "abs", "max", "min", "round"})
_ITEMS = frozenset({str, int, bool, type(None)})
_RESULTS = _ITEMS | {float, Scalar, Watched}

_READS_ALONE: dict[ast.expr, bool] = {}


def reads_alone(node: ast.expr) -> bool:
    """Whether an expression changes nothing, and follows from the values of its names."""
    if node not in _READS_ALONE:
        _READS_ALONE[node] = all(isinstance(part, (*_PARTS, *_SIGNS)) or _is_reader(part) for part in ast.walk(node))
    return _READS_ALONE[node]


def _is_reader(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(attr="get"), keywords=[]):
            return True
        case ast.Call(func=ast.Name(id=name), keywords=[]):
            return name in _READERS
        case _:
            return False


class _Noticed(dict[str, Any]):
    """Variables that note whether one of them was read."""

    read = False

    def get(self, key: str, default: Any = None) -> Any:
        self.read = self.read or key in self
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self.read = self.read or super().__contains__(key)
        return super().__contains__(key)


def elements(interp: Interpreter, node: ast.ListComp, scope: Scope) -> list[Any]:
    """The elements of a comprehension with one loop, whose element only reads."""
    generator, made = node.generators[0], []
    inner = Scope(scope, scope.namespace, "comprehension", None)
    inner.vars = first = _Noticed()
    source = interp.eval(generator.iter, scope)
    interp.node = generator.iter
    depth, known = interp.loops, dict[tuple[type, Any], Any]()
    items = operators.iterate(interp, source)
    for item in items:
        interp.steps += 1
        key = (type(item), item) if type(item) in _ITEMS else None
        if key is not None and key in known:
            made.append(known[key])
            continue
        interp.loops = depth + 1
        try:
            interp.assign(generator.target, item, inner)
            value = interp.eval(node.elt, inner)
        finally:
            interp.loops = depth
        made.append(value)
        if type(value) not in _RESULTS:
            continue
        if not first.read:  # nor will any other turn look at its item
            return made + [value for _ in items]
        inner.vars = dict(inner.vars)
        if key is not None:
            known[key] = value
    return made
