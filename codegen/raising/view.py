"""A region as the rules see it: helper functions inlined, every value with the operation that makes it and those that use it.

What a rule replaces is written back; a call of a helper of which nothing was replaced stays a call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from codegen.raising.products import spelled_out
from ir.expressions import Const, Expr, Local, substitute
from ir.graph import (
    Call,
    DType,
    DTypeOf,
    Ellipsis_,
    Loop,
    ModuleTarget,
    Node,
    Number,
    Op,
    Operand,
    Raised,
    Region,
    SliceOf,
    Value,
    has_effect,
    operands_of,
    values_in,
)
from ir.records import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Step:
    """A node of the inlined view, and the index of the region's node that it came from."""

    node: Node
    origin: int


@dataclass(frozen=True, slots=True)
class Match:
    """What a rule found: `node` computes what the step `anchor` did; `covered` are the steps that it stands for."""

    anchor: int
    covered: frozenset[int]
    nodes: tuple[Node, ...]
    rule: str


@dataclass
class View:
    """The inlined view of one region."""

    region: Region
    steps: list[Step] = field(default_factory=list)
    results: tuple[Operand, ...] = ()
    touched: set[int] = field(default_factory=set)  # nodes of the region that were replaced, at least in part

    def __post_init__(self) -> None:
        self.fresh = 1 + max((value.id for value in all_values(self.region)), default=-1)
        replaced: dict[int, Operand] = {}
        for origin, node in enumerate(self.region.nodes):
            self._add(node, origin, replaced)
        self.results = tuple(substituted(result, replaced) for result in self.region.results)
        self._index()

    def _add(self, node: Node, origin: int, replaced: dict[int, Operand]) -> None:
        product = spelled_out(node, self.take_id) if isinstance(node, Op) else None
        if isinstance(node, Call) and inlinable(node):
            self._inline(node, origin, replaced)
        elif product is not None:
            self.steps += [Step(with_operands(part, replaced), origin) for part in product]
        else:
            self.steps.append(Step(with_operands(node, replaced), origin))

    def _inline(self, call: Call, origin: int, replaced: dict[int, Operand]) -> None:
        values: dict[int, Operand] = {}
        numbers: dict[Expr, Expr] = {}
        for param, arg in zip(call.region.params, call.args, strict=True):
            arg = substituted(arg, replaced)
            if isinstance(param, Value):
                values[param.id] = arg
            elif isinstance(arg, Number):
                numbers[param.expr] = arg.expr
        outer = {
            inner.id: result
            for inner, result in zip(call.region.results, call.results, strict=True)
            if isinstance(inner, Value)
        }
        for node in call.region.nodes:
            renamed = []
            for result in node.results:
                caller = outer.get(result.id)
                names = (caller.names if caller is not None else ()) or result.names
                shape = tuple(substitute(size, numbers) for size in result.shape) if caller is None else caller.shape
                made = Value(self.take_id() if caller is None else caller.id, shape, result.dtype, names)
                values[result.id] = made
                if caller is not None:
                    replaced[caller.id] = made
                renamed.append(made)
            inner_node = with_numbers(node, numbers)
            inner_node = replace(inner_node, results=tuple(renamed))
            self._add(inner_node, origin, values) if isinstance(node, Call) else self.steps.append(
                Step(with_operands(inner_node, values), origin)
            )
        for inner, result in zip(call.region.results, call.results, strict=True):
            if isinstance(inner, Value):
                replaced[result.id] = values[inner.id]

    def take_id(self) -> int:
        self.fresh += 1
        return self.fresh - 1

    def _index(self) -> None:
        self.producer: dict[int, int] = {}
        self.users: dict[int, list[int]] = {}
        for at, step in enumerate(self.steps):
            for result in step.node.results:
                self.producer[result.id] = at
            for value in {v.id: v for v in values_in(operands_of(step.node))}.values():
                self.users.setdefault(value.id, []).append(at)
        self.returned = {value.id for value in values_in(self.results)}

    # ------------------------------------------------------------------------------------------------ looking

    def nodes(self) -> tuple[Node, ...]:
        return tuple(step.node for step in self.steps)

    def made_by(self, operand: Operand, *names: str) -> Op | None:
        """The operation that makes a value, if its name is one of `names`."""
        node = self.node_of(operand)
        return node if isinstance(node, Op) and node.name in names else None

    def node_of(self, operand: Operand) -> Node | None:
        if not isinstance(operand, Value) or operand.id not in self.producer:
            return None
        return self.steps[self.producer[operand.id]].node

    def at(self, node: Node) -> int:
        return self.producer[node.results[0].id]

    def same(self, a: Operand, b: Operand) -> bool:
        """Whether two values are one, or made by one operation twice."""
        if a == b:
            return True
        first, second = self.node_of(a), self.node_of(b)
        if not isinstance(first, Op) or not isinstance(second, Op) or first.name != second.name:
            return False
        pairs = zip(first.args, second.args, strict=False)
        return len(first.args) == len(second.args) > 0 and all(self.same(x, y) for x, y in pairs)

    def only_user(self, value: Value) -> Op | None:
        """The operation that alone uses a value."""
        users = self.users.get(value.id, [])
        if len(users) != 1 or value.id in self.returned:
            return None
        node = self.steps[users[0]].node
        return node if isinstance(node, Op) else None

    # ---------------------------------------------------------------------------------------------- replacing

    def apply(self, match: Match) -> None:
        """Put the match in the place of its anchor. What else it covers goes if nothing else needs it."""
        for at in match.covered:
            self.touched.add(self.steps[at].origin)
        origin = self.steps[match.anchor].origin
        self.steps[match.anchor : match.anchor + 1] = [Step(node, origin) for node in match.nodes]
        self._prune()

    def _prune(self) -> None:
        needed = {value.id for value in values_in(self.results)}
        kept: list[Step] = []
        for step in reversed(self.steps):
            if has_effect(step.node) or any(result.id in needed for result in step.node.results):
                needed |= {value.id for value in values_in(operands_of(step.node))}
                kept.append(step)
        self.steps = kept[::-1]
        self._index()

    def written_back(self) -> Region:
        """The region with what was replaced; other helpers are called as before."""
        if not self.touched:
            return self.region
        nodes: list[Node] = []
        emitted: set[int] = set()
        for step in self.steps:
            original = self.region.nodes[step.origin]
            if step.origin in self.touched or not _is_written_out(original):
                nodes.append(step.node)
            elif step.origin not in emitted:
                emitted.add(step.origin)
                nodes.append(self._original(original))
        return pruned(renamed(replace(self.region, nodes=self._with_makers(nodes), results=self.results)))

    def _with_makers(self, nodes: list[Node]) -> tuple[Node, ...]:
        """With what makes the arguments of calls that are as before, and do nothing with them but ask for a size: nothing in
        the view needs these."""
        makers = {result.id: node for node in self.region.nodes for result in node.results}
        made = {result.id for node in nodes for result in node.results}
        made |= {param.id for param in self.region.params if isinstance(param, Value)}
        found: list[Node] = []

        def add(node: Node) -> None:
            for value in values_in(operands_of(node)):
                if value.id not in made and value.id in makers:
                    maker = self._original(makers[value.id])
                    made.update(result.id for result in maker.results)
                    add(maker)
            found.append(node)

        for node in nodes:
            add(node)
        return tuple(found)

    def _original(self, node: Node) -> Node:
        """A node as it was, on values as they are named now."""
        return with_operands(node, self._replacements())

    def _replacements(self) -> dict[int, Operand]:
        """Results of calls that were one of the call's arguments, or have other names since."""
        replaced: dict[int, Operand] = {}
        for node in self.region.nodes:
            if not isinstance(node, Call) or not inlinable(node):
                continue
            values = {
                p.id: substituted(a, replaced)
                for p, a in zip(node.region.params, node.args, strict=True)
                if isinstance(p, Value)
            }
            for inner, result in zip(node.region.results, node.results, strict=True):
                if isinstance(inner, Value) and inner.id in values:
                    replaced[result.id] = values[inner.id]
        return replaced


