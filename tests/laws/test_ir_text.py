"""The text form of the IR is Python, and reading it back gives the same value."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from enum import Enum
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ir import arch, graph
from ir.expressions import OPERATIONS, Apply, Const, Dim, Index, Key, Local, Raw
from ir.graph import (
    Call,
    DType,
    DTypeOf,
    Ellipsis_,
    FunctionTarget,
    Loop,
    ModuleTarget,
    Number,
    Op,
    Raised,
    Region,
    SliceOf,
    Value,
)
from ir.text import NotIR, from_text, to_text

NAMES = st.text("abc_\"'\\\n", min_size=1, max_size=4)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | NAMES
PATHS = st.lists(NAMES | st.integers(0, 9), min_size=1, max_size=3).map(tuple)
LEAVES = (
    st.builds(Const, PLAIN)
    | st.builds(Key, PATHS)
    | st.builds(Raw, PATHS)
    | st.builds(Dim, NAMES)
    | st.builds(Index, NAMES)
    | st.builds(Local, NAMES)
)
EXPRS = st.recursive(
    LEAVES,
    lambda inner: st.builds(Apply, st.sampled_from(sorted(OPERATIONS)), st.lists(inner, max_size=3).map(tuple)),
    max_leaves=6,
)
DTYPES = st.sampled_from(DType)


def few(items: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(items, max_size=3).map(tuple)


VALUES = st.builds(Value, st.integers(0, 99), few(EXPRS), DTYPES, few(NAMES))
NUMBERS = st.builds(Number, EXPRS, few(NAMES))
SIMPLE = VALUES | NUMBERS | DTYPES | st.builds(DTypeOf, VALUES) | st.builds(Ellipsis_) | st.none()
OPERANDS = st.recursive(SIMPLE, lambda inner: few(inner) | st.builds(SliceOf, inner, inner, inner), max_leaves=5)


def of_fields(kind: type) -> st.SearchStrategy[object]:
    """Any value of a dataclass whose fields are enum members, flags, expressions, texts or None."""
    choices: dict[str, st.SearchStrategy[object]] = {}
    for field in dataclasses.fields(kind):
        name = str(field.type)
        options = [
            st.sampled_from(vars(arch)[part])
            for part in name.split(" | ")
            if isinstance(vars(arch).get(part), type) and issubclass(vars(arch)[part], Enum)
        ]
        options += [EXPRS] if "Expr" in name else []
        options += [st.none()] if "None" in name else []
        options += [st.booleans()] if name == "bool" else []
        options += [NAMES] if name == "str" else []
        nested = {"Attention": arch.Attention, "Rotary": arch.Rotary, "Rotary | None": arch.Rotary}.get(name)
        options += [of_fields(nested)] if nested is not None else []
        choices[field.name] = st.one_of(options)
    return st.builds(kind, **choices)


COMPONENTS = st.one_of([of_fields(kind) for kind in get_args(arch.Component)])
FACTS = st.one_of([of_fields(kind) for kind in get_args(arch.Fact)])
OPS = st.builds(Op, NAMES, few(OPERANDS), few(VALUES))
RAISED = st.builds(Raised, COMPONENTS, few(OPERANDS), few(VALUES), NAMES)


def region(nodes: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.builds(Region, NAMES, few(VALUES | NUMBERS), few(nodes), few(OPERANDS))


LEAF_REGIONS = region(OPS | RAISED)
TARGETS = st.builds(ModuleTarget, NAMES, NAMES) | st.builds(FunctionTarget, NAMES)
CALLS = st.builds(Call, TARGETS, LEAF_REGIONS, few(OPERANDS), few(VALUES))
LOOPS = st.builds(
    Loop,
    NAMES,
    few(LEAF_REGIONS),
    few(st.integers(0, 3)),
    few(OPERANDS),
    few(OPERANDS),
    few(few(OPERANDS)),
    few(VALUES),
)
REGIONS = region(OPS | RAISED | CALLS | LOOPS)
PARTS = st.builds(arch.Part, NAMES, NAMES, st.none() | FACTS, NAMES)
SPANS = st.builds(range, st.integers(0, 9), st.integers(0, 200), st.integers(1, 3)).map(tuple)
KINDS = st.builds(
    arch.LayerKind,
    few(st.integers(0, 9)) | SPANS | st.lists(st.integers(0, 99)).map(tuple),
    st.sampled_from(arch.Wiring),
    few(PARTS),
)
ARCHS = st.builds(
    arch.Arch,
    few(PARTS),
    few(st.builds(arch.Stack, NAMES, few(KINDS))),
    st.sampled_from(arch.MaskForm),
    few(st.tuples(NAMES, EXPRS)),
)
PARAMETERS = st.builds(
    graph.Parameter, NAMES, few(EXPRS), DTYPES, st.booleans(), st.booleans(), st.none() | LEAF_REGIONS
)
MODULES = st.builds(graph.Module, NAMES, NAMES, few(st.tuples(NAMES, OPERANDS)), few(PARAMETERS), st.just(()))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(REGIONS | ARCHS | MODULES)
def test_round_trip(value: object) -> None:
    assert from_text(to_text(value)) == value


@settings(max_examples=60, deadline=None)
@given(PLAIN)
def test_constants_keep_their_type(value: object) -> None:
    found = from_text(to_text(Const(value)))  # type: ignore[arg-type]
    assert isinstance(found, Const)
    assert type(found.value) is type(value) and (found.value == value)
    if isinstance(value, float):
        assert math.copysign(1, found.value) == math.copysign(1, value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    (
        ("__import__('os')", "line 1: `__import__('os')` is no value of the IR"),
        ("Const(open('x'))", "line 1: `open('x')` is no value of the IR"),
        ("Const(1).value", "line 1: `Const(1).value` is no value of the IR"),
        ("DType.FLOAT7", "line 1: DType has no FLOAT7"),
        ("Const(1, 2)", "line 1: Const.__init__() takes 2 positional arguments but 3 were given"),
        ("(1", "line 1: '(' was never closed"),
        ("tuple(range(0, 10**9))", "line 1: `10 ** 9` is no value of the IR"),
        ("tuple(range(0, 1000000000))", "line 1: a range of 1000000000 numbers"),
        ("tuple(range(0, 9, 0))", "line 1: range() arg 3 must not be zero"),
    ),
)
def test_nothing_is_executed(text: str, message: str) -> None:
    with pytest.raises(NotIR) as error:
        from_text(text)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("numbers", "text"),
    (
        (range(28), "tuple(range(0, 28))"),
        (range(1, 26, 2), "tuple(range(1, 26, 2))"),
        ((0, 1, 2), "(0, 1, 2)"),
        ((0, 1, 3, 4), "(0, 1, 3, 4)"),
        ((4, 3, 2, 1), "(4, 3, 2, 1)"),
        ((False, True, True, True), "(False, True, True, True)"),
    ),
)
def test_numbers_in_a_row_are_a_range(numbers: Iterable[int], text: str) -> None:
    assert to_text(tuple(numbers)) == text


def test_spans_stay_out() -> None:
    assert "span" not in to_text(Op("neg", (), ()))
