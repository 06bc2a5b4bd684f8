"""Numbers that the longest position chooses, against the originals, below the limit and beyond it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codegen.diagnostics import CompileError
from codegen.pipeline import compile_package
from codegen.repo import load
from tests.parity.harness import Backend, Flax, Lab, Torch, measure, too_large
from tests.tools.inventions import DATA, invent

BELOW, BEYOND = 40, 8
TURN = "        emb = torch.cat((freqs, freqs), dim=-1)\n"
CHOICES = (
    "        gain = 1.5 if position_ids.max() >= {limit} else 0.75\n        freqs = freqs * gain\n",
    "        gain = 1.0\n        if position_ids.max() + 1 > {limit}:\n            gain, freqs = 0.5, freqs * 2.0\n        freqs = freqs * gain\n",
)
PARTED = "        if position_ids.max() > {limit}:\n            freqs = freqs[..., :1]\n"


def long_context(name: str, limit: int) -> dict[str, object]:
    """A configuration with two lists of factors, of which the longest position takes one."""
    raw = json.loads(next(DATA.glob(f"*cases/{name}.json")).read_text())
    half = raw["hidden_size"] // raw["num_attention_heads"] // 2
    scaling = {
        "type": "longrope",
        "short_factor": [1.0 + 0.1 * i for i in range(half)],
        "long_factor": [2.0 + 0.3 * i for i in range(half)],
        "short_mscale": 1.1,
        "long_mscale": 1.4,
        "original_max_position_embeddings": limit,
    }
    return {**raw, "rope_scaling": scaling, "original_max_position_embeddings": limit}


def repository(lines: str) -> tuple[dict[str, object], dict[str, str]]:
    made = invent("llama", 0, only=("scaled embeddings",))
    code = dict(made.code)
    assert TURN in code["modeling_osprey.py"]
    code["modeling_osprey.py"] = code["modeling_osprey.py"].replace(TURN, lines + TURN)
    return dict(made.config), code


def compare(lab: Lab, name: str, backend: Backend, raw: dict[str, object], code: dict[str, str] | None) -> None:
    original = lab.original(name, raw, code=code)
    assert not too_large(measure(backend, lab.package(name, raw, raised=True, code=code), original), original.tolerance)


@pytest.mark.parametrize("limit", [BELOW, BEYOND])
def test_scales_of_the_library(lab: Lab, limit: int) -> None:
    compare(lab, f"phimoe_{limit}", Torch(), long_context("phimoe", limit), None)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [BELOW, BEYOND])
@pytest.mark.parametrize("name", ["phimoe", "phi3"])
def test_scales_of_the_library_in_flax(lab: Lab, flax: Flax, name: str, limit: int) -> None:
    compare(lab, f"{name}_{limit}", flax, long_context(name, limit), None)


@pytest.mark.parametrize("which", range(len(CHOICES)))
@pytest.mark.parametrize("limit", [BELOW, BEYOND])
def test_scales_of_a_repository(lab: Lab, which: int, limit: int) -> None:
    raw, code = repository(CHOICES[which].format(limit=limit))
    compare(lab, f"scales_{which}_{limit}", Torch(), raw, code)


def test_shapes_are_not_chosen(tmp_path: Path) -> None:
    raw, code = repository(PARTED.format(limit=BEYOND))
    for name, text in {**code, "config.json": json.dumps(raw)}.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(CompileError) as caught:
        compile_package(load(str(tmp_path)))
    assert caught.value.diagnostics[0].code == "branch-on-data"


def test_lists_of_factors_are_one_field(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(long_context("phi3", BEYOND)))
    package = compile_package(load(str(tmp_path / "config.json")))
    assert "short_factor: tuple[float, ...] = (" in package.files["config.py"]
    assert "factor_1" not in package.files["config.py"]
