"""How Flax NNX writes modules."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable, Mapping

from codegen.diagnostics import CompileError, Diagnostic
from codegen.lowering import flax_spellings
from codegen.lowering.classes import ClassPlan
from codegen.lowering.components import flax_component, flax_helper
from codegen.lowering.dialect import SPREAD, leading_parameters
from codegen.lowering.layers import LAYERS, LayerOption
from codegen.lowering.syntax import DTypeOfRendered, dtype_syntax
from codegen.lowering.torch_dialect import _is_literal, choice
from ir.arch import Component
from ir.expressions import Expr
from ir.graph import DType, Module, Op, Operand, Parameter

LIBRARY = {
    "Linear": "linear",
    "Embedding": "embed",
    "LayerNorm": "layer_norm",
    "RMSNorm": "rms_norm",
    "GroupNorm": "group_norm",
    "Frozen": "frozen",
    "Conv1d": "conv1d",
}
"""Templates of the layers that keep the stored axis order."""

DRAWN = frozenset({"Linear", "Embedding", "Conv1d"})
"""Those whose parameters are random at first."""

LEAVES = {
    "Linear": "kernel",
    "Conv1d": "kernel",
    "Embedding": "embedding",
    "LayerNorm": "scale",
    "RMSNorm": "scale",
    "GroupNorm": "scale",
}
"""What Flax calls the `weight` of a library layer."""


_WIDE = (DType.FLOAT32, DType.PROMOTED)


class FlaxDialect:
    base = "nnx.Module"
    forward = "__call__"
    placeholder = "None"  # of a module without parameters in a list
    functional_cache = True
    tensor = "Array"
    spelling_helpers: Mapping[str, str] = flax_spellings.HELPERS
    ambient_types: Mapping[str, str] = {
        "dtype": "jnp.dtype",
        "kv": "Any",
        "start": "Array | int",
        "S": "int",
        "last_only": "bool",
    }

    def __init__(
        self, options: Mapping[tuple[str, str], LayerOption] | None = None, *, states: bool = False, slots: int = 1
    ) -> None:
        self.options = options or {}  # by layer and option: flags that all layers of a kind agree on are not passed
        self.keys_and_values = "kv.k, kv.v" if states else "kv[-1]" if slots > 1 else "kv"
        self.slot_type = "State" if states else "KV" if slots == 1 else "Any"  # of what the cache holds of a layer
        self.helpers: set[str] = set()  # called by components
        self.letters: Mapping[Expr, str] = {}
        self.library: set[str] = set()  # layers of our own

    def letter(self, size: Expr) -> str:
        """How the legend calls an axis of this size; nothing where it has no name."""
        return self.letters.get(size, "")

    def component(self, component: Component, args: tuple[object, ...]) -> ast.expr:
        helper = flax_helper(component)
        if helper is not None:
            self.helpers.add(helper)
        return flax_component(component, args)

    def templates(self) -> list[str]:
        layers = [f"flax/library/{LIBRARY[kind]}.py.jinja" for kind in sorted(self.library)]
        return layers + [f"flax/components/{helper}.py.jinja" for helper in sorted(self.helpers)]

    def result_annotation(self, count: int, state: bool) -> str:
        parts = ["Array"] * count + (["Any"] if state else [])
        return parts[0] if len(parts) == 1 else f"tuple[{', '.join(parts)}]"

    repeats: Mapping[str, tuple[str, ...]] = flax_spellings.REPEATS
    writes_in_place = False
    places = False

    def settles(self, node: Op) -> bool:
        return len(node.results) == 1 and flax_spellings.settles(node.name, node.args, node.results[0].dtype)

    def spell(self, op: str, args: tuple[object, ...], device: ast.expr | None = None) -> ast.expr:
        return flax_spellings.spell(op, args)  # type: ignore[arg-type]

    def parameter(self, path: str, constant: bool = False) -> ast.expr:
        expr: ast.expr = ast.Name("self", ast.Load())
        for part in path.split("."):
            expr = (
                ast.Subscript(expr, ast.Constant(int(part)), ast.Load())
                if part.isdigit()
                else ast.Attribute(expr, part, ast.Load())
            )
        return ast.Subscript(expr, ast.Constant(...), ast.Load())

    def dtype_of(self, value: ast.expr) -> object:
        return DTypeOfRendered(value)

    def promoted(self, dtype: object) -> ast.expr:
        return ast.parse(f"jnp.promote_types({ast.unparse(dtype_syntax(dtype))}, jnp.float32)", mode="eval").body

    constructor_words: tuple[str, ...] = ("dtype", "rngs")

    def signature(self, plan: ClassPlan, scan: bool, unused: Collection[str]) -> list[str]:
        named = [("scan_layers", "scan_layers: bool")] if scan else []
        named += [("dtype", "dtype: jnp.dtype"), ("rngs", "rngs: nnx.Rngs")]
        words = [text for word, text in named if word not in unused]
        return [*leading_parameters(plan, unused), *(["*", *words] if words else [])]

    def opening(self) -> list[str]:
        return []

    def layer(self, module: Module, number: Callable[[Operand], ast.expr]) -> str:
        if module.kind not in LAYERS:
            raise CompileError(
                Diagnostic(
                    "unknown-layer",
                    f"the layer `{module.kind}` has no Flax form",
                    help="add it to LAYERS of both dialects",
                )
            )
        self.library.add(module.kind)
        positional, named = LAYERS[module.kind]
        arguments = dict(module.arguments)
        parts = [ast.unparse(ast.fix_missing_locations(number(arguments[key]))) for key in positional]
        for key, default in named.items():
            option = self.options.get((module.kind, key))
            if key not in arguments or _is_literal(arguments[key], default) or option is not None and not option.asked:
                continue
            parts.append(f"{key}={ast.unparse(ast.fix_missing_locations(number(arguments[key])))}")
        kind = "Embed" if module.kind == "Embedding" else module.kind
        words = self.constructor_words if module.kind in DRAWN else ("dtype",)
        made = f"{kind}({', '.join([*parts, *(f'{word}={word}' for word in words)])})"
        if any(parameter.trainable for parameter in module.parameters):
            return made
        self.library.add("Frozen")
        return f"frozen({made})"

    def parameter_fill(self, parameter: Parameter, shape: list[str], start: str) -> str:
        sizes = f"({', '.join(shape)}{',' if len(shape) == 1 else ''})"
        kind = (
            "nnx.Param" if parameter.trainable and not parameter.buffer else "nnx.Variable"
        )  # what is no Param has no gradient
        dtype = "jnp.promote_types(dtype, jnp.float32)" if parameter.dtype in _WIDE else "dtype"
        match start:
            case "":
                return f"{kind}(nnx.initializers.normal({SPREAD})(rngs.params(), {sizes}, {dtype}))"
            case "0" | "1":
                return f"{kind}(jnp.{'ones' if start == '1' else 'zeros'}({sizes}, {dtype}))"
            case _:
                return f"{kind}(jnp.full({sizes}, {start}, {dtype}))"

    def module_list(self, items: str, kind: str) -> str:
        if kind in ("dict", "named parameters"):
            return f"nnx.Dict({items})"
        if kind == "layers":
            return _stacked(items.rpartition(" for layer")[0])
        return f"nnx.List({items})"

    def constant_lines(self, body: list[str]) -> list[str]:
        return ["    " + line for line in body]

    def module_list_by_kind(self, options: Mapping[object, str], element: str, sequence: str) -> str:
        return _stacked(choice(options, element))

    def ambient_parameters(self, ambient: Iterable[str]) -> list[str]:
        out: list[str] = []
        for item in ambient:
            if item == "device":
                continue  # a traced function has no place
            out += {"cache": ["kv", "start"], "state": ["kv"], "total": ["S"]}.get(item, [item])
        return list(dict.fromkeys(out))


def _stacked(item: str) -> str:
    """All layers, where one is `item`."""
    read = {node.id for node in ast.walk(ast.parse(item)) if isinstance(node, ast.Name)}
    given = ", ".join(word if word in read else f"_{word}" for word in ("layer", "rngs"))
    return f"stack_layers(lambda {given}: {item}, cfg, scan_layers, rngs)"
