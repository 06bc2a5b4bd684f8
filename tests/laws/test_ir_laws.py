"""The laws of the graph hold of programs before and after raising, and say what is wrong where they do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from codegen.raising.program import raise_program
from ir.expressions import Apply, Const, Key
from ir.graph import Call, Op, Region
from ir.laws import broken
from tests.raising.builder import attention_module, decoder


@pytest.mark.parametrize("region", (attention_module(), attention_module(cap=True), attention_module(grouped=False)))
def test_attention(region: Region) -> None:
    assert broken(region) == ()
    assert broken(raise_program(region, (5,)).region) == ()


@pytest.mark.parametrize("options", ({}, {"also_wide": True}, {"doubled": "repeat_interleave", "pairs": True}))
def test_decoder(options: dict[str, object]) -> None:
    region = decoder(**options)  # type: ignore[arg-type]
    assert broken(region) == ()
    assert broken(raise_program(region, (4,)).region) == ()


def test_a_value_is_made_before_it_is_used() -> None:
    region = attention_module()
    assert broken(replace(region, nodes=region.nodes[1:]))[0].startswith("`forward` uses %")


def test_a_call_passes_what_its_region_takes() -> None:
    region = attention_module()
    call = region.nodes[0]
    assert isinstance(call, Call)
    short = replace(region, nodes=(replace(call, args=call.args[1:]), *region.nodes[1:]))
    assert "`apply_rotary_pos_emb` is passed 6 operands where it has 7" in broken(short)


def test_operations_are_of_the_vocabulary() -> None:
    made = attention_module().params[0]
    region = Region("forward", (made,), (Op("teleport", (), ()), Op("neg", (), ())), ())
    assert broken(region) == (
        "`forward` uses the unknown operation `teleport`",
        "`neg` in `forward` has 0 arguments, not 1",
    )


def test_constants_that_hold_lists_and_objects_have_a_hash() -> None:
    """A configuration may hold an object for each layer, which a question compares as a whole."""
    one, other = (Apply("==", (Key(("parts",)), Const({1: {"size": size}}))) for size in (2, 3))
    assert hash(one) == hash(Apply("==", one.args)) and {one: 1, other: 2} == {other: 2, one: 1} and one != other
