"""The bring-up checklist of a package, measured against the original. Frameworks run in processes of their own."""

from __future__ import annotations

import ast
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

from codegen.report import Report, columns
from codegen.verify.processes import can_cut_off, installed, last_line, run_module
from ir.records import dataclass

LIBRARY = "transformers/"  # the only code that is run without being asked for
FRAMEWORKS = {"torch": ("torch",), "flax": ("jax", "flax")}  # and what each needs


Original = Callable[[Mapping[str, object], Path], str]
"""Records what the original computes for a configuration in a folder; returns why it cannot, or nothing."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the checklist: an error and its limit, or `failure`, or the reason why it did not run."""

    subject: str  # a framework, or what else is looked at
    name: str
    error: float | None = None
    limit: float = 0.0
    failure: str = ""
    skipped: str = ""
    said: str = ""  # of one that was not measured in numbers

    @property
    def state(self) -> str:
        if self.skipped:
            return "not run"
        return "passed" if not self.failure and (self.error is None or self.error <= self.limit) else "FAILED"

    @property
    def measure(self) -> str:
        """In words."""
        if self.error is None:
            return self.failure or self.skipped or self.said
        return f"{self.error:.2g}, at most {self.limit:.2g}" if self.limit else f"{self.error:g}, at most 0"


def weights(count: int | None) -> Check:
    """That compiling has found a place for every tensor of the checkpoint; None where it holds no safetensors."""
    name = "names, shapes, types"
    if count is None:
        return Check("weights", name, skipped="the source holds no safetensors")
    return Check("weights", name, said=f"{count} tensors, each has its place")


def run(package: Path, own_code: Original | None = None) -> tuple[Check, ...]:
    """Record the original on a small configuration that the package serves, and compare both models with it.
    `own_code` records what is no code of the library.
    """
    with tempfile.TemporaryDirectory() as folder:
        config, reason = small_configuration(package)
        checkpoint = Path(folder) / "checkpoint"
        if not reason:
            reason = _original(_record_of(package), own_code)(config, checkpoint)
        with ThreadPoolExecutor() as pool:
            measured = pool.map(lambda name: _framework(name, package, checkpoint, reason), FRAMEWORKS)
            return tuple(check for checks in measured for check in checks)


def report(subject: str, checks: Sequence[Check]) -> Report:
    """The checklist as a table. It is passed if something was measured and nothing failed."""
    counts = {state: sum(check.state == state for check in checks) for state in ("passed", "FAILED", "not run")}
    rows = [(check.state, check.subject, check.name, check.measure) for check in checks]
    total = f"{subject}: " + ", ".join(f"{count} {state.lower()}" for state, count in counts.items() if count)
    facts = [{"state": check.state.lower(), **asdict(check)} for check in checks]
    passed = counts["passed"] > 0 and not counts["FAILED"]
    return Report("\n".join([*columns(rows), total]), {"subject": subject, "passed": passed, "checks": facts}, passed)


def small_configuration(package: Path) -> tuple[Mapping[str, object], str]:
    """The configuration of the package's own tests, or why there is none."""
    try:
        tree = ast.parse((package / "test_model.py").read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
                target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
                if isinstance(target, ast.Name) and target.id == "TINY":
                    return dict(ast.literal_eval(node.value)), ""
    except (OSError, SyntaxError, ValueError) as error:
        return {}, f"test_model.py cannot be read: {error}"
    return {}, "test_model.py has no TINY configuration"


def _record_of(package: Path) -> Mapping[str, object]:
    """source.json, as far as it can be read."""
    try:
        found = json.loads((package / "source.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _original(source: Mapping[str, object], own_code: Original | None) -> Original:
    names = source.get("names")
    renamed = names if isinstance(names, dict) else {}
    if str(source.get("code", LIBRARY)).startswith(LIBRARY):
        return lambda config, out: execute(config, out, names=renamed)
    if own_code is None:
        return lambda config, out: "the original is code of its repository, which is never run: verify the repository"
    if renamed:
        return lambda config, out: "its checkpoints name tensors otherwise than its modules"
    return own_code


def execute(
    config: Mapping[str, object],
    out: Path,
    *,
    names: Mapping[str, object] = MappingProxyType({}),
    code: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Run the original in a process of its own; why that cannot be done, or nothing. `code` are the texts of files that a
    source brings: that process has neither a network nor tokens.
    """
    if missing := [name for name in ("torch", "transformers") if not installed(name)]:
        return f"the original needs {' and '.join(missing)}, which is not installed"
    with tempfile.TemporaryDirectory() as folder:
        settings, stored = Path(folder) / "config.json", Path(folder) / "names.json"
        settings.write_text(json.dumps(config))
        stored.write_text(json.dumps(dict(names)))
        arguments = [str(settings), str(out), str(stored)]
        if not code:
            done = run_module("codegen.verify.reference", *arguments)
        elif not can_cut_off():
            return "the network cannot be cut off from a process here"
        else:
            place = Path(folder, "code")
            for name, text in code.items():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_text(text)
            done = run_module("codegen.verify.reference", *arguments, str(place), alone=Path(folder))
    return "" if done.returncode == 0 else f"the original fails: {last_line(done.stderr)}"


def _framework(framework: str, package: Path, checkpoint: Path, reason: str) -> list[Check]:
    missing = [name for name in FRAMEWORKS[framework] if not installed(name)]
    if not (package / f"{framework}_model.py").is_file():
        reason = "the package has no such model"
    elif missing:
        reason = f"{' and '.join(missing)} is not installed"
    if reason:
        return [Check(framework, "parity with the original", skipped=reason)]
    done = run_module("codegen.verify.worker", framework, str(package), str(checkpoint))
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"check"')]
    checks = [
        Check(
            framework,
            row["check"],
            row.get("error"),
            row.get("limit", 0.0),
            row.get("failed", ""),
            row.get("skipped", ""),
        )
        for row in rows
    ]
    if done.returncode != 0 or not rows:
        checks.append(Check(framework, "run", failure=f"the process ended early: {last_line(done.stderr)}"))
    return checks
