"""The idiom of printed operations: what a reader sees."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from codegen.lowering import flax_spellings, torch_spellings
from codegen.lowering.syntax import DTypeOfRendered, Unspellable
from ir.graph import DType, Ellipsis_, SliceOf
from ir.ops import OPS


def e(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


x, y, w, b = (e(name) for name in "xywb")
whole = SliceOf(None, None, None)

IDIOMS: list[tuple[str, tuple[Any, ...], str, str]] = [
    ("add", (x, 1), "x + 1", "x + 1"),
    ("mul", (e("a + b"), e("c")), "(a + b) * c", "(a + b) * c"),
    ("pow", (e("-x"), 2), "(-x) ** 2", "(-x) ** 2"),
    ("pow", (-2.0, x), "(-2.0) ** x", "(-2.0) ** x"),
    ("neg", (e("a ** b"),), "-a ** b", "-a ** b"),
    ("matmul", (x, e("y.mT")), "x @ y.mT", "x @ y.mT"),
    ("linear", (x, w, None), "F.linear(x, w)", "jnp.einsum('...i,oi->...o', x, w)"),
    ("linear", (x, w, b), "F.linear(x, w, b)", "jnp.einsum('...i,oi->...o', x, w) + b"),
    ("cast", (x, DType.FLOAT32), "x.float()", "x.astype(jnp.float32)"),
    ("cast", (e("a + b"), DTypeOfRendered(x)), "(a + b).to(x.dtype)", "(a + b).astype(x.dtype)"),
    ("transpose", (x, 1, 2), "x.transpose(1, 2)", "x.swapaxes(1, 2)"),
    ("reshape", (x, (e("B"), e("T"), -1)), "x.reshape(B, T, -1)", "x.reshape(B, T, -1)"),
    ("unsqueeze", (x, 1), "x[:, None]", "x[:, None]"),
    ("unsqueeze", (e("x[:, None]"), -1), "x[:, None, ..., None]", "x[:, None, ..., None]"),
    ("unsqueeze", (e("x[0]"), 0), "x[0][None]", "x[0][None]"),
    ("getitem", (x, (Ellipsis_(), SliceOf(None, e("n // 2"), None))), "x[..., :n // 2]", "x[..., :n // 2]"),
    ("getitem", (x, (whole, -1)), "x[:, -1]", "x[:, -1]"),
    (
        "softmax",
        (x, -1, DType.FLOAT32),
        "F.softmax(x, dim=-1, dtype=torch.float32)",
        "jax.nn.softmax(x.astype(jnp.float32), axis=-1)",
    ),
    ("gelu", (x, "tanh"), "F.gelu(x, approximate='tanh')", "jax.nn.gelu(x, approximate=True)"),
    ("gelu", (x, "none"), "F.gelu(x)", "jax.nn.gelu(x, approximate=False)"),
    (
        "mean",
        (e("x ** 2"), -1, True, None),
        "(x ** 2).mean(dim=-1, keepdim=True)",
        "(x ** 2).mean(axis=-1, keepdims=True)",
    ),
    ("sum", (x, None, False, None), "x.sum()", "x.sum()"),
    ("cat", ((x, y), -1), "torch.cat((x, y), dim=-1)", "jnp.concatenate((x, y), axis=-1)"),
    ("split", (x, (e("d"), e("d")), -1), "x.chunk(2, dim=-1)", "jnp.split(x, 2, axis=-1)"),
    ("split", (x, (2, 3, e("d")), -1), "x.split((2, 3, d), dim=-1)", "jnp.split(x, (2, 5), axis=-1)"),
    ("setitem", (x, (0,), y), "", "x.at[0].set(y)"),
    (
        "pad",
        (x, ((0, 0), (0, 0), (e("k - 1"), 0)), "constant", 0),
        "F.pad(x, (k - 1, 0))",
        "pad(x, ((0, 0), (0, 0), (k - 1, 0)))",
    ),
    ("masked_fill", (x, y, float("-inf")), "x.masked_fill(y, float('-inf'))", "jnp.where(y, float('-inf'), x)"),
    ("topk", (x, 4, -1, True, False), "x.topk(4, sorted=False)", "jax.lax.top_k(x, 4)"),
    ("arange", (0, e("T"), 1, None), "torch.arange(T)", "jnp.arange(T)"),
    ("index_add", (x, 0, e("i"), y), "x.index_add(0, i, y)", "x.at[i].add(y)"),
    ("finfo_min", (DTypeOfRendered(x),), "torch.finfo(x.dtype).min", "jnp.finfo(x.dtype).min"),
]


@pytest.mark.parametrize(
    ("op", "args", "torch_text", "flax_text"), IDIOMS, ids=[f"{i[0]}-{n}" for n, i in enumerate(IDIOMS)]
)
def test_idiom(op: str, args: tuple[Any, ...], torch_text: str, flax_text: str) -> None:
    if torch_text:
        assert text(torch_spellings.spell(op, args)) == torch_text
    assert text(flax_spellings.spell(op, args)) == flax_text


def text(node: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(node))


def test_every_operation_has_a_spelling() -> None:
    for table in (torch_spellings.SPELLINGS, flax_spellings.SPELLINGS):
        assert table.templates.keys() | table.functions.keys() == OPS.keys()
        assert not table.templates.keys() & table.functions.keys()


def test_a_write_is_a_statement_in_torch() -> None:
    with pytest.raises(Unspellable):
        torch_spellings.spell("setitem", (x, (0,), y))
    kept = torch_spellings.assign("setitem", (x, (0,), y), "z", fresh=False)
    assert kept is not None and [text(s) for s in kept] == ["z = x.clone()", "z[0] = y"]
    spent = torch_spellings.assign("setitem", (x, (0,), y), "x", fresh=True)
    assert spent is not None and [text(s) for s in spent] == ["x[0] = y"]


def test_the_type_of_the_model_needs_a_value_that_has_it() -> None:
    for table in (torch_spellings, flax_spellings):
        with pytest.raises(Unspellable):
            table.spell("cast", (x, DType.MODEL))


def test_where_new_tensors_go() -> None:
    made = torch_spellings.spell("arange", (0, e("T"), 1, None), device=e("x.device"))
    assert text(made) == "torch.arange(T, device=x.device)"


def test_parameters_that_are_mentioned_twice_are_named() -> None:
    """What a spelling repeats has to be a name, and the table says so."""
    for table in (torch_spellings, flax_spellings):
        for op, source in table.SPELLINGS.templates.items():
            names = [n.id for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Name)]
            repeated = {p.name for p in OPS[op].params if p.tensor and names.count(p.name) > 1}
            assert repeated <= set(table.REPEATS.get(op, ())), op


def test_helpers_are_named_as_they_are_called() -> None:
    for name, source in flax_spellings.HELPERS.items():
        (function,) = ast.parse(source).body
        assert isinstance(function, ast.FunctionDef) and function.name == name
    assert flax_spellings.helpers(flax_spellings.spell("pad", (x, ((e("n"), 0),), "constant", 0))) == {"pad"}
