"""CPU time and memory of the command line, as whole cold processes. See README.md."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLE = next((ROOT / "docs" / "examples").iterdir())
ROUNDS = 5


def seconds_of(*command: str) -> float:
    """CPU seconds of a command and of all processes that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(*command: str) -> tuple[float, float]:
    """Median CPU seconds of a command, and peak MB, the largest process of it."""
    taken = [seconds_of(*command) for _ in range(ROUNDS + 1)][1:]
    return statistics.median(taken), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    codegen = str(Path(sys.executable).parent / "codegen")
    with tempfile.TemporaryDirectory() as folder:
        rows = {
            "--help (limit 0.2 s)": (codegen, "--help"),
            "from-hf (limit 0.6 s, 100 MB)": (
                codegen,
                "from-hf",
                str(EXAMPLE),
                "--out",
                f"{folder}/package",
                "--force",
            ),
        }
        for name, command in rows.items():
            seconds, megabytes = measure(*command)
            print(f"{name:32} {seconds:.2f} s  {megabytes:.0f} MB")
    for name, digest in (
        ("regenerate-all cold (limit 90 s)", "cold"),
        ("regenerate-all unchanged (limit 2 s)", "warm"),
    ):
        flags = ["--check"] if digest == "cold" else []
        print(f"{name:32} {seconds_of(codegen, 'regenerate-all', *flags):.2f} s")


if __name__ == "__main__":
    main()
