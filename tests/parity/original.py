"""The original implementation of a tiny configuration, with weights that hide nothing. Runs in tests only."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch

CASES = Path(__file__).parents[1] / "data" / "cases"
NAMES = sorted(path.stem for path in CASES.glob("*.json"))

# what the original itself does not do; see the reasons in docs/conformance.md
NO_CACHE = frozenset({"cpmant", "openai-gpt", "moshi"})
NO_LEFT_PADDING = frozenset({"cpmant", "doge"})


@dataclass(frozen=True)
class Original:
    """A model of transformers in evaluation mode, and what it computes."""

    config: object
    model: torch.nn.Module

    @torch.no_grad()
    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=ids, use_cache=False).logits


def build(raw: dict[str, object], dtype: torch.dtype = torch.float32, seed: int = 0) -> Original:
    """The original of a configuration: eager attention, every parameter random, norms not one and biases not zero."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**raw) if "model_type" in raw else None
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    randomize(model, seed)
    return Original(config, model.to(dtype))


def load_case(name: str) -> dict[str, object]:
    return json.loads((CASES / f"{name}.json").read_text())


@torch.no_grad()
def randomize(model: torch.nn.Module, seed: int) -> None:
    """Fill every parameter and stored buffer, each from a generator of its own: matrices normal, vectors around their start."""
    stored = set(model.state_dict())
    seen: set[int] = set()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if name not in stored or id(tensor) in seen or not tensor.is_floating_point() or "inv_freq" in name:
            continue
        seen.add(id(tensor))
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
        noise = torch.randn(tensor.shape, generator=generator)
        if sum(size > 1 for size in tensor.shape) >= 2:
            tensor.copy_(noise * min(0.5, max(0.2, 0.8 / tensor.shape[-1] ** 0.5)))
        else:
            tensor.copy_(tensor + 0.2 * noise)


def tokens(vocabulary: int, batch: int, length: int, seed: int = 1) -> torch.Tensor:
    """Random token ids [batch, length] that leave out the first few, which may be special."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(5, vocabulary, (batch, length), generator=generator)
