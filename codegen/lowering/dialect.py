"""What printing asks of a framework, and small builders of syntax."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from codegen.lowering.classes import ClassPlan
from codegen.lowering.printing import Target
from codegen.lowering.syntax import copied
from ir.expressions import Expr
from ir.graph import Module, Operand, Parameter

if TYPE_CHECKING:
    from ir.arch import Component

AMBIENT = (
    "dtype",
    "device",
    "cache",
    "state",
    "start",
    "total",
    "last_only",
)  # what a body needs beyond its arguments, in order


class Dialect(Target, Protocol):
    """How a framework writes classes; see torch_dialect.py and flax_dialect.py."""

    base: str
    forward: str
    placeholder: str
    functional_cache: bool
    keys_and_values: str  # of a layer, where the cache is functional
    tensor: str
    ambient_types: Mapping[str, str]
    spelling_helpers: Mapping[str, str]  # name -> text of helpers that spellings call

    def module_list_by_kind(self, options: Mapping[object, str], element: str, sequence: str) -> str: ...

    def result_annotation(self, count: int, state: bool) -> str: ...

    def component(self, component: Component, args: tuple[object, ...]) -> ast.expr: ...

    def templates(self) -> list[str]: ...

    slot_type: str  # of what a layer is given of the cache

    constructor_words: tuple[str, ...]  # what constructors take by name

    letters: Mapping[Expr, str]  # what sizes are called

    def signature(self, plan: ClassPlan, scan: bool, unused: Collection[str]) -> list[str]: ...

    def opening(self) -> list[str]: ...

    def layer(self, module: Module, number: Callable[[Operand], ast.expr]) -> str: ...

    def parameter_fill(self, parameter: Parameter, shape: list[str], start: str) -> str: ...

    def module_list(self, items: str, kind: str) -> str: ...

    def ambient_parameters(self, ambient: Iterable[str]) -> list[str]: ...

    def constant_lines(self, body: list[str]) -> list[str]: ...


def name(text: str) -> ast.Name:
    return ast.Name(text, ast.Load())


def attribute(owner: ast.expr, path: str) -> ast.expr:
    """`owner.a[0].b` for the path `a.0.b`."""
    for part in path.split("."):
        if part.isdigit():
            owner = ast.Subscript(owner, ast.Constant(int(part)), ast.Load())
        else:
            owner = ast.Attribute(owner, part, ast.Load())
    return owner


def unparse(node: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(_Constants().visit(copied(node))))


WELL_KNOWN = {
    math.pi: "math.pi",
    2 * math.pi: "2 * math.pi",
    math.sqrt(2.0): "math.sqrt(2.0)",
    math.sqrt(2.0 / math.pi): "math.sqrt(2.0 / math.pi)",
}
"""Numbers that a reader knows by another name than their digits."""


SPREAD = 0.02
"""Standard deviation of what is drawn where a source leaves open what a parameter is at first."""


class _Constants(ast.NodeTransformer):
    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        text = WELL_KNOWN.get(node.value) if isinstance(node.value, float) else None
        return node if text is None else ast.parse(text, mode="eval").body


def lines(statements: list[ast.stmt]) -> list[str]:
    return [line for statement in statements for line in _remarked(statement, _bare(unparse(statement)).splitlines())]


def _remarked(statement: ast.stmt, text: list[str]) -> list[str]:
    """With what printing remarked of a statement: a shape, where axes come, go or change places."""
    remark = getattr(statement, "remark", "")
    return [*text[:-1], f"{text[-1]}  # {remark}"] if remark else text


def _bare(text: str) -> str:
    """`return a, b` without the brackets that the syntax tree prints."""
    if (
        text.startswith("return (")
        and isinstance(ast.parse(text[7:], mode="eval").body, ast.Tuple)
        and text.endswith(")")
    ):
        return f"return {text[8:-1]}"
    return text


def leading_parameters(plan: ClassPlan, unused: Collection[str]) -> list[str]:
    """What a constructor takes in order."""
    found = [("cfg", "cfg: Config"), *([("layer", "layer: int")] if plan.needs_layer else [])]
    found += zip(plan.parameters, plan.typed_parameters, strict=True)
    return ["self", *(text for word, text in found if word not in unused)]
