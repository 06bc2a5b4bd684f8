"""Templates hold text, loops over what the view has, plain flags, inclusions and macros. Every choice is made before."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest
from jinja2 import nodes

from codegen.render.templates import environment, fill, templates_folder

LOGIC = (
    nodes.Compare,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.BinExpr,
    nodes.UnaryExpr,
    nodes.CondExpr,
    nodes.Concat,
    nodes.Assign,
    nodes.AssignBlock,
    nodes.Filter,
    nodes.FilterBlock,
    nodes.Test,
    nodes.Getitem,
)


def logic(text: str) -> list[str]:
    """`line: kind` of everything in a template that decides or computes something."""
    tree = environment().parse(text)
    macros = {node.name for node in tree.find_all(nodes.Macro)}
    for node in tree.find_all(nodes.FromImport):
        macros |= {name if isinstance(name, str) else name[1] for name in node.names}
    for node in tree.find_all(nodes.Import):
        macros.add(node.target)
    found = [f"{node.lineno}: {type(node).__name__}" for node in tree.find_all(LOGIC)]
    for call in tree.find_all(nodes.Call):
        called = call.node.node if isinstance(call.node, nodes.Getattr) else call.node
        if not (isinstance(called, nodes.Name) and called.name in macros):
            found.append(f"{call.lineno}: Call")
    for branch in tree.find_all(nodes.If):
        if not isinstance(branch.test, (nodes.Getattr, nodes.Name)):
            found.append(f"{branch.lineno}: If on {type(branch.test).__name__}")
    return found


TEMPLATES = sorted(templates_folder().rglob("*.jinja"))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.relative_to(templates_folder()).as_posix())
def test_template_without_logic(path: Path) -> None:
    assert logic(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    (
        "{% if view.kind == 'a' %}x{% endif %}",
        "{% if view.a and view.b %}x{% endif %}",
        "{% if not view.a %}x{% endif %}",
        "{{ view.n + 1 }}",
        "{{ -view.n }}",
        "{{ view.name | upper }}",
        "{{ view.name.upper() }}",
        "{{ 'a' if view.flag else 'b' }}",
        "{% set x = view.a %}",
        "{% if view.a is none %}x{% endif %}",
        "{{ view.names[0] }}",
    ),
)
def test_the_check_finds_logic(text: str) -> None:
    assert logic(text)


def test_what_a_template_may_do() -> None:
    text = "{% macro row(x) %}{{ x.name }}{% endmacro %}{% for x in view.rows %}{% if x.flag %}{{ row(x) }}{% endif %}{% endfor %}"
    assert logic(text) == []


def test_name_that_the_view_lacks_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        environment().from_string("{{ view.absent }}").render(view=object())


def test_absent_template_is_an_error() -> None:
    with pytest.raises(jinja2.TemplateNotFound):
        fill("absent.jinja", object())
