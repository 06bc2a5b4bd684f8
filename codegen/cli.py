"""The command line. Imports of the compiler stand inside the commands: `--help` must not wait for them."""

from __future__ import annotations

import argparse
import gc
import inspect as introspection
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from codegen import __version__

if TYPE_CHECKING:
    from codegen.diagnostics import Diagnostic
    from codegen.listing import Entry
    from codegen.regenerate import Outcome
    from codegen.render import Written
    from codegen.repo import Repository
    from codegen.report import Report

FAILED, USAGE, UNVERIFIED, INTERRUPTED = 1, 2, 3, 130
WIDTH = 28  # of the column of options


class Wrong(Exception):
    """Arguments that do not fit together."""


class Argument(NamedTuple):
    """An argument of a command, as `argparse` wants it."""

    names: tuple[str, ...]
    settings: dict[str, Any]


class Command(NamedTuple):
    run: Callable[..., None]
    arguments: tuple[Argument, ...]


def argument(*names: str, **settings: Any) -> Argument:
    return Argument(names, settings)


def flag(*names: str, **settings: Any) -> Argument:
    return Argument(names, {"action": "store_true", **settings})


SOURCE = argument("source", metavar="SOURCE", help="org/name, org/name@revision, a folder, or a config.json")
PACKAGE = argument("package", metavar="PACKAGE", help="a folder that was emitted, or a name in generated/")
REVISION = argument("--revision", metavar="REV", help="branch, tag or commit on the Hub")
AS_JSON = flag("--json", dest="as_json", help="print the result as one JSON document on stdout")
NO_WEIGHTS = flag("--no-weights", help="do not read the headers of the safetensors")
CHECK = flag("--check", help="write nothing; exit with 3 on any difference")
FORCE = flag("--force", help="overwrite files that were edited by hand")
MERGE = flag("--merge", help="keep edited definitions, emit the rest again, list conflicts")

COMMANDS: dict[str, Command] = {}


