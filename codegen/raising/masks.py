"""Masks as True and False, where nothing but raised attention looks at them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from codegen.raising.flow import Flow, Place, rewritten
from codegen.raising.scores import positive
from ir.arch import Attention, Direction, MaskForm
from ir.graph import DType, Node, Number, Op, Raised, Region, Value, operands_of, values_in
from ir.records import dataclass, field, replace

MASK = 3  # where a raised attention takes its mask


@dataclass(frozen=True, slots=True)
class Masks:
    """A program with boolean masks; whether each of them may be None, where causality or nothing at all says the same."""

    region: Region
    optional: bool


@dataclass
class _Forms:
    """What becomes of the values that masks flow into."""

    direction: dict[Place, Direction] = field(default_factory=dict)  # boolean from now on: True where a token attends
    turned: set[Place] = field(default_factory=set)  # results of a cast: True where a token is hidden
    scaled: dict[Place, Value] = field(default_factory=dict)  # products with a positive number, of which mask
    dropped: set[Place] = field(default_factory=set)  # least numbers that nothing takes any more
    optional: bool = True


def boolean(top: Region, masks: Collection[int], both_ways: Collection[int]) -> Masks | str:
    """The program with its masks in boolean form; a sentence if something needs them additive.

    `masks` are the masks among the parameters of `top`, by index, `both_ways` those that hide no later tokens.
    """
    flow = Flow(top)
    forms = _Forms()
    for at in masks:
        param = top.params[at]
        assert isinstance(param, Value)
        root = flow.root(top, param)
        refused = _follow(flow, root, Direction.BOTH if at in both_ways else Direction.CAUSAL, forms)
        if refused is not None:
            return refused

    if not forms.optional:
        given = {place for place, direction in forms.direction.items() if direction is Direction.CAUSAL}
        forms.direction |= dict.fromkeys(given, Direction.GIVEN)

    def value(region: Region, v: Value) -> Value:
        place = (id(region), v.id)
        if place in forms.scaled:
            return value(region, forms.scaled[place])
        return replace(v, dtype=DType.BOOL) if place in forms.direction else v

    def node(region: Region, n: Node) -> tuple[Node, ...]:
        place = (id(region), n.results[0].id if n.results else -1)  # a write to a state has no result
        match n:
            case Raised(Attention() as component):
                mask = n.args[MASK]
                direction = forms.direction.get((id(region), mask.id)) if isinstance(mask, Value) else None
                if direction is None:
                    return (n,)
                return (replace(n, component=replace(component, mask=MaskForm.BOOLEAN, direction=direction)),)
            case Op("cast", (mask, _)) if place in forms.turned:
                return (replace(n, name="logical_not", args=(mask,)),)
            case Op("where", (condition, mask, _)) if place in forms.direction:
                return (replace(n, name="bitwise_and", args=(mask, condition)),)
            case Op() if place in forms.scaled or place in forms.dropped:
                return ()
            case _:
                return (n,)

    return Masks(rewritten(top, value, node), forms.optional)


def _follow(flow: Flow, root: Place, direction: Direction, forms: _Forms) -> str | None:
    """Note what becomes of a mask and of all that is made from it; a sentence if something needs its numbers."""
    forms.direction |= {place: direction for place in flow.members[root]}
    for region, user in flow.uses(root):
        match user:
            case _ if _attends(user, flow, root):
                continue
            case Op("cast", (_, DType.BOOL), (result,)):
                forms.turned |= set(flow.members[flow.root(region, result)])
            case Op("where", (_, Value() as mask, Value() as least), (result,)) if _inside(flow, root, region, mask):
                if not _is_least(region, least):
                    return "a mask is the one or the other thing by a condition"
                forms.dropped.add((id(region), least.id))
                refused = _follow(flow, flow.root(region, result), Direction.GIVEN, forms)
                if refused is not None:
                    return refused
            case Op("mul", (Value() as mask, Number(factor)), (result,)) if positive(factor):
                forms.scaled[(id(region), result.id)] = mask
                refused = _follow(flow, flow.root(region, result), direction, forms)
                if refused is not None:
                    return refused
                continue
            case _:
                return f"`{getattr(user, 'name', 'a component')}` works on the numbers of a mask"
        forms.optional = False
    return None


def _inside(flow: Flow, root: Place, region: Region, value: Value) -> bool:
    return flow.root(region, value) == root


def _is_least(region: Region, value: Value) -> bool:
    """Whether a value is the least number of a type, made for one use."""
    made = [n for n in region.nodes if isinstance(n, Op) and n.name == "finfo_min" and n.results[0].id == value.id]
    users = [n for n in region.nodes if any(v.id == value.id for v in values_in(operands_of(n)))]
    return len(made) == len(users) == 1


def named(top: Region, names: Sequence[str]) -> Region:
    """The program with the names of its inputs wherever the source gave none."""
    flow = Flow(top)
    inside: dict[Place, tuple[str, ...]] = {}
    for param, name in zip(top.params, names, strict=False):
        if isinstance(param, Value):
            inside |= {place: (name,) for place in flow.members[flow.root(top, param)]}

    def value(region: Region, v: Value) -> Value:
        return replace(v, names=v.names or inside.get((id(region), v.id), ()))

    return rewritten(top, value, lambda _, n: (n,))


def _attends(node: Node, flow: Flow, root: Place) -> bool:
    if not isinstance(node, Raised) or not isinstance(node.component, Attention):
        return False
    inside = set(flow.members[root])
    places = [
        at for at, arg in enumerate(node.args) if isinstance(arg, Value) and any(arg.id == vid for _, vid in inside)
    ]
    return MASK in places
