"""Templates hold no logic: choices are made when a view is built."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest
from jinja2 import nodes

from codegen.render.templates import environment, templates_folder

FORBIDDEN = (
    nodes.Compare,
    nodes.BinExpr,
    nodes.UnaryExpr,
    nodes.CondExpr,
    nodes.Assign,
    nodes.Filter,
    nodes.Test,
    nodes.Concat,
)
TEMPLATES = sorted(path.relative_to(templates_folder()).as_posix() for path in templates_folder().rglob("*.jinja"))


def logic(source: str) -> list[str]:
    """Every node of a template that decides something, as `line: kind`."""
    tree = jinja2.Environment().parse(source)
    macros = {macro.name for macro in tree.find_all(nodes.Macro)}
    calls = (call for call in tree.find_all(nodes.Call) if getattr(call.node, "name", None) not in macros)
    return [f"{node.lineno}: {type(node).__name__}" for node in [*tree.find_all(FORBIDDEN), *calls]]


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_decides_nothing(template: str) -> None:
    loader = environment().loader
    assert loader is not None
    source, _, _ = loader.get_source(environment(), template)
    assert not logic(source)


@pytest.mark.parametrize(
    "source",
    ["{% if a == 1 %}x{% endif %}", "{{ a | upper }}", "{{ a.b() }}", "{% set a = 1 %}", "{{ a if b else c }}"],
)
def test_logic_is_found(source: str) -> None:
    assert logic(source)


def test_both_frameworks_have_the_same_files() -> None:
    torch, flax = ({path.name for path in Path(templates_folder(), name).glob("*.jinja")} for name in ("torch", "flax"))
    assert torch == flax
