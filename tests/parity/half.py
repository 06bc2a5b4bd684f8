"""Comparisons in bfloat16. In float64 a cast that is missing, or on the wrong side of a product, changes next to nothing."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tests.parity.harness import Backend, Torch
from tests.parity.original import Recorded, logits

# of elements that round differently: sums in another order are as far apart as the last bit of float32, seldom seen in 8
SAME = 0.02


def original_in_half(original: Recorded) -> nn.Module:
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(original.folder, dtype=torch.bfloat16, attn_implementation="eager")
    return loaded.eval()


def differing_norms(backend: Backend, package: Path, original: Recorded) -> dict[str, float]:
    """Path of a norm -> share of its results that differ from the original's, where more do than rounding explains."""
    theirs, found = original_in_half(original), {}
    ours = backend.load(package, original.folder, "bfloat16")
    for path, norm in _norms(theirs).items():
        try:
            emitted = functools.reduce(_member, path.split("."), ours)
        except (AttributeError, LookupError, TypeError):
            continue  # written into the module that holds it
        size = next(norm.parameters()).shape[0]
        x = 3 * torch.randn(4, 9, size, generator=torch.Generator().manual_seed(0)).bfloat16()
        with torch.no_grad():
            expected = norm(x).float().numpy()
            got = _apply(backend, emitted, x)
        share = float(np.mean(got != expected)) if got.shape == expected.shape else 1.0
        if share > SAME:
            found[path] = share
    return found


def half_errors(backend: Backend, package: Path, original: Recorded) -> tuple[float, float]:
    """Root mean square error of the logits in bfloat16, ours and the original's own, against those in float64."""
    ids, exact = original.arrays["ids_2"], original.arrays["logits"]
    model = backend.load(package, original.folder, "bfloat16")
    if isinstance(backend, Torch):
        with torch.no_grad():
            ours = model(torch.from_numpy(ids)).double().numpy()
    else:
        ours = backend.logits(model, ids)
    theirs = logits(original_in_half(original), torch.from_numpy(ids)).double().numpy()
    return _rms(ours - exact), _rms(theirs - exact)


def _norms(model: nn.Module) -> dict[str, nn.Module]:
    """One of each kind and size: modules that hold nothing but vectors of one length, and take one tensor."""
    found: dict[tuple[str, int], tuple[str, nn.Module]] = {}
    for path, module in model.named_modules():
        shapes = {parameter.shape for parameter in module.parameters()}
        if path and not any(module.children()) and len(shapes) == 1 and len(shape := next(iter(shapes))) == 1:
            if "norm" in type(module).__name__.lower() and hasattr(module, "weight"):
                found.setdefault((type(module).__name__, shape[0]), (path, module))
    return dict(found.values())


def _member(owner: object, name: str) -> object:
    return owner[int(name)] if name.isdigit() else getattr(owner, name)  # type: ignore[index]


def _apply(backend: Backend, module: object, x: torch.Tensor) -> np.ndarray:
    if isinstance(backend, Torch):
        return module(x).float().numpy()  # type: ignore[operator]
    array = backend.jax.numpy.asarray(x.float().numpy(), dtype=backend.jax.numpy.bfloat16)
    return np.asarray(module(array), np.float32)  # type: ignore[operator]


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x))))
