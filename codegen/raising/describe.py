"""The architecture of a raised program, for people and for the card: what each module is, and what runs in which order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from codegen.raising import mlp, norm, wiring
from codegen.raising.view import number
from ir.arch import Arch, Attention, Fact, LayerKind, MaskForm, Mixer, Mlp, Norm, Part, Rotary, Stack, Wiring
from ir.expressions import Key, leaves
from ir.graph import Call, FunctionTarget, Loop, Module, ModuleTarget, Node, Op, Raised, Region, Value


def describe(top: Region, tree: Module, masks: MaskForm) -> Arch:
    """What the modules below `tree` are that run when `top` does."""
    describer = _Describer(tree)
    describer.visit(top, "")
    inside = tuple(stack.path + "." for stack in describer.stacks)
    parts = tuple(part for path, part in describer.parts.items() if not path.startswith(inside))
    return Arch(parts, tuple(describer.stacks), masks, _sizes(tree))


@dataclass
class _Describer:
    tree: Module
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
        fact = fact_of(region)
        if isinstance(fact, str) and module.kind:
            return
        described = isinstance(fact, str)
        self.parts[where] = Part(
            where, module.class_name, None if described else fact, fact if isinstance(fact, str) else ""
        )

    def stack(self, loop: Loop, owner: str) -> None:
        container = _join(owner, loop.container)
        kinds: list[LayerKind] = []
        for kind, body in enumerate(loop.bodies):
            layers = tuple(at for at, k in enumerate(loop.kinds) if k == kind)
            inner = _Describer(self.tree)
            inner.visit(_with_index(body, layers[0]), owner)
            prefix = f"{container}.{layers[0]}"
            parts = tuple(
                Part(path[len(prefix) + 1 :], part.class_name, part.fact, part.why_not)
                for path, part in inner.parts.items()
                if path.startswith(prefix + ".")
            )
            norms = {part.path for part in parts if isinstance(part.fact, Norm)}
            kinds.append(LayerKind(layers, _wiring_of(body, norms), parts))
        self.stacks.append(Stack(container, tuple(kinds)))


def fact_of(region: Region) -> Fact | str:
    """What the code of a module is; a sentence why it is nothing that has a name here."""
    attends = [node for node in _nodes(region) if isinstance(node, Raised) and isinstance(node.component, Attention)]
    if attends:
        return _mixer(region, attends[0])
    made = norm.describe(region)
    if isinstance(made, Norm):
        return made
    network = mlp.describe(region)
    if isinstance(network, Mlp):
        return network
    names = {node.name for node in _nodes(region) if isinstance(node, Op)}
    if "rsqrt" in names or "mean" in names:
        return f"not a norm: {made}"
    return f"not a feed-forward network: {network}"


def _mixer(region: Region, attend: Raised) -> Mixer:
    assert isinstance(attend.component, Attention)
    rotary = next(
        (n.component for n in _nodes(region) if isinstance(n, Raised) and isinstance(n.component, Rotary)), None
    )
    norms = [n for n in _nodes(region) if isinstance(n, Call) and isinstance(norm.describe(n.region), Norm)]
    gate = any(isinstance(n, Op) and n.name == "sigmoid" for n in _nodes(region))
    return Mixer(attend.component, number(attend.args[4]), rotary, bool(norms), len(norms) > 1, gate)


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


def _sizes(tree: Module) -> tuple[tuple[str, Key], ...]:
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


__all__ = ["describe", "fact_of", "module_at", "Value"]
