"""Expressions replaced all through an IR; what is shared stays shared, and what holds none stays the object that it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ir.expressions import Apply, Const, Dim, Expr, Index, Key, Local, Raw, substitute
from ir.records import fields, is_dataclass, replace
from ir.spans import Span

T = TypeVar("T")


def replaced(whole: T, replacements: Mapping[Expr, Expr]) -> T:
    """Modules, regions and whatever holds them with every subexpression replaced that is a key of `replacements`."""
    return rewritten(whole, lambda expr: substitute(expr, replacements)) if replacements else whole


def rewritten(whole: T, change: Callable[[Expr], Expr]) -> T:
    """Modules, regions and whatever holds them with `change` done to each expression."""
    return _Rewriting(change).of(whole)  # type: ignore[no-any-return]


class _Rewriting:
    def __init__(self, change: Callable[[Expr], Expr]) -> None:
        self.change = change
        self.known: dict[int, tuple[object, object]] = {}  # by identity; the first keeps it alive

    def of(self, thing: Any) -> Any:
        match thing:
            case Apply() | Const() | Key() | Dim() | Index() | Local() | Raw():
                return self.change(thing)
            case Span() | type():
                return thing
        if not isinstance(thing, tuple) and not is_dataclass(thing):
            return thing
        if id(thing) not in self.known:
            self.known[id(thing)] = thing, self._made(thing)
        return self.known[id(thing)][1]

    def _made(self, thing: Any) -> Any:
        if isinstance(thing, tuple):
            made = tuple(map(self.of, thing))
            return made if any(new is not old for new, old in zip(made, thing, strict=True)) else thing
        held = {field.name: getattr(thing, field.name) for field in fields(thing) if field.init}
        changed = {name: new for name, old in held.items() if (new := self.of(old)) is not old}
        return replace(thing, **changed) if changed else thing
