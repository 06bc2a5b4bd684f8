"""The reference evaluator of the IR, on whole models: what the graph says is what the original computes, raised or not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from safetensors.numpy import load_file

from codegen import graph, raising
from codegen.raising.definitions import definition
from codegen.repo import load
from codegen.source.files import find_library
from ir.arch import MaskForm
from ir.evaluate import Context, evaluate_region
from ir.expressions import Const, Environment, evaluate
from ir.graph import DType, Module, Number, Raised, Region, Value
from tests.parity.harness import Lab
from tests.parity.original import LENGTH, Recorded, load_case, relative_error

CASES = ("qwen3", "gemma2", "gpt2", "olmo2", "glm")
LEAST = np.finfo(np.float64).min


@pytest.mark.parametrize(
    "name", [name if name == "qwen3" else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_graph_means_the_original(lab: Lab, name: str) -> None:
    """One trace, evaluated as the source has it and as it is raised."""
    recorded = lab.original(name, load_case(name))
    built = graph.build(find_library(), load(str(recorded.folder)).config)
    traced = graph.trace_forward(built)
    raised = raising.raise_program(traced.region, traced.mask_parameters, traced.both_ways, traced.inputs)
    context = Context(
        Environment(built.resolved),
        DType.FLOAT64,
        dict(parameters(traced.tree, recorded, built.resolved)),
        define=define,
    )
    for region, form in ((traced.region, MaskForm.ADDITIVE), (raised.region, raised.masks)):
        logits, *_ = evaluate_region(region, list(arguments(traced, recorded, built.resolved, form)), context)
        assert relative_error(np.asarray(logits, np.float64), recorded.arrays["logits"]) < recorded.tolerance


def parameters(tree: Module, recorded: Recorded, resolved: Mapping[str, object]) -> Iterator[tuple[str, np.ndarray]]:
    """What a checkpoint holds, and what is computed from the configuration."""
    stored = load_file(recorded.folder / "model.safetensors")
    yield from ((name, value.astype(np.float64)) for name, value in stored.items())
    if "lm_head.weight" not in stored:
        embedding = next(
            value for name, value in stored.items() if name.endswith(("embed_tokens.weight", "wte.weight"))
        )
        yield "lm_head.weight", embedding.astype(np.float64)
    yield from constants(tree, "", Context(Environment(resolved), DType.FLOAT32))


def constants(module: Module, path: str, context: Context) -> Iterator[tuple[str, np.ndarray]]:
    for parameter in module.parameters:
        if parameter.fill is not None:
            (value,) = evaluate_region(parameter.fill, [], context)
            yield f"{path}{parameter.name}", value
    for name, child in module.children:
        yield from constants(child, f"{path}{name}.", context)


def arguments(
    traced: graph.Traced, recorded: Recorded, resolved: Mapping[str, object], form: MaskForm
) -> Iterator[np.ndarray]:
    """A whole sequence, nothing padded."""
    here = np.arange(LENGTH)
    masks = {mask.name: mask for mask in traced.masks}
    for name in traced.inputs:
        if name in masks:
            seen = here[None] <= here[:, None]
            if (window := masks[name].window) is not None:
                seen &= here[None] > here[:, None] - evaluate(window, Environment(resolved))
            yield (seen if form is MaskForm.BOOLEAN else np.where(seen, 0.0, LEAST))[None, None]
        else:
            ids = recorded.arrays["ids_2"]
            yield {"ids": ids, "positions": here[None], "valid": np.ones_like(ids)}[name]


def define(node: Raised) -> Region:
    """The operations of a component, as a region of its own."""
    taken = [value.id for value in (*node.args, *node.results) if isinstance(value, Value)]
    fresh = itertools.count(max(taken) + 1)
    params = tuple(arg if isinstance(arg, Value) else Number(Const(0)) for arg in node.args)  # numbers stand inside
    return Region("definition", params, definition(node, lambda: next(fresh)), node.results)
