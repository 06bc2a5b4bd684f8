"""All views of one package from a traced model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from codegen.diagnostics import CompileError
from codegen.lowering import card_view
from codegen.lowering.classes import ClassPlan
from codegen.lowering.fields import keys_in
from codegen.lowering.flax_dialect import FlaxDialect
from codegen.lowering.instances import lists_beside, walk
from codegen.lowering.layers import layer_option
from codegen.lowering.layouts import Layout
from codegen.lowering.meshes import head_counts
from codegen.lowering.names import words_of_layers
from codegen.lowering.numbered import compute_with_numbers, same_sizes
from codegen.lowering.patterns import LayerKinds
from codegen.lowering.program import Lowered, Lowering
from codegen.lowering.recurrences import order_of_calls, recurrences
from codegen.lowering.rows import weights_view
from codegen.lowering.shared import SharedParts
from codegen.lowering.tiny_config import tiny_configs
from codegen.lowering.torch_dialect import TorchDialect
from codegen.lowering.views import (
    CacheView,
    CardView,
    ConfigView,
    FactView,
    FlaxView,
    MaskKind,
    SizeView,
    SourceView,
    TestView,
    TorchView,
    WeightsView,
)
from ir.arch import Arch
from ir.expressions import Const, Dim, Environment, Key, evaluate, leaves
from ir.graph import Loop, Region, Value
from ir.records import dataclass, replace


@dataclass(frozen=True, slots=True)
class PackageViews:
    """What the templates of one package render, by file."""

    config: ConfigView
    torch: TorchView
    flax: FlaxView
    weights: WeightsView
    card: CardView
    test: TestView


@dataclass(frozen=True, slots=True)
class Facts:
    """What a person is told: one line, a diagram, facts with their provenance, sizes of published checkpoints."""

    summary: str
    diagram: tuple[str, ...] = ()
    facts: tuple[FactView, ...] = ()
    parameters: int = 0
    unread: tuple[tuple[str, str], ...] = ()  # keys of config.json that change nothing, and why
    runs_again: str = ""  # that a step runs over all tokens so far, where it does
    library: str = ""  # the library that the source is of, with its version
    end_tokens: tuple[int, ...] = ()  # that config.json has, where it has several


@dataclass(frozen=True, slots=True)
class Ties:
    """Shared tensors as (alias, target) module paths, and whether they are shared, over `cfg` (empty: always)."""

    pairs: tuple[tuple[str, str], ...] = ()
    condition: str = ""
    shared: SharedParts | None = None  # what layers have from other layers, by a rule


FLAX_OPTIONS = (("Linear", "bias"), ("LayerNorm", "elementwise_affine"), ("LayerNorm", "bias"))
"""Flags of the layers that Flax files define."""


def package_views(
    lowering: Lowering,
    source: SourceView,
    config: ConfigView,
    facts: Facts,
    ties: Ties,
    *,
    masks: MaskKind,
    stored: Callable[[str], Layout] = lambda path: path,
    tiny: Mapping[str, object],
    vocabulary: int,
    ignored: Mapping[str, str] = MappingProxyType({}),
    arch: Arch | None = None,
    base: str = "",
    serves: Callable[[Mapping[str, object]], bool] = lambda config: True,
    refused: Callable[[Mapping[str, object]], Sequence[str]] = lambda config: (),
) -> PackageViews:
    """The views of every file; `masks` says which its masks are, `stored` how a checkpoint stores a parameter, `serves` whether a
    configuration is served, `refused` with which changes it is not, `base` what is before the names of the model without its head.
    `arch` fills in what `facts` leaves open.
    """
    modules = [module for _, module in walk(lowering.given.tree)]
    options = {pair: layer_option(modules, *pair) for pair in FLAX_OPTIONS}
    flax_dialect = FlaxDialect(options, states=bool(lowering.states), slots=lowering.slots_per_layer())
    torch, flax = lowering.emit(TorchDialect()), lowering.emit(flax_dialect)
    try:
        kinds, told = _kinds(lowering, flax), True
        kinds_expr = lowering.sequence(kinds) if kinds is not None else ""
    except CompileError:
        kinds, told, kinds_expr = None, False, ""
    weights = weights_view(lowering, source, stored, ties.pairs, ties.condition, tuple(ignored), ties.shared, base)
    weights = replace(weights, kinds_expr=kinds_expr)
    if arch is not None:
        tree = lowering.given.tree
        recurrent = recurrences(lowering.program.instances, lowering.states)
        words = words_of_layers(lowering.given.resolved, lowering.layers()[1])
        facts = replace(
            facts,
            summary=card_view.summary(arch, recurrent, lowering.layers()[1], tree, weights.learns_positions),
            diagram=card_view.diagram(arch, tree, weights, order_of_calls(lowering.given.region), words),
            facts=card_view.facts(arch, tree, words),
        )
    owners = [
        plan for plan in lowering.program.plans if any(isinstance(n, Loop) for r in _regions(plan) for n in r.nodes)
    ]
    once = all(
        len(plan.instances) == 1 for plan in owners
    )  # a list that another one like it is run beside keeps its form
    loops = list(lowering.loops())
    handed_on = any(operand is None for loop in loops for operand in loop.carried)
    growing = any(map(_grows, loops))
    numbered = compute_with_numbers(flax.helpers, flax.classes)
    sized = not same_sizes(lowering, kinds.labels if kinds is not None else ())
    together = any(map(lists_beside, loops))
    alike = not any((handed_on, growing, numbered, sized, together)) and ties.shared is None
    scannable = len(loops) == 1 and once and bool(weights.stack) and alike and told and not lowering.alone
    flax = flax if kinds_expr else _without_numbers(flax)
    cache = lowering.cache()
    held = [parameter for _, module in walk(lowering.given.tree) for parameter in module.parameters]
    torch_view = TorchView(
        **_common(
            lowering,
            source,
            config,
            facts.summary,
            torch,
            cache,
            masks,
            (*_torch_ties(ties), *_noted(weights)),
            _sharing(ties, "torch"),
        ),
        uses_functional=_mentions(torch, "F."),
        has_constants=any(p.fill is not None for p in held),
        has_stored_buffers=any(p.buffer and p.persistent for p in held),
        has_kept=weights.has_kept,
    )
    flax_view = FlaxView(
        **_common(
            lowering,
            source,
            config,
            facts.summary,
            flax,
            cache,
            masks,
            (*_flax_ties(lowering, ties), *_noted(weights)),
            _sharing(ties, "flax"),
        ),
        scannable=scannable,
        kinds_expr=kinds_expr,
        has_buffers=_mentions(flax, "Buffer("),
        count_expr=weights.count_expr,
        indexed=flax.indexed,
        rotating=bool(lowering.alone or lowering.turns()),
        apart=bool(lowering.alone),
        unscanned=_why_unscanned(handed_on or growing, numbered, sized, together, ties),
        linear_bias=options["Linear", "bias"],
        norm_weight=options["LayerNorm", "elementwise_affine"],
        norm_bias=options["LayerNorm", "bias"],
    )
    experts = _mentions(torch, "grouped_linear(")
    card = CardView(
        source,
        facts.summary,
        facts.diagram,
        facts.facts,
        *_published(config),
        weights.axes,
        scannable,
        facts.parameters,
        _numbers_a_token(cache),
        facts.unread,
        tuple(ignored.items()),
        facts.runs_again,
        facts.library,
        ties.pairs,
        ties.condition.replace("cfg.", ""),
        facts.end_tokens,
        any(checkpoint.packed for checkpoint in config.checkpoints),
        experts,
        _devices(lowering),
        _room(lowering),
        weights.learns_positions,
    )
    small, seen = _tiny(lowering, tiny, weights.stack, serves)
    test = TestView(
        source,
        repr(small),
        seen or vocabulary,
        scannable,
        paddable=torch_view.heeds_padding,
        recurrent=cache.has_states,
        has_experts=experts,
        refused=tuple(refused(small)),
        vocabulary_axis=weights.tables_axis,
    )
    placed = weights if scannable else replace(weights, stack="", kinds_expr="")  # as the Flax model lists them
    return PackageViews(config, torch_view, flax_view, placed, card, test)


def _published(config: ConfigView) -> tuple[tuple[str, ...], tuple[SizeView, ...]]:
    """The sizes that published checkpoints have, and those of each."""
    columns = [field for field in config.fields if field.comment]
    rows = []
    for checkpoint in config.listed:
        changed = dict(change.split("=", 1) for change in checkpoint.changes)
        name = checkpoint.repository + (", quantised: not read" if checkpoint.packed else "")
        rows.append(SizeView(name, tuple(changed.get(c.name, c.default) for c in columns)))
    return tuple(f"{column.name} ({column.comment})" for column in columns), tuple(rows)


def _kinds(lowering: Lowering, flax: Lowered) -> LayerKinds | None:
    """What tells the layers apart that cannot be stacked with others; None where all can.

    Raises:
        CompileError: `unknown-pattern`, nothing in the configuration does.
    """
    partition = lowering.stacked_kinds(flax.unused)
    return lowering.kinds(partition) if len(set(partition)) > 1 else None


def _devices(lowering: Lowering) -> int:
    """Of the example that splits a PyTorch model: as many as divide the heads of the compiled checkpoint."""
    env = Environment(config=lowering.given.resolved)
    regions = [region for plan in lowering.program.plans for region in _regions(plan)]
    known = [heads for heads in head_counts(regions) if all(isinstance(leaf, (Key, Const)) for leaf in leaves(heads))]
    counts = [count for heads in known if isinstance(count := evaluate(heads, env), int)]
    return next((number for number in (4, 2, 3, 5, 7) if math.gcd(*counts) % number == 0), 1)


def _room(lowering: Lowering) -> int:
    """Of the cache in an example: no more tokens than the compiled checkpoint has positions for."""
    env = Environment(config=lowering.given.resolved)
    limits = [evaluate(limit, env) for limit in lowering.reach]
    return min([1024, *(limit for limit in limits if isinstance(limit, int))])


def _numbers_a_token(cache: CacheView) -> str:
    """How many numbers the cache holds for a token, over the configuration."""
    if not cache.has_keys or not cache.uniform or cache.has_states:
        return ""
    factors = [cache.count_expr, cache.heads_expr]
    factors += ["2", cache.key_size_expr] if cache.square else [f"{cache.key_size_expr} + {cache.value_size_expr}"]
    plain = [factor.replace("cfg.", "") for factor in factors]
    return " * ".join(factor if factor.isidentifier() or factor.isdigit() else f"({factor})" for factor in plain)


def _why_unscanned(handing: bool, numbered: bool, sized: bool, together: bool, ties: Ties) -> str:
    if handing:
        return "Some hand on what later ones take"
    if sized:
        return "They differ in size"
    if numbered:
        return "They compute with their numbers"
    if together:
        return "Their parts are in several lists"
    return "They differ" if ties.shared is None else "Some share parameters"


def _grows(loop: Loop) -> bool:
    """Whether what the layers hand on is of another size from layer to layer."""
    carried = (pair for body in loop.bodies for pair in zip(body.params, body.results, strict=False))
    return any(
        before != after or before == Dim("M")
        for a, b in carried
        if isinstance(a, Value) and isinstance(b, Value)
        for before, after in zip(a.shape, b.shape, strict=False)
        if isinstance(before, (Const, Dim)) and isinstance(after, (Const, Dim))
    )


def _regions(plan: ClassPlan) -> list[Region]:
    return [region for regions in plan.example.methods.values() for region in regions]


def _tiny(
    lowering: Lowering, raw: Mapping[str, object], stack: str, serves: Callable[[Mapping[str, object]], bool]
) -> tuple[dict[str, object], int]:
    """The configuration of the package's own tests, and its vocabulary (0 where it is not known)."""
    paths = [key.path for size in lowering.sizes() for key in keys_in(lowering.original(size))]
    owner = Counter(path[:-1] for path in paths).most_common(1)[0][0] if paths else ()
    limits = [limit for mask in lowering.given.masks for limit in (mask.window, mask.chunk) if limit is not None]
    windows = {str(key.path[-1]) for limit in limits for key in keys_in(limit)}
    length = dict(lowering.lists()).get(stack, 0)
    depth = lowering.count(stack, length) if stack else None
    kinds = next((loop.kinds for loop in lowering.loops() if len(loop.kinds) == length), (0,) * length)
    counted = str(depth.path[-1]) if isinstance(depth, Key) and depth.path[:-1] == owner else ""
    sizes = {str(path[-1]) for path in paths if path[:-1] == owner}
    inner = _within(raw, owner)
    own = tiny_configs(inner if isinstance(inner, Mapping) else {}, sizes, counted, kinds, windows)
    tries = [_with(raw, owner, small) for small in own]
    made = next((small for small in tries if serves(small)), tries[0])
    seen = _within(made, (*owner, "vocab_size")) or _within(lowering.given.resolved, (*owner, "vocab_size"))
    return made, seen if isinstance(seen, int) else 0


