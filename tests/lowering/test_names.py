"""Classes that the source calls the same are told apart by what a reader knows them by, and by a number where nothing is."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from codegen.lowering.names import name_classes, words_of_layers
from codegen.pipeline import compile_package
from codegen.repo import load


@dataclass
class Class:
    source_name: str
    paths: list[str]
    held: list[Class] = field(default_factory=list)
    name: str = ""


def layers(*numbers: int, child: str = "") -> list[str]:
    return [f"layers.{number}{child}" for number in numbers]


def named(
    *classes: Class, labels: tuple[tuple[str, ...], ...] = (), library: frozenset[str] = frozenset()
) -> list[str]:
    top = Class("FooForCausalLM", [""])
    name_classes([*classes, top], top, library, labels)
    return [made.name for made in classes]


def test_the_prefix_of_the_model_goes() -> None:
    assert named(Class("FooAttention", layers(0)), Class("FooModel", ["model"])) == ["Attention", "Decoder"]


def test_what_the_configuration_calls_the_layers() -> None:
    """The first list that tells all of them apart; words that the name has already are not said twice."""
    classes = (
        Class("FooAttention", layers(0, 2, child=".attn")),
        Class("FooAttention", layers(1, child=".attn")),
        Class("FooLayer", layers(0, 2)),
        Class("FooLayer", layers(1)),
    )
    labels = (("dense",) * 3, ("sliding_attention", "full_attention", "sliding_attention"))
    assert named(*classes, labels=labels) == [
        "SlidingAttention", "FullAttention", "SlidingAttentionLayer", "FullAttentionLayer",
    ]  # fmt: skip


def test_the_child_that_none_of_the_others_has() -> None:
    norm, mixer, attention = (Class(f"Foo{name}", layers(0)) for name in ("Norm", "Mixer", "Attention"))
    classes = (
        norm,
        mixer,
        attention,
        Class("FooLayer", layers(0), [norm, mixer]),
        Class("FooLayer", layers(1), [norm, attention]),
    )
    assert named(*classes)[3:] == ["MixerLayer", "AttentionLayer"]


def test_what_their_owners_call_them() -> None:
    classes = (Class("FooAttention", ["layers.0.self_attn"]), Class("FooAttention", ["layers.0.encoder_attn"]))
    assert named(*classes) == ["SelfAttention", "EncoderAttention"]


@pytest.mark.parametrize(
    ("first", "second"),
    [("layers.0.norm", "norm"), ("layers.0.rms_norm", "layers.0.norm"), ("layers.0", "layers.1")],
)
def test_numbers_where_there_is_nothing_else(first: str, second: str) -> None:
    assert named(Class("FooNorm", [first]), Class("FooNorm", [second])) == ["Norm", "Norm2"]


def test_no_class_hides_another() -> None:
    """Neither one of the source that is called so, nor one of the framework."""
    classes = (
        Class("FooAttention", ["layers.0.self_attn"]),
        Class("FooAttention", ["layers.0.cross_attn"]),
        Class("FooSelfAttention", ["layers.0.own"]),
    )
    assert named(*classes) == ["Attention", "Attention2", "SelfAttention"]
    assert named(Class("FooLinear", ["a"]), Class("FooMLP", ["b"]), library=frozenset({"Linear"})) == [
        "FooLinear",
        "MLP",
    ]


def test_text_is_said_only_beside_something_else() -> None:
    text, vision = Class("FooTextNorm", ["text.norm"]), Class("FooVisionNorm", ["vision.norm"])
    assert named(Class("FooTextNorm", ["norm"]), Class("FooTextMLP", ["mlp"])) == ["Norm", "MLP"]
    assert named(text, vision) == ["Norm", "VisionNorm"]
    assert named(Class("FooTextNorm", ["text.norm"]), Class("FooNorm", ["norm"])) == ["TextNorm", "Norm"]
    assert named(Class("FooTextCache", ["cache"]), Class("FooMLP", ["mlp"])) == ["TextCache", "MLP"]


def test_labels_are_words_for_all_layers() -> None:
    resolved = {"a": ["x", "y"], "b": [1, 2], "c": ["x"], "d": "xy", "e": ["", "x"]}
    assert words_of_layers(resolved, 2) == {"a": ["x", "y"]}


@pytest.mark.parametrize("case", ["cases/gemma2", "cases/modernbert-decoder", "other_cases/llama4_text"])
def test_masks_have_names_of_their_own_and_one_order(case: str, tmp_path: Path) -> None:
    data = Path(__file__).parents[1] / "data"
    (tmp_path / "config.json").write_text((data / f"{case}.json").read_text())
    files = compile_package(load(str(tmp_path))).files
    for name in ("torch_model.py", "flax_model.py"):
        orders = set()
        for node in ast.walk(ast.parse(files[name])):
            named: list[str] = []
            if isinstance(node, ast.FunctionDef):
                named = [arg.arg for arg in node.args.args if arg.arg.endswith("_mask")]
            elif isinstance(node, ast.Call):
                named = [arg.id for arg in node.args if isinstance(arg, ast.Name) and arg.id.endswith("_mask")]
            if len(named) > 1:
                orders.add(tuple(named))
        assert len(orders) == 1
        assert set(*orders) in ({"full_mask", "sliding_mask"}, {"full_mask", "chunk_mask"})
