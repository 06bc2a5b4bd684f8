"""Sizes that have no value for some layers, as those have no such part: a list says so by 0 or null."""

from __future__ import annotations

from collections.abc import Mapping

from codegen.lowering.patterns import LAYER
from ir.expressions import Apply, Environment, Expr, Index, Key, evaluate


def missing(size: Expr, resolved: Mapping[str, object], layers: int) -> tuple[Expr, ...]:
    """Elements of lists that are 0 or null for layers where `size` has no value: it has one where none of them is."""
    elements = sorted(_elements(size), key=repr)
    found: set[Expr] = set()
    for layer in range(layers if elements else 0):
        env = Environment(config=resolved, indices={LAYER.name: layer})
        try:
            evaluate(size, env)
        except (TypeError, ZeroDivisionError):
            found |= {element for element in elements if not evaluate(element, env)}
    return tuple(element for element in elements if element in found)


def _elements(expr: Expr) -> set[Expr]:
    """The elements of lists for the layer at hand, in `expr`."""
    match expr:
        case Apply("getitem", (Key(), Index(LAYER.name))):
            return {expr}
        case Apply(_, args):
            return {element for arg in args for element in _elements(arg)}
        case _:
            return set()
