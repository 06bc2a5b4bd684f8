"""What may lie between the product of queries and keys and the softmax: recognised, and computed as before."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.raising.definitions import as_region
from codegen.raising.program import RaisedProgram, raise_program
from codegen.raising.shapes import merges_heads, same_size
from ir.arch import Attention, Direction, MaskForm, Sinks
from ir.evaluate import Context, evaluate_region
from ir.expressions import Apply, Const, Environment, Key
from ir.graph import DType, Number, Raised, Region, Value
from tests.raising.builder import B, Builder, H, N, S, T, n

SIZES = {"num_attention_heads": 3, "head_dim": 4, "cap": 1.5}
TOKENS = 5
ROOT = Apply("**", (H, Const(-0.5)))
MASK = 3


class Scores(Builder):
    """Attention step by step: each method is one operation between the product and the softmax."""

    def __init__(self) -> None:
        super().__init__("forward")
        self.q, self.k, self.v = self.param("q", B, N, T, H), self.param("k", B, N, S, H), self.param("v", B, N, S, H)
        self.mask = self.param("mask", B, Const(1), T, S)
        self.shape = (B, N, T, S)

    def product(self) -> Value:
        return self.op("matmul", self.q, self.op("transpose", self.k, n(2), n(3), shape=(B, N, H, S)), shape=self.shape)

    def scaled(self, scores: Value, name: str = "mul") -> Value:
        return self.op(name, scores, n(ROOT), shape=self.shape)

    def masked(self, scores: Value) -> Value:
        return self.op("add", scores, self.mask, shape=self.shape)

    def least(self) -> Value:
        return self.op("finfo_min", DType.MODEL, shape=())

    def attended(self, scores: Value) -> Value:
        weights = self.op("softmax", scores, n(-1), None, shape=self.shape)
        return self.op("matmul", weights, self.v, shape=(B, N, T, H))


def attentions(program: RaisedProgram) -> list[Raised]:
    return [node for node in program.region.nodes if isinstance(node, Raised) and isinstance(node.component, Attention)]


def reasons(program: RaisedProgram) -> list[str]:
    return [why.reason for why in program.why_not if why.rule == "attention"]


def evaluated(region: Region, args: list[np.ndarray]) -> np.ndarray:
    context = Context(Environment(config=SIZES), DType.FLOAT64, {"sinks": SINKS}, {}, as_region)
    return np.asarray(evaluate_region(region, args, context)[0])


SINKS = np.array([0.3, -1.0, 2.0])
CAUSAL = np.tril(np.ones((2, 1, TOKENS, TOKENS), bool))


def inputs() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(2, 3, TOKENS, 4)) for _ in range(3)]


def same_as_before(region: Region, *extra: np.ndarray, raised: int = 1) -> RaisedProgram:
    """Raise `region`, whose parameters are q, k, v, a mask and what `extra` holds, and compare the two."""
    program = raise_program(region, (MASK,))
    assert len(attentions(program)) == raised, reasons(program)
    additive = np.where(CAUSAL, 0.0, np.finfo(np.float64).min)
    mask = CAUSAL if program.masks is MaskForm.BOOLEAN else additive
    expected = evaluated(region, [*inputs(), additive, *extra])
    np.testing.assert_allclose(evaluated(program.region, [*inputs(), mask, *extra]), expected, atol=1e-9)
    return program


def test_a_mask_before_the_scale_is_a_mask() -> None:
    b = Scores()
    program = same_as_before(b.region(b.attended(b.scaled(b.masked(b.product())))))
    (node,) = attentions(program)
    assert (program.masks, program.optional) == (MaskForm.BOOLEAN, True)
    assert node.args[4] == Number(ROOT)


def test_a_bias_before_the_scale_is_scaled() -> None:
    b = Scores()
    bias = b.param("bias", Const(1), N, T, S)
    scores = b.op("add", b.product(), bias, shape=b.shape)
    region = b.region(b.attended(b.masked(b.scaled(scores))))
    extra = np.random.default_rng(1).normal(size=(1, 3, TOKENS, TOKENS))
    program = same_as_before(region, extra)
    assert program.masks is MaskForm.ADDITIVE


@pytest.mark.parametrize("name", ("where", "masked_fill"))
def test_hidden_scores_are_a_mask(name: str) -> None:
    b = Scores()
    seen = b.param("seen", Const(1), Const(1), T, S, dtype=DType.BOOL)
    args = (seen, b.product(), b.least()) if name == "where" else (b.product(), seen, b.least())
    region = b.region(b.attended(b.scaled(b.op(name, *args, shape=b.shape))))
    band = np.tril(np.ones((1, 1, TOKENS, TOKENS), bool))
    program = same_as_before(region, band if name == "where" else ~band)
    (node,) = attentions(program)
    assert isinstance(node.component, Attention)
    assert (node.component.mask, node.component.direction) == (MaskForm.BOOLEAN, Direction.GIVEN)


def test_two_masks_hide_what_either_hides() -> None:
    b = Scores()
    seen = b.param("seen", Const(1), Const(1), T, S, dtype=DType.BOOL)
    scores = b.op("where", seen, b.scaled(b.product()), b.least(), shape=b.shape)
    band = ~np.tril(np.ones((1, 1, TOKENS, TOKENS), bool), -2)
    program = same_as_before(b.region(b.attended(b.masked(scores))), band)
    assert (program.masks, program.optional) == (MaskForm.BOOLEAN, False)


def test_hidden_by_the_mask_turned_around() -> None:
    b = Scores()
    bias = b.param("bias", N, Const(1), S)
    hidden = b.op("cast", b.mask, DType.BOOL, shape=b.mask.shape, dtype=DType.BOOL)
    scores = b.op("add", b.scaled(b.product()), bias, shape=b.shape)
    scores = b.op("masked_fill", scores, hidden, b.least(), shape=b.shape)
    program = same_as_before(b.region(b.attended(scores)), np.random.default_rng(1).normal(size=(3, 1, TOKENS)))
    assert (program.masks, program.optional) == (MaskForm.BOOLEAN, False)


@pytest.mark.parametrize("value", (0.0, -1.0, -100.0))
def test_another_number_than_the_least_is_no_mask(value: float) -> None:
    b = Scores()
    seen = b.param("seen", Const(1), Const(1), T, S, dtype=DType.BOOL)
    scores = b.op("where", seen, b.product(), n(value), shape=b.shape)
    program = same_as_before(b.region(b.attended(b.masked(scores))), CAUSAL[:1], raised=0)
    assert reasons(program) != []


def test_hiding_before_a_factor_of_unknown_sign_is_no_mask() -> None:
    b = Scores()
    seen = b.param("seen", Const(1), Const(1), T, S, dtype=DType.BOOL)
    scores = b.op("where", seen, b.product(), b.least(), shape=b.shape)
    scores = b.op("mul", scores, n(Key(("multiplier",))), shape=b.shape)
    program = raise_program(b.region(b.attended(scores)), (MASK,))
    assert reasons(program) == ["some of its scores are hidden before they are scaled or limited"]


def test_a_limit_below_all_scores_limits_nothing() -> None:
    b = Scores()
    lowest = b.op("full", (), b.least(), DType.MODEL, shape=())
    scores = b.op("maximum", b.masked(b.scaled(b.product())), lowest, shape=b.shape)
    same_as_before(b.region(b.attended(scores)))


def test_a_limit_that_scores_reach_is_no_attention() -> None:
    b = Scores()
    scores = b.op("clamp", b.masked(b.scaled(b.product())), n(-1.0), None, shape=b.shape)
    assert reasons(same_as_before(b.region(b.attended(scores)), raised=0)) == ["its scores are limited from below"]


@pytest.mark.parametrize(("beta", "alpha"), ((1.0, 0.5), (1.0, 1.0), (0.25, 0.5)))
@pytest.mark.parametrize("split", (True, False))
def test_heads_in_the_batch(beta: float, alpha: float, split: bool) -> None:
    b = Scores()
    bias = b.param("bias", Apply("*", (B, N)), Const(1), S)
    merged = Apply("*", (B, N))

    def merge(x: Value) -> Value:
        return b.op("reshape", x, (n(merged), n(x.shape[2]), n(x.shape[3])), shape=(merged, *x.shape[2:]))

    turned = b.op("transpose", merge(b.k), n(1), n(2), shape=(merged, H, S))
    scores = b.op("baddbmm", bias, merge(b.q), turned, n(beta), n(alpha), shape=(merged, T, S))
    scores = b.masked(b.op("reshape", scores, (n(B), n(N), n(T), n(S)), shape=b.shape))
    weights = b.op("softmax", scores, n(-1), None, shape=b.shape)
    out = b.op("matmul", merge(weights), merge(b.v), shape=(merged, T, H))
    if split:
        out = b.op("reshape", out, (n(B), n(N), n(T), n(H)), shape=(B, N, T, H))
    same_as_before(b.region(out), np.random.default_rng(1).normal(size=(6, 1, TOKENS)))


def test_batch_and_tokens_merged_are_not_heads() -> None:
    assert merges_heads((B, N, T, H), (Apply("*", (N, B)), T, H))
    assert not merges_heads((B, N, T, H), (Apply("*", (B, T)), N, H))
    assert not merges_heads((B, T, N, H), (B, T, Apply("*", (N, H))))
    width = Key(("hidden_size",))
    assert same_size(Apply("//", (width, Apply("//", (width, N)))), N)
    assert not same_size(Apply("//", (width, N)), N)


def sinked(b: Scores, *, turned: bool = False, share: str = "sigmoid") -> Region:
    """Attention times the share that is left beside a learned score."""
    scores = b.masked(b.scaled(b.product()))
    total = b.op("logsumexp", scores, n(-1), n(False), shape=(B, N, T))
    sinks = b.op("parameter", Number(Const("sinks")), shape=(N,))
    column = b.op("reshape", sinks, (n(1), n(-1), n(1)), shape=(Const(1), N, Const(1)))
    pair = (column, total) if turned else (total, column)
    left = b.op(share, b.op("sub", *pair, shape=(B, N, T)), shape=(B, N, T))
    left = b.op("unsqueeze", left, n(-1), shape=(B, N, T, Const(1)))
    return b.region(b.op("mul", b.attended(scores), left, shape=(B, N, T, H)))


def test_a_share_beside_a_learned_score_is_a_sink() -> None:
    (node,) = attentions(same_as_before(sinked(Scores())))
    assert isinstance(node.component, Attention)
    assert node.component.sinks is Sinks.COLUMN


@pytest.mark.parametrize("options", ({"turned": True}, {"share": "tanh"}))
def test_another_share_is_no_sink(options: dict[str, object]) -> None:
    program = raise_program(sinked(Scores(), **options), (MASK,))  # type: ignore[arg-type]
    assert all(
        isinstance(node.component, Attention) and node.component.sinks is Sinks.ABSENT for node in attentions(program)
    )


def test_a_cap_beside_sinks_is_refused() -> None:
    b = Scores()
    cap = n(Key(("cap",)))
    scores = b.op("tanh", b.op("div", b.scaled(b.product()), cap, shape=b.shape), shape=b.shape)
    scores = b.masked(b.op("mul", scores, cap, shape=b.shape))
    wide = (B, N, T, Apply("+", (S, Const(1))))
    sinks = b.op("parameter", Number(Const("sinks")), shape=(N,))
    column = b.op("reshape", sinks, (n(1), n(-1), n(1), n(1)), shape=(Const(1), N, Const(1), Const(1)))
    column = b.op("expand", column, (n(B), n(N), n(T), n(1)), shape=(B, N, T, Const(1)))
    weights = b.op("softmax", b.op("cat", (scores, column), n(-1), shape=wide), n(-1), None, shape=wide)
    from ir.graph import Ellipsis_, SliceOf

    weights = b.op("getitem", weights, (Ellipsis_(), SliceOf(None, n(-1), None)), shape=b.shape)
    region = b.region(b.op("matmul", weights, b.v, shape=(B, N, T, H)))
    assert reasons(same_as_before(region, raised=0)) == ["its scores are limited and have sinks"]
