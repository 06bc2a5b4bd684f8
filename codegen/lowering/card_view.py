"""What the card of a package tells people: one line, the modules in order with their shapes, facts with their places."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import assert_never

from codegen.lowering.numbers import Leaf, to_syntax
from codegen.lowering.recurrences import Recurrence
from codegen.lowering.views import FactView, WeightsView
from ir.arch import (
    Arch,
    Cap,
    Direction,
    Embedding,
    Experts,
    Fact,
    Gate,
    Head,
    Heads,
    LayerKind,
    Mixer,
    Mlp,
    Norm,
    NormKind,
    NormWeight,
    Part,
    Precision,
    RotaryScheme,
    Scaling,
    Sinks,
    Stack,
    Wiring,
)
from ir.expressions import Dim, Expr, Index, Key, Local, Raw
from ir.graph import Module
from ir.records import dataclass, replace

WIDTH = 116


def spell(expr: Expr) -> str:
    """An expression with the last names of the configuration keys in it."""

    def resolve(leaf: Leaf) -> ast.expr:
        match leaf:
            case Key(path) | Raw(path):
                return ast.Name(str(path[-1]), ast.Load())
            case Dim(name) | Index(name) | Local(name):
                return ast.Name(name, ast.Load())
            case _:
                assert_never(leaf)

    return ast.unparse(ast.fix_missing_locations(ast.Expression(to_syntax(expr, resolve))))


def summary(
    arch: Arch,
    recurrent: Sequence[Recurrence] = (),
    count: int = 0,
    tree: Module | None = None,
    learned_positions: bool = False,
) -> str:
    """What is particular about the network, wrapped for a docstring. `recurrent` is what some of its `count` layers have."""
    facts = [part.fact for part in _parts(arch) if part.fact is not None]
    mixers = [fact for fact in facts if isinstance(fact, Mixer)]
    norms = [fact for fact in facts if isinstance(fact, Norm)]
    networks = [fact for fact in facts if isinstance(fact, Mlp)]
    clauses = list(dict.fromkeys([mixer_name(mixer) for mixer in mixers]))
    if recurrent:
        attending = {
            layer
            for stack in arch.stacks
            for kind in stack.kinds
            if any(isinstance(part.fact, Mixer) for part in kind.parts)
            for layer in kind.layers
        }
        clauses = [f"{' and '.join(clauses)} in {_share(len(attending), count)}"] if attending and clauses else clauses
        clauses += [f"{one.name} in {_share(len(one.layers), count)}" for one in recurrent]
    clauses += ["one matrix for queries, keys and values"] if tree is not None and _fused(arch, tree) else []
    windows = _windows(arch)
    clauses += windows
    clauses += ["rotary positions"] if any(mixer.rotary for mixer in mixers) else []
    clauses += ["learned positions"] if learned_positions else []
    wirings = dict.fromkeys(kind.wiring for stack in arch.stacks for kind in stack.kinds)
    named = " and ".join(_wired(wiring) for wiring in wirings if wiring is not Wiring.OTHER)
    clauses += [norm_name(norms[0]) + (f" ({named})" if named else "")] if norms else []
    clauses += list(dict.fromkeys(network_name(network) for network in networks))
    clauses += list(dict.fromkeys(experts_name(fact) for fact in facts if isinstance(fact, Experts)))
    kinds = max((len(stack.kinds) for stack in arch.stacks), default=1)
    clauses += [f"{kinds} kinds of layers"] if kinds > 1 and not windows else []
    clauses += ["scaled embeddings"] if any(isinstance(f, Embedding) and f.factor is not None for f in facts) else []
    clauses += ["capped logits"] if any(isinstance(f, Head) and f.cap is not None for f in facts) else []
    if not clauses:
        return "A causal language model."
    text = f"A causal language model: {', '.join(clauses)}."
    return "\n".join(textwrap.wrap(text, WIDTH, break_on_hyphens=False))


def _fused(arch: Arch, tree: Module) -> bool:
    """Whether all attention is made of two matrices: one into it, one out of it."""
    held = [
        sum(len(parameter.shape) == 2 for _, child in made.children for parameter in child.parameters)
        for stack in arch.stacks
        for kind in stack.kinds
        for part in kind.parts
        if isinstance(part.fact, Mixer) and (made := _module(tree, f"{stack.path}.{kind.layers[0]}.{part.path}"))
    ]
    return bool(held) and all(number == 2 for number in held)


def _wired(wiring: Wiring) -> str:
    return "before and after each part" if wiring is Wiring.SANDWICH else wiring.value


def _windows(arch: Arch) -> list[str]:
    """Whether attention is to a window, and in which layers."""
    seen = {
        layer: any(isinstance(part.fact, Mixer) and part.fact.window is not None for part in kind.parts)
        for stack in arch.stacks
        for kind in stack.kinds
        for layer in kind.layers
        if any(isinstance(part.fact, Mixer) for part in kind.parts)
    }
    windowed = [seen[layer] for layer in sorted(seen)]
    if all(windowed):
        return ["a sliding window"] if windowed else []
    if windowed[0::2] == [True] * len(windowed[0::2]) and not any(windowed[1::2]):
        return ["alternately sliding-window and full"]
    return [f"a sliding window in {_share(sum(windowed), len(windowed))}"] if any(windowed) else []


def _share(some: int, count: int) -> str:
    return "all layers" if some == count else f"{some} of {count} layers"


def _parts(arch: Arch) -> Iterator[Part]:
    for stack in arch.stacks:
        for kind in stack.kinds:
            yield from kind.parts
    yield from arch.parts


# One phrase for each fact


def phrase(fact: Fact) -> str:
    """A fact in words, with what it takes from the configuration."""
    match fact:
        case Mixer():
            scale = f", scale {spell(fact.scale)}" if fact.scale is not None else ""
            window = f", window {spell(fact.window)}" if fact.window is not None else ""
            softmax = ", softmax in float32" if fact.attention.softmax is Precision.FLOAT32 else ""
            turns = f", rotary on {fact.rotary.pairing.value}" if fact.rotary is not None else ""
            return mixer_name(fact) + turns + scale + window + softmax
        case Norm():
            return norm_name(fact) + _norm_details(fact)
        case Mlp():
            return network_name(fact) + (" with biases" if fact.bias else "")
        case Experts(count, chosen):
            return f"{experts_name(fact)}, {spell(chosen)} of {spell(count)} for a token"
        case Embedding(factor):
            return "embedding" + (f", times {spell(factor)}" if factor is not None else "")
        case Head(cap, factor):
            limited = f", limited to {spell(cap)}" if cap is not None else ""
            return "head" + limited + (f", times {spell(factor)}" if factor is not None else "")
        case RotaryScheme(rule, theta, factor):
            stretched = f", factor {spell(factor)}" if factor is not None else ""
            return f"rotary angles by {rule}" + (f", theta {spell(theta)}" if theta is not None else "") + stretched
        case _:
            assert_never(fact)


def mixer_name(mixer: Mixer) -> str:
    attention = mixer.attention
    name = "grouped-query attention" if attention.heads is Heads.GROUPED else "multi-head attention"
    name = "latent attention" if mixer.latent else name
    name = f"bidirectional {name}" if attention.direction is Direction.BOTH else name
    normed = {(True, True): "queries and keys", (True, False): "queries", (False, True): "keys"}
    details = [f"norms on {normed[mixer.query_norm, mixer.key_norm]}"] if mixer.query_norm or mixer.key_norm else []
    details += ["softly capped scores"] if attention.cap is not Cap.ABSENT else []
    details += ["sinks"] if attention.sinks is not Sinks.ABSENT else []
    details += ["an output gate"] if mixer.gated else []
    return name + (f" with {' and '.join(details)}" if details else "")


def norm_name(norm: Norm) -> str:
    return "RMSNorm" if norm.kind is NormKind.RMS else "LayerNorm"


def _norm_details(norm: Norm) -> str:
    weight = {
        NormWeight.ABSENT: ", no weight",
        NormWeight.PLAIN: "",
        NormWeight.ONE_PLUS: ", weight plus one",
    }[norm.weight]
    wide = ", in float32" if norm.precision is Precision.FLOAT32 else ""
    scaled = f", scaled {norm.scaling.value}" if norm.scaling is not Scaling.NO_CAST else ""
    return weight + wide + scaled + (f", eps {spell(norm.eps)}" if norm.eps is not None else "")


def network_name(network: Mlp) -> str:
    gated = {Gate.ABSENT: "MLP", Gate.SEPARATE: "gated MLP", Gate.FUSED: "gated MLP with one matrix for gate and up"}
    return f"{gated[network.gate]} ({network.activation})"


def experts_name(experts: Experts) -> str:
    kind = "experts" if experts.gate is Gate.ABSENT else "gated experts"
    return f"{kind} ({experts.activation})" if experts.activation else kind


# The modules in order


@dataclass(frozen=True, slots=True)
class _Line:
    depth: int
    name: str
    axes: str
    text: str


Words = Mapping[str, Sequence[str]]
"""Lists of the configuration that hold one word for each layer."""


def diagram(
    arch: Arch, tree: Module, weights: WeightsView, called: Sequence[str] = (), words: Words | None = None
) -> tuple[str, ...]:
    """Every module that has parameters or a fact: its path, the axes of its parameters, what it is; in the order in which
    they are `called`, what is not called last."""
    axes = {row.path: row.axes for table in weights.tables for row in table.rows}
    facts = {part.path: part.fact for part in arch.parts if part.fact is not None}
    stacks = {stack.path: stack for stack in arch.stacks}
    known = _Known(axes, facts, stacks, weights.count_expr, _order(called), words or {})
    found = list(_lines(tree, "", "", 0, known))
    name_width = max((2 * line.depth + len(line.name) for line in found), default=0)
    axes_width = max((len(line.axes) for line in found), default=0)
    body = [
        f"{'  ' * line.depth + line.name:{name_width}}  {line.axes:{axes_width}}  {line.text}".rstrip()
        for line in found
    ]
    return ("ids [B, T]", *("  " + line for line in body), "logits [B, T, V]")


@dataclass(frozen=True, slots=True)
class _Known:
    axes: Mapping[str, str]
    facts: Mapping[str, Fact]
    stacks: Mapping[str, Stack]
    count: str
    order: Mapping[str, int]  # of paths, by when something at or below them is called first
    words: Words

    def in_order(self, module: Module, path: str) -> list[tuple[str, Module]]:
        """The modules within one, as the data runs through them."""
        last = len(self.order)
        return sorted(module.children, key=lambda pair: self.order.get(f"{path}.{pair[0]}".lstrip("."), last))

    def axes_of(self, module: Module, generic: str) -> str:
        found = [self.axes.get(f"{generic}.{parameter.name}", "") for parameter in module.parameters]
        return " ".join(text for text in found if text)


def _lines(module: Module, path: str, generic: str, depth: int, known: _Known) -> Iterator[_Line]:
    for name, child in known.in_order(module, path):
        where, general = f"{path}.{name}".lstrip("."), f"{generic}.{name}".lstrip(".")
        if where in known.stacks:
            yield from _stack_lines(child, where, general, depth, known)
            continue
        if (
            child.kind == "ModuleList"
            and child.children
            and (alike := _list_lines(child, where, general, depth, known))
        ):
            yield from alike
            continue
        axes, fact = known.axes_of(child, general), known.facts.get(where)
        below = list(_lines(child, where, general, depth + 1, known))
        if axes or fact is not None or below:
            text = phrase(fact) if fact is not None else "" if below or child.kind in ("", "Linear") else child.kind
            yield _Line(depth, name, axes, text)
        yield from below


def _stack_lines(module: Module, path: str, generic: str, depth: int, known: _Known) -> Iterator[_Line]:
    """The layers once for each kind that looks different."""
    stack, layers = known.stacks[path], dict(module.children)
    shown: dict[tuple[_Line, ...], list[LayerKind]] = {}
    for kind in stack.kinds:
        first = str(kind.layers[0])
        facts = {f"{path}.{first}.{part.path}": part.fact for part in kind.parts if part.fact is not None}
        inner = replace(known, facts={**known.facts, **facts})
        found = tuple(_lines(layers[first], f"{path}.{first}", f"{generic}.{{}}", depth + 1, inner))
        shown.setdefault(found, []).append(kind)
    for found, kinds in shown.items():
        numbers = " and ".join(_numbers(kind.layers) for kind in kinds)
        held = [layer for kind in kinds for layer in kind.layers]
        which = _which(held, numbers, known.words) if len(shown) > 1 else f"{known.count.removeprefix('cfg.')} times"
        which += f", {numbers} on different inputs" if len(shown) == 1 and len(kinds) > 1 else ""
        wiring = "" if kinds[0].wiring is Wiring.OTHER else f", {kinds[0].wiring.value}"
        yield _Line(depth, path.rpartition(".")[2], "", which + wiring)
        yield from found


def _list_lines(module: Module, path: str, generic: str, depth: int, known: _Known) -> list[_Line]:
    """A list of modules that are all alike, beside that of the layers, as one of them; nothing for other lists."""
    (name, first), *_ = module.children
    if any(replace(child, span=None) != replace(first, span=None) for _, child in module.children):
        return []
    general, count = f"{generic}.{{}}", len(module.children)
    axes, fact = known.axes_of(first, general), known.facts.get(f"{path}.{name}")
    below = list(_lines(first, f"{path}.{name}", general, depth + 1, known))
    if not axes and not any(line.axes for line in below):
        return []
    layers = {sum(len(kind.layers) for kind in stack.kinds) for stack in known.stacks.values()}
    times = f"{known.count.removeprefix('cfg.') if count in layers else count} times"
    what = phrase(fact) if fact is not None else "" if below or first.kind in ("", "Linear") else first.kind
    return [_Line(depth, path.rpartition(".")[2], axes, ", ".join(filter(None, (what, times)))), *below]


def _order(called: Sequence[str]) -> dict[str, int]:
    order: dict[str, int] = {}
    for at, path in enumerate(called):
        steps = path.split(".")
        for end in range(1, len(steps) + 1):
            order.setdefault(".".join(steps[:end]), at)
    return order


def _which(layers: Collection[int], numbers: str, words: Words) -> str:
    """Some layers: those that the configuration has a word for, and which these are in the compiled checkpoint."""
    word = _word(layers, words)
    return f"layers with {word}, here {numbers}" if word else f"layers {numbers}"


def _word(layers: Collection[int], words: Words) -> str:
    """What a list of the configuration calls these layers, and no others: `layer_types sliding_attention`."""
    for name, said in words.items():
        found = {said[layer] for layer in layers if layer < len(said)}
        if len(found) == 1 and {at for at, word in enumerate(said) if word in found} == {*layers}:
            return f"{name} {''.join(found)}"
    return ""


MOST = 6  # runs of layers that are written out


def _numbers(layers: tuple[int, ...]) -> str:
    """`0-2, 4, 6` for 0, 1, 2, 4 and 6."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and runs[-1][1] == layer - 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in runs]
    return ", ".join(texts if len(texts) <= MOST else [*texts[: MOST - 1], "...", texts[-1]])


