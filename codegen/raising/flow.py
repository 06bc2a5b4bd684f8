"""Values across call frames: which parameter holds which argument, through every call and loop of a program."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from codegen.raising.view import substituted
from ir.graph import Call, Loop, Node, Operand, Region, Value, operands_of, values_in
from ir.records import dataclass, field, replace

Place = tuple[int, int]  # a region, by its identity, and a value in it


@dataclass
class Flow:
    """Values that are the same tensor, in whichever frame, share a root."""

    top: Region
    parents: dict[Place, Place] = field(default_factory=dict)
    regions: dict[int, Region] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._visit(self.top)
        self.members: dict[Place, list[Place]] = {}
        for region in self.regions.values():
            for value in _values(region):
                self.members.setdefault(self.root(region, value), []).append((id(region), value.id))

    def root(self, region: Region, value: Value) -> Place:
        place = (id(region), value.id)
        while (parent := self.parents.get(place, place)) != place:
            place = parent
        return place

    def _join(self, region: Region, operand: Operand, other: Region, inner: Operand) -> None:
        if isinstance(operand, Value) and isinstance(inner, Value):
            a, b = self.root(region, operand), self.root(other, inner)
            if a != b:
                self.parents[b] = a

    def _visit(self, region: Region) -> None:
        if id(region) in self.regions:
            return
        self.regions[id(region)] = region
        for node in region.nodes:
            match node:
                case Call(_, inner, args, results):
                    self._visit(inner)
                    for arg, param in zip(args, inner.params, strict=True):
                        self._join(region, arg, inner, param)
                    for result, made in zip(results, inner.results, strict=True):
                        self._join(region, result, inner, made)
                case Loop():
                    self._loop(region, node)

    def _loop(self, region: Region, node: Loop) -> None:
        for body, varying in zip(node.bodies, node.varying, strict=True):
            self._visit(body)
            for arg, param in zip((*node.carried, *node.invariant, *varying), body.params, strict=True):
                self._join(region, arg, body, param)
            for result, made, param in zip(node.results, body.results, body.params, strict=False):
                self._join(region, result, body, made)
                self._join(body, made, body, param)

    def uses(self, root: Place) -> Iterator[tuple[Region, Node]]:
        """Every node that works on a value of this root; passing it on is no use."""
        inside = set(self.members[root])
        for region in self.regions.values():
            for node in region.nodes:
                if not isinstance(node, (Call, Loop)) and any(
                    (id(region), v.id) in inside for v in values_in(operands_of(node))
                ):
                    yield region, node

    def makers(self, root: Place) -> Iterator[tuple[Region, Node]]:
        """Every node that computes a value of this root."""
        inside = set(self.members[root])
        for region in self.regions.values():
            for node in region.nodes:
                if not isinstance(node, (Call, Loop)) and any((id(region), v.id) in inside for v in node.results):
                    yield region, node


def _values(region: Region) -> Iterator[Value]:
    for param in region.params:
        if isinstance(param, Value):
            yield param
    for node in region.nodes:
        yield from node.results


ChangeValue = Callable[[Region, Value], Value]
ChangeNode = Callable[[Region, Node], tuple[Node, ...]]


def rewritten(top: Region, value: ChangeValue, node: ChangeNode) -> Region:
    """The program with its values and nodes changed; regions that were one stay one."""
    made: dict[int, Region] = {}

    def visit(region: Region) -> Region:
        if id(region) not in made:
            made[id(region)] = build(region)
        return made[id(region)]

    def build(region: Region) -> Region:
        replaced: dict[int, Operand] = {v.id: value(region, v) for v in _values(region)}
        nodes: list[Node] = []
        for original in region.nodes:
            for changed in node(region, original):
                nodes.append(_within(changed, replaced, visit))
        params = tuple(value(region, p) if isinstance(p, Value) else p for p in region.params)
        results = tuple(substituted(result, replaced) for result in region.results)
        built = replace(region, params=params, nodes=tuple(nodes), results=results)
        return built

    return visit(top)


def _within(node: Node, replaced: dict[int, Operand], visit: Callable[[Region], Region]) -> Node:
    def operands(items: tuple[Operand, ...]) -> tuple[Operand, ...]:
        return tuple(substituted(item, replaced) for item in items)

    def results(items: tuple[Value, ...]) -> tuple[Value, ...]:
        return tuple(v if not isinstance(r := replaced.get(v.id, v), Value) else r for v in items)

    match node:
        case Call():
            return replace(node, region=visit(node.region), args=operands(node.args), results=results(node.results))
        case Loop():
            return replace(
                node,
                bodies=tuple(visit(body) for body in node.bodies),
                carried=operands(node.carried),
                invariant=operands(node.invariant),
                varying=tuple(operands(kind) for kind in node.varying),
                results=results(node.results),
            )
        case _:
            return replace(node, args=operands(node.args), results=results(node.results))
