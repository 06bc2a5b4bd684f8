"""Tables of cosines and sines, in the form that their use asks for.

The source holds every angle twice, so that a table is as wide as a head, and each layer adds the axis of the heads. Where
all that is done with a table is raised rotation, the axis is added once. For halves that turn together the first angle of
each pair is negated, which leaves cosines as they are and gives sines the sign that rotation needs; for neighbours one
angle for each pair is enough.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from codegen.raising.flow import Flow, Place, rewritten
from codegen.raising.rotary import takes_first_half
from codegen.raising.view import literal, pruned, renamed
from ir.arch import Pairing, Rotary, Tables
from ir.expressions import Const, Expr
from ir.graph import (
    Call,
    DType,
    Ellipsis_,
    Loop,
    Node,
    Number,
    Op,
    Operand,
    Raised,
    Region,
    SliceOf,
    Value,
    operands_of,
    values_in,
)
from ir.records import dataclass, field, replace

EVERYTHING = SliceOf(None, None, None)
COS, SIN = 1, 2  # where a raised rotation takes its tables


@dataclass(frozen=True, slots=True)
class _Chain:
    """How one table is made in one region: the doubling of its angles, which pairs that is for, cosines or sines, and the
    values from there on.
    """

    doubling: Op
    pairing: Pairing
    function: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class _Use:
    """How a rotation takes a table: as what function, how it pairs elements, how the table must have been doubled for that,
    and where heads have their axis.
    """

    function: str
    pairing: Pairing
    doubled: Pairing
    heads: int


@dataclass
class _Table:
    """Values of one root: how they are used, what makes them, and what lies between them and rotations."""

    uses: set[_Use] = field(default_factory=set)
    chains: list[tuple[Region, _Chain]] = field(default_factory=list)
    between: list[tuple[Region, Op, Value]] = field(default_factory=list)  # with the table in the same region

    @property
    def use(self) -> _Use:
        (use,) = self.uses
        return use


def narrowed(top: Region) -> Region:
    """The program with tables in a form of ours where nothing else needs that of the source."""
    flow = Flow(top)
    tables = _convertible(flow)
    if not tables:
        return top
    values: dict[Place, tuple[Expr, ...]] = {}
    doublings: dict[Place, _Use] = {}  # results of what doubles angles
    dropped: dict[Place, Value] = {}  # results of what adds the axis of heads -> the table
    for root, table in tables.items():
        region, chain = table.chains[0]
        angles = _doubled(chain.doubling)
        size = chain.doubling.results[0].shape[-1] if table.use.pairing is Pairing.HALVES else angles.shape[-1]
        shape = (*_with_heads(angles.shape[:2], table.use.heads), size)
        values |= {place: shape for place in flow.members[root]}
        for region, chain in table.chains:
            values |= {(id(region), v.id): shape for v in chain.values}
            doublings[(id(region), chain.doubling.results[0].id)] = table.use
        for region, op, source in table.between:
            dropped[(id(region), op.results[0].id)] = source

    ids = itertools.count(1 + max(v.id for region in flow.regions.values() for v in _every(region)))

    def value(region: Region, v: Value) -> Value:
        place = (id(region), v.id)
        if place in dropped:
            source = dropped[place]
            return replace(source, shape=values.get((id(region), source.id), source.shape))
        return replace(v, shape=values[place]) if place in values else v

    def node(region: Region, n: Node) -> tuple[Node, ...]:
        match n:
            case Op(results=(result,)) if (id(region), result.id) in dropped:
                return ()
            case Op(results=(result,)) if (id(region), result.id) in doublings:
                return _angles(n, doublings[(id(region), result.id)], ids)
            case Raised(Rotary() as rotary, (_, Value() as cos, _)) if (id(region), cos.id) in dropped:
                form = Tables.SIGNED if rotary.pairing is Pairing.HALVES else Tables.HALF
                return (replace(n, component=replace(rotary, tables=form)),)
            case _:
                return (n,)

    return _outer_products(rewritten(top, value, node))


def _with_heads(shape: tuple[Expr, ...], axis: int) -> tuple[Expr, ...]:
    return (*shape[:axis], Const(1), *shape[axis:])


def _angles(doubling: Op, use: _Use, ids: Iterator[int]) -> tuple[Node, ...]:
    """The angles of a table, with the axis of heads."""
    angles = _doubled(doubling)
    axis = Number(Const(use.heads))
    if use.pairing is Pairing.NEIGHBOURS:
        return (Op("unsqueeze", (angles, axis), doubling.results, doubling.span),)
    shape = _with_heads(angles.shape, use.heads)
    wide = Value(next(ids), shape, angles.dtype, ("angles",))
    negated = Value(next(ids), shape, angles.dtype)
    last = Number(Const(-1))
    return (
        Op("unsqueeze", (angles, axis), (wide,), doubling.span),
        Op("neg", (wide,), (negated,), doubling.span),
        Op("cat", ((negated, wide), last), doubling.results, doubling.span),
    )


def _convertible(flow: Flow) -> dict[Place, _Table]:
    """Tables that nothing but raised rotation needs, cosines and sines alike."""
    tables: dict[Place, _Table] = {}
    pairs: list[tuple[Place | None, Place | None]] = []
    for region in flow.regions.values():
        made = {r.id: n for n in region.nodes for r in n.results}
        for node in region.nodes:
            if not isinstance(node, Raised) or not isinstance(node.component, Rotary):
                continue
            roots: list[Place | None] = []
            for at, function in ((COS, "cos"), (SIN, "sin")):
                found = _source(made, node.args[at])
                roots.append(None)
                if found is not None:
                    source, ops, spread, heads = found
                    roots[-1] = root = flow.root(region, source)
                    doubled = Pairing.HALVES if spread else node.component.pairing
                    table = tables.setdefault(root, _Table())
                    table.uses.add(_Use(function, node.component.pairing, doubled, heads))
                    table.between += [(region, op, source) for op in ops]
            pairs.append((roots[0], roots[1]))
    good = {root: table for root, table in tables.items() if _fill(flow, root, table)}
    changed = True
    while changed:
        bad = {r for pair in pairs if not all(r in good for r in pair) for r in pair if r in good}
        bad |= {r for r, table in good.items() if not _angles_shared(flow, table, good)}
        changed = bool(bad)
        good = {root: table for root, table in good.items() if root not in bad}
    return good


def _source(made: dict[int, Node], operand: Operand) -> tuple[Value, list[Op], bool, int] | None:
    """The table [B, T, H] that a rotation takes, what lies between, whether its first half was spread over pairs, and where
    heads got their axis.
    """
    ops: list[Op] = []
    spread = False
    node = made.get(operand.id) if isinstance(operand, Value) else None
    match node:
        case Op("repeat_interleave", (Value() as half, repeats, dim)) if literal(repeats) == 2:
            cut = made.get(half.id)
            if literal(dim) not in (-1, len(half.shape) - 1) or not isinstance(cut, Op) or not takes_first_half(cut):
                return None
            spread = True
            ops += [node, cut]
            operand = cut.args[0]
    found = _without_heads_axis(made, operand)
    if found is None or not isinstance(operand, Value):
        return None
    axis = made[operand.id]
    assert isinstance(axis, Op)
    return found[0], [*ops, axis], spread, found[1]


def _without_heads_axis(made: dict[int, Node], operand: Operand) -> tuple[Value, int] | None:
    """The table [B, T, H] of `table.unsqueeze(1)`, or `table[:, None]`, and the new axis, 1 or 2."""
    if not isinstance(operand, Value):
        return None
    match made.get(operand.id):
        case Op("unsqueeze", (Value() as table, dim)) if len(table.shape) == 3:
            axis = literal(dim)
            return (table, axis) if isinstance(axis, int) and axis in (1, 2) else None
        case Op("getitem", (Value() as table, tuple() as index)) if len(table.shape) == 3 and index.count(None) == 1:
            rest = [item for item in index if item is not None]
            axis = index.index(None)
            return (table, axis) if axis in (1, 2) and all(item == EVERYTHING for item in rest) else None
        case _:
            return None


def _fill(flow: Flow, root: Place, table: _Table) -> bool:
    """Note all makers of a table; whether each of them and every use can change."""
    if len(table.uses) != 1:
        return False
    (use,) = table.uses
    between = {(id(region), op.results[0].id) for region, op, _ in table.between}
    if any((id(region), node.results[0].id) not in between for region, node in flow.uses(root)):
        return False
    if not all(_only_turns(region, op.results[0], between) for region, op, _ in table.between):
        return False
    inside = set(flow.members[root])
    for region, node in flow.makers(root):
        last = next(r for r in node.results if (id(region), r.id) in inside)
        chain = _chain(region, last)
        if chain is None or (chain.function, chain.pairing) != (use.function, use.doubled):
            return False
        table.chains.append((region, chain))
    return bool(table.chains)


def _only_turns(region: Region, value: Value, between: set[tuple[int, int]]) -> bool:
    """Whether a value is a table of raised rotations, or on the way to one, and nothing else."""
    if any(v.id == value.id for v in values_in(region.results)):
        return False
    for node in region.nodes:
        if not any(v.id == value.id for v in values_in(operands_of(node))):
            continue
        if (id(region), node.results[0].id) in between:
            continue
        if not isinstance(node, Raised) or not isinstance(node.component, Rotary) or node.args[0] == value:
            return False
    return True


def _chain(region: Region, last: Value) -> _Chain | None:
    """From a table up to the doubling of its angles."""
    made = {r.id: n for n in region.nodes for r in n.results}
    values = [last]
    while True:
        match made.get(values[-1].id):
            case Op("cast", (Value() as inner, _)):
                values.append(inner)
            case Op("mul", (Value() as inner, Number())) | Op("mul", (Number(), Value() as inner)):
                values.append(inner)
            case Op("cos" | "sin" as function, (Value() as angles,)):
                values.append(angles)
                break
            case _:
                return None
    match made.get(values[-1].id):
        case Op("cat", ((Value() as a, Value() as b), dim)) as doubling if a == b and literal(dim) in (-1, 2):
            pairing = Pairing.HALVES
        case Op("repeat_interleave", (Value() as a, times, dim)) as doubling if literal(times) == 2 and literal(
            dim
        ) in (-1, 2):
            pairing = Pairing.NEIGHBOURS
        case _:
            return None
    return _Chain(doubling, pairing, function, tuple(values)) if len(a.shape) == 3 else None


def _doubled(doubling: Op) -> Value:
    first = doubling.args[0]
    angles = first[0] if isinstance(first, tuple) else first
    assert isinstance(angles, Value)
    return angles


def _angles_shared(flow: Flow, table: _Table, good: dict[Place, _Table]) -> bool:
    """Whether all that is done with the doubled angles, and on the way from there, belongs to tables that change."""
    changing = {(id(region), v.id) for other in good.values() for region, chain in other.chains for v in chain.values}
    for region, chain in table.chains:
        inner = {v.id for v in chain.values[1:]}
        for node in region.nodes:
            if any(v.id in inner for v in values_in(operands_of(node))):
                if not isinstance(node, (Op, Raised)) or (id(region), node.results[0].id) not in changing:
                    return False
        if any(v.id in inner for v in values_in(region.results)):
            return False
    return True


# ------------------------------------------------------------------------------------------------ outer products


def _outer_products(top: Region) -> Region:
    """`(freq[None, :, None] @ positions[:, None, :]).transpose(1, 2)` and `positions[..., None] * freq`, each with an axis
    of heads added, as one product.
    """

    def visit(region: Region) -> Region:
        made = {r.id: n for n in region.nodes for r in n.results}
        fresh = 1 + max((v.id for v in _every(region)), default=-1)
        nodes: list[Node] = []
        for n in region.nodes:
            found = _outer(made, n)
            if found is None:
                nodes.append(n)
                continue
            positions, frequencies, axis = found
            column = (*_with_heads(positions.shape, axis), Const(1))
            index = (EVERYTHING, None, EVERYTHING, None) if axis == 1 else (EVERYTHING, EVERYTHING, None, None)
            spread = Value(fresh, column, positions.dtype)
            wide = Value(fresh + 1, column, DType.FLOAT32)
            fresh += 2
            nodes.append(Op("getitem", (positions, index), (spread,), n.span))
            if positions.dtype is not DType.FLOAT32:
                nodes.append(Op("cast", (spread, DType.FLOAT32), (wide,), n.span))
            else:
                wide = spread
            result = replace(n.results[0], names=("angles",))
            nodes.append(Op("mul", (wide, frequencies), (result,), n.span))
        return pruned(renamed(replace(region, nodes=tuple(nodes)))) if nodes != list(region.nodes) else region

    done: dict[int, tuple[Region, Region]] = {}

    def deep(region: Region) -> Region:
        if id(region) not in done:
            nodes: list[Node] = []
            for n in region.nodes:
                match n:
                    case Call(region=inner):
                        nodes.append(replace(n, region=deep(inner)))
                    case Loop(bodies=bodies):
                        nodes.append(replace(n, bodies=tuple(deep(body) for body in bodies)))
                    case _:
                        nodes.append(n)
            done[id(region)] = (region, visit(replace(region, nodes=tuple(nodes))))
        return done[id(region)][1]

    return deep(top)


def _every(region: Region) -> Iterator[Value]:
    yield from (p for p in region.params if isinstance(p, Value))
    yield from (r for n in region.nodes for r in n.results)


def _outer(made: dict[int, Node], node: Node) -> tuple[Value, Value, int] | None:
    """Positions [B, T] and frequencies [H] of angles [B, 1, T, H] that are their products, and the axis of heads."""
    match node:
        case Op("unsqueeze", (Value() as angles, dim), _) if isinstance(axis := literal(dim), int) and axis in (1, 2):
            pass
        case _:
            return None
    match made.get(angles.id):
        case Op("mul", (Value() as column, Value() as frequencies)) if len(frequencies.shape) == 1:
            positions = _column(made, column, (Ellipsis_(), None), 2) or _column(
                made, column, (EVERYTHING, EVERYTHING, None), 2
            )
            return None if positions is None else (positions, frequencies, axis)
        case Op("transpose", (Value() as product, a, b)) if {literal(a), literal(b)} == {1, 2}:
            pass
        case _:
            return None
    match made.get(product.id):
        case Op("matmul", (Value() as left, Value() as right)):
            wide = _column(made, left, (None, EVERYTHING, None), 1)
            positions = _column(made, right, (EVERYTHING, None, EVERYTHING), 2)
            return None if wide is None or positions is None else (positions, wide, axis)
        case _:
            return None


def _column(made: dict[int, Node], value: Value, index: tuple[Operand, ...], rank: int) -> Value | None:
    """What `value` was before axes were added and its type changed to float32."""
    while True:
        match made.get(value.id):
            case Op("cast", (Value() as inner, DType.FLOAT32)):
                value = inner
            case Op("expand", (Value() as inner, _)):
                value = inner
            case Op("getitem", (Value() as inner, items)) if items == index and len(inner.shape) == rank:
                return inner
            case _:
                return None