# Facts with their places


def facts(arch: Arch, tree: Module, words: Words | None = None) -> tuple[FactView, ...]:
    """Each distinct fact, the modules that it holds of, in which layers where not in all, and the lines of the source that made
    these, in the same order."""
    places: dict[str, dict[str, str]] = {}
    layers: dict[str, set[int]] = {}  # in which a fact holds
    every = {layer for stack in arch.stacks for kind in stack.kinds for layer in kind.layers}
    for stack in arch.stacks:
        for kind in stack.kinds:
            for part in kind.parts:
                where = f"{stack.path}.{kind.layers[0]}.{part.path}"
                if part.fact is not None:
                    text = phrase(part.fact)
                    places.setdefault(text, {}).setdefault(part.path, _place(tree, where))
                    layers.setdefault(text, set()).update(kind.layers)
    for part in arch.parts:
        if part.fact is not None:
            places.setdefault(phrase(part.fact), {}).setdefault(part.path, _place(tree, part.path))
    said = {text: _word(held, words or {}) for text, held in layers.items() if held != every}
    return tuple(
        FactView(
            f"{', '.join(f'`{path}`' for path in held)}{f' of layers with {said[text]}' if said.get(text) else ''}: {text}",
            _listed(held.values()),
        )
        for text, held in places.items()
    )


def _listed(places: Iterable[str]) -> str:
    """`file:3, 5` for places in one file."""
    lines: dict[str, list[str]] = {}
    for place in places:
        file, _, line = place.rpartition(":")
        lines.setdefault(file, []).append(line)
    return "; ".join(f"{file}:{', '.join(numbers)}" for file, numbers in lines.items() if file)


def _place(tree: Module, path: str) -> str:
    module = _module(tree, path)
    return f"{module.span.file}:{module.span.line}" if module is not None and module.span is not None else ""


def _module(tree: Module, path: str) -> Module | None:
    """The module at a path, if there is one."""
    module = tree
    for step in path.split("."):
        children = dict(module.children)
        if step not in children:
            return None
        module = children[step]
    return module