def command(name: str, *arguments: Argument) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command of the program, which gets its arguments by name."""

    def register(run: Callable[..., None]) -> Callable[..., None]:
        COMMANDS[name] = Command(run, arguments)
        return run

    return register


def main() -> NoReturn:
    """Run the command line, and exit.

    The process is short and keeps nearly all that it makes: to look for garbage, at the end too, takes longer than it frees.
    """
    gc.disable()
    try:
        run(sys.argv[1:])
    finally:
        gc.freeze()


def run(arguments: Sequence[str]) -> NoReturn:
    """Run one command, and exit. No traceback leaves here."""
    try:
        _run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    sys.exit(0)


def _run(arguments: Sequence[str]) -> None:
    """The same, where all goes well or an error becomes diagnostics and an exit code."""
    parsers = _parsers()
    if not arguments:
        parsers[""].print_help(sys.stderr)
        sys.exit(USAGE)
    given = vars(parsers[""].parse_args(arguments))
    name = given.pop("command")
    from codegen.diagnostics import CompileError

    as_json = given["as_json"]
    try:
        COMMANDS[name].run(**given)
    except Wrong as error:
        parsers[name].error(str(error))
    except CompileError as error:
        fail(error.diagnostics, as_json)
    except BrokenPipeError:
        raise
    except Exception as error:
        from codegen.regenerate import internal_error

        fail((internal_error(error),), as_json)


def _parsers() -> dict[str, argparse.ArgumentParser]:
    """That of the program, under the name "", and those of its commands."""

    class Shape(argparse.RawDescriptionHelpFormatter):
        def __init__(self, prog: str) -> None:
            super().__init__(prog, max_help_position=WIDTH)

    top = argparse.ArgumentParser(
        prog="codegen",
        description="Compile a Hugging Face config and its modeling code to readable PyTorch and Flax NNX source.",
        epilog="Start with: codegen from-hf org/name",
        formatter_class=Shape,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=__version__, help="print the version and exit")
    found = {"": top}
    choices = top.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for name, one in COMMANDS.items():
        summary, _, examples = introspection.cleandoc(one.run.__doc__ or "").partition("\n\n")
        parser = choices.add_parser(
            name, help=summary, description=summary, epilog=examples, formatter_class=Shape, allow_abbrev=False
        )
        for argument in one.arguments:
            parser.add_argument(*argument.names, **argument.settings)
        found[name] = parser
    return found


@command(
    "from-hf",
    SOURCE,
    argument("--out", metavar="DIR", type=Path, help="folder of the package; ./<package> if not given"),
    REVISION,
    argument(
        "--target", metavar="NAMES", default="torch,flax", help="frameworks to emit, comma separated (%(default)s)"
    ),
    argument("--emit", metavar="graph|arch", help="print this level of the IR, write nothing"),
    NO_WEIGHTS,
    FORCE,
    MERGE,
    AS_JSON,
)
def from_hf(
    source: str,
    out: Path | None,
    revision: str | None,
    target: str,
    emit: str | None,
    no_weights: bool,
    force: bool,
    merge: bool,
    as_json: bool,
) -> None:
    """Compile SOURCE to a package.

    codegen from-hf org/name                  write ./<package> (in a checkout: generated/<package>)
    codegen from-hf org/name@v1 --out model   a revision, to a folder of your choice
    codegen from-hf path/to/folder --json     a local folder; the result as JSON
    codegen from-hf config.json --emit graph  what the modeling code computes, as text
    """
    from codegen import pipeline

    targets = _names(target, pipeline.TARGETS, "--target")
    if emit is not None and emit not in pipeline.EMITS:
        raise Wrong(f"--emit: {emit!r} is none of {', '.join(pipeline.EMITS)}")
    if force and merge:
        raise Wrong("--merge: --force and --merge exclude each other")
    repository = _load(source, revision, weights=not no_weights)
    if emit is not None:
        text = pipeline.emit(repository, emit)
        _finish({"level": emit, "text": text}, text, repository.notes, as_json)
        return
    package = pipeline.compile_package(repository, targets=targets)
    folder = out if out is not None else _home(package.name)
    written = pipeline.write(package, folder, force=force, merge=merge)
    notes = (*repository.notes, *package.notes, *written.notes)
    facts = {
        "package": package.name,
        "repository": repository.name,
        "revision": repository.revision,
        "out": str(folder),
        "files": sorted(package.files),
        "changed": list(written.changed),
        "removed": list(written.removed),
        "kept": list(written.kept),
        "conflicts": list(written.conflicts),
    }
    _finish(facts, _story(folder, written), notes, as_json)


@command(
    "inspect",
    SOURCE,
    argument("--against", metavar="OTHER", help="a second source; the report is what differs"),
    REVISION,
    AS_JSON,
)
def inspect(source: str, against: str | None, revision: str | None, as_json: bool) -> None:
    """Report the architecture of SOURCE.

    codegen inspect org/name
    codegen inspect org/name --against org/other    the gap between two architectures
    """
    from codegen import pipeline

    repository = _load(source, revision)
    other = None if against is None else _load(against, None)
    _report(pipeline.inspect(repository, other), as_json)


@command(
    "explain",
    argument("package", metavar="PACKAGE[:FACT]", help="a package, and a fact of it by name"),
    AS_JSON,
)
def explain_package(package: str, as_json: bool) -> None:
    """Say which source line and which config key every fact of a package came from.

    codegen explain generated/name
    codegen explain name:rope_theta
    """
    from codegen.explain import explain

    name, fact = _split_fact(package)
    _report(explain(_package(name), fact), as_json)


@command("regenerate-all", CHECK, FORCE, MERGE, AS_JSON)
def regenerate_all(check: bool, force: bool, merge: bool, as_json: bool) -> None:
    """Emit every package of generated/ again, where anything it depends on changed.

    codegen regenerate-all
    codegen regenerate-all --check    for CI: write nothing, fail on any difference
    """
    from codegen import regenerate as again

    checkout = _checkout()
    _regenerate(again.packages(checkout / "generated"), checkout, check, force, merge, as_json, overview=True)


@command(
    "regenerate",
    argument("names", metavar="NAME", nargs="+", help="names in generated/"),
    CHECK,
    FORCE,
    MERGE,
    AS_JSON,
)
def regenerate(names: list[str], check: bool, force: bool, merge: bool, as_json: bool) -> None:
    """Emit some packages of generated/ again.

    codegen regenerate name other
    codegen regenerate name --merge    keep what was edited by hand
    """
    checkout = _checkout()
    folders = [_package(name) for name in names]
    _regenerate(folders, checkout, check, force, merge, as_json)


@command("verify", argument("subject", metavar="SOURCE|PACKAGE", help="what to bring up"), AS_JSON)
def verify(subject: str, as_json: bool) -> None:
    """Run the bring-up checklist and measure every item. Exits with 3 if one fails.

    codegen verify generated/name
    codegen verify org/name --json
    """
    from codegen import pipeline

    folder = _find_package(subject)
    report = pipeline.verify(_load(subject, None)) if folder is None else pipeline.verify_package(folder)
    _report(report, as_json)
    if report.passed is False:
        sys.exit(UNVERIFIED)


@command(
    "convert",
    SOURCE,
    argument("--to", metavar="orbax|safetensors|hf", required=True, help="layout to write"),
    argument("--out", metavar="DIR", type=Path, required=True, help="folder to write"),
    flag("--scanned", help="stack equal layers"),
    argument("--unscanned", dest="scanned", action="store_false", help="keep equal layers apart, as if not said"),
    AS_JSON,
)
def convert(source: str, to: str, out: Path, scanned: bool, as_json: bool) -> None:
    """Convert a checkpoint.

    codegen convert org/name --to orbax --scanned --out checkpoint
    """
    from codegen import pipeline

    layouts = ("orbax", "safetensors", "hf")
    if to not in layouts:
        raise Wrong(f"--to: {to!r} is none of {', '.join(layouts)}")
    _report(pipeline.convert(source, to, out, scanned=scanned), as_json)


@command(
    "generate",
    PACKAGE,
    argument("--weights", metavar="SOURCE", required=True, help="where the weights are"),
    argument("--prompt", metavar="TEXT", required=True, help="what to continue"),
    flag("--chat", help="put the prompt through the chat template"),
    AS_JSON,
)
def generate(package: str, weights: str, prompt: str, chat: bool, as_json: bool) -> None:
    """Generate text with a package and published weights.

    codegen generate generated/name --weights org/name --prompt "Once upon a time"
    """
    from codegen import pipeline

    _report(pipeline.generate(_package(package), weights, prompt, chat=chat), as_json)


@command("list", flag("--sizes", help="count the parameters of each checkpoint"), AS_JSON)
def list_packages(sizes: bool, as_json: bool) -> None:
    """List the packages of generated/ and the repositories that each serves.

    codegen list
    codegen list --sizes
    codegen list --json
    """
    from codegen import listing

    generated = _checkout() / "generated"
    entries = list(listing.entries(generated))
    counts = {entry.package: listing.parameters(generated / entry.package) if sizes else {} for entry in entries}
    width = max((len(entry.package) for entry in entries), default=0)
    lines = [f"{entry.package:<{width}}  {_served(entry, counts[entry.package])}" for entry in entries]
    rows = [
        {
            "package": entry.package,
            "repositories": list(entry.patterns),
            "checkpoints": list(entry.checkpoints),
            "targets": list(entry.targets),
        }
        | ({"parameters": counts[entry.package]} if sizes else {})
        for entry in entries
    ]
    _finish({"packages": rows}, "\n".join(lines) if lines else "generated/ holds no package", (), as_json)


def _served(entry: Entry, counts: Mapping[str, int]) -> str:
    """The repositories of a package as patterns, or one by one with their sizes."""
    return ", ".join(f"{name} {number:,}" for name, number in counts.items()) or ", ".join(entry.patterns)


def _load(source: str, revision: str | None, *, weights: bool = True) -> Repository:
    from codegen import repo

    if revision is not None and "@" in source and not Path(source).exists():
        raise Wrong("--revision: the source names a revision already")
    return repo.load(source, revision, weights=weights)


def _names(text: str, allowed: Iterable[str], option: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    wrong = [name for name in names if name not in allowed]
    if wrong:
        raise Wrong(f"{option}: {wrong[0]!r} is none of {', '.join(allowed)}")
    return names


def _home(package: str) -> Path:
    """Where a package goes without --out."""
    from codegen.regenerate import inside_checkout

    checkout = inside_checkout()
    folder = Path(package) if checkout is None else checkout / "generated" / package
    return folder if checkout is None else Path(_shown(folder))


def _shown(path: Path) -> str:
    """A path as a user would type it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _checkout() -> Path:
    from codegen.diagnostics import CompileError, Diagnostic
    from codegen.regenerate import find_checkout

    found = find_checkout()
    if found is None:
        raise CompileError(
            Diagnostic("no-checkout", "there is no generated/ here", help="run this inside a checkout of the project")
        )
    return found


