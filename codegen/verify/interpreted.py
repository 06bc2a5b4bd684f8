"""What code that nobody vouches for computes: its graph, as the interpreter understood it, evaluated on numbers.

No line of the original is run, and no framework is needed. The graph is the one from before anything was raised, so that a
wrong rule, lowering or template shows; what the interpreter itself misunderstands does not.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from codegen.verify.reference import LENGTH, PADDING
from ir.evaluate import CannotEvaluate, Context, evaluate_region
from ir.expressions import Environment, Expr, evaluate
from ir.graph import DType, Module, Region
from ir.records import dataclass

Array = np.ndarray[Any, np.dtype[Any]]
BATCH = 2
START, SPREAD = 0.5, 0.2  # of vectors: norms and biases, none of them at its start


@dataclass(frozen=True, slots=True)
class Seen:
    """A mask that is an input of the graph: which tokens a token attends to."""

    name: str
    causal: bool
    window: Expr | None
    chunk: Expr | None


@dataclass(frozen=True, slots=True)
class Program:
    """A model as it was understood. `stored` are the names and shapes of its checkpoint, `ties` other names of these."""

    config: Mapping[str, object]
    resolved: Mapping[str, object]
    tree: Module
    region: Region
    inputs: tuple[str, ...]
    masks: tuple[Seen, ...]
    stored: Mapping[str, tuple[int, ...]]
    ties: Mapping[str, str]
    vocabulary: int


def record(program: Program, out: Path) -> str:
    """Write what `reference.record` writes, but for gradients. Returns why that cannot be done, or nothing."""
    fixed = dict(_fixed(program.tree, "", Context(Environment(program.resolved), DType.FLOAT32)))
    tensors = {name: fixed.get(name, _random(name, shape)) for name, shape in program.stored.items()}
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(dict(program.config)))
    save_file({name: np.array(value, order="C") for name, value in tensors.items()}, out / "model.safetensors")
    ids = np.random.default_rng(1).integers(min(5, program.vocabulary - 1), program.vocabulary, (BATCH, LENGTH))
    parameters = {**fixed, **tensors}
    parameters |= {alias: parameters[name] for alias, name in program.ties.items()}
    try:
        single = _logits(program, parameters, ids, DType.FLOAT32)
        exact = _logits(program, parameters, ids, DType.FLOAT64)
        start = _logits(program, parameters, ids[:, : LENGTH - PADDING], DType.FLOAT64)
    except CannotEvaluate as error:
        return f"its graph cannot be evaluated: {error}"
    np.savez(out / "expected.npz", **_expected(ids, single, exact, start))
    return ""


def _expected(ids: Array, single: Array, exact: Array, start: Array) -> dict[str, Any]:
    """The arrays that a worker compares with; see `reference.record`."""
    mask = np.ones_like(ids)
    mask[1, :PADDING] = 0
    padded = ids.copy()
    padded[1] = np.pad(ids[1, : LENGTH - PADDING], (PADDING, 0))
    return {
        "ids": ids,
        "logits": exact,
        "short": start[1:],
        "padded_ids": padded,
        "padded_mask": mask,
        "double": True,
        "noise": float(np.abs(single - exact).max() / max(1.0, float(exact.std()))),
        "causal": np.allclose(start, exact[:, : start.shape[1]], rtol=0, atol=1e-3),
    }


def _logits(program: Program, parameters: Mapping[str, Array], ids: Array, dtype: DType) -> Array:
    """Logits [B, T, V] of whole sequences [B, T], nothing padded."""
    wide = np.float64 if dtype is DType.FLOAT64 else np.float32
    typed = {name: value.astype(wide) if value.dtype == np.float32 else value for name, value in parameters.items()}
    context = Context(Environment(program.resolved, dims={"P": 0}), dtype, typed)
    with np.errstate(all="ignore"):
        logits, *_ = evaluate_region(
            program.region, [_input(program, name, ids, wide) for name in program.inputs], context
        )
    return np.asarray(logits, np.float64)


def _input(program: Program, name: str, ids: Array, dtype: type[np.floating[Any]]) -> Array:
    """What the graph takes under a name: tokens, their positions, which are none, or a mask [1, 1, T, S] that is added."""
    here = np.arange(ids.shape[1])
    masks = {mask.name: mask for mask in program.masks}
    if name not in masks:
        return {"ids": ids, "positions": np.broadcast_to(here, ids.shape), "valid": np.ones_like(ids)}[name]
    mask, environment = masks[name], Environment(program.resolved)
    distance = here[:, None] - here[None]
    seen = distance >= 0 if mask.causal else np.ones_like(distance, bool)
    if mask.window is not None:
        seen &= np.abs(distance) < evaluate(mask.window, environment)
    if mask.chunk is not None:
        chunk = evaluate(mask.chunk, environment)
        seen &= here[:, None] // chunk == here[None] // chunk
    return np.where(seen, 0.0, np.finfo(dtype).min)[None, None].astype(dtype)


def _fixed(module: Module, path: str, context: Context) -> Iterator[tuple[str, Array]]:
    """Buffers that the configuration decides, by path."""
    for parameter in module.parameters:
        if parameter.fill is not None:
            (value,) = evaluate_region(parameter.fill, [], context)
            yield f"{path}{parameter.name}", np.asarray(value)
    for name, child in module.children:
        yield from _fixed(child, f"{path}{name}.", context)


def _random(name: str, shape: tuple[int, ...]) -> Array:
    """A parameter from a generator of its own: matrices normal, vectors around START."""
    noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, np.float32)
    if sum(size > 1 for size in shape) >= 2:
        return noise * np.float32(min(0.5, max(0.2, 0.8 / shape[-1] ** 0.5)))
    return np.asarray(np.float32(START) + np.float32(SPREAD) * noise)
