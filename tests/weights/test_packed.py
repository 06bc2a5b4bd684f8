"""Tensors of few bits become the numbers that they stand for: by a reference that takes one number at a time, by what the library and
torch make of them, and in packages that load checkpoints packed in each way."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from codegen import pipeline, repo
from codegen.diagnostics import CompileError
from codegen.weights import packed

CASE = Path(__file__).parents[1] / "data" / "cases" / "qwen3.json"
Tensors = dict[str, torch.Tensor]
FP8 = {"quant_method": "fp8", "weight_block_size": [3, 5], "fmt": "e4m3", "activation_scheme": "dynamic"}
GROUP = 16


def words(values: np.ndarray, bits: int, order: tuple[int, ...] = ()) -> torch.Tensor:
    """Whole numbers in words of 32 bits along the last axis, one at a time; `order`: the place of each in its word."""
    count = 32 // bits
    out = np.zeros((values.shape[0], values.shape[1] // count), np.uint64)
    for (row, column), value in np.ndenumerate(values):
        place = order[column % count] if order else column % count
        out[row, column // count] |= np.uint64(int(value) << bits * place)
    return torch.from_numpy(out.astype(np.uint32).view(np.int32))


def numbers(random: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.from_numpy(random.uniform(0.01, 0.1, shape).astype(np.float32))


def scaled(random: np.random.Generator, shape: tuple[int, int], block: tuple[int, int]) -> tuple[Tensors, np.ndarray]:
    values = torch.from_numpy(random.normal(size=shape).astype(np.float32)).to(torch.float8_e4m3fn)
    scale = numbers(random, *(-(-size // step) for size, step in zip(shape, block, strict=True)))
    wanted = np.zeros(shape, np.float32)
    for row, column in np.ndindex(*shape):
        wanted[row, column] = values[row, column].float() * scale[row // block[0], column // block[1]]
    return {"weight": values, "weight_scale_inv": scale}, wanted


def gptq(random: np.random.Generator, shape: tuple[int, int], bits: int = 4) -> tuple[Tensors, np.ndarray]:
    outputs, inputs = shape
    groups, most = inputs // GROUP, 2**bits
    values, zeros = random.integers(0, most, (outputs, inputs)), random.integers(0, most, (groups, outputs))
    scale, group = numbers(random, groups, outputs).half(), random.permutation(np.arange(inputs) // GROUP)
    wanted = np.zeros(shape, np.float32)
    for row, column in np.ndindex(*shape):
        zero = int(zeros[group[column], row])
        wanted[row, column] = (int(values[row, column]) - zero) * float(scale[group[column], row])
    stored = {"qweight": words(values, bits).T, "qzeros": words((zeros - 1) % most, bits), "scales": scale}
    return stored | {"g_idx": torch.from_numpy(group.astype(np.int32))}, wanted


def awq(random: np.random.Generator, shape: tuple[int, int]) -> tuple[Tensors, np.ndarray]:
    outputs, inputs = shape
    groups, order = inputs // GROUP, (0, 4, 1, 5, 2, 6, 3, 7)
    values, zeros = random.integers(0, 16, (inputs, outputs)), random.integers(0, 16, (groups, outputs))
    scale = numbers(random, groups, outputs).half()
    wanted = np.zeros(shape, np.float32)
    for row, column in np.ndindex(*shape):
        place = column // GROUP, row
        wanted[row, column] = (int(values[column, row]) - int(zeros[place])) * float(scale[place])
    return {"qweight": words(values, 4, order), "qzeros": words(zeros, 4, order), "scales": scale}, wanted


def signed(random: np.random.Generator, shape: tuple[int, int], bits: int = 4) -> tuple[Tensors, np.ndarray]:
    values = random.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape)
    scale = numbers(random, shape[0], shape[1] // GROUP).bfloat16()
    wanted = np.zeros(shape, np.float32)
    for row, column in np.ndindex(*shape):
        wanted[row, column] = int(values[row, column]) * float(scale[row, column // GROUP])
    stored = {"weight_packed": words(values + 2 ** (bits - 1), bits), "weight_scale": scale}
    return stored | {"weight_shape": torch.tensor(shape)}, wanted


def by_row(random: np.random.Generator, shape: tuple[int, int]) -> tuple[Tensors, np.ndarray]:
    values = torch.from_numpy(random.integers(-128, 128, shape).astype(np.int8))
    scale = numbers(random, shape[0], 1)
    wanted = np.array([[float(x) * float(scale[row, 0]) for x in values[row]] for row in range(shape[0])], np.float32)
    return {"weight": values, "weight_scale": scale}, wanted


def compressed(bits: int, kind: str) -> dict[str, Any]:
    group = {"weights": {"num_bits": bits, "group_size": GROUP, "symmetric": True}, "targets": ["Linear"]}
    return {"quant_method": "compressed-tensors", "format": kind, "config_groups": {"group_0": group}}


Pack = Callable[[np.random.Generator, tuple[int, int]], tuple[Tensors, np.ndarray]]
FORMS: dict[str, tuple[Pack, dict[str, Any]]] = {
    "fp8": (lambda random, shape: scaled(random, shape, (3, 5)), FP8),
    "fp8 as a whole": (lambda random, shape: scaled(random, shape, (99, 99)), {"quant_method": "fp8"}),
    "int8 by rows": (by_row, compressed(8, "int-quantized")),
    "gptq": (gptq, {"quant_method": "gptq", "bits": 4, "group_size": GROUP}),
    "gptq of 8 bits": (lambda random, shape: gptq(random, shape, 8), {"quant_method": "gptq", "bits": 8}),
    "awq": (awq, {"quant_method": "awq", "bits": 4, "group_size": GROUP, "version": "gemm"}),
    "pack-quantized": (signed, compressed(4, "pack-quantized")),
    "pack-quantized of 8 bits": (lambda random, shape: signed(random, shape, 8), compressed(8, "pack-quantized")),
}


def read(tensors: Tensors, config: dict[str, Any], folder: Path) -> dict[str, np.ndarray]:
    """What is packed in a file, unpacked."""
    save_file({f"part.{name}": tensor.contiguous() for name, tensor in tensors.items()}, folder / "packed.safetensors")
    raw = packed.Raw(folder / "packed.safetensors")
    held = {name: (entry["dtype"], entry["shape"]) for name, entry in raw.entries.items() if name != "__metadata__"}
    found = packed.packed(held, packed.settings_of({"quantization_config": config}))
    for one in found.values():
        assert packed.beside(held, found) == (set(held), set())
        assert one.shape == packed.unpack(one, {role: raw.numbers(part) for role, part in one.parts.items()}).shape
    return {
        name: packed.unpack(one, {role: raw.numbers(part) for role, part in one.parts.items()})
        for name, one in found.items()
    }


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=10, deadline=None)
@given(rows=st.integers(1, 4), columns=st.integers(1, 3), seed=st.integers(0, 1 << 30))
def test_numbers_are_those_of_a_reference(
    form: str, rows: int, columns: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pack, config = FORMS[form]
    tensors, wanted = pack(np.random.default_rng(seed), (8 * rows, GROUP * columns))
    found = read(tensors, config, tmp_path_factory.mktemp("packed"))
    np.testing.assert_array_equal(found["part.weight"], wanted)


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_every_number_of_8_bits_is_what_torch_takes_it_for(kind: torch.dtype) -> None:
    every = torch.arange(256, dtype=torch.uint8)
    name = {torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2"}[kind]
    np.testing.assert_array_equal(packed.decoded(every.numpy(), name), every.view(kind).float().numpy())


def test_four_bits_in_blocks_are_what_the_library_takes_them_for(tmp_path: Path) -> None:
    mxfp4 = pytest.importorskip("transformers.integrations.mxfp4")
    random = torch.Generator().manual_seed(3)
    blocks = torch.randint(0, 256, (3, 6, 2, 16), generator=random, dtype=torch.uint8)
    scales = torch.randint(110, 130, (3, 6, 2), generator=random, dtype=torch.uint8)
    found = read({"up_blocks": blocks, "up_scales": scales}, {"quant_method": "mxfp4"}, tmp_path)["part.up"]
    wanted = mxfp4.convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
    np.testing.assert_array_equal(found, wanted.numpy())


# ------------------------------------------------------------------------------------------------------- in packages

SIZES = {"hidden_size": 32, "intermediate_size": 48, "head_dim": 16, "num_attention_heads": 4, "num_key_value_heads": 2}


def packed_checkpoint(form: str, folder: Path, plain: Path) -> dict[str, np.ndarray]:
    """A checkpoint of which every projection in the layers is packed, from one that is not; the numbers that it stands for."""
    pack, settings = FORMS[form]
    random, stored, wanted = np.random.default_rng(5), {}, {}
    for name, tensor in load_file(plain / "model.safetensors").items():
        if "_proj" not in name:
            stored[name], wanted[name] = tensor, tensor.float().numpy()
            continue
        parts, wanted[name] = pack(random, tuple(tensor.shape))  # type: ignore[arg-type]
        stored |= {name.removesuffix("weight") + part: one.contiguous() for part, one in parts.items()}
        stored[name.removesuffix("weight") + "input_scale"] = torch.ones(1)
    config = json.loads((plain / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": settings}))
    first = dict(list(stored.items())[::2])  # parts of one tensor are in two files
    names = {"model-1.safetensors": first, "model-2.safetensors": {n: t for n, t in stored.items() if n not in first}}
    for file, tensors in names.items():
        save_file(tensors, folder / file)
    places = {name: file for file, tensors in names.items() for name in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return wanted


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A package, and an ordinary checkpoint of it."""
    folder = tmp_path_factory.mktemp("packages")
    config = json.loads(CASE.read_text()) | SIZES
    package = pipeline.compile_package(repo.from_record("packs", "", config))
    pipeline.write(package, folder / "packs")
    sys.path.insert(0, str(folder))
    module = importlib.import_module("packs.torch_model")
    cfg = importlib.import_module("packs.config").Config.from_hf(config)
    weights = importlib.import_module("packs.weights").to_hf(module.Model(cfg))
    plain = folder / "plain"
    plain.mkdir()
    save_file(
        {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in weights.items()},
        plain / "model.safetensors",
    )
    (plain / "config.json").write_text(json.dumps(config))
    yield "packs", plain
    sys.path.remove(str(folder))