def _within(config: object, path: tuple[str | int, ...]) -> object:
    for step in path:
        config = config.get(str(step)) if isinstance(config, Mapping) else None
    return config


def _with(config: Mapping[str, object], path: tuple[str | int, ...], inner: dict[str, object]) -> dict[str, object]:
    """The configuration with another object at a path."""
    if not path:
        return inner
    held = config.get(str(path[0]))
    return {**config, str(path[0]): _with(held if isinstance(held, Mapping) else {}, path[1:], inner)}


def _common(
    lowering: Lowering,
    source: SourceView,
    config: ConfigView,
    summary: str,
    lowered: Lowered,
    cache: CacheView,
    masks: MaskKind,
    ending: tuple[str, ...],
    templates: tuple[str, ...],
) -> dict[str, Any]:
    inputs = lowering.given.inputs
    text = "\n".join([*lowered.helpers, *lowered.classes, *lowered.run_body, *lowered.init_body])
    return {
        "source": source,
        "config": config,
        "summary": summary,
        "legend": lowering.legend(),
        "imports": ("import math",) if "math." in text else (),
        "helpers": lowered.helpers,
        "classes": lowered.classes,
        "init_body": (*lowered.init_body, *ending),
        "run_body": lowered.run_body,
        "masks": lowering.masks(masks),
        "cache": cache,
        "anchor_expr": lowered.anchor,
        "grouped": lowering.groups_heads(),
        "wide_softmax": lowering.widens_softmax(),
        "needs_positions": "positions" in inputs,
        "positions_expr": lowering.positions(),
        "needs_valid": "valid" in inputs,
        "needs_fresh": "fresh" in inputs,
        "helper_templates": (*lowered.templates, *templates),
    }


