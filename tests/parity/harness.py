"""Compiling for a recorded original and measuring what was emitted, in either framework."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from safetensors.numpy import load_file

from codegen.pipeline import compile_package
from codegen.repo import load
from tests.parity.original import (
    BATCHES,
    LENGTH,
    LENGTHS,
    PIECES,
    Recorded,
    gradient_error,
    padded_error,
    read,
    record,
    relative_error,
)


@dataclass(frozen=True, slots=True)
class Lab:
    """A folder that the processes of a test run share: each original is recorded once, each package compiled once."""

    root: Path

    def original(
        self,
        name: str,
        raw: Mapping[str, object],
        *,
        gradients: bool = True,
        code: Mapping[str, str] | None = None,
        training: bool = False,
    ) -> Recorded:
        folder = self.root / "originals" / name
        self._once(folder, lambda out: record(raw, out, gradients=gradients, code=code, training=training))
        return read(folder)

    def package(
        self, name: str, raw: Mapping[str, object], *, raised: bool, code: Mapping[str, str] | None = None
    ) -> Path:
        """The folder of the package compiled for a configuration; `code`: files of the repository and their texts.

        Raises:
            CompileError: as the compiler does.
        """
        folder = self.root / ("raised" if raised else "plain") / identifier(name)
        self._once(folder, lambda out: emit(raw, out, raised=raised, code=code))
        return folder

    def _once(self, folder: Path, make: Callable[[Path], None]) -> None:
        if folder.exists():
            return
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix="."))
        try:
            make(draft)
            draft.rename(folder)  # fails where another process was faster: the same was made there
        except FileExistsError:
            pass
        except OSError:
            if not folder.exists():
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def emit(raw: Mapping[str, object], out: Path, *, raised: bool, code: Mapping[str, str] | None = None) -> None:
    with tempfile.TemporaryDirectory() as source:
        for name, text in {**(code or {}), "config.json": json.dumps(raw)}.items():
            (Path(source) / name).write_text(text)
        package = compile_package(load(source), raise_components=raised)
    out.mkdir(exist_ok=True)
    for file, text in package.files.items():
        (out / file).write_text(text)


def identifier(name: str) -> str:
    return "case_" + re.sub(r"\W", "_", name)


def module(package: Path, name: str) -> ModuleType:
    """A module of an emitted package, imported under a name that no other folder has."""
    where = f"{package.parent.name}_{package.name}"
    if where not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            where, package / "__init__.py", submodule_search_locations=[str(package)]
        )
        assert spec and spec.loader
        sys.modules[where] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[where])
    return importlib.import_module(f"{where}.{name}")


def forget(package: Path) -> None:
    """Drop what was imported from a package, so that its folder can change."""
    where = f"{package.parent.name}_{package.name}"
    for name in [name for name in sys.modules if name == where or name.startswith(f"{where}.")]:
        del sys.modules[name]


class Torch:
    def load(self, package: Path, folder: Path, dtype: str, **options: object) -> torch.nn.Module:
        return (
            module(package, "torch_model").Model.from_pretrained(folder, dtype=getattr(torch, dtype), **options).eval()
        )

    def logits(self, model: torch.nn.Module, ids: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        with torch.no_grad():
            seen = None if mask is None else torch.from_numpy(mask)
            return model(torch.from_numpy(ids), attention_mask=seen).numpy()

    def step(self, model: torch.nn.Module, ids: np.ndarray, cache: object) -> tuple[np.ndarray, object]:
        with torch.no_grad():
            out, cache = model.step(torch.from_numpy(np.ascontiguousarray(ids)), cache)
        return out.double().numpy(), cache

    def differentiate(self, model: torch.nn.Module, ids: np.ndarray) -> None:
        """Put the gradients of the next-token loss in the place of the parameters."""
        batch = torch.from_numpy(ids)
        torch.nn.functional.cross_entropy(model(batch)[:, :-1].flatten(0, 1), batch[:, 1:].flatten()).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)


class Flax:
    def __init__(self) -> None:
        import jax
        from flax import nnx

        jax.config.update("jax_enable_x64", True)
        self.jax, self.nnx = jax, nnx
        self.run = nnx.jit(lambda model, ids, mask: model(ids, attention_mask=mask))
        self.run_step = nnx.jit(lambda model, ids, cache: model.step(ids, cache))

    def load(self, package: Path, folder: Path, dtype: str, **options: object) -> object:
        kind = getattr(self.jax.numpy, dtype)
        return module(package, "flax_model").Model.from_pretrained(folder, dtype=kind, **options)

    def logits(self, model: object, ids: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        return np.asarray(self.run(model, ids, mask), np.float64)

    def step(self, model: object, ids: np.ndarray, cache: object) -> tuple[np.ndarray, object]:
        out, cache = self.run_step(model, ids, cache)
        return np.asarray(out, np.float64), cache

    def differentiate(self, model: object, ids: np.ndarray) -> None:
        """Put the gradients of the next-token loss in the place of the parameters."""

        def loss(model: Callable[[np.ndarray], object]) -> object:
            logits = self.jax.nn.log_softmax(model(ids)[:, :-1])
            return -self.jax.numpy.take_along_axis(logits, ids[:, 1:, None], axis=-1).mean()

        gradients = self.nnx.jit(self.nnx.grad(loss))(model)
        still = self.nnx.filterlib.Not(self.nnx.Param)  # what is not trained has no gradient
        self.nnx.update(model, self.jax.tree.map(self.jax.numpy.zeros_like, self.nnx.state(model, still)))
        self.nnx.update(model, gradients)


Backend = Torch | Flax


def decode(backend: Backend, model: object, ids: np.ndarray) -> np.ndarray:
    """Logits [B, T, V] of a prompt, a part of one and single tokens, each on the cache of what came before."""
    cache, out = model.init_cache(batch_size=len(ids), max_length=LENGTH), []  # type: ignore[attr-defined]
    for start, end in zip(PIECES, PIECES[1:], strict=False):
        logits, cache = backend.step(model, ids[:, start:end], cache)
        out.append(logits)
    return np.concatenate(out, axis=1)


def round_trip(package: Path, model: object, folder: Path) -> list[str]:
    """Names of the checkpoint's tensors that do not come back as they were, but for those the package says it leaves out."""
    weights = module(package, "weights")
    theirs, ours = load_file(folder / "model.safetensors"), weights.to_hf(model)
    same = [name for name in theirs.keys() & ours.keys() if np.array_equal(ours[name], theirs[name].astype(np.float64))]
    left = [re.compile(pattern) for pattern in getattr(weights, "IGNORED", ())]
    ignored = [name for name in theirs.keys() - ours.keys() if any(pattern.search(name) for pattern in left)]
    return sorted((theirs.keys() | ours.keys()) - set(same) - set(ignored))


