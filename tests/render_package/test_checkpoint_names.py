"""Names of published checkpoints, against the library's own loader."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

from codegen.diagnostics import CompileError
from codegen.lowering.checkpoint_names import (
    Convert,
    Submodel,
    conversions_of,
    match_checkpoint,
    module_path,
    published_name,
    read_conversions,
)

TABLE = """
_MODEL_TO_CONVERSION_PATTERN = {"second": "first"}


def _build_checkpoint_conversion_mapping():
    mapping = {
        "first": [
            WeightRenaming(r"^embed_out\\.", "lm_head."),
            WeightRenaming(source_patterns=r"\\.attn\\.(q|k)\\.", target_patterns=r".self_attn.\\1_proj."),
            WeightConverter(
                source_patterns=["mlp.experts.*.up.weight"],
                target_patterns="mlp.experts.up",
                operations=[MergeModulelist(dim=0)],
            ),
        ],
        "strange": [make(3)],
    }
    head = r"^old\\."
    mapping["third"] = mapping["first"].copy()
    mapping["third"] += [WeightRenaming(head + r"norm\\.", "final.")]
    return mapping
"""
TREE = read_conversions(ast.parse(TABLE))
PATHS = ["lm_head.weight", "model.layers.0.self_attn.q_proj.weight", "model.norm.weight"]


def of(model_type: str) -> tuple:
    return conversions_of(TREE, [Submodel("", "Some", model_type)], "model")


def test_entries_are_read_as_data() -> None:
    assert len(of("first")) == 3 and of("second") == of("first") and of("missing") == ()
    assert len(of("third")) == 4 and of("third")[3].sources == (r"^old\.norm\.",)
    with pytest.raises(CompileError, match="cannot be read"):
        of("strange")


def test_names_are_matched_both_ways() -> None:
    names = ["embed_out.weight", "layers.0.attn.q.weight", "model.norm.weight"]
    matched = match_checkpoint([*names, "rotary.inv_freq"], PATHS, of("first"), "model", [r"inv_freq$"])
    assert matched == dict(zip(PATHS, names, strict=True))
    assert published_name("lm_head.weight", of("first")) == "embed_out.weight"
    assert published_name("model.layers.{}.self_attn.k_proj.bias", of("first")) == "model.layers.{}.attn.k.bias"
    assert isinstance(published_name("model.layers.{}.mlp.experts.up", of("first")), Convert)


def test_every_finding_is_reported() -> None:
    names = ["embed_out.weight", "lm_head.weight", "who.weight", "layers.0.mlp.experts.1.up.weight"]
    with pytest.raises(CompileError) as caught:
        match_checkpoint(names, PATHS, of("first"), "model")
    codes = [diagnostic.code for diagnostic in caught.value.diagnostics]
    assert sorted(codes) == ["doubled-tensor", "unknown-tensor", "weight-operation"]
    assert "MergeModulelist" in str(caught.value)


def library() -> ast.Module:
    spec = importlib.util.find_spec("transformers")
    assert spec is not None and spec.origin is not None
    return ast.parse(Path(spec.origin).with_name("conversion_mapping.py").read_text())


@pytest.mark.parametrize(
    ("class_name", "model_type", "names"),
    [
        ("GPTNeoXForCausalLM", "gpt_neox", ["embed_out.weight", "gpt_neox.layers.1.mlp.dense.weight"]),
        ("Any", "nemotron_h", ["backbone.layers.3.mixer.A_log", "backbone.layers.1.mixer.experts.2.up_proj.weight"]),
        ("Any", "bailing_hybrid", ["model.word_embeddings.weight", "model.layers.0.attention.dense.weight"]),
        ("Any", "deepseek_v4", ["embed.weight", "layers.2.attn.wq_a.weight", "layers.0.ffn.gate.bias", "hc_head_fn"]),
        ("Any", "hrm_text", ["model.layers.0.attn.o_proj.weight", "model.layers.0.attn.gqkv_proj.weight"]),
        ("Any", "qwen2_moe", ["model.layers.0.mlp.experts.1.gate_proj.weight", "model.norm.weight"]),
        (
            "Any",
            "kimi_linear",
            ["model.layers.0.self_attn.q_conv1d.weight", "model.layers.1.block_sparse_moe.gate.weight"],
        ),
    ],
)
def test_transforms_match_as_the_library_does(class_name: str, model_type: str, names: list[str]) -> None:
    mapping = pytest.importorskip("transformers.conversion_mapping")
    loading = pytest.importorskip("transformers.core_model_loading")
    ours = conversions_of(read_conversions(library()), [Submodel("", class_name, model_type)], "model")
    theirs = mapping.get_checkpoint_conversion_mapping(class_name) or mapping.get_checkpoint_conversion_mapping(
        model_type
    )
    renames = [made for made in theirs if isinstance(made, loading.WeightRenaming)]
    converters = [made for made in theirs if isinstance(made, loading.WeightConverter)]
    for name in names:
        path, converted = loading.rename_source_key(name, renames, converters)
        found = module_path(name, ours, [], "")
        assert isinstance(found, Convert) if converted else found == path