def _is_written_out(node: Node) -> bool:
    """Whether the view shows what a node does in place of the node."""
    return (
        inlinable(node) if isinstance(node, Call) else isinstance(node, Op) and spelled_out(node, lambda: 0) is not None
    )


def renamed(region: Region) -> Region:
    """The region with every use of a value as the value is where it is made: names never differ between the two."""
    made: dict[int, Operand] = {param.id: param for param in region.params if isinstance(param, Value)}
    nodes: list[Node] = []
    for node in region.nodes:
        nodes.append(with_operands(node, made))
        made |= {result.id: result for result in node.results}
    return replace(region, nodes=tuple(nodes), results=tuple(substituted(result, made) for result in region.results))


def pruned(region: Region) -> Region:
    """The region without what its results do not depend on."""
    needed = {value.id for value in values_in(region.results)}
    kept: list[Node] = []
    for node in reversed(region.nodes):
        if has_effect(node) or any(result.id in needed for result in node.results):
            needed |= {value.id for value in values_in(operands_of(node))}
            kept.append(node)
    return replace(region, nodes=tuple(kept[::-1]))


def inlinable(call: Call) -> bool:
    """Whether a call can be written out: of a helper or a method of the same module, on tensors alone, each result once."""
    if isinstance(call.target, ModuleTarget) and call.target.path:
        return False
    results = [result.id for result in call.region.results if isinstance(result, Value)]
    if len(set(results)) != len(call.results) or len(call.region.params) != len(call.args):
        return False
    return all(
        isinstance(node, (Op, Raised)) or (isinstance(node, Call) and inlinable(node)) for node in call.region.nodes
    )


