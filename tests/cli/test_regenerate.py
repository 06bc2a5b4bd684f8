"""Emitting packages again: only where something changed, side by side, and checked without writing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from codegen import regenerate
from tests.cli.fake import checkout, compiled, fake_pipeline, source
from tests.cli.test_cli import run

__all__ = ["checkout", "fake_pipeline"]  # fixtures
pytestmark = pytest.mark.usefixtures("fake_pipeline")


@pytest.fixture
def generated(checkout: Path, tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        run("from-hf", source(tmp_path / f"org__{name}", model_type=name, size=1))
    return checkout / "generated"


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()}


def states(*arguments: str) -> dict[str, str]:
    document = json.loads(run(*arguments, "--json").stdout)
    return {row["package"]: row["state"] for row in document["packages"]}


def change_compiler(monkeypatch: pytest.MonkeyPatch, emits: str) -> None:
    """As if the compiler's sources had changed, and with them what it emits."""
    from codegen import pipeline, render

    def other(repository, **options):
        package = compiled(repository, **options)
        files = {**package.files, "README.md": emits}
        del files["source.json"]
        facts = {k: v for k, v in json.loads(package.files["source.json"]).items() if k not in ("files", "definitions")}
        return pipeline.Package(package.name, {**files, "source.json": render.manifest(facts, files)})

    monkeypatch.setattr(pipeline, "compile_package", other)
    monkeypatch.setattr(regenerate, "compiler_digest", lambda: emits)


def test_up_to_date(generated: Path) -> None:
    run("regenerate-all")
    before = contents(generated)
    result = run("regenerate-all")
    assert result.exit_code == 0 and result.stdout == "3 of 3 packages up to date\n"
    assert run("regenerate-all", "--check").exit_code == 0
    assert contents(generated) == before


def test_the_page_over_all_packages_is_written_and_checked(generated: Path) -> None:
    assert run("regenerate-all", "--check").exit_code == 3
    assert "architectures.md" in run("regenerate-all").stdout
    page = generated.parent / "docs" / "architectures.md"
    assert page.read_text().startswith("# Architectures")
    page.write_text("by hand")
    assert run("regenerate-all", "--check").exit_code == 3 and page.read_text() == "by hand"


def test_unchanged_packages_are_not_compiled_again(generated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("regenerate-all")
    compiled_again = []
    monkeypatch.setattr(regenerate, "regenerate", lambda folder, **options: compiled_again.append(folder))
    assert states("regenerate-all") == dict.fromkeys("abc", "up-to-date")
    assert compiled_again == []


def test_a_change_of_the_compiler_compiles_all(generated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("regenerate-all")
    change_compiler(monkeypatch, "other\n")
    before = contents(generated)
    check = run("regenerate-all", "--check")
    assert check.exit_code == 3 and check.stdout.count("differs") == 3
    assert contents(generated) == before, "--check writes nothing"
    assert states("regenerate-all") == dict.fromkeys("abc", "written")
    assert (generated / "b" / "README.md").read_text() == "other\n"
    assert run("regenerate-all", "--check").exit_code == 0


def test_a_change_of_an_output_is_found(generated: Path) -> None:
    run("regenerate-all")
    (generated / "b" / "README.md").unlink()
    assert states("regenerate-all", "--check") == {"a": "up-to-date", "b": "differs", "c": "up-to-date"}
    assert states("regenerate-all") == {"a": "up-to-date", "b": "written", "c": "up-to-date"}


def test_hand_edits_are_safe(generated: Path) -> None:
    (generated / "b" / "README.md").write_text("mine")
    result = run("regenerate-all")
    assert result.exit_code == 1 and "error[edited-by-hand]" in result.stderr
    assert (generated / "b" / "README.md").read_text() == "mine"
    assert run("regenerate-all", "--check").exit_code == 3
    assert run("regenerate", "b", "--merge").exit_code == 0
    assert run("regenerate", "b", "--force").exit_code == 0
    assert (generated / "b" / "README.md").read_text() == "# org/b\n"


def test_some(generated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_compiler(monkeypatch, "other\n")
    assert states("regenerate", "a", "generated/c") == {"a": "written", "c": "written"}
    assert (generated / "b" / "README.md").read_text() == "# org/b\n"


def test_one_failure_does_not_stop_the_others(generated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = json.loads((generated / "b" / "source.json").read_text())
    (generated / "b" / "source.json").write_text(json.dumps({**record, "config": {"refuse": "crash"}}))
    change = regenerate.compiler_digest() + "x"
    monkeypatch.setattr(regenerate, "compiler_digest", lambda: change)
    result = run("regenerate-all")
    assert result.exit_code == 1 and "error[internal-error]" in result.stderr
    assert "2 of 3 packages up to date" in result.stdout


def test_outcome_does_not_depend_on_the_number_of_processes(generated: Path, checkout: Path) -> None:
    folders = regenerate.packages(generated)
    orders = []
    for jobs in (1, 3):
        (checkout / ".cache" / "regenerate.json").unlink(missing_ok=True)
        seen: list[regenerate.Outcome] = []
        orders.append(regenerate.regenerate_many(folders, checkout, seen.append, jobs=jobs))
        assert len(seen) == 3
    assert orders[0] == orders[1]


def test_the_compilers_digest_is_that_of_its_sources() -> None:
    assert regenerate.compiler_digest() == regenerate.compiler_digest()
    assert len(regenerate.compiler_digest()) == 64


def test_a_broken_stamp_costs_time_alone(generated: Path, checkout: Path) -> None:
    os.makedirs(checkout / ".cache", exist_ok=True)
    (checkout / ".cache" / "regenerate.json").write_text("{")
    assert states("regenerate-all") == dict.fromkeys("abc", "up-to-date")


def test_a_process_that_ends_early_is_one_failure(generated: Path) -> None:
    def work(folder: Path) -> regenerate.Outcome:
        if folder.name == "b":
            os._exit(3)
        return regenerate.Outcome(folder.name, "up-to-date")

    for name, lines in (("a", 2), ("b", 3), ("c", 1)):  # the shortest is compiled here
        (generated / name / "more.py").write_text("x = 1\n" * 1000 * lines)
    found = {one.name: one.state for one in regenerate._run(work, regenerate.packages(generated), 2)}
    assert found == {"a": "up-to-date", "b": "failed", "c": "up-to-date"}
