"""The size of a head that the configuration does not hold gets a name, and no number changes for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.lowering.derived import Derived, head_size, open_numbers, renamed, with_values
from ir.arch import Attention, MaskForm
from ir.expressions import Apply, Const, Environment, Expr, Key, evaluate
from ir.graph import DType, Number, Raised, Region, Value

WIDTH, HEADS = Key(("width",)), Key(("heads",))
SIZE = Apply("//", (WIDTH, HEADS))
DERIVED = Derived(Key(("head_dim",)), SIZE, "The size of a head")
EXPRS = st.recursive(
    st.sampled_from([WIDTH, HEADS, SIZE, Const(2), Const(3)]),
    lambda inner: (
        st.builds(lambda op, a, b: Apply(op, (a, b)), st.sampled_from("+*-"), inner, inner)
        | st.builds(lambda a: Apply("//", (a, SIZE)), inner)
    ),
    max_leaves=8,
)


def attention(size: Expr) -> Region:
    q = Value(0, (Const(1), HEADS, Const(1), size), DType.MODEL)
    out = Value(1, q.shape, DType.MODEL)
    node = Raised(
        Attention(mask=MaskForm.ABSENT), (q, q, q, None, Number(Apply("**", (size, Const(-0.5)))), None, None), (out,)
    )
    return Region("forward", (q,), (node,), (out,))


@given(EXPRS, st.integers(1, 8), st.integers(1, 8))
def test_numbers_stay_what_they_are(expr: Expr, heads: int, size: int) -> None:
    resolved = {"width": heads * size, "heads": heads}
    made = renamed(expr, DERIVED)
    assert evaluate(made, Environment(with_values(resolved, DERIVED))) == evaluate(expr, Environment(resolved))
    assert evaluate(DERIVED.original(made), Environment(resolved)) == evaluate(expr, Environment(resolved))


def test_what_heads_fill_is_the_width() -> None:
    assert renamed(Apply("*", (HEADS, SIZE)), DERIVED) == WIDTH
    assert renamed(Apply("//", (WIDTH, SIZE)), DERIVED) == HEADS


def test_the_whole_code_knows_the_name() -> None:
    region = renamed(attention(SIZE), DERIVED)
    (node,) = region.nodes
    assert region.params[0].shape[3] == DERIVED.key and node.args[4] == Number(Apply("**", (DERIVED.key, Const(-0.5))))  # type: ignore[union-attr]
    assert renamed(region, DERIVED) is region


@pytest.mark.parametrize(
    ("resolved", "size"),
    [
        ({"width": 48, "heads": 4, "head_dim": 16}, SIZE),  # the configuration has the word
        ({"width": 50, "heads": 4}, SIZE),  # heads do not divide the width
        ({"width": 48, "heads": 4}, WIDTH),  # one head
    ],
)
def test_no_name_is_made_up(resolved: dict[str, object], size: Expr) -> None:
    assert head_size(attention(SIZE), {"width": 48, "heads": 4}) == DERIVED
    assert head_size(attention(size), resolved) is None


INNER = Key(("inner",))
OPEN = Apply("if", (Apply("is not", (INNER, Const(None))), INNER, Apply("*", (Const(4), WIDTH))))


@pytest.mark.parametrize(
    ("resolved", "name"),
    [
        ({"width": 8, "inner": None}, "inner_dim"),
        ({"width": 8, "inner": None, "inner_dim": 3}, "inner_or_default"),  # the configuration has the word
    ],
)
def test_a_number_that_is_left_open_is_called_as_in_the_source(resolved: dict[str, object], name: str) -> None:
    (found,) = open_numbers({OPEN: "inner_dim"}, resolved)
    assert found.name == name and found.original(renamed(OPEN, found)) == OPEN
    assert with_values(resolved, found)[name] == 32
    assert with_values({**resolved, "inner": 5}, found)[name] == 5


def test_two_numbers_have_two_names() -> None:
    outer = Apply("if", (Apply("is not", (HEADS, Const(None))), HEADS, WIDTH))
    first, second = open_numbers({OPEN: "inner_dim", outer: "inner_dim"}, {"width": 8, "inner": None, "heads": None})
    assert (first.name, second.name) == ("inner_dim", "heads_or_default")
