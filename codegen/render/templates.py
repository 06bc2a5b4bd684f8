"""The one place that uses Jinja. Templates hold text, loops and inclusions: every choice is in the view."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

import jinja2


@cache
def templates_folder() -> Path:
    """`templates/` of the checkout, or its copy inside an installed package."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "templates"
    return installed if installed.is_dir() else package.parent / "templates"


@cache
def environment() -> jinja2.Environment:
    """A name that the view does not have is an error; nothing is escaped; whole-line tags leave no line behind."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates_folder()),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        auto_reload=False,
        bytecode_cache=_compiled(templates_folder() / "__pycache__"),
    )


def _compiled(folder: Path) -> jinja2.BytecodeCache | None:
    """Templates as they were compiled before, kept as Python keeps its modules: beside them, where that may be written."""
    if sys.dont_write_bytecode:
        return None
    try:
        folder.mkdir(exist_ok=True)
    except OSError:
        return None
    return jinja2.FileSystemBytecodeCache(str(folder), "%s.pyc") if os.access(folder, os.W_OK) else None


def fill(template: str, view: object) -> str:
    """The text of a template (`torch/model.py.jinja`) for a view, which it knows as `view`."""
    return environment().get_template(template).render(view=view)
