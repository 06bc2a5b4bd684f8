"""The architecture as a flat table of facts, so that people can read it and two of them can be compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum

from codegen.lowering.card_view import phrase, spell
from codegen.report import Report, columns
from ir.arch import (
    Arch,
    Attention,
    Embedding,
    Experts,
    Fact,
    Head,
    LayerKind,
    Mixer,
    Mlp,
    Norm,
    Part,
    Rotary,
    RotaryScheme,
)
from ir.expressions import Const, Environment, Expr, Key, evaluate

ROLES: dict[type, str] = {
    Mixer: "attention",
    Mlp: "feed-forward",
    Experts: "experts",
    Norm: "norm",
    Embedding: "embedding",
    Head: "head",
    RotaryScheme: "rotary angles",
}

Facts = dict[str, str]


def described(arch: Arch) -> list[tuple[str, str, str]]:
    """(module, class of the source, what it is) in order; layers once for each kind."""
    rows = [(part.path, part.class_name, _said(part, arch.parts)) for part in arch.parts]
    for stack in arch.stacks:
        for kind in stack.kinds:
            rows.append((f"{stack.path}.{layers(kind)}", "", f"{len(kind.layers)} layers, {kind.wiring.value}"))
            rows += [(f"  {part.path}", part.class_name, _said(part, kind.parts)) for part in kind.parts]
    return rows


def _said(part: Part, others: tuple[Part, ...]) -> str:
    if part.fact is not None:
        return phrase(part.fact)
    return "" if _holds_others(part, others) else f"as the source has it: {part.why_not}"


def layers(kind: LayerKind) -> str:
    """The numbers of the layers of a kind: `{0-27}`, `{0,2,4,...}`."""
    numbers = kind.layers
    if len(numbers) > 2 and numbers == tuple(range(numbers[0], numbers[-1] + 1)):
        return f"{{{numbers[0]}-{numbers[-1]}}}"
    shown = ",".join(map(str, numbers[:6])) + (",..." if len(numbers) > 6 else "")
    return f"{{{shown}}}" if len(numbers) > 1 else shown


def facts(arch: Arch, resolved: Mapping[str, object]) -> Facts:
    """Every fact by its name, by the role of a module and not by what the source calls it; numbers with their values."""
    found: Facts = {"masks": arch.masks.value}
    for name, size in arch.sizes:
        found[f"size {name}"] = _value(size, resolved)
    for at, stack in enumerate(arch.stacks):
        stacked = "layers" if len(arch.stacks) == 1 else f"layers {at + 1}"
        found[stacked] = str(sum(len(kind.layers) for kind in stack.kinds))
        found[f"{stacked}, kinds"] = str(len(stack.kinds))
        for number, kind in enumerate(stack.kinds):
            name = stacked if len(stack.kinds) == 1 else f"{stacked} of kind {number + 1}"
            found |= {f"{name}: which": layers(kind)} if len(stack.kinds) > 1 else {}
            found[f"{name}: wiring"] = kind.wiring.value
            found |= _parts(kind.parts, f"{name}: ", resolved)
    return found | _parts(arch.parts, "", resolved)


def _parts(parts: tuple[Part, ...], prefix: str, resolved: Mapping[str, object]) -> Facts:
    found: Facts = {}
    seen: dict[str, int] = {}
    roles: dict[str, str] = {}
    for part in sorted(parts, key=lambda part: part.path.count(".")):
        above = next((path for path in roles if part.path.startswith(f"{path}.")), None)
        if part.fact is None and (above is not None or _holds_others(part, parts)):
            continue
        role = ROLES[type(part.fact)] if part.fact is not None else "module without a name"
        role = role if above is None else f"{roles[above]} {role}"
        seen[role] = seen.get(role, 0) + 1
        roles[part.path] = role if seen[role] == 1 else f"{role} {seen[role]}"
        name = prefix + roles[part.path]
        found[name] = part.path
        if part.fact is not None:
            found |= {f"{name}, {field}": value for field, value in _fields(part.fact, resolved)}
    return found


def _holds_others(part: Part, parts: tuple[Part, ...]) -> bool:
    return any(other.path.startswith(f"{part.path}.") for other in parts)


def _fields(fact: Fact | Attention | Rotary, resolved: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for field in dataclasses.fields(fact):
        value = getattr(fact, field.name)
        said = field.name.replace("_", " ")
        match value:
            case Attention() | Rotary():
                yield from ((f"{said} {inner}", text) for inner, text in _fields(value, resolved))
            case None:
                yield said, "none"
            case bool():
                yield said, "yes" if value else "no"
            case Enum():
                yield said, str(value.value)
            case str():
                yield said, value
            case _:
                yield said, _value(value, resolved)


def _value(expr: Expr, resolved: Mapping[str, object]) -> str:
    """An expression with its value, where it has one."""
    if isinstance(expr, Const):
        return repr(expr.value)
    try:
        value = evaluate(expr, Environment(config=resolved))
    except (KeyError, IndexError, TypeError, ValueError, ArithmeticError):
        return spell(expr)
    shown = f"{value:.6g}" if isinstance(value, float) else repr(value)
    return shown if isinstance(expr, Key) and len(expr.path) == 1 else f"{shown} ({spell(expr)})"


def gap(ours: Facts, theirs: Facts) -> list[tuple[str, str, str]]:
    """(fact, value here, value there) of all that differs, in order; "-" where there is no such fact. Where a module is
    missing its fields are not listed, and what the source calls it is no difference.
    """
    names = dict.fromkeys([*ours, *theirs])
    missing = {name for name in names if (name in ours) != (name in theirs)}
    modules = {name.rpartition(", ")[0] for name in names} - {"layers"}
    rows = []
    for name in names:
        owner, comma, _ = name.rpartition(", ")
        if (
            ours.get(name) == theirs.get(name)
            or (comma and owner in missing)
            or (name in modules and name not in missing)
        ):
            continue
        rows.append((name, ours.get(name, "-"), theirs.get(name, "-")))
    return rows


def report(source: str, arch: Arch, resolved: Mapping[str, object], nearly: Sequence[tuple[str, str, str]]) -> Report:
    """The architecture in words. `nearly`: module, rule and reason of rules that nearly fired."""
    rows, found = described(arch), facts(arch, resolved)
    lines = [source, "", *columns(rows, "  "), "", "Facts", *columns(list(found.items()), "  ")]
    lines += ["", "Rules that nearly fired", *columns(nearly, "  ")] if nearly else []
    modules = [{"path": path.strip(), "class": name, "is": said} for path, name, said in rows]
    missed = [{"module": module, "rule": rule, "reason": reason} for module, rule, reason in nearly]
    return Report("\n".join(lines), {"source": source, "modules": modules, "facts": found, "nearly": missed})


def gap_report(source: str, ours: Facts, other: str, theirs: Facts) -> Report:
    """What differs between two architectures."""
    rows = gap(ours, theirs)
    table = columns([("", source, other), *rows], "  ")
    text = "\n".join([f"{len(rows)} facts differ", *table]) if rows else "the same architecture, and the same sizes"
    found = [{"fact": fact, "here": here, "there": there} for fact, here, there in rows]
    return Report(text, {"source": source, "against": other, "gap": found})
