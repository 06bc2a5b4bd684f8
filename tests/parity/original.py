"""The original implementation of a tiny configuration, with weights that hide nothing. Runs in tests only.

`record` runs it once and leaves a checkpoint as its publisher would have saved it, beside what the original computes.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from codegen.verify.reference import differentiate, randomize, unfilled_is_nan

CASES = Path(__file__).parents[1] / "data" / "cases"
Result = TypeVar("Result")

NAMES = tuple(sorted(path.stem for path in CASES.glob("*.json")))

LENGTHS = (1, 5, 16, 17)  # past every window and every original context of the cases
BATCHES = (2, 3)
LENGTH = LENGTHS[-1]
PIECES = (0, 9, 13, 14, 15, 16, 17)  # a prompt, a part of one, single tokens
PADDING = 4  # to the left of the second row of a padded batch


@dataclass(frozen=True, slots=True)
class Facts:
    """How exact the original is itself: errors relative to max(1, std(logits)); None where it cannot do it at all."""

    dtype: str  # float64, or float32 where the original refuses
    noise: float  # what float32 costs it
    causal: float | None  # do later tokens change what came before them
    decode: float | None
    padded: float | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """A checkpoint with random weights, and what its original computes. `folder/gradient` is a checkpoint of gradients."""

    folder: Path
    facts: Facts
    arrays: Mapping[str, np.ndarray]

    @property
    def tolerance(self) -> float:
        """Of a relative error: norms and rotary tables are float32 in most originals, even in a float64 run.

        What a package computes in steps, or padded, is measured against the whole: there the original itself is off by its own
        rounding, which one run in float32 does not bound.
        """
        most = max(5e-6 if self.facts.dtype == "float64" else 5e-4, 3 * self.facts.noise)
        own = [error for error in (self.facts.decode, self.facts.padded) if error is not None and error <= most]
        return most + max(own, default=0.0)

    @property
    def raw(self) -> dict[str, object]:
        return json.loads((self.folder / "config.json").read_text())


def load_case(name: str) -> dict[str, object]:
    return json.loads((CASES / f"{name}.json").read_text())


def build(folder: Path, seed: int = 0) -> nn.Module:
    """The original of a configuration, in float32: eager attention, every parameter random. Code beside it is run: it is ours."""
    from transformers import AutoConfig, AutoModelForCausalLM

    ours = any(folder.glob("*.py"))
    config = AutoConfig.from_pretrained(folder, trust_remote_code=ours)
    with unfilled_is_nan():
        model = AutoModelForCausalLM.from_config(
            config, attn_implementation="eager", dtype=torch.float32, trust_remote_code=ours
        )
    model = model.float().eval()
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")  # the others have no float64
    randomize(model, seed)
    return model


def tokens(vocabulary: int, batch: int, length: int, seed: int = 1) -> Tensor:
    """Random token ids [batch, length] without the first few, which may be special; no row repeats one, so that no two
    keys of a row are equal and no choice among them is a tie."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([5 + torch.randperm(vocabulary - 15, generator=generator)[:length] for _ in range(batch)])


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Infinite where anything is not finite or of another shape."""
    if ours.shape != theirs.shape or not np.isfinite(ours).all():
        return float("inf")
    return float(np.abs(ours - theirs).max() / max(1.0, theirs.std()))


def record(
    raw: Mapping[str, object],
    folder: Path,
    *,
    gradients: bool = True,
    code: Mapping[str, str] | None = None,
    training: bool = False,
) -> None:
    """Write the checkpoint of `raw` and what the original computes with it into `folder`; `code`: files and their texts.

    `training`: gradients are those of an original that is told that it trains, which makes them other ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (code or {}).items():
        (folder / name).write_text(text)
    (folder / "config.json").write_text(json.dumps(raw))
    single = build(folder)
    single.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(raw))  # as published, not as this release would spell it
    double, untouched = copy.deepcopy(single).double(), copy.deepcopy(single)  # some keep tables of what they have seen
    trained = copy.deepcopy(single).train() if training else None

    ids = {batch: tokens(vocabulary_of(single), batch, LENGTH, seed=batch) for batch in BATCHES}
    arrays = {f"ids_{batch}": value.numpy() for batch, value in ids.items()}
    for length in LENGTHS:
        for batch, value in ids.items():
            arrays[f"single_{batch}_{length}"] = logits(single, value[:, :length]).numpy()

    exact = attempt(logits, double, ids[2])
    model = single if exact is None else double
    arrays["logits"] = (logits(model, ids[2]) if exact is None else exact).double().numpy()
    steps = attempt(decode, untouched if exact is None else untouched.double(), ids[2])
    if steps is not None:
        arrays["steps"] = steps
    scale = max(1.0, float(arrays["logits"].std()))
    noise = np.abs(arrays[f"single_2_{LENGTH}"] - arrays["logits"]).max() / scale

    short = ids[2][1:, : LENGTH - PADDING]
    arrays["short"] = logits(model, short).double().numpy()
    arrays["padded_ids"] = np.concatenate([arrays["ids_2"][:1], np.pad(short.numpy(), ((0, 0), (PADDING, 0)))])
    arrays["padded_mask"] = np.ones_like(arrays["padded_ids"])
    arrays["padded_mask"][1, :PADDING] = 0
    measures: dict[str, Callable[[nn.Module], float]] = {
        "causal": lambda model: relative_error(
            logits(model, ids[2]).numpy()[1:, : LENGTH - PADDING], logits(model, short).numpy()
        ),
        "decode": lambda model: relative_error(decode(model, ids[2]), logits(model, ids[2]).numpy()),
        "padded": lambda model: padded(model, arrays),
    }
    # in float32 too: with float64 the mask's least number overflows in float32 softmaxes, where a row is all padding
    measured = {name: least(attempt(run, single), attempt(run, double)) for name, run in measures.items()}
    facts = Facts("float32" if exact is None else "float64", float(noise), **measured)
    np.savez(folder / "arrays.npz", **arrays)
    (folder / "facts.json").write_text(json.dumps(asdict(facts)))
    if gradients:
        if trained is not None:
            model = trained if exact is None else trained.double()
        record_gradients(model, ids[2], folder / "gradient")


