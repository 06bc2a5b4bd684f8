"""Packages rendered from hand-made views: clean, self-contained, and right by their own tests, parity among them."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from ruff import find_ruff_bin

from codegen.render.templates import fill
from ir.records import replace
from tests.render_package import grouped_query, learned_positions, mixed_layers
from tests.render_package.local_render import render

PACKAGES = {
    "grouped": grouped_query.PACKAGE,
    "learned": learned_positions.PACKAGE,
    "mixed": mixed_layers.PACKAGE,
}
ALLOWED = {
    "torch_model.py": {"torch"},
    "torch_generation.py": {"torch"},
    "flax_model.py": {"jax", "flax"},
    "flax_stack.py": {"jax", "flax"},
    "flax_generation.py": {"jax", "flax"},
    "config.py": set(),
    "weights.py": {"numpy", "safetensors"},
    "sharding.py": set(),
    "__init__.py": set(),
}


@pytest.fixture(scope="session", params=PACKAGES)
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(PACKAGES[request.param], tmp_path_factory.mktemp("packages") / request.param)


@pytest.fixture(scope="session")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The first package, importable as `grouped`."""
    out = render(PACKAGES["grouped"], tmp_path_factory.mktemp("importable") / "grouped")
    sys.path.insert(0, str(out.parent))
    yield out
    sys.path.remove(str(out.parent))


def test_output_is_clean(package: Path) -> None:
    command = [
        find_ruff_bin(),
        "check",
        "--isolated",
        "--no-cache",
        "--line-length=120",
        "--select=E,F,I,UP,B",
        package,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout


def test_sizes_and_numbers_of_heads_may_be_worked_out(tmp_path: Path) -> None:
    rounded = "math.ceil(cfg.num_attention_heads / 4) * 4"
    axes = [replace(axis, size_expr=f"{rounded} * 8", heads_expr=rounded) for axis in grouped_query.AXES]
    view = replace(grouped_query.WEIGHTS, axes=tuple(axes))
    for name in ("weights.py", "sharding.py"):
        (tmp_path / name).write_text(fill(f"{name}.jinja", view))
    command = [find_ruff_bin(), "check", "--isolated", "--no-cache", "--select=F", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout


def test_files_import_only_what_they_may(package: Path) -> None:
    for name, allowed in ALLOWED.items():
        found = {root for node in ast.parse((package / name).read_text()).body for root in imported(node)}
        assert found - set(sys.stdlib_module_names) <= allowed, name


def imported(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [str(node.module).split(".")[0]]
    return []


@pytest.mark.slow
def test_its_own_tests_pass(package: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(package / "test_model.py")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=package.parent, env=environment)
    assert not done.returncode, done.stdout[-3000:]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hidden_act": "gelu", "attention_bias": True}, ["hidden_act is 'gelu'", "attention_bias is set"]),
        ({"hidden_size": "48", "head_dim": True}, ["hidden_size is '48', not int", "head_dim is True, not int"]),
        ({"vocab_size": ..., "rms_norm_eps": ...}, ["vocab_size is missing", "rms_norm_eps is missing"]),
        ({"rope_parameters": {"rope_type": "linear"}}, ["rope_type is 'linear'"]),
        ({"rope_parameters": {"rope_type": "default"}}, ["makes no sense", "rope_theta"]),
    ],
)
def test_configurations_are_refused_with_every_finding(grouped: Path, change: dict[str, Any], said: list[str]) -> None:
    raw = {key: value for key, value in (grouped_query.TINY | change).items() if value is not ...}
    with pytest.raises(ValueError) as caught:
        import_module(f"{grouped.name}.config").Config.from_hf(raw)
    assert all(text in str(caught.value) for text in said)


def test_a_file_that_is_no_configuration_is_refused(grouped: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="no JSON object"):
        import_module(f"{grouped.name}.config").Config.from_hf(tmp_path)
    with pytest.raises(ValueError, match="cannot be read"):
        import_module(f"{grouped.name}.config").Config.from_hf(tmp_path / "none.json")
