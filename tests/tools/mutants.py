"""Modeling files with one small change: the draws of the mutation tests.

A mutant is a readable edit at a node of the syntax tree, spliced into the text, so that the rest of the file stays as it was.
The same text, lines and seed give the same mutants. `python -m tests.tools.mutants FILE [SEED]` prints a dozen.
"""

from __future__ import annotations

import ast
import random
import sys
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

Splice = tuple[ast.AST, str]
"""A node, and the text that takes its place."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of a file: its kind, the line (from 1), what stood there and what stands there now, the whole new text."""

    kind: str
    line: int
    before: str
    after: str
    text: str

    @property
    def label(self) -> str:
        return f"{self.kind}, line {self.line}: {self.before} -> {self.after}"


@dataclass(frozen=True, slots=True)
class Source:
    """A text and its tree; `lines`: those that may be changed (all, if None)."""

    text: str
    tree: ast.Module
    offsets: Sequence[int]
    raw: bytes
    lines: Collection[int] | None

    @classmethod
    def of(cls, text: str, lines: Collection[int] | None = None) -> Source:
        raw, offsets = text.encode(), [0]
        for line in raw.splitlines(keepends=True):
            offsets.append(offsets[-1] + len(line))
        return cls(text, ast.parse(text), offsets, raw, lines)

    def span(self, node: ast.AST) -> tuple[int, int]:
        start, end = node.lineno, node.end_lineno  # type: ignore[attr-defined]
        return self.offsets[start - 1] + node.col_offset, self.offsets[end - 1] + node.end_col_offset  # type: ignore[attr-defined]

    def of_node(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.raw[start:end].decode()

    def with_splices(self, splices: Sequence[Splice]) -> str:
        out = self.raw
        for node, new in sorted(splices, key=lambda splice: self.span(splice[0]), reverse=True):
            start, end = self.span(node)
            out = out[:start] + new.encode() + out[end:]
        return out.decode()


Kind = Callable[[Source, ast.FunctionDef], Iterator[tuple[Splice, ...]]]

SKIPPED = ("_init_weights", "prepare_inputs", "_reorder_cache", "get_input_embeddings", "set_", "get_output_embeddings")
OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "/",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "//",
    ast.BitAnd: "|",
    ast.BitOr: "&",
}
COMPARISONS: dict[type[ast.cmpop], tuple[str, ...]] = {
    ast.Lt: ("<=", ">"),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<"),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=", "<="),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
}
ACTIVATIONS = ("silu", "gelu", "relu", "sigmoid", "tanh", "softplus", "softmax", "elu", "leaky_relu")
REDUCTIONS = {"sum": "mean", "mean": "sum", "max": "min", "min": "max", "amax": "amin", "cumsum": "cumprod", "rsqrt": "sqrt", "sqrt": "rsqrt",
              "exp": "expm1", "log": "log1p", "sin": "cos", "cos": "sin", "square": "abs", "abs": "square", "argmax": "argmin",
              "logsumexp": "sum", "pow": "mul", "var": "std", "logsigmoid": "sigmoid"}  # fmt: skip
MASKS = {"tril": "triu", "triu": "tril", "create_causal_mask": "create_sliding_window_causal_mask", "create_sliding_window_causal_mask": "create_causal_mask",
         "ones_like": "zeros_like", "zeros_like": "ones_like"}  # fmt: skip
CASTS = ("float", "to", "type_as", "half", "type")


def nodes(function: ast.FunctionDef, kind: type[ast.AST]) -> Iterator[ast.AST]:
    """Of the body, in the order of the text; annotations, decorators and the docstring are none of it."""
    for statement in function.body:
        for node in ast.walk(statement):
            if isinstance(node, kind) and not isinstance(node, ast.JoinedStr):
                yield node


def calls(function: ast.FunctionDef) -> Iterator[tuple[ast.Call, str]]:
    """Calls and the last part of what is called."""
    for node in nodes(function, ast.Call):
        assert isinstance(node, ast.Call)
        if isinstance(node.func, ast.Attribute):
            yield node, node.func.attr
        elif isinstance(node.func, ast.Name):
            yield node, node.func.id


def enclosed(text: str, node: ast.AST) -> str:
    return f"({text})" if isinstance(node, ast.BinOp | ast.UnaryOp | ast.IfExp | ast.BoolOp | ast.Compare) else text