def read(folder: Path) -> Recorded:
    facts = Facts(**json.loads((folder / "facts.json").read_text()))
    return Recorded(folder, facts, dict(np.load(folder / "arrays.npz")))


def vocabulary_of(model: nn.Module) -> int:
    config = model.config.get_text_config(decoder=True)
    return min(config.vocab_size, getattr(config, "vocab_size_per_layer_input", None) or config.vocab_size)


def attempt(function: Callable[..., Result], *args: object) -> Result | None:
    try:
        return function(*args)
    except Exception:  # whatever an original raises, it cannot do it
        return None


def least(*values: float | None) -> float | None:
    return min((value for value in values if value is not None), default=None)


@torch.no_grad()
def logits(model: nn.Module, ids: Tensor, **options: object) -> Tensor:
    known = inspect.signature(model.forward).parameters
    options = {name: value for name, value in options.items() if name in known}
    return model(input_ids=ids, **{"use_cache": False} if "use_cache" in known else {}, **options).logits


@torch.no_grad()
def decode(model: nn.Module, ids: Tensor) -> np.ndarray:
    """Logits [B, T, V] of a prompt, then of single tokens on a cache."""
    known, cache, out = inspect.signature(model.forward).parameters, None, []
    for start, end in zip(PIECES, PIECES[1:], strict=False):
        positions = {"position_ids": torch.arange(start, end).expand(len(ids), -1)} if "position_ids" in known else {}
        step = model(input_ids=ids[:, start:end], past_key_values=cache, use_cache=True, **positions)
        cache = step.past_key_values
        out.append(step.logits.double().numpy())
    return np.concatenate(out, axis=1)


def padded(model: nn.Module, arrays: Mapping[str, np.ndarray]) -> float:
    """Error of a row that is padded to the left, beside one that is not."""
    mask = torch.from_numpy(arrays["padded_mask"])
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    out = logits(model, torch.from_numpy(arrays["padded_ids"]), attention_mask=mask, position_ids=positions)
    return padded_error(out.double().numpy(), arrays)


def padded_error(out: np.ndarray, arrays: Mapping[str, np.ndarray]) -> float:
    """Of logits [2, T, V] of the padded batch, against those of each row alone."""
    return max(relative_error(out[:1], arrays["logits"][:1]), relative_error(out[1:, PADDING:], arrays["short"]))


def record_gradients(model: nn.Module, ids: Tensor, folder: Path) -> None:
    """Save the gradients of the next-token loss as a checkpoint: names and layouts are those of the weights."""
    differentiate(model, ids)
    model.save_pretrained(folder)


def gradient_error(ours: Mapping[str, np.ndarray], folder: Path) -> float:
    """The worst tensor: its largest difference, over its own largest gradient or a thousandth of the largest of all."""
    theirs = {
        name: value for name, value in load_file(folder / "model.safetensors").items() if not np.isnan(value).any()
    }
    if missing := sorted(theirs.keys() - ours.keys()):
        raise AssertionError(f"no gradient of {missing}")
    floor = 1e-3 * max(float(np.abs(value).max()) for value in theirs.values())
    return max(
        float(np.abs(np.asarray(ours[name], np.float64) - value).max() / max(floor, float(np.abs(value).max())))
        for name, value in theirs.items()
    )
