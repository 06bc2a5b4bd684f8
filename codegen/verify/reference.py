"""What the original computes, recorded in a process of its own.

    python -m codegen.verify.reference CONFIG_JSON OUT_DIR [NAMES_JSON [CODE_DIR]]

Without CODE_DIR only code that transformers itself ships is run; with it, what the configuration's `auto_map` names there.

OUT_DIR gets a checkpoint of random weights (`config.json`, `model.safetensors`), a checkpoint of the gradients of the
next-token loss (`gradient/`), and `expected.npz`: token ids, logits alone and padded, and how exact the original itself is.
NAMES_JSON says how the package's checkpoints store parameters, by path, where that is not what transformers writes.
"""

from __future__ import annotations

import copy
import inspect
import json
import re
import shutil
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

LENGTH, PADDING = 17, 4  # tokens of a row; those of a padded row that are none


def record(config_file: Path, out: Path, names: Mapping[str, object], code: Path | None = None) -> None:
    """Build the original with random weights, none of them at its start, and keep checkpoint, ids, logits, gradients."""
    import torch

    torch.manual_seed(0)
    config, model = built(config_file, code)
    randomize(model)
    save(model, out, config_file, names)
    ids = tokens(config.get_text_config(decoder=True).vocab_size)
    single, double = logits(model, ids), None
    exact = copy.deepcopy(model).double()
    try:
        double = logits(exact, ids)
    except RuntimeError:  # an original that cannot run in float64
        exact = model
    expected = single if double is None else double
    mask = torch.ones_like(ids)
    mask[1, :PADDING] = 0
    padded = torch.cat([ids[:1], torch.nn.functional.pad(ids[1:, : LENGTH - PADDING], (PADDING, 0))])
    np.savez(
        out / "expected.npz",
        ids=ids.numpy(),
        logits=expected.double().numpy(),
        short=logits(exact, ids[1:, : LENGTH - PADDING]).double().numpy(),
        padded_ids=padded.numpy(),
        padded_mask=mask.numpy(),
        double=double is not None,
        noise=float((single.double() - expected.double()).abs().max() / max(1.0, float(expected.std()))),
        causal=torch.allclose(
            logits(model, ids[:, : LENGTH - PADDING]), single[:, : LENGTH - PADDING], rtol=0, atol=1e-3
        ),
    )
    exact.float().zero_grad()
    differentiate(exact, ids)
    save(exact, out / "gradient", config_file, names)


def built(config_file: Path, code: Path | None) -> tuple[Any, Any]:
    """The configuration, and the model in float32."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if code is None:
        config = AutoConfig.for_model(**json.loads(config_file.read_text()))
    else:
        shutil.copy(config_file, code / "config.json")
        config = AutoConfig.from_pretrained(code, trust_remote_code=True)
    known = {"attn_implementation": "eager", "dtype": torch.float32, "trust_remote_code": code is not None}
    with unfilled_is_nan():
        return config, AutoModelForCausalLM.from_config(config, **known).float().eval()


@contextmanager
def unfilled_is_nan() -> Iterator[None]:
    """Let what a constructor leaves as the memory was, `torch.empty`, be told from what it fills."""
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)  # which fills memory with NaN
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def randomize(model: Any, seed: int = 0) -> None:
    """Fill every parameter and stored buffer, each from a generator of its own: matrices normal, vectors around their start.

    A stored buffer with unlike numbers, or a table of numbers other than zero, stays as the model made it: several may be
    made of the same, and say the same.
    """
    import torch

    stored, seen, trained = set(model.state_dict()), set(), {id(parameter) for parameter in model.parameters()}
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name not in stored or id(tensor) in seen or not tensor.is_floating_point() or "inv_freq" in name:
                continue
            made = tensor.unique().numel() > 1 or tensor.dim() > 1 and bool((tensor != 0).all())
            if id(tensor) not in trained and tensor.isfinite().all() and made:
                continue
            seen.add(id(tensor))
            generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
            noise = torch.randn(tensor.shape, generator=generator)
            if sum(size > 1 for size in tensor.shape) >= 2:
                tensor.copy_(noise * min(0.5, max(0.2, 0.8 / tensor.shape[-1] ** 0.5)))
            else:  # what starts at next to nothing, an epsilon, stays of that size
                tensor.copy_(torch.where(tensor.isnan(), 1.0, tensor))  # what the checkpoint alone would fill
                tiny = (tensor != 0) & (tensor.abs() < 1e-3)
                tensor.copy_(torch.where(tiny, tensor * (1 + 0.2 * noise), tensor + 0.2 * noise))


def tokens(vocabulary: int) -> Any:
    """Random ids [2, T] without the first few, which may be special."""
    import torch

    generator = torch.Generator().manual_seed(1)
    return torch.randint(min(5, vocabulary - 1), vocabulary, (2, LENGTH), generator=generator)


def logits(model: Any, ids: Any) -> Any:
    import torch

    known = inspect.signature(model.forward).parameters
    with torch.no_grad():
        return model(input_ids=ids, **({"use_cache": False} if "use_cache" in known else {})).logits


def differentiate(model: Any, ids: Any) -> None:
    """Put the gradients of the next-token loss in the place of the parameters; what has none becomes NaN."""
    import torch

    known = inspect.signature(model.forward).parameters
    options = {"use_cache": False} if "use_cache" in known else {}  # some write into their cache in place
    out = model(input_ids=ids, **options).logits
    torch.nn.functional.cross_entropy(out[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.fill_(torch.nan)


def save(model: Any, out: Path, config_file: Path, names: Mapping[str, object]) -> None:
    """A checkpoint as its publisher would have saved it."""
    from safetensors.torch import load_file, save_file

    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    shutil.copy(config_file, out / "config.json")
    if names:
        file = out / "model.safetensors"
        save_file(renamed(model, load_file(file), names), file)


def renamed(model: Any, saved: dict[str, Any], names: Mapping[str, object]) -> dict[str, Any]:
    """The tensors that the library saves, those of some parameters stored otherwise; `{}` in paths and names is the layer."""
    from transformers.core_model_loading import revert_weight_conversion

    for template, layout in names.items():
        pattern = re.compile(re.escape(template).replace(r"\{\}", r"(\d+)"))
        for path, tensor in model.state_dict().items():
            if found := pattern.fullmatch(path):
                for name in revert_weight_conversion(model, {path: tensor.clone()}):
                    saved.pop(name, None)
                saved |= stored(layout, tensor, found.groups())
    return saved


def stored(layout: object, tensor: Any, layer: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """The tensors that a parameter lies in, by the record of a package."""
    match layout:
        case str():
            yield layout.format(*layer), tensor.contiguous()
        case {"Stack": of}:
            for index, part in enumerate(tensor):
                yield from ((name.replace("*", str(index)), value) for name, value in stored(of, part, layer))
        case {"Concat": list() as parts, "axis": int() as axis}:
            for part, value in zip(parts, tensor.chunk(len(parts), axis), strict=True):
                yield from stored(part, value, layer)
        case _:
            raise NotImplementedError(f"a parameter stored as {layout}")


if __name__ == "__main__":
    record(
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        json.loads(Path(sys.argv[3]).read_text()) if sys.argv[3:] else {},
        Path(sys.argv[4]) if sys.argv[4:] else None,
    )
