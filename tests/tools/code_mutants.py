"""Mutated modeling code against what is compiled for it.

    python -m tests.tools.code_mutants [--type T ...] [--number N] [--seed S] --out FILE

Each mutant of a tiny case is a repository of its own: config.json, and beside it the library's modeling file with one change
(tests/tools/mutants.py). The mutated code runs as it is, on random weights; it is compiled; both are compared in float64:
a whole sequence past every window, steps on a cache, a padded batch, the checkpoint there and back. A cast is compared bit for
bit in bfloat16. Verdicts are lines of JSON in FILE; tests/tools/mutants_page.py makes a page of them.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import json
import logging
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from types import FrameType

import numpy as np
import torch

from codegen.diagnostics import CompileError
from codegen.pipeline import compile_package
from codegen.repo import load
from tests.parity.harness import Torch, measure, too_large
from tests.parity.original import CASES, Recorded, read, record
from tests.tools.inventions import library_files
from tests.tools.mutants import KINDS, Mutant, Source, make, mutants, sites

Raw = dict[str, object]

STEM = "modeling_mutant"
AFFORDABLE = 1e-4  # what the original may differ from itself before it is no truth
SAME = 0.02  # of the logits in bfloat16 that may round differently
NUMBERS = itertools.count()
SECONDS = 90  # that one mutant may take
MEMORY = 12 << 30  # bytes of addresses
IN_HALF = ("cast dropped", "cast moved")

AGREES, EQUAL, REFUSED = "agrees", "changes nothing", "refused"
WRONG, CRASH = "WRONG", "CRASH"
FAILS, NOT_FINITE, CHAOTIC, RANDOM, SLOW = "original fails", "not finite", "too inexact to compare", "not deterministic", "takes too long"  # fmt: skip
DROPPED = (FAILS, NOT_FINITE, CHAOTIC, RANDOM, SLOW)


@dataclass(frozen=True, slots=True)
class Subject:
    """A tiny case as a repository with code of its own: the library's, whose imports are written out."""

    name: str
    raw: Mapping[str, object]
    text: str

    def code(self, text: str | None = None) -> dict[str, str]:
        return {f"{STEM}.py": self.text if text is None else text}


@dataclass(frozen=True, slots=True)
class Verdict:
    """`effect`: how far the mutated code is from the code; `compared`: what there was a truth for."""

    name: str
    kind: str
    line: int
    before: str
    after: str
    verdict: str
    code: str = ""
    detail: str = ""
    effect: float = 0.0
    compared: tuple[str, ...] = ()
    seconds: float = 0.0


def subject(name: str) -> Subject:
    raw = json.loads(next(CASES.parent.glob(f"*cases/{name}.json")).read_text())
    architecture = str(raw["architectures"][0])
    modeling, _ = library_files(architecture)
    text = modeling.read_text()
    text = re.sub(r"from \.\.\.(\w)", r"from transformers.\1", text)
    text = re.sub(r"from \.\.\. import", "from transformers import", text)
    text = re.sub(r"from \.\.(\w)", r"from transformers.models.\1", text)
    text = re.sub(r"from \.(\w)", rf"from transformers.models.{modeling.parent.name}.\1", text)
    text = re.sub(r"(?m)^ *@auto_docstring(\([^)]*\))?\n", "", text)
    text = re.sub(r"(?m)^( +)import bitsandbytes as bnb$", r"\1bnb = None", text)  # or the library wants it installed
    return Subject(name, raw | {"auto_map": {"AutoModelForCausalLM": f"{STEM}.{architecture}"}}, text)


@dataclass(frozen=True, slots=True)
class Clean:
    """What the code computes before it is changed, and the lines of it that run."""

    recorded: Recorded
    lines: frozenset[int]


