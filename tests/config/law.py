"""The law of Config.from_hf: it refuses a configuration, or reads from it what the configuration class makes of it."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from codegen.diagnostics import CompileError
from codegen.graph import construction
from codegen.graph.exploration import ConfigurationClass, disturbed, explore, retyped
from codegen.graph.predicates import Kind, Predicate
from codegen.graph.registry import equivalents
from codegen.lowering.config_view import ConfigLowering
from codegen.lowering.fields import field_names
from codegen.lowering.views import SourceView
from codegen.render.python import format_python
from codegen.render.templates import fill
from codegen.source.files import Library, find_library
from ir.expressions import Apply, Environment, Expr, Key
from ir.reading import INERT, Explored, lookup, same

CASES = Path(__file__).resolve().parent.parent / "data" / "cases"
OTHERS = CASES.parent / "other_cases"
SOURCE = SourceView("package", "Package", "org/name", "0123456789", "codegen 0.1.0")
LETTERS = {
    "vocab_size": "V",
    "hidden_size": "D",
    "intermediate_size": "F",
    "num_hidden_layers": "L",
    "num_attention_heads": "N",
    "num_key_value_heads": "K",
    "head_dim": "H",
}
REFUSING = frozenset({Kind.STRUCTURE, Kind.KEY, Kind.PRESENCE})
Truth = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]


@dataclass(frozen=True)
class Compiled:
    """A configuration class, what was found of it, and the emitted module."""

    raw: dict[str, Any]
    cls: ConfigurationClass
    explored: Explored
    lowering: ConfigLowering
    predicates: tuple[Predicate, ...]
    text: str
    module: types.ModuleType


@cache
def library() -> Library:
    return find_library()


def case(name: str) -> dict[str, Any]:
    folder = CASES if (CASES / f"{name}.json").exists() else OTHERS
    found = json.loads((folder / f"{name}.json").read_text())
    return found.get("config", found)  # type: ignore[no-any-return]


def compile_config(raw: Mapping[str, Any], checkpoints: Mapping[str, Mapping[str, Any]] | None = None) -> Compiled:
    """Config for `raw`, with every number and flag of the resolved configuration as a field."""
    cls = ConfigurationClass(library(), raw)
    try:
        predicates = tuple(p for p in construction.build(library(), raw).predicates if p.stage == 2)
    except CompileError:
        predicates = ()
    keys = list(numbers(cls, raw))
    explored = explore(cls, raw, keys, [*predicates, *cls.guards(raw)])
    outcome = cls(raw)
    predicates = tuple(p for p in predicates if not cls.repeats(p, outcome))
    letters = {key.path: LETTERS[str(key.path[0])] for key in keys if key.path[0] in LETTERS and len(key.path) == 1}
    lowering = ConfigLowering(explored, field_names(keys), letters, tuple(divisions(letters)))
    text = format_python({"config.py": fill("config.py.jinja", lowering.view(SOURCE, checkpoints))})["config.py"]
    return Compiled(dict(raw), cls, explored, lowering, predicates, text, load(text))


def divisions(letters: Mapping[tuple[str | int, ...], str]) -> Iterator[Expr]:
    heads, groups = Key(("num_attention_heads",)), Key(("num_key_value_heads",))
    if heads.path in letters and groups.path in letters:
        yield Apply("//", (heads, groups))


def numbers(cls: ConfigurationClass, raw: Mapping[str, Any]) -> Iterator[Key]:
    """The attributes that a model could read: numbers, flags and lists of the resolved configuration."""
    outcome = cls(raw)
    assert outcome.failure is None, outcome.failure
    for path in outcome.definitions:
        found = lookup(outcome.resolved, path)
        if path[0] in INERT or found is None or isinstance(found, (str, Mapping)):
            continue
        if path[0] not in cls.declared and path[0] != "head_dim":
            continue
        if len(path) == 1 or (isinstance(path[-1], str) and isinstance(outcome.resolved[str(path[0])], Mapping)):
            yield Key(path)


def load(text: str) -> types.ModuleType:
    """The emitted module, executed."""
    module = types.ModuleType("emitted_config")
    sys.modules["emitted_config"] = module
    exec(compile(text, "config.py", "exec"), module.__dict__)
    return module


def interpreted(compiled: Compiled) -> Truth:
    """What the interpreter makes of a configuration; None if its class refuses it."""

    def truth(raw: Mapping[str, Any]) -> Mapping[str, Any] | None:
        outcome = compiled.cls(raw)
        return None if outcome.failure is not None else outcome.resolved

    return truth


def violations(
    compiled: Compiled, truth: Truth, variants: Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]
) -> list[str]:
    """Every variant for which the law does not hold.

    What the source refuses only for a key that the emitted code never looks at (one of a tower that it leaves out,
    at the top or within an object) is no violation: nothing that the code computes depends on it.
    """
    found = []
    names = {field: path for path, field in compiled.lowering.fields.items()}
    for path, raw in variants:
        said = f"{'.'.join(map(str, path))}={lookup(raw, path)!r}"
        try:
            config = compiled.module.Config.from_hf(raw)
        except ValueError:
            continue
        resolved = truth(raw)
        if resolved is None:
            if _is_read(compiled, path):
                found.append(f"{said}: accepted, the source refuses")
            continue
        for field, at in names.items():
            expected, got = plain(lookup(resolved, at)), plain(getattr(config, field))
            if not same(expected, got):
                found.append(f"{said}: {field} is {got!r}, not {expected!r}")
        found += [
            f"{said}: accepted, but `{p.expr}` is not {p.value!r}"
            for p in compiled.predicates
            if not _serves(p, resolved)
        ]
    return found


def _is_read(compiled: Compiled, path: tuple[str | int, ...]) -> bool:
    """Whether the emitted code looks at this key, or at an object or list that it stands for."""
    names = [str(step) for step in path if isinstance(step, str)]
    if isinstance(path[-1], int) or len(names) < 2:
        return names[0] in {name.split(".")[0] for name in compiled.module.KEYS}
    return ".".join(names) in compiled.module.KEYS


def _serves(predicate: Predicate, resolved: Mapping[str, Any]) -> bool:
    """Whether the traced program is the program of this configuration, as far as one predicate tells."""
    if predicate.kind not in REFUSING:
        return True
    if predicate.kind is Kind.KEY and isinstance(predicate.expr, Key) and isinstance(predicate.value, str):
        return lookup(resolved, predicate.expr.path) in equivalents(library(), predicate.value)
    return predicate.holds(Environment(config=resolved))


def plain(x: Any) -> Any:
    return [plain(item) for item in x] if isinstance(x, (list, tuple)) else x


def all_variants(compiled: Compiled) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    yield (), dict(compiled.raw)
    yield from disturbed(compiled.raw, compiled.cls.declared)
    yield from retyped(compiled.raw)


def respelled(compiled: Compiled) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """Objects that the emitted code reads, given in every place where it looks for them, whole and with parts left out."""
    keys = compiled.module.KEYS
    owners = [name for name, kinds in keys.items() if dict in kinds and "." not in name and name not in INERT]
    objects = [plain_object(found) for found in compiled.explored.resolved.values() if _is_object(found)]
    for owner in owners:
        inner = {name.split(".")[1] for name in keys if name.startswith(f"{owner}.") and name.count(".") == 1}
        for found in objects:
            for cleared in (False, True):
                base = {name: value for name, value in compiled.raw.items() if not cleared or name not in owners}
                yield (owner,), {**base, owner: found}
                for name in inner | found.keys():
                    yield (owner, name), {**base, owner: {key: value for key, value in found.items() if key != name}}
                    for new in ("linear", 3.5, 7, None):
                        yield (owner, name), {**base, owner: {**found, name: new}}
                        yield (owner, name), {**base, owner: {name: new}}


def _is_object(found: Any) -> bool:
    return (
        isinstance(found, Mapping)
        and 0 < len(found) <= 24
        and all(isinstance(key, str) for key in found)
        and "LABEL_0" not in found
    )


def plain_object(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: plain_object(item) if isinstance(item, Mapping) else plain(item) for key, item in found.items()}
