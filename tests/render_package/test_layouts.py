"""Parameters that are no single tensor of the checkpoint: read into both models and written back, bit for bit."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from codegen.lowering import layouts
from codegen.lowering.layouts import Chunk, Concat, Deinterleaved, Layout, Misfit, Stack, Transposed
from tests.render_package import grouped_query
from tests.render_package.local_render import render

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")

LAYER = "model.layers.{}."
Tensors = Mapping[str, np.ndarray]


def two(name: str) -> tuple[str, str]:
    return f"{LAYER}{name}.one", f"{LAYER}{name}.two"


def at(name: str) -> Callable[[Tensors, int], np.ndarray]:
    return lambda tensors, layer: tensors[name.format(layer)]


# how a parameter is stored, and what it is, said in numpy
STORED: dict[str, tuple[Layout, Callable[[Tensors, int], np.ndarray]]] = {
    "mlp.up_proj": (
        Stack(LAYER + "up.*.row"),
        lambda tensors, layer: np.stack([tensors[f"model.layers.{layer}.up.{i}.row"] for i in range(80)]),
    ),
    "mlp.gate_proj": (
        Stack(Concat((LAYER + "gates.*.left", LAYER + "gates.*.right"), 0)),
        lambda tensors, layer: np.stack(
            [
                np.concatenate([tensors[f"model.layers.{layer}.gates.{i}.{side}"] for side in ("left", "right")])
                for i in range(80)
            ]
        ),
    ),
    "mlp.down_proj": (
        Concat(two("down"), 1),
        lambda tensors, layer: np.concatenate([at(name)(tensors, layer) for name in two("down")], 1),
    ),
    "self_attn.k_proj": (
        Chunk(LAYER + "fused", 0, 2, 0),
        lambda tensors, layer: np.split(tensors[f"model.layers.{layer}.fused"], 2)[0],
    ),
    "self_attn.v_proj": (
        Chunk(LAYER + "fused", 1, 2, 0),
        lambda tensors, layer: np.split(tensors[f"model.layers.{layer}.fused"], 2)[1],
    ),
    "self_attn.o_proj": (
        Transposed(LAYER + "out", 0, 1),
        lambda tensors, layer: tensors[f"model.layers.{layer}.out"].T,
    ),
    "self_attn.q_proj": (
        Deinterleaved(LAYER + "pairs", 0),
        lambda tensors, layer: np.concatenate(
            [tensors[f"model.layers.{layer}.pairs"][0::2], tensors[f"model.layers.{layer}.pairs"][1::2]]
        ),
    ),
}


@pytest.fixture(scope="module", params=[*STORED, "all"])
def package(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, list[str]]]:
    """A package in which one parameter of each layer is stored like that, or all of them are."""
    chosen = list(STORED) if request.param == "all" else [request.param]
    chosen += ["self_attn.v_proj"] if request.param == "self_attn.k_proj" else []
    chosen += ["self_attn.k_proj"] if request.param == "self_attn.v_proj" else []
    plain, layers = grouped_query.WEIGHTS.tables
    paths = {f"{LAYER}{module}.weight": STORED[module][0] for module in chosen}
    rows = tuple(replace(row, stored=paths.get(row.path, row.stored)) for row in layers.rows)
    weights = replace(grouped_query.WEIGHTS, tables=(plain, replace(layers, rows=rows)))
    root, name = tmp_path_factory.mktemp("layouts"), f"package_{request.param.replace('.', '_')}"
    render(replace(grouped_query.PACKAGE, weights=weights), root / name)
    sys.path.insert(0, str(root))
    yield name, chosen
    sys.path.remove(str(root))


@pytest.fixture(scope="module")
def checkpoint(package: tuple[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    weights, config = (import_module(f"{package[0]}.{name}") for name in ("weights", "config"))
    shapes = weights.tensors(config.Config.from_hf(grouped_query.TINY))
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("checkpoint")
    save_file(
        {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()},
        folder / "model.safetensors",
    )
    (folder / "config.json").write_text(json.dumps(grouped_query.TINY))
    return folder


def models(name: str, folder: Path) -> dict[str, Any]:
    flax = import_module(f"{name}.flax_model").Model
    options = {"dtype": jax.numpy.float32}
    return {
        "torch": import_module(f"{name}.torch_model").Model.from_pretrained(folder, dtype=torch.float32),
        "flax": flax.from_pretrained(folder, **options),
        "stacked": flax.from_pretrained(folder, scan_layers=True, **options),
    }


def test_parameters_are_what_the_layout_says(package: tuple[str, list[str]], checkpoint: Path) -> None:
    name, chosen = package
    tensors, made = load_file(checkpoint / "model.safetensors"), models(name, checkpoint)
    state = made["torch"].state_dict()
    for module in chosen:
        for layer in range(3):
            expected = STORED[module][1](tensors, layer)
            assert np.array_equal(state[f"model.layers.{layer}.{module}.weight"].numpy(), expected)
    ids = np.array([[7, 8, 9]])
    logits = made["torch"](torch.tensor(ids)).detach().numpy()
    for kind in ("flax", "stacked"):
        assert np.abs(np.asarray(made[kind](jax.numpy.asarray(ids))) - logits).max() < 1e-4 * np.abs(logits).max()


def test_the_checkpoint_comes_back_bit_for_bit(
    package: tuple[str, list[str]], checkpoint: Path, tmp_path: Path
) -> None:
    theirs = load_file(checkpoint / "model.safetensors")
    for model in models(package[0], checkpoint).values():
        save_file(import_module(f"{package[0]}.weights").to_hf(model), tmp_path / "again.safetensors")
        ours = load_file(tmp_path / "again.safetensors")
        assert ours.keys() == theirs.keys()
        assert all(ours[name].tobytes() == value.tobytes() for name, value in theirs.items())


def test_parts_of_other_lengths_come_back_too(tmp_path: Path) -> None:
    """The parts of a parameter may be cut anywhere."""
    plain, layers = grouped_query.WEIGHTS.tables
    rows = tuple(
        replace(row, stored=STORED["mlp.down_proj"][0]) if row.path == f"{LAYER}mlp.down_proj.weight" else row
        for row in layers.rows
    )
    weights = replace(grouped_query.WEIGHTS, tables=(plain, replace(layers, rows=rows)))
    render(replace(grouped_query.PACKAGE, weights=weights), tmp_path / "uneven_package")
    sys.path.insert(0, str(tmp_path))
    try:
        module, config = import_module("uneven_package.weights"), import_module("uneven_package.config")
        cfg = config.Config.from_hf(grouped_query.TINY)
        shapes, random = module.tensors(cfg), np.random.default_rng(0)
        for layer in range(3):
            one, other = (name.format(layer) for name in two("down"))
            shapes[one][1] += layer
            shapes[other][1] -= layer
        theirs = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
        save_file(theirs, tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_text(json.dumps(grouped_query.TINY))
        for model in models("uneven_package", tmp_path).values():
            ours = module.to_hf(model)
            assert ours.keys() == theirs.keys()
            assert all(np.array_equal(ours[name], value) for name, value in theirs.items())
    finally:
        sys.path.remove(str(tmp_path))


def test_layouts_survive_json() -> None:
    for layout, _ in STORED.values():
        assert layouts.from_data(json.loads(json.dumps(layouts.to_data(layout)))) == layout
    with pytest.raises(ValueError, match="no layout"):
        layouts.from_data({"Nothing": "x"})


def test_stacks_side_by_side_are_a_stack_of_what_is_side_by_side() -> None:
    made = layouts.concatenated((Stack("e.*.a"), Stack("e.*.b")), 1)
    assert made == Stack(Concat(("e.*.a", "e.*.b"), 0))
    assert dict(layouts.tensors(made, (2, 6, 5), {}, {})) == {
        f"e.{i}.{part}": (3, 5) for i in range(2) for part in "ab"
    }
    with pytest.raises(Misfit, match="7 cannot be divided"):
        list(layouts.tensors(made, (2, 7, 5), {}, {}))
