"""Each key of config.json doubled, flipped, nulled, removed, retyped or spelled otherwise: refused, or read as its class reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import cache
from typing import Any

import pytest

from tests.config.law import (
    CASES,
    Compiled,
    Truth,
    all_variants,
    case,
    compile_config,
    interpreted,
    respelled,
    violations,
)

QUICK = ("llama", "gpt2", "qwen2")
SLOW = sorted(path.stem for path in CASES.glob("*.json") if path.stem not in QUICK)


@cache
def compiled(name: str) -> Compiled:
    return compile_config(case(name))


def check(name: str) -> None:
    found = compiled(name)
    found.module.Config.from_hf(found.raw)
    truth = interpreted(found)
    assert violations(found, truth, all_variants(found)) == []
    assert violations(found, truth, respelled(found)) == []


@pytest.mark.parametrize("name", QUICK)
def test_the_law(name: str) -> None:
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_the_law_for_all(name: str) -> None:
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_the_law_against_the_library(name: str) -> None:
    """What the interpreter says is not taken on trust: the library itself resolves every variant.

    The library also checks the towers that the language model leaves out; what it says of those is theirs alone.
    """
    found = compiled(name)
    towers = towers_of(found.raw)
    variants = ((path, raw) for path, raw in all_variants(found) if path[:1] not in towers)
    assert violations(found, library_truth(found), variants) == []


def towers_of(raw: Mapping[str, Any]) -> set[tuple[str]]:
    """The objects that configure other networks than the language model, by their keys."""
    from transformers import AutoConfig

    config = AutoConfig.for_model(**_copied(raw))
    text = config.get_text_config(decoder=True).model_type
    return {
        (key,)
        for key, value in raw.items()
        if isinstance(value, Mapping) and value.get("model_type", text) not in (text, config.model_type)
    }


def library_truth(found: Compiled) -> Truth:
    from transformers import AutoConfig
    from transformers.utils import logging

    logging.set_verbosity_error()
    kind = found.raw["model_type"]

    def truth(raw: Mapping[str, Any]) -> Mapping[str, Any] | None:
        if raw.get("model_type") != kind:
            return interpreted(found)(raw)
        try:
            config = AutoConfig.for_model(**_copied(raw))
        except Exception:
            return None
        return _Attributes(config)

    return truth


def _copied(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {key: dict(value) if isinstance(value, Mapping) else value for key, value in raw.items()}


class _Attributes(Mapping[str, Any]):
    """The attributes of a configuration of the library."""

    def __init__(self, config: Any):
        self.config = config
        config.allow_global_per_layer_attribute_access = True  # what layers have of their own has a value for all too

    def __getitem__(self, name: str) -> Any:
        try:
            value = getattr(self.config, name)
        except AttributeError:
            raise KeyError(name) from None
        return dict(vars(value)) if is_dataclass(value) else value

    def __iter__(self) -> Any:
        return iter(self.config.to_dict())

    def __len__(self) -> int:
        return len(self.config.to_dict())
