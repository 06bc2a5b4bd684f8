"""What a user does with a rendered package: other types, stored ties, generation, devices, broken checkpoints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.render_package import grouped_query, learned_positions
from tests.render_package.local_render import render

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")
ml_dtypes = pytest.importorskip("ml_dtypes")
jnp = jax.numpy


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on the path with two packages."""
    root = tmp_path_factory.mktemp("behaviour")
    render(grouped_query.PACKAGE, root / "untied_package")
    render(learned_positions.PACKAGE, root / "tied_package")
    sys.path.insert(0, str(root))
    yield root
    sys.path.remove(str(root))


def checkpoint(folder: Path, package: str, tiny: dict[str, Any], dtype: Any, *, store_ties: bool = False) -> Path:
    weights, config = (import_module(f"{package}.{name}") for name in ("weights", "config"))
    cfg, random = config.Config.from_hf(tiny), np.random.default_rng(0)
    tensors = {
        getattr(row, "name", row.path): random.normal(0.5, 0.2, weights.shape_of(row.axes, weights.sizes(cfg))).astype(
            dtype
        )
        for row in weights.rows(cfg)
    }
    if store_ties:
        tensors |= {alias: tensors[target].copy() for alias, target in weights.TIED.items()}
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(tiny))
    return folder


@pytest.fixture(scope="module")
def plain(home: Path) -> Path:
    return checkpoint(home / "plain", "untied_package", grouped_query.TINY, np.float32)


def models(package: str, folder: Path, types: tuple[Any, Any]) -> list[Any]:
    made = [
        (import_module(f"{package}.{kind}_model"), dtype) for kind, dtype in zip(("torch", "flax"), types, strict=True)
    ]
    return [module.Model.from_pretrained(folder, dtype=dtype) for module, dtype in made]


def same_bits(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> bool:
    return ours.keys() == theirs.keys() and all(
        ours[name].dtype == value.dtype and ours[name].tobytes() == value.tobytes() for name, value in theirs.items()
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_a_checkpoint_of_any_type_comes_back_bit_for_bit(home: Path, dtype: str) -> None:
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    folder = checkpoint(home / dtype, "untied_package", grouped_query.TINY, kind)
    theirs = load_file(folder / "model.safetensors")
    for model in models("untied_package", folder, (getattr(torch, dtype), getattr(jnp, dtype))):
        assert same_bits(import_module("untied_package.weights").to_hf(model), theirs)


WITHOUT = """
import sys
sys.modules["ml_dtypes"] = None
sys.path.insert(0, {home!r})
import numpy as np, torch
from safetensors import safe_open
from tied_package import torch_model, weights
held = weights.to_hf(torch_model.Model.from_pretrained({folder!r}, dtype=torch.bfloat16))
file = safe_open({folder!r} + "/model.safetensors", "pt")
assert held.keys() == set(file.keys())
for name in file.keys():
    assert held[name]["bfloat16"].tobytes() == file.get_tensor(name).view(torch.uint16).numpy().tobytes()
"""


def test_pytorch_alone_is_enough_for_bfloat16(home: Path) -> None:
    folder = checkpoint(home / "alone", "tied_package", learned_positions.TINY, ml_dtypes.bfloat16, store_ties=True)
    script = WITHOUT.format(home=str(home), folder=str(folder))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr


def test_a_tied_head_is_one_parameter_and_comes_back_if_it_was_stored(home: Path) -> None:
    weights = import_module("tied_package.weights")
    for stored in (True, False):
        folder = checkpoint(
            home / f"tied{stored}", "tied_package", learned_positions.TINY, np.float32, store_ties=stored
        )
        theirs = load_file(folder / "model.safetensors")
        assert ("lm_head.weight" in theirs) is stored
        of_torch, of_flax = models("tied_package", folder, (torch.float32, jnp.float32))
        assert of_torch.lm_head.weight is of_torch.transformer.wte.weight
        assert same_bits(weights.to_hf(of_torch), theirs) and same_bits(weights.to_hf(of_flax), theirs)


def test_a_tied_tensor_may_be_stored_under_either_name(home: Path) -> None:
    folder = checkpoint(home / "alias", "tied_package", learned_positions.TINY, np.float32, store_ties=True)
    tensors = load_file(folder / "model.safetensors")
    del tensors["transformer.wte.weight"]
    save_file(tensors, folder / "model.safetensors")
    weights = import_module("tied_package.weights")
    for model in models("tied_package", folder, (torch.float32, jnp.float32)):
        assert same_bits(weights.to_hf(model), tensors)


def test_a_file_goes_before_an_index(plain: Path, tmp_path: Path) -> None:
    """As in the library: an index beside a whole file is what was there before."""
    (tmp_path / "model.safetensors").write_bytes((plain / "model.safetensors").read_bytes())
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))
    assert import_module("untied_package.weights").files(tmp_path) == [tmp_path / "model.safetensors"]


