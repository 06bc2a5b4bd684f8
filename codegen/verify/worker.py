"""Measures one package in one framework, in a process of its own.

    python -m codegen.verify.worker torch|flax PACKAGE_DIR CHECKPOINT_DIR

CHECKPOINT_DIR is what `reference.py` wrote. Prints one JSON object a line: {"check": name, "error": float, "limit": float},
{"check": name, "failed": reason} or {"check": name, "skipped": reason}.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from codegen.verify.processes import import_package

PIECES = (0, 5, 9, 10, 11, 12, 13, 14, 15, 16, 17)  # a prompt, a part of one, single tokens
NEW = 6  # tokens to generate
FLOAT32, FLOAT64 = (
    5e-4,
    5e-6,
)  # limits, relative to the spread of the logits: norms and rotary tables are float32 in most originals
GRADIENT = 1e-3  # of the largest gradient of a tensor, in float32
Array = np.ndarray[Any, Any]


def relative_error(ours: Array, theirs: Array) -> float:
    """max|ours - theirs| over max(1, std(theirs)).

    Raises:
        ValueError: the shapes differ, or something is not finite.
    """
    if ours.shape != theirs.shape:
        raise ValueError(f"shape {ours.shape}, expected {theirs.shape}")
    if not np.isfinite(ours).all():
        raise ValueError("a number is not finite")
    return float(np.abs(ours.astype(np.float64) - theirs).max() / max(1.0, float(theirs.std())))


class TorchRunner:
    """The PyTorch model of a package."""

    def __init__(self, package: str) -> None:
        import torch

        self.torch, self.model = torch, importlib.import_module(f"{package}.torch_model").Model

    def load(self, checkpoint: Path, dtype: str) -> Any:
        return self.model.from_pretrained(checkpoint, dtype=getattr(self.torch, dtype)).eval()

    def array(self, x: Array) -> Any:
        return self.torch.from_numpy(np.ascontiguousarray(x))

    def numpy(self, x: Any) -> Array:
        return np.asarray(x.detach().double().numpy())

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self.torch.no_grad():
            return function(*args, **kwargs)

    def differentiate(self, model: Any, ids: Array) -> None:
        """Put the gradients of the next-token loss in the place of the parameters."""
        batch = self.array(ids)
        out = model(batch)[:, :-1].flatten(0, 1)
        self.torch.nn.functional.cross_entropy(out, batch[:, 1:].flatten()).backward()
        with self.torch.no_grad():
            for parameter in model.parameters():
                zero = self.torch.zeros_like(parameter)
                parameter.copy_(zero if parameter.grad is None else parameter.grad)


class FlaxRunner:
    """The Flax model of a package."""

    def __init__(self, package: str) -> None:
        import jax
        import jax.numpy as jnp
        from flax import nnx

        jax.config.update("jax_enable_x64", True)
        self.jax, self.jnp, self.nnx = jax, jnp, nnx
        self.model = importlib.import_module(f"{package}.flax_model").Model
        self.compiled: dict[Callable[..., Any], Callable[..., Any]] = {}

    def load(self, checkpoint: Path, dtype: str, **options: bool) -> Any:
        return self.model.from_pretrained(checkpoint, dtype=getattr(self.jnp, dtype), **options)

    def array(self, x: Array) -> Any:
        return self.jnp.asarray(x, self.jnp.int32)

    def numpy(self, x: Any) -> Array:
        return np.asarray(x, dtype=np.float64)

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if function not in self.compiled:
            self.compiled[function] = self.nnx.jit(function)
        return self.compiled[function](*args, **kwargs)

    def differentiate(self, model: Any, ids: Array) -> None:
        """Put the gradients of the next-token loss in the place of the parameters."""
        batch = self.array(ids)

        def loss(model: Any) -> Any:
            scores = self.jax.nn.log_softmax(model(batch)[:, :-1])
            return -self.jnp.take_along_axis(scores, batch[:, 1:, None], axis=-1).mean()

        self.nnx.update(model, self.nnx.jit(self.nnx.grad(loss))(model))


Runner = TorchRunner | FlaxRunner
Measure = Callable[[], float]


def checks(runner: Runner, package: str, checkpoint: Path) -> Iterator[tuple[str, float, Measure | str]]:
    """(name, limit, what measures the error or why it is not measured), in order."""
    data: Mapping[str, Array] = dict(np.load(checkpoint / "expected.npz"))
    ids, logits = data["ids"], data["logits"]
    noise = 3 * float(data["noise"])
    limit, exact = max(FLOAT32, noise), max(FLOAT64, noise)
    model = runner.load(checkpoint, "float32")
    kind = type(model)

    def forward(of: Any) -> Array:
        return runner.numpy(runner.run(kind.__call__, of, runner.array(ids)))

    def decode() -> float:
        cache, pieces = model.init_cache(*ids.shape), []
        for start, stop in zip(PIECES, PIECES[1:], strict=False):
            out, cache = runner.run(kind.step, model, runner.array(ids[:, start:stop]), cache)
            pieces.append(runner.numpy(out))
        return relative_error(np.concatenate(pieces, axis=1), logits)

    def left_padded() -> float:
        mask = runner.array(data["padded_mask"])
        out = runner.numpy(runner.run(kind.__call__, model, runner.array(data["padded_ids"]), attention_mask=mask))
        short = data["short"]
        return max(relative_error(out[:1], logits[:1]), relative_error(out[1:, -short.shape[1] :], short))

    def right_padded() -> float:
        short, mask, padded = data["short"], np.ones_like(ids), ids.copy()
        mask[1, short.shape[1] :], padded[1, short.shape[1] :] = 0, 0
        out = runner.run(kind.__call__, model, runner.array(padded), attention_mask=runner.array(mask))
        return relative_error(runner.numpy(out)[1:, : short.shape[1]], short)

    def generated() -> float:
        """The share of tokens that are not those of the greatest logits, computed without a cache."""
        want = ids[:, :5]
        while want.shape[1] < 5 + NEW:
            whole = np.pad(want, ((0, 0), (0, ids.shape[1] - want.shape[1])))
            out = runner.numpy(runner.run(kind.__call__, model, runner.array(whole)))
            want = np.concatenate([want, out[:, want.shape[1] - 1].argmax(-1)[:, None].astype(want.dtype)], axis=1)
        got = np.asarray(model.generate(runner.array(ids[:, :5]), NEW))
        return float((got != want).mean())

    def gradients() -> float:
        return _gradients(runner, package, checkpoint, ids)

    causal = bool(data["causal"])
    both_ways = "later tokens change earlier ones in the original"
    yield "forward, float32", limit, lambda: relative_error(forward(model), logits)
    if bool(data["double"]):
        yield "forward, float64", exact, lambda: relative_error(forward(runner.load(checkpoint, "float64")), logits)
    else:
        yield "forward, float64", exact, "the original does not run in float64"
    yield "decode on a cache", limit, decode if causal else both_ways
    yield "padded left", limit, left_padded if causal else both_ways
    yield "padded right", limit, right_padded if causal else both_ways
    yield "greedy generation", 0.0, generated if causal else both_ways
    yield "weights there and back", 0.0, lambda: _round_trip(package, model, checkpoint)
    derived = (checkpoint / "gradient").is_dir()
    yield "gradients", max(GRADIENT, noise), gradients if derived else "what the interpreter evaluates has none"
    if isinstance(runner, FlaxRunner):
        yield from _scanned(runner, package, checkpoint, forward, logits, limit)


def _scanned(
    runner: FlaxRunner, package: str, checkpoint: Path, forward: Callable[[Any], Array], logits: Array, limit: float
) -> Iterator[tuple[str, float, Measure | str]]:
    try:
        model = runner.load(checkpoint, "float32", scan_layers=True)
    except (ValueError, NotImplementedError) as error:
        yield "layers scanned", limit, str(error)
        return
    yield "layers scanned", limit, lambda: relative_error(forward(model), logits)
    yield "scanned weights there and back", 0.0, lambda: _round_trip(package, model, checkpoint)


def _round_trip(package: str, model: Any, checkpoint: Path) -> float:
    """How many tensors differ in any bit.

    Raises:
        ValueError: there are others than the checkpoint has.
    """
    from safetensors.numpy import load_file

    ours = importlib.import_module(f"{package}.weights").to_hf(model)
    theirs = load_file(checkpoint / "model.safetensors")
    if ours.keys() != theirs.keys():
        raise ValueError(f"tensors differ: {sorted(ours.keys() ^ theirs.keys())[:5]}")
    return float(sum(not np.array_equal(np.asarray(ours[name]), theirs[name]) for name in theirs))


def _gradients(runner: Runner, package: str, checkpoint: Path, ids: Array) -> float:
    """The worst tensor: its largest difference, over its own largest gradient or a thousandth of the largest of all."""
    from safetensors.numpy import load_file

    model = runner.load(checkpoint, "float32")
    runner.differentiate(model, ids)
    ours = importlib.import_module(f"{package}.weights").to_hf(model)
    theirs = load_file(checkpoint / "gradient" / "model.safetensors")
    theirs = {name: value for name, value in theirs.items() if not np.isnan(value).any()}
    floor = 1e-3 * max(float(np.abs(value).max()) for value in theirs.values())
    return max(
        float(np.abs(np.asarray(ours[name], np.float64) - value).max() / max(floor, float(np.abs(value).max())))
        for name, value in theirs.items()
    )


def say(check: str, **facts: object) -> None:
    print(json.dumps({"check": check, **facts}), flush=True)


def main() -> None:
    framework, folder, checkpoint = sys.argv[1], Path(sys.argv[2]).resolve(), Path(sys.argv[3])
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    try:
        package = import_package(folder)
        runner = TorchRunner(package) if framework == "torch" else FlaxRunner(package)
        for name, limit, measure in checks(runner, package, checkpoint):
            if isinstance(measure, str):
                say(name, skipped=measure)
                continue
            try:
                say(name, error=measure(), limit=limit)
            except Exception as error:
                say(name, failed=_one_line(error))
    except Exception as error:
        say("load", failed=_one_line(error))


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"


if __name__ == "__main__":
    main()
