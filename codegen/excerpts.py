"""Where the renderer of diagnostics finds the text that a span points into."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_seen: dict[str, str] = {}  # files of the source that was read last, by the name that spans give them


def remember(file: str, text: str) -> None:
    """Keep the text of a file of the source, for excerpts."""
    _seen[file] = text


def read_source(file: str) -> str | None:
    """The text of a file: of the source, or of an installed package that is named from its top (`package/module.py`)."""
    if file in _seen:
        return _seen[file]
    top, slash, rest = file.partition("/")
    if not slash or not top.isidentifier() or ".." in Path(rest).parts:
        return None
    try:
        spec = importlib.util.find_spec(top)  # of a top-level package: finds it, does not import it
        places = spec.submodule_search_locations if spec is not None else None
        return Path(places[0], rest).read_text(encoding="utf-8") if places else None
    except (OSError, ValueError, ImportError):
        return None
