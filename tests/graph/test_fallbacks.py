"""A number that the configuration may leave open is known both ways: given, and as what the source takes for it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.graph.values import Scalar
from ir.expressions import Environment, Expr, Key, evaluate
from tests.graph.test_interpreter import interpreter

INNER, SIZE = Key(("inner",)), Key(("size",))
HELD = "class C: pass\n"
START = "def f(inner, size):\n  c = C()\n  c.inner = inner\n  "
WAYS = {
    "if it is given": START + "width = c.inner if c.inner is not None else 4 * size\n  return width",
    "if it is null": START + "width = 4 * size if c.inner is None else c.inner\n  return width",
}
STATEMENT = START + "if inner is None:\n    inner = 4 * size\n  return inner"
OTHERS = {
    "a flag": START + "return c.inner if c.inner is not None else size > 3",
    "no number": START + "return c.inner if c.inner is not None else 'all'",
    "a part": START + "return c.inner if c.inner is not None else size / 2",
    "something else when it is given": START + "return 2 * c.inner if c.inner is not None else size",
    "more than a number": START + "if inner is None:\n    inner = size\n    size = 1\n  return inner",
    "a call": START + "def g(): return 4 * size\n  return c.inner if c.inner is not None else g()",
}


def run(source: str, inner: int | None, size: int, raw: bool = True) -> tuple[Any, Any]:
    made = interpreter(HELD + source)
    resolved = {"inner": inner, "size": size}
    made.environment = Environment(resolved, resolved if raw else {})
    arguments = [Scalar(inner, INNER), Scalar(size, SIZE)]
    return made, made.call(made.find("repository.m.f"), arguments, {})


def open_number(source: str, size: int) -> tuple[Any, Expr]:
    made, found = run(source, None, size)
    assert isinstance(found, Scalar) and found.value == 4 * size
    return made, found.expr


@pytest.mark.parametrize("source", [*WAYS.values(), STATEMENT], ids=[*WAYS, "by a statement"])
@given(size=st.integers(1, 64), other=st.integers(1, 64), inner=st.none() | st.integers(1, 64))
def test_the_expression_is_what_the_source_computes(source: str, size: int, other: int, inner: int | None) -> None:
    _, expr = open_number(source, size)
    _, theirs = run(source, inner, other)
    expected = theirs.value if isinstance(theirs, Scalar) else theirs
    assert evaluate(expr, Environment({"inner": inner, "size": other})) == expected


@pytest.mark.parametrize("source", [*WAYS.values(), STATEMENT], ids=[*WAYS, "by a statement"])
def test_nothing_is_taken_for_granted_and_its_name_is_known(source: str) -> None:
    made, expr = open_number(source, 3)
    assert not made.predicates.all()
    assert made.open_numbers == {expr: "inner" if "if inner is None:" in source else "width"}


@pytest.mark.parametrize("inner", [None, 10])
@pytest.mark.parametrize("source", OTHERS.values(), ids=OTHERS)
def test_another_kind_is_decided(source: str, inner: int | None) -> None:
    made, _ = run(source, inner, 6)
    assert any(INNER in predicate.expr.args for predicate in made.predicates.all())  # type: ignore[union-attr]
    assert not made.open_numbers


@pytest.mark.parametrize("source", WAYS.values(), ids=WAYS)
def test_a_number_that_is_given_is_known_the_same_way(source: str) -> None:
    made, found = run(source, 10, 3)
    assert found == Scalar(10, open_number(source, 3)[1])
    assert not made.predicates.all()


@pytest.mark.parametrize(("source", "raw"), [(STATEMENT, True), *((way, False) for way in WAYS.values())])
def test_arguments_and_numbers_of_the_class_are_decided(source: str, raw: bool) -> None:
    made, found = run(source, 10, 3, raw)
    assert found == Scalar(10, INNER)
    assert len(made.predicates.all()) == 1
