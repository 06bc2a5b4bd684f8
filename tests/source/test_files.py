"""Files are found without importing anything, and cut into statements exactly as Python's parser would."""

from __future__ import annotations

import ast
import sys

import pytest

from codegen.diagnostics import CompileError
from codegen.source.files import Library, SourceFile, find_library

MODULES = (
    "modeling_utils",
    "configuration_utils",
    "activations",
    "modeling_rope_utils",
    "cache_utils",
    "pytorch_utils",
)


@pytest.mark.parametrize("name", MODULES)
def test_pieces_are_what_the_whole_file_parses_to(name: str) -> None:
    file = find_library().module(f"transformers.{name}")
    assert file is not None
    pieces = [statement for chunk in file.chunks() for statement in chunk.statements()]
    whole = ast.parse(file.text).body
    assert [ast.dump(s, include_attributes=True) for s in pieces] == [
        ast.dump(s, include_attributes=True) for s in whole
    ]


def test_the_library_is_not_imported() -> None:
    before = "transformers" in sys.modules
    assert find_library().module("transformers.models.auto.modeling_auto") is not None
    assert ("transformers" in sys.modules) is before


def test_repository_files_are_modules_of_their_own() -> None:
    library = Library(find_library().root, {"modeling_x.py": "a = 1", "sub/y.py": "b = 2"})
    assert library.module("repository.modeling_x") is not None
    assert library.module("repository.sub.y") is not None
    assert library.module("repository.missing") is None


TRICKY = '''
"""Doc
class NotOne(
string"""
X = """
def f(): pass
"""
@decorator(
    1
)
class A:
    """x
y"""
    def f(self): return 1
if X:
    a = 1
else:
    a = 2
try:
    pass
except ValueError:
    pass
finally:
    b = (
1,
)
'''


def test_statements_that_look_like_several() -> None:
    file = SourceFile("m", "", "m.py", TRICKY.replace("1,\n)", " 1,\n)"))
    pieces = [statement for chunk in file.chunks() for statement in chunk.statements()]
    assert [ast.dump(s, include_attributes=True) for s in pieces] == [
        ast.dump(s, include_attributes=True) for s in ast.parse(file.text).body
    ]


def test_a_bracket_that_goes_on_in_the_first_column() -> None:
    file = SourceFile("m", "", "m.py", TRICKY)
    pieces = [statement for chunk in file.chunks() for statement in chunk.statements()]
    assert len(pieces) == len(ast.parse(TRICKY).body)


def test_an_error_has_its_line() -> None:
    file = SourceFile("m", "", "m.py", "a = 1\n\nb = = 2\n")
    with pytest.raises(CompileError) as error:
        [chunk.statements() for chunk in file.chunks()]
    (found,) = error.value.diagnostics
    assert found.primary is not None and (found.primary.span.file, found.primary.span.line) == ("m.py", 3)
