"""Lists of layers that run more than once, or several of them, or layers of several attentions: which part of the cache
each takes.

A cache that is passed on as a value is a list in the order of the runs: each takes the first entries and puts them back at the
end, so that a whole forward pass leaves the list in order. The slots of one layer take turns in the same way. This holds
where the source numbers its slots in the order of use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from codegen.diagnostics import CompileError, Diagnostic
from codegen.lowering.functions import keeps_state
from codegen.lowering.instances import absolute
from ir.expressions import Const, Environment, Expr, Index, evaluate, leaves
from ir.graph import Branch, Call, Loop, ModuleTarget, Number, Op, Raised, Region, Scan, Value, within


def runs(region: Region, owner: str = "") -> Iterator[tuple[str, Loop]]:
    """Every run of a list of layers that keep something, with the path of the list, in the order of execution."""
    for node in region.nodes:
        match node:
            case Call(ModuleTarget(path), inner):
                yield from runs(inner, absolute(path, owner))
            case Call(region=inner):
                yield from runs(inner, owner)
            case Loop(container=container, bodies=bodies):
                if any(keeps_state(body) for body in bodies):
                    yield absolute(container, owner), node
            case _:
                for inner in within(node) if not isinstance(node, Op) else ():
                    yield from runs(inner, owner)


def check(found: list[tuple[str, Loop]], resolved: Mapping[str, object]) -> None:
    """
    Raises:
        CompileError: `cache-order`, the slots are not taken one after the other.
    """
    taken = [slot for _, loop in found for slot in _slots_of(loop, resolved)]
    if taken != list(range(len(taken))):
        message = f"the slots of the cache are not taken one after the other: {taken[:12]}"
        raise CompileError(Diagnostic("cache-order", message))


def slots_per_layer(found: list[tuple[str, Loop]], resolved: Mapping[str, object]) -> int:
    """How many slots every layer takes.

    Raises:
        CompileError: `cache-order`, the layers do not take equally many, or not one after the other.
    """
    if all(len(set(_updates(body))) < 2 for _, loop in found for body in loop.bodies):
        return 1
    counts = [len(list(_updates(loop.bodies[kind]))) for _, loop in found for kind in loop.kinds]
    if len(set(counts)) > 1:
        message = f"some layers keep the keys and values of more attentions than others: {counts[:12]}"
        raise CompileError(Diagnostic("cache-order", message))
    check(found, resolved)
    return counts[0]


def _updates(body: Region) -> Iterator[Expr]:
    yield from (slot for _, slot in updates(body))


def _slots_of(loop: Loop, resolved: Mapping[str, object]) -> Iterator[object]:
    for index, kind in enumerate(loop.kinds):
        for expr in dict.fromkeys(slot for _, slot in updates(loop.bodies[kind])):
            indices = {leaf.name: index for leaf in leaves(expr) if isinstance(leaf, Index)}
            try:
                yield evaluate(expr, Environment(config=resolved, indices=indices))
            except (KeyError, IndexError, TypeError, ValueError, ArithmeticError):
                yield None


def updates(region: Region) -> Iterator[tuple[tuple[Expr, Expr, Expr], Expr]]:
    """Heads, key size and value size of every cache update, with the slot that it goes to; None where that is no number."""
    for node in region.nodes:
        match node:
            case Op("cache_update", (Value(shape=key), Value(shape=value), slot)):
                expr = slot.expr if isinstance(slot, Number) else Const(None)
                yield (key[1], key[3], value[3]), expr
            case Op() | Raised():
                pass
            case Call(region=inner):
                yield from updates(inner)
            case Loop(bodies=bodies):
                for body in bodies:
                    yield from updates(body)
            case Scan() | Branch():
                for inner in within(node):
                    yield from updates(inner)
