"""Edited definitions stay, everything else is emitted again."""

from __future__ import annotations

import pytest

from codegen.render.definitions import definitions
from codegen.render.merge import Merged, merge

BASE = '''# header
"""Docs."""

import math
from os import path

A = 1


def f(x):
    # why
    return x + A


@decorated
class C(Base):
    size: int = 1

    def m(self):
        return 1

    def n(self):
        return 2


def g(x):
    return x
'''


def run(edited: str, emitted: str = BASE) -> Merged:
    return merge(edited, emitted, definitions(BASE))


def test_keys() -> None:
    assert list(definitions(BASE)) == [
        "docstring",
        "import math",
        "from os import path",
        "A",
        "f",
        "C",
        "C.size",
        "C.m",
        "C.n",
        "g",
    ]


def test_no_edit() -> None:
    new = BASE.replace("return 2", "return 3")
    assert run(BASE, new) == Merged(new, (), ())


EDITS = {
    "constant": ("A = 1", "A = 2", "A"),
    "body": ("return x + A", "return x - A", "f"),
    "comment": ("# why", "# because", "f"),
    "method": ("return 1", "return 10", "C.m"),
    "bases": ("C(Base)", "C(Other)", "C"),
    "decorator": ("@decorated", "@other", "C"),
    "attribute": ("size: int = 1", "size: int = 8", "C.size"),
    "docstring": ("Docs.", "Mine.", "docstring"),
}


@pytest.mark.parametrize("name", EDITS)
def test_edit_stays_while_the_rest_is_emitted_again(name: str) -> None:
    old, new, key = EDITS[name]
    emitted = BASE.replace("return 2", "return 3").replace("return x\n", "return -x\n")
    assert run(BASE.replace(old, new), emitted) == Merged(emitted.replace(old, new), (key,), ())


def test_conflict() -> None:
    merged = run(BASE.replace("return 1", "return 10"), BASE.replace("return 1", "return 11"))
    assert merged == Merged(BASE.replace("return 1", "return 10"), ("C.m",), ("C.m",))


def test_same_change_on_both_sides_is_no_conflict() -> None:
    new = BASE.replace("return 1", "return 11")
    assert run(new, new).conflicts == ()


def test_added_definitions_follow_what_they_followed() -> None:
    edited = BASE.replace("def g", "def mine(x):\n    return 0\n\n\ndef g").replace(
        "import math\n", "import math\nimport sys\n"
    )
    edited = edited.replace("    def n(self)", "    def mine(self):\n        return 0\n\n    def n(self)")
    assert run(edited).text == edited
    assert run(edited).kept == ("import sys", "C.mine", "mine")


def test_added_at_the_end_and_the_start() -> None:
    assert run(BASE + "\n\ndef last():\n    pass\n").text == BASE + "\n\ndef last():\n    pass\n"
    edited = BASE.replace("import math", "import abc\nimport math")
    assert run(edited).text == edited


def test_deleted_definitions_stay_deleted() -> None:
    edited = BASE.replace("    def m(self):\n        return 1\n\n", "")
    merged = run(edited, BASE.replace("return 1", "return 11"))
    assert "def m" not in merged.text
    assert (merged.kept, merged.conflicts) == (("C.m",), ("C.m",))


def test_edited_definition_that_is_emitted_no_more() -> None:
    edited = BASE.replace("return x\n", "return -x\n")
    merged = run(edited, BASE[: BASE.index("\n\ndef g")])
    assert merged.text.rstrip() == edited.rstrip()
    assert merged.conflicts == ("g",)


def test_added_on_both_sides() -> None:
    merged = run(BASE + "\n\ndef h():\n    return 1\n", BASE + "\n\ndef h():\n    return 2\n")
    assert merged.text.endswith("return 1\n") and merged.conflicts == ("h",)
