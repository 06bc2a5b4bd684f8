"""How PyTorch writes modules."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable, Mapping

from codegen.diagnostics import CompileError, Diagnostic
from codegen.lowering import torch_spellings
from codegen.lowering.classes import ClassPlan
from codegen.lowering.components import torch_component, torch_helper
from codegen.lowering.dialect import SPREAD, leading_parameters
from codegen.lowering.layers import LAYERS
from codegen.lowering.syntax import DTypeOfRendered, dtype_syntax
from ir.arch import Component
from ir.expressions import Expr
from ir.graph import Module, Number, Op, Operand, Parameter


class TorchDialect:
    base = "nn.Module"
    forward = "forward"
    placeholder = "nn.Identity()"  # of a module without parameters in a list
    functional_cache = False
    keys_and_values = ""
    tensor = "Tensor"
    spelling_helpers: Mapping[str, str] = torch_spellings.HELPERS
    ambient_types: Mapping[str, str] = {
        "dtype": "torch.dtype",
        "device": "torch.device",
        "cache": "Cache | None",
        "start": "int",
        "S": "int",
        "last_only": "bool",
    }

    def __init__(self) -> None:
        self.helpers: set[str] = set()  # called by components
        self.letters: Mapping[Expr, str] = {}

    def letter(self, size: Expr) -> str:
        """How the legend calls an axis of this size; nothing where it has no name."""
        return self.letters.get(size, "")

    def component(self, component: Component, args: tuple[object, ...]) -> ast.expr:
        helper = torch_helper(component)
        if helper is not None:
            self.helpers.add(helper)
        return torch_component(component, args)

    def templates(self) -> list[str]:
        return [f"torch/components/{helper}.py.jinja" for helper in sorted(self.helpers)]

    def result_annotation(self, count: int, state: bool) -> str:
        return "Tensor" if count == 1 else f"tuple[{', '.join(['Tensor'] * count)}]"

    slot_type = "Any"
    repeats: Mapping[str, tuple[str, ...]] = torch_spellings.REPEATS
    writes_in_place = True
    places = True

    def settles(self, node: Op) -> bool:
        return False

    def spell(self, op: str, args: tuple[object, ...], device: ast.expr | None = None) -> ast.expr:
        return torch_spellings.spell(op, args, device=device)  # type: ignore[arg-type]

    def parameter(self, path: str, constant: bool = False) -> ast.expr:
        expr: ast.expr = ast.Name("self", ast.Load())
        for part in path.split("."):
            expr = (
                ast.Subscript(expr, ast.Constant(int(part)), ast.Load())
                if part.isdigit()
                else ast.Attribute(expr, part, ast.Load())
            )
        return expr

    def dtype_of(self, value: ast.expr) -> object:
        return DTypeOfRendered(value)

    def promoted(self, dtype: object) -> ast.expr:
        return ast.parse(f"torch.promote_types({ast.unparse(dtype_syntax(dtype))}, torch.float32)", mode="eval").body

    constructor_words: tuple[str, ...] = ()

    def signature(self, plan: ClassPlan, scan: bool, unused: Collection[str]) -> list[str]:
        return leading_parameters(plan, unused)

    def opening(self) -> list[str]:
        return ["super().__init__()"]

    def layer(self, module: Module, number: Callable[[Operand], ast.expr]) -> str:
        if module.kind not in LAYERS:
            raise CompileError(
                Diagnostic(
                    "unknown-layer",
                    f"the layer `{module.kind}` has no PyTorch form",
                    help="add it to LAYERS of both dialects",
                )
            )
        positional, named = LAYERS[module.kind]
        arguments = dict(module.arguments)
        parts = [ast.unparse(ast.fix_missing_locations(number(arguments[key]))) for key in positional]
        for key, default in named.items():
            if key not in arguments or _is_literal(arguments[key], default):
                continue
            parts.append(f"{key}={ast.unparse(ast.fix_missing_locations(number(arguments[key])))}")
        frozen = all(not p.trainable for p in module.parameters)
        return f"nn.{module.kind}({', '.join(parts)}){'.requires_grad_(False)' if frozen else ''}"

    def parameter_fill(self, parameter: Parameter, shape: list[str], start: str) -> str:
        sizes = f"({', '.join(shape)}{',' if len(shape) == 1 else ''})"
        match start:
            case "":
                made = f"torch.empty({sizes}).normal_(std={SPREAD})"  # on the meta device too
            case "0" | "1":
                made = f"torch.{'ones' if start == '1' else 'zeros'}({', '.join(shape) or '()'})"
            case _:
                made = f"torch.full({sizes}, {start})"
        if parameter.buffer:
            return f"nn.Buffer({made})"
        if not parameter.trainable:
            return f"nn.Parameter({made}, requires_grad=False)"
        return f"nn.Parameter({made})"

    def module_list(self, items: str, kind: str) -> str:
        if kind == "dict":
            return f"nn.ModuleDict({items})"
        if kind == "parameters":
            return f"nn.ParameterList({items})"
        if kind == "named parameters":
            return f"nn.ParameterDict({items})"
        return f"nn.ModuleList({items})"

    def constant_lines(self, body: list[str]) -> list[str]:
        return ["    with table_device():", *("        " + line for line in body)]

    def module_list_by_kind(self, options: Mapping[object, str], element: str, sequence: str) -> str:
        each, kind = over_layers(sequence)
        return f"nn.ModuleList({choice(options, kind)} for {each})"

    def ambient_parameters(self, ambient: Iterable[str]) -> list[str]:
        return list(dict.fromkeys({"state": "cache", "total": "S"}.get(item, item) for item in ambient))


def over_layers(sequence: str) -> tuple[str, str]:
    """What a comprehension over the layers goes through, and what the kind of one is called there: of a list of the
    configuration its item, else what is asked of the number of the layer itself."""
    match ast.parse(sequence, mode="eval").body:
        case ast.ListComp(elt, [ast.comprehension(ast.Name("layer"), layers, [])]):
            return f"layer in {ast.unparse(layers)}", ast.unparse(elt)
        case _:
            return f"layer, kind in enumerate({sequence})", "kind"


def over_kinds(sequence: str) -> tuple[str, str]:
    """As `over_layers`, where the number of the layer is not needed."""
    each, kind = over_layers(sequence)
    return (f"kind in {sequence}" if kind == "kind" else each), kind


def choice(options: Mapping[object, str], subject: str) -> str:
    """`a if kind == "x" else b`, the last option without a question."""
    *others, (_, text) = options.items()
    for label, made in reversed(others):
        text = f"{made} if {question(subject, label)} else {text}"
    return text


_OPPOSITES: dict[type[ast.cmpop], ast.cmpop] = {
    ast.Lt: ast.GtE(),
    ast.LtE: ast.Gt(),
    ast.Gt: ast.LtE(),
    ast.GtE: ast.Lt(),
    ast.Eq: ast.NotEq(),
    ast.NotEq: ast.Eq(),
    ast.In: ast.NotIn(),
    ast.NotIn: ast.In(),
}


def question(subject: str, label: object) -> str:
    """Whether `subject` is `label`; a condition is asked as it is."""
    asked = ast.parse(subject, mode="eval").body
    match asked:
        case ast.Compare(ops=[operator]) if label is False:
            asked.ops = [_OPPOSITES.get(type(operator), operator)]
            return ast.unparse(asked) if type(operator) in _OPPOSITES else f"not ({subject})"
        case ast.Name() | ast.Attribute() | ast.Subscript() | ast.Compare() | ast.Call():
            plain = subject
        case _:
            plain = f"({subject})"
    if isinstance(label, bool):
        return plain if label else f"not {plain}"
    return f"({subject}) == {label!r}" if isinstance(asked, ast.Compare) else f"{plain} == {label!r}"


def _is_literal(operand: Operand, value: object) -> bool:
    from ir.expressions import Const

    return operand is None and value is None or isinstance(operand, Number) and operand.expr == Const(value)  # type: ignore[arg-type]