def inexact(
    package: Path, original: Recorded, backend: Backend | None = None, lengths: Iterable[int] = LENGTHS
) -> dict[str, float]:
    """Batch and length -> difference, where a model in float32, PyTorch's if nothing is said, is not bit for bit the original."""
    backend, found = backend or Torch(), {}
    model = backend.load(package, original.folder, "float32")
    for length in lengths:
        for batch in BATCHES:
            theirs = original.arrays[f"single_{batch}_{length}"]
            ours = backend.logits(model, np.ascontiguousarray(original.arrays[f"ids_{batch}"][:, :length]))
            if not np.array_equal(ours, theirs):
                found[f"{batch} x {length}"] = relative_error(ours, theirs)
    return found


def measure(backend: Backend, package: Path, original: Recorded, leave_out: Iterable[str] = ()) -> dict[str, object]:
    """What is measured -> relative error, or the names of tensors that did not come back."""
    arrays, folder, dtype = original.arrays, original.folder, original.facts.dtype
    model = backend.load(package, folder, dtype)
    measures: dict[str, Callable[[], object]] = {
        "forward": lambda: relative_error(backend.logits(model, arrays["ids_2"]), arrays["logits"]),
        "decode": lambda: relative_error(decode(backend, model, arrays["ids_2"]), arrays["logits"]),
        "padded": lambda: padded_error(backend.logits(model, arrays["padded_ids"], arrays["padded_mask"]), arrays),
        "round trip": lambda: round_trip(package, model, folder),
        "gradient": lambda: _gradient(backend, package, model, original),  # last: it takes the weights' place
    }
    return {name: _attempt(run) for name, run in measures.items() if name not in set(leave_out)}


def measure_stacked(
    backend: Flax, package: Path, original: Recorded, leave_out: Iterable[str] = ()
) -> dict[str, object]:
    """The same with `scan_layers`: stacked layers, where a model has equal ones."""
    arrays, folder = original.arrays, original.folder
    model = backend.load(package, folder, original.facts.dtype, scan_layers=True)
    measures: dict[str, Callable[[], object]] = {
        "stacked forward": lambda: relative_error(backend.logits(model, arrays["ids_2"]), arrays["logits"]),
        "stacked decode": lambda: relative_error(decode(backend, model, arrays["ids_2"]), arrays["logits"]),
        "stacked round trip": lambda: round_trip(package, model, folder),
    }
    return {
        name: _attempt(run) for name, run in measures.items() if name.removeprefix("stacked ") not in set(leave_out)
    }


def too_large(measures: Mapping[str, object], tolerance: float) -> dict[str, object]:
    """What a test reports: errors beyond the tolerance (of gradients: 20 times as much), losses, exceptions."""
    limits = {name: 20 * tolerance if name == "gradient" else tolerance for name in measures}
    return {k: v for k, v in measures.items() if (v if not isinstance(v, float) else not v <= limits[k])}


def _gradient(backend: Backend, package: Path, model: object, original: Recorded) -> float:
    backend.differentiate(model, original.arrays["ids_2"])
    return gradient_error(module(package, "weights").to_hf(model), original.folder / "gradient")


def _attempt(function: Callable[[], object]) -> object:
    try:
        return function()
    except Exception as error:  # one measure that fails leaves the others
        return f"{type(error).__name__}: {str(error)[:300]}"


def shared_root(base: Path) -> Path:
    """The folder that all processes of a run see, given the temporary folder of one."""
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