def _find_package(name: str) -> Path | None:
    """The folder of a package: a path, or a name in generated/; None if it is neither."""
    from codegen.regenerate import find_checkout

    checkout = find_checkout()
    candidates = [Path(name), *([checkout / "generated" / name] if checkout is not None else [])]
    return next((folder for folder in candidates if (folder / "source.json").is_file()), None)


def _package(name: str) -> Path:
    """The folder of a package that must be there.

    Raises:
        CompileError: `not-a-package`.
    """
    from codegen.diagnostics import CompileError, Diagnostic, printable

    folder = _find_package(name)
    if folder is not None:
        return folder
    raise CompileError(
        Diagnostic(
            "not-a-package",
            f"{printable(name, 200)} is neither a folder that was emitted nor a name in generated/",
            help="`codegen list` lists what there is",
        )
    )


def _split_fact(package: str) -> tuple[str, str | None]:
    name, colon, fact = package.rpartition(":")
    return (name, fact) if colon and name else (package, None)


def _regenerate(
    folders: list[Path], checkout: Path, check: bool, force: bool, merge: bool, as_json: bool, *, overview: bool = False
) -> None:
    from codegen import regenerate as again

    if force and merge:
        raise Wrong("--merge: --force and --merge exclude each other")
    with _Progress(len(folders)) as progress:
        outcomes = again.regenerate_many(folders, checkout, progress.advance, check=check, force=force, merge=merge)
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    pages = [again.regenerate_overview(checkout, check=check)] if overview and not failed else []
    differing = [outcome for outcome in (*outcomes, *pages) if outcome.state == "differs"]
    touched = [outcome for outcome in (*outcomes, *pages) if outcome.state != "up-to-date"]
    rows = [{"package": o.name, "state": o.state, "files": list(o.files)} for o in outcomes]
    lines = [f"{o.state:<10}  {o.name}  {' '.join(o.files)}".rstrip() for o in touched]
    same = sum(outcome.state == "up-to-date" for outcome in outcomes)
    lines.append(f"{same} of {len(outcomes)} packages up to date")
    diagnostics = tuple(diagnostic for outcome in outcomes for diagnostic in outcome.diagnostics)
    _finish({"ok": not (failed or differing), "packages": rows}, "\n".join(lines), diagnostics, as_json)
    if failed:
        sys.exit(FAILED)
    if differing:
        sys.exit(UNVERIFIED)


