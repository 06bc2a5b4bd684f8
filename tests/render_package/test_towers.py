"""Which models within a model are left out, and how their tensors are told apart from the others."""

from __future__ import annotations

import re

import pytest

from codegen.lowering import towers
from ir.expressions import Const
from ir.graph import Call, DType, Module, ModuleTarget, Number, Op, Parameter, Region, Value

WEIGHT = (Parameter("weight", (Const(4), Const(4)), DType.MODEL),)


def module(name: str, **children: Module) -> Module:
    return Module(name, "", (), () if children else WEIGHT, tuple(children.items()))


TREE = module(
    "Top",
    text=module("Text", attention=module("Attention"), unused=module("Attention")),
    eyes=module("Model", patches=module("Patches")),
    bridge=module("Linear"),
    head=module("Linear"),
)
X = Value(0, (Const(2), Const(4)), DType.MODEL)
Y = Value(1, (Const(2), Const(4)), DType.MODEL)


def run(path: str) -> Call:
    steps = path.split(".")
    inner = Region("forward", (X,), (Op("relu", (X,), (Y,)),), (Y,))
    for step in reversed(steps[1:]):
        inner = Region("forward", (X,), (Call(ModuleTarget(step), inner, (X,), (Y,)),), (Y,))
    return Call(ModuleTarget(steps[0]), inner, (X,), (Y,))


ROOT = Region("forward", (X,), (run("text.attention"), run("head")), (Y,))


def test_a_model_that_does_not_run_goes_with_what_stands_beside_it() -> None:
    assert towers.towers(TREE, ROOT, ["", "text", "eyes"], []) == ("eyes", "bridge")


def test_parts_that_do_not_run_stay_where_no_model_is_among_them() -> None:
    assert towers.towers(TREE, ROOT, ["", "text"], []) == ()


def test_a_model_whose_parameter_is_read_elsewhere_stays() -> None:
    read = Op("parameter", (Number(Const("eyes.patches.weight")),), (Y,))
    root = Region("forward", (X,), (run("text.attention"), read), (Y,))
    assert "eyes" not in towers.towers(TREE, root, ["", "text", "eyes"], [])


def test_a_model_that_is_tied_to_what_runs_stays() -> None:
    tied = [("eyes.patches.weight", "text.attention.weight")]
    assert "eyes" not in towers.towers(TREE, ROOT, ["", "text", "eyes"], tied)
    inside = [("eyes.patches.weight", "bridge.weight")]
    assert "eyes" in towers.towers(TREE, ROOT, ["", "text", "eyes"], inside)


def test_what_is_left_out_is_gone_and_nothing_else() -> None:
    left = towers.without(TREE, ("eyes", "bridge"))
    assert [name for name, _ in left.children] == ["text", "head"]
    assert dict(left.children)["text"] == dict(TREE.children)["text"]


@pytest.mark.parametrize("prefix", ["", "model."])
def test_patterns_match_the_tensors_of_the_towers_alone(prefix: str) -> None:
    patterns = towers.stored_names(TREE, ("eyes", "bridge"), lambda path: [prefix + path])
    for name in ("eyes.patches.weight", "bridge.weight"):
        assert any(re.search(pattern, prefix + name) for pattern in patterns)
    for name in ("text.attention.weight", "text.unused.weight", "head.weight", "other.eyes.weight"):
        assert not any(re.search(pattern, prefix + name) for pattern in patterns)


def test_tensors_that_lie_among_others_are_named_one_by_one() -> None:
    names = {"eyes.patches.weight": ["layers.*.weight"], "head.weight": ["layers.*.bias"]}
    patterns = towers.stored_names(TREE, ("eyes",), lambda path: names.get(path, [path]))
    assert patterns == (r"^layers\.[0-9]+\.weight$",)
