"""Patterns of einops: axes taken apart, moved and merged by their names."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.graph.interpreter import Interpreter, Unsupported
from codegen.graph.rearranging import einsum, rearrange, reduce
from codegen.graph.regions import freeze
from codegen.graph.values import Frame, Tensor, TensorValue, Trace
from codegen.source.files import find_library
from ir.evaluate import evaluate_region
from ir.graph import DType

SIZES = {"b": 2, "t": 3, "h": 4, "d": 5}
Groups = list[list[str]]


def computed(pattern: str, x: np.ndarray, reduction: str | None = None, **sizes: int) -> np.ndarray:
    """What the recorded operations make of `x`."""
    interpreter = Interpreter(find_library())
    interpreter.stage, interpreter.trace = 2, Trace()
    taken = TensorValue(x.shape, DType.FLOAT64)
    args = [Tensor(taken), pattern]
    result = (
        rearrange(interpreter, args, dict(sizes))
        if reduction is None
        else reduce(interpreter, [*args, reduction], dict(sizes))
    )
    return evaluated(interpreter, result, [x])


def products(pattern: str, *tensors: np.ndarray) -> np.ndarray:
    """The product that the recorded operations make of tensors."""
    interpreter = Interpreter(find_library())
    interpreter.stage, interpreter.trace = 2, Trace()
    taken = [Tensor(TensorValue(x.shape, DType.FLOAT64)) for x in tensors]
    return evaluated(interpreter, einsum(interpreter, [*taken, pattern], {}), list(tensors))


def evaluated(interpreter: Interpreter, result: Tensor, given: list[np.ndarray]) -> np.ndarray:
    root = Frame("function", "rearranged", None, None, None, body=list(interpreter.trace.root.body))
    region = freeze(root, [result.value], {})
    return np.asarray(evaluate_region(region, given[: len(region.params)])[0])


@st.composite
def groups(draw: st.DrawFn) -> Groups:
    """The four axes in some order, some of them merged."""
    order = draw(st.permutations(sorted(SIZES)))
    made: Groups = [[order[0]]]
    for name in order[1:]:
        if draw(st.booleans()):
            made[-1].append(name)
        else:
            made.append([name])
    return made


def spelled(of: Groups) -> str:
    return " ".join(group[0] if len(group) == 1 else f"({' '.join(group)})" for group in of)


def shape(of: Groups) -> list[int]:
    return [int(np.prod([SIZES[name] for name in group])) for group in of]


@given(groups(), groups())
def test_axes_go_where_their_names_are(before: Groups, after: Groups) -> None:
    names, wanted = sum(before, []), sum(after, [])
    x = np.random.default_rng(0).normal(size=[SIZES[name] for name in names])
    expected = x.transpose([names.index(name) for name in wanted]).reshape(shape(after))
    known = {name: SIZES[name] for group in before for name in group[1:]}
    found = computed(f"{spelled(before)} -> {spelled(after)}", x.reshape(shape(before)), **known)
    np.testing.assert_array_equal(found, expected)


def test_new_axes_repeat_what_is_there() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3))
    np.testing.assert_array_equal(computed("b t -> b (t h)", x, h=4), np.repeat(x, 4, axis=1))
    np.testing.assert_array_equal(computed("b t -> b 1 t", x), x[:, None])
    np.testing.assert_array_equal(computed("b 1 t -> b t", x[:, None]), x)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("... (h d) -> ... h d", lambda x: x.reshape(2, 3, 4, 5)),
        ("b ... -> (...) b", lambda x: x.reshape(2, 60).T),
        ("... (h d) -> h ... d", lambda x: x.reshape(2, 3, 4, 5).transpose(2, 0, 1, 3)),
        ("b t n ... -> b t n ...", lambda x: x),
        ("... n -> 1 ... 1 n", lambda x: x[None, :, :, None]),
    ],
)
def test_an_ellipsis_stands_for_all_other_axes(pattern: str, expected: Callable[[np.ndarray], np.ndarray]) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 20))
    known = {"h": 4} if "h" in pattern else {}
    np.testing.assert_array_equal(computed(pattern, x, **known), expected(x))


@pytest.mark.parametrize(
    "pattern",
    ["b t h", "b -> b", "b t -> b", "b t d ... -> b t d ...", "b ... -> b (t ...)", "b (t h) -> b t h", "b t -> b t q"],
)
def test_what_does_not_fit_is_refused(pattern: str) -> None:
    with pytest.raises(Unsupported):
        computed(pattern, np.zeros((2, 12)))


def test_a_list_of_tensors_is_stacked_along_the_first_axis() -> None:
    interpreter = Interpreter(find_library())
    interpreter.stage, interpreter.trace = 2, Trace()
    taken = [TensorValue((2, 3), DType.FLOAT64) for _ in range(2)]
    result = rearrange(interpreter, [[Tensor(value) for value in taken], "n b t -> t b (n)"], {})
    root = Frame("function", "rearranged", None, None, None, body=list(interpreter.trace.root.body))
    region = freeze(root, [result.value], {})
    x = np.random.default_rng(0).normal(size=(2, 2, 3))
    assert np.array_equal(evaluate_region(region, list(x))[0], x.transpose(2, 1, 0))


REDUCTIONS = {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "prod": np.prod}


@pytest.mark.parametrize("by", REDUCTIONS)
@given(groups(), st.sets(st.sampled_from(sorted(SIZES))))
def test_axes_that_are_not_named_again_are_taken_together(by: str, before: Groups, kept: set[str]) -> None:
    names, wanted = sum(before, []), sorted(kept, reverse=True)
    x = np.random.default_rng(0).normal(size=[SIZES[name] for name in names])
    gone = tuple(at for at, name in enumerate(names) if name not in kept)
    left = [name for name in names if name in kept]
    expected = (
        REDUCTIONS[by](x, axis=gone).transpose([left.index(name) for name in wanted])
        if gone
        else x.transpose([left.index(name) for name in wanted])
    )
    merged = [part[:] for part in before]
    inner = {name: SIZES[name] for part in merged for name in part[1:]}
    made = computed(f"{spelled(merged)} -> {' '.join(wanted)}", x.reshape(shape(merged)), reduction=by, **inner)
    np.testing.assert_allclose(made, expected)


def test_products_by_names_of_any_length() -> None:
    a, b = np.arange(24.0).reshape(2, 3, 4), np.arange(20.0).reshape(4, 5)
    made = products("batch time head, head h -> batch h time", a, b)
    np.testing.assert_allclose(made, np.einsum("bti,ij->bjt", a, b))
