"""The page about mutated modeling code, from what tests/tools/code_mutants.py found.

python -m tests.tools.mutants_page RESULTS ... --out docs/mutants.md
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.tools.code_mutants import (
    AGREES,
    CHAOTIC,
    CRASH,
    DROPPED,
    EQUAL,
    FAILS,
    NOT_FINITE,
    RANDOM,
    REFUSED,
    SLOW,
    WRONG,
    Verdict,
)

ORDER = (AGREES, EQUAL, REFUSED, WRONG, CRASH, *DROPPED)
MEANING = {
    AGREES: "compiled, and the package computes what the changed code computes, which is not what the code computed",
    EQUAL: "compiled, and the package computes what the changed code computes, which is what the code computed before",
    REFUSED: "not compiled, with a diagnostic",
    WRONG: "compiled to something else",
    CRASH: "the compiler itself failed",
    FAILS: "the changed code cannot run; whatever the compiler says is right, as long as it does not crash",
    NOT_FINITE: "the changed code gives no finite numbers",
    CHAOTIC: "float32 and float64 differ too much in the changed code itself for any comparison",
    RANDOM: "the changed code gives other numbers each time",
    SLOW: "stopped after a minute and a half",
}

START = """# Mutants

Nothing here was compared by hand. `tests/tools/mutants.py` changes a modeling file of the installed library in one place: an
operator, a constant, a cast, the order of norms, a mask, the pairs of a rotation, a scale, an activation, an axis, a slice, an argument. Each
mutant becomes a repository with code of its own: the configuration of a tiny case, and the changed file beside it.
`tests/tools/code_mutants.py` runs the changed code on random weights and compiles it, and both have to agree in float64: two rows of
seventeen tokens (past every window), the same in steps on a cache, a padded batch, and the checkpoint there and back. Where a cast
was changed, the logits in bfloat16 have to be the same bit for bit, but for one in fifty. Steps and padded rows are compared where the changed code agrees
with itself there. What is changed are lines that the original runs.

The numbers below are of several runs with different seeds and types, far fewer than the two thousand mutants that are wanted; the
same seed gives the same mutants. What had gone wrong was mended and judged once more with `--again`; the rest stands as it was found,
by the compiler of that hour.

    python -m tests.tools.code_mutants --number 24 --seed 0 --out results.jsonl
    python -m tests.tools.code_mutants --again results.jsonl --out judged.jsonl
    python -m tests.tools.mutants_page judged.jsonl --out docs/mutants.md

What mutants found, all but the last kept as tests (tests/laws/test_mutants.py): a call without a mask, or without a cache, that takes another way
in the source and computes something else there; buffers that the library fills once more after the model is made; a layer copied from
one that is like it, into whose result the caller had written; the sign of a number that is raised to a power; a fused attention with a
negative scale; the number of tokens read from a mask that may be None; logits that are None, which ended in an internal error.

A residual stream that becomes wider in the first layer (`return hidden_states.float()`) is refused as `unknown-pattern`, or, where it
is not, ends in an exception of the emitted code: the first layer differs from the others then in nothing that the configuration says.
"""


def page(verdicts: Sequence[Verdict]) -> str:
    judged = [found for found in verdicts if found.kind != "none"]
    counted = Counter(found.verdict for found in judged)
    kept = sum(counted[name] for name in ORDER if name not in DROPPED)
    types = len({found.name for found in judged})
    parts = [
        START,
        f"{len(judged)} mutants of {types} types; {kept} of them run and were judged, the others dropped.\n",
    ]
    parts.append(_table(("verdict", "mutants", "what it means"), ((name, counted[name], MEANING[name]) for name in ORDER if counted[name] or name in (WRONG, CRASH))))  # fmt: skip
    parts.append("\n## By kind of change\n")
    kinds = sorted({found.kind for found in judged})
    by_kind = Counter((found.kind, found.verdict) for found in judged)
    shown = (AGREES, EQUAL, REFUSED, WRONG, CRASH)
    parts.append(_table(("kind", *shown, "dropped"), ((kind, *(by_kind[kind, name] for name in shown), sum(by_kind[kind, name] for name in DROPPED)) for kind in kinds)))  # fmt: skip
    parts.append("\n## By type\n")
    by_type = Counter((found.name, found.verdict) for found in judged)
    parts.append(_table(("type", *shown, "dropped"), ((name, *(by_type[name, verdict] for verdict in shown), sum(by_type[name, verdict] for verdict in DROPPED)) for name in sorted({found.name for found in judged}))))  # fmt: skip
    parts.append("\n## What is refused\n\nThe code of the diagnostic, how often, and each of them with its place.\n")
    refused = [found for found in judged if found.verdict == REFUSED]
    for code, number in sorted(Counter(found.code for found in refused).items(), key=lambda item: (-item[1], item[0])):
        parts.append(f"\n### {code}: {number}\n")
        parts += (_said(found) for found in refused if found.code == code)
    for name, title in ((WRONG, "What is wrong"), (CRASH, "What crashes")):
        if counted[name]:
            parts.append(f"\n## {title}\n")
            parts += (_said(found) for found in judged if found.verdict == name)
    return "\n".join(parts) + "\n"


def _said(found: Verdict) -> str:
    edit = f"`{found.before}` became `{found.after}`".replace("\n", " ")
    return f"- {found.name}, {found.kind}: {edit}: {' '.join(found.detail.split(' [')[0].split())[:200]}"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(map(str, row)) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows = [json.loads(line) for path in options.results for line in path.read_text().splitlines()]
    options.out.write_text(page([Verdict(**row) for row in rows]))


if __name__ == "__main__":
    main()
