"""Our reading of a model beside transformers' own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codegen.graph.construction import Built, Entry, state_entries, transient_buffers
from ir.graph import DType
from tests.graph.truth import PRIVATE, Truth

_NAMES = {DType.MODEL: "bfloat16", DType.PROMOTED: "float32"}


def dtype_name(dtype: DType) -> str:
    return _NAMES.get(dtype, dtype.value)


def normal(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): normal(v) for k, v in value.items() if k not in PRIVATE}
    if isinstance(value, (list, tuple)):
        return [normal(v) for v in value]
    return value


def differences(built: Built, truth: Truth, types: bool = True) -> list[str]:
    """Everything in which the two disagree."""
    found: list[str] = []
    if built.class_name != truth.class_name:
        found.append(f"class {built.class_name} != {truth.class_name}")
    found += config_differences(normal(built.resolved), truth.config, "")
    found += _tensors("state", state_entries(built), truth.state, True, types)
    found += _tensors("transient", transient_buffers(built), truth.transient, False, types)
    ours: dict[str, list[str]] = {}
    for entry in state_entries(built):
        ours.setdefault(entry.tied or entry.name, []).append(entry.name)
    tied = {tuple(sorted(names)) for names in ours.values() if len(names) > 1}
    if tied != {tuple(sorted(names)) for names in truth.tied}:
        found.append(f"tied {sorted(tied)} != {sorted(truth.tied)}")
    return found


def config_differences(ours: Any, truth: Any, path: str) -> list[str]:
    if isinstance(ours, dict) and isinstance(truth, dict):
        found = [f"config{path}.{key} missing" for key in truth if key not in ours]
        found += [f"config{path}.{key} extra" for key in ours if key not in truth]
        for key in ours:
            if key in truth:
                found += config_differences(ours[key], truth[key], f"{path}.{key}")
        return found
    if type(ours) is not type(truth) or (ours != truth and not (ours != ours and truth != truth)):
        return [f"config{path}: {ours!r} != {truth!r}"]
    return []


def _tensors(
    kind: str, entries: list[Entry], truth: list[tuple[str, tuple[int, ...], str]], order: bool, types: bool
) -> list[str]:
    ours = {e.name: e for e in entries}
    theirs = {name: (shape, dtype) for name, shape, dtype in truth}
    found = [f"{kind} missing {name}" for name in theirs if name not in ours]
    found += [f"{kind} extra {name}" for name in ours if name not in theirs]
    for name, (shape, dtype) in theirs.items():
        if name in ours and ours[name].sizes != shape:
            found.append(f"{kind} {name}: {ours[name].sizes} != {shape}")
        elif types and name in ours and dtype_name(ours[name].dtype) != dtype:
            found.append(f"{kind} {name}: {dtype_name(ours[name].dtype)} != {dtype}")
    if order and not found and list(ours) != list(theirs):
        found.append(f"{kind}: another order")
    return found
