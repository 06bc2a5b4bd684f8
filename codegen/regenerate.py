"""Packages that were emitted before: listing them, and emitting them again."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from codegen import pipeline, render
from codegen.diagnostics import CompileError, Diagnostic, printable
from codegen.repo import Repository, from_record
from codegen.source.files import LIBRARY
from ir.records import dataclass

STAMPS = Path(".cache", "regenerate.json")  # below the checkout: which package was last found up to date, by digest
OVERVIEW = Path("docs", "architectures.md")
TOOLS = ("jinja2", "ruff", "transformers")  # whose version shows in the output


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one package: up-to-date, written, differs (--check alone), or failed."""

    name: str
    state: str
    files: tuple[str, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    pure: bool = True  # nothing that was edited by hand is left in it


def find_checkout() -> Path | None:
    """The checkout of this project that the working directory lies in, or that this code runs from."""
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).resolve().parent.parent):
        if (folder / "codegen" / "pipeline.py").is_file() and (folder / "generated").is_dir():
            return folder
    return None


def inside_checkout() -> Path | None:
    """The checkout that the working directory lies in."""
    found = find_checkout()
    return found if found is not None and Path.cwd().is_relative_to(found) else None


def packages(generated: Path) -> list[Path]:
    """The folders below `generated/` that were emitted, sorted by name."""
    return sorted(path.parent for path in generated.glob(f"*/{render.SOURCE_RECORD}"))


@dataclass(frozen=True, slots=True)
class Record:
    """What source.json says a package was compiled from."""

    repository: Repository
    targets: tuple[str, ...]
    checkpoints: Mapping[str, Mapping[str, object]]
    names: Mapping[str, object]  # parameters that the checkpoint stores otherwise than a fresh one


def source_name(record: Mapping[str, object]) -> object:
    """The repository that a package was compiled from, or what else its source is called."""
    return record.get("repository") or record.get("name")


def read_record(folder: Path) -> Record:
    """
    Raises:
        CompileError: `not-a-package`.
    """
    record = render.read_manifest(folder) or {}
    name, revision, config = source_name(record), record.get("revision"), record.get("config")
    if not isinstance(name, str) or not isinstance(config, dict):
        raise CompileError(
            Diagnostic(
                "not-a-package",
                f"{printable(str(folder), 300)} is no package of this compiler: it has no readable {render.SOURCE_RECORD}",
            )
        )
    code = record.get("code")
    if isinstance(code, str) and not code.startswith(f"{LIBRARY}/"):
        raise CompileError(
            Diagnostic(
                "no-source-code",
                f"{folder.name} was compiled from code of {printable(name, 200)}, which {render.SOURCE_RECORD} does not hold",
                help=f"compile it from its source: codegen from-hf {printable(name, 200)} --out {printable(str(folder), 200)}",
            )
        )
    targets, checkpoints, names = (record.get(key) for key in ("targets", "checkpoints", "names"))
    return Record(
        from_record(name, revision if isinstance(revision, str) else "", config),
        tuple(str(target) for target in targets) if isinstance(targets, list) else pipeline.TARGETS,
        checkpoints if isinstance(checkpoints, dict) else {},
        {str(path): made for path, made in names.items()} if isinstance(names, dict) else {},
    )


def regenerate(folder: Path, *, check: bool = False, force: bool = False, merge: bool = False) -> Outcome:
    """Emit one package again from what it was compiled from."""
    try:
        record = read_record(folder)
        package = pipeline.compile_package(
            record.repository, targets=record.targets, checkpoints=record.checkpoints, names=record.names
        )
        if check:
            differing = render.differences(package.files, folder)
            return Outcome(folder.name, "differs" if differing else "up-to-date", differing)
        written = pipeline.write(package, folder, force=force, merge=merge)
    except CompileError as error:
        return Outcome(folder.name, "failed", diagnostics=error.diagnostics)
    except Exception as error:  # in a process of its own: the one that reports it is elsewhere
        return Outcome(folder.name, "failed", diagnostics=(internal_error(error),))
    touched = (*written.changed, *written.removed)
    return Outcome(folder.name, "written" if touched else "up-to-date", touched, written.notes, pure=not written.kept)


def regenerate_many(
    folders: list[Path],
    checkout: Path,
    progress: Callable[[Outcome], None],
    *,
    check: bool = False,
    force: bool = False,
    merge: bool = False,
    jobs: int | None = None,
) -> list[Outcome]:
    """Emit packages again, those alone whose inputs, outputs or compiler changed since they were last up to date."""
    compiler = compiler_digest()
    stamps = _read_stamps(checkout)
    todo = []
    outcomes: dict[str, Outcome] = {}
    for folder in folders:
        if stamps.get(folder.name) == _stamp(folder, compiler):
            outcomes[folder.name] = Outcome(folder.name, "up-to-date")
            progress(outcomes[folder.name])
        else:
            todo.append(folder)
    for outcome in _run(partial(regenerate, check=check, force=force, merge=merge), todo, jobs or _processors()):
        outcomes[outcome.name] = outcome
        progress(outcome)
    done = {one.name for one in outcomes.values() if one.state in ("up-to-date", "written") and one.pure}
    fresh = {folder.name: _stamp(folder, compiler) for folder in todo if folder.name in done}
    if fresh:
        _write_stamps(checkout, {**stamps, **fresh})
    return [outcomes[folder.name] for folder in folders]


