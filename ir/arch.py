"""What the source means: the components of the field, and the architecture that they make.

A component of the graph (`Component`) stands in a region as `Raised`: its fields say what code it is, its arguments which
tensors and numbers it works on. A fact (`Fact`) says what a module is whose code stays as it is. Every difference that
changes numbers is a field.
"""

from __future__ import annotations

from enum import Enum

from ir.expressions import Expr
from ir.records import dataclass


class _Named(Enum):
    """An enumeration that prints as Python reads it."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


class MaskForm(_Named):
    """What hides tokens: nothing, a mask that is True where a token attends, or numbers that are added to the scores."""

    ABSENT = "absent"
    BOOLEAN = "boolean"
    ADDITIVE = "additive"


class Direction(_Named):
    """What a boolean mask of None means: each token sees those before it, or all tokens see each other. Or it is never None."""

    CAUSAL = "causal"
    BOTH = "both"
    GIVEN = "given"


class Precision(_Named):
    """The type of an inner computation: that of the input, or float32."""

    NATIVE = "native"
    FLOAT32 = "float32"


class Pairing(_Named):
    """Which elements a rotation turns together: i with i + H/2, or 2i with 2i + 1."""

    HALVES = "halves"
    NEIGHBOURS = "neighbours"


class Tables(_Named):
    """Cosines and sines as wide as the heads, each twice; the same with the first sine of each pair negated; one for each pair."""

    FULL = "full"
    SIGNED = "signed"
    HALF = "half"


class Extent(_Named):
    """Whether all elements of a head turn, or the first ones, as many as the tables have."""

    WHOLE = "whole"
    FIRST = "first"


class Sinks(_Named):
    """Whether each head has a learned score that takes attention away from the tokens."""

    ABSENT = "absent"
    COLUMN = "column"


class Cap(_Named):
    """Whether scores are limited softly, as cap * tanh(scores / cap)."""

    ABSENT = "absent"
    TANH = "tanh"


class Heads(_Named):
    """Whether every query head has its own keys and values, or groups of query heads share them."""

    OWN = "own"
    GROUPED = "grouped"


class NormKind(_Named):
    """By the root of the mean square, or by mean and variance."""

    RMS = "rms"
    LAYER = "layer"


class NormWeight(_Named):
    """What the normalised value is multiplied by: nothing, the weight, or one plus the weight."""

    ABSENT = "absent"
    PLAIN = "plain"
    ONE_PLUS = "one plus"


class Scaling(_Named):
    """Whether the weight is applied before the value is cast back to its type, after it, or nothing is cast."""

    BEFORE_CAST = "before the cast back"
    AFTER_CAST = "after the cast back"
    NO_CAST = "no cast"


class Gate(_Named):
    """`down(act(up(x)))`, `down(act(gate(x)) * up(x))`, or the same with gate and up as one matrix."""

    ABSENT = "absent"
    SEPARATE = "separate"
    FUSED = "fused"


class Wiring(_Named):
    """Where a layer normalises: before each part, after it, both, or once for parts that run side by side."""

    PRE_NORM = "pre-norm"
    POST_NORM = "post-norm"
    SANDWICH = "sandwich"
    PARALLEL = "parallel"
    RESIDUAL_POST = "norm after the residual sum"
    OTHER = "other"


# Components of the graph. Each docstring lists the arguments.


@dataclass(frozen=True, slots=True)
class Attention:
    """softmax(scale * q @ k.T, masked) @ v over heads; arguments q [B, N, T, H], k, v [B, K, S, H], mask [B, 1, T, S] or None,
    scale, cap or None, sinks [N] or None -> [B, N, T, H].
    """

    mask: MaskForm = MaskForm.ABSENT
    direction: Direction = Direction.CAUSAL
    softmax: Precision = Precision.FLOAT32
    heads: Heads = Heads.OWN
    cap: Cap = Cap.ABSENT
    sinks: Sinks = Sinks.ABSENT


@dataclass(frozen=True, slots=True)
class Rotary:
    """Pairs of elements turned by an angle; arguments x [..., T, H], cos, sin (that broadcast with x, or with half of it)."""

    pairing: Pairing = Pairing.HALVES
    tables: Tables = Tables.FULL
    extent: Extent = Extent.WHOLE


@dataclass(frozen=True, slots=True)
class RootMeanSquare:
    """x * rsqrt(mean(x ** 2) + eps) over the last axis, in the type of x; arguments x, eps."""


Component = Attention | Rotary | RootMeanSquare


# Facts about modules


@dataclass(frozen=True, slots=True)
class Norm:
    """A normalisation over the last axis."""

    kind: NormKind
    weight: NormWeight
    precision: Precision
    scaling: Scaling
    bias: bool = False
    eps: Expr | None = None


@dataclass(frozen=True, slots=True)
class Mlp:
    """Projections with an activation between; `activation` is an operation of ir.ops or the name of a helper function."""

    gate: Gate
    activation: str
    bias: bool = False


@dataclass(frozen=True, slots=True)
class Experts:
    """`count` networks of which every token goes through `chosen`; it gets the sum of what they make of it, each with its
    weight. `activation` is as for an Mlp, or empty where the source has one of its own."""

    count: Expr
    chosen: Expr
    gate: Gate
    activation: str = ""


@dataclass(frozen=True, slots=True)
class Embedding:
    """Rows of a table; `factor` multiplies them."""

    factor: Expr | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """Logits by a product with a matrix; `cap` limits them, `factor` multiplies them."""

    cap: Expr | None = None
    factor: Expr | None = None


@dataclass(frozen=True, slots=True)
class Mixer:
    """A module that mixes tokens by attention: the component in it, and what surrounds it. Latent attention makes keys of a
    few numbers a token, which are normed and projected again.
    """

    attention: Attention
    scale: Expr | None = None
    rotary: Rotary | None = None
    query_norm: bool = False
    key_norm: bool = False
    gated: bool = False
    window: Expr | None = None
    latent: bool = False


@dataclass(frozen=True, slots=True)
class RotaryScheme:
    """Where angles come from: the rule that computes the frequencies, over which positions."""

    rule: str
    theta: Expr | None = None
    factor: Expr | None = None


Fact = Norm | Mlp | Experts | Embedding | Head | Mixer | RotaryScheme


@dataclass(frozen=True, slots=True)
class Part:
    """A module by its path from the one that holds it. Without a fact, `why_not` says what kept the nearest rule from it."""

    path: str
    class_name: str
    fact: Fact | None = None
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class LayerKind:
    """Layers that run the same code."""

    layers: tuple[int, ...]
    wiring: Wiring
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Stack:
    """A list of layers; `kinds` has the kind of each layer of the compiled checkpoint."""

    path: str
    kinds: tuple[LayerKind, ...]


@dataclass(frozen=True, slots=True)
class Arch:
    """An architecture: what runs once, and its stacks of layers."""

    parts: tuple[Part, ...]
    stacks: tuple[Stack, ...]
    masks: MaskForm = MaskForm.ADDITIVE
    sizes: tuple[tuple[str, Expr], ...] = ()
