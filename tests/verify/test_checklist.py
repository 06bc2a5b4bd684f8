"""The bring-up checklist: it passes on what the compiler emits, fails on what is wrong, and says what did not run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from codegen.verify import checklist
from tests.cli.small import TENSORS, small_source
from tests.cli.test_cli import run


@pytest.fixture(scope="module")
def source(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_source(example, tmp_path_factory.mktemp("source") / "org__small", dict(TENSORS))


@pytest.fixture(scope="module")
def package(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "small"
    assert run("from-hf", source, "--out", out).exit_code == 0
    return out


def states(document: dict[str, object]) -> dict[tuple[str, str], str]:
    return {(row["subject"], row["name"]): row["state"] for row in document["checks"]}  # type: ignore[index,attr-defined]


@pytest.mark.slow
def test_a_source_passes(source: Path) -> None:
    for needed in ("torch", "transformers", "flax"):
        pytest.importorskip(needed)
    result = run("verify", source, "--json")
    found = states(json.loads(result.stdout))
    assert result.exit_code == 0 and set(found.values()) == {"passed"}, found
    assert ("weights", "names, shapes, types") in found
    names = {name for framework, name in found if framework == "torch"}
    assert names >= {"forward, float32", "forward, float64", "decode on a cache", "padded left", "gradients"}
    assert ("flax", "layers scanned") in found


@pytest.mark.slow
def test_a_wrong_model_fails(package: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    broken = shutil.copytree(package, tmp_path / "broken")
    (broken / "flax_model.py").unlink()
    text = (broken / "torch_model.py").read_text()
    assert "rsqrt(" in text
    (broken / "torch_model.py").write_text(text.replace("rsqrt(", "rsqrt(1e-3 + ", 1))
    result = run("verify", broken)
    assert result.exit_code == 3
    assert "FAILED" in result.stdout and "not run  flax" in result.stdout


def test_what_is_not_installed_does_not_count_as_passed(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checklist, "installed", lambda name: False)
    result = run("verify", package)
    assert result.exit_code == 3
    assert "not run  torch  parity with the original  torch is not installed" in result.stdout
    assert "jax and flax is not installed" in result.stdout
    assert result.stdout.endswith("small: 2 not run\n")


def test_code_of_a_repository_is_never_run(package: Path, tmp_path: Path) -> None:
    own = shutil.copytree(package, tmp_path / "own")
    record = json.loads((own / "source.json").read_text())
    (own / "source.json").write_text(json.dumps({**record, "code": "modeling_acme.py"}))
    checks = checklist.run(own)
    assert {check.state for check in checks} == {"not run"}
    assert all("never run" in check.skipped for check in checks)


def test_a_package_without_tests_of_its_own(package: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(package, tmp_path / "bare")
    (bare / "test_model.py").unlink()
    assert {check.state for check in checklist.run(bare)} == {"not run"}


def test_states() -> None:
    states = [
        checklist.Check("torch", "a", 0.1, 0.2),
        checklist.Check("torch", "b", 0.3, 0.2),
        checklist.Check("torch", "c", failure="ValueError: no"),
        checklist.Check("torch", "d", skipped="no jax"),
        checklist.weights(None),
        checklist.weights(3),
    ]
    assert [check.state for check in states] == ["passed", "FAILED", "FAILED", "not run", "not run", "passed"]
    assert checklist.report("x", states).passed is False
    assert checklist.report("x", states[:1]).passed is True
    assert checklist.report("x", states[3:4]).passed is False