def prepare(given: Subject, folder: Path) -> None:
    """Record the code as it is.

    Raises:
        AssertionError: what is compiled for the unchanged code does not agree.
    """
    lines: set[int] = set()

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., object] | None:
        if not frame.f_code.co_filename.endswith(f"{STEM}.py"):
            return None
        lines.add(frame.f_lineno)
        return trace

    sys.settrace(trace)
    try:
        record(given.raw, folder / "original", gradients=False, code=given.code())
    finally:
        sys.settrace(None)
    recorded = read(folder / "original")
    package = compiled(given.raw, given.code(), folder / "case_clean", raised=True)
    assert not wrong(package, recorded), "the code as it is does not agree"
    (folder / "lines.json").write_text(json.dumps(sorted(lines)))


def clean_of(folder: Path) -> Clean:
    return Clean(read(folder / "original"), frozenset(json.loads((folder / "lines.json").read_text())))


def compiled(raw: Mapping[str, object], code: Mapping[str, str], out: Path, *, raised: bool) -> Path:
    """The folder of the package: `out` with a number behind it, since one process imports of a name one.

    Raises:
        CompileError: as the compiler does.
    """
    out = out.with_name(f"{out.name}_{next(NUMBERS)}")
    with tempfile.TemporaryDirectory() as source:
        for name, text in {**code, "config.json": json.dumps(raw)}.items():
            (Path(source) / name).write_text(text)
        package = compile_package(load(source), targets=("torch",), raise_components=raised)
    out.mkdir(parents=True)
    for file, text in package.files.items():
        (out / file).write_text(text)
    return out


def undefined(recorded: Recorded) -> list[str]:
    """What the original cannot do itself: its steps or its padded rows are not what it computes at once."""
    given = {"decode": recorded.facts.decode, "padded": recorded.facts.padded}
    if recorded.facts.causal is None or not recorded.facts.causal < AFFORDABLE:
        return list(given)
    return [name for name, value in given.items() if value is None or not value < AFFORDABLE]


def wrong(package: Path, recorded: Recorded) -> dict[str, object]:
    return too_large(measure(Torch(), package, recorded, ["gradient", *undefined(recorded)]), recorded.tolerance)


def differing_in_half(package: Path, recorded: Recorded) -> float | None:
    """Share of the logits in bfloat16 that are not bit for bit the original's; None where it has none."""
    from transformers import AutoModelForCausalLM

    ids = torch.from_numpy(recorded.arrays["ids_2"])
    try:
        original = AutoModelForCausalLM.from_pretrained(
            recorded.folder, dtype=torch.bfloat16, attn_implementation="eager", trust_remote_code=True
        ).eval()
        if hasattr(original, "set_experts_implementation"):
            original.set_experts_implementation("eager")
        with torch.no_grad():
            theirs = original(input_ids=ids).logits
    except Exception:  # whatever it raises, it has none
        return None
    model = Torch().load(package, recorded.folder, "bfloat16")
    with torch.no_grad():
        ours = model(ids)
    return float((ours != theirs.to(ours.dtype)).double().mean())


