"""Names of published checkpoints, against the library's own loader."""

from __future__ import annotations

import ast
import importlib.util
import json
from pathlib import Path

import pytest

from codegen import pipeline
from codegen.diagnostics import CompileError
from codegen.joints import naming_of
from codegen.lowering.checkpoint_names import Model, match_checkpoint, places, published
from codegen.lowering.conversion_table import Submodel, conversions_of, read_conversions
from codegen.lowering.layouts import Stack
from codegen.repo import load
from codegen.repo.load import from_record

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
MATRIX = (3, 5)
PARAMETERS = {
    "lm_head.weight": MATRIX,
    "model.layers.0.self_attn.q_proj.weight": MATRIX,
    "model.layers.0.mlp.experts.up": (2, *MATRIX),
    "model.norm.weight": (5,),
}
NAMES = {
    "embed_out.weight": "lm_head.weight",
    "layers.0.attn.q.weight": "model.layers.0.self_attn.q_proj.weight",
    "model.norm.weight": "model.norm.weight",
}
EXPERTS = ["layers.0.mlp.experts.0.up.weight", "layers.0.mlp.experts.1.up.weight"]


def of(model_type: str) -> tuple:
    return conversions_of(TREE, [Submodel("", "Some", model_type)], "model")


def model_of(model_type: str) -> Model:
    return Model(of(model_type), "model", PARAMETERS)


def test_entries_are_read_as_data() -> None:
    assert len(of("first")) == 3 and of("second") == of("first") and of("missing") == ()
    assert len(of("third")) == 4 and of("third")[3].sources == (r"^old\.norm\.",)
    with pytest.raises(CompileError, match="cannot be read"):
        of("strange")


def test_names_are_matched_both_ways() -> None:
    matched = match_checkpoint(dict.fromkeys([*NAMES, *EXPERTS]), model_of("first"))
    assert not matched.findings and not matched.strays
    assert matched.layouts == {path: name for name, path in NAMES.items()} | {
        "model.layers.0.mlp.experts.up": Stack("layers.0.mlp.experts.*.up.weight")
    }
    first = model_of("first")
    assert published("lm_head.weight", first) == "embed_out.weight"
    assert published("model.layers.{}.self_attn.k_proj.bias", first) == "model.layers.{}.attn.k.bias"
    assert published("model.layers.{}.mlp.experts.up", first) == Stack("model.layers.{}.mlp.experts.*.up.weight")


def test_what_is_merged_already_is_read_as_it_is() -> None:
    name = "model.layers.0.mlp.experts.up"
    assert match_checkpoint(dict.fromkeys([*NAMES, name]), model_of("first")).layouts[name] == name


def test_every_finding_is_reported() -> None:
    names = ["embed_out.weight", "lm_head.weight", "who.weight", "layers.0.mlp.experts.1.up.weight"]
    matched = match_checkpoint(dict.fromkeys(names), model_of("first"))
    assert matched.strays == ("who.weight",)
    assert sorted(finding.code for finding in matched.findings) == ["doubled-tensor", "missing-tensor"]
    assert "not numbered from 0" in str(CompileError(*matched.findings))
    assert matched.failed == {"model.layers.0.mlp.experts.up"} and names[3] in matched.blamed


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
        place = places([name], Model(ours))[name]
        assert place.path == path and (place.pattern or None) == converted


OWN_CODE = """
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel


class OwnConfig(PretrainedConfig):
    model_type = "mixtral"

    def __init__(self, hidden_size=8, **kwargs):
        self.hidden_size = hidden_size
        super().__init__(**kwargs)


class MixtralForCausalLM(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.lm_head = nn.Linear(config.hidden_size, config.hidden_size)
"""


def test_code_of_a_repository_is_converted_by_nothing(tmp_path: Path) -> None:
    """The library's conversions are not for models that only share a name with one of its own."""
    (tmp_path / "modeling_own.py").write_text(OWN_CODE)
    classes = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.MixtralForCausalLM"}
    config = {"model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "auto_map": classes, "hidden_size": 8}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert naming_of(pipeline.build(load(str(tmp_path)))).conversions == ()
    library = json.loads((Path(__file__).parents[1] / "data" / "other_cases" / "mixtral.json").read_text())
    assert naming_of(pipeline.build(from_record("some", "", library))).conversions
