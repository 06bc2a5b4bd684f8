"""PyTorch models split over two processes: tied parameters stay one, checkpoints come back whole, gradients are those of the
whole model, what does not divide is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from tests.parity.harness import Flax, Lab, module

CASES = Path(__file__).parents[1] / "data"
WORK = """
import importlib, os, sys, torch
import torch.distributed as dist
import torch.multiprocessing as mp


def check_gradients(whole, split, ids, trained):
    # those of the split model are those of the whole one, or it says that it cannot know them
    for model in (whole, split):
        try:
            (model(ids) ** 2).mean().backward()
        except RuntimeError as error:
            assert model is split and not trained and "UNTRAINED" in str(error), error
            return
    assert trained
    theirs = dict(whole.named_parameters())
    largest = max(parameter.grad.abs().max() for parameter in theirs.values() if parameter.grad is not None)
    for path, parameter in split.named_parameters():
        ours, expected = parameter.grad, theirs[path].grad
        if ours is expected is None:
            continue
        ours = ours.full_tensor() if hasattr(ours, "full_tensor") else ours
        # what a softmax takes no notice of, as a bias of keys, has a gradient of rounding errors
        assert (ours - expected).abs().max() <= 1e-3 * expected.abs().max() + 1e-6 * largest, path


def work(rank, parent, name, folder):
    from torch.distributed.device_mesh import init_device_mesh

    sys.path.insert(0, parent)
    sharding, weights, made = (importlib.import_module(f"{name}.{part}") for part in ("sharding", "weights", "torch_model"))
    dist.init_process_group("gloo", init_method="file://" + os.path.abspath("rendezvous"), rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("tp",))
    whole, split = (made.Model.from_pretrained(folder, dtype=torch.float32) for _ in range(2))
    before, shapes = len(list(split.parameters())), {path: p.shape for path, p in split.named_parameters()}
    sharding.parallelize(split, mesh)
    local = {path: getattr(p, "to_local", lambda p=p: p)().shape for path, p in split.named_parameters()}
    assert len(list(split.parameters())) == before
    assert any(local[path] != shape for path, shape in shapes.items())
    tables = [row.path for row in sharding.rows(split.cfg) if row.layer is None and row.axes == "VD"]
    assert tables and all(local[path][0] < shapes[path][0] for path in tables)
    for block in os.environ["BLOCKS"].split():
        assert any(local[path] != shape for path, shape in shapes.items() if f".{block}." in path), block
    ids = torch.arange(14).reshape(2, 7)
    assert (split(ids) - whole(ids)).abs().max() < 1e-4 * whole(ids).abs().max()
    check_gradients(whole, split, ids, os.environ["TRAINED"] == "1")
    there, here = weights.to_hf(whole), weights.to_hf(split)
    assert there.keys() == here.keys() and all((here[key] == value).all() for key, value in there.items())
    dist.barrier()  # none leaves while the other still talks to it
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(work, nprocs=2, args=tuple(sys.argv[1:]))
"""


UNTRAINED = ("deepseek_v3",)  # keys that all heads share meet those of each head


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, where, blocks",
    [
        ("gpt2", "cases", "mlp"),  # linear layers of the source's own, [in, out]
        ("qwen3", "cases", "mlp self_attn"),
        ("gemma2", "cases", "mlp self_attn"),  # an embedding of the source's own
        ("glm", "cases", "self_attn"),  # gate and up side by side stay whole
        ("diffllama", "cases", "mlp"),  # heads are divided among themselves
        ("gemma4_text", "cases", "mlp"),  # a width that other blocks compute with too
        ("deepseek_v3", "other_cases", "self_attn"),
        ("bart", "other_cases", ""),
        ("phi", "cases", "mlp"),  # biases of both kinds of linear layers
        ("gpt_bigcode", "cases", ""),  # one head of keys and values
    ],
)
def test_split_models_compute_the_same(lab: Lab, tmp_path: Path, name: str, where: str, blocks: str) -> None:
    raw = json.loads((CASES / where / f"{name}.json").read_text())
    package, folder = lab.package(name, raw, raised=True), lab.original(name, raw).folder
    (tmp_path / "run.py").write_text(WORK)
    command = [sys.executable, "run.py", str(package.parent), package.name, str(folder)]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "BLOCKS": blocks, "TRAINED": str(int(name not in UNTRAINED))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr[-2000:]


@pytest.mark.parametrize("scan", [False, True])
def test_every_parameter_has_a_spec_by_its_path(lab: Lab, flax: Flax, scan: bool) -> None:
    raw = json.loads((CASES / "cases" / "gpt2.json").read_text())
    package = lab.package("gpt2", raw, raised=True)
    model = flax.load(package, lab.original("gpt2", raw).folder, "float32", scan_layers=scan)
    paths = {".".join(map(str, path)) for path, _ in flax.nnx.to_flat_state(flax.nnx.state(model))}
    sharding, cfg = module(package, "sharding"), module(package, "config").Config.from_hf(raw)
    specs = sharding.partition_specs(cfg, scan_layers=scan)
    assert paths <= specs.keys()
    assert any("tp" in specs[path] for path in paths if path.startswith("transformer.h"))


def test_heads_are_not_cut(lab: Lab) -> None:
    """Four devices divide the columns of keys and values, but not the two heads that these are."""
    raw = json.loads((CASES / "cases" / "gemma2.json").read_text()) | {"num_key_value_heads": 2, "head_dim": 8}
    package = lab.package("gemma2_few_heads", raw, raised=True)
    model = module(package, "torch_model").Model(module(package, "config").Config.from_hf(raw))
    sharding, mesh = module(package, "sharding"), SimpleNamespace(size=lambda: 4)
    with pytest.raises(
        ValueError, match="4 devices do not divide the 2 heads along . of model.layers.0.self_attn.k_proj"
    ):
        sharding.parallelize(model, mesh)


def test_a_mesh_without_an_axis_of_the_rules_is_refused(lab: Lab) -> None:
    raw = json.loads((CASES / "cases" / "gpt2.json").read_text())
    package = lab.package("gpt2_on_a_mesh", raw, raised=True)
    model = module(package, "torch_model").Model(module(package, "config").Config.from_hf(raw))
    sharding = module(package, "sharding")
    with pytest.raises(ValueError, match="the rules split along .*tp, the mesh has model"):
        sharding.placement(model.cfg, jax.make_mesh((1,), ("model",)))
    with pytest.raises(ValueError, match="the mesh has model"):
        sharding.parallelize(model, SimpleNamespace(size=lambda: 1), axis="model")


PLACED = """
import json, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import importlib

