"""What transformers itself makes of a configuration, on the meta device: the resolved attributes, and every tensor."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
warnings.filterwarnings("ignore")

PRIVATE = frozenset(
    {
        "_name_or_path",
        "transformers_version",
        "_post_init_done",
        "_attn_implementation_internal",
        "_experts_implementation_internal",
        "_output_attentions",
        "_heterogeneity_spec",
    }
)


@dataclass(frozen=True)
class Truth:
    """`state` in the order of the state dict; `tied` groups of names; `transient` buffers that are not stored."""

    class_name: str
    config: dict[str, Any]
    state: list[tuple[str, tuple[int, ...], str]]
    tied: list[tuple[str, ...]]
    transient: list[tuple[str, tuple[int, ...], str]]


def normal(value: Any) -> Any:
    """A value of a configuration in a form that can be compared."""
    if hasattr(value, "attribute_map"):
        return {str(k): normal(v) for k, v in value.__dict__.items() if k not in PRIVATE}
    if isinstance(value, Mapping):
        return {str(k): normal(v) for k, v in value.items() if k not in PRIVATE}
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, (list, tuple)):
        return [normal(v) for v in value]
    if type(value).__module__ == "torch" and type(value).__name__ == "dtype":
        return str(value).removeprefix("torch.")
    return value


def truth_of(raw: Mapping[str, Any]) -> Truth:
    """Build the model on the meta device in bfloat16, so that float32 by decree can be told from the model's own type."""
    import copy

    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    keys = copy.deepcopy(dict(raw))
    kind = keys.pop("model_type")
    from transformers import CONFIG_MAPPING

    config_class = CONFIG_MAPPING[kind]
    config = config_class.from_dict({**keys, "model_type": kind})
    resolved = normal(config)
    assert AutoConfig is not None
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="eager")
    state = model.state_dict(keep_vars=True)
    groups: dict[int, list[str]] = {}
    for name, tensor in state.items():
        groups.setdefault(id(tensor), []).append(name)
    stored = set(state)
    transient = [
        (name, tuple(b.shape), str(b.dtype).removeprefix("torch."))
        for name, b in model.named_buffers(remove_duplicate=False)
        if name not in stored
    ]
    entries = [(name, tuple(t.shape), _loaded(model, name, t)) for name, t in state.items()]
    tied = [tuple(names) for names in groups.values() if len(names) > 1]
    return Truth(type(model).__name__, resolved, entries, tied, transient)


def _loaded(model: Any, name: str, tensor: Any) -> str:
    """The type of a tensor after `from_pretrained` in bfloat16: the library keeps some in float32 that a new model has not."""
    import torch
    from transformers.core_model_loading import build_glob_alternation

    kept = list(model._get_dtype_plan(torch.bfloat16))
    wide = kept and tensor.is_floating_point() and build_glob_alternation(kept)[0].search(name)
    return "float32" if wide else str(tensor.dtype).removeprefix("torch.")
