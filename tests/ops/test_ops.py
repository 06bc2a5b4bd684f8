"""Every operation: the rules' shape and type are torch's; numpy and printed JAX compute what torch does; printed PyTorch to the bit."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.graph.values import expr_of, value_of
from ir.expressions import Dim
from ir.graph import DType
from ir.ops import OPS
from tests.ops.cases import CASES, Case
from tests.ops.harness import by_numpy, by_spelling, by_torch, record

EXAMPLES = 3  # JAX compiles for every shape: it runs one of them, not the first, which is the simplest

OF_LOOPS = {
    "grouped_linear",
    "grouped_matmul",
    "bincount",
    "topk_first",
}  # what loops over experts become, see test_experts
_seen: Counter[str] = Counter()


def _label(case: Case) -> str:
    _seen[case.op] += 1
    return case.op if _seen[case.op] == 1 else f"{case.op}-{_seen[case.op]}"


def test_every_operation_has_a_case() -> None:
    assert {case.op for case in CASES} | OF_LOOPS == set(OPS)


@pytest.mark.parametrize("case", CASES, ids=_label)
def test_operation(case: Case) -> None:
    used: set[str] = set()
    runs = list(range(1, 100))[::-1]

    @settings(max_examples=EXAMPLES, database=None, derandomize=True)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        used.update(check(case, case.draw(data.draw), flax=case.flax and runs.pop() == 2))

    run()
    assert case.op in used


def check(case: Case, args: list[Any], *, flax: bool) -> set[str]:
    """Compare all ways for one call; the operations that it was recorded as."""
    expected = by_torch(case.program, args)
    recorded = record(case.program, args)
    assert len(recorded.results) == len(expected)
    for value, want in zip(recorded.results, expected, strict=True):
        assert len(value.shape) == want.dim()
        known = zip(value.shape, want.shape, strict=True)
        assert all(value_of(size) == found for size, found in known if not decided_by_data(size))
        assert getattr(torch, value.dtype.value) == want.dtype
    for made, want in zip(by_spelling(recorded, args, "torch"), expected, strict=True):
        assert made.dtype == want.dtype
        assert torch.equal(torch.nan_to_num(made), torch.nan_to_num(want)) if case.exact else torch.allclose(made, want)
    for made, want in zip(by_numpy(recorded, args), expected, strict=True):
        close(made, want, case.tolerance)
        assert made.dtype == want.resolve_conj().numpy().dtype
    if flax:
        for made, want in zip(by_spelling(recorded, args, "flax"), expected, strict=True):
            close(np.asarray(made), want, case.tolerance)
            if want.is_floating_point():
                assert made.dtype == want.numpy().dtype
    return {node.op for node in recorded.nodes}


def decided_by_data(size: Any) -> bool:
    """Whether only a running model knows a size."""
    return isinstance(expr_of(size), Dim) and expr_of(size).name.startswith("hits")


def close(made: Any, want: torch.Tensor, tolerance: float) -> None:
    np.testing.assert_allclose(made, want.resolve_conj().numpy(), rtol=tolerance, atol=tolerance)


def test_types_have_names() -> None:
    assert all(hasattr(torch, dtype.value) for dtype in DType if dtype not in (DType.MODEL, DType.PROMOTED))
