"""PyTorch models split over two processes: tied parameters stay one, checkpoints come back whole, what does not divide is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parity.harness import Flax, Lab, module

CASES = Path(__file__).parents[1] / "data"
WORK = """
import importlib, os, sys, torch
import torch.distributed as dist
import torch.multiprocessing as mp


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
    ids = torch.arange(14).reshape(2, 7)
    assert (split(ids) - whole(ids)).abs().max() < 1e-4 * whole(ids).abs().max()
    there, here = weights.to_hf(whole), weights.to_hf(split)
    assert there.keys() == here.keys() and all((here[key] == value).all() for key, value in there.items())
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(work, nprocs=2, args=tuple(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, where", [("gpt2", "cases"), ("qwen3", "cases"), ("deepseek_v3", "other_cases"), ("bart", "other_cases")]
)
def test_split_models_compute_the_same(lab: Lab, tmp_path: Path, name: str, where: str) -> None:
    raw = json.loads((CASES / where / f"{name}.json").read_text())
    package, folder = lab.package(name, raw, raised=True), lab.original(name, raw).folder
    (tmp_path / "run.py").write_text(WORK)
    command = [sys.executable, "run.py", str(package.parent), package.name, str(folder)]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
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
