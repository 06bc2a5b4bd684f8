"""Masks that the source computes by itself, recognised by what they are: which tokens see which, for inputs of several sizes.

What is done to the scores of an attention between their product and the softmax is evaluated on the padding of small inputs. If
all of it together hides what a description hides, that mask, which the emitted model makes once, takes its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from codegen.graph.evaluating import FAILURES, Evaluator, Makers, makers_of, sources
from codegen.graph.regions import NARROW, nodes_of
from codegen.graph.state import Mask
from codegen.graph.values import Frame, Node, TensorValue
from ir.evaluate import Array, CannotEvaluate
from ir.expressions import evaluate
from ir.ops import promote

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

HIDES = -9e3
"""What is added to a score to hide a token: the exponential of this is nothing."""
PADDED = 2  # rows of an input
SIZES = ((1, 4), (3, 5), (4, 0), (1, 9))
"""New tokens, and tokens in the cache."""


@dataclass(frozen=True, slots=True)
class Call:
    """One input: the evaluator of its values, which tokens are no padding, and how many are new and in the cache."""

    values: Evaluator
    valid: Array
    new: int
    past: int

    def seen(self) -> Array:
        """[B, T, S]: the tokens that are no padding and not later."""
        places = np.arange(self.new + self.past)
        earlier = places[None, :] <= places[self.past :, None]
        seen: Array = earlier[None] & (self.valid[:, None, :] != 0)
        return seen

    def rows(self) -> Array:
        """[B, T]: what is no padding among the new tokens."""
        rows: Array = self.valid[:, self.past :] != 0
        return rows


def calls(interpreter: Interpreter, makers: Makers) -> Iterator[Call]:
    """Small inputs: without padding, padded left, and, where nothing is in the cache, right."""
    surroundings = interpreter.surroundings
    for new, past in SIZES:
        total = new + past
        whole = np.ones((PADDED, total), np.int64)
        left, right = whole.copy(), whole.copy()
        left[0, :2] = 0
        right[0, -1:] = 0
        for valid in (whole, left, right) if not past else (whole, left):
            sizes = {"B": PADDED, "T": new, "P": past, "S": total}
            places = np.maximum(valid.cumsum(1) - 1, 0)
            given = {
                surroundings.fresh: valid[:, past:],
                surroundings.positions: places[:, past:],
            }
            if surroundings.valid is not None:
                given[surroundings.valid] = valid if surroundings.cached else valid[:, past:]
            yield Call(Evaluator(makers, interpreter.environment, sizes, given), valid, new, past)


# -------------------------------------------------------------------------------------------------------- attentions


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is done to scores: the operation, the scores before it, and what says which tokens they are of."""

    node: Node
    scores: TensorValue
    kind: str  # "added", "subtracted", "factor", "kept", "filled", "floor"
    mask: TensorValue
    least: object = None


