"""Every code that the compiler can say has a section in docs/diagnostics.md, and every section a code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CODE = re.compile(r"[a-z]+(-[a-z]+)+|unsupported")
SAYING = {"Diagnostic", "fail", "unsupported", "refuse", "parse_object", "_json", "not_available"}


def constants(tree: ast.AST) -> Iterator[str]:
    """Strings that look like a code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value):
            yield node.value


def codes() -> tuple[set[str], set[str]]:
    """Codes that are said for certain, and every string that could be one."""
    said, seen = set(), set()
    for path in (ROOT / "codegen").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        seen |= set(constants(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if name in SAYING:
                    given = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "code")]
                    said |= {
                        code for argument in given if isinstance(argument, ast.Constant) for code in constants(argument)
                    }
    return said, seen


def sections() -> list[str]:
    text = (ROOT / "docs" / "diagnostics.md").read_text(encoding="utf-8")
    return re.findall(r"^### (\S+)$", text, re.MULTILINE)


def test_every_code_is_documented_once() -> None:
    said, _ = codes()
    assert sorted(said - set(sections())) == []
    assert len(sections()) == len(set(sections()))


def test_every_section_is_about_a_code() -> None:
    _, seen = codes()
    assert sorted(set(sections()) - seen) == []
