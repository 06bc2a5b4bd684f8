"""Dataclasses that are cheap to define and cheap to make.

A cold process defines hundreds of them and makes hundreds of thousands. The library's decorator compiles eight methods for
each class, and a frozen class takes three times as long to fill as one that can be written to. Here the methods that compare
are built from one getter of all fields, and that nobody writes to a frozen object is left to the type checker, which sees the
decorator of the library.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import field, fields, is_dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls: type | None = None, /, *, frozen: bool = False, eq: bool = True, **options: bool) -> Any:
        """As `dataclasses.dataclass`."""

        def made(cls: type) -> type:
            cls.__doc__ = cls.__doc__ or cls.__name__  # else it is worked out from the signature, which takes long
            found = dataclasses.dataclass(eq=False, repr=False, **options)(cls)
            if "__repr__" not in vars(found):
                found.__repr__ = _repr
            if eq:
                _compare(found, frozen)
            return found

        return made if cls is None else made(cls)


def _compare(cls: Any, frozen: bool) -> None:
    """Give a class `==`, and a hash where nobody writes to its objects."""
    own = dict(vars(cls))
    if "__eq__" not in own:
        cls.__eq__ = _equality([one.name for one in fields(cls) if one.compare])
    if own.get("__hash__") is None:
        hashed = [one.name for one in fields(cls) if (one.compare if one.hash is None else one.hash)]
        cls.__hash__ = _hash(hashed) if frozen else None


def _equality(names: list[str]) -> Callable[[object, object], bool]:
    """Objects of the same class are equal if tuples of these fields are."""
    get: Any = attrgetter(*names) if names else lambda _: ()

    def equal(self: object, other: object) -> bool:
        return get(self) == get(other) if other.__class__ is self.__class__ else NotImplemented

    def equal_in_one(self: object, other: object) -> bool:
        return (get(self),) == (get(other),) if other.__class__ is self.__class__ else NotImplemented

    return equal_in_one if len(names) == 1 else equal


def _hash(names: list[str]) -> Callable[[object], int]:
    get: Any = attrgetter(*names) if names else lambda _: ()
    return (lambda self: hash((get(self),))) if len(names) == 1 else lambda self: hash(get(self))


def _repr(self: Any) -> str:
    shown = ", ".join(f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.repr)
    return f"{type(self).__qualname__}({shown})"


__all__ = ["dataclass", "field", "fields", "is_dataclass", "replace"]
