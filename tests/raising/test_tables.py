"""Tables of cosines and sines take another form exactly where nothing needs that of the source."""

from __future__ import annotations

import pytest

from codegen.raising.program import raise_program
from ir.arch import MaskForm, Pairing, Rotary, Tables
from ir.expressions import Apply, Const
from ir.graph import Call, Loop, Op, Raised, Region, Value
from tests.raising.builder import B, H, T, decoder

MASK = 4
HALF = Apply("//", (H, Const(2)))


def parts(region: Region) -> tuple[Region, Region]:
    """The rotary module and the attention module of a decoder."""
    rotary = next(n.region for n in region.nodes if isinstance(n, Call))
    loop = next(n for n in region.nodes if isinstance(n, Loop))
    return rotary, next(n.region for n in loop.bodies[0].nodes if isinstance(n, Call))


def test_signs_and_the_axis_of_heads_are_part_of_the_table() -> None:
    program = raise_program(decoder(), (MASK,))
    rotary, attention = parts(program.region)
    assert [n.name for n in rotary.nodes if isinstance(n, Op)] == [
        *("parameter", "getitem", "cast", "mul"),  # angles as a product of vectors
        *("neg", "cat"),
        *("cos", "mul", "cast", "sin", "mul", "cast"),
    ]
    assert [r.shape for r in rotary.results if isinstance(r, Value)] == [(B, Const(1), T, H)] * 2
    turned = [n for n in attention.nodes if isinstance(n, Raised) and isinstance(n.component, Rotary)]
    assert [n.component for n in turned] == [Rotary(tables=Tables.SIGNED)] * 2
    assert [arg.names for arg in turned[0].args[1:] if isinstance(arg, Value)] == [("cos",), ("sin",)]
    assert not any(isinstance(n, Op) and n.name == "unsqueeze" for n in attention.nodes)
    assert program.masks is MaskForm.BOOLEAN


def test_shapes_agree_across_frames() -> None:
    region = raise_program(decoder(), (MASK,)).region
    loop = next(n for n in region.nodes if isinstance(n, Loop))
    cos = next(n for n in region.nodes if isinstance(n, Call)).results[0]
    assert cos in loop.invariant
    for arg, param in zip((*loop.carried, *loop.invariant), loop.bodies[0].params, strict=True):
        assert isinstance(arg, Value) and isinstance(param, Value)
        assert (arg.shape[-1], arg.dtype) == (param.shape[-1], param.dtype)


def test_neighbours_need_one_angle_for_each_pair() -> None:
    program = raise_program(decoder(doubled="repeat_interleave", pairs=True), (MASK,))
    rotary, attention = parts(program.region)
    assert [r.shape for r in rotary.results if isinstance(r, Value)] == [(B, Const(1), T, HALF)] * 2
    turned = [n for n in attention.nodes if isinstance(n, Raised) and isinstance(n.component, Rotary)]
    assert [n.component for n in turned] == [Rotary(Pairing.NEIGHBOURS, Tables.HALF)] * 2


@pytest.mark.parametrize("options", ({"also_wide": True}, {"doubled": "repeat_interleave"}))
def test_tables_stay_wide_where_something_needs_them(options: dict[str, object]) -> None:
    program = raise_program(decoder(**options), (MASK,))  # type: ignore[arg-type]
    rotary, attention = parts(program.region)
    assert [r.shape for r in rotary.results if isinstance(r, Value)] == [(B, T, H)] * 2
    turned = [n for n in attention.nodes if isinstance(n, Raised) and isinstance(n.component, Rotary)]
    assert [n.component for n in turned] == [Rotary(tables=Tables.FULL)] * 2
