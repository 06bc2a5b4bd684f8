"""Simplified expressions have the value of what they simplify, for every configuration."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from codegen.graph import scalars
from codegen.graph.values import Scalar, expr_of, value_of
from ir.expressions import Apply, Const, Dim, Environment, Expr, Key, evaluate

NAMES = ("a", "b", "c")
SIZES = st.integers(min_value=1, max_value=12)
CONFIGS = st.fixed_dictionaries({name: SIZES for name in NAMES})


@st.composite
def programs(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    """A few operations on earlier results; the first three are the leaves, the next two are 1 and 2."""
    count = draw(st.integers(1, 8))
    ops = st.sampled_from(("+", "-", "*", "//", "%", "/", "max", "min", "int", "neg"))
    return [(draw(ops), draw(st.integers(0, 4 + i)), draw(st.integers(0, 4 + i))) for i in range(count)]


def run(program: list[tuple[str, int, int]], config: dict[str, int]) -> list[object]:
    values: list[object] = [Scalar(config[name], Key((name,))) for name in NAMES] + [1, 2]
    for op, left, right in program:
        args = (values[left],) if op in ("int", "neg") else (values[left], values[right])
        values.append(scalars.apply(op, *args))  # type: ignore[arg-type]
    return values


@given(programs(), CONFIGS, CONFIGS)
def test_expressions_predict_other_configurations(
    program: list[tuple[str, int, int]], config: dict[str, int], other: dict[str, int]
) -> None:
    try:
        ours, theirs = run(program, config), run(program, other)
    except (ArithmeticError, ValueError):
        return
    env = Environment(config=other)
    for mine, wanted in zip(ours, theirs, strict=True):
        try:
            assert evaluate(expr_of(mine), env) == value_of(wanted)  # type: ignore[arg-type]
        except ZeroDivisionError:
            assert not isinstance(mine, Scalar)


def key(name: str, value: int) -> Scalar:
    return Scalar(value, Key((name,)))


def test_equal_terms_cancel_but_equal_values_do_not() -> None:
    heads, dim, hidden = key("heads", 4), key("dim", 16), key("hidden", 64)
    batch = Scalar(4, Dim("B"))
    total = scalars.product([batch, heads, dim])
    assert scalars.apply("//", total, scalars.product([batch, dim])) == heads
    assert scalars.apply("//", hidden, heads) == Scalar(16, Apply("//", (hidden.expr, heads.expr)))
    assert scalars.apply("//", total, hidden) != batch


def test_exact_integer_identities() -> None:
    x = key("x", 6)
    assert scalars.apply("*", x, 1) == x
    assert scalars.apply("//", x, x) == 1
    assert scalars.apply("-", scalars.apply("+", x, 1), 1) == x
    assert scalars.apply("int", scalars.apply("/", scalars.apply("*", x, 2), 2)) == x
    assert scalars.apply("%", scalars.apply("*", x, 3), 3) == 0


def test_floats_are_left_as_they_are() -> None:
    x = key("x", 6)
    half: Expr = Apply("*", (x.expr, Const(1.0)))
    assert scalars.apply("*", x, 1.0) == Scalar(6.0, half)


def test_the_same_axis() -> None:
    a, b = key("a", 4), key("b", 4)
    assert scalars.same(scalars.apply("*", a, b), scalars.apply("*", b, a))
    assert not scalars.same(a, b) and not scalars.same(a, 4)


def test_all_tokens_are_those_in_the_cache_and_the_new_ones() -> None:
    new, past, everything = (Scalar(value, Dim(name)) for value, name in ((7, "T"), (5, "P"), (12, "S")))
    assert scalars.apply("+", past, new) == everything
    assert scalars.apply("-", everything, new) == past
    assert scalars.apply("-", everything, past) == new


def test_a_batch_has_a_token_and_a_cache_may_be_empty() -> None:
    new, past = Scalar(7, Dim("T")), Scalar(5, Dim("P"))
    assert scalars.apply("max", 0, scalars.apply("-", 1, new)) == 0
    assert scalars.apply("max", past, 0) == past
    assert scalars.apply("max", 0, scalars.apply("-", 1, past)) == Scalar(
        0, Apply("max", (Const(0), Apply("-", (Const(1), Dim("P")))))
    )
