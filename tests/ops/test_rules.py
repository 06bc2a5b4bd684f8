"""The rules apart from single operations: symbols in shapes, types, identities, and what is refused."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from codegen.diagnostics import CompileError
from codegen.graph import tensor_ops
from codegen.graph.scalars import apply
from codegen.graph.values import Scalar, Tensor, TensorValue, Trace, expr_of, value_of
from ir.expressions import Apply, Const, Dim, Key
from ir.graph import DType
from ir.ops import OPS, UnknownPromotion, promote, result_type
from ir.spans import Span

B, T = Scalar(2, Dim("B")), Scalar(7, Dim("T"))
HEADS, HEAD = Scalar(4, Key(("heads",))), Scalar(6, Key(("head_dim",)))


def make(*shape: int | Scalar, dtype: DType = DType.MODEL) -> Tensor:
    return Tensor(TensorValue(shape, dtype))


def exprs(x: Any) -> list[Any]:
    return [expr_of(size) for size in x.shape]


def error(run: Any) -> str:
    with pytest.raises(CompileError) as caught:
        run()
    (found,) = caught.value.diagnostics
    assert found.primary is not None
    return found.code


@pytest.fixture
def trace() -> Trace:
    trace = Trace()
    trace.span = Span("model.py", 1, 0, 1, 4)
    return trace


# -------------------------------------------------------------------------------------------------------------- symbols


def test_heads_split_and_join_without_new_symbols(trace: Trace) -> None:
    width = apply("*", HEADS, HEAD)
    x = make(B, T, width)  # type: ignore[arg-type]
    split = tensor_ops.method(trace, x, "view", [B, T, -1, HEAD], {})
    assert exprs(split) == [B.expr, T.expr, HEADS.expr, HEAD.expr]
    turned = tensor_ops.method(trace, split, "transpose", [1, 2], {})  # type: ignore[arg-type]
    joined = tensor_ops.method(trace, turned, "reshape", [B, T, -1], {})  # type: ignore[arg-type]
    assert value_of(joined.shape[-1]) == 24  # type: ignore[attr-defined]


def test_a_size_is_a_symbol_rather_than_a_literal(trace: Trace) -> None:
    made = tensor_ops.binary(trace, "+", make(1, T), make(B, 7))
    assert exprs(made) == [B.expr, T.expr]
    assert [(expr_of(a), expr_of(b)) for a, b, _ in trace.agreements] == [(T.expr, Const(7))]


def test_a_symbol_that_broadcasts_as_one_is_noted(trace: Trace) -> None:
    one = Scalar(1, Key(("groups",)))
    tensor_ops.binary(trace, "*", make(one, T), make(HEADS, T))
    assert [(a, b) for a, b, _ in trace.agreements] == [(one, 1)]


def test_lengths_of_slices(trace: Trace) -> None:
    x = make(B, T, HEAD)
    half = apply("//", HEAD, 2)
    assert exprs(tensor_ops.getitem(trace, x, (Ellipsis, slice(None, half))))[-1] == Apply("//", (HEAD.expr, Const(2)))
    assert exprs(tensor_ops.getitem(trace, x, (Ellipsis, slice(half, None))))[-1] == Apply(
        "-", (HEAD.expr, Apply("//", (HEAD.expr, Const(2))))
    )
    assert exprs(tensor_ops.getitem(trace, x, (slice(None), slice(-1, None))))[1] == Const(1)
    assert exprs(tensor_ops.getitem(trace, x, (slice(None), slice(None, 100))))[1] == T.expr


def test_what_changes_nothing_is_not_recorded(trace: Trace) -> None:
    x = make(B, T, HEAD)
    for name, args in (("view", [B, T, HEAD]), ("contiguous", []), ("to", [DType.MODEL]), ("expand", [-1, -1, -1])):
        assert tensor_ops.method(trace, x, name, args, {}).value is x.value  # type: ignore[attr-defined]
    assert tensor_ops.call(trace, "torch.nn.functional.dropout", [x], {"p": 0.1, "training": False}) is x
    assert trace.root.body == []


def test_axes_have_one_spelling(trace: Trace) -> None:
    x = make(B, T, HEAD)
    for dim in (2, -1):
        tensor_ops.call(trace, "torch.softmax", [x], {"dim": dim})
        tensor_ops.method(trace, x, "transpose", [1, dim], {})
    first, turn, second, again = trace.root.body
    assert first.args == second.args and turn.args == again.args  # type: ignore[union-attr]


# ---------------------------------------------------------------------------------------------------------------- types


CONCRETE = [d for d in DType if d not in (DType.MODEL, DType.PROMOTED, DType.COMPLEX64)]


def test_promotion_is_that_of_torch() -> None:
    for a, b in itertools.product(CONCRETE, repeat=2):
        assert getattr(torch, promote(a, b).value) == torch.promote_types(
            getattr(torch, a.value), getattr(torch, b.value)
        )


def test_ranks_of_operands_are_those_of_torch() -> None:
    numbers = (True, 2, 0.5)
    for wide, narrow, number in itertools.product([*CONCRETE, None], [*CONCRETE, None], [*numbers, None]):
        operands = [] if wide is None else [torch.zeros(2, dtype=getattr(torch, wide.value))]
        operands += [] if narrow is None else [torch.zeros((), dtype=getattr(torch, narrow.value))]
        operands += [] if number is None else [number]
        if len(operands) != 2 or not isinstance(operands[0], torch.Tensor):
            continue
        made = result_type(
            () if wide is None else (wide,),
            () if narrow is None else (narrow,),
            () if number is None else (number,),
            DType.FLOAT32,
        )
        assert getattr(torch, made.value) == torch.result_type(*operands), (wide, narrow, number)


def test_the_type_of_the_model_is_a_type_of_its_own() -> None:
    assert promote(DType.MODEL, DType.INT64) is DType.MODEL
    assert promote(DType.MODEL, DType.FLOAT32) is DType.PROMOTED
    assert promote(DType.PROMOTED, DType.BFLOAT16) is DType.PROMOTED
    assert promote(DType.MODEL, DType.FLOAT64) is DType.FLOAT64
    with pytest.raises(UnknownPromotion):
        promote(DType.MODEL, DType.BFLOAT16)


def test_what_stands_for_the_model_promotes_alike() -> None:
    """PROMOTED is what MODEL with float32 is, whatever MODEL stands for."""
    for model, other in itertools.product((DType.FLOAT64, DType.FLOAT32, DType.BFLOAT16), DType):
        stands = {DType.MODEL: model, DType.PROMOTED: promote(model, DType.FLOAT32)}
        for left in stands:
            try:
                want = promote(stands[left], stands.get(other, other))
                made = promote(left, other)
            except UnknownPromotion:
                continue
            assert stands.get(made, made) is want, (model, left, other)


def test_limits_of_the_models_type_stay_symbols(trace: Trace) -> None:
    info = tensor_ops.call(trace, "torch.finfo", [DType.MODEL], {})
    least = info.get(None, "min")  # type: ignore[attr-defined]
    mask = tensor_ops.call(trace, "torch.full", [(T, T), least], {"dtype": DType.MODEL})
    assert least.dtype is mask.dtype is DType.MODEL  # type: ignore[attr-defined]
    assert [node.op for node in trace.root.body] == ["finfo_min", "full"]  # type: ignore[union-attr]


# -------------------------------------------------------------------------------------------------------------- refusals


def test_what_is_not_taught_is_refused(trace: Trace) -> None:
    x = make(B, T)
    assert error(lambda: tensor_ops.call(trace, "torch.fft.fft", [x], {})) == "unknown-op"
    assert error(lambda: tensor_ops.method(trace, x, "lu", [], {})) == "unknown-op"
    assert error(lambda: tensor_ops.attribute(trace, x, "storage_offset")) == "unknown-op"
    assert error(lambda: tensor_ops.call(trace, "torch.softmax", [x], {"dim": -1, "temperature": 2})) == "unknown-op"
    assert error(lambda: tensor_ops.call(trace, "torch.softmax", [], {})) == "unknown-op"
    assert error(lambda: tensor_ops.getitem(trace, x, "a")) == "unknown-op"
    assert error(lambda: tensor_ops.call(trace, "torch.rand", [2], {})) == "unknown-op"
    assert error(lambda: tensor_ops.call(trace, "torch.nn.functional.dropout", [x], {"training": True})) == "unknown-op"


def test_what_follows_from_the_data_is_refused(trace: Trace) -> None:
    x = make(B, T)
    mask = tensor_ops.binary(trace, ">", x, 0)
    assert error(lambda: tensor_ops.truth(trace, mask)) == "data-dependent"
    assert error(lambda: tensor_ops.method(trace, x, "tolist", [], {})) == "data-dependent"
    assert error(lambda: tensor_ops.getitem(trace, x, mask)) == "data-dependent"
    assert error(lambda: tensor_ops.method(trace, x, "view", [x], {})) == "data-dependent"


def test_a_literal_tensor_has_a_value(trace: Trace) -> None:
    number = Scalar(0.5, Key(("scale",)))
    made = tensor_ops.call(trace, "torch.tensor", [number], {})
    assert tensor_ops.method(trace, made, "item", [], {}) is number  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("view", [3, 5]),
        ("view", [-1, -1]),
        ("expand", [5, 5, 5]),
        ("transpose", [0, 5]),
        ("permute", [0]),
        ("chunk", [100]),
        ("__matmul__", [Tensor(TensorValue((3, 3), DType.MODEL))]),
        ("add", [Tensor(TensorValue((3, 3), DType.MODEL))]),
        ("split", [[1, 1], 1]),
        ("add", ["a"]),
        ("sum", [9]),
        ("copy_", [Tensor(TensorValue((3, 3), DType.MODEL))]),
    ],
)
def test_what_torch_would_refuse_is_refused(trace: Trace, name: str, args: list[Any]) -> None:
    assert error(lambda: tensor_ops.method(trace, make(B, T), name, args, {})) in ("shape-mismatch", "invalid-op")


def test_no_axis_of_the_model_has_more_greatest_than_elements(trace: Trace) -> None:
    assert error(lambda: tensor_ops.method(trace, make(B, 5), "topk", [100], {})) == "shape-mismatch"


def test_no_host_exception_escapes(trace: Trace) -> None:
    """Any function with any odd arguments: a result or a CompileError."""
    odd: list[Any] = [None, -3, 2.5, "a", (), [1, None], make(B, T), make(), make(0, 3), DType.BOOL, object()]
    for name in sorted(tensor_ops.KNOWN):
        for one in odd:
            for args in ([one], [make(B, T), one], [make(B, T), one, one]):
                try:
                    tensor_ops.call(trace, name, list(args), {})
                except CompileError:
                    pass
    for name in sorted(tensor_ops.METHODS):
        for one in odd:
            for args in ([], [one], [one, one]):
                try:
                    tensor_ops.method(trace, make(B, T), name, list(args), {})
                except CompileError:
                    pass


def test_signatures_are_what_is_recorded() -> None:
    assert OPS["softmax"].position("dtype") == 2
    assert all(signature.meaning for signature in OPS.values())
