"""Raising a whole program: every rule, in the one order in which they are tried."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from codegen.raising import attention, masks, norm, rotary, tables
from codegen.raising.flattened import unflattened
from codegen.raising.view import Match, View
from ir.arch import Attention, Cap, Direction, MaskForm, Sinks
from ir.graph import (
    Branch,
    Call,
    FunctionTarget,
    Loop,
    ModuleTarget,
    Node,
    Raised,
    Region,
    Scan,
    with_regions,
    within,
)
from ir.records import dataclass, field, replace

Rule = Callable[[View, int], Match | str | None]

RULES: tuple[tuple[str, Rule], ...] = (
    (rotary.RULE, rotary.match),
    (rotary.PARTIAL, rotary.match_partial),
    (attention.RULE, attention.match),
    (norm.RULE, norm.match),
)
"""Each looks at one step of a view: what it found there, a sentence why it is not that, None where it does not apply."""


@dataclass(frozen=True, slots=True)
class WhyNot:
    """A rule that nearly fired: in which module's method, and the sentence that says what is missing."""

    module: str
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class RaisedProgram:
    """The program with components in it, what form its masks take, and the rules that nearly fired. Where masks are
    boolean and `optional`, None stands for one that says no more than causality.
    """

    region: Region
    masks: MaskForm
    why_not: tuple[WhyNot, ...] = ()
    optional: bool = True


def raise_program(
    top: Region, mask_params: Collection[int] = (), both_ways: Collection[int] = (), names: Sequence[str] = ()
) -> RaisedProgram:
    """Recognise components in `top` and everything that it calls.

    `mask_params` are the masks among its parameters, by index; `both_ways` those that hide no later tokens; `names` are
    what its parameters are called where the source has no name for them. Where all masks go to raised attention, they
    become boolean; otherwise attention that needs them so stays as it is.
    """
    top = unflattened(top)
    raiser = _Raiser()
    region = raiser.region(top, "")
    form, optional = MaskForm.ADDITIVE if mask_params else MaskForm.ABSENT, True
    if mask_params:
        converted = masks.boolean(region, mask_params, both_ways)
        if isinstance(converted, masks.Masks):
            region, form, optional = converted.region, MaskForm.BOOLEAN, converted.optional
        else:
            raiser.why_not.append(WhyNot("", "boolean masks", converted))
    if _needs_boolean(region):
        raiser = _Raiser(keep=_is_elaborate, why_not=raiser.why_not)
        region, form = raiser.region(top, ""), MaskForm.ADDITIVE if mask_params else MaskForm.ABSENT
    region = tables.narrowed(masks.named(region, names))
    return RaisedProgram(region, form, tuple(dict.fromkeys(raiser.why_not)), optional)


def _is_elaborate(component: object) -> bool:
    """Attention that has no fused form: it is written out, with boolean masks."""
    if not isinstance(component, Attention):
        return False
    return component.cap is not Cap.ABSENT or component.sinks is not Sinks.ABSENT


def _needs_boolean(region: Region, seen: set[int] | None = None) -> bool:
    """Whether attention that is written out has another than a boolean, causal mask."""
    seen = set() if seen is None else seen
    if id(region) in seen:
        return False
    seen.add(id(region))
    for node in region.nodes:
        match node:
            case Raised(component) if _is_elaborate(component):
                assert isinstance(component, Attention)
                if component.mask is not MaskForm.BOOLEAN or component.direction is Direction.BOTH:
                    return True
            case Call(_, inner):
                if _needs_boolean(inner, seen):
                    return True
            case Loop(bodies=bodies):
                if any(_needs_boolean(body, seen) for body in bodies):
                    return True
            case Scan() | Branch():
                if any(_needs_boolean(region, seen) for region in within(node)):
                    return True
    return False


@dataclass
class _Raiser:
    keep: Callable[[object], bool] = lambda component: False  # components that stay as they are
    why_not: list[WhyNot] = field(default_factory=list)
    done: dict[int, tuple[Region, Region]] = field(default_factory=dict)

    def region(self, region: Region, where: str) -> Region:
        """The region with components in it; callees first. A region that is called twice is raised once."""
        known = self.done.get(id(region))
        if known is not None:
            return known[1]
        made = self._rules(replace(region, nodes=tuple(self._callees(node, where) for node in region.nodes)), where)
        self.done[id(region)] = (region, made)
        return made

    def _callees(self, node: Node, where: str) -> Node:
        match node:
            case Call(ModuleTarget(path), inner):
                return replace(node, region=self.region(inner, f"{where}.{path}".strip(".")))
            case Call(FunctionTarget(), inner) if any(isinstance(n, (Call, Loop, Scan, Branch)) for n in inner.nodes):
                return replace(node, region=replace(inner, nodes=tuple(self._callees(n, where) for n in inner.nodes)))
            case Loop(container, bodies):
                return replace(
                    node, bodies=tuple(self.region(body, f"{where}.{container}".strip(".")) for body in bodies)
                )
            case Scan() | Branch():
                return with_regions(
                    node, lambda r: replace(r, nodes=tuple(self._callees(inner, where) for inner in r.nodes))
                )
            case _:
                return node

    def _rules(self, region: Region, where: str) -> Region:
        view = View(region)
        for name, rule in RULES:
            while (found := self._first(view, name, rule, where)) is not None:
                view.apply(found)
        return view.written_back()

    def _first(self, view: View, name: str, rule: Rule, where: str) -> Match | None:
        """The first place where the rule fires; sentences from others are kept."""
        for at in range(len(view.steps)):
            found = rule(view, at)
            match found:
                case Match() if not any(isinstance(n, Raised) and self.keep(n.component) for n in found.nodes):
                    return found
                case str(reason):
                    self.why_not.append(WhyNot(where, name, reason))
        return None
