"""Parameters of which a device knows only a part of the gradient, where PyTorch splits the block that they stand in.

There every device computes with heads, or inner channels, of its own, between linear layers that lead into these and out of
them. What is applied to them, as a norm of each head is, has a part of its gradient on each device. What all devices
compute whole and then bring together with them, as a part of the keys that all heads share, has so too, but what leads there
may lead into a split linear layer as well, which sends back the whole gradient: both together are no sum of parts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from codegen.lowering.instances import Instance, absolute, walk
from codegen.lowering.meshes import heads_in, reduced
from codegen.lowering.program import Lowering
from ir.expressions import Const, Expr
from ir.graph import Call, ModuleTarget, Node, Number, Op, Value, operands_of, values_in
from ir.records import dataclass, field


@dataclass
class Partial:
    """Paths of modules and parameters: those whose parts add up, and those with which that cannot be told."""

    summed: set[str] = field(default_factory=set)
    mixed: set[str] = field(default_factory=set)


def partial_gradients(
    lowering: Lowering, takes: Mapping[str, bool], sizes: Collection[Expr], heads: frozenset[Expr]
) -> Partial:
    """`takes` holds the paths of the linear layers that are split, and whether that is along what they take; `sizes` are those of
    the axes that are split."""
    found = Partial()
    modules = dict(walk(lowering.given.tree))
    learned = {path for path, module in modules.items() if any(not p.buffer for p in module.parameters)}
    for block in dict.fromkeys(path.rpartition(".")[0] for path in takes):
        instance = lowering.program.instances.get(block)
        if instance is not None:
            _Block(instance, takes, learned, sizes, heads, found).follow()
    found.summed -= found.mixed
    return found


@dataclass
class _Block:
    instance: Instance
    takes: Mapping[str, bool]
    learned: Collection[str]  # modules with parameters of their own
    sizes: Collection[Expr]
    heads: frozenset[Expr]
    found: Partial
    sources: dict[int, frozenset[str]] = field(default_factory=dict)  # of whole values: the parameters they come from

    def follow(self) -> None:
        for region in (region for regions in self.instance.methods.values() for region in regions):
            self.sources.clear()
            for node in region.nodes:
                self.node(node)

    def node(self, node: Node) -> None:
        given = list(values_in(operands_of(node)))
        before = frozenset[str]().union(*(self.sources.get(value.id, frozenset()) for value in given))
        own = frozenset(self.own(node))
        child = self.child(node)
        if isinstance(node, Op) and node.name == "cache_update" and not any(map(self.is_split, given)):
            for value, kept in zip(given, node.results, strict=True):
                self.sources[kept.id] = self.sources.get(value.id, frozenset())
        elif child in self.takes:
            self.found.mixed |= before if self.takes[child] else frozenset()
        elif any(map(self.is_split, given)):
            self.found.summed |= own
            self.found.mixed |= before
        elif any(map(self.is_split, node.results)):
            self.found.mixed |= before | own
        else:
            self.sources |= dict.fromkeys((value.id for value in node.results), before | own)

    def own(self, node: Node) -> Iterator[str]:
        """The parameters that a node brings in, or the modules that hold them."""
        match node:
            case Op("parameter", (Number(Const(str(name))),)):
                yield f"{self.instance.path}.{name}"
            case Call() if child := self.child(node):
                if any(other == child or other.startswith(f"{child}.") for other in self.learned):
                    yield child
            case _:
                pass

    def child(self, node: Node) -> str:
        """The path of the module that a node calls, if it calls one."""
        match node:
            case Call(ModuleTarget(path)) if path:
                return absolute(path, self.instance.path)
            case _:
                return ""

    def is_split(self, value: Value) -> bool:
        sizes = [reduced(size) for size in value.shape]
        return any(size in self.sizes or heads_in(size, self.heads) is not None for size in sizes)
