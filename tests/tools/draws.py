"""Drawn configurations against what is compiled for them.

    python -m tests.tools.draws [--type T ...] [--number N] [--seed S] --out FILE

Each draw changes a few keys of a tiny case to values that tests/parity/choices.py finds for them. The original is built with
random weights and runs, or the draw is dropped; it is compiled; both are compared in float64: a whole sequence past every window,
steps on a cache, a padded batch, the checkpoint there and back; of some draws the whole sequence in Flax too. Verdicts are
lines of JSON in FILE; tests/tools/draws_page.py makes a page of them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from codegen.diagnostics import CompileError
from tests.laws.test_drawn_configs import Changes, load_case
from tests.laws.test_hypothesis_configs import key, record, wrong
from tests.parity.choices import changed, choices, weighted
from tests.parity.harness import Flax, Lab, measure, too_large
from tests.parity.original import CASES

AT_ONCE = 5  # keys that a draw changes at most
TRIES = 5  # draws for each that the original has to be able to run
SECONDS = 120  # of processor time that one draw may take
IN_FLAX = 1 / 3  # of the draws

AGREES, REFUSED, DROPPED, SLOW = "agrees", "refused", "original fails", "takes too long"
WRONG, CRASH = "WRONG", "CRASH"
BAD = (WRONG, CRASH, REFUSED, SLOW)


@dataclass(frozen=True, slots=True)
class Draw:
    """`changes`: paths of keys and their new values; `flax`: whether the whole sequence was compared there too."""

    name: str
    changes: tuple[tuple[tuple[str, ...], object], ...]
    verdict: str
    code: str = ""
    detail: str = ""
    flax: bool = False
    seconds: float = 0.0

    @classmethod
    def read(cls, line: str) -> Draw:
        row = json.loads(line)
        return cls(**{**row, "changes": tuple((tuple(path), value) for path, value in row["changes"])})


def draw(name: str, seed: str) -> Changes:
    """A few keys of a case with other values."""
    random, table = Random(seed), choices(load_case(name))
    paths_of = weighted(table)
    paths = dict.fromkeys(random.choice(paths_of) for _ in range(random.randint(1, AT_ONCE)))
    return {path: random.choice(table[path]) for path in paths}


def judge(lab: Lab, name: str, drawn: Changes, *, flax: bool) -> Draw:
    """What comes of a draw. A failure of the compiler is a verdict, never an exception."""
    start, raw = time.process_time(), changed(load_case(name), drawn)

    def said(verdict: str, code: str = "", detail: str = "") -> Draw:
        return Draw(name, tuple(drawn.items()), verdict, code, detail, flax, round(time.process_time() - start, 1))

    try:
        if record(lab, raw) is None:
            return said(DROPPED)
        package = lab.package(key(raw), raw, raised=True)
        if found := wrong(lab, package, raw):
            return said(WRONG, ", ".join(sorted(found)), str(found)[:800])
        if flax:
            recorded = lab.original(key(raw), raw, gradients=False)
            if found := too_large(
                measure(Flax(), package, recorded, ["gradient", "decode", "padded"]), recorded.tolerance
            ):
                return said(WRONG, ", ".join(f"Flax {name}" for name in sorted(found)), str(found)[:800])
        return said(AGREES)
    except CompileError as error:
        codes = dict.fromkeys(diagnostic.code for diagnostic in error.diagnostics)
        return said(REFUSED, ", ".join(codes), str(error)[:800])
    except TimeoutError:
        return said(SLOW)
    except Exception as error:
        return said(CRASH, type(error).__name__, f"{error} {traceback.format_exc()[-600:]}")


def with_limit(work: Callable[[], Draw], late: Callable[[], Draw]) -> Draw:
    def stop(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        return work()
    except TimeoutError:
        return late()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def drawn_of(name: str, number: int, seed: int) -> Iterator[Draw]:
    """Verdicts until `number` draws of a case were possible, or too many were not."""
    with tempfile.TemporaryDirectory(prefix="draws") as root:
        possible = 0
        for at in range(number * TRIES):
            word = f"{seed}/{name}/{at}"
            drawn, flax = draw(name, word), Random(f"{word}/flax").random() < IN_FLAX
            yield (found := judged(Lab(Path(root)), name, drawn, flax))
            possible += found.verdict != DROPPED
            if possible == number:
                return


def judged(lab: Lab, name: str, drawn: Changes, flax: bool) -> Draw:
    return with_limit(
        lambda: judge(lab, name, drawn, flax=flax), lambda: Draw(name, tuple(drawn.items()), SLOW, flax=flax)
    )


def again(rows: Iterable[Draw], verdicts: Collection[str]) -> Iterator[Draw]:
    """Those of earlier results that had one of some verdicts, judged once more; the others as they were."""
    for row in rows:
        if row.verdict not in verdicts:
            yield row
            continue
        with tempfile.TemporaryDirectory(prefix="draws") as root:
            yield judged(Lab(Path(root)), row.name, dict(row.changes), row.flax)


def write(found: Iterable[Draw], out: Path) -> None:
    with out.open("a") as lines:
        for each in found:
            print(json.dumps(asdict(each)), file=lines, flush=True)


def apart(work: Callable[[], None]) -> None:
    """Run in a process of its own: what it imports and leaves behind is gone with it."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException), contextlib.redirect_stderr(open(os.devnull, "w")):
            work()
        os._exit(0)
    os.waitpid(child, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--type", nargs="*", default=sorted(path.stem for path in CASES.parent.glob("*cases/*.json")))
    parser.add_argument("--number", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--again", type=Path, nargs="*", help="earlier results: what went wrong there is judged anew")
    options = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    import transformers.models.auto.modeling_auto  # noqa: F401  # paid once, for all processes

    if options.again:
        rows = [Draw.read(line) for path in options.again for line in path.read_text().splitlines()]
        for row in rows:
            apart(lambda row=row: write(again([row], BAD), options.out))  # type: ignore[misc]
        return
    names = list(options.type)
    if options.type == parser.get_default("type"):
        Random(options.seed).shuffle(names)
    for name in names:
        apart(lambda name=name: write(drawn_of(name, options.number, options.seed), options.out))  # type: ignore[misc]


if __name__ == "__main__":
    main()
