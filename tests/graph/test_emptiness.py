"""A question about whether anything is in the cache has two answers."""

from __future__ import annotations

import pytest

from codegen.graph import emptiness
from codegen.graph.state import Surroundings
from ir.expressions import Apply, Const, Dim, Environment, Expr, Key

PAST, NEW, ALL = Dim("P"), Dim("T"), Dim("S")


class Asking:
    """As much of an interpreter as is asked."""

    def __init__(self, begins: bool, cached: bool = True):
        self.surroundings = Surroundings(cached, begins=begins)
        self.environment = Environment({"limit": 1000})


@pytest.mark.parametrize(
    ("question", "later", "first"),
    [
        (Apply("==", (PAST, Const(0))), False, True),
        (Apply(">", (PAST, Const(0))), True, False),
        (Apply("bool", (PAST,)), True, False),
        (Apply("==", (ALL, NEW)), False, True),
    ],
)
def test_both_answers(question: Expr, later: bool, first: bool) -> None:
    asking = Asking(begins=False)
    assert emptiness.answer(asking, question, later) is later  # type: ignore[arg-type]
    assert asking.surroundings.asked_whether_empty
    assert emptiness.answer(Asking(begins=True), question, later) is first  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "question", [Apply(">", (NEW, Const(1))), Apply(">", (ALL, Key(("limit",)))), Apply(">=", (PAST, Const(0)))]
)
def test_other_questions_have_one(question: Expr) -> None:
    asking = Asking(begins=True)
    outcome = question.op == ">=" or question.args[0] == NEW
    assert emptiness.answer(asking, question, outcome) is outcome  # type: ignore[arg-type]
    assert not asking.surroundings.asked_whether_empty


def test_without_a_cache_nothing_is_asked() -> None:
    asking = Asking(begins=False, cached=False)
    assert emptiness.answer(asking, Apply("==", (PAST, Const(0))), False) is False  # type: ignore[arg-type]
    assert not asking.surroundings.asked_whether_empty
