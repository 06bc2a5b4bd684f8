"""A package is written whole or not at all, and never over a hand edit."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from codegen.diagnostics import CompileError
from codegen.render import differences, manifest, write_package

MODEL = '''"""A model."""

import math


def scale(x: float) -> float:
    return x / math.pi


class Model:
    depth: int = 2

    def first(self) -> int:
        return 1

    def second(self) -> int:
        return 2
'''


def package(**changed: str) -> dict[str, str]:
    files = {"model.py": MODEL, "README.md": "# A model\n", **{k.replace("_", ".", 1): v for k, v in changed.items()}}
    return {**files, "source.json": manifest({"repository": "org/name", "config": {}}, files)}


def state(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def refused(files: dict[str, str], out: Path, **options: bool) -> str:
    before = state(out.parent)
    with pytest.raises(CompileError) as caught:
        write_package(files, out, **options)
    assert state(out.parent) == before
    return caught.value.diagnostics[0].code


def test_new_folder(tmp_path: Path) -> None:
    written = write_package(package(), tmp_path / "deep" / "model")
    assert state(tmp_path / "deep" / "model") == {name: text.encode() for name, text in package().items()}
    assert set(written.changed) == set(package())
    assert os.listdir(tmp_path / "deep") == ["model"]


def test_nothing_changes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "model"
    write_package(package(), out)
    before = out.stat().st_ino
    written = write_package(package(), out)
    assert (written.changed, written.removed) == ((), ()) and out.stat().st_ino == before


def test_files_of_others_stay_and_stale_ones_go(tmp_path: Path) -> None:
    out = tmp_path / "model"
    write_package(package(old_py="x = 1\n"), out)
    (out / "notes").mkdir()
    (out / "notes" / "mine.txt").write_text("mine")
    written = write_package(package(), out)
    assert written.removed == ("old.py",)
    assert sorted(state(out)) == ["README.md", "model.py", "notes/mine.txt", "source.json"]


def test_edited_file_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "model"
    write_package(package(), out)
    (out / "model.py").write_text(MODEL.replace("return 1", "return 10"))
    assert refused(package(README_md="# Other\n"), out) == "edited-by-hand"
    write_package(package(), out, force=True)
    assert state(out)["model.py"] == MODEL.encode()


def test_edited_file_that_is_stale_is_not_removed(tmp_path: Path) -> None:
    out = tmp_path / "model"
    write_package(package(old_py="x = 1\n"), out)
    (out / "old.py").write_text("x = 2\n")
    assert refused(package(), out) == "edited-by-hand"


def test_file_of_the_same_name_that_was_never_emitted(tmp_path: Path) -> None:
    out = tmp_path / "model"
    write_package(package(), out)
    (out / "new.py").write_text("mine = 1\n")
    assert refused(package(new_py="theirs = 1\n"), out) == "edited-by-hand"


def test_foreign_folder(tmp_path: Path) -> None:
    out = tmp_path / "model"
    out.mkdir()
    write_package(package(), out)  # an empty one will do
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    assert refused(package(), other) == "not-a-package"
    write_package(package(), other, force=True)
    assert (other / "thesis.txt").read_text() == "years of work"
    (tmp_path / "file").write_text("x")
    assert refused(package(), tmp_path / "file") == "not-a-package"


def test_merge(tmp_path: Path) -> None:
    out = tmp_path / "model"
    write_package(package(), out)
    (out / "model.py").write_text(MODEL.replace("return 1", "return 10"))
    (out / "README.md").write_text("# Mine\n")
    emitted = MODEL.replace("return 1", "return 11").replace("math.pi", "math.e")
    written = write_package(package(model_py=emitted), out, merge=True)
    assert state(out)["model.py"].decode() == MODEL.replace("return 1", "return 10").replace("math.pi", "math.e")
    assert state(out)["README.md"] == b"# Mine\n"
    assert written.kept == ("README.md", "model.py: Model.first")
    assert written.conflicts == ("model.py: Model.first",)
    assert refused(package(model_py=emitted), out) == "edited-by-hand"  # it still is
    again = write_package(package(model_py=emitted), out, merge=True)
    assert (again.changed, again.conflicts) == ((), ())


def test_merge_of_what_is_no_python(tmp_path: Path) -> None:
    out = tmp_path / "model"
    write_package(package(), out)
    (out / "model.py").write_text("def (:\n")
    assert refused(package(), out, merge=True) == "edited-by-hand"


@pytest.mark.parametrize("failing", ("rename", "write_text", "copytree"))
@pytest.mark.parametrize("call", range(3))
def test_failure_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, call: int
) -> None:
    out = tmp_path / "model"
    write_package(package(), out)
    owner: object = {"rename": os, "write_text": Path, "copytree": __import__("shutil")}[failing]
    original, calls = getattr(owner, failing), []

    def fails(*args: object, **options: object) -> object:
        calls.append(args)
        if len(calls) == call + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*args, **options)

    before = state(out)
    monkeypatch.setattr(owner, failing, fails)
    try:
        write_package(package(README_md="# Other\n"), out)
    except CompileError as error:
        assert error.diagnostics[0].code == "cannot-write"
        assert state(out) == before
    monkeypatch.undo()
    assert [name for name in os.listdir(tmp_path) if "partial" in name] == []
    write_package(package(README_md="# Other\n"), out)
    assert os.listdir(tmp_path) == ["model"]


def test_killed_between_its_renames(tmp_path: Path) -> None:
    out = tmp_path / "model"
    write_package(package(), out)
    os.rename(out, tmp_path / ".model.codegen-old")
    write_package(package(), out)
    assert os.listdir(tmp_path) == ["model"]


def test_what_killed_runs_left_is_swept_up(tmp_path: Path) -> None:
    done = subprocess.Popen(["true"])
    done.wait()
    for process in (done.pid, os.getpid()):
        (tmp_path / f".model.codegen-partial-{process}").mkdir()
    write_package(package(), tmp_path / "other")
    assert len(os.listdir(tmp_path)) == 3
    (tmp_path / f".model.codegen-partial-{os.getpid()}").rmdir()
    write_package(package(), tmp_path / "model")
    assert sorted(os.listdir(tmp_path)) == ["model", "other"]


def test_differences(tmp_path: Path) -> None:
    out = tmp_path / "model"
    assert set(differences(package(), out)) == set(package())
    write_package(package(old_py="x = 1\n"), out)
    assert differences(package(old_py="x = 1\n"), out) == ()
    assert differences(package(README_md=""), out) == ("README.md", "old.py", "source.json")
