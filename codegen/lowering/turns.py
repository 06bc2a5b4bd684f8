"""Lists of layers that run more than once, or several of them, or layers of several attentions: which part of the cache
each takes.

A cache that is passed on as a value is a list in the order of the runs: each takes the first entries and puts them back at the
end, so that a whole forward pass leaves the list in order. The slots of one layer take turns in the same way. This holds
where the source numbers its slots in the order of use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from codegen.diagnostics import CompileError, Diagnostic
from codegen.lowering.functions import keeps_state
from codegen.lowering.instances import absolute, at_item, lists_beside, modules_around
from ir.expressions import Const, Environment, Expr, Index, evaluate, index_name, leaves, places
from ir.graph import SLOTS, Branch, Call, Loop, ModuleTarget, Number, Op, Raised, Region, Scan, Value, within
from ir.records import dataclass


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


def nested(region: Region, inside: bool = False) -> Iterator[Loop]:
    """The loops over layers that keep something which are inside another loop over modules."""
    for node in region.nodes:
        match node:
            case Loop(bodies=bodies):
                if inside and any(keeps_state(body) for body in bodies):
                    yield node
                for body in bodies:
                    yield from nested(body, True)
            case Call(region=inner):
                yield from nested(inner, inside)
            case Op() | Raised():
                pass
            case _:
                for inner in within(node):
                    yield from nested(inner, inside)


LAYER = index_name(0)


@dataclass(frozen=True, slots=True)
class Alone:
    """A module that runs outside of loops over modules, and keeps what one layer keeps, in a slot of the cache."""

    path: str
    slot: object


def alone(region: Region, resolved: Mapping[str, object], owner: str = "") -> Iterator[Alone | Loop]:
    """The modules that take a slot of the cache, and the loops over modules that do, in the order of execution.

    Raises:
        CompileError: `cache-order`, a method takes several slots itself.
    """
    for node in region.nodes:
        match node:
            case Call(ModuleTarget(path), inner):
                where = absolute(path, owner)
                slots = {*_slots_below(inner, where, resolved)}
                if len(slots) == 1 and next(runs(inner), None) is None:
                    yield Alone(where, slots.pop())
                elif slots:
                    yield from alone(inner, resolved, where)
            case Call(region=inner):
                yield from alone(inner, resolved, owner)
            case Loop(bodies=bodies):
                if any(keeps_state(body) for body in bodies):
                    yield node
            case Op(name) if name in SLOTS:
                message = "a method keeps what several layers keep, and is no layer itself"
                raise CompileError(Diagnostic("cache-order", message))
            case Op() | Raised():
                pass
            case _:
                for inner in within(node):
                    yield from alone(inner, resolved, owner)


def _slots_below(region: Region, owner: str, resolved: Mapping[str, object]) -> Iterator[object]:
    """The slots that are taken below a module, by their numbers; None where that is not known."""
    for node in region.nodes:
        match node:
            case Op(name, args):
                if name in SLOTS:
                    slot = args[SLOTS[name]]
                    yield _number(slot.expr if isinstance(slot, Number) else Const(None), places(owner), resolved)
            case Call(ModuleTarget(path), inner):
                yield from _slots_below(inner, absolute(path, owner), resolved)
            case Call(region=inner):
                yield from _slots_below(inner, owner, resolved)
            case Loop(container, bodies, kinds):
                for index, kind in enumerate(kinds):
                    yield from _slots_below(at_item(bodies[kind], container, index), owner, resolved)
            case Raised():
                pass
            case _:
                for inner in within(node):
                    yield from _slots_below(inner, owner, resolved)


def check_states(region: Region, resolved: Mapping[str, object]) -> None:
    """
    Raises:
        CompileError: `cache-order`, several layers keep something in one and the same place.
    """
    owners: dict[tuple[object, object], str] = {}
    for place, owner in _states_below(region, "", resolved):
        if owners.setdefault(place, owner) != owner:
            message = f"`{owners[place]}` and `{owner}` keep something in the same place"
            raise CompileError(Diagnostic("cache-order", message))


def _states_below(
    region: Region, owner: str, resolved: Mapping[str, object]
) -> Iterator[tuple[tuple[object, object], str]]:
    """What is written for the next call below a module, in a place that the number of the layer says: its name and place, and the
    module that writes it."""
    for node in region.nodes:
        match node:
            case Op("state_write" | "state_append" | "state_extend", (Number(Const(name)), Number(expr), *_)) if (
                _asks_where(expr)
            ):
                yield (name, _number(expr, places(owner), resolved)), owner
            case Call(ModuleTarget(path), inner):
                yield from _states_below(inner, absolute(path, owner), resolved)
            case Call(region=inner):
                yield from _states_below(inner, owner, resolved)
            case Loop(container, bodies, kinds):
                for index, kind in enumerate(kinds):
                    yield from _states_below(at_item(bodies[kind], container, index), owner, resolved)
            case Op() | Raised():
                pass
            case _:
                for inner in within(node):
                    yield from _states_below(inner, owner, resolved)


def _asks_where(expr: Expr) -> bool:
    return any(isinstance(leaf, Index) for leaf in leaves(expr))


def _number(expr: Expr, indices: Mapping[str, int], resolved: Mapping[str, object]) -> object:
    """An expression over the configuration and the numbers of the items of lists that something is in; None where it has no
    value."""
    try:
        return evaluate(expr, Environment(config=resolved, indices=indices))
    except (KeyError, IndexError, TypeError, ValueError, ArithmeticError):
        return None


def slots_of_all(steps: Iterable[Alone | Loop], resolved: Mapping[str, object], *, alike: bool) -> int:
    """How many slots are taken in all; `alike`: these are of one form, so that any order will do.

    Raises:
        CompileError: `cache-order`, a slot is taken twice, or out of order.
    """
    taken: list[object] = []
    for step in steps:
        taken += [step.slot] if isinstance(step, Alone) else _slots_of(step, resolved)
    if (sorted(taken, key=repr) if alike else taken) != sorted(range(len(taken)), key=repr if alike else int):
        message = f"the slots of the cache are not taken one after the other: {taken[:12]}"
        raise CompileError(Diagnostic("cache-order", message))
    return len(taken)


def used_alone(region: Region, owner: str = "") -> Iterator[str]:
    """The paths of modules and parameters that are used by themselves, not as the items of a list that a loop goes through,
    and of what these are in."""
    for node in region.nodes:
        match node:
            case Call(ModuleTarget(path), inner):
                yield absolute(path, owner)
                yield from (around for around in modules_around(absolute(path, owner)) if len(around) > len(owner))
                yield from used_alone(inner, absolute(path, owner))
            case Call(region=inner):
                yield from used_alone(inner, owner)
            case Op("parameter", (Number(Const(str() as path)),)):
                yield absolute(path, owner)
            case Loop(container=container, bodies=bodies):
                items = {f"{absolute(path, owner)}.0" for path in (container, *lists_beside(node))}
                inside = (path for body in bodies for path in used_alone(at_item(body, container, 0), owner))
                yield from (path for path in inside if path not in items)
            case _:
                for inner in within(node) if not isinstance(node, (Op, Raised)) else ():
                    yield from used_alone(inner, owner)


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
            yield _number(expr, {LAYER: index, loop.index: index}, resolved)


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