def judge(given: Subject, clean: Clean, mutant: Mutant, folder: Path) -> Verdict:
    """What becomes of one mutant. The code is compiled where it does not run itself, too: that must not crash."""
    started = time.process_time()

    def verdict(name: str, **more: object) -> Verdict:
        seconds = round(time.process_time() - started, 2)
        return Verdict(given.name, mutant.kind, mutant.line, mutant.before, mutant.after, name, seconds=seconds, **more)  # type: ignore[arg-type]

    code, failure = given.code(mutant.text), ""
    recorded: Recorded | None = None
    try:
        record(given.raw, folder / "original", gradients=False, code=code)
        recorded = read(folder / "original")
    except TimeoutError:
        raise
    except Exception as error:  # whatever it raises
        failure = f"{type(error).__name__}: {str(error)[:200]}"
    try:
        package = compiled(given.raw, code, folder / f"case_{os.getpid()}", raised=True)
    except CompileError as error:
        found = error.diagnostics[0]
        place = f" [{found.primary.span.file.rsplit('/', 1)[-1]}:{found.primary.span.line}]" if found.primary else ""
        refusal = {"code": found.code, "detail": found.message[:300] + place}
        if found.code == "internal-error":
            return verdict(CRASH, **refusal)
        return verdict(FAILS, detail=failure, code=found.code) if recorded is None else verdict(REFUSED, **refusal, effect=effect(recorded, clean))  # fmt: skip
    except TimeoutError:
        raise
    except Exception as error:
        place = traceback.format_exc().strip().splitlines()[-7:]
        return verdict(CRASH, detail=f"{type(error).__name__}: {str(error)[:200]}\n" + "\n".join(place), code=failure[:100])  # fmt: skip
    if recorded is None:
        return verdict(FAILS, detail=failure)
    change = effect(recorded, clean)
    if not np.isfinite(recorded.arrays["logits"]).all():
        return verdict(NOT_FINITE, effect=change)
    compared = tuple(name for name in ("decode", "padded") if name not in undefined(recorded))
    if mistakes := wrong(package, recorded):
        if not repeats(given, recorded, code, folder):
            return verdict(RANDOM, effect=change)
        if not recorded.facts.noise < AFFORDABLE:
            return verdict(CHAOTIC, detail=str(mistakes)[:300], effect=change)
        return verdict(WRONG, detail=f"{mistakes} {recorded.facts}"[:600], effect=change, compared=compared)
    if mutant.kind in IN_HALF:
        share = differing_in_half(compiled(given.raw, code, folder / "plain", raised=False), recorded)
        if share is not None and share > SAME:
            plain = compiled(given.raw, given.code(), folder / "plain_clean", raised=False)
            if (differing_in_half(plain, clean.recorded) or 0.0) <= SAME:
                return verdict(WRONG, detail=f"bfloat16: {share:.3f} of the logits differ", effect=change)
        elif share is not None:
            compared = (*compared, "bfloat16")
    return verdict(EQUAL if change == 0.0 else AGREES, effect=change, compared=compared)


def effect(recorded: Recorded, clean: Clean) -> float:
    """How far what the mutated code computes is from what the code computes."""
    differences = [0.0]
    for name in ("logits", "short", "steps"):
        one, other = (found.arrays.get(name) for found in (recorded, clean.recorded))
        if one is None or other is None:
            differences.append(0.0 if one is other else float("inf"))
        elif one.shape != other.shape:
            return float("inf")
        else:
            differences.append(float(np.abs(np.nan_to_num(one - other, nan=1e9)).max() / max(1.0, other.std())))
    facts, others = recorded.facts, clean.recorded.facts
    if max(differences) == 0.0 and facts.padded != others.padded:
        return abs((facts.padded or 0.0) - (others.padded or 0.0))
    return max(differences)


def repeats(given: Subject, recorded: Recorded, code: Mapping[str, str], folder: Path) -> bool:
    """Whether the original computes the same once more."""
    record(given.raw, folder / "again", gradients=False, code=code)
    return np.array_equal(read(folder / "again").arrays["logits"], recorded.arrays["logits"], equal_nan=True)


