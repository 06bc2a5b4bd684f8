"""Time and memory of the command line, as whole cold processes. See README.md."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLE = next((ROOT / "docs" / "examples").iterdir())
ROUNDS = 5


def measure(*command: str) -> tuple[float, float]:
    """Median wall seconds and peak MB of a command, the largest process of it."""
    taken = []
    for number in range(ROUNDS + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        if number:
            taken.append(time.perf_counter() - start)
    return statistics.median(taken), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main() -> None:
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
        ("regenerate-all cold (limit 40 s)", "cold"),
        ("regenerate-all unchanged (limit 2 s)", "warm"),
    ):
        flags = ["--check"] if digest == "cold" else []
        start = time.perf_counter()
        subprocess.run([codegen, "regenerate-all", *flags], check=True, capture_output=True, cwd=ROOT)
        print(f"{name:32} {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
