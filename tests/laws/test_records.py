"""`ir.records.dataclass` makes what the library's decorator makes."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ir import records

VALUES = st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | st.text(max_size=2)


def several(decorator: Any) -> type:
    @decorator(frozen=True, slots=True)
    class Several:
        a: object
        b: object = 1
        c: object = dataclasses.field(default=2, compare=False)
        d: object = dataclasses.field(default=3, repr=False, hash=False)

    return Several


def one(decorator: Any) -> type:
    @decorator(frozen=True)
    class One:
        a: object

    return One


def none(decorator: Any) -> type:
    @decorator(frozen=True, slots=True)
    class Nothing:
        pass

    return Nothing


def open_(decorator: Any) -> type:
    @decorator(slots=True)
    class Open:
        a: object
        b: object = None

    return Open


def own(decorator: Any) -> type:
    @decorator(frozen=True)
    class Own:
        a: object

        def __eq__(self, other: object) -> bool:
            return True

        def __repr__(self) -> str:
            return "own"

    return Own


KINDS = (several, one, none, open_, own)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_the_same_comparisons_hashes_and_texts(kind: Any, data: st.DataObject) -> None:
    ours, theirs = kind(records.dataclass), kind(dataclasses.dataclass)
    count = len(dataclasses.fields(theirs))
    first = data.draw(st.lists(VALUES, min_size=count, max_size=count))
    second = data.draw(st.just(first) | st.lists(VALUES, min_size=count, max_size=count))
    a, b = ours(*first), ours(*second)
    x, y = theirs(*first), theirs(*second)
    assert (a == b) is (x == y) and (a == 1) is (x == 1) and (a == x) is (x == a)
    assert repr(a).rpartition(".")[2] == repr(x).rpartition(".")[2]
    assert [f.name for f in dataclasses.fields(ours)] == [f.name for f in dataclasses.fields(theirs)]
    assert getattr(ours, "__slots__", None) == getattr(theirs, "__slots__", None)
    assert (ours.__hash__ is None) is (theirs.__hash__ is None)
    if theirs.__hash__ is not None:
        assert hash(a) == hash(x)
    assert dataclasses.replace(a) == a and copy.copy(a) == a


def test_objects_travel_between_processes() -> None:
    from ir.expressions import Apply, Const, Raw

    expr = Apply("+", (Const(1), Raw(("a", 0))))
    assert pickle.loads(pickle.dumps(expr)) == expr


def test_an_expression_is_told_from_another_of_its_parts() -> None:
    from ir.expressions import Apply, Const, Index, Key, Raw

    parts = (Const("a"), Index("a"), Key(("a",)), Raw(("a",)), Apply("a", ()), Apply("a", (Const("a"),)), Const(None))
    assert len(set(parts)) == len(parts)
    assert Const(float("nan")) != Const(float("nan")) and Const(1) == Const(True)
