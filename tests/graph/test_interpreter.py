"""The language that models are written in."""

from __future__ import annotations

from typing import Any

import pytest

from codegen.diagnostics import CompileError
from codegen.graph import operators
from codegen.graph.interpreter import Interpreter, Raised, Unsupported
from codegen.graph.objects import SList
from codegen.graph.predicates import Kind
from codegen.graph.values import Scalar
from codegen.source.files import Library, find_library
from ir.expressions import Apply, Const, Environment, Index, Key, evaluate

ROOT = find_library().root


def interpreter(source: str, **files: str) -> Interpreter:
    texts = {"m.py": source, **{f"{name}.py": text for name, text in files.items()}}
    return Interpreter(Library(ROOT, texts))


def run(source: str, *args: Any, **files: str) -> Any:
    """The result of `f` in a file, as plain values."""
    made = interpreter(source, **files)
    return operators.plain(made.call(made.find("repository.m.f"), list(args), {}))


PROGRAMS: dict[str, tuple[str, Any]] = {
    "star arguments": (
        "def g(a, *b, c=3, **d): return a, b, c, d\ndef f(): return g(1, *[2, 3], c=4, **{'e': 5})",
        (1, (2, 3), 4, {"e": 5}),
    ),
    "defaults are evaluated once": (
        "def g(x, seen=[]):\n  seen.append(x)\n  return seen\ndef f():\n  g(1)\n  return g(2)",
        [1, 2],
    ),
    "closures": ("def f():\n  n = 1\n  def g():\n    nonlocal n\n    n += 1\n    return n\n  g()\n  return g()", 3),
    "walrus in a comprehension": ("def f():\n  [y := x for x in range(3)]\n  return y", 2),
    "unpacking with a star": ("def f():\n  a, *b, c = range(5)\n  return a, b, c", (0, [1, 2, 3], 4)),
    "for else": ("def f():\n  for i in range(3):\n    if i == 5: break\n  else:\n    return 'none'", "none"),
    "while": (
        "def f():\n  n = 0\n  while True:\n    n += 1\n    if n % 2: continue\n    if n > 5: break\n  return n",
        6,
    ),
    "try": (
        "def f():\n  try:\n    return {}['x']\n  except (ValueError, KeyError) as e:\n    return str(e)\n  finally:\n    pass",
        "'x'",
    ),
    "reraise": (
        "def g():\n  try: raise ValueError('a')\n  except ValueError: raise\ndef f():\n  try: g()\n  except Exception as e: return type(e).__name__",
        "ValueError",
    ),
    "generators": (
        "def g(n):\n  for i in range(n): yield i\n  yield from [7, 8]\ndef f(): return list(g(2))",
        [0, 1, 7, 8],
    ),
    "dict comprehension": ("def f(): return {k: v for k, v in zip('ab', [1, 2]) if v > 1}", {"b": 2}),
    "conditional chain": ("def f(): return 1 < 2 < 3, 1 < 3 < 2, not [] and 'x' or 'y'", (True, False, "x")),
    "lambda and sorted": (
        "def f(): return sorted(['bb', 'a'], key=lambda s: len(s)), max([3, 1]), sum(x for x in (1, 2))",
        (["a", "bb"], 3, 3),
    ),
    "text": (
        "def f():\n  n = 3\n  return f'{n:02d}-{n!r}-{{}}', 'a,b'.split(','), '-'.join(['x', 'y']), '%s' % 4",
        ("03-3-{}", ["a", "b"], "x-y", "4"),
    ),
    "slices": (
        "def f():\n  x = [0, 1, 2, 3]\n  x[1:3] = [9]\n  del x[0]\n  return x, x[::-1], (1, 2)[-1]",
        ([9, 3], [3, 9], 2),
    ),
    "sets keep their order": (
        "def f(): return list({'c', 'a', 'b'}), list(set('zyx') | {'w'})",
        (["c", "a", "b"], ["z", "y", "x", "w"]),
    ),
    "classes": (
        "class A:\n  k = 1\n  def __init__(self, x): self.x = x\n  def who(self): return 'A', self.x\n"
        "class B(A):\n  def __init__(self, x):\n    super().__init__(x + 1)\n  def who(self): return 'B', *super().who()\n"
        "  @property\n  def twice(self): return self.x * 2\n  @twice.setter\n  def twice(self, v): self.x = v // 2\n"
        "  @classmethod\n  def make(cls): return cls(1)\n  @staticmethod\n  def s(): return cls_name\ncls_name = 'm'\n"
        "def f():\n  b = B.make()\n  b.twice = 10\n  return b.who(), b.twice, B.s(), isinstance(b, A), B.k, type(b).__name__",
        (("B", "A", 5), 10, "m", True, 1, "B"),
    ),
    "diamonds": (
        "class A:\n  def n(self): return ['A']\nclass B(A):\n  def n(self): return ['B'] + super().n()\n"
        "class C(A):\n  def n(self): return ['C'] + super().n()\nclass D(B, C):\n  pass\ndef f(): return D().n(), D.__mro__[1].__name__",
        (["B", "C", "A"], "B"),
    ),
    "operators of a class": (
        "class V:\n  def __init__(self, x): self.x = x\n  def __add__(self, o): return V(self.x + o)\n  def __getitem__(self, i): return i\n"
        "  def __len__(self): return 0\n  def __call__(self, y): return y\ndef f():\n  v = V(1) + 2\n  return v.x, v[3], bool(v), v(4)",
        (3, 3, False, 4),
    ),
    "descriptors": (
        "class P:\n  def __get__(self, obj, cls): return 5\nclass A:\n  p = P()\ndef f(): return A().p",
        5,
    ),
    "dict subclass": (
        "from collections import OrderedDict\nclass D(OrderedDict):\n  def __getitem__(self, k): return super().__getitem__(k) + 1\n"
        "def f():\n  d = D({'a': 1})\n  return d['a'], 'a' in d, len(d), list(d.items())",
        (2, True, 1, [("a", 1)]),
    ),
    "enumerations": (
        "from enum import Enum\nclass E(str, Enum):\n  A = 'a'\n  B = 'b'\ndef f(): return E.A == 'a', E('b').name, [m.value for m in E]",
        (True, "B", ["a", "b"]),
    ),
    "dataclasses": (
        "from dataclasses import dataclass, field\n@dataclass\nclass A:\n  x: int\n  y: list = field(default_factory=list)\n"
        "  def __post_init__(self): self.z = self.x + 1\n@dataclass\nclass B(A):\n  w: int = 3\ndef f():\n  b = B(1, w=4)\n  return b.x, b.y, b.w, b.z",
        (1, [], 4, 2),
    ),
    "a name rebound from itself": (
        "X = {'a': 1}\nX.update(b=2)\nX = dict(**{'c': 3}, **X)\nX['d'] = 4\ndef f(): return X",
        {"c": 3, "a": 1, "b": 2, "d": 4},
    ),
    "module level conditions": (
        "import os\nif os.environ.get('x'):\n  a = 1\nelse:\n  a = 2\ntry:\n  import flash_attn\nexcept ImportError:\n  flash_attn = None\ndef f(): return a, flash_attn",
        (2, None),
    ),
    "functools and itertools": (
        "import functools, itertools, copy, math\ndef g(a, b): return a - b\ndef f(): return functools.partial(g, 5)(2), list(itertools.chain([1], [2])), "
        "copy.deepcopy([[1]]), math.ceil(1.5), math.pi > 3",
        (3, [1, 2], [[1]], 2, True),
    ),
    "context managers": (
        "class C:\n  def __enter__(self): return 4\n  def __exit__(self, *a): return True\ndef f():\n  with C() as c:\n    raise ValueError\n  return c",
        4,
    ),
    "getattr": (
        "class A:\n  def __getattr__(self, n): return n\ndef f(): return getattr(A(), 'x'), hasattr(1, 'y'), getattr(1, 'z', 2)",
        ("x", False, 2),
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str) -> None:
    source, expected = PROGRAMS[name]
    namespace: dict[str, Any] = {}
    exec(compile(source, "m", "exec"), namespace)
    if "order" not in name:
        assert namespace["f"]() == expected
    assert run(source) == expected


def test_files_import_each_other() -> None:
    assert run(
        "from .other import g as h\nfrom . import other\ndef f(): return h(), other.K",
        other="K = 1\ndef g(): return K + 1",
    ) == (2, 1)


def test_a_scalar_keeps_its_expression() -> None:
    made = interpreter("def f(n):\n  m = n * 2 + 1\n  return max(m, 3), f'{n}'")
    n = Scalar(4, Key(("n",)))
    largest, text = made.call(made.find("repository.m.f"), [n], {})
    assert largest == Scalar(9, Apply("max", (Apply("+", (Apply("*", (n.expr, Const(2))), Const(1))), Const(3))))
    assert text == Scalar("4", Apply("str", (n.expr,)))
    assert len(made.predicates) == 0


def test_branches_are_noted_by_kind() -> None:
    made = interpreter(
        "T = {'a': 1}\n"
        "def f(n, kinds, name):\n"
        "  if n < 0:\n    raise ValueError\n"
        "  x = [k == 'b' and 1 for k in kinds]\n"
        "  for i in range(n):\n    x.append(kinds[i] == 'b' or 0)\n"
        "  return T[name], 'b' in kinds, len(kinds) if n else 0"
    )
    kinds = SList([Scalar(k, Key(("kinds", i))) for i, k in enumerate("ab")], Key(("kinds",)))
    made.call(made.find("repository.m.f"), [Scalar(2, Key(("n",))), kinds, Scalar("a", Key(("name",)))], {})
    found = {(p.kind, p.expr) for p in made.predicates}
    kind_of_layer = Apply("==", (Apply("getitem", (Key(("kinds",)), Index("layer"))), Const("b")))
    assert (Kind.GUARD, Apply("<", (Key(("n",)), Const(0)))) in found
    assert (Kind.COUNT, Key(("n",))) in found
    assert (Kind.COUNT, Apply("len", (Key(("kinds",)),))) in found
    assert (Kind.LAYER, kind_of_layer) in found
    assert (Kind.KEY, Key(("name",))) in found


def test_an_exception_of_the_program_is_its_own() -> None:
    made = interpreter("def f(): return {}['x']")
    with pytest.raises(Raised) as error:
        made.call(made.find("repository.m.f"), [], {})
    assert error.value.instance.cls.name == "KeyError"
    assert error.value.where is not None and error.value.where.line == 1


@pytest.mark.parametrize(
    ("source", "code"),
    [
        (
            "import torch\ndef f():\n  try:\n    return torch.no_such_thing(1)\n  except Exception:\n    return 0",
            "unknown-function",
        ),
        ("import torch\n@torch.no_such_decorator\ndef f(): return 1", "unknown-decorator"),
        ("def g():\n  return f()\ndef f():\n  return g()", "depth-limit"),
        ("def f():\n  while True: pass", "step-limit"),
        ("async def f(): pass\ndef f():\n  async def g(): pass", "unsupported"),
    ],
)
def test_what_has_no_meaning_is_an_error_with_its_place(
    source: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codegen.graph.interpreter.MAX_STEPS", 2000)
    from codegen.graph.construction import deep_recursion

    with pytest.raises(Unsupported) as error, deep_recursion():
        run(source)
    (found,) = error.value.diagnostics
    assert found.code == code
    assert found.primary is not None and found.primary.span.file == "m.py"


def test_a_file_that_is_no_python() -> None:
    with pytest.raises(CompileError) as error:
        run("def f(:")
    assert error.value.diagnostics[0].code == "unparsable-source"


def test_modules_keep_their_slots() -> None:
    made = interpreter(
        "import torch\nfrom torch import nn\n"
        "class M(nn.Module):\n"
        "  def __init__(self):\n    super().__init__()\n    self.a = nn.Linear(3, 2, bias=False)\n    self.b = nn.Parameter(torch.ones(2))\n"
        "    self.register_buffer('c', torch.zeros(1), persistent=False)\n    self.d = nn.Buffer(torch.zeros(1))\n    self.b = None\n"
        "    self.c = torch.ones(4)\n    self.l = nn.ModuleList([nn.Identity() for _ in range(2)])\n    del self.a\n    self.a = nn.Linear(3, 5)\n"
        "def f():\n  m = M()\n  return [n for n, _ in m.named_parameters()], [n for n, _ in m.named_buffers()], m.b, len(m.l[:1]), m.c.shape, m.training"
    )
    result = made.call(made.find("repository.m.f"), [], {})
    assert operators.plain(result) == (["a.weight", "a.bias"], ["c", "d"], None, 1, (4,), False)


@pytest.mark.parametrize(
    "body",
    [
        "return list(itertools.count())",
        "return list(range(10**9))",
        "x = [0]\n  for _ in range(60): x = x + x\n  return x",
        "return '%9999999999d' % 1",
        "return 'x'.ljust(10**10)",
        "return f'{1:9999999999}'",
        "return [0] * 10**9",
    ],
)
def test_hostile_programs_end(body: str) -> None:
    with pytest.raises(Unsupported) as error:
        run(f"import itertools\ndef f():\n  {body}")
    assert error.value.diagnostics[0].code == "step-limit"


@pytest.mark.parametrize(
    "body",
    [
        "x = 'ab'\n  for _ in range(60): x = x + x",
        "x = 3\n  for _ in range(60): x = x * x",
        "x = 2 ** 10**9",
        "x = 'a' * 10**9",
    ],
)
def test_numbers_and_texts_stay_of_reasonable_size(body: str) -> None:
    with pytest.raises(Raised) as error:
        run(f"def f():\n  {body}")
    assert error.value.instance.cls.name == "OverflowError"


def test_a_decorator_of_the_repository_is_not_taken_for_a_known_one() -> None:
    assert run("def wrap(g): return lambda: g() + 1\n@wrap\ndef f(): return 1") == 2
    assert run("from .d import cache\n@cache\ndef f(): return 1", d="def cache(g): return lambda: g() + 1") == 2
    assert run("from functools import cache\n@cache\ndef f(): return 1") == 1


def test_elements_of_a_range_follow_from_their_place() -> None:
    made = interpreter("def f(n, step):\n  return list(range(step - 1, n, step))")
    given = {"n": 9, "step": 2}
    args = [Scalar(value, Key((name,))) for name, value in given.items()]
    items = made.call(made.find("repository.m.f"), args, {})
    assert [item.value for item in items] == [1, 3, 5, 7]
    counts = [p.expr for p in made.predicates if p.kind is Kind.COUNT]
    for config in (given, {"n": 14, "step": 3}):
        expected = list(range(config["step"] - 1, config["n"], config["step"]))
        assert [evaluate(counts[0], Environment(config))] == [len(expected)]
        places = [Environment(config, indices={"layer": at}) for at in range(len(expected))]
        assert [evaluate(items[0].expr, place) for place in places] == expected
