"""Regions: calls, loops over modules, parameters, numbers, and sizes that follow from the arguments."""

from __future__ import annotations

import numpy as np
import pytest

from ir.evaluate import CannotEvaluate, Context, evaluate_op, evaluate_region
from ir.expressions import Apply, Const, Dim, Environment, Key, Local
from ir.graph import Call, DType, DTypeOf, FunctionTarget, Loop, ModuleTarget, Number, Op, Region, Value

T, D = Dim("T"), Key(("hidden_size",))
MODEL = DType.MODEL


def value(number: int, *shape: Dim | Key | Const) -> Value:
    return Value(number, shape, MODEL)


def scaled() -> Region:
    """A linear layer: x @ w.T."""
    x, w, out = value(0, T, D), value(1, D, D), value(2, T, D)
    nodes = (Op("parameter", (Number(Const("weight")),), (w,)), Op("linear", (x, w, None), (out,)))
    return Region("forward", (x,), nodes, (out,))


def test_a_loop_runs_each_module() -> None:
    x, h, out = value(0, T, D), value(1, T, D), value(2, T, D)
    call = Call(ModuleTarget("layers.{}.proj"), scaled(), (x,), (h,))
    body = Region("layer", (x,), (call, Op("add", (x, h), (out,))), (out,))
    top = Region("forward", (x,), (Loop("layers", (body,), (0, 0), (x,), (), ((),), (out,)),), (out,))
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(3, 3)) for _ in range(2)]
    parameters = {f"model.layers.{i}.proj.weight": w for i, w in enumerate(weights)}
    start = rng.normal(size=(4, 3))
    (made,) = evaluate_region(top, [start], Context(model=DType.FLOAT64, parameters=parameters, prefix="model"))
    want = start
    for w in weights:
        want = want + want @ w.T
    np.testing.assert_allclose(made, want)


def test_numbers_and_sizes() -> None:
    x, a, out = value(0, T, D), value(1, T), value(2, T, D)
    length = Op("arange", (Number(Const(0)), Number(T), Number(Const(1)), DTypeOf(x)), (a,))
    half = Number(Apply("//", (D, Const(2))))
    factor = Number(Local("factor"))
    inner = Region("scale", (value(0, T), factor), (Op("mul", (value(0, T), factor), (value(1, T),)),), (value(1, T),))
    call = Call(FunctionTarget("scale"), inner, (a, half), (value(3, T),))
    spread = Op("unsqueeze", (value(3, T), Number(Const(-1))), (value(4, T, Const(1)),))
    top = Region("forward", (x,), (length, call, spread, Op("add", (x, value(4, T, Const(1))), (out,))), (out,))
    context = Context(Environment(config={"hidden_size": 6}), DType.FLOAT64)
    (made,) = evaluate_region(top, [np.zeros((5, 6))], context)
    np.testing.assert_array_equal(made, np.broadcast_to(np.arange(5.0)[:, None] * 3, (5, 6)))


def test_the_type_of_the_model_is_the_callers() -> None:
    for model, flat in ((DType.FLOAT64, np.float64), (DType.FLOAT32, np.float32)):
        assert evaluate_op("zeros", [(2,), DType.MODEL], model=model).dtype == flat
    assert evaluate_op("zeros", [(2,), DType.PROMOTED], model=DType.FLOAT16).dtype == np.float32


def test_what_cannot_be_evaluated() -> None:
    x = value(0, T)
    for node in (Op("no_such_op", (x,), (x,)), Op("parameter", (Number(Const("weight")),), (x,))):
        with pytest.raises(CannotEvaluate):
            evaluate_region(Region("forward", (x,), (node,), (x,)), [np.zeros(3)])
    with pytest.raises(CannotEvaluate):
        evaluate_region(Region("forward", (x,), (), (x,)), [])
