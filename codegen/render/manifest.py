"""source.json: what a package was compiled from, and digests of what was emitted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from codegen.render.definitions import definitions

NAME = "source.json"
TABLES = ("provenance",)  # facts that are tables of tables


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def manifest(facts: Mapping[str, object], files: Mapping[str, str]) -> str:
    """The text of source.json: `facts` (repository, revision, versions, config.json), then digests of `files`, then what
    only commands read, a line for each fact.
    """
    emitted = {name: text for name, text in sorted(files.items()) if name != NAME}
    plain = {key: value for key, value in facts.items() if key not in TABLES}
    record = json.dumps({**plain, "files": {name: digest(text) for name, text in emitted.items()}}, indent=2)
    record = "".join([record.removesuffix("\n}"), *(_table(key, facts[key]) for key in TABLES if key in facts), "\n}"])
    parts = ",\n".join(
        f"    {json.dumps(name)}: {json.dumps(definitions(text))}"
        for name, text in emitted.items()
        if name.endswith(".py")
    )  # a line for each file: these are for --merge, not for readers
    return record.removesuffix("\n}") + ',\n  "definitions": {\n' + parts + "\n  }\n}\n"


def _table(key: str, tables: object) -> str:
    assert isinstance(tables, Mapping)
    parts = []
    for name, rows in tables.items():
        lines = ",\n".join(f"      {json.dumps(row)}: {json.dumps(value)}" for row, value in rows.items())
        parts.append(f"    {json.dumps(name)}: {{\n{lines}\n    }}" if rows else f"    {json.dumps(name)}: {{}}")
    return f",\n  {json.dumps(key)}: {{\n" + ",\n".join(parts) + "\n  }"


def read_manifest(folder: Path) -> dict[str, object] | None:
    """source.json of a package, or None if the folder has none that can be read."""
    try:
        value = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("files"), dict) else None


def emitted_digests(folder: Path) -> dict[str, str]:
    """File name -> digest of what the compiler last wrote there."""
    return _strings((read_manifest(folder) or {}).get("files"))


def emitted_definitions(folder: Path, name: str) -> dict[str, str]:
    """Definition -> digest of what the compiler last wrote into a file of the package."""
    files = (read_manifest(folder) or {}).get("definitions")
    return _strings(files.get(name)) if isinstance(files, dict) else {}


def _strings(value: object) -> dict[str, str]:
    return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else {}
