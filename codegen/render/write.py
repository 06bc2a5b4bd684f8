"""Writing a package: all of it or nothing, and never over a hand edit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from codegen.diagnostics import CompileError, Diagnostic, Severity
from codegen.render.manifest import NAME, digest, emitted_definitions, emitted_digests, read_manifest
from codegen.render.python import format_python
from ir.records import dataclass

LEFT_BEHIND = "__pycache__"


@dataclass(frozen=True, slots=True)
class Written:
    """What happened to the files of a package."""

    folder: Path
    changed: tuple[str, ...]  # written anew
    removed: tuple[str, ...]  # emitted before and no longer
    kept: tuple[str, ...]  # `file: definition`, edited by hand and kept by --merge
    conflicts: tuple[str, ...]  # those of them that the compiler now emits differently

    @property
    def notes(self) -> tuple[Diagnostic, ...]:
        """The conflicts, to be shown."""
        return tuple(
            Diagnostic(
                "merge-conflict",
                f"{self.folder.name}/{where} was edited by hand, and the compiler now emits it differently",
                severity=Severity.NOTE,
                help="yours was kept; compare it with what --force would write",
            )
            for where in self.conflicts
        )


def write_package(files: Mapping[str, str], out: Path, *, force: bool = False, merge: bool = False) -> Written:
    """Make `out` hold the package. Files that it did not emit stay.

    Raises:
        CompileError: `edited-by-hand`, `not-a-package` or `cannot-write`; then nothing was changed.
    """
    try:
        out = out.resolve()
        _recover(out)
        return _write(files, out, force, merge)
    except OSError as error:
        raise CompileError(
            Diagnostic("cannot-write", f"cannot write {out}: {error.strerror or error}", notes=("nothing was changed",))
        ) from None


def differences(files: Mapping[str, str], out: Path) -> tuple[str, ...]:
    """Names of files that are not, byte for byte, what the package should hold."""
    stale = emitted_digests(out).keys() - files.keys()
    return tuple(sorted({name for name, text in files.items() if _read(out / name) != text} | _present(out, stale)))


def _write(files: Mapping[str, str], out: Path, force: bool, merge: bool) -> Written:
    emitted = emitted_digests(out)
    if out.exists() and not force:
        _check_ours(out)
    edited = _edited(files, emitted, out)
    if edited and not (force or merge):
        raise CompileError(_refusal(out, edited))
    result: dict[str, str] = dict(files)
    kept: list[str] = []
    conflicts: list[str] = []
    if merge and not force:
        result, kept, conflicts = _merged(files, edited, emitted, out)
    stale = tuple(sorted(_present(out, emitted.keys() - result.keys())))
    changed = tuple(name for name, text in result.items() if _read(out / name) != text)
    if changed or stale:
        _swap(result, out, set(stale))
    return Written(out, changed, stale, tuple(kept), tuple(conflicts))


def _check_ours(out: Path) -> None:
    if not out.is_dir():
        raise CompileError(Diagnostic("not-a-package", f"{out} is a file", help="choose another folder with --out"))
    if read_manifest(out) is None and any(out.iterdir()):
        raise CompileError(
            Diagnostic(
                "not-a-package",
                f"{out} is not empty and has no {NAME} of this compiler",
                help="choose another folder with --out, or write into this one with --force",
            )
        )


def _edited(files: Mapping[str, str], emitted: Mapping[str, str], out: Path) -> list[str]:
    """Files that are neither what was emitted last nor what would be written now."""
    result = []
    for name in sorted((files.keys() | emitted.keys()) - {NAME}):
        text = _read(out / name)
        if text is not None and text != files.get(name) and digest(text) != emitted.get(name):
            result.append(name)
    return result


def _refusal(out: Path, edited: list[str]) -> Diagnostic:
    return Diagnostic(
        "edited-by-hand",
        f"{', '.join(edited)} in {out} {'was' if len(edited) == 1 else 'were'} edited by hand",
        help="--merge keeps the definitions that were edited and emits the rest again; --force overwrites them",
    )


def _merged(
    files: Mapping[str, str], edited: list[str], emitted: Mapping[str, str], out: Path
) -> tuple[dict[str, str], list[str], list[str]]:
    result = dict(files)
    kept: list[str] = []
    conflicts: list[str] = []
    merged: dict[str, str] = {}
    for name in edited:
        text, new = _read(out / name) or "", files.get(name)
        base = emitted_definitions(out, name)
        if new is None or not base or not name.endswith(".py"):
            result[name] = text  # no definitions to tell apart: the whole file is kept
            kept.append(name)
            if new is None or digest(new) != emitted.get(name):
                conflicts.append(name)
            continue
        from codegen.render.merge import merge  # libcst: only here

        try:
            one = merge(text, new, base)
        except Exception as error:  # SyntaxError of ast, ParserSyntaxError of libcst
            raise CompileError(
                Diagnostic("edited-by-hand", f"{name} in {out} cannot be merged: {error}", help="--force overwrites it")
            ) from None
        merged[name] = one.text
        kept += [f"{name}: {key}" for key in one.kept]
        conflicts += [f"{name}: {key}" for key in one.conflicts]
    result |= format_python(merged, tidy=False)
    return result, kept, conflicts


def _swap(files: Mapping[str, str], out: Path, stale: set[str]) -> None:
    """Build the folder beside its place, then put it there by renaming."""
    staged, old = _beside(out, f"partial-{os.getpid()}"), _beside(out, "old")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        if out.exists():
            shutil.copytree(out, staged, symlinks=True, ignore=shutil.ignore_patterns(LEFT_BEHIND))
        for name in stale:
            (staged / name).unlink()
        for name, text in files.items():
            path = staged / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        if out.exists():
            os.rename(out, old)
        try:
            os.rename(staged, out)
        except OSError:
            if old.exists():
                os.rename(old, out)
            raise
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _recover(out: Path) -> None:
    """Finish what a run that was killed between its two renames began, and sweep up what killed runs left."""
    old = _beside(out, "old")
    if old.exists():
        if out.exists():
            shutil.rmtree(old)
        else:
            os.rename(old, out)
    for left in out.parent.glob(f"{_beside(out, 'partial-').name}*"):
        process = left.name.rpartition("-")[2]
        if process.isdigit() and not _runs(int(process)):
            shutil.rmtree(left)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _beside(out: Path, kind: str) -> Path:
    return out.with_name(f".{out.name}.codegen-{kind}")


def _present(out: Path, names: set[str]) -> set[str]:
    return {name for name in names if (out / name).is_file()}


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        return "\0 not text"  # equal to nothing that is emitted
