"""Branches on whether there are any: `if length // size > 0`, where with none of them the arm would leave all as it was.

A source that takes its tokens in blocks, and those that are left over by themselves, asks whether there are any of either. Such
an arm runs for every number of tokens. What it leaves is evaluated for numbers of tokens that have none, and compared with what was
there before; a list may have got a tensor of nothing, if it is only ever joined along the axis that is empty then.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from codegen.diagnostics import CompileError
from codegen.graph.makers import makers_of
from codegen.graph.objects import ModuleObject, Unknown
from codegen.graph.regions import SCAN_BEGIN, SCAN_END, frames_of, nodes_of
from codegen.graph.scope import Scope
from codegen.graph.shortcuts import reads_next
from codegen.graph.sizes import USUAL
from codegen.graph.undoing import mark
from codegen.graph.values import Frame, Node, Scalar, Tensor, TensorValue, handles_in, value_of
from ir.expressions import Apply, Const, Dim, Environment, Expr, Index, evaluate, leaves
from ir.graph import DType
from ir.ops import Category, category
from ir.records import dataclass

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

LENGTHS = range(2, 600)
ENOUGH = 3  # of what a trace is to show several of
MOST = 2  # of the numbers of tokens that have none are evaluated
TOLERANCE = 1e-5
_JOINS = frozenset({"torch.cat", "torch.concat", "torch.concatenate"})
_FAILURES = (LookupError, TypeError, ValueError, ArithmeticError)
_MISSING = object()


def question(interpreter: Interpreter, node: ast.If, test: object) -> Expr | None:
    """The number that a test asks of whether it is none; of blocks, or of what they leave over."""
    if not interpreter.framing or interpreter.surroundings.sketch or not isinstance(test, Scalar) or node.orelse:
        return None
    match test.expr:
        case Apply(">" | "!=", (Apply() as number, Const(0))) | Apply(">=", (Apply() as number, Const(1))):
            pass
        case _:
            return None
    if {leaf for leaf in leaves(number) if isinstance(leaf, Dim)} != {Dim("T")}:
        return None
    if bool(test.value) and number not in interpreter.wanted and not any(map(_appends, ast.walk(node))):
        return None
    try:
        counts = _counts(interpreter, number)
    except _FAILURES:
        return None
    return number if min(counts) == 0 < max(counts) else None


def _counts(interpreter: Interpreter, number: Expr) -> tuple[int, ...]:
    """A number for each of the lengths."""
    if number not in interpreter.counts:
        counts = tuple(_number(interpreter, number, length) for length in LENGTHS)
        if any(isinstance(leaf, Index) for leaf in leaves(number)):
            return counts
        interpreter.counts[number] = counts
    return interpreter.counts[number]


def _appends(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(), attr="append")):
            return True
        case _:
            return False


def _number(interpreter: Interpreter, expr: Expr, length: int) -> Any:
    env = interpreter.environment
    dims = {**interpreter.surroundings.sizes.dims, "T": length}
    return evaluate(expr, Environment(env.config, env.raw, dims, env.indices, env.locals))


def run(interpreter: Interpreter, node: ast.If, scope: Scope, test: Scalar, number: Expr) -> bool:
    """Run the arm for every number of tokens; whether that gives what the source gives.

    Raises:
        Coincidence: the tokens of the trace are too few to show what is done with several.
        Unsupported: it does not, and the trace has some.
    """
    from codegen.graph.interpreter import Coincidence, Jump, Raised

    before, undo = _Before.of(interpreter, scope), mark(interpreter)
    frame = interpreter.trace.frame
    start = len(frame.body)
    try:
        _ask_for_more(interpreter, number)
        interpreter.exec_body(node.body, scope)
        arm = _Arm(interpreter, scope, before, frame.body[start:], number)
        if arm.does_nothing():
            arm.forget()
            return True
    except Coincidence:
        raise
    except (Jump, Raised, CompileError):
        pass
    interpreter.trace.frame = frame
    before.restore(scope)
    undo()
    if bool(test.value):
        interpreter.node = node.test
        usual = _number(interpreter, number, USUAL.new)
        which = "sequences that leave nothing over" if usual else "longer sequences"
        interpreter.unsupported(f"{which} take another path here", code="branch-on-length")
    return False


def _ask_for_more(interpreter: Interpreter, number: Expr) -> None:
    """Have the trace run on enough tokens."""
    here = interpreter.surroundings.sizes.new
    most = max(_counts(interpreter, number))
    if _number(interpreter, number, here) >= min(ENOUGH, most):
        return
    from codegen.graph.interpreter import Coincidence

    interpreter.wanted[number] = min(ENOUGH, most)
    interpreter.unsupported(
        "the source asks whether the tokens fill blocks, and those of the trace do not fill several",
        code="branch-on-length",
        error=Coincidence,
    )


@dataclass(frozen=True)
class _Before:
    """Variables, lists, attributes and the values of tensors before the branch."""

    variables: dict[str, Any]
    lists: dict[str, tuple[Any, ...]]
    slots: list[tuple[Any, dict[Any, Any]]]
    tensors: dict[int, tuple[Tensor, TensorValue]]

    @classmethod
    def of(cls, interpreter: Interpreter, scope: Scope) -> _Before:
        kept = interpreter.surroundings.kept
        holders = [] if kept is None else kept.holders
        owner = scope.vars.get("self")
        holders = [*holders, *(slot for module in _modules(owner) for slot in _attributes(module))]
        slots = [(holder, _copied(holder)) for holder in holders]
        held = [*scope.vars.values(), *interpreter.surroundings.states.held.values(), *(c for _, c in slots)]
        tensors = {id(tensor): (tensor, tensor.value) for value in held for tensor in handles_in(value)}
        lists = {name: tuple(value) for name, value in scope.vars.items() if type(value) is list}
        return cls(dict(scope.vars), lists, slots, tensors)

    def restore(self, scope: Scope) -> None:
        scope.vars.clear()
        scope.vars.update(self.variables)
        for name, items in self.lists.items():
            scope.vars[name][:] = items
        for holder, content in self.slots:
            holder.clear()
            if isinstance(holder, dict):
                holder.update(content)
            else:
                holder.extend(content.values())
        for tensor, value in self.tensors.values():
            tensor.value = value


def _modules(owner: object) -> Iterator[ModuleObject]:
    if isinstance(owner, ModuleObject):
        yield owner
        for child in owner.modules.values():
            yield from _modules(child)


def _attributes(module: ModuleObject) -> tuple[dict[str, Any], ...]:
    return module.parameters, module.buffers, module.dict


def _copied(holder: Any) -> dict[Any, Any]:
    return dict(holder) if isinstance(holder, dict) else dict(enumerate(holder))


@dataclass
class _Arm:
    """What an arm left, beside what was there before."""

    interpreter: Interpreter
    scope: Scope
    before: _Before
    items: list[Node | Frame]  # that it recorded
    number: Expr

    def does_nothing(self) -> bool:
        """Whether all is as it was where there are none."""
        if not self.has_sizes():
            return False
        pairs: list[tuple[TensorValue, TensorValue]] = []
        for holder, content in self.before.slots:
            now = _copied(holder)
            if now.keys() != content.keys() or any(now[key] is not content[key] for key in now):
                return False
        for name, new in self.scope.vars.items():
            old = self.before.variables.get(name, _MISSING)
            if old is not new and self.is_free(name):
                continue
            if type(new) is list and old is new:
                if not self.grows_by_nothing(name, new):
                    return False
            elif isinstance(old, Tensor) and isinstance(new, Tensor):
                pairs.append((self.before.tensors[id(old)][1], new.value))
            elif old is not new and not self.same_number(old, new):
                return False
        pairs += [(value, tensor.value) for tensor, value in self.before.tensors.values()]
        return self.equal([(a, b) for a, b in dict.fromkeys(pairs) if a is not b])

    def has_sizes(self) -> bool:
        """Whether all sizes are numbers where there are none: nothing is divided by how many there are."""
        part = Frame("arm", "arm", None, None, None, body=self.items)
        sizes = {
            size.expr
            for node, _ in nodes_of(part)
            for value in node.results
            for size in value.shape
            if isinstance(size, Scalar) and leaves(size.expr) & {Dim("T")}
        }
        try:
            for size in sizes:
                if not any(isinstance(leaf, Dim) and leaf.name.startswith("@") for leaf in leaves(size)):
                    _number(self.interpreter, size, self.lengths[0])
        except ArithmeticError:
            return False
        return True

    def is_free(self, name: str) -> bool:
        """Whether nothing reads a variable before it is set again."""
        level = next(loops for body, _, loops in reversed(self.interpreter.rest) if body is None)
        return level == self.interpreter.loops and not reads_next(self.interpreter.following(), name)

    def forget(self) -> None:
        """Variables that nothing reads are not what the arm made of them."""
        for name, new in self.scope.vars.items():
            if new is not self.before.variables.get(name, _MISSING) and self.is_free(name):
                self.scope.vars[name] = Unknown(f"`{name}` is made where there are tokens for it alone")

    @property
    def lengths(self) -> list[int]:
        """Numbers of tokens of which there are none."""
        counts = _counts(self.interpreter, self.number)
        return [length for length, count in zip(LENGTHS, counts, strict=True) if count == 0]

    def same_number(self, old: Any, new: Any) -> bool:
        if type(value_of(old)) is not int or type(value_of(new)) is not int:
            return False
        return self.at(old) == self.at(new)

    def at(self, number: Any) -> list[int]:
        """A number on the lengths that have none."""
        if not isinstance(number, Scalar):
            return [number] * len(self.lengths)
        counts = dict(zip(LENGTHS, _counts(self.interpreter, number.expr), strict=True))
        return [counts[length] for length in self.lengths]

    def grows_by_nothing(self, name: str, items: list[Any]) -> bool:
        """Whether a list has got no more than tensors without elements, which only count where the list is joined."""
        old = self.before.lists[name]
        if items[: len(old)] != list(old):
            return False
        more = items[len(old) :]
        if not all(isinstance(item, Tensor) for item in more):
            return False
        if not more:
            return True
        others = [value for other, value in self.before.variables.items() if other != name]
        if any(value is items for value in others):
            return False
        empty = {axis for item in more for axis in self.empty_axes(item)}
        return len(empty) == 1 and all(self.empty_axes(item) for item in more) and self.only_joined(name, *empty)

    def empty_axes(self, tensor: Tensor) -> list[int]:
        return [axis for axis, size in enumerate(tensor.shape) if not any(self.at(size))]

    def only_joined(self, name: str, axis: int) -> bool:
        """Whether what follows does no more with a list than append to it and join it along an axis."""
        used = joined = 0
        for statement in self.interpreter.following():
            for found in ast.walk(statement):
                used += isinstance(found, ast.Name) and found.id == name
                joined += self.joins(found, name, axis)
        return used == joined

    def joins(self, node: ast.AST, name: str, axis: int) -> bool:
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr="append")):
                return owner == name
            case ast.Call(func=function, args=[ast.Name(id=given), ast.Constant(value=along)], keywords=[]):
                pass
            case ast.Call(
                func=function, args=[ast.Name(id=given)], keywords=[ast.keyword("dim" | "axis", ast.Constant(along))]
            ):
                pass
            case _:
                return False
        if given != name or along != axis:
            return False
        called = self.interpreter.eval(function, self.scope)
        return getattr(called, "name", None) in _JOINS

    def equal(self, pairs: list[tuple[TensorValue, TensorValue]]) -> bool:
        """Whether tensors are the same where there are none."""
        from codegen.graph.evaluating import close  # numpy takes its time

        if not all(_holds(new.dtype, old) for old, new in pairs):
            return False
        inputs = (drawing(self.interpreter, self.items, length) for length in self.lengths[:MOST])
        return all(close(values, old, new, TOLERANCE) for values in inputs for old, new in pairs)


def _holds(dtype: DType, old: TensorValue) -> bool:
    """Whether a type holds what was there before: it is the same, the wide one of a state, or zeros are all that there was."""
    if dtype is old.dtype:
        return True
    floats = category(dtype) is category(old.dtype) is Category.FLOAT
    return floats and (dtype in (DType.FLOAT32, DType.FLOAT64) or old.everywhere == 0)


def drawing(interpreter: Interpreter, items: list[Node | Frame], length: int) -> Any:
    """The values of a part of a trace on random numbers, in which loops over what there is none of leave what they begin with."""
    import numpy as np  # which takes its time

    from codegen.graph.evaluating import Drawing
    from ir.evaluate import CannotEvaluate

    part = Frame("arm", "arm", None, None, None, body=items)
    begins = {
        id(frame.body[-1]): frame.body[0]
        for frame in frames_of(part)
        if frame.body and isinstance(frame.body[-1], Node) and frame.body[-1].op == SCAN_END
    }

    class _Values(Drawing):
        def _results(self, node: Node) -> tuple[Any, ...]:
            if node.op != SCAN_END:
                return super()._results(node)
            begin = begins[id(node)]
            assert isinstance(begin, Node) and begin.op == SCAN_BEGIN
            (first, _, _) = begin.args
            if self.number(node.args[0]) != 0:
                raise CannotEvaluate("a loop")
            assert isinstance(first, tuple)
            stacks = node.results[len(first) :]
            return (*(self.value(value) for value in first), *(np.zeros(self.shape(value)) for value in stacks))

    dims = {**interpreter.surroundings.sizes.dims, "B": 2, "T": length, "P": 0, "S": length}
    return _Values(makers_of(part), interpreter.environment, dims, {})
