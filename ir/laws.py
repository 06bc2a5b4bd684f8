"""What holds of every region, before and after raising.

Values are made before they are used, and once. A call passes what its region takes and receives what it gives; a loop's
bodies take what it carries and give it back. Operations are of the vocabulary, with as many arguments as they have there.
Frames agree on the types of what passes between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ir.graph import (
    Branch,
    Call,
    Loop,
    Op,
    Operand,
    Raised,
    Region,
    Scan,
    Value,
    operands_of,
    values_in,
)
from ir.ops import OPS

EFFECTS = frozenset(
    {"parameter", "cache_update", "last_only", "state_read", "state_write", "state_extend", "state_append"}
)
"""Operations of the surroundings, which the vocabulary of tensors does not hold."""


def broken(region: Region) -> tuple[str, ...]:
    """Every law that a region or one that it calls breaks, as a sentence; empty where all is well."""
    return tuple(dict.fromkeys(_broken(region, set())))


def _broken(region: Region, seen: set[int]) -> Iterator[str]:
    if id(region) in seen:
        return
    seen.add(id(region))
    known: dict[int, Value] = {}
    for param in region.params:
        if isinstance(param, Value):
            yield from _made(region, param, known)
    for node in region.nodes:
        for value in values_in(operands_of(node)):
            if value.id not in known:
                yield f"`{region.name}` uses %{value.id} before it is made"
            elif known[value.id] != value:
                yield f"`{region.name}` uses %{value.id} as something else than it was made"
        match node:
            case Op():
                yield from _operation(region, node)
            case Call():
                yield from _passed(node.region, node.args, node.region.params)
                yield from _passed(node.region, node.results, node.region.results)
                yield from _broken(node.region, seen)
            case Loop():
                yield from _loop(node)
                for body in node.bodies:
                    yield from _broken(body, seen)
            case Scan():
                yield from _scan(node)
                yield from _broken(node.body, seen)
            case Branch():
                for arm in (node.then, node.otherwise):
                    yield from _passed(arm, node.args, arm.params)
                    yield from _passed(arm, node.results, arm.results)
                    yield from _broken(arm, seen)
            case Raised():
                pass
        for result in node.results:
            yield from _made(region, result, known)
    for value in values_in(region.results):
        if value.id not in known:
            yield f"`{region.name}` gives %{value.id}, which nothing makes"


def _made(region: Region, value: Value, known: dict[int, Value]) -> Iterator[str]:
    if value.id in known:
        yield f"`{region.name}` makes %{value.id} twice"
    known[value.id] = value


def _operation(region: Region, node: Op) -> Iterator[str]:
    if node.name in EFFECTS:
        return
    signature = OPS.get(node.name)
    if signature is None:
        yield f"`{region.name}` uses the unknown operation `{node.name}`"
    elif len(node.args) != len(signature.params):
        yield f"`{node.name}` in `{region.name}` has {len(node.args)} arguments, not {len(signature.params)}"


def _passed(region: Region, outer: Sequence[Operand], inner: Sequence[Operand]) -> Iterator[str]:
    if len(outer) != len(inner):
        yield f"`{region.name}` is passed {len(outer)} operands where it has {len(inner)}"
        return
    for a, b in zip(outer, inner, strict=True):
        if isinstance(a, Value) and isinstance(b, Value) and (a.dtype is not b.dtype or len(a.shape) != len(b.shape)):
            yield f"`{region.name}` and its caller differ about %{b.id}"
        if isinstance(a, Value) is not isinstance(b, Value):
            yield f"`{region.name}` has a tensor where its caller has none, or the other way round"


def _loop(node: Loop) -> Iterator[str]:
    if len(node.bodies) != len(node.varying) or any(kind >= len(node.bodies) for kind in node.kinds):
        yield f"the loop over `{node.container}` has kinds without a body"
        return
    for body, varying in zip(node.bodies, node.varying, strict=True):
        filled = [param if arg is None else arg for arg, param in zip(node.carried, body.params, strict=False)]
        yield from _passed(body, (*filled, *node.invariant, *varying), body.params)
        yield from _passed(body, node.results, body.results)
    empty = {at for at, arg in enumerate(node.carried) if arg is None}
    for kind in node.kinds:
        body = node.bodies[kind]
        read = {v.id for n in body.nodes for v in values_in(operands_of(n))}
        for at in sorted(empty):
            param, result = body.params[at], body.results[at]
            if isinstance(param, Value) and param.id in read:
                yield f"the loop over `{node.container}` reads what no iteration before has made"
            if result != param:
                empty = empty - {at}


def _scan(node: Scan) -> Iterator[str]:
    sliced = len(node.axes)
    if len(node.args) != len(node.body.params) or len(node.results) != len(node.body.results):
        yield f"the loop over time in `{node.body.name}` and its body differ in what they take or give"
    elif len(node.results) != node.carries + len(node.stacked) or len(node.args) < node.carries + sliced:
        yield f"the loop over time in `{node.body.name}` has a wrong number of axes"
    else:
        yield from _passed(node.body, node.args[: node.carries], node.body.params[: node.carries])
        yield from _passed(node.body, node.results[: node.carries], node.body.results[: node.carries])
