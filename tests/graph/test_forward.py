"""Tracing `forward`: replayed layers are what tracing them gives, models without a cache, rotary frequencies by position."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codegen.graph.construction import build
from codegen.graph.forward import Traced, trace_forward
from codegen.source.files import find_library
from ir import laws
from ir.graph import Call, Loop, Node, Op, Region, within

CASES = Path(__file__).resolve().parent.parent / "data" / "cases"
RECURRENT = CASES.parent / "recurrent"
LIBRARY = find_library()


def traced(name: str, *, replay: bool = True, **changes: Any) -> Traced:
    file = next(path for path in (CASES / f"{name}.json", RECURRENT / f"{name}.json") if path.exists())
    raw = json.loads(file.read_text()) | changes
    return trace_forward(build(LIBRARY, raw), replay=replay)


def nodes(region: Region) -> Iterator[Node]:
    """All nodes, those of calls, of the bodies of loops and of arms among them."""
    for node in region.nodes:
        yield node
        match node:
            case Call(region=inner):
                yield from nodes(inner)
            case Loop(bodies=bodies):
                for body in bodies:
                    yield from nodes(body)
            case _:
                for inner in within(node):
                    yield from nodes(inner)


def operations(region: Region) -> Iterator[str]:
    return (node.name for node in nodes(region) if isinstance(node, Op))


@pytest.mark.parametrize("name", ["qwen3", "gemma2", "gpt2", "smollm3", "gemma3_text"])
def test_replayed_layers_are_those_that_would_be_traced(name: str) -> None:
    assert traced(name, replay=True) == traced(name, replay=False)


def test_a_model_without_a_cache_is_traced_on_whole_sequences() -> None:
    assert "cache_update" not in set(operations(traced("openai-gpt").region))


def test_a_model_that_cannot_go_on_from_a_cache_is_traced_on_whole_sequences() -> None:
    assert "cache_update" not in set(operations(traced("cpmant").region))


def test_states_that_modules_keep_are_read_and_written() -> None:
    region = traced("recurrent_gemma").region
    assert laws.broken(region) == () and {"cache_update", "state_write"} <= set(operations(region))


@pytest.mark.parametrize("name", ["mamba", "lfm2"])
def test_states_are_read_and_written(name: str) -> None:
    region = traced(name).region
    assert laws.broken(region) == () and "state_extend" in set(operations(region))


def test_what_forward_writes_into_its_modules_is_taken_back() -> None:
    assert "transformer.pos_encoding" in traced("ctrl").constants


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_frequencies_follow_the_longest_position(kind: str) -> None:
    factors = {"short_factor": [1.0] * 6, "long_factor": [2.0] * 6, "original_max_position_embeddings": 10}
    rope = {"rope_type": kind, "factor": 4.0, "rope_theta": 10000.0} | (factors if kind == "longrope" else {})
    changed = traced("llama", rope_parameters=rope, rope_scaling=None, head_dim=12, hidden_size=48)
    assert {"amax", "where"} <= set(operations(changed.region))
