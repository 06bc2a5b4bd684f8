"""Configurations within others, made once for the same arguments in all runs of a configuration class.

Most variants of a composite configuration change one of its parts; the others come to what they came to before. What making one
noted (questions, keys that were looked at, names that were asked for) is noted again, and the object is a copy. Only what leaves
its arguments as they were is remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from codegen.graph.objects import (
    Class,
    ClassMethod,
    External,
    Function,
    Instance,
    Noticed,
    Property,
    SDict,
    SList,
    SSet,
    StaticMethod,
)  # fmt: skip
from codegen.graph.predicates import Noted, Predicates
from codegen.graph.values import Read, Reads, Scalar, Watched, unnoticed
from ir.expressions import Expr
from ir.graph import DType
from ir.records import dataclass

_SHARED = (str, int, float, bool, type(None), Class, ClassMethod, External, Function, Property, StaticMethod, DType)


class Unlike(Exception):
    """An object that is not known well enough to be compared or copied."""


@dataclass(frozen=True, slots=True)
class _Made:
    instance: Instance
    noted: tuple[Noted, ...]
    reads: tuple[Read, ...]
    sought: frozenset[Any]


class Parts:
    """What is remembered, and what the present run notes."""

    def __init__(self) -> None:
        self._known: dict[Hashable, _Made] = {}

    def make(
        self,
        cls: Class,
        args: tuple[list[Any], Mapping[str, Any]],
        depth: int,
        notes: tuple[Predicates, Reads, set[Any]],
        anew: Callable[[], Any],
    ) -> Any:
        """What `anew` gives for arguments of a class, within `depth` loops; `notes` are those of the run."""
        predicates, reads, sought = notes
        try:
            key = (cls, depth, form_of(args[0]), form_of(args[1]))
        except Unlike:
            return anew()
        known = self._known.get(key)
        if known is not None:
            for noted in known.noted:
                predicates.add(*noted)
            for read in known.reads:
                reads.add(read)
            sought |= known.sought
            return _copy(known.instance, reads, {})
        before = set(sought)
        sought.clear()
        with predicates.noting() as noted_now, reads.noting() as read_now:
            try:
                made = anew()
            finally:
                found = frozenset(sought)
                sought |= before
        try:
            if isinstance(made, Instance) and (cls, depth, form_of(args[0]), form_of(args[1])) == key:
                kept = _copy(made, reads, {})
                self._known[key] = _Made(kept, tuple(noted_now), tuple(dict.fromkeys(read_now)), found)
        except Unlike:
            pass
        return made


def form_of(x: Any) -> Hashable:
    """Equal for arguments that are the same, expressions and what notes that they are looked at included. Looks at nothing."""
    kind = type(x)
    if isinstance(x, Scalar):
        plain = unnoticed(x)
        return kind, type(plain), repr(plain), x.expr
    if isinstance(x, dict):
        return kind, _expr(x), _added(x), tuple((key, form_of(item)) for key, item in dict.items(x))
    if kind in (list, tuple, SList):
        return kind, _expr(x), getattr(x, "loop", None), tuple(map(form_of, x))
    if x is None or kind in (str, int, float, bool):
        return kind, repr(x)
    raise Unlike


def _expr(x: Any) -> Expr | None:
    return getattr(x, "expr", None)


def _added(x: Any) -> Hashable:
    return (frozenset(x.added), x.first) if isinstance(x, SDict) else None


def copied(items: list[Any], reads: Reads) -> list[Any]:
    """A list of scalars, those that note what is looked at in `reads`."""
    return _copy(items, reads, {})  # type: ignore[no-any-return]


def _copy(x: Any, reads: Reads, copies: dict[int, Any]) -> Any:
    """A copy that notes what is looked at in `reads`; what cannot be changed is shared."""
    if isinstance(x, Watched):
        return Watched(unnoticed(x), x.expr, reads)
    kind = type(x)
    if kind is Scalar or isinstance(x, _SHARED):
        return x
    if id(x) in copies:
        return copies[id(x)]
    if kind is tuple:
        return tuple(_copy(item, reads, copies) for item in x)
    if kind is Instance:
        made = copies[id(x)] = Instance(x.cls, path=x.path)
        made.dict.update({name: _copy(item, reads, copies) for name, item in x.dict.items()})
        made.payload = _copy(x.payload, reads, copies)
        return made
    return _container(x, reads, copies)


def _container(x: Any, reads: Reads, copies: dict[int, Any]) -> Any:
    new: Any
    kind = type(x)
    if kind is Noticed:
        new = copies[id(x)] = Noticed((), x.look.path, reads)
        new.expr = x.expr
    elif kind is SDict:
        new = copies[id(x)] = SDict((), x.expr)
    elif kind is dict:
        new = copies[id(x)] = {}
    elif kind is SList:
        new = copies[id(x)] = SList((), x.expr, x.loop)
    elif kind is list:
        new = copies[id(x)] = []
    elif kind is SSet:
        new = copies[id(x)] = SSet((), x.frozen)
        new.items.update({key: _copy(item, reads, copies) for key, item in x.items.items()})
        return new
    else:
        raise Unlike
    if isinstance(x, dict):
        for key, item in dict.items(x):
            dict.__setitem__(new, _copy(key, reads, copies), _copy(item, reads, copies))
        if isinstance(x, SDict):
            new.goes_on_from(x)
    else:
        list.extend(new, [_copy(item, reads, copies) for item in x])
    return new