def overview(checkout: Path) -> str:
    """The page over all packages of a checkout, from their records and architectures."""
    from codegen.lowering.overview import Entry, page
    from ir.arch import Arch
    from ir.text import from_text

    entries = []
    for folder in packages(checkout / "generated"):
        record, text = render.read_manifest(folder) or {}, folder / "arch.txt"
        if not text.is_file():
            continue  # emitted without a description
        arch = from_text(text.read_text(encoding="utf-8"))
        assert isinstance(arch, Arch)
        parameters, cache = record.get("parameters"), record.get("cache")
        entries.append(
            Entry(
                folder.name,
                str(source_name(record)),
                parameters if isinstance(parameters, int) else 0,
                tuple(map(str, cache)) if isinstance(cache, list) else (),
                arch,
            )
        )
    return page(entries)


def regenerate_overview(checkout: Path, *, check: bool = False) -> Outcome:
    """Write the page over all packages again."""
    path = checkout / OVERVIEW
    text = overview(checkout)
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return Outcome(path.name, "up-to-date")
    if check:
        return Outcome(path.name, "differs", (OVERVIEW.as_posix(),))
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return Outcome(path.name, "written", (OVERVIEW.as_posix(),))


def _run(work: Callable[[Path], Outcome], folders: list[Path], jobs: int) -> Iterator[Outcome]:
    """The shortest here, and every other in a process of its own, the longest first.

    Where processes can be forked they start from what the first has read of the library, and nobody has to clean up after them.
    """
    if len(folders) < 2 or jobs < 2:
        yield from map(work, folders)
        return
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
    *waiting, first = sorted(folders, key=_emitted_bytes, reverse=True)
    yield work(first)
    running: dict[Connection, tuple[BaseProcess, Path]] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            folder = waiting.pop(0)
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_send, args=(work, folder, theirs))  # type: ignore[attr-defined]
            process.start()
            theirs.close()
            running[ours] = process, folder
        for ready in wait(list(running)):
            assert isinstance(ready, Connection)
            process, folder = running.pop(ready)
            yield _received(ready, folder)
            process.join()


def _send(work: Callable[[Path], Outcome], folder: Path, to: Connection) -> None:
    to.send(work(folder))


def _received(answer: Connection, folder: Path) -> Outcome:
    with answer:
        try:
            found = answer.recv()
        except EOFError:
            died = internal_error(RuntimeError("its process ended before it was done"))
            return Outcome(folder.name, "failed", diagnostics=(died,))
    assert isinstance(found, Outcome)
    return found


def _emitted_bytes(folder: Path) -> int:
    """How much there is of a package: what is long takes long to compile."""
    return sum(path.stat().st_size for path in folder.glob("*.py"))


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every platform
        return os.cpu_count() or 1


def compiler_digest() -> str:
    """Of everything that decides what is emitted for a given input."""
    import importlib.metadata  # which takes as long to import as all the rest here

    root = Path(__file__).resolve().parent
    folders = (root, root.parent / "ir", render.templates_folder())
    digest = hashlib.sha256()
    for tool in TOOLS:
        digest.update(f"{tool} {importlib.metadata.version(tool)}\n".encode())
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"):
            digest.update(f"{path.relative_to(folder).as_posix()}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _stamp(folder: Path, compiler: str) -> str:
    digest = hashlib.sha256(compiler.encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        digest.update(f"{path.relative_to(folder).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _read_stamps(checkout: Path) -> dict[str, str]:
    try:
        value = json.loads((checkout / STAMPS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _write_stamps(checkout: Path, stamps: Mapping[str, str]) -> None:
    """Losing them costs time, nothing else."""
    path = checkout / STAMPS
    try:
        path.parent.mkdir(exist_ok=True)
        partial_path = path.with_suffix(f".{os.getpid()}")
        partial_path.write_text(json.dumps(stamps, indent=1, sort_keys=True), encoding="utf-8")
        os.replace(partial_path, path)
    except OSError:
        pass


def internal_error(error: BaseException) -> Diagnostic:
    """A fault of the compiler itself, with the place in its code and no traceback."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if "codegen" in file.parts or "ir" in file.parts:
            place = f"{file.parent.name}/{file.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return Diagnostic(
        "internal-error",
        f"the compiler failed: {type(error).__name__}: {printable(str(error), 500)}",
        notes=(f"at {place}",) if place else (),
        help="this is a fault of the compiler: please report it with the source that it was run on",
    )
