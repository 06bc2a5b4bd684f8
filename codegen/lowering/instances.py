"""Which modules run which code: every module of the tree with the regions that are called on it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ir.expressions import Const, Expr, Index, Key, Local, leaves, substitute
from ir.graph import (
    Branch,
    Call,
    FunctionTarget,
    Loop,
    Module,
    ModuleTarget,
    Node,
    Number,
    Op,
    Operand,
    Raised,
    Region,
    Scan,
    SliceOf,
    Value,
    with_regions,
    within,
)
from ir.records import dataclass, field, replace

CONTAINERS = frozenset({"ModuleList", "ModuleDict", "Sequential", "ParameterList", "ParameterDict"})


@dataclass
class Instance:
    """A module of the tree; `methods` holds the distinct regions of each of its methods that run."""

    path: str
    module: Module
    methods: dict[str, list[Region]] = field(default_factory=dict)

    @property
    def is_layer(self) -> bool:
        """Whether it is a layer of the library, which both frameworks have."""
        return bool(self.module.kind) and self.module.kind not in CONTAINERS


def collect(tree: Module, root: Region) -> dict[str, Instance]:
    """Every module by its path, with what runs on it when `root` runs on the top module."""
    instances = {path: Instance(path, module) for path, module in walk(tree)}
    instances[""].methods["forward"] = [root]
    _visit(root, "", instances)
    return instances


def walk(module: Module, path: str = "") -> Iterator[tuple[str, Module]]:
    yield path, module
    for name, child in module.children:
        yield from walk(child, f"{path}.{name}" if path else name)


def absolute(path: str, owner: str) -> str:
    if path.startswith("^"):
        return path[1:]
    return f"{owner}.{path}" if owner and path else owner or path


def modules_around(path: str) -> Iterator[str]:
    """The paths of the modules that one is in, but for the top one."""
    parts = path.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts)))


def _visit(region: Region, owner: str, instances: dict[str, Instance]) -> None:
    for node in region.nodes:
        match node:
            case Call(ModuleTarget(path, method), inner):
                instance = instances[absolute(path, owner)]
                known = instance.methods.setdefault(method, [])
                if not any(inner is other or inner == other for other in known):
                    known.append(inner)
                    _visit(inner, instance.path, instances)
            case Call(FunctionTarget(), inner):
                _visit(inner, owner, instances)
            case Loop(container, bodies, kinds):
                for index, kind in enumerate(kinds):
                    _visit(at_item(bodies[kind], container, index), owner, instances)
            case Scan() | Branch():
                for inner in within(node):
                    _visit(inner, owner, instances)
            case Op() | Raised():
                pass


def at_item(body: Region, container: str, index: int) -> Region:
    """The body of one iteration, with the module of that iteration."""
    nodes: list[Node] = []
    for node in body.nodes:
        match node:
            case Call(ModuleTarget(path, method), inner, args, results):
                nodes.append(Call(ModuleTarget(path.replace("{}", str(index), 1), method), inner, args, results))
            case _:
                nodes.append(node)
    return Region(body.name, body.params, tuple(nodes), body.results)


def lists_beside(node: Loop) -> list[str]:
    """The other lists of modules that a loop goes through beside its own."""
    paths = [
        inner.target.path
        for body in node.bodies
        for inner in body.nodes
        if isinstance(inner, Call) and isinstance(inner.target, ModuleTarget) and "{}" in inner.target.path
    ]
    return [path for path in dict.fromkeys(path.partition(".{}")[0] for path in paths) if path != node.container]


def without_unread(tree: Module, root: Region) -> Module:
    """The tree without the constants that no region reads."""
    read: set[str] = set()
    for path, instance in collect(tree, root).items():
        for regions in instance.methods.values():
            for region in regions:
                read |= {absolute(name, path) for name in parameters_read(region)}

    def prune(module: Module, path: str) -> Module:
        def where(name: str) -> str:
            return f"{path}.{name}" if path else name

        kept = tuple(p for p in module.parameters if p.fill is None or p.persistent or where(p.name) in read)
        children = tuple((name, prune(child, where(name))) for name, child in module.children)
        return replace(module, parameters=kept, children=children)

    return prune(tree, "")


def parameters_read(region: Region) -> Iterator[str]:
    for node in region.nodes:
        match node:
            case Op("parameter", (Number(Const(str() as path)),)):
                yield path
            case Call(FunctionTarget(), inner):
                yield from parameters_read(inner)
            case Loop(bodies=bodies):
                for body in bodies:
                    yield from parameters_read(body)
            case Scan() | Branch():
                for inner in within(node):
                    yield from parameters_read(inner)
            case _:
                pass


def without_parameters(module: Module) -> bool:
    return not module.parameters and all(without_parameters(child) for _, child in module.children)


# ------------------------------------------------------------------------------------------------- simplification


def simplify(region: Region, owner: str, modules: dict[str, Module]) -> Region:
    """Calls of modules without parameters become calls of functions; what is a single operation is inlined."""
    nodes: list[Node] = []
    replaced: dict[int, Operand] = {}
    fresh = 1 + max((v.id for v in _all_values(region)), default=-1)
    for node in region.nodes:
        match node:
            case Call(ModuleTarget(path, method), inner, args, results, span):
                where = absolute(path, owner)
                inner = simplify(inner, where, modules)
                target: ModuleTarget | FunctionTarget = ModuleTarget(path, method)
                module = modules.get(where)
                if module is not None and path != "" and without_parameters(module):
                    inner = _as_function(inner, module.class_name)
                if module is not None and path != "" and without_parameters(module) and not _calls_modules(inner):
                    if len(inner.nodes) == 1:
                        fresh = _inline(inner, args, results, nodes, replaced, fresh)
                        continue
                    target = FunctionTarget(snake_case(module.class_name))
                    inner, extra = lifted(inner)
                    args = (*args, *extra)
                nodes.append(Call(target, inner, args, results, span))
            case Call(FunctionTarget(), inner, args, results, span):
                inner = simplify(inner, owner, modules)
                if len(inner.nodes) == 1 and _is_plain(inner.nodes[0]) and not _has_numbers(inner):
                    fresh = _inline(inner, args, results, nodes, replaced, fresh)
                    continue
                nodes.append(Call(node.target, inner, args, results, span))
            case Loop(container, bodies, kinds):
                first = {kind: kinds.index(kind) for kind in range(len(bodies))}
                lists = (container, *lists_beside(node))
                inner_bodies = tuple(
                    _restore(simplify(at_item(body, container, first[kind]), owner, modules), lists, first[kind])
                    for kind, body in enumerate(bodies)
                )
                nodes.append(replace(node, bodies=inner_bodies))
            case Scan() | Branch():
                nodes.append(with_regions(node, lambda inner: simplify(inner, owner, modules)))
            case Op() | Raised():
                nodes.append(node)
    if not replaced:
        return Region(region.name, region.params, tuple(nodes), region.results)
    final = tuple(_substitute_node(node, replaced) for node in nodes)
    return Region(region.name, region.params, final, tuple(_substitute(r, replaced) for r in region.results))


def _as_function(region: Region, class_name: str) -> Region:
    """The forward of a module without parameters with its own methods as functions."""
    nodes = tuple(
        _method_as_function(n, class_name)
        if isinstance(n, Call) and isinstance(n.target, ModuleTarget) and n.target.path == ""
        else n
        for n in region.nodes
    )
    return Region(region.name, region.params, nodes, region.results)


def _method_as_function(node: Call, class_name: str) -> Call:
    assert isinstance(node.target, ModuleTarget)
    region, extra = lifted(_as_function(node.region, class_name))
    name = f"{snake_case(class_name)}_{node.target.method.strip('_')}"
    return Call(FunctionTarget(name), region, (*node.args, *extra), node.results, node.span)


def lifted(region: Region) -> tuple[Region, tuple[Number, ...]]:
    """A body that reads the configuration as one that is passed what it reads, and what that is."""
    taken: dict[Expr, Local] = {}

    def lift(operand: Operand) -> Operand:
        match operand:
            case Number(expr, names, kind):
                for leaf in leaves(expr):
                    if isinstance(leaf, (Key, Index)):
                        text = leaf.name if isinstance(leaf, Index) else str(leaf.path[-1])
                        taken.setdefault(leaf, Local(text))
                return Number(substitute(expr, taken), names, kind)
            case SliceOf(start, stop, step):
                return SliceOf(lift(start), lift(stop), lift(step))
            case tuple():
                return tuple(lift(item) for item in operand)
            case _:
                return operand

    def lift_node(node: Node) -> Node:
        match node:
            case Op() | Call() | Raised():
                return replace(node, args=tuple(lift(arg) for arg in node.args))
            case Scan() | Branch():
                changed = with_regions(node, lambda r: replace(r, nodes=tuple(lift_node(inner) for inner in r.nodes)))
                changed = replace(changed, args=tuple(lift(arg) for arg in node.args))
                size = lift(Number(node.length if isinstance(node, Scan) else node.condition))
                assert isinstance(size, Number)
                if isinstance(changed, Scan):
                    return replace(changed, length=size.expr)
                return replace(changed, condition=size.expr)
            case Loop():
                return node

    nodes = tuple(lift_node(node) for node in region.nodes)
    params = tuple(Number(local, (local.name,)) for local in taken.values())
    return Region(region.name, (*region.params, *params), nodes, region.results), tuple(Number(leaf) for leaf in taken)


def _restore(body: Region, lists: Sequence[str], index: int) -> Region:
    def generic(path: str) -> str:
        for container in lists:
            prefix = f"{container}.{index}"
            if path == prefix or path.startswith(prefix + "."):
                return f"{container}.{{}}{path[len(prefix) :]}"
        return path

    nodes = tuple(
        Call(ModuleTarget(generic(n.target.path), n.target.method), n.region, n.args, n.results, n.span)
        if isinstance(n, Call) and isinstance(n.target, ModuleTarget)
        else n
        for n in body.nodes
    )
    return Region(body.name, body.params, nodes, body.results)


def _inline(
    inner: Region,
    args: tuple[Operand, ...],
    results: tuple[Value, ...],
    nodes: list[Node],
    replaced: dict[int, Operand],
    fresh: int,
) -> int:
    """Append the nodes of `inner` in terms of the caller's values."""
    mapping: dict[int, Operand] = {
        param.id: arg for param, arg in zip(inner.params, args, strict=True) if isinstance(param, Value)
    }
    outer_of = {r.id: outer for r, outer in zip(inner.results, results, strict=True) if isinstance(r, Value)}
    for node in inner.nodes:
        assert not isinstance(node, Loop)
        made = []
        for value in node.results:
            outer = outer_of.get(value.id)
            if outer is None:
                outer = Value(fresh, value.shape, value.dtype, value.names)
                fresh += 1
            mapping[value.id] = outer
            made.append(outer)
        nodes.append(replace(node, args=tuple(_substitute(arg, mapping) for arg in node.args), results=tuple(made)))
    return fresh


