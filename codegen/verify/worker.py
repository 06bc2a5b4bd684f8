"""Measures one package in one framework, in a process of its own; the only part of the compiler that imports one.

    python -m codegen.verify.worker torch|flax PACKAGE_DIR CHECKPOINT_DIR

CHECKPOINT_DIR holds `config.json`, `model.safetensors` and `expected.npz` (ids, logits) as `reference.py` wrote them.
Prints one JSON object a line: {"check": name, "error": float} or {"check": name, "failed": reason}.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PROMPT = 5


def relative_error(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> float:
    """max|ours - theirs| over max(1, std(theirs))."""
    if ours.shape != theirs.shape:
        raise ValueError(f"shape {ours.shape}, expected {theirs.shape}")
    return float(np.abs(ours.astype(np.float64) - theirs).max() / max(1.0, float(theirs.std())))


class TorchRunner:
    def __init__(self) -> None:
        import torch

        self.torch = torch

    def load(self, package: str, checkpoint: Path) -> Any:
        model = importlib.import_module(f"{package}.torch_model").Model
        return model.from_pretrained(checkpoint, dtype=self.torch.float32).eval()

    def array(self, x: np.ndarray[Any, Any]) -> Any:
        return self.torch.from_numpy(np.ascontiguousarray(x))

    def numpy(self, x: Any) -> np.ndarray[Any, Any]:
        return np.asarray(x.detach().double().numpy())

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self.torch.no_grad():
            return function(*args, **kwargs)


class FlaxRunner:
    def __init__(self) -> None:
        import jax.numpy as jnp
        from flax import nnx

        self.jnp, self.nnx = jnp, nnx

    def load(self, package: str, checkpoint: Path) -> Any:
        model = importlib.import_module(f"{package}.flax_model").Model
        return model.from_pretrained(checkpoint, dtype=self.jnp.float32)

    def array(self, x: np.ndarray[Any, Any]) -> Any:
        return self.jnp.asarray(x)

    def numpy(self, x: Any) -> np.ndarray[Any, Any]:
        return np.asarray(x, dtype=np.float64)

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.nnx.jit(function)(*args, **kwargs)


def checks(runner: Any, package: str, checkpoint: Path) -> dict[str, Callable[[], float]]:
    """What is measured, in order."""
    data = np.load(checkpoint / "expected.npz")
    ids, logits = data["ids"], data["logits"]
    model = runner.load(package, checkpoint)
    kind = type(model)

    def forward() -> float:
        return relative_error(runner.numpy(runner.run(kind.__call__, model, runner.array(ids))), logits)

    def decode() -> float:
        cache, pieces = model.init_cache(ids.shape[0], ids.shape[1]), []
        for start, stop in [(0, PROMPT), *((i, i + 1) for i in range(PROMPT, ids.shape[1]))]:
            out, cache = runner.run(kind.step, model, runner.array(ids[:, start:stop]), cache)
            pieces.append(runner.numpy(out))
        return relative_error(np.concatenate(pieces, axis=1), logits)

    def padded() -> float:
        keep = ids.shape[1] - 3
        shifted = np.concatenate([np.zeros_like(ids[:, :3]), ids[:, :keep]], axis=1)
        mask = np.ones_like(shifted)
        mask[:, :3] = 0
        out = runner.run(kind.__call__, model, runner.array(shifted), attention_mask=runner.array(mask))
        return relative_error(runner.numpy(out)[:, 3:], logits[:, :keep])

    def round_trip() -> float:
        from safetensors.numpy import load_file

        ours = importlib.import_module(f"{package}.weights").to_hf(model)
        theirs = load_file(checkpoint / "model.safetensors")
        if ours.keys() != theirs.keys():
            raise ValueError(f"tensors differ: {sorted(ours.keys() ^ theirs.keys())[:5]}")
        return max(float(not np.array_equal(np.asarray(ours[name]), theirs[name])) for name in theirs)

    return {"forward": forward, "decode": decode, "padded": padded, "round trip": round_trip}


def main() -> None:
    framework, package, checkpoint = sys.argv[1], Path(sys.argv[2]).resolve(), Path(sys.argv[3])
    sys.path.insert(0, str(package.parent))
    runner = TorchRunner() if framework == "torch" else FlaxRunner()
    try:
        measured = checks(runner, package.name, checkpoint)
    except Exception as error:  # noqa: BLE001 - a failure is a result
        print(json.dumps({"check": "load", "failed": f"{type(error).__name__}: {error}"}))
        return
    for name, check in measured.items():
        try:
            print(json.dumps({"check": name, "error": check()}), flush=True)
        except Exception as error:  # noqa: BLE001 - a failure is a result
            print(json.dumps({"check": name, "failed": f"{type(error).__name__}: {error}"}), flush=True)


if __name__ == "__main__":
    main()
