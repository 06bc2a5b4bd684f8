"""Ties between layers: read as a rule where they are one, refused where they are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.diagnostics import CompileError
from codegen.lowering.layouts import numbered
from codegen.lowering.shared import SharedParts, shared_parts
from ir.expressions import Const
from ir.graph import DType, Module, Parameter

HEAD = ("head.weight", "words.weight")


def leaf(*names: str) -> Module:
    parameters = tuple(Parameter(name, (Const(3),), DType.MODEL, False, True) for name in names)
    return Module("Part", "", (), parameters, ())


def tree(members: list[bool]) -> Module:
    """Layers with an own part, and with a block of two parts where `members` say so."""
    block = Module("Block", "", (), (), (("first", leaf("weight", "bias")), ("second", leaf("weight"))))
    layers = [
        Module("Layer", "", (), (), (("own", leaf("weight")), *([("block", block)] if member else [])))
        for member in members
    ]
    stack = Module("ModuleList", "ModuleList", (), (), tuple((str(at), layer) for at, layer in enumerate(layers)))
    return Module("Model", "", (), (), (("layers", stack),))


def ties(sources: dict[int, int], *rests: str) -> list[tuple[str, str]]:
    return [(f"layers.{at}.{rest}", f"layers.{source}.{rest}") for at, source in sources.items() for rest in rests]


WHOLE = ("block.first.weight", "block.first.bias", "block.second.weight")


@given(st.lists(st.booleans(), min_size=2, max_size=9), st.integers(1, 4))
def test_blocks_that_take_turns(members: list[bool], distinct: int) -> None:
    layers = [at for at, member in enumerate(members) if member]
    sources = {layer: layers[number % distinct] for number, layer in enumerate(layers) if number >= distinct}
    found, others = shared_parts([HEAD, *ties(sources, *WHOLE)], tree(members), ["layers"])
    assert others == (HEAD,)
    assert found == (SharedParts("layers", ("block",), tuple(layers), distinct) if sources else None)


def test_a_part_of_a_block() -> None:
    found, _ = shared_parts(
        ties({2: 0}, "block.first.weight", "block.first.bias"), tree([True, False, True]), ["layers"]
    )
    assert found == SharedParts("layers", ("block.first",), (0, 2), 1)


@pytest.mark.parametrize(
    "pairs",
    [
        ties({2: 0}, "block.first.weight"),  # its bias is not
        ties({1: 0, 2: 1}, *WHOLE),  # no turns
        [("layers.1.block.first.weight", "layers.0.own.weight")],
        [*ties({1: 0}, *WHOLE[:2]), *ties({2: 0}, WHOLE[2])],
    ],
)
def test_what_is_no_rule_is_refused(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(CompileError) as caught:
        shared_parts(pairs, tree([True] * 3), ["layers"])
    assert caught.value.diagnostics[0].code == "unknown-tie"


def test_numbers_some_way_from_that_of_the_layer() -> None:
    assert numbered("queries.{-1}.of.{}", 4) == "queries.3.of.4"
    assert numbered("next.{+2}", 4) == "next.6"
    assert numbered("plain", 4) == "plain"
