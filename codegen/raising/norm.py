"""Normalisations: by the root of the mean square, or by mean and variance, with where casts and weights are."""

from __future__ import annotations

from codegen.raising.view import Match, View, literal, number
from ir.arch import Norm, NormKind, NormWeight, Precision, RootMeanSquare, Scaling
from ir.expressions import Const, Expr
from ir.graph import DType, Op, Operand, Raised, Region, Value

RULE = "root mean square"


def match(view: View, at: int) -> Match | str | None:
    """`x * rsqrt(mean(x ** 2, -1) + eps)` at the product."""
    product = view.steps[at].node
    if not isinstance(product, Op) or product.name != "mul":
        return None
    for x, other in (product.args, product.args[::-1]):
        inverse = view.made_by(other, "rsqrt")
        if inverse is None or not isinstance(x, Value):
            continue
        added = view.made_by(inverse.args[0], "add")
        mean = (
            None if added is None else next((m for a in added.args if (m := view.made_by(a, "mean")) is not None), None)
        )
        if added is None or mean is None:
            return "its root is not of a mean and something small"
        eps = next((a for a in added.args if number(a) is not None), None)
        square = view.made_by(mean.args[0], "pow", "mul", "square")
        if eps is None or square is None or square.args[0] != x or not _squares(square):
            return "its mean is not of the squares of what it divides"
        if literal(mean.args[1]) not in (-1, len(x.shape) - 1) or literal(mean.args[2]) is not True:
            return "its mean is not over the last axis"
        if mean.results[0].dtype is not x.dtype:
            return "its mean has another type"
        raised = Raised(RootMeanSquare(), (x, eps), product.results, RULE, product.span)
        steps = frozenset(view.at(node) for node in (product, inverse, added, mean, square))
        return Match(at, steps, (raised,), RULE)
    return None


def _squares(node: Op) -> bool:
    if node.name == "pow":
        return literal(node.args[1]) in (2, 2.0)
    return node.name == "square" or node.args[0] == node.args[1]


def describe(region: Region) -> Norm | str:
    """What a method of one tensor and one result normalises by; a sentence why it does not."""
    tensors = [param for param in region.params if isinstance(param, Value)]
    if len(tensors) != 1 or len(region.results) != 1:
        return "it does not turn one tensor into one"
    view = View(region)
    fused = view.made_by(view.results[0], "layer_norm", "rms_norm")
    if fused is not None:
        return _fused(fused)
    return _written_out(view, tensors[0])


def _fused(node: Op) -> Norm:
    weight = NormWeight.PLAIN if node.args[1] is not None else NormWeight.ABSENT
    layer = node.name == "layer_norm"
    kind = NormKind.LAYER if layer else NormKind.RMS
    bias = layer and node.args[2] is not None
    return Norm(kind, weight, Precision.NATIVE, Scaling.NO_CAST, bias, number(node.args[-1]))


def _written_out(view: View, x: Value) -> Norm | str:
    steps: list[str] = []  # from the result backwards: "cast", "weight", "one plus"
    bias = False
    value = view.results[0]
    while True:
        match view.node_of(value):
            case Op("cast", (Value() as inner, dtype)) as cast:
                if dtype is DType.MODEL and cast.results[0].dtype is not inner.dtype:
                    steps.append("cast")
                value = inner
            case Raised(RootMeanSquare(), (Value() as inner, small)):
                return _norm(view, x, inner, number(small), steps, bias)
            case Op("mul", (a, b)):
                factor = _factor(view, a, b)
                if factor is None:
                    root = _root(view, a, b)
                    if isinstance(root, str):
                        return root
                    inner, eps = root
                    return _norm(view, x, inner, eps, steps, bias)
                steps.append(factor[0])
                value = factor[1]
            case Op("add", (Value() as inner, b)) if _is_parameter(view, b):
                bias = True
                value = inner
            case Op("div", (Value() as inner, Value() as below)):
                squares = view.made_by(below, "sqrt")
                found = _mean_square(view, squares.args[0], inner) if squares is not None else None
                if found is None:
                    return "it divides by something other than the root of a mean square"
                return _norm(view, x, inner, found, steps, bias)
            case Op(name):
                return f"its result comes from `{name}`"
            case _:
                return "its result is not computed here"


def _factor(view: View, a: Operand, b: Operand) -> tuple[str, Value] | None:
    """The weight of a product, and the other side."""
    for one, other in ((a, b), (b, a)):
        if not isinstance(other, Value):
            continue
        if _is_parameter(view, one):
            return "weight", other
        plus = view.made_by(_uncast(view, one), "add")
        if plus is not None and any(literal(arg) in (1, 1.0) for arg in plus.args):
            if any(_is_parameter(view, arg) for arg in plus.args):
                return "one plus", other
    return None


def _is_parameter(view: View, operand: Operand) -> bool:
    return view.made_by(_uncast(view, operand), "parameter") is not None


def _uncast(view: View, operand: Operand) -> Operand:
    cast = view.made_by(operand, "cast")
    return cast.args[0] if cast is not None else operand


def _root(view: View, a: Operand, b: Operand) -> tuple[Value, Expr | None] | str:
    """`x * rsqrt(mean(x ** 2) + eps)`: x and eps."""
    for one, other in ((a, b), (b, a)):
        inverse = view.made_by(one, "rsqrt", "pow")
        if inverse is None or not isinstance(other, Value):
            continue
        if inverse.name == "pow" and literal(inverse.args[1]) != -0.5:
            continue
        found = _mean_square(view, inverse.args[0], other)
        return (other, found) if found is not None else "it divides by something other than the root of a mean square"
    return "it multiplies by something other than a weight or an inverse root"


def _mean_square(view: View, operand: Operand, x: Value) -> Expr | None:
    """eps of `mean(x ** 2, -1) + eps`; zero where nothing is added."""
    eps: Expr = Const(0.0)
    added = view.made_by(operand, "add")
    if added is not None:
        found = next((e for arg in added.args if (e := number(arg)) is not None), None)
        inner = next((arg for arg in added.args if isinstance(arg, Value)), None)
        if found is None or inner is None:
            return None
        eps, operand = found, inner
    mean = view.made_by(operand, "mean", "var")
    if mean is None:
        return None
    square = view.made_by(mean.args[0], "pow", "mul", "square")
    if square is None or not view.same(square.args[0], x):
        return None
    return eps if _squares(square) else None


def _norm(view: View, x: Value, inner: Value, eps: Expr | None, steps: list[str], bias: bool) -> Norm | str:
    centred = view.made_by(inner, "sub")
    kind = NormKind.RMS
    if centred is not None and view.made_by(centred.args[1], "mean") is not None:
        kind, inner = NormKind.LAYER, centred.args[0]  # type: ignore[assignment]
    source = _uncast(view, inner)
    if source != x:
        return "what it normalises is not what it is given"
    precision = Precision.FLOAT32 if source is not inner else Precision.NATIVE
    weight = (
        NormWeight.ONE_PLUS if "one plus" in steps else NormWeight.PLAIN if "weight" in steps else NormWeight.ABSENT
    )
    scaling = Scaling.NO_CAST
    if "cast" in steps:
        weights = [at for at, step in enumerate(steps) if step != "cast"]
        scaling = Scaling.AFTER_CAST if weights and weights[0] < steps.index("cast") else Scaling.BEFORE_CAST
    return Norm(kind, weight, precision, scaling, bias, eps)
