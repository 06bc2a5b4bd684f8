"""Emitted Python: formatted by the pinned ruff, all files in one process, and checked to parse."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ruff import find_ruff_bin

from codegen.diagnostics import CompileError, Diagnostic, Label
from codegen.render.definitions import parsed
from ir.spans import Span

LINE_LENGTH = 120
SETTINGS = ("--isolated", "--no-cache", "--quiet", "--line-length", str(LINE_LENGTH), "--target-version", "py311")
TIDIED = ("F401", "F841", "I001", "E713", "E714", "SIM201", "SIM202", "SIM208")
"""What is put right by the rules of ruff: imports and variables that nothing reads, the order of imports, negations of comparisons."""
TIMEOUT = 120  # seconds


def format_python(files: Mapping[str, str], *, tidy: bool = True) -> dict[str, str]:
    """The files with every .py among them formatted. Names may have folders; the order is kept. `tidy` also drops imports
    that nothing uses and writes `not a == b` as `a != b`, which text that a person edited is spared.

    Raises:
        CompileError: `emitted-code` if a file does not parse. That is a fault of the compiler, never of its input.
    """
    formatted, failure = dict(files), None
    with tempfile.TemporaryDirectory(prefix="codegen-") as folder:
        paths = {name: Path(folder, name) for name in files if name.endswith(".py")}
        for name, path in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[name], encoding="utf-8", newline="\n")
        try:
            if paths and tidy:
                _ruff("check", "--fix-only", "--unsafe-fixes", "--select", ",".join(TIDIED), folder=folder)
            if paths:
                _ruff("format", folder=folder)
        except CompileError as error:
            failure = error
        for name, path in paths.items():
            formatted[name] = path.read_text(encoding="utf-8")
    findings = [fault for name in paths if (fault := syntax_fault(name, formatted[name]))]
    if findings:
        raise CompileError(*findings)
    if failure is not None:
        raise failure
    return formatted


def syntax_fault(name: str, text: str) -> Diagnostic | None:
    """Why a file is no Python, or None."""
    try:
        parsed(text)
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
