"""The command line. Imports of the compiler stand inside the commands: `--help` must not wait for them."""

from __future__ import annotations

import functools
import gc
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from codegen import __version__

if TYPE_CHECKING:
    from codegen.diagnostics import Diagnostic
    from codegen.listing import Entry
    from codegen.regenerate import Outcome
    from codegen.render import Written
    from codegen.repo import Repository
    from codegen.report import Report

FAILED, USAGE, UNVERIFIED = 1, 2, 3

app = typer.Typer(
    name="codegen",
    help="Compile a Hugging Face config and its modeling code to readable PyTorch and Flax NNX source.",
    epilog="Start with: codegen from-hf org/name",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    add_completion=False,
)

Source = Annotated[
    str, typer.Argument(metavar="SOURCE", help="org/name, org/name@revision, a folder, or a config.json")
]
Package = Annotated[str, typer.Argument(metavar="PACKAGE", help="a folder that was emitted, or a name in generated/")]
Revision = Annotated[str | None, typer.Option(metavar="REV", help="branch, tag or commit on the Hub")]
AsJson = Annotated[bool, typer.Option("--json", help="print the result as one JSON document on stdout")]
NoWeights = Annotated[bool, typer.Option("--no-weights", help="do not read the headers of the safetensors")]
Check = Annotated[bool, typer.Option("--check", help="write nothing; exit with 3 on any difference")]
Force = Annotated[bool, typer.Option("--force", help="overwrite files that were edited by hand")]
Merge = Annotated[bool, typer.Option("--merge", help="keep edited definitions, emit the rest again, list conflicts")]


def main() -> None:
    """Run the command line. No traceback leaves here.

    The process is short and keeps nearly all that it makes: to look for garbage, at the end too, takes longer than it frees.
    """
    gc.disable()
    try:
        app()
    finally:
        gc.freeze()