def operator_flipped(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    for node in nodes(function, ast.BinOp):
        assert isinstance(node, ast.BinOp)
        if new := OPERATORS.get(type(node.op)):
            left, right = source.of_node(node.left), source.of_node(node.right)
            yield ((node, f"({enclosed(left, node.left)} {new} {enclosed(right, node.right)})"),)


def operands_exchanged(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    for node in nodes(function, ast.BinOp):
        assert isinstance(node, ast.BinOp)
        if isinstance(node.op, ast.Sub | ast.Div | ast.Pow | ast.MatMult | ast.Mod):
            yield (node.left, enclosed(source.of_node(node.right), node.right)), (node.right, enclosed(source.of_node(node.left), node.left))  # fmt: skip


def term_dropped(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    """A residual, a bias, a scale, one part of a gate."""
    for node in nodes(function, ast.BinOp):
        assert isinstance(node, ast.BinOp)
        if isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div | ast.BitAnd | ast.Pow):
            yield ((node, enclosed(source.of_node(node.left), node.left)),)
            if not isinstance(node.op, ast.Div | ast.Pow):
                yield ((node, enclosed(source.of_node(node.right), node.right)),)


def scale_dropped(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    for node in nodes(function, ast.BinOp):
        assert isinstance(node, ast.BinOp)
        right = source.of_node(node.right)
        if isinstance(node.op, ast.Mult | ast.Div) and any(
            word in right.lower() for word in ("scal", "sqrt", "norm_factor", "multiplier", "softcap", "cap", "0.5")
        ):
            yield ((node, enclosed(source.of_node(node.left), node.left)),)
    for call, name in calls(function):
        for keyword in call.keywords:
            if keyword.arg in ("scaling", "scale") and name != "getattr":
                yield ((keyword.value, "1.0"),)


def constant_changed(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    for node in nodes(function, ast.Constant):
        assert isinstance(node, ast.Constant)
        match node.value:
            case bool():
                yield ((node, str(not node.value)),)
            case int():
                yield ((node, str(node.value + 1)),)
                yield ((node, f"({node.value - 1})" if node.value < 1 else str(node.value - 1)),)
            case float():
                yield ((node, repr(node.value * 1.5 if node.value else 0.5)),)


def epsilon_changed(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    for node in nodes(function, ast.Attribute):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and "eps" in node.attr:
            yield ((node, f"(1000 * {source.of_node(node)} + 0.05)"),)
    for call, _ in calls(function):
        for keyword in call.keywords:
            if keyword.arg == "eps":
                yield ((keyword.value, "0.05"),)


def cast_dropped(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    for call, name in calls(function):
        if name in CASTS and isinstance(call.func, ast.Attribute):
            yield ((call, source.of_node(call.func.value)),)
        for keyword in call.keywords:
            if keyword.arg == "dtype" and name in ("softmax", "sum", "mean", "cumsum"):
                yield ((keyword.value, "None"),)


def cast_moved(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    """`w * x.to(t)` -> `(w * x).to(t)` and the other way; a cast put onto what is returned."""
    for node in nodes(function, ast.BinOp):
        assert isinstance(node, ast.BinOp)
        cast = node.right
        if isinstance(cast, ast.Call) and isinstance(cast.func, ast.Attribute) and cast.func.attr in CASTS:
            inner = source.of_node(cast.func.value)
            rest = source.of_node(cast)[len(inner) :]
            yield (node, f"({source.of_node(node)[: -len(source.of_node(cast))]}{inner}){rest}"),  # fmt: skip
    for call, name in calls(function):
        if name in CASTS and isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.BinOp):
            inside = call.func.value
            start, end = source.span(call.func.value)
            del start
            rest = source.raw[end : source.span(call)[1]].decode().lstrip(")")
            if rest.count("(") == rest.count(")"):
                yield ((call, f"({source.of_node(inside.left)}){rest} * ({source.of_node(inside.right)})"),) if isinstance(inside.op, ast.Mult) else ((call, f"(({source.of_node(inside.left)}){rest} + ({source.of_node(inside.right)}))"),)  # fmt: skip
    for node in nodes(function, ast.Return):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Name | ast.BinOp) and function.name == "forward":
            yield ((node.value, f"({source.of_node(node.value)}).float()"),)


def condition_changed(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    for node in nodes(function, ast.Compare):
        assert isinstance(node, ast.Compare)
        if len(node.ops) == 1:
            left, right = source.of_node(node.left), source.of_node(node.comparators[0])
            for new in COMPARISONS.get(type(node.ops[0]), ()):
                yield ((node, f"({left}) {new} ({right})"),)
    for node in nodes(function, ast.BoolOp):
        assert isinstance(node, ast.BoolOp)
        word = " and " if isinstance(node.op, ast.Or) else " or "
        yield ((node, "(" + word.join(enclosed(source.of_node(value), value) for value in node.values) + ")"),)
    for kind in (ast.If, ast.IfExp):
        for node in nodes(function, kind):
            yield ((node.test, f"not ({source.of_node(node.test)})"),)  # type: ignore[attr-defined]
    for node in nodes(function, ast.UnaryOp):
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert | ast.USub):
            if not isinstance(node.operand, ast.Constant):
                yield ((node, enclosed(source.of_node(node.operand), node.operand)),)


def arguments_exchanged(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    for call, name in calls(function):
        if name in ("getattr", "isinstance", "hasattr", "super", "setattr"):
            continue
        for one, other in zip(call.args, call.args[1:], strict=False):
            texts = source.of_node(one), source.of_node(other)
            if texts[0] != texts[1] and not any(isinstance(part, ast.Starred) for part in (one, other)):
                yield (one, texts[1]), (other, texts[0])
        keywords = [keyword.value for keyword in call.keywords if isinstance(keyword.value, ast.Name | ast.Attribute)]
        for one, other in zip(keywords, keywords[1:], strict=False):
            if source.of_node(one) != source.of_node(other):
                yield (one, source.of_node(other)), (other, source.of_node(one))


def axis_changed(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    for call, name in calls(function):
        axes = [keyword.value for keyword in call.keywords if keyword.arg in ("dim", "axis")]
        if name in ("transpose", "unsqueeze", "squeeze", "flatten", "softmax", "mean", "sum", "chunk", "split", "permute", "repeat", "view", "reshape"):  # fmt: skip
            axes += call.args
        for axis in axes:
            try:
                value = ast.literal_eval(axis)
            except ValueError:
                continue
            if type(value) is int:
                yield ((axis, "-2" if value == -1 else "-1" if value == -2 else str(value + 1)),)
                yield ((axis, str(value - 1)),)


def slice_moved(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    for node in nodes(function, ast.Slice):
        assert isinstance(node, ast.Slice)
        for bound in (node.lower, node.upper):
            if bound is not None:
                yield ((bound, f"{source.of_node(bound)} + 1"),)
                yield ((bound, f"{source.of_node(bound)} - 1"),)
        if node.lower is not None and node.upper is None:
            yield ((node, f":{source.of_node(node.lower)}"),)


def pairing_changed(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    """Halves against neighbours: what a rotation takes for a pair."""
    slices = [node for node in nodes(function, ast.Slice) if isinstance(node, ast.Slice)]
    lowers = [node for node in slices if node.lower is None and node.upper is not None and node.step is None]
    uppers = [node for node in slices if node.lower is not None and node.upper is None and node.step is None]
    if len(lowers) == len(uppers) == 1:
        yield (lowers[0], "0::2"), (uppers[0], "1::2")
    steps = [node for node in slices if node.step is not None and "2" in source.of_node(node)]
    if len(steps) == 2:
        yield (steps[0], source.of_node(steps[1])), (steps[1], source.of_node(steps[0]))
    for call, name in calls(function):
        if name in ("cat", "stack", "concat") and call.args and isinstance(call.args[0], ast.Tuple | ast.List):
            parts = call.args[0].elts
            if len(parts) == 2 and not any(isinstance(part, ast.Starred) for part in parts):
                texts = [source.of_node(part) for part in parts]
                if texts[0] != texts[1]:
                    yield (parts[0], texts[1]), (parts[1], texts[0])
                flipped = [f"-({text})" for text in texts]
                yield ((parts[0], flipped[0]),)
                yield ((parts[1], flipped[1]),)
    for statement in nodes(function, ast.Assign):
        assert isinstance(statement, ast.Assign)
        target = statement.targets[0]
        if isinstance(target, ast.Tuple) and len(target.elts) in (2, 3) and all(isinstance(part, ast.Name) for part in target.elts):  # fmt: skip
            one, other = target.elts[:2]
            yield (one, source.of_node(other)), (other, source.of_node(one))


def repeated_otherwise(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    for call, name in calls(function):
        if name == "repeat_interleave" and isinstance(call.func, ast.Attribute) and len(call.args) >= 1:
            rest = {keyword.arg: source.of_node(keyword.value) for keyword in call.keywords}
            count = source.of_node(call.args[-1]) if "repeats" not in rest else rest["repeats"]
            tensor = call.args[0] if source.of_node(call.func.value) == "torch" else call.func.value
            dim = rest.get("dim", "-1")
            text = source.of_node(tensor)
            yield ((call, f"torch.cat([{text}] * ({count}), dim={dim})"),)
        if name == "expand" and isinstance(call.func, ast.Attribute) and len(call.args) > 3:
            yield ((call, f"{source.of_node(call)}.flip(2)"),)
    for node in nodes(function, ast.Subscript):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple) and len(node.slice.elts) >= 4:
            parts = node.slice.elts
            for one, other in zip(parts, parts[1:], strict=False):
                if isinstance(other, ast.Constant) and other.value is None:
                    yield (one, "None"), (other, source.of_node(one))


def mask_changed(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    for call, name in calls(function):
        if name in MASKS and isinstance(call.func, ast.Attribute):
            start = source.of_node(call.func.value)
            yield ((call.func, f"{start}.{MASKS[name]}"),)
        elif name in MASKS:
            yield ((call.func, MASKS[name]),)
        if name in ("tril", "triu"):
            given = [keyword.value for keyword in call.keywords if keyword.arg == "diagonal"] or call.args[1:2]
            for value in given:
                yield ((value, f"{source.of_node(value)} + 1"),)
                yield ((value, f"{source.of_node(value)} - 1"),)
            if not given:
                yield ((call, f"{source.of_node(call)[:-1].rstrip().rstrip(',')}, diagonal=1)"),)
        if name in ("masked_fill", "masked_fill_") and len(call.args) == 2:
            yield ((call.args[0], f"~({source.of_node(call.args[0])})"),)
            yield ((call.args[1], "-3.0"),)
            if isinstance(call.func, ast.Attribute) and name == "masked_fill":
                yield ((call, source.of_node(call.func.value)),)
        if name == "where" and len(call.args) == 3:
            yield (call.args[1], source.of_node(call.args[2])), (call.args[2], source.of_node(call.args[1]))
    for node in nodes(function, ast.Name):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in ("attention_mask", "causal_mask", "causal_mask_mapping"):  # fmt: skip
            yield ((node, "None"),)
    for node in nodes(function, ast.Assign):
        if isinstance(node, ast.Assign) and source.of_node(node.targets[0]) in (
            "self.is_causal",
            "self.sliding_window",
        ):
            yield ((node.value, "False" if "causal" in source.of_node(node.targets[0]) else "5"),)
            yield ((node.value, "None" if "window" in source.of_node(node.targets[0]) else "True"),)


def activation_swapped(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    for call, name in calls(function):
        if name in ACTIVATIONS and isinstance(call.func, ast.Attribute):
            start, given = source.of_node(call.func.value), source.of_node(call.args[0]) if call.args else ""
            if start in ("F", "nn.functional", "torch.nn.functional", "torch"):
                for new in ("silu", "relu", "sigmoid", "softplus"):
                    if new != name:
                        yield ((call, f"torch.nn.functional.{new}({given})"),)
            elif name in ("sigmoid", "softmax", "tanh") and not call.args:
                yield ((call, f"torch.nn.functional.silu({start})"),)
    for node in nodes(function, ast.Subscript):
        if isinstance(node, ast.Subscript) and source.of_node(node.value) == "ACT2FN":
            for new in ("relu", "gelu_pytorch_tanh", "quick_gelu", "sigmoid", "relu2", "mish"):
                yield ((node, f'ACT2FN["{new}"]'),)
    for call, name in calls(function):
        if name in ("act_fn", "activation_fn", "act", "activation", "hidden_act") and len(call.args) == 1:
            yield ((call, source.of_node(call.args[0])),)
            yield ((call, f"{source.of_node(call)}.abs()"),)


def reduction_changed(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    for call, name in calls(function):
        if name in REDUCTIONS and isinstance(call.func, ast.Attribute):
            yield ((call.func, f"{source.of_node(call.func.value)}.{REDUCTIONS[name]}"),)
        if name == "topk":
            given = [keyword.value for keyword in call.keywords if keyword.arg == "k"] or call.args[-1:]
            for value in given:
                if not isinstance(value, ast.Constant) or type(value.value) is int:
                    yield ((value, f"{source.of_node(value)} - 1"),)
                    yield ((value, f"{source.of_node(value)} + 1"),)
            yield ((call, f"{source.of_node(call)[:-1].rstrip().rstrip(',')}, largest=False)"),) if "largest" not in source.of_node(call) else ()  # fmt: skip


def call_dropped(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    """A norm, a rotation, a projection of one tensor to one of its size."""
    for call, name in calls(function):
        if name == "super" or isinstance(call.func, ast.Attribute) and source.of_node(call.func.value) == "super()":
            continue
        if len(call.args) == 1 and not call.keywords and isinstance(call.args[0], ast.Name | ast.Attribute | ast.Call):
            yield ((call, source.of_node(call.args[0])),)
        elif isinstance(call.func, ast.Attribute) and not isinstance(call.func.value, ast.Name):
            yield ((call, source.of_node(call.func.value)),)


def transposes_swapped(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    for call, name in calls(function):
        if name in ("transpose", "swapaxes") and len(call.args) == 2 and isinstance(call.func, ast.Attribute):
            yield ((call, source.of_node(call.func.value)),)
            yield (call.args[0], "-2"), (call.args[1], "-1")
        if name == "permute" and len(call.args) > 2:
            one, other = call.args[1], call.args[2]
            yield (one, source.of_node(other)), (other, source.of_node(one))
            one, other = call.args[-2], call.args[-1]
            yield (one, source.of_node(other)), (other, source.of_node(one))
        if name in ("view", "reshape") and len(call.args) > 2:
            for one, other in zip(call.args, call.args[1:], strict=False):
                if not any(isinstance(part, ast.Starred) for part in (one, other)):
                    yield (one, source.of_node(other)), (other, source.of_node(one))


def parts_exchanged(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    """A norm, a projection, a table that another place of the same function reads."""
    found = [
        node
        for node in nodes(function, ast.Attribute)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
        and isinstance(node.ctx, ast.Load)
    ]
    for node in found:
        others = sorted({other.attr for other in found if other.attr != node.attr}, key=lambda name: (not _alike(name, node.attr), name))  # fmt: skip
        for other in others[:2]:
            yield ((node, f"self.{other}"),)


def variable_exchanged(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    """Another variable of the function where one is read: the residual of the wrong place, queries for keys."""
    read = [node for node in nodes(function, ast.Name) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    names = sorted({node.id for node in nodes(function, ast.Name) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)})  # fmt: skip
    names += [argument.arg for argument in function.args.args if argument.arg not in ("self", *names)]
    for node in read:
        if node.id in names:
            for other in sorted((name for name in names if name != node.id), key=lambda name: (not _alike(name, node.id), name))[:2]:  # fmt: skip
                yield ((node, other),)


def _alike(one: str, other: str) -> bool:
    """Names that share a word: `q_proj` and `k_proj`, `input_layernorm` and `post_attention_layernorm`."""
    return bool(set(one.split("_")) & set(other.split("_"))) or len(one) == len(other)


def statements_exchanged(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    """Two that follow one another: the norm after what it was before."""
    if function.name == "__init__":
        return
    for body in _bodies(function):
        for one, other in zip(body, body[1:], strict=False):
            if all(isinstance(part, ast.Assign | ast.AugAssign | ast.Expr) for part in (one, other)):
                texts = source.of_node(one), source.of_node(other)
                if texts[0] != texts[1] and '"""' not in texts[0] and "super()" not in texts[0]:
                    yield (one, texts[1]), (other, texts[0])


def norm_order(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    """A norm of what goes in put onto what comes out, or the other way round: around the statement that follows or went before."""
    if function.name == "__init__":
        return
    for body in _bodies(function):
        for at, one in enumerate(body):
            if not (isinstance(one, ast.Assign) and isinstance(one.value, ast.Call) and "norm" in source.of_node(one.value.func).lower()):  # fmt: skip
                continue
            for other in (*body[max(0, at - 2) : max(0, at - 1)], *body[at + 1 : at + 3]):
                if isinstance(other, ast.Assign) and isinstance(other.value, ast.Call):
                    yield (one, source.of_node(other)), (other, source.of_node(one))


def statement_dropped(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    """An assignment of a variable from itself, an augmented assignment, a call for its effect."""
    for body in _bodies(function):
        for statement in body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)]):
                    if any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(statement.value)):
                        yield ((statement, "pass"),)
                case ast.AugAssign() | ast.Expr(value=ast.Call()):
                    if "super()" not in source.of_node(statement):
                        yield ((statement, "pass"),)


def dropout_changed(source: Source, function: ast.FunctionDef) -> Iterator[tuple[Splice, ...]]:
    for call, name in calls(function):
        if name in ("dropout", "Dropout"):
            for value in [*call.args[-1:], *(keyword.value for keyword in call.keywords if keyword.arg == "p")]:
                yield ((value, "0.25"),)
            for keyword in call.keywords:
                if keyword.arg == "training":
                    yield (
                        (keyword.value, "not self.training" if "self" in source.of_node(keyword.value) else "False"),
                    )


def _bodies(function: ast.FunctionDef) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(function):
        for name in ("body", "orelse"):
            if isinstance(body := getattr(node, name, None), list) and not isinstance(node, ast.ClassDef):
                yield body


KINDS: dict[str, Kind] = {
    "operator flipped": operator_flipped,
    "operands exchanged": operands_exchanged,
    "term dropped": term_dropped,
    "scale dropped": scale_dropped,
    "constant changed": constant_changed,
    "epsilon changed": epsilon_changed,
    "cast dropped": cast_dropped,
    "cast moved": cast_moved,
    "condition changed": condition_changed,
    "arguments exchanged": arguments_exchanged,
    "axis changed": axis_changed,
    "slice moved": slice_moved,
    "pairing changed": pairing_changed,
    "repeated otherwise": repeated_otherwise,
    "mask changed": mask_changed,
    "activation swapped": activation_swapped,
    "reduction changed": reduction_changed,
    "call dropped": call_dropped,
    "transposes swapped": transposes_swapped,
    "parts exchanged": parts_exchanged,
    "variable exchanged": variable_exchanged,
    "statements exchanged": statements_exchanged,
    "norm order": norm_order,
    "statement dropped": statement_dropped,
    "dropout changed": dropout_changed,
}


def sites(source: Source, kind: str) -> list[tuple[Splice, ...]]:
    """All changes of a kind, in the order of the text, without those whose lines may not be changed."""
    found: list[tuple[Splice, ...]] = []
    for function in ast.walk(source.tree):
        if isinstance(function, ast.FunctionDef) and not function.name.startswith(SKIPPED):
            found += (splices for splices in KINDS[kind](source, function) if splices and _allowed(source, splices))
    return sorted(found, key=lambda splices: (source.span(splices[0][0]), splices[0][1]))


def _allowed(source: Source, splices: Sequence[Splice]) -> bool:
    if source.lines is None:
        return True
    return any(set(range(node.lineno, (node.end_lineno or node.lineno) + 1)) & set(source.lines) for node, _ in splices)  # type: ignore[attr-defined]


def mutants(
    text: str, seed: int, lines: Collection[int] | None = None, kinds: Collection[str] = KINDS
) -> Iterator[Mutant]:
    """Mutants without end but by their number: kinds in turn in an order that the seed decides, of each a site by chance, none twice."""
    source, chance = Source.of(text, lines), random.Random(f"mutants {seed} {zlib.crc32(text.encode())}")
    left = {kind: sites(source, kind) for kind in KINDS if kind in kinds}
    seen = {text}
    while left := {kind: found for kind, found in left.items() if found}:
        for kind in chance.sample(sorted(left), len(left)):
            if not left[kind]:
                continue
            splices = left[kind].pop(chance.randrange(len(left[kind])))
            mutant = make(source, kind, splices)
            if mutant is not None and mutant.text not in seen:
                seen.add(mutant.text)
                yield mutant


def make(source: Source, kind: str, splices: tuple[Splice, ...]) -> Mutant | None:
    """The mutant of one change; None where that is no Python, or none at all."""
    try:
        text = source.with_splices(splices)
        tree = ast.parse(text)
    except SyntaxError:
        return None
    if ast.dump(tree) == ast.dump(source.tree):
        return None
    node = splices[0][0]
    first = node.lineno  # type: ignore[attr-defined]
    old, new = source.text.splitlines(), text.splitlines()
    changed = [at for at in range(min(len(old), len(new))) if old[at] != new[at]]
    at = changed[0] if changed else first - 1
    return Mutant(kind, at + 1, old[at].strip(), new[at].strip() if at < len(new) else "", text)


if __name__ == "__main__":
    for number, made in zip(range(25), mutants(Path(sys.argv[1]).read_text(), int((sys.argv[2:] or ["0"])[0])), strict=False):  # fmt: skip
        print(number, made.label)
