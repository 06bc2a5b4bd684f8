"""Writing many files so that whatever happens, nothing is lost and nothing is half there.

All is written beside the output, in `OUT.partial`; one rename puts it in its place. A file is written under another name,
brought to the disk and renamed: what has its name is whole. The journal says which conversion a folder belongs to and which
files are done; a run that was killed at any point goes on where it was.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from codegen.diagnostics import CompileError, Diagnostic
from codegen.weights.data import Literal, size
from codegen.weights.reading import Reader
from codegen.weights.targets import Unit
from ir.records import dataclass

JOURNAL = ".journal"
FLUSH = 1.0  # seconds between two times that the journal is brought to the disk
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many files were written, and how many an earlier run had finished."""

    written: int
    kept: int


def staging(out: Path) -> Path:
    """Where the output lies until it is whole."""
    return out.with_name(f"{out.name}.partial")


def write(units: Sequence[Unit], out: Path, key: str, reader: Reader, progress: Callable[[int], None]) -> Outcome:
    """Write all files of `out`. `key` names this very conversion; `progress` hears of bytes that were done.

    Raises:
        CompileError: `out-exists`, `other-conversion`, `disk-full`, `cannot-write`, and what reading raises.
    """
    if committed(out, key) or _marked(out, units):
        return Outcome(0, len(units))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        message = f"{out} exists already"
        raise CompileError(Diagnostic("out-exists", message, help="name a folder that is not there yet"))
    with _writing(out), _journal(staging(out), key) as (journal, finished):
        kept = _kept(staging(out), units, finished)
        progress(sum(size(unit.data) for unit in units if unit.path in kept))
        made: set[Path] = {staging(out)}
        last = time.monotonic()
        for unit in units:
            made.update(_ancestors(staging(out), unit.path))
            if unit.path in kept:
                continue
            _write_file(staging(out) / unit.path, unit, reader, progress)
            status = (staging(out) / unit.path).stat()
            print(json.dumps([unit.path, status.st_size, status.st_mtime_ns]), file=journal, flush=True)
            if time.monotonic() - last > FLUSH:
                os.fsync(journal.fileno())
                last = time.monotonic()
        os.fsync(journal.fileno())
        for folder in sorted(made, reverse=True):
            _sync_folder(folder)
        os.rename(staging(out), out)
        _sync_folder(out.parent)
        _forget(out)
    return Outcome(len(units) - len(kept), len(kept))


def committed(out: Path, key: str) -> bool:
    """Whether `out` is whole and of this conversion: killed between its last two steps, which is made good."""
    if _key(out / JOURNAL) != key or staging(out).exists():
        return False
    _forget(out)
    return True


def _marked(out: Path, units: Sequence[Unit]) -> bool:
    """Whether `out` is what would be written: its last file says so, and all others are there."""
    if not units or staging(out).exists() or not all(isinstance(part, Literal) for part in units[-1].data):
        return False
    content = b"".join(part.content for part in units[-1].data if isinstance(part, Literal))
    try:
        known = all((out / unit.path).stat().st_size == size(unit.data) for unit in units)
        return known and (out / units[-1].path).read_bytes() == content
    except OSError:
        return False


def begun(out: Path, key: str) -> bool:
    """Whether an earlier run of this conversion was cut off."""
    return _key(staging(out) / JOURNAL) == key


def _forget(out: Path) -> None:
    (out / JOURNAL).unlink()
    _sync_folder(out)


def _ancestors(root: Path, name: str) -> Iterator[Path]:
    parent = (root / name).parent
    while parent != root:
        yield parent
        parent = parent.parent


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        said = error.strerror or str(error)
        if error.errno in FULL:
            message, help = (
                f"the disk is full: {said}",
                "make room, then run the same command again: it goes on where it was",
            )
            raise CompileError(Diagnostic("disk-full", message, help=help)) from None
        raise CompileError(Diagnostic("cannot-write", f"cannot write {error.filename or out}: {said}")) from None


@contextmanager
def _journal(folder: Path, key: str) -> Iterator[tuple[IO[str], dict[str, tuple[int, int]]]]:
    """The journal of a folder, new or gone on with, and what it says is finished: path -> size and time."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / JOURNAL
    known = _key(path)
    if known is None and any(entry.name != JOURNAL for entry in folder.iterdir()):
        raise CompileError(Diagnostic("out-exists", f"{folder} exists already, and is no conversion that was cut off"))
    if known not in (None, key):
        message = f"{folder} holds what an earlier conversion, of something else or with another version, had finished"
        raise CompileError(
            Diagnostic("other-conversion", message, help="remove that folder, or run the earlier command again")
        )
    finished = _finished(path) if known else {}
    with path.open("a+" if known else "w+", encoding="utf-8") as journal:
        try:
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CompileError(Diagnostic("other-conversion", f"another process is writing {folder}")) from None
        if known is None:
            print(json.dumps({"key": key}), file=journal, flush=True)
            os.fsync(journal.fileno())
            _sync_folder(folder)
        else:
            _end_line(path, journal)
        yield journal, finished


def _key(path: Path) -> str | None:
    """Of which conversion a journal is; None where there is none, or not even its first line."""
    try:
        with path.open(encoding="utf-8") as journal:
            found = json.loads(journal.readline())
    except (OSError, ValueError):
        return None
    return str(found["key"]) if isinstance(found, dict) and "key" in found else None


def _finished(path: Path) -> dict[str, tuple[int, int]]:
    out: dict[str, tuple[int, int]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines()[1:]:
        try:
            name, length, time_ = json.loads(line)
        except ValueError:  # the last line of a run that was killed
            continue
        out[name] = length, time_
    return out


def _end_line(path: Path, journal: IO[str]) -> None:
    """A line that was cut off ends before the next begins."""
    if not path.read_bytes().endswith(b"\n"):
        print(file=journal, flush=True)


def _kept(folder: Path, units: Sequence[Unit], finished: dict[str, tuple[int, int]]) -> Collection[str]:
    """The files that earlier runs finished; all else that they left is removed."""
    sizes = {unit.path: size(unit.data) for unit in units}
    kept: set[str] = set()
    for path in list(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name == JOURNAL:
            continue
        status = path.stat()
        as_known = finished.get(name, (status.st_size, status.st_mtime_ns)) == (status.st_size, status.st_mtime_ns)
        if sizes.get(name) == status.st_size and as_known:
            kept.add(name)
        else:
            path.unlink()
    return kept


def _write_file(path: Path, unit: Unit, reader: Reader, progress: Callable[[int], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:

        def sink(piece: memoryview) -> None:
            while piece:
                count = os.write(handle, piece)
                piece = piece[count:]
                progress(count)

        try:
            reader.stream(unit.data, sink)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