def command(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command whose errors become diagnostics and an exit code."""

    def register(run: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(run)
        def guarded(**arguments: object) -> None:
            from codegen.diagnostics import CompileError

            as_json = arguments.get("as_json") is True
            try:
                run(**arguments)
            except CompileError as error:
                fail(error.diagnostics, as_json)
            except (typer.Exit, typer.BadParameter, typer.Abort, KeyboardInterrupt, BrokenPipeError):
                raise
            except Exception as error:
                from codegen.regenerate import internal_error

                fail((internal_error(error),), as_json)

        app.command(name)(guarded)
        return guarded

    return register


@command("from-hf")
def from_hf(
    source: Source,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="folder of the package; ./<package> if not given")
    ] = None,
    revision: Revision = None,
    target: Annotated[str, typer.Option(metavar="NAMES", help="frameworks to emit, comma separated")] = "torch,flax",
    emit: Annotated[
        str | None, typer.Option(metavar="graph|arch", help="print this level of the IR, write nothing")
    ] = None,
    no_weights: NoWeights = False,
    force: Force = False,
    merge: Merge = False,
    as_json: AsJson = False,
) -> None:
    """Compile SOURCE to a package.

    \b
    codegen from-hf org/name                  write ./<package> (in a checkout: generated/<package>)
    codegen from-hf org/name@v1 --out model   a revision, to a folder of your choice
    codegen from-hf path/to/folder --json     a local folder; the result as JSON
    codegen from-hf config.json --emit graph  what the modeling code computes, as text
    """
    from codegen import pipeline

    targets = _names(target, pipeline.TARGETS, "--target")
    if emit is not None and emit not in pipeline.EMITS:
        raise typer.BadParameter(f"{emit!r} is none of {', '.join(pipeline.EMITS)}", param_hint="--emit")
    if force and merge:
        raise typer.BadParameter("--force and --merge exclude each other", param_hint="--merge")
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


@command("inspect")
def inspect(
    source: Source,
    against: Annotated[
        str | None, typer.Option(metavar="OTHER", help="a second source; the report is what differs")
    ] = None,
    revision: Revision = None,
    as_json: AsJson = False,
) -> None:
    """Report the architecture of SOURCE.

    \b
    codegen inspect org/name
    codegen inspect org/name --against org/other    the gap between two architectures
    """
    from codegen import pipeline

    repository = _load(source, revision)
    other = None if against is None else _load(against, None)
    _report(pipeline.inspect(repository, other), as_json)


@command("explain")
def explain_package(
    package: Annotated[str, typer.Argument(metavar="PACKAGE[:FACT]", help="a package, and a fact of it by name")],
    as_json: AsJson = False,
) -> None:
    """Say which source line and which config key every fact of a package came from.

    \b
    codegen explain generated/name
    codegen explain name:rope_theta
    """
    from codegen.explain import explain

    name, fact = _split_fact(package)
    _report(explain(_package(name), fact), as_json)


@command("regenerate-all")
def regenerate_all(check: Check = False, force: Force = False, merge: Merge = False, as_json: AsJson = False) -> None:
    """Emit every package of generated/ again, where anything it depends on changed.

    \b
    codegen regenerate-all
    codegen regenerate-all --check    for CI: write nothing, fail on any difference
    """
    from codegen import regenerate as again

    checkout = _checkout()
    _regenerate(again.packages(checkout / "generated"), checkout, check, force, merge, as_json, overview=True)


@command("regenerate")
def regenerate(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="names in generated/")],
    check: Check = False,
    force: Force = False,
    merge: Merge = False,
    as_json: AsJson = False,
) -> None:
    """Emit some packages of generated/ again.

    \b
    codegen regenerate name other
    codegen regenerate name --merge    keep what was edited by hand
    """
    checkout = _checkout()
    folders = [_package(name) for name in names]
    _regenerate(folders, checkout, check, force, merge, as_json)


@command("verify")
def verify(
    subject: Annotated[str, typer.Argument(metavar="SOURCE|PACKAGE", help="what to bring up")],
    execute: Annotated[
        bool, typer.Option("--execute-original", help="run code that SOURCE brings, without network or tokens")
    ] = False,
    weights: Annotated[
        bool, typer.Option("--weights", help="check the headers of SOURCE's safetensors alone, before any download")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the bring-up checklist and measure every item. Exits with 3 if one fails.

    \b
    codegen verify generated/name
    codegen verify org/name --weights
    codegen verify org/name --json
    codegen verify org/own-code --execute-original
    """
    from codegen import pipeline

    folder = None if weights else _find_package(subject)
    if weights:
        report = pipeline.verify_weights(_load(subject, None))
    elif folder is None:
        report = pipeline.verify(_load(subject, None), execute=execute)
    else:
        report = pipeline.verify_package(folder)
    _report(report, as_json)
    if report.passed is False:
        raise typer.Exit(UNVERIFIED)


@command("convert")
def convert(
    source: Source,
    to: Annotated[str, typer.Option(metavar="orbax|safetensors|hf", help="layout to write")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="folder to write")],
    scanned: Annotated[
        bool, typer.Option("--scanned/--unscanned", help="stack equal layers, or keep them apart")
    ] = False,
    framework: Annotated[
        str, typer.Option(metavar="torch|flax", help="whose names and shapes safetensors get; flax if --scanned")
    ] = "torch",
    as_json: AsJson = False,
) -> None:
    """Convert a checkpoint, bit for bit. What was cut off goes on where it was when the same command is given again.

    \b
    codegen convert org/name --to orbax --scanned --out checkpoint
    codegen convert org/name --to safetensors --framework flax --out checkpoint
    codegen convert checkpoint --to hf --out folder    the files of the Hub again, byte for byte
    """
    from codegen import pipeline

    layouts = ("orbax", "safetensors", "hf")
    if to not in layouts:
        raise typer.BadParameter(f"{to!r} is none of {', '.join(layouts)}", param_hint="--to")
    if framework not in pipeline.TARGETS:
        raise typer.BadParameter(f"{framework!r} is none of {', '.join(pipeline.TARGETS)}", param_hint="--framework")
    with _Bytes() as bar:
        listener = pipeline.Listener(_plan if not as_json else lambda lines: None, bar.advance)
        report = pipeline.convert(source, to, out, scanned=scanned, flax=framework == "flax", listener=listener)
    _report(report, as_json)