def test_tied_tensors_that_differ_are_refused(home: Path) -> None:
    folder = checkpoint(home / "differ", "tied_package", learned_positions.TINY, np.float32, store_ties=True)
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"][3, 4] += 1
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ValueError, match="differ in the checkpoint"):
        import_module("tied_package.torch_model").Model.from_pretrained(folder)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def test_broken_files_are_named_together(home: Path, plain: Path, tmp_path: Path) -> None:
    weights = import_module("untied_package.weights")
    with pytest.raises(ValueError, match=r"model\.safetensors does not exist"):
        weights.files(tmp_path)
    whole = (plain / "model.safetensors").read_bytes()
    (tmp_path / "pointer.safetensors").write_text(POINTER)
    (tmp_path / "short.safetensors").write_bytes(whole[:-7])
    (tmp_path / "shorter.safetensors").write_bytes(whole[:5])
    (tmp_path / "empty.safetensors").write_bytes(b"")
    names = ("pointer", "short", "shorter", "empty", "absent")
    index = {"weight_map": {name: f"{name}.safetensors" for name in names}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    for kind, module in (("torch", "torch_model"), ("flax", "flax_model")):
        (tmp_path / "config.json").write_text((plain / "config.json").read_text())
        with pytest.raises(ValueError) as caught:
            import_module(f"untied_package.{module}").Model.from_pretrained(tmp_path)
        said = str(caught.value).split("; ")
        assert len(said) == len(names), kind
        assert all(any(f"{name}.safetensors" in line for line in said) for name in names)
        assert "Git LFS pointer" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"weight_map": {"a": "model.safetensors"}}{"weight_map": {}}', "is no index of tensors.*Extra data"),
        ('{"weight_map": {"a": "../model.safetensors"}}', "outside its folder"),
        ('{"weight_map": {"a": 3}}', "outside its folder"),
        ('{"tensors": {}}', "is no index of tensors"),
        ("[]", "is no index of tensors"),
        ('{"weight_map"', "is no index of tensors"),
    ],
)
def test_an_index_that_is_none_is_said_to_be(home: Path, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ValueError, match=said):
        import_module("untied_package.weights").files(tmp_path)


def test_misfits_of_all_kinds_are_named_together(home: Path, plain: Path, tmp_path: Path) -> None:
    tensors = load_file(plain / "model.safetensors")
    lost, bent, whole, packed, *_ = sorted(tensors)
    tensors.pop(lost)
    tensors |= {bent: np.zeros((1, 2, 3), np.float32), whole: np.zeros(tensors[whole].shape, np.int32)}
    tensors |= {packed: tensors[packed].astype(ml_dtypes.float8_e4m3fn), "stranger": np.zeros(3, np.float32)}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((plain / "config.json").read_text())
    for module in ("torch_model", "flax_model"):
        with pytest.raises(ValueError) as caught:
            import_module(f"untied_package.{module}").Model.from_pretrained(tmp_path)
        for name, said in (
            (lost, "is missing"),
            (bent, "is [1, 2, 3], not"),
            (whole, "holds I32"),
            (packed, "holds F8_E4M3"),
            ("stranger", "has no place"),
        ):
            assert f"{name} {said}" in str(caught.value)


