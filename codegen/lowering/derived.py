"""The size of a head, where the configuration has no word for it: `width // heads` is called `head_dim` all through the code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from ir.arch import Attention
from ir.expressions import Apply, Const, Dim, Environment, Expr, Index, Key, Local, Raw, evaluate, substitute
from ir.graph import Call, Loop, Node, Raised, Region, Value, within
from ir.records import dataclass, fields, is_dataclass, replace
from ir.spans import Span

NAME = "head_dim"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Derived:
    """A number that follows from others of the configuration: `key` stands for `expr`."""

    key: Key
    expr: Expr

    @property
    def name(self) -> str:
        return str(self.key.path[-1])

    def original(self, expr: Expr) -> Expr:
        """`expr` over what the configuration itself has."""
        return substitute(expr, {self.key: self.expr})


def head_size(region: Region, resolved: Mapping[str, object]) -> Derived | None:
    """The size of the heads of all attention below `region`, if it is a quotient and nothing is called as it would be."""
    found = {q.shape[-1] for node in _nodes(region, set()) if isinstance(q := _query(node), Value)}
    match list(found):
        case [Apply("//", (Key(width), Key(heads))) as expr] if width[:-1] == heads[:-1]:
            pass
        case _:
            return None
    held: Any = resolved
    for step in width[:-1]:
        held = held[step] if isinstance(held, Mapping) else {}
    exact = evaluate(Apply("%", expr.args), Environment(config=resolved)) == 0
    if not exact or not isinstance(held, Mapping) or NAME in held or NAME in resolved:
        return None
    return Derived(Key((*width[:-1], NAME)), expr)


def with_values(resolved: Mapping[str, object], derived: Derived) -> dict[str, object]:
    """The configuration with the derived number among its own."""
    out = dict(resolved)
    inner = out
    for step in derived.key.path[:-1]:
        inner[str(step)] = copied = dict(inner[str(step)])  # type: ignore[call-overload]
        inner = copied
    inner[derived.name] = evaluate(derived.expr, Environment(config=resolved))
    return out


def renamed(thing: T, derived: Derived) -> T:
    """`thing`, an IR of any kind, with the derived key where its expression stands. What is shared stays shared."""
    return _Renaming(derived).of(thing)  # type: ignore[no-any-return]


class _Renaming:
    def __init__(self, derived: Derived):
        self.key, self.quotient = derived.key, derived.expr
        assert isinstance(derived.expr, Apply)
        self.width, self.heads = derived.expr.args
        self.known: dict[int, tuple[object, object]] = {}  # by identity; the first keeps it alive
        self.exprs: dict[Expr, Expr] = {}

    def of(self, thing: Any) -> Any:
        match thing:
            case Apply() | Const() | Key() | Dim() | Index() | Local() | Raw():
                return self.expr(thing)
            case tuple():
                made = tuple(self.of(item) for item in thing)
                return made if any(a is not b for a, b in zip(made, thing, strict=True)) else thing
            case Span():
                return thing
        if not is_dataclass(thing) or isinstance(thing, type):
            return thing
        if id(thing) not in self.known:
            held = {field.name: getattr(thing, field.name) for field in fields(thing)}
            changed = {name: new for name, old in held.items() if (new := self.of(old)) is not old}
            self.known[id(thing)] = thing, replace(thing, **changed) if changed else thing
        return self.known[id(thing)][1]

    def expr(self, expr: Expr) -> Expr:
        if not isinstance(expr, Apply):
            return expr
        if expr not in self.exprs:
            self.exprs[expr] = self.shorter(expr)
        made = self.exprs[expr]
        return expr if made == expr else made

    def shorter(self, expr: Apply) -> Expr:
        """The heads divide the width, so that heads of this size fill it: the configuration is asked for that."""
        if expr == self.quotient:
            return self.key
        match Apply(expr.op, tuple(map(self.expr, expr.args))):
            case Apply("//", (self.width, self.key)):
                return self.heads
            case Apply("*", (self.heads, self.key) | (self.key, self.heads)):
                return self.width
            case made:
                return made


def _nodes(region: Region, seen: set[int]) -> Iterator[Node]:
    if id(region) in seen:
        return
    seen.add(id(region))
    for node in region.nodes:
        yield node
        inner = (node.region,) if isinstance(node, Call) else node.bodies if isinstance(node, Loop) else within(node)
        for body in inner:
            yield from _nodes(body, seen)


def _query(node: Node) -> object:
    return node.args[0] if isinstance(node, Raised) and isinstance(node.component, Attention) else None