def _substitute(operand: Operand, mapping: dict[int, Operand]) -> Operand:
    match operand:
        case Value():
            return mapping.get(operand.id, operand)
        case SliceOf(start, stop, step):
            return SliceOf(_substitute(start, mapping), _substitute(stop, mapping), _substitute(step, mapping))
        case tuple():
            return tuple(_substitute(item, mapping) for item in operand)
        case _:
            return operand


def _substitute_node(node: Node, mapping: dict[int, Operand]) -> Node:
    match node:
        case Op(name, args, results, span):
            return Op(name, tuple(_substitute(arg, mapping) for arg in args), results, span)
        case Call(target, region, args, results, span):
            return Call(target, region, tuple(_substitute(arg, mapping) for arg in args), results, span)
        case Raised() | Scan() | Branch():
            return replace(node, args=tuple(_substitute(arg, mapping) for arg in node.args))
        case Loop():
            return node


def _calls_modules(region: Region) -> bool:
    return any(
        isinstance(node, Loop)
        or any(_calls_modules(inner) for inner in within(node))
        or (isinstance(node, Call) and (isinstance(node.target, ModuleTarget) or _calls_modules(node.region)))
        for node in region.nodes
    )


def _is_plain(node: Node) -> bool:
    return isinstance(node, Op) or (isinstance(node, Call) and isinstance(node.target, FunctionTarget))


def _has_numbers(region: Region) -> bool:
    return any(not isinstance(param, Value) for param in region.params)


def _all_values(region: Region) -> Iterator[Value]:
    for param in region.params:
        if isinstance(param, Value):
            yield param
    for node in region.nodes:
        yield from node.results


def snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
