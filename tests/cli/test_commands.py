"""The commands on a real source, from the command line down."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from ir.arch import Arch
from ir.graph import Module, Region
from ir.text import from_text
from tests.cli.small import TENSORS, small_source
from tests.cli.test_cli import run


@pytest.fixture(scope="module")
def source(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_source(example, tmp_path_factory.mktemp("source") / "org__small", dict(TENSORS))


@pytest.fixture(scope="module")
def package(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "small"
    result = run("from-hf", source, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    codes = [note["code"] for note in json.loads(result.stdout)["diagnostics"]]
    assert codes == ["weights-tied", "keys-unread"]
    return out


def test_every_file_of_the_contract_is_there(package: Path) -> None:
    files = {path.name for path in package.iterdir()}
    assert files == {
        "__init__.py",
        "config.py",
        "torch_model.py",
        "torch_generation.py",
        "flax_model.py",
        "flax_stack.py",
        "flax_generation.py",
        "weights.py",
        "packed.py",
        "sharding.py",
        "source.json",
        "arch.txt",
        "README.md",
        "test_model.py",
    }


def test_one_target(source: Path, tmp_path: Path) -> None:
    result = run("from-hf", source, "--out", tmp_path / "small", "--target", "torch")
    assert result.exit_code == 0
    assert (tmp_path / "small" / "torch_model.py").is_file() and not list((tmp_path / "small").glob("flax_*"))


def test_the_levels_of_the_ir_are_texts_that_read_back(source: Path, package: Path) -> None:
    modules, region = from_text(run("from-hf", source, "--emit", "graph").stdout)  # type: ignore[misc]
    assert isinstance(modules, Module) and isinstance(region, Region)
    arch = run("from-hf", source, "--emit", "arch").stdout
    assert isinstance(from_text(arch), Arch)
    assert arch == (package / "arch.txt").read_text()


def test_inspect(source: Path) -> None:
    result = run("inspect", source)
    assert result.exit_code == 0
    assert "model.layers.{0,1}" in result.stdout and "grouped-query attention" in result.stdout
    facts = json.loads(run("inspect", source, "--json").stdout)["facts"]
    assert facts["layers"] == "2" and facts["layers: attention, query norm"] == "yes"
    assert facts["layers: attention, scale"] == "0.25 (head_dim ** -0.5)"


def test_inspect_against(example: Path, source: Path, tmp_path: Path) -> None:
    assert run("inspect", source, "--against", source).stdout == "the same architecture, and the same sizes\n"
    other = small_source(example, tmp_path / "org__other", head_dim=32, hidden_act="gelu")
    gap = json.loads(run("inspect", source, "--against", other, "--json").stdout)["gap"]
    rows = {row["fact"]: (row["here"], row["there"]) for row in gap}
    assert rows["size head_dim"] == ("16", "32")
    assert rows["layers: feed-forward, activation"] == ("silu", "gelu")
    assert "layers: attention, scale" in rows and "layers" not in rows


def test_explain(package: Path) -> None:
    text = run("explain", package).stdout
    assert "rope_theta" in text and "self_attn.q_proj.weight" in text and "modeling_" in text
    facts = json.loads(run("explain", package, "--json").stdout)
    assert facts["Config"]["rope_theta"]["keys"] == ["rope_theta"]
    assert facts["Parameters"]["model.embed_tokens.weight"]["keys"] == ["vocab_size", "hidden_size"]
    assert "attention_dropout" in facts["Keys of config.json that change nothing"]


def test_explain_one_fact(package: Path) -> None:
    result = run("explain", f"{package}:rope_theta")
    assert "keys       rope_theta" in result.stdout and " | inv_freq = 1.0 / (base" in result.stdout
    assert "mlp.up_proj.weight" in run("explain", f"{package}:up_proj.weight").stdout
    wrong = run("explain", f"{package}:rope_thetta")
    assert wrong.exit_code == 1 and "there is rope_theta" in wrong.stderr


def test_explain_does_not_compile(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from codegen import pipeline

    monkeypatch.setattr(pipeline, "compile_package", None)
    monkeypatch.setattr(pipeline, "build", None)
    assert run("explain", package).exit_code == 0


def test_a_package_without_provenance(package: Path, tmp_path: Path) -> None:
    old = shutil.copytree(package, tmp_path / "old")
    record = json.loads((old / "source.json").read_text())
    del record["provenance"]
    (old / "source.json").write_text(json.dumps(record))
    result = run("explain", old)
    assert result.exit_code == 1 and "error[not-a-package]" in result.stderr


def test_list_says_which_checkpoints_a_package_serves(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from codegen import pipeline, repo
    from tests.cli.small import small_config

    root = tmp_path / "checkout"
    (root / "codegen").mkdir(parents=True)
    (root / "codegen" / "pipeline.py").touch()
    (root / "generated").mkdir()
    monkeypatch.chdir(root)
    others = {
        "org/larger": small_config(example, hidden_size=128),
        "org/other": small_config(example, hidden_act="gelu"),
    }
    source = small_source(example, tmp_path / "org__small")
    package = pipeline.compile_package(repo.load(str(source)), checkpoints=others)
    pipeline.write(package, root / "generated" / "small")
    rows = json.loads(run("list", "--json").stdout)["packages"]
    served = {"checkpoints": ["org/larger", "org/small"], "repositories": ["org/larger", "org/small"]}
    assert rows == [{"package": "small", "source": "org/small", "targets": ["torch", "flax"], **served}]
    (row,) = json.loads(run("list", "--json", "--sizes").stdout)["packages"]
    held = sum(math.prod(shape) for shape in TENSORS.values())
    assert row["parameters"]["org/small"] == held < row["parameters"]["org/larger"]


def test_a_package_is_emitted_again_by_the_names_of_its_checkpoint(example: Path, tmp_path: Path) -> None:
    """Without the prefix that a fresh checkpoint would have."""
    from codegen import regenerate

    bare = {name.removeprefix("model."): shape for name, shape in TENSORS.items()}
    out = tmp_path / "small"
    assert run("from-hf", small_source(example, tmp_path / "org__bare", bare), "--out", out).exit_code == 0
    assert '"layers.{}.mlp.up_proj.weight": ("model.layers.{}.mlp.up_proj.weight"' in (out / "weights.py").read_text()
    assert regenerate.regenerate(out, check=True).state == "up-to-date"


def test_a_package_of_repository_code_is_not_emitted_from_its_record(package: Path, tmp_path: Path) -> None:
    from codegen import regenerate

    other = shutil.copytree(package, tmp_path / "other")
    record = json.loads((other / "source.json").read_text())
    (other / "source.json").write_text(json.dumps({**record, "code": "modeling_acme.py"}))
    outcome = regenerate.regenerate(other, check=True)
    assert outcome.state == "failed" and outcome.diagnostics[0].code == "no-source-code"
