"""What is done to the scores of an attention between their product and the softmax, as far as it hides tokens.

If all of it together hides what a description hides, that mask, which the emitted model makes once, takes its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from codegen.graph.makers import follows_from, makers_of
from codegen.graph.regions import NARROW, nodes_of
from codegen.graph.state import Mask
from codegen.graph.values import Frame, Node, TensorValue, value_of
from ir.graph import DType
from ir.ops import promote
from ir.records import dataclass, field

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter


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
    found: dict[frozenset[tuple[int, str]], Mask | None] = field(default_factory=dict)

    def run(self) -> None:
        self.makers = makers_of(self.interpreter.trace.root)
        nodes = list(nodes_of(self.root))
        self.owners = {id(node): frame for node, frame in nodes}
        for node, _ in nodes:
            if node.op == "softmax" and isinstance(node.args[0], TensorValue):
                self.attention(node.args[0])
            elif node.op == "attention" and isinstance(node.args[3], TensorValue):
                self.fused(node, node.args[3])

    def fused(self, node: Node, given: TensorValue) -> None:
        """Attention in one operation, which takes a mask: true where tokens are seen, or what is added."""
        q, k, v, _, causal, *rest = node.args
        if value_of(causal) is not False or len(node.results[0].shape) != 4 or not self.is_of_places(given):
            return
        step = Step(node, given, "kept" if given.dtype is DType.BOOL else "added", given, float("-inf"))
        mask = self.meaning([step])
        if mask is not None and not self.is_biased(step):
            node.args = (q, k, v, self.interpreter.surroundings.mask(mask).value, causal, *rest)

    def attention(self, scores: TensorValue) -> None:
        steps = self.steps(scores)
        if not steps:
            return
        mask = self.meaning(steps)
        if mask is None:
            return
        kept = [step for step in steps if self.is_biased(step)]
        plain = [step for step in steps if step not in kept and step.kind != "floor"]
        last = next((step for step in (*plain, *kept) if len(step.node.results[0].shape) == 4), None)
        if last is None:
            return
        for step in steps:
            if step is not last and step not in kept:
                self.pass_on(step)
        self.put(last, self.interpreter.surroundings.mask(mask).value, beside=last in kept)

    def is_biased(self, step: Step) -> bool:
        """Whether a step does more than to hide: it adds something to scores that stay visible, or scales them, by place."""
        from codegen.graph import visibility  # numpy takes its time

        return step.kind in ("added", "subtracted", "factor") and visibility.is_biased(
            self.interpreter, self.makers, step
        )

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
        return follows_from(self.makers, value, known)

    def meaning(self, steps: list[Step]) -> Mask | None:
        """The description that hides the same tokens, of all inputs."""
        from codegen.graph import visibility  # numpy takes its time

        key = frozenset((id(step.mask), step.kind) for step in steps)
        if key not in self.found:
            self.found[key] = visibility.meaning(self.interpreter, self.makers, self.masks, steps)
        return self.found[key]

    # ------------------------------------------------------------------------------------------------------ rewriting

    def pass_on(self, step: Step) -> None:
        """Leave the scores as they are."""
        node = step.node
        (result,) = node.results
        if result.dtype is step.scores.dtype:
            node.op, node.args = NARROW, (step.scores,)
        else:
            node.op, node.args = "cast", (step.scores, result.dtype)

    def put(self, step: Step, mask: TensorValue, *, beside: bool) -> None:
        """Add a mask of ours to the scores, in the place of what a step does or `beside` it."""
        node, scores = step.node, step.scores
        (result,) = node.results
        body = self.owners[id(node)].body
        if beside:
            scores = TensorValue(result.shape, result.dtype)
            body.insert(body.index(node), Node(node.op, node.args, (scores,), node.span))
        wide = promote(scores.dtype, mask.dtype)
        if wide is result.dtype:
            node.op, node.args = "add", (scores, mask)
            return
        made = TensorValue(result.shape, wide)
        body.insert(body.index(node), Node("add", (scores, mask), (made,), node.span))
        node.op, node.args = "cast", (made, result.dtype)


def recognise(interpreter: Interpreter, root: Frame) -> None:
    """Put masks of ours in the place of those that the source computes, where they say the same."""
    Recogniser(interpreter, root, candidates(interpreter)).run()


def candidates(interpreter: Interpreter) -> tuple[Mask, ...]:
    """Descriptions that a mask may have."""
    return (Mask(),)
