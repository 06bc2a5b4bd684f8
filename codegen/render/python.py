"""Emitted Python: checked to parse, then formatted by the pinned ruff, all files in one process."""

from __future__ import annotations

import ast
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ruff import find_ruff_bin

from codegen.diagnostics import CompileError, Diagnostic, Label
from ir.spans import Span

LINE_LENGTH = 120
SETTINGS = ("--isolated", "--no-cache", "--quiet", "--line-length", str(LINE_LENGTH), "--target-version", "py311")
TIDIED = ("F401", "I001", "E713", "E714", "SIM201", "SIM202", "SIM208")
"""What is put right by the rules of ruff: unused and unsorted imports, negations of comparisons."""
TIMEOUT = 120  # seconds


def format_python(files: Mapping[str, str], *, tidy: bool = True) -> dict[str, str]:
    """The files with every .py among them formatted. Names may have folders; the order is kept. `tidy` also drops imports
    that nothing uses and writes `not a == b` as `a != b`, which text that a person edited is spared.

    Raises:
        CompileError: `emitted-code` if a file does not parse. That is a fault of the compiler, never of its input.
    """
    findings = [fault for name, text in files.items() if name.endswith(".py") and (fault := syntax_fault(name, text))]
    if findings:
        raise CompileError(*findings)
    formatted = dict(files)
    with tempfile.TemporaryDirectory(prefix="codegen-") as folder:
        paths = {name: Path(folder, name) for name in files if name.endswith(".py")}
        for name, path in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[name], encoding="utf-8", newline="\n")
        if paths and tidy:
            _ruff("check", "--fix-only", "--unsafe-fixes", "--select", ",".join(TIDIED), folder=folder)
        if paths:
            _ruff("format", folder=folder)
        for name, path in paths.items():
            formatted[name] = path.read_text(encoding="utf-8")
    return formatted


def syntax_fault(name: str, text: str) -> Diagnostic | None:
    """Why a file is no Python, or None."""
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None) or 1
        column = max(0, (getattr(error, "offset", None) or 1) - 1)
        lines = text.splitlines()
        excerpt = lines[line - 1].strip() if line <= len(lines) else ""
        return Diagnostic(
            "emitted-code",
            f"the compiler emitted a {name} that does not parse: {getattr(error, 'msg', error)}",
            Label(Span(name, line, column, line, column + 1), excerpt),
            help="this is a fault of the compiler: please report it with the source that it was run on",
        )
    return None


def _ruff(*command: str, folder: str) -> None:
    try:
        done = subprocess.run(
            [find_ruff_bin(), *command, *SETTINGS, folder],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompileError(Diagnostic("formatter-failed", f"ruff could not be run: {error}")) from None
    if done.returncode:
        raise CompileError(
            Diagnostic("formatter-failed", f"ruff failed: {done.stderr.strip().replace(folder, '')[:500]}")
        )
