"""Published configurations with something wrong in them: a diagnostic or a package, never a traceback, never a hang.

And the emitted Config: it refuses such a configuration with its own error, or reads it as the source's own class does.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
import types
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from codegen import pipeline
from codegen.diagnostics import CompileError, to_json, to_text
from codegen.graph.exploration import ConfigurationClass
from codegen.render import write_package
from codegen.repo import from_record
from codegen.source.files import find_library
from tests.tools.mutations import Config, Draw, draws, published, small

PUBLISHED, SMALL = published(), small()
SLACK = 2.0  # seconds of this process over a multiple of what the configuration takes as it was published
MULTIPLE = 3
SOME = {name: SMALL[name] for name in ("bloom", "gemma2", "qwen2", "deepseek_v3")}


def often(number: int) -> settings:
    """No shrinking to save time: what is drawn says what was changed."""
    return settings(
        max_examples=number,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )


def front(name: str, config: Config) -> None:
    """The configuration as far as a model is made of it."""
    pipeline.build(from_record(name, "", config))


def whole(name: str, config: Config) -> pipeline.Package:
    return pipeline.compile_package(from_record(name, "", config))


@cache
def seconds(step: Any, name: str) -> float:
    """What a step takes for a configuration as it was published."""
    start = time.process_time()
    try:
        step(name, {**PUBLISHED, **SMALL}[name])
    except CompileError:
        pass
    return time.process_time() - start


def attempt(step: Any, draw: Draw) -> Any:
    """What a step makes of a draw, None if it is refused. Every finding can be shown, in a bounded time."""
    allowed = SLACK + MULTIPLE * seconds(step, draw.base)
    start = time.process_time()
    try:
        made = step(draw.base, json.loads(json.dumps(draw.config)))
    except CompileError as error:
        made = None
        assert error.diagnostics
        for found in error.diagnostics:
            assert "\x1b" not in to_text(found) and len(to_text(found)) < 20_000
            json.dumps(to_json(found))
            assert found.code != "internal-error"
    assert time.process_time() - start < allowed, draw
    return made


@given(draws(PUBLISHED))
@often(40)
def test_the_front_end(draw: Draw) -> None:
    attempt(front, draw)


@pytest.mark.slow
@given(draws({**PUBLISHED, **SMALL}))
@often(20_000)
def test_the_front_end_often(draw: Draw) -> None:
    attempt(front, draw)


@pytest.mark.slow
@given(draws({**PUBLISHED, **SMALL}))
@often(300)
def test_the_compiler(tmp_path_factory: pytest.TempPathFactory, draw: Draw) -> None:
    package = attempt(whole, draw)
    if package is not None:
        folder = tmp_path_factory.mktemp("fuzzed") / "package"
        write_package(package.files, folder)
        config = imported(folder)
        config.from_hf(draw.config)


def imported(folder: Path) -> Any:
    """The Config of a package whose modules have all been imported."""
    for name in [name for name in sys.modules if name.split(".")[0] == "fuzzed_package"]:
        del sys.modules[name]
    spec = importlib.util.spec_from_file_location(
        "fuzzed_package", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    sys.modules["fuzzed_package"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for file in sorted(folder.glob("*.py")):
        if file.stem not in ("__init__", "test_model"):
            importlib.import_module(f"fuzzed_package.{file.stem}")
    return importlib.import_module("fuzzed_package.config").Config


# The emitted Config


@cache
def emitted(name: str) -> Any:
    """The Config that is emitted for a configuration."""
    module = types.ModuleType(f"emitted_for_fuzzing_{name}")
    sys.modules[module.__name__] = module
    exec(compile(whole(name, SMALL[name]).files["config.py"], f"{name}/config.py", "exec"), module.__dict__)
    return module.__dict__["Config"]


@cache
def resolving(name: str) -> ConfigurationClass:
    return ConfigurationClass(find_library({}), SMALL[name])


def agrees(draw: Draw) -> None:
    """The emitted Config refuses, or has the values of the attributes that the source's class makes of the keys."""
    try:
        found = emitted(draw.base).from_hf(json.loads(json.dumps(draw.config)))
    except ValueError as error:
        assert str(error).startswith(("this configuration does not fit", "this configuration makes no sense"))
        return
    outcome = resolving(draw.base)(draw.config)
    assert outcome.failure is None or not about(draw, outcome.failure), (draw.changes, outcome.failure)
    there = attributes(outcome.resolved)
    for field in found.__dataclass_fields__:
        values, own = [listed(value) for value in there.get(field, [])], listed(getattr(found, field))
        first = [value[0] for value in values if isinstance(value, list) and value]  # has the name of the list
        assert not values or own in values or own in first, (draw, field)


def about(draw: Draw, failure: str) -> bool:
    """Whether the source refuses a key that the emitted Config reads; what it does not read may hold anything."""
    keys = sys.modules[f"emitted_for_fuzzing_{draw.base}"].__dict__["KEYS"]
    return any(f"{key}'" in failure or f"`{key}`" in failure for key in keys)


def attributes(owner: object, path: tuple[str, ...] = ()) -> dict[str, list[object]]:
    """Values by the last name of where they stand, and by all names joined."""
    found: dict[str, list[object]] = {}
    for names, value in places(owner, path):
        for name in {names[-1], "_".join(names)}:
            found.setdefault(name, []).append(value)
    return found


def places(owner: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
    if isinstance(owner, Mapping):
        for name, inner in owner.items():
            yield (*path, str(name)), inner
            yield from places(inner, (*path, str(name)))


def listed(value: object) -> object:
    return [listed(item) for item in value] if isinstance(value, Sequence) and not isinstance(value, str) else value


@given(st.sampled_from(sorted(SOME)).flatmap(lambda name: draws({name: SMALL[name]}, {**PUBLISHED, **SOME})))
@example(Draw("qwen2", (), {**SMALL["qwen2"], "num_key_value_heads": 0}))
@example(Draw("qwen2", (), {**SMALL["qwen2"], "model_type": "bloom"}))
@example(Draw("deepseek_v3", (), {**SMALL["deepseek_v3"], "rope_scaling": None}))
@often(250)
def test_the_emitted_config(draw: Draw) -> None:
    agrees(draw)


@pytest.mark.slow
@given(draws(SMALL, {**PUBLISHED, **SMALL}))
@often(20_000)
def test_the_emitted_config_often(draw: Draw) -> None:
    try:
        emitted(draw.base)
    except CompileError:
        return
    agrees(draw)
