"""What must hold of other configurations, so that the compiled code is theirs as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from codegen.graph.exploration.expressions import is_scalar
from codegen.graph.exploration.running import ConfigurationClass
from codegen.graph.exploration.variants import changed, key_at
from codegen.graph.predicates import Kind, Predicate
from codegen.graph.registry import equivalents
from ir.expressions import Apply, Const, Expr, Key, Raw, indexed_lists, leaves, substitute
from ir.reading import INERT, Choice, Condition, Json, Path, Reading, lookup, value

if TYPE_CHECKING:
    from codegen.graph.exploration.exploring import Explorer


def _goes_without_saying(expr: Expr) -> bool:
    """Whether an expression compares a number with itself and a constant, or asks if one that counts something and one are none."""
    match expr:
        case Apply("<" | "<=" | ">" | ">=" | "==" | "!=", (Apply("+" | "-", (left, Const())), right)):
            return left == right
        case Apply("bool", (Apply("+", (Key(), Const(int() as more))),)):
            return more > 0
    return False


FREE = frozenset({Kind.COUNT, Kind.TIE})


def is_free(predicate: Predicate, resolved: Mapping[str, Json]) -> bool:
    """Whether another answer changes nothing in the program; within a helper of the library, what is asked of whole objects
    is how they are written."""
    if predicate.kind is not Kind.HELPER:
        return predicate.kind in FREE
    paths = [leaf.path for leaf in leaves(predicate.expr) if isinstance(leaf, Key)]
    if not paths or _goes_without_saying(predicate.expr):
        return True
    return any(
        isinstance(lookup(resolved, path), (Mapping, list, tuple))
        or path[-1] in INERT
        or any(isinstance(step, int) for step in path)  # of layers, which are known by their kinds
        for path in paths
    )


def conditions_of(explorer: Explorer, predicate: Predicate) -> list[Condition]:
    """What must hold of other configurations for a predicate of the model's code."""
    if predicate.kind is Kind.LAYER:
        return _of_layers(explorer, predicate)
    if predicate.kind is Kind.KINDS:
        return [Condition("kinds", predicate.expr, predicate.value)]
    expr, wanted = predicate.expr, predicate.value
    if predicate.kind is Kind.TYPE and isinstance(expr, Apply) and expr.op == "type" and wanted in ("int", "float"):
        inner = Apply("in", (expr, Apply("list", (Const("int"), Const("float")))))
        expr, wanted = inner, True
    if not leaves(expr):
        return []
    if any(isinstance(leaf, Raw) for leaf in leaves(expr)):  # an attribute that the library keeps for itself
        return [Condition(predicate.kind.value, expr, wanted, expr)]
    if not needs_reading(expr, explorer.runs.base.resolved):
        return [Condition(predicate.kind.value, expr, wanted)]
    reading = explorer.reading(expr)
    if predicate.default is not None and (given := _given(explorer, reading, predicate.default)) is not None:
        return [Condition("default", Apply("==", (given, predicate.default)), True)]
    if isinstance(reading, Const) and reading.value == wanted:
        return []
    return [Condition(predicate.kind.value, expr, wanted, reading)]


def needs_reading(expr: Expr, resolved: Mapping[str, Json]) -> bool:
    """Whether the values of its keys do not say what an expression over the resolved configuration is."""
    return Key(()) in leaves(expr) or not is_scalar(expr, resolved)


def _given(explorer: Explorer, reading: Reading, default: Expr) -> Raw | None:
    """The key that is an attribute which is not there, if giving it what the attribute stands for changes nothing else."""
    match reading:
        case Choice(Apply("in", (Const(str() as name), Raw(path))), Const(True), Const(False)):
            runs = explorer.runs
            known: dict[Expr, Expr] = {
                key: Const(lookup(runs.base.resolved, key.path))  # type: ignore[arg-type]
                for key in leaves(default)
                if isinstance(key, Key)
            }
            variant = changed(runs.raw, (*path, name), value(substitute(default, known), {}))
            outcome = runs.outcome(variant) if variant is not None else None
            if outcome is None or outcome.failure is not None:
                return None
            return Raw((*path, name)) if _without(outcome.resolved, name, path) == runs.base.resolved else None
    return None


def _without(owner: Json, name: str, path: Path) -> Json:
    """An object without what it has under a name, in itself or in the object at a path."""
    if not isinstance(owner, Mapping):
        return owner
    if not path:
        return {key: item for key, item in owner.items() if key != name}
    return {key: _without(item, name, path[1:]) if key == path[0] else item for key, item in owner.items()}


def _of_layers(explorer: Explorer, predicate: Predicate) -> list[Condition]:
    """Elements of a list must be among those seen; other facts about a layer's index stay as they are."""
    lists = sorted(indexed_lists(predicate.expr), key=repr)
    found = []
    for key in lists:
        elements = lookup(explorer.runs.base.resolved, key.path)
        if isinstance(elements, (list, tuple)) and all(isinstance(item, (str, int, bool)) for item in elements):
            found.append(Condition("elements", key, tuple(dict.fromkeys(elements))))
        else:
            explorer.pinned[key_at(key.path, explorer.runs.base.resolved)] = None
    rest = [leaf for leaf in leaves(predicate.expr) if isinstance(leaf, Key) and leaf not in lists]
    for key in sorted(rest, key=repr):
        resolved = lookup(explorer.runs.base.resolved, key.path)
        if isinstance(resolved, (list, tuple)) and all(type(element) is int for element in resolved):
            found.append(Condition("layer", key, tuple(resolved)))  # numbers of layers
        elif isinstance(resolved, (Mapping, list, tuple)):
            explorer.pinned[key_at(key.path, explorer.runs.base.resolved)] = None
        else:
            found.append(Condition("layer", key, resolved))
    return found


def with_choices(cls: ConfigurationClass, conditions: Sequence[Condition]) -> list[Condition]:
    """Conditions on a name of a registry, where nothing else is asked of it, with the names that mean the same."""
    found = []
    for condition in conditions:
        others = [other for other in conditions if other is not condition and set(other.keys) & set(condition.keys)]
        if (
            condition.kind == Kind.KEY.value
            and isinstance(condition.expr, Key)
            and isinstance(condition.value, str)
            and not others
        ):
            names = equivalents(cls.interpreter.files, condition.value)
            if len(names) > 1:
                condition = Condition("choice", condition.expr, names)
        found.append(condition)
    return found
