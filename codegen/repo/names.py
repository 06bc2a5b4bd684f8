"""Names that came from a source: checked before they become paths, log lines or code."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath, PureWindowsPath

from codegen.diagnostics import CompileError, Diagnostic, printable

TENSOR_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,511}")


def check_relative(name: str, where: str) -> None:
    """Refuse a file name that could lead out of the source, by the rules of any platform.

    Raises:
        CompileError: `file-outside-source`.
    """
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    harmless = (
        name != ""
        and name.isprintable()
        and not posix.is_absolute()
        and not windows.anchor
        and "\\" not in name
        and ".." not in posix.parts
    )
    if not harmless:
        raise outside(name, where)


def inside(root: Path, name: str, where: str) -> Path:
    """The path of a file below `root`; links must end there too, or in the blob store of the Hub's cache.

    Raises:
        CompileError: `file-outside-source`.
    """
    check_relative(name, where)
    path, top = (root / name).resolve(), root.resolve()
    stores = [top]
    if root.parent.name == "snapshots":
        stores.append(top.parent.parent / "blobs")
    if not any(path.is_relative_to(store) for store in stores):
        raise outside(name, where)
    return root / name


def outside(name: str, where: str) -> CompileError:
    return CompileError(
        Diagnostic(
            "file-outside-source",
            f"{where} names the file {printable(repr(name), 200)}, which is not inside the source",
            help="file names must be relative and must not lead upwards; do not trust this repository",
        )
    )


def tensor_name_fault(name: str) -> str | None:
    """Why a tensor cannot have this name, or None if it can."""
    if not TENSOR_NAME.fullmatch(name):
        return "has characters other than letters, digits, `_`, `-` and `.`, or is too long"
    if ".." in name or name.endswith("."):
        return "has an empty part between dots"
    return None
