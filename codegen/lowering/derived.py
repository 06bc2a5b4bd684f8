"""Numbers that the configuration has no word for: the size of a head, `width // heads`, is called `head_dim` all through the code,
and `width if width is not None else 4 * size` by the name that the source gives it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from ir.arch import Attention
from ir.expressions import Apply, Environment, Expr, Key, evaluate, substitute
from ir.graph import Call, Loop, Node, Raised, Region, Value, within
from ir.reading import lookup
from ir.records import dataclass
from ir.rewriting import rewritten

NAME = "head_dim"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Derived:
    """A number that follows from others of the configuration: `key` stands for `expr`."""

    key: Key
    expr: Expr
    meaning: str

    @property
    def name(self) -> str:
        return str(self.key.path[-1])

    @property
    def left_open(self) -> tuple[str | int, ...] | None:
        """The path of the key that it stands for where that is null."""
        match self.expr:
            case Apply("if", (_, Key(path), _)):
                return path
            case _:
                return None

    @property
    def word(self) -> str:
        """The key that a letter of its axis is looked up by."""
        return self.name if self.left_open is None else str(self.left_open[-1])

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
    return Derived(Key((*width[:-1], NAME)), expr, "The size of a head")


def open_numbers(called: Mapping[Expr, str], resolved: Mapping[str, object]) -> Iterator[Derived]:
    """Keys that may be null, with what then stands for them; `called` says what the source calls these numbers."""
    names: set[str] = set()
    for expr, name in called.items():
        match expr:
            case Apply("if", (_, Key(path), _)):
                held = lookup(resolved, path[:-1])
                taken = {*names, *resolved, *(held if isinstance(held, Mapping) else ())}
                options = (name, f"{path[-1]}_or_default")
                names |= (found := {*[option for option in options if option not in taken][:1]})
                yield from (
                    Derived(Key((*path[:-1], free)), expr, f"`{path[-1]}`, or what it is by default") for free in found
                )


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
    return rewritten(thing, _Renaming(derived).expr)


class _Renaming:
    def __init__(self, derived: Derived):
        self.key, self.number = derived.key, derived.expr
        self.exprs: dict[Expr, Expr] = {}

    def expr(self, expr: Expr) -> Expr:
        if not isinstance(expr, Apply):
            return expr
        if expr not in self.exprs:
            self.exprs[expr] = self.shorter(expr)
        made = self.exprs[expr]
        return expr if made == expr else made

    def shorter(self, expr: Apply) -> Expr:
        """The heads divide the width, so that heads of this size fill it: the configuration is asked for that."""
        if expr == self.number:
            return self.key
        made = Apply(expr.op, tuple(map(self.expr, expr.args)))
        match self.number:
            case Apply("//", (width, heads)) if made == Apply("//", (width, self.key)):
                return heads
            case Apply("//", (width, heads)) if made.op == "*" and made.args in ((heads, self.key), (self.key, heads)):
                return width
            case _:
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
