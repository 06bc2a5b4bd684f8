"""Emitted Python parses and is formatted."""

from __future__ import annotations

import subprocess

import pytest

from codegen.diagnostics import CompileError
from codegen.render import format_python


def test_formats_every_python_file_and_nothing_else() -> None:
    files = {"a.py": "x = {'a':1}", "sub/b.py": "y=[1,\n2]", "c.md": "x  =  1"}
    assert format_python(files) == {"a.py": 'x = {"a": 1}\n', "sub/b.py": "y = [1, 2]\n", "c.md": "x  =  1"}


def test_order_and_lack_of_files() -> None:
    assert list(format_python({"z.py": "", "a.py": ""})) == ["z.py", "a.py"]
    assert format_python({}) == {}


def test_one_process_tidies_all_files_and_one_formats_them(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, run = [], subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: calls.append(args) or run(*args, **options))
    format_python({f"{i}.py": "x=1" for i in range(20)})
    assert [call[0][1] for call in calls] == ["check", "format"]


def test_settings_of_the_user_do_not_count(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ruff.toml").write_text("line-length = 20\n[format]\nquote-style = 'single'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert format_python({"a.py": "x = ['aaaaaaaa', 'bbbbbbbb', 'cccccccc']\n"})["a.py"].startswith('x = ["a')


def test_faults_of_all_files_are_reported() -> None:
    with pytest.raises(CompileError) as caught:
        format_python({"a.py": "def f(:", "b.py": "x = 1", "c.py": "\n  x = = 2"})
    first, second = caught.value.diagnostics
    assert (first.code, second.code) == ("emitted-code", "emitted-code")
    assert second.primary is not None and second.primary.span.line == 2


def test_what_nothing_uses_is_not_imported_unless_a_person_wrote_it() -> None:
    text = "from a import b, c\n\nx = not b == 1\n"
    assert format_python({"a.py": text})["a.py"] == "from a import b\n\nx = b != 1\n"
    assert format_python({"a.py": text}, tidy=False)["a.py"] == text
