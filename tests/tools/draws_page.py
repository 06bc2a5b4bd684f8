"""The page about drawn configurations, from what tests/tools/draws.py found.

python -m tests.tools.draws_page RESULTS ... --out docs/draws.md
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.tools.draws import AGREES, CRASH, DROPPED, REFUSED, SLOW, WRONG, Draw

MEANING = {
    AGREES: "compiled, and the package computes what the original does",
    REFUSED: "not compiled, with a diagnostic",
    WRONG: "compiled to something else",
    CRASH: "the compiler itself failed",
    SLOW: "stopped after two minutes of processor time",
    DROPPED: "the original cannot be built, cannot run, or differs too much from itself in float32: nothing to compare with",
}
LONGEST = 160  # characters of a value or a message

START = """# Drawn configurations

A draw takes the tiny configuration of a type and changes one to five of its keys. What a key may be is read from the
configuration class and the code beside it (`tests/parity/choices.py`), and holds no list per model: flags both ways, every
activation that the library has, every kind of rotary scaling in the older and the newer spelling, lists of kinds of layers turned,
all alike, taking turns and at random, windows and chunks shorter and longer than the sequence, one head and as many as there are, odd sizes,
counts of experts, groups and layers, factors of zero, one and others, null where the class takes it, keys that only a class's defaults or a `getattr`
know. Which combinations make sense, the original decides: it is built with random weights and run.

Compared in float64 are a whole sequence of 17 tokens, the same in steps on a cache, a padded batch, and the checkpoint there and back; for
a third of the draws the whole sequence and the checkpoint in Flax too. Steps and padded rows are compared where the original agrees with itself there.

    python -m tests.tools.draws --number 4 --seed 0 --out results.jsonl
    python -m tests.tools.draws --again results.jsonl --out judged.jsonl
    python -m tests.tools.draws_page judged.jsonl --out docs/draws.md

The numbers are of the runs that there were, far fewer than the thousands of draws that are wanted; some forty were chosen by hand instead:
layers all of one kind or out of order, blocks longer than the sequence, kernels of one, every layer dense or none. What went wrong and could be mended was
mended and judged once more with `--again`; the rest stands as it was found, by the compiler of that hour. What draws found is kept in
`tests/laws/test_drawn_configs.py`, where hypothesis draws from the same choices. That spellings of the same keys give the same package is a test
of its own, `tests/config/test_respellings.py`.
"""


def page(found: Sequence[Draw]) -> str:
    counted = Counter(each.verdict for each in found)
    judged = [each for each in found if each.verdict != DROPPED]
    flax = sum(each.flax and each.verdict == AGREES for each in judged)
    keys = {path for each in judged for path, _ in each.changes}
    parts = [
        START,
        f"{len(judged)} draws of {len({each.name for each in judged})} types were judged, {flax} of those that agree in Flax too; "
        f"they changed {len(keys)} different keys. {counted[DROPPED]} more were dropped.\n",
        table(
            ("verdict", "draws", "what it means"),
            ((name, counted[name], MEANING[name]) for name in MEANING if counted[name] or name in (WRONG, CRASH)),
        ),
    ]
    for verdict, title in ((WRONG, "What is wrong"), (CRASH, "What crashes"), (REFUSED, "What is refused"), (SLOW, "What took too long")):  # fmt: skip
        if counted[verdict]:
            parts += [f"\n## {title}\n", *(_told(each) for each in judged if each.verdict == verdict)]
    parts.append("\n## By type\n")
    verdicts = (AGREES, REFUSED, WRONG, CRASH, SLOW, DROPPED)
    by_type = Counter((each.name, each.verdict) for each in found)
    names = sorted({each.name for each in found})
    parts.append(table(("type", *verdicts), ((name, *(by_type[name, verdict] for verdict in verdicts)) for name in names)))  # fmt: skip
    parts.append("\n## By key\n\nThe keys that were changed most often, where the original ran.\n")
    changed = Counter(path[-1] for each in judged for path, _ in each.changes)
    parts.append(table(("key", "draws"), sorted(changed.items(), key=lambda item: (-item[1], item[0]))[:60]))
    return "\n".join(parts) + "\n"


def _told(each: Draw) -> str:
    drawn = ", ".join(f"`{'.'.join(path)}` = {_short(json.dumps(value))}" for path, value in each.changes)
    return f"- {each.name}, {each.code}: {drawn}: {_short(' '.join(each.detail.split()))}"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(map(str, row)) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.write_text(
        page([Draw.read(line) for path in options.results for line in path.read_text().splitlines()])
    )


if __name__ == "__main__":
    main()
