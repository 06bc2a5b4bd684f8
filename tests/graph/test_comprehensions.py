"""Working each thing out once gives what every turn would have given, and asks the same."""

from __future__ import annotations

from typing import Any

import pytest

from codegen.graph import comprehensions
from codegen.graph.interpreter import Interpreter
from codegen.graph.values import Scalar
from codegen.source.files import Library, find_library
from ir.expressions import Raw

ROOT = find_library().root
ELEMENTS = (
    "'a' if flag and i > 1 else 'b'",
    "'a' if not flag else 'b'",
    "'a' if other and i > 1 else 'b'",
    "names.get(i, i)",
    "flag",
    "i",
    "i % 2 == 0",
    "[flag]",
    "size // (i + 1)",
    "str(i)",
)
ITEMS = ("range(n)", "range(1, n, 2)", "['x', 'y', 'x', 'x']", "[1, True, 1, 1.0, None]", "[]", "given")


def asked(element: str, items: str) -> tuple[Any, ...]:
    """What a comprehension gives, and what it asked of the configuration."""
    source = (
        f"names = {{'x': 'z', 1: 'one'}}\ndef f(n, size, flag, other, given):\n  return [{element} for i in {items}]"
    )
    interpreter = Interpreter(Library(ROOT, {"m.py": source}))
    values = {"n": 4, "size": 12, "flag": False, "other": True}
    given = [Scalar("x", Raw(("given", 0))), Scalar("x", Raw(("given", 1))), "x"]
    arguments = [Scalar(value, Raw((name,))) for name, value in values.items()]
    try:
        made = interpreter.call(interpreter.find("repository.m.f"), [*arguments, given], {})
    except Exception as error:
        made = type(error)
    return made, [(p.kind, p.expr, repr(p.value)) for p in interpreter.predicates]


@pytest.mark.parametrize("items", ITEMS)
@pytest.mark.parametrize("element", ELEMENTS)
def test_as_if_every_turn_were_run(element: str, items: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = asked(element, items)
    monkeypatch.setattr(comprehensions, "reads_alone", lambda node: False)
    assert repr(quick) == repr(asked(element, items))


def test_what_may_change_something_is_run_every_turn() -> None:
    source = "def f():\n  seen = [1, 2, 3]\n  return [seen.pop() for i in ['x', 'x', 'x']]"
    interpreter = Interpreter(Library(ROOT, {"m.py": source}))
    assert interpreter.call(interpreter.find("repository.m.f"), [], {}) == [3, 2, 1]
