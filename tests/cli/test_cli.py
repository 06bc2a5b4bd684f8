"""Commands, options, exit codes, and what goes to which stream."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from codegen import __version__
from codegen.cli import app
from tests.cli.fake import checkout, fake_pipeline, source

__all__ = ["checkout", "fake_pipeline"]  # fixtures
pytestmark = pytest.mark.usefixtures("fake_pipeline")
COMMANDS = ("from-hf", "inspect", "explain", "regenerate-all", "regenerate", "verify", "convert", "generate", "list")


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def test_help_names_every_command() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert all(command in result.output for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_an_example(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0 and f"codegen {command} " in result.output.replace("\n", " \n")


def test_version() -> None:
    assert run("--version").output.strip() == __version__


def test_compiles_to_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("from-hf", source(tmp_path / "source", model_type="acme"))
    assert result.exit_code == 0 and result.stderr == ""
    assert result.stdout == "wrote acme: model.py README.md source.json\n"
    assert (tmp_path / "acme" / "model.py").is_file()
    assert run("from-hf", tmp_path / "source").stdout == "acme is up to date\n"


def test_inside_a_checkout_it_goes_to_generated(checkout: Path, tmp_path: Path) -> None:
    run("from-hf", source(tmp_path / "source", model_type="acme"))
    assert (checkout / "generated" / "acme" / "source.json").is_file()


def test_out(tmp_path: Path) -> None:
    result = run("from-hf", source(tmp_path / "source"), "--out", tmp_path / "a" / "b", "--json")
    facts = json.loads(result.stdout)
    assert facts["ok"] and facts["out"] == str(tmp_path / "a" / "b")
    assert facts["files"] == ["README.md", "model.py", "source.json"] and facts["diagnostics"] == []


def test_targets(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("from-hf", source(tmp_path / "source"), "--out", out, "--target", "flax").exit_code == 0
    assert json.loads((out / "source.json").read_text())["targets"] == ["flax"]


def test_input_that_cannot_be_compiled(tmp_path: Path) -> None:
    result = run("from-hf", source(tmp_path / "source", refuse=2), "--out", tmp_path / "out")
    assert result.exit_code == 1 and result.stdout == ""
    assert result.stderr.count("error[unknown-part]") == 2 and "2 errors" in result.stderr
    assert not (tmp_path / "out").exists()


def test_diagnostics_as_json(tmp_path: Path) -> None:
    result = run("from-hf", source(tmp_path / "source", refuse=2), "--out", tmp_path / "out", "--json")
    assert result.exit_code == 1 and result.stderr == ""
    document = json.loads(result.stdout)
    assert document["ok"] is False
    assert [found["message"] for found in document["diagnostics"]] == ["part 0 is unknown", "part 1 is unknown"]


def test_fault_of_the_compiler(tmp_path: Path) -> None:
    result = run("from-hf", source(tmp_path / "source", refuse="crash"), "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "error[internal-error]: the compiler failed: ZeroDivisionError: crashed \\x1b[31m" in result.stderr
    assert "please report" in result.stderr


def test_no_source(tmp_path: Path) -> None:
    result = run("from-hf", tmp_path / "none")
    assert result.exit_code == 1 and "error[source-not-found]" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    (
        ["from-hf"],
        ["from-hf", "a/b", "--target", "numpy"],
        ["from-hf", "a/b", "--emit", "tokens"],
        ["from-hf", "a/b", "--force", "--merge"],
        ["from-hf", "a/b@v1", "--revision", "v2"],
        ["from-hf", "a/b", "--unknown"],
        ["unknown"],
        ["convert", "a/b", "--to", "pickle", "--out", "x"],
        ["convert", "a/b"],
        ["generate", "a"],
        ["regenerate"],
        ["inspect"],
    ),
)
def test_wrong_usage(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2 and result.stdout == ""


def test_hand_edit(tmp_path: Path) -> None:
    where = source(tmp_path / "source", size=1)
    out = tmp_path / "out"
    run("from-hf", where, "--out", out)
    (out / "model.py").write_text((out / "model.py").read_text() + "MINE = 1\n")
    source(where, size=2)
    result = run("from-hf", where, "--out", out)
    assert result.exit_code == 1 and "error[edited-by-hand]" in result.stderr
    result = run("from-hf", where, "--out", out, "--merge")
    assert result.exit_code == 0 and "kept what was edited: model.py: MINE" in result.stdout
    assert (out / "model.py").read_text() == 'CONFIG = {"size": 2}\nMINE = 1\n'
    assert run("from-hf", where, "--out", out, "--force").exit_code == 0
    assert "MINE" not in (out / "model.py").read_text()


def test_conflict_of_a_merge_is_noted(tmp_path: Path) -> None:
    where, out = source(tmp_path / "source", size=1), tmp_path / "out"
    run("from-hf", where, "--out", out)
    (out / "model.py").write_text("CONFIG = 3\n")
    source(where, size=2)
    result = run("from-hf", where, "--out", out, "--merge")
    assert result.exit_code == 0 and "note[merge-conflict]: out/model.py: CONFIG" in result.stderr
    assert (out / "model.py").read_text() == "CONFIG = 3\n"


def test_list(checkout: Path, tmp_path: Path) -> None:
    assert run("list").stdout == "generated/ holds no package\n"
    run("from-hf", source(tmp_path / "org__small", model_type="acme"))
    run("from-hf", source(tmp_path / "org__other", model_type="other"))
    assert run("list").stdout == "acme   org/small\nother  org/other\n"
    listed = json.loads(run("list", "--json").stdout)["packages"]
    served = {"source": "org/small", "repositories": ["org/small"], "checkpoints": ["org/small"]}
    assert listed[0] == {"package": "acme", **served, "targets": ["torch", "flax"]}


def test_commands_on_a_package_that_is_none(checkout: Path) -> None:
    for command in (["explain", "none"], ["explain", "none:rope"], ["regenerate", "none"]):
        result = run(*command)
        assert result.exit_code == 1 and "error[not-a-package]" in result.stderr


def test_nothing_heavy_is_imported_for_help() -> None:
    code = "import sys; from codegen.cli import app; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"rich", "jinja2", "libcst", "numpy", "huggingface_hub", "safetensors", "pydantic", "httpx"}
    assert heavy & set(done.stdout.split()) == set()
