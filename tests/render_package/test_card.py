"""The card's words, and the small configuration of a package's own tests."""

from __future__ import annotations

import tomllib
from pathlib import Path

from codegen.lowering.card_view import diagram, facts, summary
from codegen.lowering.tiny_config import tiny_config
from ir.arch import (
    Arch,
    Attention,
    Gate,
    Heads,
    LayerKind,
    Mixer,
    Mlp,
    Norm,
    NormKind,
    NormWeight,
    Part,
    Precision,
    Scaling,
    Stack,
    Wiring,
)
from ir.expressions import Apply, Const, Key
from ir.graph import DType, Module, Parameter
from ir.spans import Span
from tests.render_package.grouped_query import WEIGHTS

EPS = Norm(NormKind.RMS, NormWeight.PLAIN, Precision.FLOAT32, Scaling.AFTER_CAST, eps=Key(("text", "eps")))
MIXER = Mixer(Attention(heads=Heads.GROUPED), scale=Apply("**", (Key(("head_dim",)), Const(-0.5))), query_norm=True)
LAYER = (Part("self_attn", "A", MIXER), Part("mlp", "M", Mlp(Gate.SEPARATE, "silu")), Part("mlp.act", "S", None, "no"))


def module(*children: tuple[str, Module], kind: str = "", line: int = 0, parameter: bool = False) -> Module:
    held = (Parameter("weight", (), DType.MODEL),) if parameter else ()
    return Module("Some", kind, (), held, children, Span("modeling.py", line, 0, line, 9) if line else None)


def tree() -> Module:
    attention = module(("q_proj", module(kind="Linear", parameter=True)), line=8)
    layer = module(("self_attn", attention), ("mlp", module(("act", module()), line=9)))
    layers = module(("0", layer), ("1", layer), kind="ModuleList")
    return module(("model", module(("layers", layers), ("norm", module(line=3, parameter=True)))))


def arch(*kinds: LayerKind) -> Arch:
    return Arch((Part("model.norm", "N", EPS),), (Stack("model.layers", kinds),))


EQUAL = arch(LayerKind((0, 1), Wiring.PRE_NORM, LAYER))


def test_the_summary_says_what_is_particular() -> None:
    assert summary(EQUAL).replace("\n", " ") == (
        "A causal language model: grouped-query attention with norms on queries, RMSNorm (pre-norm), gated MLP (silu)."
    )
    assert summary(Arch((), ())) == "A causal language model."
    mixed = summary(arch(*(LayerKind((i,), Wiring.OTHER, LAYER) for i in range(2)))).replace("\n", " ")
    assert mixed.endswith("RMSNorm, gated MLP (silu), 2 kinds of layers.")


def test_the_diagram_lists_modules_with_axes_and_facts() -> None:
    lines = diagram(EQUAL, tree(), WEIGHTS)
    assert [line.split() for line in lines[:6]] == [
        ["ids", "[B,", "T]"],
        ["model"],
        ["layers", "num_hidden_layers", "times,", "pre-norm"],
        "self_attn grouped-query attention with norms on queries, scale head_dim ** -0.5, softmax in float32".split(),
        ["q_proj", "QD"],
        ["mlp", "gated", "MLP", "(silu)"],
    ]
    mixed = diagram(arch(*(LayerKind((i,), Wiring.OTHER, LAYER) for i in range(2))), tree(), WEIGHTS)
    assert len(mixed) == len(lines) and "0 and 1 on different inputs" in mixed[2]


def test_facts_know_their_place() -> None:
    places = {fact.text: fact.provenance for fact in facts(EQUAL, tree())}
    assert places["`mlp`: gated MLP (silu)"] == "modeling.py:9"
    assert places["`model.norm`: RMSNorm, in float32, scaled after the cast back, eps eps"] == "modeling.py:3"


def test_a_configuration_shrinks_and_keeps_its_structure() -> None:
    raw = {
        "hidden_size": 2048,
        "head_dim": 128,
        "num_attention_heads": 12,
        "n_layer": 12,
        "vocab_size": 50000,
        "eos_token_id": [40000, 3],
        "window": 512,
        "kinds": ["a", "a", "b"] * 4,
        "act": "silu",
    }
    sizes = {"hidden_size", "head_dim", "num_attention_heads", "vocab_size"}
    small = tiny_config(raw, sizes, "n_layer", (0, 0, 1) * 4, {"window"})
    assert small == raw | {
        "hidden_size": 128,
        "head_dim": 8,
        "n_layer": 7,  # a cycle twice, and one layer more
        "vocab_size": 134,
        "eos_token_id": [133, 3],
        "window": 4,
        "kinds": ["a", "a", "b", "a", "a", "b", "a"],
    }
    assert tiny_config(small, sizes, "n_layer", (0, 0, 1, 0, 0, 1, 0), {"window"}) == small


def test_the_versions_named_are_those_of_the_tests() -> None:
    root = Path(__file__).parents[2]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    pinned = dict(line.split("==") for line in (*extras["torch"], *extras["flax"]))
    said = (root / "templates" / "card.md.jinja").read_text()
    assert f"torch {pinned['torch']}, jax {pinned['jax']} and flax {pinned['flax']}" in said
