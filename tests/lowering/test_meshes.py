"""What splits an axis follows from where it stands between others, whatever its size is called."""

from __future__ import annotations

import pytest

from codegen.lowering.axes import Axis
from codegen.lowering.meshes import head_counts, mesh_axes
from ir.arch import Attention
from ir.expressions import Apply, Const, Dim, Expr, Key
from ir.graph import DType, Raised, Region, Value

WIDTH, WORDS, WITHIN, HEADS, SIZE, RANK = (Key((name,)) for name in ("a", "b", "c", "d", "e", "f"))
EMBEDDING = ("", "VD")


def axes(**sizes: Expr) -> list[Axis]:
    return [Axis(letter, size) for letter, size in {"D": WIDTH, "V": WORDS, **sizes}.items()]


@pytest.mark.parametrize("up, down", [("XD", "DX"), ("DX", "XD")], ids=["out first", "in first"])
def test_what_leads_in_and_out_of_the_width_is_split(up: str, down: str) -> None:
    held = [EMBEDDING, ("layers.{}", up), ("layers.{}", down)]
    assert mesh_axes(axes(X=WITHIN), held, WORDS, frozenset()) == {"V": "tp", "X": "tp", "D": "fsdp"}


def test_gates_in_one_matrix_with_what_they_gate_are_split_like_it() -> None:
    held = [EMBEDDING, ("mlp", "GD"), ("mlp", "DX")]
    sizes = axes(X=WITHIN, G=Apply("*", (Const(2), WITHIN)))
    assert mesh_axes(sizes, held, WORDS, frozenset()) == {"V": "tp", "X": "tp", "G": "tp", "D": "fsdp"}


def test_a_rank_between_the_width_and_the_heads_is_not_split() -> None:
    held = [EMBEDDING, ("attention", "RD"), ("attention", "QR")]
    sizes = axes(R=RANK, Q=Apply("*", (HEADS, SIZE)))
    assert mesh_axes(sizes, held, WORDS, frozenset({HEADS})) == {"V": "tp", "Q": "tp", "D": "fsdp"}


def test_experts_are_split_on_an_axis_that_every_mesh_has() -> None:
    held = [EMBEDDING, ("mlp.experts", "EXD"), ("mlp.experts", "EDX")]
    assert mesh_axes(axes(E=RANK, X=WITHIN), held, WORDS, frozenset())["E"] == "tp"


def test_a_kernel_of_a_convolution_has_no_experts() -> None:
    assert "C" not in mesh_axes(axes(C=WITHIN, J=RANK), [EMBEDDING, ("conv", "C1J")], WORDS, frozenset())


def test_heads_are_those_of_attention() -> None:
    found = Apply("//", (Apply("*", (Dim("T"), Apply("*", (HEADS, SIZE)))), Apply("*", (Dim("T"), SIZE))))
    q = Value(0, (Dim("B"), found, Dim("T"), SIZE), DType.MODEL)
    k = Value(1, (Dim("B"), RANK, Dim("S"), SIZE), DType.MODEL)
    out = Value(2, q.shape, DType.MODEL)
    region = Region("f", (q, k), (Raised(Attention(), (q, k, k), (out,)),), (out,))
    assert head_counts([region]) == {HEADS, RANK}
