"""Layers that compute with the parameters of another layer: ties between modules of one list, as a rule over the layers.

A source ties parameters one by one. Where these are all the parameters of a part of a layer, and the layers that have such a
part take turns with a few of them, that is said once: the first `distinct` of these layers have their own, every later one
has that of the layer `distinct` places before it among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn

from codegen.diagnostics import CompileError, Diagnostic
from codegen.lowering.instances import walk
from ir.graph import Module
from ir.records import dataclass

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class SharedParts:
    """Parts of the layers of `stack`, by their paths in a layer. `members` are the layers that have them."""

    stack: str
    parts: tuple[str, ...]
    members: tuple[int, ...]
    distinct: int


@dataclass(frozen=True, slots=True)
class _Tie:
    layer: int
    source: int
    rest: str


def shared_parts(
    pairs: Sequence[Pair], tree: Module, lists: Sequence[str]
) -> tuple[SharedParts | None, tuple[Pair, ...]]:
    """What the ties say of whole layers, and the others.

    Raises:
        CompileError: `unknown-tie`, layers share something in a way that is no such rule.
    """
    found: SharedParts | None = None
    others = tuple(pairs)
    for stack in lists:
        ties = {pair: tie for pair in pairs if (tie := _within(pair, stack)) is not None}
        if not ties:
            continue
        made = _rule(stack, list(ties.values()), _parameters(tree, stack))
        if found is not None:
            _refuse(f"layers of `{found.stack}` and of `{stack}` share parameters")
        found = made
        others = tuple(pair for pair in others if pair not in ties)
    return found, others


def _within(pair: Pair, stack: str) -> _Tie | None:
    """A tie between two layers of a list."""
    ends = [path[len(stack) + 1 :].partition(".") for path in pair if path.startswith(f"{stack}.")]
    if len(ends) < 2 or not all(layer.isdigit() for layer, _, _ in ends):
        return None
    (layer, _, rest), (source, _, other) = ends
    if rest != other:
        _refuse(f"`{pair[0]}` is `{pair[1]}`, another part of another layer")
    return _Tie(int(layer), int(source), rest)


def _parameters(tree: Module, stack: str) -> dict[int, frozenset[str]]:
    """The stored tensors of every layer, by their paths in it."""
    layers: dict[int, set[str]] = {}
    for path, module in walk(tree):
        if not path.startswith(f"{stack}."):
            continue
        layer, _, rest = path[len(stack) + 1 :].partition(".")
        names = [p.name for p in module.parameters if not p.buffer or p.persistent]
        layers.setdefault(int(layer), set()).update(f"{rest}.{name}".lstrip(".") for name in names)
    return {layer: frozenset(names) for layer, names in layers.items()}


def _rule(stack: str, ties: Sequence[_Tie], layers: Mapping[int, frozenset[str]]) -> SharedParts:
    sources = {tie.layer: tie.source for tie in ties}
    if any(sources[tie.layer] != tie.source for tie in ties):
        _refuse(f"a layer of `{stack}` shares parameters with several others")
    parts = _parts(ties, layers)
    sharing = {part: {tie.layer for tie in ties if tie.rest.startswith(f"{part}.")} for part in parts}
    holding = {part: tuple(layer for layer, names in sorted(layers.items()) if _part(names, part)) for part in parts}
    if len(set(map(frozenset, sharing.values()))) > 1 or len(set(holding.values())) > 1:
        _refuse(f"the layers of `{stack}` share several parts, each in its own way: {', '.join(parts)}")
    members = holding[parts[0]]
    distinct = len(members) - len(sources)
    expected = {layer: members[at % distinct] for at, layer in enumerate(members) if distinct and at >= distinct}
    if sources != expected:
        _refuse(f"the layers of `{stack}` share parameters, but do not take turns: {sources}")
    return SharedParts(stack, parts, members, distinct)


def _parts(ties: Sequence[_Tie], layers: Mapping[int, frozenset[str]]) -> tuple[str, ...]:
    """The largest modules of which all parameters are shared."""
    left = {(tie.layer, tie.rest): tie.source for tie in ties}
    found: list[str] = []
    while left:
        rest = next(iter(left))[1]
        part = next((p for p in _above(rest) if _whole(p, left, layers)), None)
        if part is None:
            _refuse(f"layers share `{rest}`, but not all of the module that it belongs to")
        found.append(part)
        left = {at: source for at, source in left.items() if not at[1].startswith(f"{part}.")}
    return tuple(found)


def _above(rest: str) -> Iterator[str]:
    """The modules of a layer that a parameter is in, the largest first."""
    steps = rest.split(".")
    return (".".join(steps[:n]) for n in range(1, len(steps)))


def _whole(part: str, ties: Mapping[tuple[int, str], int], layers: Mapping[int, frozenset[str]]) -> bool:
    """Whether every layer that shares something of a part shares all of it."""
    sharing = {layer: source for (layer, rest), source in ties.items() if rest.startswith(f"{part}.")}
    return all(
        _part(layers[layer], part) == _part(layers[source], part)
        and all((layer, rest) in ties for rest in _part(layers[layer], part))
        for layer, source in sharing.items()
    )


def _part(names: frozenset[str], part: str) -> frozenset[str]:
    return frozenset(name for name in names if name.startswith(f"{part}."))


def _refuse(message: str) -> NoReturn:
    """
    Raises:
        CompileError: `unknown-tie`.
    """
    raise CompileError(Diagnostic("unknown-tie", message, help="layers that take turns with some parts are known"))
