"""Every tensor of a checkpoint has one place or a reason to have none; whatever is wrong is said at once."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from codegen import graph, pipeline
from codegen.diagnostics import CompileError, Diagnostic
from codegen.joints import naming_of, unpacked
from codegen.lowering import layouts
from codegen.lowering.accounting import Accounts, account, recorded_layouts
from codegen.repo.load import from_record
from codegen.repo.repository import TensorHeader

DATA = Path(__file__).parents[1] / "data"
LISTS: dict[str, list] = json.loads((DATA / "published_tensors.json").read_text())  # names and shapes as published
CONFIGS: dict[str, dict] = json.loads((DATA / "published_configs.json").read_text())

# what these lists hold beside the parameters, from reading them
REFUSED = {"roshinpv/Qwen2.5-14B-GPTQ": (None, 676)}  # 48 layers of 7 and two, scales and biases: of another library
PACKED = {"openai/gpt-oss-20b": ("mxfp4", "_blocks"), "deepseek-ai/DeepSeek-V3": ("fp8", "_scale_inv")}
IGNORED = {"togethercomputer/RedPajama-INCITE-7B-Base": 96}  # 32 layers with masks, their fill value, frequencies
BIG = ("deepseek-ai/DeepSeek-V3", "bryce-hoehn/Qwen3.5-18B-REAP-A3B-Coding")


def listed(name: str) -> dict[str, list[int]]:
    """Names with their numbers, which the file holds as ranges."""
    found = {}
    for template, shape, columns in LISTS[name]:
        numbers = [[n for first, last in runs for n in range(first, last + 1)] for runs in columns]
        found |= {template.format(*row): shape for row in itertools.product(*numbers)}
    return found


def accounts_of(config: Mapping[str, object], tensors: Mapping[str, TensorHeader]) -> Accounts:
    built = pipeline.build(from_record("some", "", dict(config)))
    return account(tensors, graph.state_entries(built), graph.transient_buffers(built), naming_of(built))


def expanded(notes: tuple[str, ...]) -> set[str]:
    """The names that notes of a diagnostic stand for."""
    out = set()
    for note in notes:
        parts = re.split(r"\{([\d,-]+)\}", note)
        ranges = [
            [n for run in part.split(",") for n in range(int(run.split("-")[0]), int(run.split("-")[-1]) + 1)]
            for part in parts[1::2]
        ]
        for row in itertools.product(*ranges):
            out.add("".join(itertools.chain(*itertools.zip_longest(parts[::2], map(str, row), fillvalue=""))))
    return out


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in BIG else ()) for name in LISTS])
def test_published_lists_are_accounted_for(name: str) -> None:
    tensors = {
        tensor: TensorHeader(None if shape is None else tuple(shape), None, "list")
        for tensor, shape in listed(name).items()
    }
    method, count = REFUSED.get(name, (None, 0))
    quantised: dict[str, object] = {"quantization_config": {"quant_method": method, "bits": 4}} if count else {}
    if name in PACKED:
        method, companion = PACKED[name]
        whole, _ = unpacked(tensors, {"quantization_config": {"quant_method": method}})
        changed = [tensor for tensor in whole if tensor not in tensors or whole[tensor] != tensors[tensor]]
        assert len(changed) == sum(tensor.endswith(companion) for tensor in tensors) > 40
        tensors = dict(whole)
    try:
        made = accounts_of(CONFIGS[name] | quantised, tensors)
    except CompileError as error:
        finding = next(finding for finding in error.diagnostics if finding.code == "weights-quantised")
        assert f"({method})" in finding.message or method is None
        assert str(count) in finding.message and len(expanded(finding.notes)) == count
        assert expanded(finding.notes) < tensors.keys()
        return
    predicting = [
        tensor for tensor in tensors if tensor.startswith("model.layers.61.")
    ]  # beyond the last layer of one of them
    assert name not in REFUSED and len(made.ignored) == IGNORED.get(name, len(predicting) if name in PACKED else 0)
    used = [tensor for layout in made.layouts.values() for tensor in layouts.names(layout)]
    patterns = {re.sub(r"\*", r"\\d+", re.escape(tensor).replace(r"\*", "*")) for tensor in used if "*" in tensor}
    rest = tensors.keys() - set(used) - made.ignored.keys()
    merged = re.compile("|".join(patterns)) if patterns else None
    assert len(used) == len(set(used))
    assert all(merged is not None and merged.fullmatch(tensor) for tensor in rest)


CONFIG = json.loads(next((DATA / "other_cases").glob("mixtral.json")).read_text())


def sound() -> dict[str, TensorHeader]:
    """What a small mixture of experts stores, by the library's conversion of its parameters."""
    built = pipeline.build(from_record("some", "", CONFIG))
    naming, found = naming_of(built), {}
    for entry in graph.state_entries(built):
        for name, shape in layouts.tensors(naming.published(entry.name), entry.sizes, {}, naming.parameters):
            found[name] = TensorHeader(shape, "F32", "file")
    return found


def findings(tensors: Mapping[str, TensorHeader]) -> dict[str, Diagnostic]:
    with pytest.raises(CompileError) as caught:
        accounts_of(CONFIG, tensors)
    return {finding.code: finding for finding in caught.value.diagnostics}


def test_a_sound_checkpoint_is_accounted_for() -> None:
    assert not accounts_of(CONFIG, sound()).ignored


def test_all_that_is_wrong_is_said_at_once() -> None:
    tensors = sound()
    experts = [name for name in tensors if ".experts." in name and name.startswith("model.layers.0.")]
    bent, typed = experts[0], "model.layers.1.input_layernorm.weight"
    tensors["nobody.weight"] = tensors.pop("model.norm.weight")
    tensors[bent] = TensorHeader((1, 2), "F32", "file")
    tensors[typed] = TensorHeader(tensors[typed].shape, "I64", "file")
    said = findings(tensors)
    assert said.keys() == {"unknown-tensor", "missing-tensor", "tensor-shape", "tensor-type"}
    assert "nobody.weight" in said["unknown-tensor"].notes and "model.norm.weight" in said["missing-tensor"].notes
    assert said["tensor-shape"].notes[0].startswith(f"{bent}: [1, 2], the model has")
    assert said["tensor-type"].notes[0].startswith(f"{typed}: I64")


def test_an_expert_that_is_absent_or_too_many_is_named() -> None:
    tensors = sound()
    last = max(name for name in tensors if re.search(r"layers\.0\..*experts\.\d+\.w2", name))
    count = int(re.findall(r"\d+", last)[1]) + 1
    more = last.replace(f"experts.{count - 1}", f"experts.{count}")
    assert findings(tensors | {more: tensors[last]})["unknown-tensor"].notes == (more,)
    held = tensors.pop(last)
    assert last in findings(tensors)["missing-tensor"].notes
    tensors[last] = held
    first = last.replace(f"experts.{count - 1}", "experts.0")
    tensors.pop(first)
    assert "not numbered from 0" in findings(tensors)["missing-tensor"].message


def test_half_of_a_parameter_is_not_enough() -> None:
    tensors = {name: header for name, header in sound().items() if not re.search(r"experts\.\d+\.w3", name)}
    assert "w3" in findings(tensors)["missing-tensor"].message


@pytest.mark.parametrize("data", [3, {"Stack": "a", "more": 1}, {"Nothing": "a"}, {"Concat": ["a"]}, {}])
def test_a_broken_record_is_said_to_be_broken(data: object) -> None:
    naming = naming_of(pipeline.build(from_record("some", "", CONFIG)))
    with pytest.raises(CompileError, match="is broken"):
        recorded_layouts({"model.norm.weight": data}, naming)
