"""Where the facts of a package came from, read from its source.json; nothing is compiled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from codegen import render
from codegen.diagnostics import CompileError, Diagnostic, printable
from codegen.excerpts import read_source
from codegen.report import Report, columns

TITLES = {
    "fields": "Config",
    "parameters": "Parameters",
    "classes": "Classes",
    "modules": "Modules",
    "unread": "Keys of config.json that change nothing",
}
SHOWN = 3  # places before the rest is counted

Fact = Mapping[str, object]


def explain(package: Path, fact: str | None = None) -> Report:
    """Every fact on a line, or all that is known of those called `fact`.

    Raises:
        CompileError: `not-a-package`, `unknown-fact`.
    """
    record = render.read_manifest(package)
    tables = (record or {}).get("provenance")
    if record is None or not isinstance(tables, dict):
        raise CompileError(
            Diagnostic(
                "not-a-package",
                f"{printable(str(package), 300)} does not say where its facts came from: {render.SOURCE_RECORD} has no `provenance`",
                help="`codegen regenerate` writes it anew",
            )
        )
    known = {title: _table(tables.get(kind)) for kind, title in TITLES.items()}
    head = {key: record.get(key) for key in ("repository", "revision", "codegen", "transformers")}
    head["repository"] = head["repository"] or record.get("name")
    if fact is None:
        return Report("\n".join(_overview(package.name, head, known)), {**head, **known})
    found = {title: {name: table[name] for name in table if _means(name, fact)} for title, table in known.items()}
    found = {title: table for title, table in found.items() if table}
    if not found:
        raise CompileError(_unknown(fact, known))
    return Report("\n".join(_details(found)), {**head, **found})


def _table(value: object) -> dict[str, Fact]:
    return (
        {str(name): fact for name, fact in value.items() if isinstance(fact, dict)} if isinstance(value, dict) else {}
    )


def _means(name: str, fact: str) -> bool:
    """Whether a user who types `fact` means the fact `name`: all of it, or the last steps of a path."""
    return name == fact or name.endswith(f".{fact}")


def _unknown(fact: str, known: Mapping[str, Mapping[str, Fact]]) -> Diagnostic:
    import difflib

    names = [name for table in known.values() for name in table]
    close = difflib.get_close_matches(fact, names, 4, 0.5)
    return Diagnostic(
        "unknown-fact",
        f"the package has no fact called {printable(repr(fact), 200)}",
        help=f"there is {', '.join(close)}" if close else "without a fact, all are listed",
    )


def _overview(name: str, head: Fact, known: Mapping[str, Mapping[str, Fact]]) -> Iterator[str]:
    revision = f"@{head['revision']}" if head["revision"] else ""
    yield f"{name}: from {head['repository']}{revision}, by codegen {head['codegen']} with transformers {head['transformers']}"
    for title, table in known.items():
        yield ""
        yield title
        yield from columns([(name, *_line(fact)) for name, fact in table.items()], "  ")


def _line(fact: Fact) -> tuple[str, str]:
    """What a fact is, and where it came from, in two cells."""
    keys = _strings(fact.get("keys"))
    said = str(fact.get("fact") or fact.get("class") or fact.get("axes") or "")
    read = f"keys {', '.join(keys)}" if keys else "no key: a default of the source" if "keys" in fact else ""
    used = _strings(fact.get("used"))
    more = f" and {len(used) - 1} more" if len(used) > 1 else ""
    place = str(fact.get("at") or "") or (used[0] + more if used else "")
    return ("; ".join(part for part in (said, read) if part), place)


def _details(found: Mapping[str, Mapping[str, Fact]]) -> Iterator[str]:
    for title, table in found.items():
        for name, fact in table.items():
            yield f"{title}: {name}"
            for key, value in fact.items():
                if key not in ("at", "used") and value not in ("", []):
                    yield f"  {key:<10} {', '.join(map(str, value)) if isinstance(value, list) else value}"
            places = _strings(fact.get("used")) or _strings([fact.get("at")])
            for place in places[:SHOWN]:
                yield from _excerpt(place)
            if len(places) > SHOWN:
                yield f"  and {len(places) - SHOWN} more: {', '.join(places[SHOWN:])}"
            yield ""


def _excerpt(place: str) -> Iterator[str]:
    """The line that a place names, if the source is at hand."""
    yield f"  {place}"
    file, _, line = place.rpartition(":")
    text = read_source(file) if line.isdigit() else None
    lines = [] if text is None else text.splitlines()
    if line.isdigit() and 1 <= int(line) <= len(lines):
        yield f"    {line} | {printable(lines[int(line) - 1].strip(), 160)}"


def _strings(value: object) -> list[str]:
    return [str(item) for item in value if item] if isinstance(value, list) else []
