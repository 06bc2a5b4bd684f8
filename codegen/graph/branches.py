"""Branches on whether one token is new or several: a step on a state has a shorter way than a prompt.

Both ways are traced, the first with the number of new tokens known to be one, and what they leave in the variables of the
function is joined. The frame of a branch holds the frames of its arms and then BRANCH_END: the condition, what either arm
leaves, and as results what is left.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from codegen.graph import scalars
from codegen.graph.objects import Unknown
from codegen.graph.regions import ARMS, BRANCH_END, NARROW, nodes_of
from codegen.graph.scope import Scope
from codegen.graph.shortcuts import disagree, reads_next
from codegen.graph.values import (
    Frame,
    Node,
    Scalar,
    Size,
    Tensor,
    TensorValue,
    expr_of,
    handles_in,
    tensors_in,
    value_of,
)
from ir.expressions import Apply, Const, Dim, Environment, Expr, evaluate, leaves
from ir.graph import DType
from ir.ops import category, promote
from ir.records import dataclass, field

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

LENGTHS = (2, 3, 4, 5, 8, 64)
LENGTH = Dim("T")
ONE_TOKEN = Apply("==", (LENGTH, Const(1)))


def asks_for_one(interpreter: Interpreter, test: object) -> bool:
    """Whether a test tells one new token from several, in a model that keeps states."""
    if not interpreter.framing or not isinstance(test, Scalar) or set(leaves(test.expr)) != {LENGTH}:
        return False
    surroundings = interpreter.surroundings
    keeps = surroundings.states.kinds or surroundings.kept is not None
    if not keeps or surroundings.states.learning or surroundings.sketch:
        return False
    one, *more = (bool(evaluate(test.expr, Environment(dims={"T": length}))) for length in (1, *LENGTHS))
    return all(answer is not one for answer in more)


def run(interpreter: Interpreter, node: ast.If, scope: Scope, test: Scalar) -> None:
    """Run both arms and join what they leave.

    Raises:
        Unsupported: inside of a loop, where what follows an arm that returns cannot be said.
    """
    trace, outer = interpreter.trace, interpreter.trace.frame
    try:
        _Fork(interpreter, node, scope, bool(test.value)).run()
    finally:
        if trace.frame is not outer:  # an arm failed
            trace.leave(trace.frame)


@dataclass
class _Arm:
    """What an arm leaves: variables, tensor objects and what they hold, what it returns if it does."""

    frame: Frame
    variables: dict[str, Any]
    objects: dict[int, TensorValue]  # by the identity of the object outside of the arm
    returned: tuple[Any] | None


@dataclass
class _Fork:
    interpreter: Interpreter
    node: ast.If
    scope: Scope
    several: bool  # the answer to the test for several tokens
    narrowed: dict[TensorValue, TensorValue] = field(default_factory=dict)
    copies: dict[int, Tensor] = field(default_factory=dict)
    spared: list[str] = field(default_factory=list)  # masks that one token does without

    def run(self) -> None:
        interpreter, scope, trace = self.interpreter, self.scope, self.interpreter.trace
        held, states = dict(scope.vars), dict(interpreter.surroundings.states.held)
        kept = interpreter.surroundings.kept
        slots = [] if kept is None else [(holder, _copied(holder)) for holder in kept.holders]
        leaves_kept = [] if kept is None else list(kept.tensors.values())
        objects = {id(t): t for value in (*held.values(), *states.values(), leaves_kept) for t in handles_in(value)}
        values = {key: tensor.value for key, tensor in objects.items()}
        trace.span = interpreter.span()
        frame = trace.enter(ARMS, ARMS, trace.frame.module_path)
        one = self.arm(not self.several, narrow=True, objects=objects)
        left_one = [_copied(holder) for holder, _ in slots]
        self.restore(held, states, objects, values)
        _put_back(slots)
        several = self.arm(self.several, narrow=False, objects=objects)
        if (one.returned is None) is not (several.returned is None):
            interpreter.unsupported("one token and several go on from different places", code="branch-on-length")
        left_several = [_copied(holder) for holder, _ in slots]
        self.restore(held, states, objects, values)
        _put_back(slots)
        pairs: list[tuple[TensorValue, TensorValue, TensorValue]] = []
        outcome = {
            name: self.join(one.variables.get(name, _MISSING), several.variables.get(name, _MISSING), held, pairs, name)
            for name in dict.fromkeys([*one.variables, *several.variables])
        }
        if any(isinstance(value, _Misfit) and self.read_next(name) for name, value in outcome.items()):
            self.drop(frame, one.frame)
            interpreter.exec_body(self.node.body if self.several else self.node.orelse, scope)
            return
        returned = None
        if one.returned is not None and several.returned is not None:
            returned = (self.join(one.returned[0], several.returned[0], {}, pairs, "the result"),)
        if self.spared:
            self.drop(frame, one.frame)
            self.take_masks()
            return
        for key, tensor in objects.items():
            before = self.narrowed.get(values[key], values[key])
            if one.objects[key] is not before or several.objects[key] is not values[key]:
                tensor.value = self.value(one.objects[key], several.objects[key], pairs)
                interpreter.surroundings.states.held = {
                    k: t for k, t in interpreter.surroundings.states.held.items() if t is not tensor
                }
        for (holder, old_slots), one_holds, several_hold in zip(slots, left_one, left_several, strict=True):
            self.join_kept(holder, old_slots, one_holds, several_hold, pairs)
        live = {tensor.value for tensor in handles_in(self.live(outcome, returned))}
        compared = [(a, b) for a, b, known in pairs if known in live]
        fresh = {} if kept is None else kept.fresh
        if disagree(one.frame, several.frame, compared, interpreter.environment, fresh):
            self.restore(held, states, objects, values)
            _put_back(slots)
            self.drop(frame, one.frame)
            interpreter.exec_body(self.node.body if self.several else self.node.orelse, scope)
            return
        ends = tuple(result for _, _, result in pairs)
        arms = tuple(a for a, _, _ in pairs), tuple(b for _, b, _ in pairs)
        frame.body.append(Node(BRANCH_END, (Scalar(False, ONE_TOKEN), *arms), ends, frame.span))
        trace.leave(frame)
        for name, value in outcome.items():
            if value is not _MISSING:
                scope.vars[name] = value
                if isinstance(value, (Tensor, Scalar)):
                    trace.bind(name, value)
        if returned is not None:
            from codegen.graph.interpreter import _Return

            raise _Return(returned[0])

    def take_masks(self) -> None:
        """Run the way of several tokens for one as well, and note the masks that one does without."""
        from codegen.graph.interpreter import _Return

        try:
            self.interpreter.exec_body(self.node.body if self.several else self.node.orelse, self.scope)
        except _Return as result:
            self.note_masks(result.value)
            raise
        self.note_masks([self.scope.vars.get(name) for name in self.spared])

    def note_masks(self, left: Any) -> None:
        for mask in handles_in(left):
            self.hides_nothing(mask)

    def read_next(self, name: str) -> bool:
        """Whether a variable is read after the branch."""
        return reads_next(self.interpreter.following(), name)

    def live(self, outcome: dict[str, Any], returned: tuple[Any] | None) -> list[Any]:
        """What is used of what the arms leave: what is returned or read behind them, and what is kept for the next call."""
        kept = self.interpreter.surroundings.kept
        held = [] if kept is None else list(kept.tensors.values())
        if returned is not None:
            return [*returned, *held]
        return [*(value for name, value in outcome.items() if self.read_next(name)), *held]

    def drop(self, frame: Frame, one: Frame) -> None:
        """Forget both arms, but for what that of one token read of the states."""
        kept = self.interpreter.surroundings.kept
        if kept is not None:
            read = {value for node, _ in nodes_of(one) for value in tensors_in(node.args)}
            kept.dropped |= read & set(kept.before.values())
        trace = self.interpreter.trace
        trace.leave(frame)
        trace.frame.body.remove(frame)

    def restore(
        self,
        held: dict[str, Any],
        states: dict[Any, Tensor],
        objects: dict[int, Tensor],
        values: dict[int, TensorValue],
    ) -> None:
        self.scope.vars.clear()
        self.scope.vars.update(held)
        kept = self.interpreter.surroundings.states.held
        kept.clear()
        kept.update(states)
        for key, tensor in objects.items():
            tensor.value = values[key]

    def arm(self, answer: bool, *, narrow: bool, objects: dict[int, Tensor]) -> _Arm:
        from codegen.graph.interpreter import _Return

        interpreter, scope = self.interpreter, self.scope
        frame = interpreter.trace.enter("arm", "arm", interpreter.trace.frame.module_path)
        returned: tuple[Any] | None = None
        try:
            if narrow:
                for key, tensor in objects.items():
                    self.copy(key, tensor)
                scope.vars.update({name: self.narrow(value) for name, value in scope.vars.items()})
            try:
                interpreter.exec_body(self.node.body if answer else self.node.orelse, scope)
                if self.returns():
                    interpreter.exec_rest(scope)
            except _Return as result:
                returned = (result.value,)
        finally:
            interpreter.trace.leave(frame)
        left = {key: (self.copies[key] if narrow else tensor).value for key, tensor in objects.items()}
        return _Arm(frame, dict(scope.vars), left, returned)

    def returns(self) -> bool:
        """Whether an arm may return, so that what follows the branch belongs to the other arm."""
        return any(isinstance(found, ast.Return) for found in ast.walk(self.node))

    # ---------------------------------------------------------------------------------------------------- one token

    def copy(self, key: int, tensor: Tensor) -> Tensor:
        """The tensor object as the arm for one token has it: states are themselves, since they are written to."""
        if key not in self.copies:
            value = self.narrow_value(tensor.value)
            self.copies[key] = tensor if value is tensor.value else Tensor(value)
        return self.copies[key]

    def narrow(self, value: Any) -> Any:
        match value:
            case Tensor():
                return self.copies[id(value)] if id(value) in self.copies else self.copy(id(value), value)
            case Scalar():
                return self.narrow_number(value)
            case tuple():
                return tuple(self.narrow(item) for item in value)
            case list() if type(value) is list:
                return [self.narrow(item) for item in value]
            case dict() if type(value) is dict:
                return {key: self.narrow(item) for key, item in value.items()}
            case _:
                return value

    def narrow_value(self, value: TensorValue) -> TensorValue:
        if not any(LENGTH in leaves(expr_of(size)) for size in value.shape):
            return value
        if value not in self.narrowed:
            shape: tuple[Size, ...] = tuple(self.narrow_number(size) for size in value.shape)
            self.narrowed[value] = TensorValue(shape, value.dtype)
            trace = self.interpreter.trace
            trace.frame.body.append(Node(NARROW, (value,), (self.narrowed[value],), trace.span))
        return self.narrowed[value]

    def narrow_number(self, number: Any) -> Any:
        if not isinstance(number, Scalar) or LENGTH not in leaves(number.expr):
            return number
        return self.rebuilt(number.expr)

    def rebuilt(self, expr: Expr) -> Any:
        """A number with one for the number of new tokens."""
        if expr == LENGTH:
            return 1
        if isinstance(expr, Const):
            return expr.value
        if isinstance(expr, Apply):
            return scalars.apply(expr.op, *(self.rebuilt(arg) for arg in expr.args))
        known = self.interpreter.environment
        dims = self.interpreter.surroundings.sizes.dims
        value: Any = evaluate(expr, Environment(known.config, known.raw, dims, known.indices, known.locals))
        return Scalar(value, expr)

    # -------------------------------------------------------------------------------------------------------- joins

    def join_kept(
        self,
        holder: Any,
        before: dict[Any, Any],
        one: dict[Any, Any],
        several: dict[Any, Any],
        pairs: list[tuple[TensorValue, TensorValue, TensorValue]],
    ) -> None:
        """Join what the arms leave in an object of the source that is kept for the next call."""
        for key in dict.fromkeys([*one, *several]):
            a, b, old = (held.get(key, _MISSING) for held in (one, several, before))
            if a is old and b is old:
                continue
            joined = self.join(a, b, before, pairs, str(key))
            if isinstance(joined, Unknown):
                self.interpreter.unsupported(
                    f"what is kept for the next call differs between one token and several: {key}",
                    code="branch-on-length",
                )
            if isinstance(holder, list) and key == len(holder):
                holder.append(joined)
            else:
                holder[key] = joined

    def join(
        self,
        one: Any,
        several: Any,
        held: dict[str, Any],
        pairs: list[tuple[TensorValue, TensorValue, TensorValue]],
        name: str,
    ) -> Any:
        """What is left of a variable that the arms leave as `one` and `several`."""
        if several is held.get(name, _MISSING) and self.unchanged(one, several):
            return several
        match one, several:
            case Tensor(), Tensor():
                if self.narrowed.get(several.value, several.value) is one.value:
                    return several
                if not self.fits(one.value, several.value):
                    return _Misfit(f"`{name}` differs in shape between one token and several")
                return Tensor(self.value(one.value, several.value, pairs))
            case None, Tensor() if self.hides_nothing(several):
                self.spared.append(name)  # since it would hide nothing from it
                return several
            case (tuple(), tuple()) | (list(), list()) if len(one) == len(several):
                joined = [self.join(a, b, {}, pairs, name) for a, b in zip(one, several, strict=True)]
                return tuple(joined) if isinstance(one, tuple) else joined
            case _:
                if one is several or value_of(one) == value_of(several) or self.unchanged(one, several):
                    return several
        return Unknown(f"`{name}` differs between one token and several")

    def hides_nothing(self, mask: Tensor) -> bool:
        from codegen.graph import absence  # numpy takes its time
        from codegen.graph.state import World

        return absence.leave_out(self.interpreter, mask.value, World(one=True))

    def unchanged(self, one: Any, several: Any) -> bool:
        """Whether a variable of the arm for one token is what the other arm has, narrowed."""
        if isinstance(one, Tensor) and isinstance(several, Tensor):
            return one is self.copies.get(id(several), several) or one.value is self.narrowed.get(several.value)
        if isinstance(several, Scalar) and LENGTH in leaves(several.expr):
            return bool(value_of(one) == value_of(self.narrow_number(several)))
        if isinstance(one, (tuple, list)) and isinstance(several, (tuple, list)) and len(one) == len(several):
            return all(self.unchanged(a, b) for a, b in zip(one, several, strict=True))
        if isinstance(one, dict) and isinstance(several, dict) and one.keys() == several.keys():
            return all(self.unchanged(one[key], several[key]) for key in one)
        return one is several or (type(one) is type(several) and one == several)

    def fits(self, one: TensorValue, several: TensorValue) -> bool:
        if len(one.shape) != len(several.shape) or category(one.dtype) is not category(several.dtype):
            return False
        return all(
            value_of(a) == value_of(self.narrow_number(b)) for a, b in zip(one.shape, several.shape, strict=True)
        )

    def value(
        self, one: TensorValue, several: TensorValue, pairs: list[tuple[TensorValue, TensorValue, TensorValue]]
    ) -> TensorValue:
        wide = promote(one.dtype, several.dtype)
        one, several = self.cast(one, wide, 0), self.cast(several, wide, 1)
        for a, b, known in pairs:
            if (a, b) == (one, several):
                return known
        pairs.append((one, several, TensorValue(several.shape, several.dtype)))
        return pairs[-1][2]

    def cast(self, value: TensorValue, dtype: DType, arm: int) -> TensorValue:
        """What an arm leaves in the type that holds what either leaves."""
        if value.dtype is dtype:
            return value
        made = TensorValue(value.shape, dtype)
        frame = self.interpreter.trace.frame.body[arm]
        assert isinstance(frame, Frame)
        frame.body.append(Node("cast", (value, dtype), (made,), frame.span))
        return made


def _copied(holder: Any) -> dict[Any, Any]:
    """What a list or dict holds, by its keys."""
    return dict(holder) if isinstance(holder, dict) else dict(enumerate(holder))


def _put_back(slots: list[tuple[Any, dict[Any, Any]]]) -> None:
    for holder, before in slots:
        holder.clear()
        if isinstance(holder, dict):
            holder.update(before)
        else:
            holder.extend(before.values())


@dataclass(eq=False, slots=True)
class _Misfit(Unknown):
    """A tensor that the arms leave in shapes that are not those of the same."""


_MISSING: Any = Unknown("a variable that only one arm of a branch has")
