"""Which modules become one class: those that differ in numbers, or, in one list, in what a few of their children are."""

from __future__ import annotations

from codegen.lowering.classes import ClassPlan, Program, plan
from codegen.lowering.instances import Instance, collect
from ir.expressions import Const, Key
from ir.graph import Call, DType, Module, ModuleTarget, Number, Op, Parameter, Region, Value

SIZE = Key(("hidden_size",))


def value(number: int) -> Value:
    return Value(number, (SIZE,), DType.MODEL)


def unary(op: str, *constants: float) -> Region:
    x, y = value(0), value(1)
    return Region("forward", (x,), (Op(op, (x, *(Number(Const(c)) for c in constants)), (y,)),), (y,))


def module(name: str, *children: tuple[str, Module], kind: str = "", size: object = SIZE) -> Module:
    weight = () if kind else (Parameter("weight", (size,), DType.MODEL),)  # type: ignore[arg-type]
    return Module(name, kind, (), weight, children)


def calls(*paths_and_regions: tuple[str, Region]) -> Region:
    """A body that hands its input through modules, one after the other."""
    nodes = [
        Call(ModuleTarget(path), region, (value(i),), (value(i + 1),))
        for i, (path, region) in enumerate(paths_and_regions)
    ]
    return Region("forward", (value(0),), tuple(nodes), (value(len(nodes)),))


def model(*layers: tuple[str, Region, float]) -> Program:
    """A list of layers, each a norm and a network: the class of the network, what it does, and the eps of the norm."""
    norms = [unary("add", eps) for _, _, eps in layers]
    bodies = [calls(("norm", norm), ("net", body)) for norm, (_, body, _) in zip(norms, layers, strict=True)]
    items = [
        (str(i), module("Layer", ("norm", module("Norm")), ("net", module(name)), ("gate", module("Gate"))))
        for i, (name, _, _) in enumerate(layers)
    ]
    tree = module("TopModel", ("layers", module("List", *items, kind="ModuleList")))
    root = calls(*((f"layers.{i}", body) for i, body in enumerate(bodies)))
    return plan(collect(tree, root), lambda region: len(region.params))


def classes(program: Program) -> dict[str, ClassPlan]:
    return {made.name: made for made in program.plans}


def test_layers_that_differ_in_one_child_are_one_class_that_chooses_it() -> None:
    program = model(("Plain", unary("relu"), 0.5), ("Mixed", unary("tanh"), 0.5), ("Mixed", unary("tanh"), 0.5))
    assert list(classes(program)) == ["Norm", "Plain", "Gate", "Mixed", "Layer", "Model"]
    layer = classes(program)["Layer"]
    assert layer.chosen == ("net",) and layer.needs_layer
    assert program.choice(layer, "net") == (["layers.0.net", "layers.1.net"], (0, 1, 1))


def test_a_child_that_takes_something_else_from_its_caller_keeps_them_apart() -> None:
    taking = Region("forward", (value(0), value(9)), unary("relu").nodes, (value(1),))
    program = model(("Plain", unary("relu"), 0.5), ("Mixed", taking, 0.5))
    assert {"PlainLayer", "MixedLayer"} <= set(classes(program))


def test_floats_that_differ_are_parameters() -> None:
    program = model(("Plain", unary("relu"), 0.5), ("Plain", unary("relu"), 0.25))
    norm = classes(program)["Norm"]
    assert norm.parameters == ("size", "value")
    assert [norm.arguments[f"layers.{i}.norm"] for i in range(2)] == [(SIZE, Const(0.5)), (SIZE, Const(0.25))]
    assert len(norm.instances) == 2 and isinstance(norm.instances[0], Instance)


def test_what_a_small_class_reads_of_the_configuration_it_is_given() -> None:
    norm = classes(model(("Plain", unary("relu"), 0.5), ("Plain", unary("relu"), 0.5)))["Norm"]
    assert norm.parameters == ("size",) and norm.arguments["layers.0.norm"] == (SIZE,)