class _Progress:
    """A bar on stderr, where that is a terminal."""

    def __init__(self, total: int) -> None:
        self.total = total

    def __enter__(self) -> _Progress:
        self.bar = None
        if self.total > 1 and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
            self.bar = Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
            self.bar.start()
            self.task = self.bar.add_task("", total=self.total)
            self.bar.refresh()
        return self

    def advance(self, outcome: Outcome) -> None:
        if self.bar is not None:
            self.bar.update(self.task, advance=1, description=outcome.name, refresh=True)

    def __exit__(self, *details: object) -> None:
        if self.bar is not None:
            self.bar.stop()


def _story(folder: Path, written: Written) -> str:
    if not written.changed and not written.removed:
        return f"{folder} is up to date"
    lines = [f"wrote {folder}: {' '.join(written.changed)}"]
    if written.removed:
        lines.append(f"removed {' '.join(written.removed)}")
    if written.kept:
        lines.append(f"kept what was edited: {', '.join(written.kept)}")
    return "\n".join(lines)


def _report(report: Report, as_json: bool) -> None:
    _finish(report.facts, report.text, report.notes, as_json)


def _finish(facts: Mapping[str, object], text: str, diagnostics: Iterable[Diagnostic], as_json: bool) -> None:
    """Results go to stdout, diagnostics to stderr; with --json both are one document on stdout."""
    from codegen.diagnostics import to_json

    found = tuple(diagnostics)
    if as_json:
        print(json.dumps({"ok": True, **facts, "diagnostics": [to_json(one) for one in found]}, indent=2))
        return
    _print_diagnostics(found)
    print(text)


def fail(diagnostics: tuple[Diagnostic, ...], as_json: bool) -> NoReturn:
    """Say what is wrong and exit."""
    from codegen.diagnostics import to_json

    if as_json:
        print(json.dumps({"ok": False, "diagnostics": [to_json(one) for one in diagnostics]}, indent=2))
    else:
        _print_diagnostics(diagnostics)
    sys.exit(FAILED)


def _print_diagnostics(diagnostics: tuple[Diagnostic, ...]) -> None:
    from codegen.diagnostics import Severity, to_text
    from codegen.excerpts import read_source

    for diagnostic in diagnostics:
        print(to_text(diagnostic, read_source), file=sys.stderr)
        print("", file=sys.stderr)
    errors = sum(diagnostic.severity is Severity.ERROR for diagnostic in diagnostics)
    if errors > 1:
        print(f"{errors} errors", file=sys.stderr)