@dataclass
class Recogniser:
    interpreter: Interpreter
    root: Frame
    masks: tuple[Mask, ...]  # that may be meant
    makers: dict[TensorValue, Node] = field(default_factory=dict)
    owners: dict[int, Frame] = field(default_factory=dict)
    found: dict[frozenset[int], Mask | None] = field(default_factory=dict)

    def run(self) -> None:
        self.makers = makers_of(self.interpreter.trace.root)
        nodes = list(nodes_of(self.root))
        self.owners = {id(node): frame for node, frame in nodes}
        for node, _ in nodes:
            if node.op == "softmax" and isinstance(node.args[0], TensorValue):
                self.attention(node.args[0])

    def attention(self, scores: TensorValue) -> None:
        steps = self.steps(scores)
        if not steps:
            return
        mask = self.meaning(steps)
        if mask is None:
            return
        last = next((s for s in steps if len(s.node.results[0].shape) == 4 and s.kind != "floor"), None)
        if last is None:
            return
        for step in steps:
            if step is not last:
                self.pass_on(step)
        self.put(last, self.interpreter.surroundings.mask(mask).value)

    def steps(self, scores: TensorValue) -> list[Step]:
        """What masks the scores on the way from their product, the last first."""
        steps: list[Step] = []
        at: TensorValue | None = scores
        while at is not None and (node := self.makers.get(at)) is not None:
            step = self.step(node)
            if step is not None:
                steps.append(step)
                at = step.scores
            else:
                at = self.above(node)
        return steps

    def above(self, node: Node) -> TensorValue | None:
        """The scores before an operation that masks nothing."""
        tensors = [arg for arg in node.args if isinstance(arg, TensorValue)]
        if node.op in ("cast", "mul", "div", "reshape", "maximum", "clamp", "tanh", NARROW) and len(tensors) >= 1:
            return tensors[0]
        if node.op in ("add", "sub"):
            return next((x for x in tensors if self.leads_to_product(x)), None)
        return None

    def leads_to_product(self, value: TensorValue) -> bool:
        node = self.makers.get(value)
        while node is not None:
            if node.op in ("matmul", "baddbmm", "einsum"):
                return True
            step = self.step(node)
            value_above = step.scores if step is not None else self.above(node)
            node = self.makers.get(value_above) if value_above is not None else None
        return False

    def step(self, node: Node) -> Step | None:
        match node:
            case Node(op="add", args=(TensorValue() as a, TensorValue() as b)):
                if self.is_of_places(b):
                    return Step(node, a, "added", b)
                return Step(node, b, "added", a) if self.is_of_places(a) else None
            case Node(op="sub", args=(TensorValue() as a, TensorValue() as b)) if self.is_of_places(b):
                return Step(node, a, "subtracted", b)
            case Node(op="mul", args=(TensorValue() as a, TensorValue() as b)):
                if self.is_of_places(b):
                    return Step(node, a, "factor", b)
                return Step(node, b, "factor", a) if self.is_of_places(a) else None
            case Node(op="where", args=(TensorValue() as mask, TensorValue() as a, least)) if self.is_of_places(mask):
                if not isinstance(least, TensorValue) or self.is_of_places(least):
                    return Step(node, a, "kept", mask, least)
                return Step(node, least, "filled", mask, a) if self.is_of_places(a) else None
            case Node(op="where", args=(TensorValue() as mask, least, TensorValue() as a)) if self.is_of_places(mask):
                return Step(node, a, "filled", mask, least)
            case Node(op="masked_fill", args=(TensorValue() as a, TensorValue() as mask, least)) if self.is_of_places(
                mask
            ):
                return Step(node, a, "filled", mask, least)
            case Node(op="maximum", args=(TensorValue() as a, TensorValue() as b)) if self.is_of_places(b):
                return Step(node, a, "floor", b)
            case _:
                return None

    def is_of_places(self, value: TensorValue) -> bool:
        """Whether a tensor follows from where tokens are and which are padding alone."""
        surroundings = self.interpreter.surroundings
        known = {surroundings.valid, surroundings.fresh, surroundings.positions}
        return sources(self.makers, value) <= known

    def meaning(self, steps: list[Step]) -> Mask | None:
        key = frozenset(id(step.mask) for step in steps)
        if key not in self.found:
            try:
                self.found[key] = self.recognised(steps)
            except FAILURES:
                self.found[key] = None
        return self.found[key]

    def recognised(self, steps: list[Step]) -> Mask | None:
        """The description that hides the same tokens, of all inputs."""
        candidates: list[Mask] = list(self.masks)
        surroundings = self.interpreter.surroundings
        for call in calls(self.interpreter, self.makers):
            if not call.past and surroundings.cached and call.new == 1:
                continue
            seen = np.ones((PADDED, call.new, call.new + call.past), bool)
            for step in steps:
                seen = seen & _planes(visible(call.values, step))
            candidates = [mask for mask in candidates if _agrees(seen, call, self.reach(mask))]
        return candidates[0] if candidates else None

    def reach(self, mask: Mask) -> int | None:
        if mask.window is None:
            return None
        size = evaluate(mask.window, self.interpreter.environment)
        assert isinstance(size, int)
        return size

    # ------------------------------------------------------------------------------------------------------ rewriting

    def pass_on(self, step: Step) -> None:
        """Leave the scores as they are."""
        node = step.node
        (result,) = node.results
        if result.dtype is step.scores.dtype:
            node.op, node.args = NARROW, (step.scores,)
        else:
            node.op, node.args = "cast", (step.scores, result.dtype)

    def put(self, step: Step, mask: TensorValue) -> None:
        node = step.node
        (result,) = node.results
        wide = promote(step.scores.dtype, mask.dtype)
        if wide is result.dtype:
            node.op, node.args = "add", (step.scores, mask)
            return
        made = TensorValue(result.shape, wide)
        body = self.owners[id(node)].body
        body.insert(body.index(node), Node("add", (step.scores, mask), (made,), node.span))
        node.op, node.args = "cast", (made, result.dtype)


def visible(values: Evaluator, step: Step) -> Array:
    """Where a step leaves scores as they are; elsewhere it makes them the least."""
    mask = np.asarray(values.value(step.mask))
    match step.kind:
        case "added" | "subtracted":
            added = mask if step.kind == "added" else -mask
            hidden = added <= HIDES
            if (~hidden & (added != 0)).any():
                raise CannotEvaluate("something is added that is no mask")
            kept: Array = ~hidden
            return kept
        case "factor":
            if (mask != 1).any():
                raise CannotEvaluate("scores are scaled by place")
            return np.ones((), bool)
        case "floor":
            if (mask > HIDES).any():
                raise CannotEvaluate("scores have a floor")
            return np.ones((), bool)
        case _:
            least = values.value(step.least) if isinstance(step.least, TensorValue) else values.number(step.least)
            if (np.asarray(least) > HIDES).any() or mask.dtype != bool:
                raise CannotEvaluate("what takes the place of hidden scores is no least number")
            return mask if step.kind == "kept" else ~mask


def _planes(seen: Array) -> Array:
    """[B, T, S] of a mask [B, 1, T, S], or of fewer axes."""
    if seen.ndim == 4 and seen.shape[1] == 1:
        return seen[:, 0]
    if seen.ndim == 3 and seen.shape[0] == 1 or seen.ndim <= 2:
        return seen
    raise CannotEvaluate("a mask that differs between heads")


def _agrees(seen: Array, call: Call, reach: int | None) -> bool:
    wanted = call.seen()
    if reach is not None:
        places = np.arange(call.new + call.past)
        wanted = wanted & (places[call.past :, None] - places[None, :] < reach)[None]
    seen = np.broadcast_to(seen, wanted.shape)
    rows = call.rows()
    return bool((seen == wanted)[rows].all())


def recognise(interpreter: Interpreter, root: Frame) -> None:
    """Put masks of ours in the place of those that the source computes, where they say the same."""
    Recogniser(interpreter, root, candidates(interpreter)).run()


def candidates(interpreter: Interpreter) -> tuple[Mask, ...]:
    """Descriptions that a mask may have."""
    return (Mask(),)
