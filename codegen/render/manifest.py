"""source.json: what a package was compiled from and what was emitted, by digest."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

NAME = "source.json"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def definitions(text: str) -> dict[str, str]:
    """Digest of every definition of a module, methods by themselves, as they were emitted: what --merge compares."""
    result: dict[str, str] = {}
    lines = text.splitlines()
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef):
            methods = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
            own = _without(node, tuple(methods.values()), lines)
            result[node.name] = _short(own)
            result |= {f"{node.name}.{name}": _short(_text(item, lines)) for name, item in methods.items()}
        elif name := _name(node):
            result[name] = _short(_text(node, lines))
    return result


def manifest(facts: Mapping[str, object], files: Mapping[str, str]) -> str:
    """The text of source.json: `facts` (repository, revision, versions, config), then the digests of `files`."""
    emitted = {name: digest(text) for name, text in sorted(files.items()) if name != NAME}
    return json.dumps({**facts, "files": emitted}, indent=2, ensure_ascii=False) + "\n"


def read_manifest(folder: Path) -> dict[str, object] | None:
    """source.json of a package, or None if the folder has none that can be read."""
    try:
        value = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def emitted_digests(folder: Path) -> dict[str, str]:
    """File name -> digest of what the compiler last wrote there."""
    found = (read_manifest(folder) or {}).get("files")
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}