def _without_numbers(flax: Lowered) -> Lowered:
    """With functions that make layers from nothing but random numbers, where none of them reads its number."""
    if _mentions(flax, "stack_layers(lambda layer, "):
        return flax

    def plain(parts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(part.replace("stack_layers(lambda _layer, ", "stack_layers(lambda ") for part in parts)

    return replace(flax, classes=plain(flax.classes), init_body=plain(flax.init_body))


def _mentions(lowered: Lowered, text: str) -> bool:
    return any(text in part for part in (*lowered.helpers, *lowered.classes, *lowered.run_body, *lowered.init_body))


def _torch_ties(ties: Ties) -> tuple[str, ...]:
    return _tied(ties, [*(f"self.{alias} = self.{target}" for alias, target in ties.pairs), *_shares(ties)])


def _sharing(ties: Ties, target: str) -> tuple[str, ...]:
    """Templates of the helpers that ties take."""
    return () if ties.shared is None else (f"{target}/components/share.py.jinja",)


def _shares(ties: Ties) -> Iterator[str]:
    """Lines that let layers have parts from others."""
    if ties.shared is None:
        return
    yield "for layer, other in weights.shared(cfg).items():"
    for part in ties.shared.parts:
        own, its = (f"self.{ties.shared.stack}[{at}].{part}" for at in ("layer", "other"))
        yield f"    share({own}, {its})"


def _flax_ties(lowering: Lowering, ties: Ties) -> tuple[str, ...]:
    leaf = lowering.leaves.path
    single = [f"self.{leaf(alias)} = self.{leaf(target)}" for alias, target in ties.pairs]
    return _tied(ties, [*single, *_shares(ties)])


def _tied(ties: Ties, lines: list[str]) -> tuple[str, ...]:
    """Statements that make one of tied parameters."""
    return (f"if {ties.condition}:", *("    " + line for line in lines)) if lines and ties.condition else tuple(lines)


def _noted(weights: WeightsView) -> Iterator[str]:
    """Room for what loading notes of a checkpoint, so that `weights.to_hf` gives the same back."""
    if weights.has_ties:
        yield "self.stored_ties: tuple[str, ...] = ()  # tied names that the checkpoint holds nevertheless"
    if weights.keeps_names:
        yield "self.stored_names: tuple[tuple[str, str], ...] = ()  # what the checkpoint calls otherwise: our name, its own"
    if weights.divided:
        yield "self.stored_shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()  # of what the checkpoint holds"


__all__ = ["Facts", "PackageViews", "Ties", "package_views"]
