"""What tells layers apart: the source's own questions, the shortest decision made of them, and lists that were written down."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.diagnostics import CompileError
from codegen.lowering.patterns import Decision, LayerKinds, Patterns, decided, parts_of
from ir.expressions import Apply, Const, Environment, Expr, Index, Key, evaluate
from ir.reading import Condition

DEPTH, SHARED = 6, 2
KINDS = ["near", "near", "far", "near", "near", "far"]
RESOLVED = {"num_layers": DEPTH, "num_shared": SHARED, "kinds": KINDS, "sparsity": [0.5, 0.5, 0.0, 0.0, 0.0, 0.0]}
LAYER, INNER = Index("layer"), Index("inner1")
BEFORE = Apply("<", (INNER, Apply("-", (Key(("num_layers",)), Key(("num_shared",))))))
SPARSE = Apply(">", (Apply("getitem", (Key(("sparsity",)), LAYER)), Const(0.0)))
MODES = Apply("getitem", (Apply("list", tuple(map(Const, (None, None, "keep", "keep", "take", "take")))), LAYER))
TAKES, KEEPS = Apply("==", (MODES, Const("take"))), Apply("==", (MODES, Const("keep")))
PATTERNS = Patterns(RESOLVED, (BEFORE, SPARSE, TAKES, KEEPS), {TAKES: "is_shared", KEEPS: "keeps"})


def answer(element: Expr, layer: int) -> object:
    return evaluate(element, Environment(RESOLVED, indices={"layer": layer}))


def part(decision: Decision, layer: int) -> int:
    def ask(kinds: LayerKinds, label: object, then: int, otherwise: int) -> int:
        found = answer(PATTERNS.spelled(kinds), layer)
        return then if found == label else otherwise

    return decided(decision, lambda leaf: leaf, ask)


def test_a_list_of_the_configuration_comes_first() -> None:
    assert PATTERNS.kinds((0, 0, 1, 0, 0, 1)).element == Apply("getitem", (Key(("kinds",)), LAYER))


def test_a_condition_on_the_index_of_another_loop_goes_by_the_name_that_the_source_keeps_it_under() -> None:
    found = PATTERNS.kinds((0, 0, 0, 0, 1, 1))
    assert found.name == "is_shared"
    assert found.element == Apply(">=", (LAYER, BEFORE.args[1]))
    assert found.labels == (False, False, False, False, True, True)


def test_what_was_written_down_is_the_last_resort_and_ties_the_lists_that_it_came_from() -> None:
    found = PATTERNS.kinds((0, 0, 1, 1, 0, 0))
    assert PATTERNS.spelled(found) == Apply("in", (LAYER, Apply("tuple", (Const(2), Const(3)))))
    tied = Patterns(RESOLVED, (Apply("==", (Apply("getitem", (Key(("kinds",)), INNER)), Const("far"))), KEEPS)).pins()
    assert [evaluate(expr, Environment(RESOLVED)) for expr in tied] == [True]
    assert [evaluate(expr, Environment({**RESOLVED, "kinds": KINDS[::-1]})) for expr in tied] == [False]


def test_a_pattern_of_nothing_is_refused() -> None:
    with pytest.raises(CompileError, match="layers differ in a pattern"):
        Patterns(RESOLVED).decision((0, 1, 0, 1, 0, 1))


@given(st.lists(st.sampled_from([0, 1, 2, None]), min_size=5, max_size=5))
def test_a_decision_gives_every_layer_its_part(parts: list[int | None]) -> None:
    """Layers 0 and 1 are alike in every way, and so are no others."""
    groups = [parts[0], *parts]
    if len({own for own in groups if own is not None}) < 2:
        return
    decision = PATTERNS.decision(groups)
    assert all(part(decision, layer) == own for layer, own in enumerate(groups) if own is not None)


@given(st.integers(0, 4), st.integers(1, 3))
def test_parts_are_numbered_as_they_appear(first: int, step: int) -> None:
    values = list(itertools.islice(itertools.cycle(range(first, first + step)), 7))
    assert parts_of(values) == tuple(i % step for i in range(7))


FLAGS = st.lists(st.booleans(), min_size=1, max_size=7)


@given(
    st.integers(1, 7).flatmap(lambda n: st.tuples(*[st.lists(st.booleans(), min_size=n, max_size=n)] * 2)), FLAGS, FLAGS
)
def test_kinds_that_are_known_are_those_of_some_layer(
    seen: tuple[list[bool], list[bool]], one: list[bool], two: list[bool]
) -> None:
    """Two lists that the source asks about, and another configuration of as many layers as its shorter list has entries."""
    asked = [Apply("bool", (Apply("getitem", (Key((name,)), LAYER)),)) for name in ("one", "two")]
    known = Patterns({"one": seen[0], "two": seen[1]}, tuple(asked)).known(len(seen[0]), ())
    condition = Condition("kinds", Apply("tuple", (Key(("count",)), *known.asked)), known.seen)
    count = min(len(one), len(two))
    values = {("one",): one, ("two",): two, ("count",): count}
    unseen = {*zip(one, two, strict=False)} - {*zip(*seen, strict=True)}
    each_seen = {*one[:count]} <= {*seen[0]} and {*two[:count]} <= {*seen[1]}
    if not known.seen:  # every list is held to its own entries elsewhere
        assert not (each_seen and unseen)
    elif each_seen:
        assert condition.holds(values, {}) is not bool(unseen)


def test_a_threshold_that_no_layer_reaches_may_be_reached_by_more_layers() -> None:
    threshold = Apply(">=", (LAYER, Key(("first",))))
    known = Patterns({"first": 6}, (threshold,)).known(4, ())
    assert known.asked == (threshold,) and known.seen == ((False,),)
    every = Apply("==", (Apply("%", (LAYER, Key(("step",)))), Const(0)))
    assert Patterns({"step": 1}, (every,)).known(4, ()).asked == ()