import jax
import numpy as np

sharding = importlib.import_module(f"{sys.argv[2]}.sharding")
config = importlib.import_module(f"{sys.argv[2]}.config").Config
weights = importlib.import_module(f"{sys.argv[2]}.weights")
cfg = config.from_hf(json.loads(Path(sys.argv[3]).read_text()))
place = sharding.placement(cfg, jax.make_mesh((1, 8), ("fsdp", "tp")))
path = "model.layers.0.mlp.experts.gate_up_proj"
sizes = weights.sizes(cfg)
(row,) = [row for row in weights.rows(cfg) if row.path == path]
value = place(path, np.zeros([sizes[axis] for axis in row.axes], np.float32))
print(json.dumps([row.axes, list(value.sharding.spec)]))
"""


@pytest.mark.slow
def test_what_does_not_divide_the_experts_divides_their_width(lab: Lab, tmp_path: Path) -> None:
    """Eight devices, six experts: another axis that the same devices would split is split instead."""
    raw = json.loads((CASES / "other_cases" / "mixtral.json").read_text()) | {
        "num_local_experts": 6,
        "intermediate_size": 40,
    }
    package = lab.package("mixtral_of_six", raw, raised=True)
    (tmp_path / "config.json").write_text(json.dumps(raw))
    (tmp_path / "run.py").write_text(PLACED)
    command = [sys.executable, "run.py", str(package.parent), package.name, "config.json"]
    env = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr[-2000:]
    axes, spec = json.loads(done.stdout)
    assert axes[0] == "E" and spec[0] is None and spec[1:].count("tp") == 1