def apart(run: Callable[[], object], out: Path, seconds: int = SECONDS) -> tuple[int, str]:
    """Run in a process of its own, whose words go to a file; its exit code and those words."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            words = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(words, 1)
            os.dup2(words, 2)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            signal.signal(signal.SIGALRM, _too_long)
            signal.alarm(seconds)
            run()
            code = 0
        except TimeoutError:
            code = 3
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), out.read_text(errors="replace") if out.exists() else ""


def _too_long(*_: object) -> None:
    raise TimeoutError


def run(
    names: list[str],
    number: int,
    seed: int,
    *,
    at_once: int = 3,
    first: int = 0,
    kinds: Collection[str] = KINDS,
) -> Iterator[Verdict]:
    """Verdicts of mutants `first` to `number` of each type, a few of a type at a time."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    root = Path(tempfile.mkdtemp(prefix="mutants"))
    known: dict[str, Iterator[Mutant]] = {}
    try:
        warm(root)
        for start in range(first, number, at_once):
            for name in list(names):
                given, home = subject(name), root / name
                if name not in known:
                    home.mkdir()
                    status, words = apart(lambda given=given, home=home: prepare(given, home), home / "words", 300)  # type: ignore[misc]
                    if status:
                        names = [other for other in names if other != name]
                        yield Verdict(name, "none", 0, "", "", "no subject", detail=words[-600:])
                        continue
                    known[name] = islice(mutants(given.text, seed, clean_of(home).lines, kinds), first, None)
                clean = clean_of(home)
                for mutant in islice(known[name], min(at_once, number - start)):
                    yield one(given, clean, mutant, home)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def again(rows: list[Verdict], verdicts: Collection[str]) -> Iterator[Verdict]:
    """Those of earlier results that had one of some verdicts, judged once more; the others as they were."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    root = Path(tempfile.mkdtemp(prefix="mutants"))
    try:
        warm(root)
        for row in rows:
            if row.verdict not in verdicts or row.kind == "none":
                yield row
                continue
            given, home = subject(row.name), root / row.name
            if not home.exists():
                home.mkdir()
                apart(lambda given=given, home=home: prepare(given, home), home / "words", 300)  # type: ignore[misc]
            source = Source.of(given.text)
            made = (make(source, row.kind, splices) for splices in sites(source, row.kind))
            where = (row.line, row.before, row.after)
            found = [mutant for mutant in made if mutant and (mutant.line, mutant.before, mutant.after) == where]
            yield one(given, clean_of(home), found[0], home) if found else row
    finally:
        shutil.rmtree(root, ignore_errors=True)


def one(given: Subject, clean: Clean, mutant: Mutant, home: Path) -> Verdict:
    with tempfile.TemporaryDirectory(dir=home, prefix="mutant") as place:
        answer = Path(place) / "answer.json"

        def work() -> None:
            answer.write_text(json.dumps(asdict(judge(given, clean, mutant, Path(place)))))

        status, words = apart(work, Path(place) / "words")
        if status == 0:
            return Verdict(**json.loads(answer.read_text()))
        where = (mutant.kind, mutant.line, mutant.before, mutant.after)
        slow = status in (3, -signal.SIGKILL)
        return Verdict(given.name, *where, SLOW if slow else CRASH, detail=f"exit {status} {words[-600:]}")


def warm(root: Path) -> None:
    """What the first original costs is paid once, for all processes."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ["HF_MODULES_CACHE"] = str(root / "modules")  # before the library is loaded
    torch.set_num_threads(1)
    import transformers.models.auto.modeling_auto  # noqa: F401

    given = subject("llama")
    with contextlib.redirect_stdout(None), contextlib.redirect_stderr(open(os.devnull, "w")):
        record(given.raw, root / "warm", gradients=False, code=given.code())
    gc.collect()
    gc.freeze()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--type", nargs="*", default=sorted(path.stem for path in CASES.parent.glob("*cases/*.json")))
    parser.add_argument("--kind", nargs="*", default=list(KINDS))
    parser.add_argument("--number", type=int, default=12)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--again", type=Path, nargs="*", help="earlier results: what went wrong there is judged anew")
    options = parser.parse_args()
    if options.again:
        rows = [Verdict(**json.loads(line)) for path in options.again for line in path.read_text().splitlines()]
        found = again(rows, (WRONG, CRASH, REFUSED, SLOW))
    else:
        found = run(options.type, options.number, options.seed, first=options.first, kinds=options.kind)
    with options.out.open("a") as out:
        for verdict in found:
            print(json.dumps(asdict(verdict)), file=out, flush=True)
            print(verdict.verdict, verdict.name, verdict.kind, verdict.seconds, verdict.code, flush=True)


if __name__ == "__main__":
    main()