@command("generate")
def generate(
    package: Package,
    weights: Annotated[str, typer.Option(metavar="SOURCE", help="where the weights are")],
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="what to continue")],
    chat: Annotated[bool, typer.Option("--chat", help="put the prompt through the chat template")] = False,
    as_json: AsJson = False,
) -> None:
    """Generate text with a package and published weights.

    \b
    codegen generate generated/name --weights org/name --prompt "Once upon a time"
    """
    from codegen import pipeline

    _report(pipeline.generate(_package(package), weights, prompt, chat=chat), as_json)


@command("list")
def list_packages(
    sizes: Annotated[bool, typer.Option("--sizes", help="count the parameters of each checkpoint")] = False,
    as_json: AsJson = False,
) -> None:
    """List the packages of generated/ and the repositories that each serves.

    \b
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
            "source": entry.source,
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
    return (
        ", ".join(f"{name} {number:,}" for name, number in counts.items()) or ", ".join(entry.patterns) or entry.source
    )


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="print the version and exit")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit()


def _load(source: str, revision: str | None, *, weights: bool = True) -> Repository:
    from codegen import repo

    if revision is not None and "@" in source and not Path(source).exists():
        raise typer.BadParameter("the source names a revision already", param_hint="--revision")
    return repo.load(source, revision, weights=weights)


def _names(text: str, allowed: Iterable[str], option: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    wrong = [name for name in names if name not in allowed]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]!r} is none of {', '.join(allowed)}", param_hint=option)
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
        raise typer.BadParameter("--force and --merge exclude each other", param_hint="--merge")
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
        raise typer.Exit(FAILED)
    if differing:
        raise typer.Exit(UNVERIFIED)


def _plan(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(line, err=True)


class _Bytes:
    """How far a conversion is, on stderr: a line that is rewritten on a terminal, else one for every tenth."""

    def __init__(self) -> None:
        self.shown = -1

    def __enter__(self) -> _Bytes:
        return self

    def advance(self, done: int, total: int) -> None:
        percent = done * 100 // max(total, 1)
        step = percent if sys.stderr.isatty() else percent // 10 * 10
        if step > self.shown:
            self.shown = step
            typer.echo(
                f"\r{step:>3} %" if sys.stderr.isatty() else f"{step:>3} %", err=True, nl=not sys.stderr.isatty()
            )

    def __exit__(self, *details: object) -> None:
        if self.shown >= 0 and sys.stderr.isatty():
            typer.echo(err=True)


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
        typer.echo(json.dumps({"ok": True, **facts, "diagnostics": [to_json(one) for one in found]}, indent=2))
        return
    _print_diagnostics(found)
    typer.echo(text)


def fail(diagnostics: tuple[Diagnostic, ...], as_json: bool) -> NoReturn:
    """Say what is wrong and exit."""
    from codegen.diagnostics import to_json

    if as_json:
        typer.echo(json.dumps({"ok": False, "diagnostics": [to_json(one) for one in diagnostics]}, indent=2))
    else:
        _print_diagnostics(diagnostics)
    raise typer.Exit(FAILED)


def _print_diagnostics(diagnostics: tuple[Diagnostic, ...]) -> None:
    from codegen.diagnostics import Severity, to_text
    from codegen.excerpts import read_source

    for diagnostic in diagnostics:
        typer.echo(to_text(diagnostic, read_source), err=True)
        typer.echo("", err=True)
    errors = sum(diagnostic.severity is Severity.ERROR for diagnostic in diagnostics)
    if errors > 1:
        typer.echo(f"{errors} errors", err=True)
