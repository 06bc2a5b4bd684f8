"""Models that keep nothing of the tokens before: whether running them again over all tokens gives what their source gives.

A source that keeps keys and values computes each of them once, among as many tokens as there were then. Run again over a longer
sequence they are the same, unless what is computed for a token follows from how many tokens there are, as the angles of a table
that is scaled by the length. What the source gives then depends on the steps that led there, and no single sequence says what.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import assert_never

from codegen.diagnostics import CompileError, Diagnostic, Label, Severity
from ir.expressions import Apply, Dim, Expr, Local, leaves
from ir.graph import Branch, Call, Loop, Node, Number, Op, Operand, Raised, Region, Scan, SliceOf, Value, within
from ir.spans import Span

TOKENS = Dim("T")
FACTORS = frozenset(
    {
        "mul",
        "div",
        "floor_divide",
        "remainder",
        "pow",
        "lerp",
        "matmul",
        "linear",
        "addmm",
        "baddbmm",
        "einsum",
        "outer",
    }
)
TERMS = frozenset({"add", "sub", "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge"})
"""A place that is counted from the last token is a place: what is added to it scales nothing."""


class Follows(IntEnum):
    """What a value follows from; of what is computed from several, the greatest."""

    NOTHING = 0  # numbers and parameters
    PLACES = 1  # where each token is, and whether it is padding
    LENGTH = 2  # how many tokens there are
    IDS = 3  # what they are


def note(causes: Sequence[Diagnostic]) -> Diagnostic:
    """That a step runs over all tokens. `causes`: why none of the ways to go on from a cache can be taken, if there are any."""
    notes = tuple(dict.fromkeys(f"it cannot be followed on a cache: {cause.message}" for cause in causes))
    place = next((cause.primary for cause in causes if cause.primary is not None), None)
    message = "a step runs over all tokens so far: nothing is kept of them"
    return Diagnostic("runs-again", message, place, notes=notes, severity=Severity.NOTE)


def check(region: Region, inputs: Sequence[str], causes: Sequence[Diagnostic]) -> None:
    """Refuse what would not be what the source computes step by step, where nothing is kept of the tokens before.

    A source without a cache runs again as well. Tokens that it counts are counted in what is emitted too, but in JAX a step runs
    over room for as many as there may be: the size of an axis is not their number.

    Raises:
        CompileError: `depends-on-length`.
    """
    walk = _Walk(counts=bool(causes))
    walk.run(region, [Follows.IDS if name == "ids" else Follows.PLACES for name in inputs])
    if not walk.met:
        return
    message = "what is computed for a token follows from how many tokens there are, and nothing is kept of those before"
    label = None if walk.place is None else Label(walk.place, "from the number of tokens")
    secondary = tuple(cause.primary for cause in causes if cause.primary is not None)
    notes = tuple(dict.fromkeys(f"it cannot be followed on a cache: {cause.message}" for cause in causes))
    raise CompileError(Diagnostic("depends-on-length", message, label, secondary, notes=notes))


class _Walk:
    """What the values of a program follow from; `met`: the number of tokens scales what is computed for one of them."""

    def __init__(self, counts: bool):
        self.counts = counts  # whether a number that tokens are counted to is one, beside the size of an axis
        self.place: Span | None = None
        self.met = False

    def run(self, region: Region, given: Sequence[Follows]) -> list[Follows]:
        """What the results follow from, where the parameters follow from what is `given`."""
        known: dict[object, Follows] = {}
        for param, follows in zip(region.params, given, strict=True):
            known[param.id if isinstance(param, Value) else param.expr] = follows
        for node in region.nodes:
            for value, follows in zip(node.results, self.node(node, known), strict=True):
                known[value.id] = follows
        return [self.of(result, known) for result in region.results]

    def node(self, node: Node, known: dict[object, Follows]) -> Sequence[Follows]:
        match node:
            case Op():
                return [self.op(node, known)] * len(node.results)
            case Call(region=inner, args=args):
                return self.run(inner, self.all(args, known))
            case Loop(bodies=bodies, varying=varying):
                first = self.all((*node.carried, *node.invariant), known)
                carried, rest = first[: len(node.carried)], first[len(node.carried) :]
                for kind in dict.fromkeys(node.kinds):
                    carried = self.run(bodies[kind], [*carried, *rest, *self.all(varying[kind], known)])
                return carried
            case Scan() | Branch():
                given = self.all(node.args, known)
                arms = [self.run(inner, given) for inner in within(node)]
                return [max(arm[at] for arm in arms) for at in range(len(node.results))]
            case Raised():
                return [max(self.all(node.args, known), default=Follows.NOTHING)] * len(node.results)
            case _:
                assert_never(node)

    def op(self, node: Op, known: dict[object, Follows]) -> Follows:
        found = [f for f in self.all(node.args, known, node.name) if f is not Follows.NOTHING]
        most = max(found, default=Follows.NOTHING)
        if node.name == "parameter" or most is Follows.NOTHING:
            return Follows.NOTHING
        if Follows.LENGTH in found and node.name in FACTORS and len(set(found)) > 1 and not self.met:
            self.place, self.met = node.span, True
        if node.name == "arange":
            return Follows.PLACES
        if most is Follows.PLACES and self.counts and not any(_by_token(value) for value in node.results):
            return Follows.LENGTH  # places of all tokens, taken together
        return min(found) if most is Follows.LENGTH and node.name in TERMS else most

    def all(self, operands: Iterable[Operand], known: dict[object, Follows], name: str = "") -> list[Follows]:
        return [self.of(operand, known, name) for operand in operands]

    def of(self, operand: Operand, known: dict[object, Follows], name: str = "") -> Follows:
        match operand:
            case Value(id=number):
                return known[number]
            case Number(expr):
                return self.number(expr, known, name)
            case tuple():
                return max(self.all(operand, known, name), default=Follows.NOTHING)
            case SliceOf(start, stop, step):
                return self.of((start, stop, step), known, name)
            case _:
                return Follows.NOTHING

    def number(self, expr: Expr, known: dict[object, Follows], name: str) -> Follows:
        """What a number follows from that is an argument of an operation; sizes and bounds of slices scale nothing."""
        passed = [known.get(leaf, Follows.NOTHING) for leaf in leaves(expr) if isinstance(leaf, Local)]
        if name == "arange" and TOKENS in leaves(expr):
            return Follows.LENGTH
        if name not in FACTORS | TERMS | {"", "where", "full", "clamp", "tensor"}:
            return Follows.NOTHING
        if TOKENS in leaves(expr) and not (name in TERMS and _counts_on(expr)):
            return Follows.LENGTH
        return max(passed, default=Follows.NOTHING)


def _by_token(value: Value) -> bool:
    return any(leaf in (TOKENS, Dim("S")) for size in value.shape for leaf in leaves(size))


def _counts_on(expr: Expr) -> bool:
    """A sum of whole numbers, of which the number of tokens is one."""
    return not isinstance(expr, Apply) or (expr.op in ("+", "-", "neg") and all(_counts_on(arg) for arg in expr.args))
