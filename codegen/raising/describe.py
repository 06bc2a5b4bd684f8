"""The architecture of a raised program, for people and for the card: what each module is, and what runs in which order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from codegen.raising import experts, mlp, norm, wiring
from codegen.raising.flow import Flow, Place
from codegen.raising.masks import MASK
from codegen.raising.view import View, number
from ir.arch import (
    Arch,
    Attention,
    Embedding,
    Experts,
    Fact,
    Head,
    LayerKind,
    MaskForm,
    Mixer,
    Mlp,
    Norm,
    Part,
    RootMeanSquare,
    Rotary,
    RotaryScheme,
    Stack,
    Wiring,
)
from ir.expressions import Apply, Const, Expr, Key, leaves
from ir.graph import Call, FunctionTarget, Loop, Module, ModuleTarget, Node, Op, Operand, Raised, Region, Value
from ir.records import dataclass, field


def describe(top: Region, tree: Module, masks: MaskForm, windows: Mapping[int, Expr] | None = None) -> Arch:
    """What the modules below `tree` are that run when `top` does; `windows` of the masks among its parameters, by index."""
    describer = _Describer(tree, _windows(top, windows or {}))
    describer.visit(top, "")
    describer.head(top)
    inside = tuple(stack.path + "." for stack in describer.stacks)
    parts = tuple(part for path, part in describer.parts.items() if not path.startswith(inside))
    return Arch(parts, tuple(describer.stacks), masks, _sizes(tree))


def _windows(top: Region, windows: Mapping[int, Expr]) -> dict[Place, Expr]:
    """The values that hold a mask with a window."""
    found: dict[Place, Expr] = {}
    flow = Flow(top) if windows else None
    for at, window in windows.items():
        param = top.params[at]
        if flow is not None and isinstance(param, Value):
            found |= dict.fromkeys(flow.members[flow.root(top, param)], window)
    return found


@dataclass
class _Describer:
    tree: Module
    windows: dict[Place, Expr]
    parts: dict[str, Part] = field(default_factory=dict)
    stacks: list[Stack] = field(default_factory=list)

    def visit(self, region: Region, owner: str) -> None:
        for node in _nodes(region):
            match node:
                case Call(ModuleTarget(path), inner):
                    where = _join(owner, path)
                    if where != owner:
                        self.note(where, inner)
                    self.visit(inner, where)
                case Loop():
                    self.stack(node, owner)

    def note(self, where: str, region: Region) -> None:
        module = module_at(self.tree, where)
        if module is None or where in self.parts:
            return
        fact = self.fact(where, region, module)
        inside = (
            mlp.within(region, lambda path: self.activation(_join(where, path))) if _attends_below(region) else None
        )
        if not isinstance(fact, str):
            self.parts[where] = Part(where, module.class_name, fact)
        elif inside is not None:
            self.parts[_join(where, inside[0])] = Part(_join(where, inside[0]), "", inside[1])
        elif not module.kind and _computes(region):
            self.parts[where] = Part(where, module.class_name, why_not=fact)

    def fact(self, where: str, region: Region, module: Module) -> Fact | str:
        """What the code of a module is; a sentence why it is nothing that has a name here."""
        attends = [
            node for node in _nodes(region) if isinstance(node, Raised) and isinstance(node.component, Attention)
        ]
        if attends:
            return self.mixer(region, attends[0])
        embedding = _embedding(region, module)
        if embedding is not None:
            return embedding
        scheme = _scheme(region, module)
        if scheme is not None:
            return scheme
        normed = norm.describe(region)
        if isinstance(normed, Norm):
            return normed
        several = experts.describe(region)
        if isinstance(several, Experts):
            return several
        network = mlp.describe(region, lambda path: self.activation(_join(where, path)))
        if isinstance(network, Mlp):
            return network
        is_norm = any(
            isinstance(node, Raised) and isinstance(node.component, RootMeanSquare) for node in View(region).nodes()
        )
        return f"no norm: {normed}" if is_norm else f"no feed-forward network: {network}"

    def activation(self, path: str) -> str:
        """The name of an activation that is a module: that of its class."""
        module = module_at(self.tree, path)
        if module is None:
            return path.rpartition(".")[2]
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", module.class_name.removesuffix("Activation")).lower()

    def mixer(self, region: Region, attend: Raised) -> Mixer:
        assert isinstance(attend.component, Attention)
        view = View(region)
        rotary = next(
            (n.component for n in view.nodes() if isinstance(n, Raised) and isinstance(n.component, Rotary)), None
        )
        mask = attend.args[MASK]
        window = self.windows.get((id(region), mask.id)) if isinstance(mask, Value) else None
        return Mixer(
            attend.component,
            number(attend.args[4]),
            rotary,
            _is_normed(view, attend.args[0]),
            _is_normed(view, attend.args[1]),
            any(isinstance(node, Op) and node.name == "sigmoid" for node in view.nodes()),
            window,
            _is_latent(view, attend.args[1]),
        )

    def stack(self, loop: Loop, owner: str) -> None:
        container = _join(owner, loop.container)
        kinds: list[LayerKind] = []
        for kind, body in enumerate(loop.bodies):
            layers = tuple(at for at, k in enumerate(loop.kinds) if k == kind)
            inner = _Describer(self.tree, self.windows)
            inner.visit(_with_index(body, layers[0]), owner)
            prefix = f"{container}.{layers[0]}."
            parts = tuple(
                Part(path[len(prefix) :], part.class_name, part.fact, part.why_not)
                for path, part in inner.parts.items()
                if path.startswith(prefix)
            )
            norms = {part.path for part in parts if isinstance(part.fact, Norm)}
            kinds.append(LayerKind(layers, _wiring_of(body, norms), parts))
        self.stacks.append(Stack(container, tuple(kinds)))

    def head(self, top: Region) -> None:
        """The projection to logits, and what is done with its result."""
        view = View(top)
        value = view.results[0] if view.results else None
        cap: Expr | None = None
        factor: Expr | None = None
        while isinstance(value, Value):
            node = view.node_of(value)
            match node:
                case Op("mul", (a, b)) if (tanh := view.made_by(a, "tanh") or view.made_by(b, "tanh")) is not None:
                    cap = number(b) or number(a)
                    divided = view.made_by(tanh.args[0], "div")
                    value = divided.args[0] if divided is not None else None
                case Op("mul", (Value() as inner, scale)) if number(scale) is not None:
                    factor, value = number(scale), inner
                case Op("div", (Value() as inner, scale)) if (divisor := number(scale)) is not None:
                    factor, value = Apply("/", (Const(1.0), divisor)), inner
                case Op("cast" | "getitem" | "last_only", (inner, *_)):
                    value = inner
                case Call(ModuleTarget(path)) if path and _projects(node):
                    module = module_at(self.tree, path)
                    if module is not None and "." not in path:
                        self.parts[path] = Part(path, module.class_name, Head(cap, factor))
                    return
                case _:
                    return


def _embedding(region: Region, module: Module) -> Embedding | None:
    """Rows of a table, perhaps multiplied by a number."""
    view = View(region)
    value: Operand = view.results[0] if len(view.results) == 1 else None
    factor: Expr | None = None
    scaled = view.made_by(value, "mul")
    if scaled is not None:
        for inner, by in (scaled.args, scaled.args[::-1]):
            if view.made_by(inner, "embedding") is not None:
                value, factor = inner, number(by) or _constant(view, by, module)
                if factor is None:
                    return None
    return Embedding(factor) if view.made_by(value, "embedding") is not None and len(region.params) == 1 else None


def _scheme(region: Region, module: Module) -> RotaryScheme | None:
    """Tables of cosines and sines, and what of the configuration their frequencies are made of."""
    view = View(region)
    names = {node.name for node in view.nodes() if isinstance(node, Op)}
    if not {"cos", "sin"} <= names or len(region.results) != 2:
        return None
    keys: dict[Key, None] = {}
    for parameter in module.parameters:
        for expr in _numbers(parameter.fill) if parameter.fill is not None else ():
            keys |= dict.fromkeys(sorted((leaf for leaf in leaves(expr) if isinstance(leaf, Key)), key=repr))
    last = {key: str(next((step for step in reversed(key.path) if isinstance(step, str)), "")) for key in keys}
    theta = next((key for key, name in last.items() if name.endswith(("theta", "base"))), None)
    scaled = [name for key, name in last.items() if key != theta and not name.endswith(_SIZES)]
    factors: list[Expr] = []
    for node in view.nodes():
        if isinstance(node, Op) and node.name == "mul" and view.made_by(node.args[0], "cos") is not None:
            times = number(node.args[1])
            if times is not None and times not in (Const(1.0), Const(1)):
                factors.append(times)
    rule = f"powers of a base, scaled by {', '.join(dict.fromkeys(scaled))}" if scaled else "powers of a base"
    return RotaryScheme(rule, theta, factors[0] if factors else None)


_SIZES = ("_dim", "_size", "heads", "partial_rotary_factor")


def _numbers(region: Region) -> Iterator[Expr]:
    for node in region.nodes:
        if isinstance(node, Op):
            yield from (expr for arg in _flat(node.args) if (expr := number(arg)) is not None)
        elif isinstance(node, Call):
            yield from (expr for arg in _flat(node.args) if (expr := number(arg)) is not None)
            yield from _numbers(node.region)


def _flat(operands: tuple[Operand, ...]) -> Iterator[Operand]:
    for operand in operands:
        if isinstance(operand, tuple):
            yield from _flat(operand)
        else:
            yield operand


def _constant(view: View, operand: Operand, module: Module) -> Expr | None:
    """The number that a buffer holds."""
    while (cast := view.made_by(operand, "cast")) is not None:
        operand = cast.args[0]
    read = view.made_by(operand, "parameter")
    if read is None:
        return None
    path = number(read.args[0]) if read is not None else None
    name = getattr(getattr(read.args[0], "expr", path), "value", None)
    fill = next((p.fill for p in module.parameters if p.name == name), None)
    numbers = (
        [number(arg) for node in fill.nodes if isinstance(node, Op) and node.name == "tensor" for arg in node.args]
        if fill
        else []
    )
    return next((expr for expr in numbers if expr is not None), None)


def _is_normed(view: View, operand: Operand) -> bool:
    """Whether queries or keys went through a norm on their way from a projection."""
    for _ in range(32):
        node = view.node_of(operand)
        match node:
            case Raised(Rotary()) | Op(
                "transpose" | "reshape" | "permute" | "cast" | "getitem" | "cat" | "mul" | "chunk" | "split" | "expand"
            ):
                first = node.args[0]
                operand = first[0] if isinstance(first, tuple) else first
            case Op("cache_update", (key, *_)):
                operand = key
            case Call(ModuleTarget(), inner, (Value(),)):
                return isinstance(norm.describe(inner), Norm)
            case Raised(RootMeanSquare()):
                return True
            case _:
                return False
    return False


def _is_latent(view: View, keys: Operand) -> bool:
    """Whether keys were projected, then normed, then projected again."""
    return any(
        _projects(first)
        for last in _behind(view, (keys,), _projects_somewhere)
        for normed in _behind(view, last.args, _norms)
        for first in _behind(view, normed.args, _projects)
    )


def _behind(view: View, operands: Iterable[Operand], wanted: Callable[[Node], bool]) -> list[Call]:
    """The nearest calls of a kind that the operands are made of, on every way."""
    found: list[Call] = []
    seen: set[Value] = set()
    ahead = [operand for operand in _flat(tuple(operands)) if isinstance(operand, Value)]
    while ahead:
        value = ahead.pop()
        node = None if value in seen else view.node_of(value)
        seen.add(value)
        if isinstance(node, Call) and wanted(node):
            found.append(node)
        elif isinstance(node, (Op, Call, Raised)):
            ahead += [operand for operand in _flat(node.args) if isinstance(operand, Value)]
    return found


def _projects_somewhere(node: Node) -> bool:
    """A projection, or a helper or another method of the module with one."""
    if not isinstance(node, Call) or (isinstance(node.target, ModuleTarget) and node.target.path):
        return _projects(node)
    return any(_projects(inner) for inner in _nodes(node.region))


def _norms(node: Node) -> bool:
    return isinstance(node, Call) and isinstance(norm.describe(node.region), Norm)


def _attends_below(region: Region) -> bool:
    """Whether a module is a layer: one of those that it calls attends."""
    calls = [node for node in _nodes(region) if isinstance(node, Call) and isinstance(node.target, ModuleTarget)]
    return any(
        isinstance(node, Raised) and isinstance(node.component, Attention)
        for call in calls
        for node in _nodes(call.region)
    )


def _computes(region: Region) -> bool:
    """Whether the code of a module is more than its children one after the other, or a loop over them."""
    nodes = list(_nodes(region))
    if any(isinstance(node, Loop) for node in nodes):
        return False
    names = [node.name for node in nodes if isinstance(node, Op)]
    projections = sum(_projects(node) for node in nodes) + sum(name in ("linear", "addmm", "matmul") for name in names)
    return projections > 1 or ("parameter" in names and not projections)


def _projects(node: Node) -> bool:
    """Whether a node calls a module that is one product with a matrix."""
    if not isinstance(node, Call) or not isinstance(node.target, ModuleTarget):
        return False
    return any(isinstance(n, Op) and n.name in ("linear", "addmm") for n in node.region.nodes)


def _wiring_of(body: Region, norms: set[str]) -> Wiring:
    """The wiring of the one module that the body of a loop calls."""
    calls = [n for n in body.nodes if isinstance(n, Call) and isinstance(n.target, ModuleTarget)]
    if len(calls) != 1:
        return Wiring.OTHER
    return wiring.describe(calls[0].region, lambda path: path in norms)


def _with_index(body: Region, index: int) -> Region:
    """The body of a loop with the path of one of its modules."""
    nodes: list[Node] = []
    for node in body.nodes:
        match node:
            case Call(ModuleTarget(path, method), inner, args, results):
                nodes.append(Call(ModuleTarget(path.replace("{}", str(index), 1), method), inner, args, results))
            case _:
                nodes.append(node)
    return Region(body.name, body.params, tuple(nodes), body.results)


def _nodes(region: Region) -> Iterator[Node]:
    """The nodes of a method, those of the helpers that it calls among them."""
    for node in region.nodes:
        yield node
        if isinstance(node, Call) and isinstance(node.target, FunctionTarget):
            yield from _nodes(node.region)


def _join(owner: str, path: str) -> str:
    if path.startswith("^"):
        return path[1:]
    return f"{owner}.{path}".strip(".")


def module_at(tree: Module, path: str) -> Module | None:
    for step in path.split(".") if path else ():
        children: Mapping[str, Module] = dict(tree.children)
        if step not in children:
            return None
        tree = children[step]
    return tree


def _sizes(tree: Module) -> tuple[tuple[str, Expr], ...]:
    """The configuration keys that sizes of parameters are made of."""
    found: dict[Key, None] = {}

    def visit(module: Module) -> None:
        for parameter in module.parameters:
            for size in parameter.shape:
                for leaf in sorted(leaves(size), key=repr):
                    if isinstance(leaf, Key):
                        found.setdefault(leaf)
        for _, child in module.children:
            visit(child)

    visit(tree)
    return tuple((".".join(map(str, key.path)), key) for key in found)
