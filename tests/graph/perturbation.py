"""Change a key of config.json: either a predicate of the compiled program refuses the result, or its expressions predict it."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from codegen.diagnostics import CompileError
from codegen.graph.construction import Built, build, state_entries
from codegen.graph.predicates import Kind
from codegen.graph.values import expr_of
from codegen.source.files import Library
from ir.expressions import Environment, evaluate

REFUSING = (Kind.STRUCTURE, Kind.PRESENCE, Kind.KEY, Kind.TYPE, Kind.GUARD)
UNTOUCHED = ("model_type", "architectures", "transformers_version", "torch_dtype", "dtype", "auto_map")


def variants(raw: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every integer doubled, every flag flipped, every key removed; one level of nested dicts too."""
    for path, value in _leaves(raw, ()):
        if path[0] in UNTOUCHED:
            continue
        name = ".".join(map(str, path))
        if isinstance(value, bool):
            yield f"{name} flipped", _with(raw, path, not value)
        elif isinstance(value, int):
            yield f"{name} doubled", _with(raw, path, value * 2)
        yield f"{name} removed", _without(raw, path)


def _leaves(raw: Mapping[str, Any], path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    for key, value in raw.items():
        yield (*path, key), value
        if isinstance(value, dict) and len(path) < 1:
            yield from _leaves(value, (*path, key))


def _with(raw: Mapping[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(dict(raw))
    owner = changed
    for step in path[:-1]:
        owner = owner[step]
    owner[path[-1]] = value
    return changed


def _without(raw: Mapping[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    changed = copy.deepcopy(dict(raw))
    owner = changed
    for step in path[:-1]:
        owner = owner[step]
    del owner[path[-1]]
    return changed


def judge(base: Built, variant: Mapping[str, Any], files: Library) -> tuple[str, str]:
    """The verdict on one variant, and what is wrong with a wrong one."""
    try:
        other = build(files, variant)
    except CompileError:
        return "invalid", ""
    env = Environment(config=other.resolved)
    for predicate in base.predicates:
        if predicate.stage == 2 and predicate.kind in REFUSING and not predicate.holds(env):
            return "refused", ""
    layers = [p.expr for p in base.predicates if p.stage == 2 and p.kind is Kind.LAYER]
    ours = {entry.name: entry for entry in state_entries(base)}
    theirs = {entry.name: entry for entry in state_entries(other)}
    counted = any(p.kind is Kind.COUNT and p.stage == 2 and not p.holds(env) for p in base.predicates)
    for name in ours.keys() | theirs.keys():
        index = next((int(part) for part in name.split(".") if part.isdigit()), None)
        indices = {} if index is None else {"layer": index}
        if index is not None and _signature(layers, base.resolved, index) != _signature(layers, other.resolved, index):
            continue
        if name not in ours or name not in theirs:
            if counted:
                continue
            return "structure", name
        places = Environment(config=other.resolved, indices=indices)
        try:
            predicted = tuple(evaluate(expr_of(size), places) for size in ours[name].shape)
        except KeyError as error:
            if any(p.kind is Kind.HELPER and not p.holds(env) for p in base.predicates if p.stage == 2):
                return "refused", ""  # an object of the configuration has other keys, which is asked about
            return "wrong", f"{name}: {error!r}"
        except (IndexError, TypeError, ZeroDivisionError) as error:
            return "wrong", f"{name}: {error!r}"
        if predicted != theirs[name].sizes:
            return "wrong", f"{name}: {predicted} but {theirs[name].sizes}"
    return "predicted", ""


def _signature(layers: list[Any], resolved: dict[str, Any], index: int) -> list[Any]:
    result: list[Any] = []
    for expr in layers:
        try:
            indices = dict.fromkeys(("layer", "inner1", "inner2"), index)
            result.append(evaluate(expr, Environment(config=resolved, indices=indices)))
        except (KeyError, IndexError, TypeError, ValueError, ArithmeticError):
            result.append(None)
    return result


def survey(raw: Mapping[str, Any], files: Library) -> tuple[Counter[str], list[str]]:
    """Verdicts on all variants of a configuration, and the violations among them."""
    base = build(files, raw)
    counts: Counter[str] = Counter()
    violations: list[str] = []
    for name, variant in variants(raw):
        verdict, what = judge(base, variant, files)
        counts[verdict] += 1
        if verdict in ("wrong", "structure"):
            violations.append(f"{name}: {verdict} {what}")
    return counts, violations


def judge_definitions(base: Built, variant: Mapping[str, Any], resolved: Mapping[str, Any]) -> list[str]:
    """Where the branches of the configuration class go the same way, attributes follow from the raw keys as noted."""
    env = Environment(raw=variant)
    refusing = (*REFUSING, Kind.COUNT, Kind.HELPER, Kind.LAYER)
    if any(p.stage == 1 and p.kind in refusing and not p.holds(env) for p in base.predicates):
        return []
    wrong = []
    for path, expr in base.definitions.items():
        indices = {"layer": path[-1]} if isinstance(path[-1], int) else {}
        try:
            value = evaluate(expr, Environment(raw=variant, indices=indices))
        except KeyError:
            continue  # a key that is not there is refused by itself
        except (IndexError, TypeError, ValueError, ArithmeticError) as error:
            wrong.append(f"{path}: {error!r}")
            continue
        expected = _at(resolved, path)
        if value != expected and not (value != value and expected != expected):
            wrong.append(f"{path}: {value!r} but {expected!r}")
    return wrong


def _at(resolved: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        try:
            resolved = resolved[step]
        except (KeyError, IndexError, TypeError):
            return "nothing"
    return list(resolved) if isinstance(resolved, tuple) else resolved
