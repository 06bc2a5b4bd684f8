"""What a trace took for granted: every branch on a value that the configuration or the input decides."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from codegen.graph.notes import Noting
from codegen.graph.objects import per_layer
from ir.expressions import Environment, Expr, Plain, evaluate, substitute
from ir.records import dataclass, replace
from ir.spans import Span


class Kind(Enum):
    """What follows when a predicate does not hold for another configuration."""

    __hash__ = object.__hash__  # each is there once; that of Enum is written in Python

    STRUCTURE = "structure"  # another program: refuse
    GUARD = "guard"  # the source itself raises: a check
    PRESENCE = "presence"  # a key that is there or not: refuse
    KEY = "key"  # a choice out of a registry: refuse
    COUNT = "count"  # how often something is repeated: free
    KINDS = "kinds"  # of layers, by all that is asked of them together: `value` are those that there are, others are refused
    LAYER = "layer"  # decided for each layer by its index: free as long as the kinds of layers are known
    TIE = "tie"  # tied weights: free
    TYPE = "type"  # the type of a value in the configuration: refuse
    AGREEMENT = "agreement"  # sizes that an operation needs to be equal: a check
    HELPER = "helper"  # inside a helper of the library: refuse, unless it asks how an object is written


@dataclass(frozen=True, slots=True)
class Predicate:
    """`expr` had the value `value`; `function` is where it was asked.

    `default` is what an attribute that is not there stood for, so that one that is there with this value changes nothing.
    """

    kind: Kind
    expr: Expr
    value: Plain
    span: Span | None
    function: str = ""
    stage: int = 2
    default: Expr | None = None

    def holds(self, env: Environment) -> bool:
        """Whether another configuration gives the same value; an expression that cannot be computed there does not hold."""
        try:
            return evaluate(self.expr, env) == self.value
        except (KeyError, IndexError, TypeError, ValueError, ArithmeticError):
            return False


Noted = tuple[Kind, Expr, Plain, Span | None, str, int, Expr | None]


class Predicates(Noting[Noted]):
    """A growing list without repetitions."""

    def __init__(self) -> None:
        self._found: dict[tuple[Kind, Expr, Plain, type, Span | None], Predicate] = {}

    def add(
        self,
        kind: Kind,
        expr: Expr,
        value: Plain,
        span: Span | None,
        function: str,
        stage: int,
        default: Expr | None = None,
    ) -> None:
        self.log((kind, expr, value, span, function, stage, default))
        if per_layer(expr) and kind is not Kind.COUNT:
            kind = Kind.LAYER
        place = span if kind is Kind.COUNT else None  # what is repeated there is as often there
        key = (kind, expr, value, type(value), place)
        known = self._found.get(key)
        if known is None:
            self._found[key] = Predicate(kind, expr, value, span, function, stage, default)
        elif known.default != default and known.default is not None:  # it stands for several things
            self._found[key] = replace(known, default=None)

    def substitute(self, replacements: Mapping[Expr, Expr]) -> None:
        """Put other expressions in the place of some, all through."""
        found, self._found = self.all(), {}
        for p in found:
            self.add(p.kind, substitute(p.expr, replacements), p.value, p.span, p.function, p.stage, p.default)

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._found.values())

    def __len__(self) -> int:
        return len(self._found)

    def copy(self) -> Predicates:
        same = Predicates()
        same._found = dict(self._found)
        return same

    def all(self) -> tuple[Predicate, ...]:
        return tuple(self._found.values())
