"""What published architectures are said to be, by what their papers say of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codegen import pipeline
from codegen.repo import load
from ir.arch import Arch, Experts, Fact, Gate, Mixer, Mlp

DATA = Path(__file__).parent.parent / "data"


def facts(name: str, folder: Path) -> list[Fact]:
    (folder / "config.json").write_text((DATA / f"{name}.json").read_text())
    repository = load(str(folder))
    arch = pipeline.trace(repository, pipeline.build(repository)).arch
    assert isinstance(arch, Arch)
    return [part.fact for stack in arch.stacks for kind in stack.kinds for part in kind.parts if part.fact is not None]


@pytest.mark.parametrize(
    ("name", "latent"),
    [("other_cases/deepseek_v3", True), ("other_cases/minicpm3", True), ("cases/qwen3", False), ("cases/phi3", False)],
)
def test_latent_attention_projects_keys_twice(name: str, latent: bool, tmp_path: Path) -> None:
    mixers = [fact for fact in facts(name, tmp_path) if isinstance(fact, Mixer)]
    assert mixers and {mixer.latent for mixer in mixers} == {latent}


@pytest.mark.parametrize(("name", "activation"), [("cases/opt", "relu"), ("other_cases/bart", "gelu")])
def test_a_network_may_stand_in_the_layer_itself(name: str, activation: str, tmp_path: Path) -> None:
    assert json.loads((DATA / f"{name}.json").read_text())["activation_function"] == activation
    networks = {fact for fact in facts(name, tmp_path) if isinstance(fact, Mlp)}
    assert networks == {Mlp(Gate.ABSENT, activation)}


def test_experts_are_no_network_of_the_layer(tmp_path: Path) -> None:
    found = facts("other_cases/mixtral", tmp_path)
    assert any(isinstance(fact, Experts) for fact in found) and not any(isinstance(fact, Mlp) for fact in found)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mamba2", "a state space with a short convolution in all layers, RMSNorm"),
        ("bamba", "grouped-query attention in 2 of 4 layers, a state space with a short convolution in 2 of 4 layers"),
        ("jamba", "grouped-query attention in 1 of 4 layers, a state space with a short convolution in 3 of 4 layers"),
        ("qwen3_next", "the gated delta rule with a short convolution in 3 of 4 layers"),
        ("lfm2", "in 2 of 4 layers, a short convolution in 2 of 4 layers"),
        ("arcee", "grouped-query attention, rotary positions, RMSNorm (pre-norm), MLP (squared ReLU)."),
        ("gemma", "gated MLP (tanh-approximated GELU), scaled embeddings."),
    ],
)
def test_the_sentence_about_an_architecture(name: str, said: str, tmp_path: Path) -> None:
    paths = (DATA / folder / f"{name}.json" for folder in ("cases", "other_cases"))
    (tmp_path / "config.json").write_text(next(path for path in paths if path.exists()).read_text())
    card = pipeline.compile_package(load(str(tmp_path))).files["README.md"]
    assert said in " ".join(card.partition("```")[0].split())


def test_the_diagram_follows_the_data(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((DATA / "other_cases" / "bamba.json").read_text())
    card = pipeline.compile_package(load(str(tmp_path))).files["README.md"]
    drawn = [line.split()[0] for line in card.split("```")[1].splitlines() if line.split()]
    first = drawn[drawn.index("layers") :]
    assert (
        first.index("input_layernorm")
        < first.index("mamba")
        < first.index("pre_ff_layernorm")
        < first.index("feed_forward")
    )
    assert first.index("in_proj") < first.index("conv1d") < first.index("out_proj")
