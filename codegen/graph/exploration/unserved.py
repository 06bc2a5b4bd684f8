"""What is seen early of a configuration that is not served in the end: the rest need not be looked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from codegen.graph.exploration.conditions import needs_reading
from codegen.graph.exploration.lifting import Unclear
from codegen.graph.predicates import Kind, Predicate
from ir.expressions import Expr, Key, Raw, leaves
from ir.reading import Json, lookup

if TYPE_CHECKING:
    from codegen.graph.exploration.exploring import Explorer


class Unserved(Exception):
    """What was explored refuses the configuration that it is to serve; why."""


def require_values(explorer: Explorer, keys: Iterable[Key], asked: Iterable[Predicate]) -> None:
    """That an expression gives each attribute, and what the model's code asked of whole objects. Where none does for the
    configuration itself, the reading ends in a refusal for it: no choice that is found later is on its way. Types are not
    asked for: what reads a configuration has its own check of them.

    Raises:
        Unserved: of the first for which there is no expression.
    """
    resolved = explorer.runs.base.resolved
    objects = [
        p.expr
        for p in asked
        if p.kind not in (Kind.LAYER, Kind.KINDS, Kind.TYPE) and _over_keys(p.expr) and needs_reading(p.expr, resolved)
    ]
    for target in [*keys, *objects]:
        try:
            explorer.lifted(target, explorer.runs.base)
        except Unclear as error:
            raise Unserved(str(error)) from None


def _over_keys(expr: Expr) -> bool:
    return bool(leaves(expr)) and not any(isinstance(leaf, Raw) for leaf in leaves(expr))


def require_unpinned(explorer: Explorer, given: Mapping[str, Json]) -> None:
    """That a key which was not followed is in `given` as it is in what is explored: such keys are frozen, come what may.

    Raises:
        Unserved: one is not.
    """
    runs = explorer.runs
    for path in explorer.pinned:
        if lookup(runs.filled(given), path) != lookup(runs.raw, path):
            raise Unserved(f"{'.'.join(map(str, path))} is {lookup(given, path)!r}")
