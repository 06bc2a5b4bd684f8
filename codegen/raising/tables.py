"""Tables of cosines and sines, in the form that their use asks for.

The source holds every angle twice, so that a table is as wide as a head, and each layer adds the axis of the heads. Where
all that is done with a table is raised rotation, the axis is added once. For halves that turn together the first angle of
each pair is negated, which leaves cosines as they are and gives sines the sign that rotation needs; for neighbours one
angle for each pair is enough.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from codegen.raising.flow import Flow, Place, rewritten
from codegen.raising.view import literal, operands_of, pruned, values_in
from ir.arch import Pairing, Rotary, Tables
from ir.expressions import Const, Expr
from ir.graph import Call, DType, Ellipsis_, Loop, Node, Number, Op, Operand, Raised, Region, SliceOf, Value

EVERYTHING = SliceOf(None, None, None)
COS, SIN = 1, 2  # where a raised rotation takes its tables


@dataclass(frozen=True, slots=True)
class _Chain:
    """How one table is made in one region: the doubling of its angles, and the values from there on."""

    doubling: Op
    pairing: Pairing
    values: tuple[Value, ...]


@dataclass
class _Table:
    """Values of one root: what makes them, and where heads get their axis."""

    chains: list[tuple[Region, _Chain]] = field(default_factory=list)
    axes: list[tuple[Region, Op]] = field(default_factory=list)


def narrowed(top: Region) -> Region:
    """The program with tables in a form of ours where nothing else needs that of the source."""
    flow = Flow(top)
    tables = _convertible(flow)
    if not tables:
        return top
    values: dict[Place, tuple[Expr, ...]] = {}
    doublings: dict[Place, Pairing] = {}  # results of what doubles angles
    dropped: dict[Place, Value] = {}  # results of what adds the axis of heads -> the table
    for root, table in tables.items():
        region, chain = table.chains[0]
        angles = _doubled(chain.doubling)
        size = _table_of(chain.pairing, angles, chain.doubling.results[0])
        shape = (angles.shape[0], Const(1), angles.shape[1], size)
        values |= {place: shape for place in flow.members[root]}
        for region, chain in table.chains:
            values |= {(id(region), v.id): shape for v in chain.values}
            doublings[(id(region), chain.doubling.results[0].id)] = chain.pairing
        for region, op in table.axes:
            (source,) = values_in(op.args[:1])
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
            case Raised(Rotary(pairing), (_, Value() as cos, _)) if (id(region), cos.id) in dropped:
                form = Tables.SIGNED if pairing is Pairing.HALVES else Tables.HALF
                return (replace(n, component=Rotary(pairing, form)),)
            case _:
                return (n,)

    return _outer_products(rewritten(top, value, node))


def _table_of(pairing: Pairing, angles: Value, doubled: Value) -> Expr:
    return doubled.shape[-1] if pairing is Pairing.HALVES else angles.shape[-1]


def _angles(doubling: Op, pairing: Pairing, ids: Iterator[int]) -> tuple[Node, ...]:
    """The angles of a table, with the axis of heads."""
    angles = _doubled(doubling)
    one = Number(Const(1))
    if pairing is Pairing.NEIGHBOURS:
        return (Op("unsqueeze", (angles, one), doubling.results, doubling.span),)
    shape = (angles.shape[0], Const(1), *angles.shape[1:])
    wide = Value(next(ids), shape, angles.dtype, ("angles",))
    negated = Value(next(ids), shape, angles.dtype)
    last = Number(Const(-1))
    return (
        Op("unsqueeze", (angles, one), (wide,), doubling.span),
        Op("neg", (wide,), (negated,), doubling.span),
        Op("cat", ((negated, wide), last), doubling.results, doubling.span),
    )


def _convertible(flow: Flow) -> dict[Place, _Table]:
    """Tables that nothing but raised rotation needs, cosines and sines alike."""
    tables: dict[Place, _Table] = {}
    pairs: list[tuple[Place | None, Place | None]] = []
    pairings: dict[Place, set[Pairing]] = {}
    for region in flow.regions.values():
        made = {r.id: n for n in region.nodes for r in n.results}
        for node in region.nodes:
            if not isinstance(node, Raised) or not isinstance(node.component, Rotary):
                continue
            roots = []
            for at in (COS, SIN):
                source = _without_heads_axis(made, node.args[at])
                root = flow.root(region, source) if source is not None else None
                roots.append(root)
                if root is not None:
                    tables.setdefault(root, _Table())
                    pairings.setdefault(root, set()).add(node.component.pairing)
            pairs.append((roots[0], roots[1]))
    good = {root: table for root, table in tables.items() if _fill(flow, root, table, pairings[root])}
    changed = True
    while changed:
        bad = {r for pair in pairs if not all(r in good for r in pair) for r in pair if r in good}
        bad |= {r for r, table in good.items() if not _angles_shared(flow, table, good)}
        changed = bool(bad)
        good = {root: table for root, table in good.items() if root not in bad}
    return good


def _without_heads_axis(made: dict[int, Node], operand: Operand) -> Value | None:
    """The table [B, T, H] of `table.unsqueeze(1)` or `table[:, None]`."""
    if not isinstance(operand, Value):
        return None
    match made.get(operand.id):
        case Op("unsqueeze", (Value() as table, dim)) if literal(dim) == 1 and len(table.shape) == 3:
            return table
        case Op("getitem", (Value() as table, (first, None, *rest))) if len(table.shape) == 3:
            return table if all(item == EVERYTHING for item in (first, *rest)) else None
        case _:
            return None


def _fill(flow: Flow, root: Place, table: _Table, pairings: set[Pairing]) -> bool:
    """Note all makers and uses of a table; whether each is one that can change."""
    for region, node in flow.uses(root):
        made = {r.id: n for n in region.nodes for r in n.results}
        result = node.results[0]
        if not isinstance(node, Op) or _without_heads_axis(made, result) is None or not _only_turns(region, result):
            return False
        table.axes.append((region, node))
    inside = set(flow.members[root])
    for region, node in flow.makers(root):
        last = next(r for r in node.results if (id(region), r.id) in inside)
        chain = _chain(region, last)
        if chain is None or {chain.pairing} != pairings:
            return False
        table.chains.append((region, chain))
    return bool(table.chains)


def _only_turns(region: Region, value: Value) -> bool:
    """Whether a value is a table of raised rotations and nothing else."""
    if any(v.id == value.id for v in values_in(region.results)):
        return False
    for node in region.nodes:
        if not any(v.id == value.id for v in values_in(operands_of(node))):
            continue
        if not isinstance(node, Raised) or not isinstance(node.component, Rotary) or node.args[0] == value:
            return False
    return True


def _chain(region: Region, last: Value) -> _Chain | None:
    """From a table up to the doubling of its angles."""
    made = {r.id: n for n in region.nodes for r in n.results}
    values = [last]
    seen_function = False
    while True:
        node = made.get(values[-1].id)
        match node:
            case Op("cast", (Value() as inner, _)) if not seen_function:
                values.append(inner)
            case Op("mul", (Value() as inner, Number())) | Op("mul", (Number(), Value() as inner)) if not seen_function:
                values.append(inner)
            case Op("cos" | "sin", (Value() as inner,)) if not seen_function:
                seen_function = True
                values.append(inner)
            case Op("cat", ((Value() as a, Value() as b), dim)) if a == b and literal(dim) in (-1, 2) and seen_function:
                return _Chain(node, Pairing.HALVES, tuple(values)) if len(a.shape) == 3 else None
            case Op("repeat_interleave", (Value() as a, repeats, dim)) if literal(repeats) == 2 and literal(dim) in (
                -1,
                2,
            ):
                return _Chain(node, Pairing.NEIGHBOURS, tuple(values)) if seen_function and len(a.shape) == 3 else None
            case _:
                return None


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
                if isinstance(node, (Call, Loop)) or (id(region), node.results[0].id) not in changing:
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
            positions, frequencies = found
            B, T = positions.shape
            column = (B, Const(1), T, Const(1))
            spread = Value(fresh, column, positions.dtype)
            wide = Value(fresh + 1, column, DType.FLOAT32)
            fresh += 2
            nodes.append(Op("getitem", (positions, (EVERYTHING, None, EVERYTHING, None)), (spread,), n.span))
            if positions.dtype is not DType.FLOAT32:
                nodes.append(Op("cast", (spread, DType.FLOAT32), (wide,), n.span))
            else:
                wide = spread
            result = replace(n.results[0], names=("angles",))
            nodes.append(Op("mul", (wide, frequencies), (result,), n.span))
        return (
            pruned(replace(region, nodes=tuple(nodes)))
            if len(nodes) != len(region.nodes) or nodes != list(region.nodes)
            else region
        )

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


def _outer(made: dict[int, Node], node: Node) -> tuple[Value, Value] | None:
    """Positions [B, T] and frequencies [H] of angles [B, 1, T, H] that are their products."""
    match node:
        case Op("unsqueeze", (Value() as angles, dim), _) if literal(dim) == 1:
            pass
        case _:
            return None
    match made.get(angles.id):
        case Op("mul", (Value() as column, Value() as frequencies)) if len(frequencies.shape) == 1:
            positions = _column(made, column, (Ellipsis_(), None), 2) or _column(
                made, column, (EVERYTHING, EVERYTHING, None), 2
            )
            return None if positions is None else (positions, frequencies)
        case Op("transpose", (Value() as product, a, b)) if {literal(a), literal(b)} == {1, 2}:
            pass
        case _:
            return None
    match made.get(product.id):
        case Op("matmul", (Value() as left, Value() as right)):
            wide = _column(made, left, (None, EVERYTHING, None), 1)
            positions = _column(made, right, (EVERYTHING, None, EVERYTHING), 2)
            return None if wide is None or positions is None else (positions, wide)
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