@pytest.mark.parametrize("form", FORMS)
def test_packages_load_what_is_packed(form: str, made: tuple[str, Path], tmp_path: Path) -> None:
    name, plain = made
    wanted = packed_checkpoint(form, tmp_path, plain)
    weights = importlib.import_module(f"{name}.weights")
    loaded = importlib.import_module(f"{name}.torch_model").Model.from_pretrained(tmp_path, dtype=torch.float32)
    other = importlib.import_module(f"{name}.flax_model").Model.from_pretrained(
        tmp_path, dtype="float32", scan_layers=True
    )
    for model in (loaded, other):
        found = weights.to_hf(model)
        assert found.keys() == wanted.keys()
        for path, numbers in wanted.items():
            np.testing.assert_array_equal(found[path], numbers, err_msg=path)


@pytest.mark.parametrize("form", FORMS)
def test_headers_of_what_is_packed_are_accounted_for(form: str, made: tuple[str, Path], tmp_path: Path) -> None:
    wanted = packed_checkpoint(form, tmp_path, made[1])
    report = pipeline.verify_weights(repo.load(str(tmp_path)))
    assert report.passed
    assert pipeline.compile_package(repo.load(str(tmp_path))).name == "qwen3"
    assert any("scales activations" in note.message for note in report.notes)
    assert wanted


def test_what_is_packed_otherwise_is_refused(made: tuple[str, Path], tmp_path: Path) -> None:
    packed_checkpoint("gptq", tmp_path, made[1])
    config = json.loads((tmp_path / "config.json").read_text())
    for other in ({"quant_method": "gptq", "bits": 3}, {"quant_method": "awq", "bits": 4, "version": "gemv"}):
        (tmp_path / "config.json").write_text(json.dumps(config | {"quantization_config": other}))
        with pytest.raises(CompileError) as caught:
            pipeline.compile_package(repo.load(str(tmp_path)))
        assert caught.value.diagnostics[0].code == "weights-quantised"
        with pytest.raises(ValueError, match="are not read|is not known"):
            importlib.import_module(f"{made[0]}.torch_model").Model.from_pretrained(tmp_path)


def test_what_is_packed_is_not_converted(made: tuple[str, Path], tmp_path: Path) -> None:
    packed_checkpoint("fp8", tmp_path, made[1])
    with pytest.raises(CompileError) as caught:
        pipeline.convert(str(tmp_path), "safetensors", tmp_path / "out")
    assert caught.value.diagnostics[0].code == "weights-quantised"
    assert not (tmp_path / "out").exists()
