"""What importing a file of a repository does beyond defining names is done, in its order, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from codegen.graph.interpreter import Interpreter, Unsupported
from codegen.graph.objects import Class
from codegen.source.files import find_library


def resolved(name: str, **files: str) -> Any:
    """The value of a name of the file `main`."""
    interpreter = Interpreter(find_library({f"{file}.py": text for file, text in files.items()}))
    namespace = interpreter.module("repository.main")
    assert namespace is not None
    return namespace.resolve(interpreter, name)


REGISTER = """
TABLE = {}

def register(*names):
    def wrap(cls):
        for name in names:
            TABLE[name] = cls
        return cls
    return wrap
"""

TABLES = {
    "decorated classes": REGISTER + "@register('a', 'b')\nclass A: pass\n@register('c')\nclass B: pass\n",
    "decorated functions": REGISTER + "@register('a')\ndef f(): pass\n@register('b', 'c')\ndef g(): pass\n",
    "calls": REGISTER + "class A: pass\nregister('a', 'b')(A)\nregister('c')(A)\n",
    "a method of an object": """
class Table(dict):
    def add(self, name):
        def wrap(made):
            self[name] = made
            return made
        return wrap
TABLE = Table()
@TABLE.add("a")
def f(): pass
@TABLE.add("b")
class B: pass
TABLE.add("c")(B)
""",
    "a loop": "TABLE = {}\nfor name in ('a', 'b', 'c'):\n    TABLE[name] = name\n",
    "a loop over two tables": "TABLE, OTHER = {}, []\nfor name in ('a', 'b', 'c'):\n    TABLE[name] = len(OTHER)\n    OTHER.append(name)\n",
    "a branch": "import sys\nTABLE = {'a': 1}\nif TABLE:\n    for name in 'bc':\n        TABLE[name] = 2\nelse:\n    TABLE['d'] = 3\n",
    "an attempt": "TABLE = {'a': 1}\ntry:\n    import nowhere_at_all\n    TABLE['d'] = 1\nexcept ImportError:\n    TABLE['b'] = TABLE['c'] = 2\n",
}


@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES)
def test_a_table_that_statements_fill_has_what_they_put_in(text: str) -> None:
    table = resolved("TABLE", main=text)
    assert list(getattr(table, "payload", None) or table) == ["a", "b", "c"]


def test_a_loop_runs_once_for_all_that_it_changes() -> None:
    text = "A, B = [], []\nfor name in ('a', 'b'):\n    A.append(name)\n    B.append(len(A))\nC = A + B\n"
    assert resolved("C", main=text) == ["a", "b", 1, 2]


def test_a_table_of_another_file_is_filled() -> None:
    user = "from .tables import TABLE, register\n@register('a')\nclass A: pass\n"
    main = "from .tables import TABLE\nfrom . import user\nNAMES = list(TABLE)\n"
    assert resolved("NAMES", tables=REGISTER, user=user, main=main) == ["a"]


def test_a_module_tells_the_class_it_is_derived_from() -> None:
    text = """
from torch import nn
class Mixer(nn.Module):
    known = {}
    def __init_subclass__(cls, name, **kwargs):
        Mixer.known[name] = cls
class A(Mixer, name="a"): pass
class B(Mixer, name="b"): pass
KNOWN = list(Mixer.known)
"""
    assert resolved("KNOWN", main=text) == ["a", "b"]


def test_a_method_that_is_replaced_is_the_other_one() -> None:
    text = "class A:\n    def f(self): return 1\ndef g(self): return 2\nA.f = g\nsetattr(A, 'h', g)\n"
    made = resolved("A", main=text)
    assert isinstance(made, Class)
    assert resolved("X", main=text + "X = A().f() + A().h()\n") == 4


REPLACED = {
    "a function of torch": "import torch.nn.functional as F\ndef mine(x): return x\nF.silu = mine\n",
    "by setattr": "import torch\ndef mine(x): return x\nsetattr(torch.nn.functional, 'silu', mine)\n",
    "by a longer path": "import torch\ndef mine(x): return x\ntorch.nn.functional.silu = mine\n",
    "a method of a layer": "from torch import nn\ndef mine(self, x): return x\nnn.Linear.forward = mine\n",
}


@pytest.mark.parametrize("text", REPLACED.values(), ids=REPLACED)
def test_what_is_replaced_in_torch_is_refused(text: str) -> None:
    with pytest.raises(Unsupported, match="replaced for all models"):
        resolved("mine", main=text)


def test_a_function_of_the_library_that_is_replaced_is_the_other_one() -> None:
    text = """
import transformers.models.llama.modeling_llama as original
from transformers.models.llama.modeling_llama import rotate_half
def mine(x): return 7
original.rotate_half = mine
X = original.rotate_half(0)
"""
    assert resolved("X", main=text) == 7


def test_switches_and_what_only_runs_as_a_program_are_left_alone() -> None:
    text = """
import os, warnings, torch
torch.backends.cuda.matmul.allow_tf32 = True
os.environ["TOKENIZERS_PARALLELISM"] = "false"
warnings.filterwarnings("ignore")
X = 1
if __name__ == "__main__":
    X.undefined()
"""
    assert resolved("X", main=text) == 1
