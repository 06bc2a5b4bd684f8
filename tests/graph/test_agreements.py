"""What operations need of sizes, as conditions: few, simple, and true of the same numbers."""

from __future__ import annotations

import itertools

import pytest

from codegen.graph.agreements import conditions, divisibility, follows
from codegen.graph.predicates import Kind, Predicate
from codegen.graph.values import Scalar, Size
from ir.expressions import Apply, Const, Dim, Environment, Expr, Key, evaluate

D, N, K, H = (Key((name,)) for name in ("hidden", "heads", "groups", "head_dim"))
SIZES = {"hidden": 32, "heads": 8, "groups": 4, "head_dim": 4}


def over(op: str, *args: Expr | int) -> Expr:
    return Apply(op, tuple(Const(arg) if isinstance(arg, int) else arg for arg in args))


def size(expr: Expr) -> Size:
    env = Environment(config=SIZES, dims={"B": 3, "T": 5})
    return Scalar(evaluate(expr, env), expr)  # type: ignore[arg-type]


def found(*pairs: tuple[Expr, Expr], asked: tuple[Predicate, ...] = ()) -> list[tuple[Expr, object]]:
    agreements = [(size(a), size(b), None) for a, b in pairs]
    return [(p.expr, p.value) for p in conditions(asked, agreements, SIZES)]


HALF_UP = over("//", over("+", H, 1), 2)
QUOTIENT = over("//", D, N)


@pytest.mark.parametrize(
    ("left", "right", "number", "divisor"),
    (
        (over("*", K, over("//", N, K)), N, N, K),
        (over("+", HALF_UP, HALF_UP), H, H, Const(2)),
        (over("*", N, QUOTIENT), D, D, N),
        (over("*", over("//", N, 4), over("*", 4, QUOTIENT)), over("*", N, QUOTIENT), N, Const(4)),
    ),
)
def test_a_division_that_leaves_nothing_is_said_so(left: Expr, right: Expr, number: Expr, divisor: Expr) -> None:
    said = divisibility(left, right)
    assert said is not None and (said.number, said.divisor) == (number, divisor)
    for values in itertools.product(range(1, 9), repeat=3):
        config = dict(zip(("hidden", "heads", "groups", "head_dim"), (24, *values), strict=True))
        env = Environment(config=config)
        equal = evaluate(left, env) == evaluate(right, env)
        assert equal is (evaluate(over("%", number, divisor), env) == 0), config


def test_sizes_of_the_input_cancel() -> None:
    batch, tokens = Dim("B"), Dim("T")
    left, right = over("*", over("*", batch, tokens), over("*", N, QUOTIENT)), over("*", over("*", batch, tokens), D)
    assert found((left, right)) == [(over("%", D, N), 0)]


def test_what_follows_from_a_division_is_left_out() -> None:
    pairs = ((over("*", N, QUOTIENT), D), (over("//", D, QUOTIENT), N))
    assert found(*pairs) == found(*pairs[::-1]) == [(over("%", D, N), 0)]


def test_a_guard_that_says_the_same_is_said_once() -> None:
    guard = Predicate(Kind.GUARD, over("!=", over("*", QUOTIENT, N), D), False, None)
    assert found((over("*", N, QUOTIENT), D), asked=(guard,)) == [(over("%", D, N), 0)]


def test_equal_sizes_stay_an_equation() -> None:
    assert found((over("*", N, H), D)) == [(over("==", over("*", N, H), D), True)]


def test_a_branch_with_one_answer_is_none() -> None:
    branch = Predicate(Kind.STRUCTURE, over("==", over("*", N, QUOTIENT), D), True, None)
    assert found((over("*", N, QUOTIENT), D), asked=(branch,)) == [(over("%", D, N), 0)]
    other = Predicate(Kind.STRUCTURE, over("==", K, H), True, None)
    assert (other.expr, True) in found((over("*", N, QUOTIENT), D), asked=(other,))


def test_one_group_for_each_head_means_as_many_groups() -> None:
    single = Predicate(Kind.STRUCTURE, over("==", over("//", N, K), 1), True, None)
    divides = Predicate(Kind.AGREEMENT, over("%", N, K), 0, None)
    equal = Predicate(Kind.AGREEMENT, over("==", N, K), True, None)
    assert follows(equal, (single, divides), SIZES)
    assert not follows(equal, (single,), SIZES) and not follows(equal, (divides,), SIZES)