def test_a_tensor_in_two_files_is_refused(home: Path, plain: Path, tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.safetensors").write_bytes((plain / "model.safetensors").read_bytes())
    index = {"weight_map": {"a": "0.safetensors", "b": "1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "config.json").write_text(json.dumps(grouped_query.TINY))
    weights = import_module("untied_package.weights")
    cfg = import_module("untied_package.config").Config.from_hf(grouped_query.TINY)
    with pytest.raises(ValueError, match="another file holds too"):
        weights.opened(tmp_path, cfg, "np")


def test_shards_are_read_through_their_index(home: Path, plain: Path, tmp_path: Path) -> None:
    tensors = load_file(plain / "model.safetensors")
    names, places = sorted(tensors), {}
    for number, part in enumerate((names[:9], names[9:])):
        save_file({name: tensors[name] for name in part}, tmp_path / f"model-{number}.safetensors")
        places |= dict.fromkeys(part, f"model-{number}.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (tmp_path / "config.json").write_text((plain / "config.json").read_text())
    for model in models("untied_package", tmp_path, (torch.float32, jnp.float32)):
        assert same_bits(import_module("untied_package.weights").to_hf(model), tensors)


@pytest.fixture(scope="module")
def generators(home: Path, plain: Path) -> list[tuple[Any, ModuleType]]:
    of_torch, of_flax = models("untied_package", plain, (torch.float32, jnp.float32))
    return [(of_torch, torch.tensor), (of_flax, jnp.asarray)]


IDS = [[5, 9, 17, 30], [6, 8, 44, 2]]


def test_generation_is_greedy_by_default_and_ends(generators: list[tuple[Any, Any]]) -> None:
    rows = []
    for model, array in generators:
        out = np.asarray(model.generate(array(IDS), 7))
        by_top_k = np.asarray(model.generate(array(IDS), 7, temperature=0.7, top_k=1, seed=3))
        assert out.shape == (2, 11) and (out[:, :4] == IDS).all() and (out == by_top_k).all()
        rows.append(out)
        end = int(out[0, 6])
        ended = np.asarray(model.generate(array(IDS), 7, eos_token_id=[end, 130]))
        first = int(np.argmax(out[0, 4:] == end)) + 4
        assert (ended[0, : first + 1] == out[0, : first + 1]).all() and (ended[0, first:] == end).all()
        assert np.asarray(model.generate(array(IDS), 0)).shape == (2, 4)
    assert (rows[0] == rows[1]).all()


def test_sampling_follows_its_seed(generators: list[tuple[Any, Any]]) -> None:
    for model, array in generators:
        draw = lambda seed, **how: np.asarray(model.generate(array(IDS), 8, temperature=5.0, seed=seed, **how))  # noqa: B023, E731
        assert (draw(1) == draw(1)).all() and (draw(1) != draw(2)).any()
        assert (draw(1, top_p=1e-9) == np.asarray(model.generate(array(IDS), 8))).all()


def test_any_way_to_name_the_tokens_that_end(generators: list[tuple[Any, Any]]) -> None:
    for model, array in generators:
        draw = lambda ends: np.asarray(model.generate(array(IDS), 7, temperature=5.0, eos_token_id=ends))  # noqa: B023, E731
        free = draw(None)
        assert (draw([]) == free).all()
        end = free[0, 6]
        wanted = draw(int(end))
        assert (wanted != free).any()
        for spelled in (np.int64(end), [np.int32(end)], np.array([end])):
            assert (draw(spelled) == wanted).all()


def drawn(logits: list[float], **limits: Any) -> list[set[int]]:
    """The tokens that PyTorch and Flax ever draw from logits."""
    how = {"temperature": 1.0, "top_k": None, "top_p": None} | limits
    rows = np.tile(np.array(logits, np.float32), (300, 1))
    of_torch = import_module("untied_package.torch_generation").sample
    of_flax = import_module("untied_package.flax_generation").sample
    return [
        set(of_torch(torch.from_numpy(rows), **how, generator=torch.Generator().manual_seed(0)).tolist()),
        set(np.asarray(of_flax(jnp.asarray(rows), **how, key=jax.random.key(0))).tolist()),
    ]


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({}, {0, 1, 2, 3}),
        ({"top_p": 0.0}, {2}),
        ({"top_p": 0.6}, {0, 1, 2}),  # two are equally likely: both stay, though the first of them is enough
        ({"top_k": 1}, {2}),
        ({"top_k": 2}, {0, 1, 2}),
        ({"top_k": 100, "top_p": 1.0}, {0, 1, 2, 3}),
    ],
)
def test_limits_keep_the_likeliest_and_cut_equals_alike(home: Path, limits: dict[str, Any], kept: set[int]) -> None:
    assert drawn([1.0, 1.0, 1.8, 0.2], **limits) == [kept, kept]


def test_no_value_of_a_limit_compiles_the_loop_again(generators: list[tuple[Any, Any]]) -> None:
    loop = import_module("untied_package.flax_generation").continue_prompt
    model, array = generators[1]
    model.generate(array(IDS), 3, temperature=0.5, top_p=0.5)
    before = loop._cache_size()
    model.generate(array(IDS), 3, temperature=0.6, top_p=0.7, seed=4)
    assert loop._cache_size() == before


MESH = """
import jax, numpy as np
from flax import nnx
from untied_package.flax_model import Model

mesh, ids = jax.make_mesh((2, 2), ("fsdp", "tp")), jax.numpy.asarray([[5, 9, 17, 30], [6, 8, 44, 2]])
for scan in (False, True):
    whole = Model.from_pretrained("plain", dtype=jax.numpy.float32, scan_layers=scan)
    split = Model.from_pretrained("plain", dtype=jax.numpy.float32, scan_layers=scan, mesh=mesh)
    kernel = split.model.layers.mlp.up_proj.kernel if scan else split.model.layers[1].mlp.up_proj.kernel
    assert {shard.data.shape[-2:] for shard in kernel[...].addressable_shards} == {(40, 24)}
    call = nnx.jit(Model.__call__)
    assert np.abs(call(split, ids) - call(whole, ids)).max() < 1e-4 * np.abs(call(whole, ids)).max()
"""
GROUP = """
import os, torch
import torch.distributed as dist
import torch.multiprocessing as mp


def work(rank):
    from torch.distributed.device_mesh import init_device_mesh
    from untied_package import sharding
    from untied_package.torch_model import Model

    dist.init_process_group("gloo", init_method="file://" + os.path.abspath("rendezvous"), rank=rank, world_size=2)
    whole, split = (Model.from_pretrained("plain", dtype=torch.float32) for _ in range(2))
    sharding.parallelize(split, init_device_mesh("cpu", (2,), mesh_dim_names=("tp",)))
    assert split.model.layers[0].mlp.up_proj.weight.to_local().shape == (40, 48)
    ids = torch.tensor([[5, 9, 17, 30], [6, 8, 44, 2]])
    assert (split(ids) - whole(ids)).abs().max() < 1e-4 * whole(ids).abs().max()
    assert (split.generate(ids, 5) == whole.generate(ids, 5)).all()
    dist.barrier()  # none leaves while the other still talks to it
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(work, nprocs=2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("script", [MESH, GROUP], ids=["jax", "torch"])
def test_parameters_split_over_devices_compute_the_same(home: Path, plain: Path, script: str) -> None:
    (home / "run.py").write_text(script)
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "run.py"]
    done = subprocess.run(command, cwd=home, env=os.environ | flags, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr[-2000:]
