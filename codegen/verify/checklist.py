"""The bring-up checklist of a package, measured against the original. Frameworks run in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from codegen.diagnostics import CompileError, Diagnostic

TOLERANCE = 5e-4  # float32, relative to the spread of the logits
TIMEOUT = 600.0  # seconds for one framework


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the checklist: an error, or the reason why there is none."""

    framework: str
    name: str
    error: float | None
    failure: str = ""

    @property
    def passed(self) -> bool:
        return self.error is not None and self.error <= (0.0 if self.name == "round trip" else TOLERANCE)


def run(package: Path, config: Mapping[str, object], frameworks: tuple[str, ...] = ("torch", "flax")) -> tuple[Check, ...]:
    """Record the original on `config`, a small configuration that the package serves, and compare both models with it.

    Raises:
        CompileError: `no-reference`, the original cannot be run here.
    """
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint"
        file = Path(folder) / "config.json"
        file.write_text(json.dumps(config))
        recorded = _python("codegen.verify.reference", str(file), str(checkpoint))
        if recorded.returncode != 0:
            last = recorded.stderr.strip().splitlines()[-1:] or ["no message"]
            raise CompileError(
                Diagnostic("no-reference", f"the original cannot be run: {last[0]}", help="pip install 'codegen[torch]' runs it")
            )
        return tuple(check for framework in frameworks for check in _measure(framework, package, checkpoint))


def _measure(framework: str, package: Path, checkpoint: Path) -> list[Check]:
    done = _python("codegen.verify.worker", framework, str(package), str(checkpoint))
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if not rows:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        return [Check(framework, "run", None, last[0])]
    return [Check(framework, row["check"], row.get("error"), row.get("failed", "")) for row in rows]


def _python(module: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *args], capture_output=True, text=True, timeout=TIMEOUT, check=False, stdin=subprocess.DEVNULL
    )
