"""The sizes of the input that traces run with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen import graph, pipeline
from codegen.graph.sizes import USUAL, choices, numbers_in
from codegen.repo import load

CASES = Path(__file__).resolve().parent.parent / "data" / "other_cases"


@given(st.frozensets(st.integers(1, 64)))
def test_sizes_are_none_of_the_numbers(numbers: frozenset[int]) -> None:
    for sizes in choices(numbers):
        lengths = {sizes.new, sizes.past, sizes.new + sizes.past}
        assert not lengths & numbers or sizes == USUAL
        assert sizes.batch not in lengths


@given(st.frozensets(st.integers(1, 64), max_size=6))
def test_every_number_divides_none_of_some_sizes(numbers: frozenset[int]) -> None:
    """Blocks of whatever size come out even in no more than one of the sizes that are tried."""
    tried = list(choices(numbers))
    assert len(tried) > 1
    for block in range(2, 64):
        assert sum(sizes.new % block == 0 for sizes in tried) <= 1
        assert sum((sizes.new + sizes.past) % block == 0 for sizes in tried) <= 1


def test_numbers_in_a_configuration() -> None:
    assert list(numbers_in({"a": 3, "b": [True, 5, {"c": 7}], "d": 1.5, "e": "11"})) == [3, 5, 7]


@pytest.mark.parametrize(
    "chunk", [7, 13, pytest.param(5, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)]
)
def test_no_size_of_blocks_changes_what_is_traced(chunk: int, tmp_path: Path) -> None:
    """The configuration class keeps `chunk_size`, so that the trace of one serves all."""
    config = json.loads((CASES / "mamba2.json").read_text())
    regions = []
    for size in (chunk, 8):
        (tmp_path / "config.json").write_text(json.dumps(config | {"chunk_size": size}))
        regions.append(graph.trace_forward(pipeline.build(load(str(tmp_path)))).region)
    assert regions[0] == regions[1]
