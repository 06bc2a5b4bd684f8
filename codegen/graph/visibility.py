"""Masks that the source computes by itself, recognised by what they are: which tokens see which, for inputs of several sizes.

What is done to the scores of an attention (maskings.py) is evaluated on the padding of small inputs. numpy takes its time to
load, so who asks imports this module where it does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from codegen.graph.evaluating import FAILURES, Evaluator
from codegen.graph.makers import Makers
from codegen.graph.maskings import Step
from codegen.graph.state import Mask
from codegen.graph.values import TensorValue
from ir.evaluate import Array, CannotEvaluate
from ir.expressions import evaluate
from ir.records import dataclass

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


def meaning(interpreter: Interpreter, makers: Makers, masks: Sequence[Mask], steps: Sequence[Step]) -> Mask | None:
    """The description among `masks` that hides the same tokens as the steps do, of all inputs."""
    try:
        return _recognised(interpreter, makers, masks, steps)
    except FAILURES:
        return None


def _recognised(interpreter: Interpreter, makers: Makers, masks: Sequence[Mask], steps: Sequence[Step]) -> Mask | None:
    candidates = list(masks)
    for call in calls(interpreter, makers):
        if not call.past and interpreter.surroundings.cached and call.new == 1:
            continue
        seen = np.ones((PADDED, call.new, call.new + call.past), bool)
        for step in steps:
            seen = seen & _planes(visible(call.values, step))
        candidates = [mask for mask in candidates if _agrees(seen, call, _reach(interpreter, mask))]
    return candidates[0] if candidates else None


def _reach(interpreter: Interpreter, mask: Mask) -> int | None:
    if mask.window is None:
        return None
    size = evaluate(mask.window, interpreter.environment)
    assert isinstance(size, int)
    return size


def visible(values: Evaluator, step: Step) -> Array:
    """Where a step leaves scores as they are; elsewhere it makes them the least."""
    mask = np.asarray(values.value(step.mask))
    match step.kind:
        case "added" | "subtracted":
            added = mask if step.kind == "added" else -mask
            hidden = added <= HIDES
            kept: Array = ~hidden
            return kept
        case "factor":
            if not (np.isfinite(mask) & (mask > 0)).all():
                raise CannotEvaluate("a factor by place hides scores, or turns them around")
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


def is_biased(interpreter: Interpreter, makers: Makers, step: Step) -> bool:
    """Whether something is added to scores that stay visible, or they are scaled by place."""
    added = [np.asarray(call.values.value(step.mask)) for call in calls(interpreter, makers)]
    if step.kind == "factor":
        return any((x != 1).any() for x in added)
    return any(((abs(x) < -HIDES) & (x != 0)).any() for x in added)


def _planes(seen: Array) -> Array:
    """[B, T, S] of a mask [B, 1, T, S], or of fewer axes."""
    if seen.ndim == 4 and (seen == seen[:, :1]).all():
        return seen[:, 0]
    if seen.ndim == 3 and (seen == seen[:1]).all():
        return seen[:1]
    if seen.ndim <= 2:
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
