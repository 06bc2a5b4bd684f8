"""What counts as attention, and what does not."""

from __future__ import annotations

import pytest

from codegen.raising.program import raise_program
from ir.arch import Attention, Cap, Heads, MaskForm, Precision, Rotary, Sinks, Tables
from ir.expressions import Apply, Const, Key
from ir.graph import Call, DType, Ellipsis_, Number, Op, Raised, Region
from tests.raising.builder import B, Builder, H, N, S, T, attention_module, cut, n

MASK = 5  # where the module takes its mask


def raised(region: Region, kind: type) -> list[Raised]:
    return [node for node in region.nodes if isinstance(node, Raised) and isinstance(node.component, kind)]


def test_grouped_attention_inside_of_a_helper() -> None:
    program = raise_program(attention_module(), (MASK,))
    (node,) = raised(program.region, Attention)
    assert node.component == Attention(MaskForm.BOOLEAN, softmax=Precision.FLOAT32, heads=Heads.GROUPED)
    assert node.args[4] == Number(Apply("**", (H, Const(-0.5))))
    assert program.masks is MaskForm.BOOLEAN
    assert program.why_not == ()
    assert not any(isinstance(node, Call) for node in program.region.nodes)


@pytest.mark.parametrize(
    ("options", "expected"),
    (
        ({"cap": True}, {"cap": Cap.TANH}),
        ({"grouped": False, "kv": N}, {"heads": Heads.OWN}),
        ({"grouped": False}, {}),  # as many heads of keys as of queries, but counted by another key
        ({"softmax": None}, {"softmax": Precision.NATIVE}),
        ({"mask": False}, {"mask": MaskForm.ABSENT}),
    ),
)
def test_features_are_orthogonal(options: dict[str, object], expected: dict[str, object]) -> None:
    program = raise_program(attention_module(**options), (MASK,))
    (node,) = raised(program.region, Attention)
    standard = {"mask": MaskForm.BOOLEAN, "cap": Cap.ABSENT, "softmax": Precision.FLOAT32, "heads": Heads.GROUPED}
    assert {name: getattr(node.component, name) for name in standard} == {**standard, **expected}


@pytest.mark.parametrize("scale", ("mul", "query"))
def test_scale_is_found_wherever_it_is_applied(scale: str) -> None:
    (node,) = raised(raise_program(attention_module(scale=scale), (MASK,)).region, Attention)
    assert node.args[4] == Number(Apply("**", (H, Const(-0.5))))


def test_a_quotient_is_a_scale() -> None:
    (node,) = raised(raise_program(attention_module(scale="div"), (MASK,)).region, Attention)
    assert node.args[4] == Number(Apply("/", (Const(1.0), Apply("**", (H, Const(-0.5))))))


def test_cap_is_an_argument() -> None:
    (node,) = raised(raise_program(attention_module(cap=True), (MASK,)).region, Attention)
    assert node.args[5] == Number(Key(("cap",)))


def test_rotation_of_queries_and_keys() -> None:
    program = raise_program(attention_module(), (MASK,))
    assert [node.component for node in raised(program.region, Rotary)] == [Rotary(), Rotary()]
    assert all(node.component.tables is Tables.FULL for node in raised(program.region, Rotary))  # type: ignore[union-attr]


def test_a_mask_that_something_else_reads_stays_additive() -> None:
    region = attention_module()
    mask = region.params[MASK]
    negated = Op("neg", (mask,), (region.nodes[0].results[0].__class__(99, mask.shape, DType.MODEL),))  # type: ignore[union-attr, arg-type]
    region = Region(region.name, region.params, (*region.nodes, negated), (*region.results, negated.results[0]))
    program = raise_program(region, (MASK,))
    (node,) = raised(program.region, Attention)
    assert program.masks is MaskForm.ADDITIVE
    assert node.component.mask is MaskForm.ADDITIVE  # type: ignore[union-attr]
    assert "`neg` works on the numbers of a mask" in [w.reason for w in program.why_not]


def test_capped_attention_with_an_additive_mask_stays_as_it_is() -> None:
    region = attention_module(cap=True)
    mask = region.params[MASK]
    negated = Op("neg", (mask,), (region.nodes[0].results[0].__class__(99, mask.shape, DType.MODEL),))  # type: ignore[union-attr, arg-type]
    region = Region(region.name, region.params, (*region.nodes, negated), (*region.results, negated.results[0]))
    program = raise_program(region, (MASK,))
    assert raised(program.region, Attention) == []
    assert len(raised(program.region, Rotary)) == 2


def test_a_softmax_alone_says_why_it_is_none() -> None:
    region = attention_module()
    inner = next(n for n in region.nodes if isinstance(n, Call) and n.region.name == "eager_attention_forward")
    softmax = next(n for n in inner.region.nodes if isinstance(n, Op) and n.name == "softmax")
    cast = next(n for n in inner.region.nodes if isinstance(n, Op) and n.name == "cast")
    short = Region("router", inner.region.params, inner.region.nodes[: inner.region.nodes.index(cast)], softmax.results)
    program = raise_program(short)
    assert [w.reason for w in program.why_not] == ["its weights are used more than once"]


@pytest.mark.parametrize("shifted", (False, True))
def test_a_learned_column_is_a_sink(shifted: bool) -> None:
    b = Builder("forward")
    q, k, v = b.param("q", B, N, T, H), b.param("k", B, N, S, H), b.param("v", B, N, S, H)
    mask = b.param("mask", B, Const(1), T, S)
    shape, wide = (B, N, T, S), (B, N, T, Apply("+", (S, Const(1))))
    scores = b.op("matmul", q, b.op("transpose", k, n(2), n(3), shape=(B, N, H, S)), shape=shape)
    scores = b.op("add", b.op("mul", scores, n(Key(("scale",))), shape=shape), mask, shape=shape)
    sinks = b.op("parameter", Number(Const("sinks")), shape=(N,))
    column = b.op("reshape", sinks, (n(1), n(-1), n(1), n(1)), shape=(Const(1), N, Const(1), Const(1)))
    column = b.op("expand", column, (n(B), n(N), n(T), n(1)), shape=(B, N, T, Const(1)))
    scores = b.op("cat", (scores, column), n(-1), shape=wide)
    if shifted:
        greatest = b.op("amax", scores, n(-1), n(True), shape=(B, N, T, Const(1)))
        scores = b.op("sub", scores, greatest, shape=wide)
    probs = b.op("softmax", scores, n(-1), None, shape=wide)
    probs = b.op("getitem", probs, (Ellipsis_(), cut(None, -1)), shape=shape)
    region = b.region(b.op("matmul", probs, v, shape=(B, N, T, H)))
    (node,) = raised(raise_program(region, (3,)).region, Attention)
    assert node.component == Attention(MaskForm.BOOLEAN, softmax=Precision.NATIVE, sinks=Sinks.COLUMN)
    assert node.args[6] == sinks
