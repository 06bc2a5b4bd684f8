"""Feed-forward networks: two or three projections with an activation between."""

from __future__ import annotations

from collections.abc import Callable

from codegen.raising.view import View, literal
from ir.arch import Gate, Mlp
from ir.graph import Call, ModuleTarget, Node, Op, Operand, Region, Value
from ir.ops import OPS

ACTIVATIONS = frozenset(
    name
    for name in (
        *("relu", "relu6", "silu", "gelu", "sigmoid", "logsigmoid", "tanh", "softplus", "leaky_relu", "elu", "selu"),
        *("mish", "hardswish", "hardsigmoid", "softsign"),
    )
    if name in OPS
)


def describe(region: Region, name_of: Callable[[str], str] = str) -> Mlp | str:
    """The network of a method of one tensor; a sentence why it is none. `name_of` says what an activation module is called."""
    tensors = [param for param in region.params if isinstance(param, Value)]
    if len(tensors) != 1 or len(region.results) != 1:
        return "it does not turn one tensor into one"
    view = _ModuleView(region)
    view.name_of = name_of
    (x,) = tensors
    down = view.projection(view.results[0])
    if down is None:
        return "its result is not a projection"
    inner = down.args[0]
    product = view.made_by(inner, "mul")
    if product is not None:
        return _gated(view, x, product)
    act = view.activation(inner)
    if act is None:
        return "there is no activation before its last projection"
    name, below = act
    up = view.projection(below)
    if up is None or up.args[0] != x:
        return "its activation is not of a projection of its input"
    return Mlp(Gate.ABSENT, name)


def within(region: Region, name_of: Callable[[str], str] = str) -> tuple[str, Mlp] | None:
    """The one network among other things of a method, with the path of its first projection."""
    view = _ModuleView(region)
    view.name_of = name_of
    found: list[tuple[str, Mlp]] = []
    for node in view.nodes():
        down = view.projection(node.results[0]) if isinstance(node, Call) and node.results else None
        act = view.activation(down.args[0]) if down is not None and down.args else None
        up = view.projection(act[1]) if act is not None else None
        if act is not None and up is not None and isinstance(up.target, ModuleTarget):
            found.append((up.target.path, Mlp(Gate.ABSENT, act[0])))
    return found[0] if len(found) == 1 else None


def _gated(view: _ModuleView, x: Value, product: Op) -> Mlp | str:
    for one, other in (product.args, product.args[::-1]):
        act = view.activation(one)
        if act is None:
            continue
        name, below = act
        gate, up = view.projection(below), view.projection(other)
        if gate is not None and up is not None and gate.args[0] == up.args[0] == x and gate != up:
            return Mlp(Gate.SEPARATE, name)
        if view.halves_of_one(below, other, x):
            return Mlp(Gate.FUSED, name)
    return "its product is not of an activated and a plain projection of its input"


class _ModuleView(View):
    """A view in which calls of modules are the leaves."""

    name_of: Callable[[str], str] = str

    def projection(self, operand: Operand) -> Call | None:
        """The call of a module on one tensor that makes a value."""
        node = self.node_of(operand)
        if isinstance(node, Call) and isinstance(node.target, ModuleTarget) and len(node.results) == 1:
            inner = [n.name for n in node.region.nodes if isinstance(n, Op)]
            if "linear" in inner or "addmm" in inner or "matmul" in inner:
                return node
        return None

    def activation(self, operand: Operand) -> tuple[str, Value] | None:
        """The name of an activation, and what it is applied to."""
        node: Node | None = self.node_of(operand)
        match node:
            case Op(name, (Value() as x, *_)) as op if name in ACTIVATIONS:
                return _named(op), x
            case Call(target, Region(nodes=(Op() as op,)), (Value() as x,)) if op.name in ACTIVATIONS:
                return _named(op), x
            case Call(target, inner, (Value() as x,)) if not any(
                isinstance(n, Op) and n.name in ("linear", "matmul", "addmm", "embedding") for n in inner.nodes
            ):
                called = self.name_of(target.path) if isinstance(target, ModuleTarget) else target.name
                return _by_formula(inner) or called, x
            case _:
                return None

    def halves_of_one(self, a: Operand, b: Operand, x: Value) -> bool:
        """Whether two values are parts of one projection of x."""
        nodes = [self.node_of(a), self.node_of(b)]
        sources = {
            n.args[0].id
            for n in nodes
            if isinstance(n, Op) and n.name in ("chunk", "split", "getitem") and isinstance(n.args[0], Value)
        }
        if len(sources) != 1 or not all(isinstance(n, Op) for n in nodes):
            return False
        first = nodes[0]
        assert isinstance(first, Op)
        made = self.projection(first.args[0])
        return made is not None and made.args[0] == x


TANH_GELU, SIGMOID_GELU, SQUARED_RELU = "tanh-approximated GELU", "sigmoid-approximated GELU", "squared ReLU"


def _named(op: Op) -> str:
    by_tanh = op.name == "gelu" and len(op.args) > 1 and literal(op.args[1]) == "tanh"
    return TANH_GELU if by_tanh else op.name


def _by_formula(inner: Region) -> str:
    """What people call a formula that is written out; nothing where it is none of these."""
    ops = [node for node in inner.nodes if isinstance(node, Op)]
    names = {op.name for op in ops if op.name != "cast"}
    numbers = {literal(arg) for op in ops for arg in op.args}
    if "tanh" in names and 0.044715 in numbers:
        return TANH_GELU
    if names == {"sigmoid", "mul"} and 1.702 in numbers:
        return SIGMOID_GELU
    if names in ({"relu", "square"}, {"relu", "mul"}) or (names == {"relu", "pow"} and 2 in numbers):
        return SQUARED_RELU
    return ""
