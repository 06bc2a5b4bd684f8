"""All architectures on one page: what each is made of, and what it differs in from its nearest relative."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from codegen.lowering.card_view import experts_name, mixer_name, network_name, norm_name
from ir.arch import Arch, Embedding, Experts, Fact, Head, Mixer, Mlp, Norm, NormWeight, Part, RotaryScheme, Wiring
from ir.records import dataclass

Features = Mapping[str, tuple[str, ...]]
"""What an architecture has for each aspect; several where its layers differ."""

CACHE = "cache"
SHOWN = ("norm", "wiring", "mixer", "positions", "feed-forward", "experts", CACHE)
NEVER = "–"


@dataclass(frozen=True, slots=True)
class Entry:
    """One package: its name, the repository it was compiled from, the parameters of that, what is kept of the tokens so far,
    and the architecture.
    """

    name: str
    repository: str
    parameters: int
    cache: tuple[str, ...]
    arch: Arch


def page(entries: Sequence[Entry]) -> str:
    """The page, in Markdown."""
    known = {entry.name: {**features(entry.arch), CACHE: entry.cache or ("none: run again",)} for entry in entries}
    header = ["package", "compiled from", "parameters", *SHOWN, "nearest relative", "differs from it in"]
    rows = []
    for entry in entries:
        own = known[entry.name]
        relative, difference = _nearest(entry.name, known)
        shown = [_several(own.get(aspect, ())) for aspect in SHOWN]
        rows.append([f"`{entry.name}`", entry.repository, _size(entry.parameters), *shown, relative, difference])
    lines = [_TEXT, "", _line(header), _line(["---"] * len(header)), *(_line(row) for row in rows)]
    return "\n".join(lines) + "\n"


_TEXT = """# Architectures

Every package of `generated/`, with the facts of its `arch.txt`. `codegen regenerate-all` writes this page; nothing in it is written
by hand. The nearest relative is the architecture that differs in the fewest facts (the first by name where several do); sizes and names
are no facts. What the compiler has no word for is emitted from its graph, and says "as in the source"."""


def features(arch: Arch) -> Features:
    """The facts that make an architecture another program, by aspect."""
    found: dict[str, dict[str, None]] = {}
    for stack in arch.stacks:
        for kind in stack.kinds:
            if kind.wiring is not Wiring.OTHER:
                found.setdefault("wiring", {})[kind.wiring.value] = None
    for part in _parts(arch):
        for aspect, text in _of_fact(part.fact) if part.fact is not None else _of_source(part):
            found.setdefault(aspect, {})[text] = None
    most = max((len(stack.kinds) for stack in arch.stacks), default=1)
    found["kinds of layers"] = {str(most): None}
    return {aspect: tuple(texts) for aspect, texts in found.items()}


def _parts(arch: Arch) -> Iterator[Part]:
    for stack in arch.stacks:
        for kind in stack.kinds:
            yield from kind.parts
    yield from arch.parts


def _of_source(part: Part) -> Iterator[tuple[str, str]]:
    """A module that no rule knows, where a rule nearly did."""
    if part.why_not:
        yield "own parts", "as in the source"


def _of_fact(fact: Fact) -> Iterator[tuple[str, str]]:
    match fact:
        case Norm():
            weight = {NormWeight.ABSENT: " without weight", NormWeight.PLAIN: "", NormWeight.ONE_PLUS: " (1 + weight)"}
            yield "norm", norm_name(fact) + weight[fact.weight] + (" with bias" if fact.bias else "")
            yield "rounding of norms", f"{fact.precision.value}, {fact.scaling.value}"
        case Mlp():
            yield "feed-forward", network_name(fact) + (" with biases" if fact.bias else "")
        case Experts():
            yield "experts", experts_name(fact)
        case Mixer():
            yield "mixer", mixer_name(fact)
            yield "windows", "a window" if fact.window is not None else "none"
            if fact.rotary is not None:
                yield "positions", f"rotary, {fact.rotary.pairing.value}, {fact.rotary.extent.value} head"
        case RotaryScheme():
            yield "rotary angles", fact.rule
        case Embedding(factor):
            yield "embedding", "plain" if factor is None else "scaled"
        case Head(cap, factor):
            yield "head", "plain" if cap is None and factor is None else "capped" if cap is not None else "scaled"
        case _:
            yield "own parts", type(fact).__name__.lower()


def _nearest(name: str, known: Mapping[str, Features]) -> tuple[str, str]:
    """The relative and what differs, in words."""
    distances = [
        (len(_differing(known[name], other)), at, other_name)
        for at, (other_name, other) in enumerate(known.items())
        if other_name != name
    ]
    if not distances:
        return NEVER, NEVER
    _, _, relative = min(distances)
    aspects = _differing(known[name], known[relative])
    texts = [
        f"{aspect}: {_several(known[name].get(aspect, ()))} instead of {_several(known[relative].get(aspect, ()))}"
        for aspect in aspects
    ]
    return f"`{relative}`", "; ".join(texts) or "no fact of this page"


def _differing(ours: Features, theirs: Features) -> list[str]:
    aspects = dict.fromkeys([*ours, *theirs])
    return [aspect for aspect in aspects if set(ours.get(aspect, ())) != set(theirs.get(aspect, ()))]


def _several(texts: Sequence[str]) -> str:
    return " and ".join(texts) if texts else NEVER


def _size(parameters: int) -> str:
    for unit, text in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if parameters >= 0.9995 * unit:  # what three digits round up to the unit
            return f"{parameters / unit:.3g} {text}"
    return str(parameters) if parameters else NEVER


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