# ------------------------------------------------------------------------------------------------------ operands


def all_values(region: Region) -> Iterator[Value]:
    """The parameters of a region and everything that is made in it."""
    for param in region.params:
        if isinstance(param, Value):
            yield param
    for node in region.nodes:
        yield from node.results


def substituted(operand: Operand, replaced: Mapping[int, Operand]) -> Operand:
    match operand:
        case Value():
            return replaced.get(operand.id, operand)
        case DTypeOf(value):
            other = replaced.get(value.id, value)
            return DTypeOf(other) if isinstance(other, Value) else operand
        case SliceOf(start, stop, step):
            return SliceOf(substituted(start, replaced), substituted(stop, replaced), substituted(step, replaced))
        case tuple():
            return tuple(substituted(item, replaced) for item in operand)
        case Number() | DType() | Ellipsis_() | None:
            return operand


def with_operands(node: Node, replaced: Mapping[int, Operand]) -> Node:
    """The node on other values."""
    if not replaced:
        return node
    if isinstance(node, Loop):
        return replace(
            node,
            carried=tuple(substituted(operand, replaced) for operand in node.carried),
            invariant=tuple(substituted(operand, replaced) for operand in node.invariant),
            varying=tuple(tuple(substituted(operand, replaced) for operand in kind) for kind in node.varying),
        )
    return replace(node, args=tuple(substituted(arg, replaced) for arg in node.args))


def with_numbers(node: Node, numbers: Mapping[Expr, Expr]) -> Node:
    """The node with the parameters of a helper function replaced by what its caller passes."""
    if not numbers or isinstance(node, Loop):
        return node
    return replace(node, args=tuple(_renumbered(arg, numbers) for arg in node.args))


def _renumbered(operand: Operand, numbers: Mapping[Expr, Expr]) -> Operand:
    match operand:
        case Number(expr, names):
            changed = substitute(expr, numbers)
            return operand if changed == expr else Number(changed, names if isinstance(changed, Local) else ())
        case SliceOf(start, stop, step):
            return SliceOf(_renumbered(start, numbers), _renumbered(stop, numbers), _renumbered(step, numbers))
        case tuple():
            return tuple(_renumbered(item, numbers) for item in operand)
        case _:
            return operand


def number(operand: Operand) -> Expr | None:
    """The expression of a number; None for anything else, flags and strings included."""
    if not isinstance(operand, Number):
        return None
    if isinstance(operand.expr, Const) and (isinstance(operand.expr.value, (bool, str)) or operand.expr.value is None):
        return None
    return operand.expr


def literal(operand: Operand) -> object:
    """The value of a number that the source wrote out; `...` for anything else."""
    return operand.expr.value if isinstance(operand, Number) and isinstance(operand.expr, Const) else ...
