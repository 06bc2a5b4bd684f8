"""Loops of the source over time or chunks: the body is run once, for a number of the iteration that stands for all of them.

What the body takes from the iteration before becomes a carried value; `x[:, i]` a tensor that is passed slice by slice; what
is written to `y[:, i]` or appended to a list a tensor that is stacked slice by slice. The frame of a loop holds the nodes of
the body between SCAN_BEGIN (first values, tensors to slice, along which axes) and SCAN_END (how often, what is carried on,
what is stacked, along which axes), whose results are what the body starts from and what the loop leaves.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from codegen.diagnostics import CompileError
from codegen.graph import scalars
from codegen.graph.objects import External, Gathered, Range, Unknown
from codegen.graph.regions import SCAN, SCAN_BEGIN, SCAN_END, nodes_of
from codegen.graph.scalars import polynomial_of
from codegen.graph.scope import Scope, bound_names
from codegen.graph.tensor_ops import elementwise, layout
from codegen.graph.tensor_ops.binding import canonical
from codegen.graph.tensor_ops.indexing import setitem
from codegen.graph.tensor_ops.shapes import agree
from codegen.graph.tensor_ops.writing import write
from codegen.graph.undoing import mark
from codegen.graph.values import Frame, Node, Scalar, Size, Tensor, TensorValue, expr_of, handles_in, value_of
from ir.expressions import Apply, Const, Dim, leaves
from ir.graph import DType
from ir.records import dataclass, field

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

MAX_ATTEMPTS = 6  # until types and shapes of the carried values settle
FEW = 8  # turns of a loop of a fixed number that are written one after the other


def is_over_time(source: object) -> bool:
    """Whether a loop has as many iterations as the input has tokens or chunks."""
    return isinstance(source, Range) and source.of_input


def run_counted(interpreter: Interpreter, node: ast.For, source: object, scope: Scope) -> bool:
    """Run the body of a loop of a fixed number of turns for all of them at once, if it has many and all are alike: nothing but
    operations on tensors, whatever the number of the turn. False, and no trace is left, where it is not of this kind."""
    if not isinstance(source, Range) or source.of_input or len(source.host()) <= FEW or value_of(source.step) != 1:
        return False
    if node.orelse or not isinstance(node.target, ast.Name) or not _is_alike(interpreter, node, scope):
        return False
    undo, held = mark(interpreter), dict(scope.vars)
    values = [(tensor, tensor.value) for value in held.values() for tensor in handles_in(value)]
    try:
        _Loop(interpreter, node, source, scope).run()
    except CompileError:
        undo()
        scope.vars.clear()
        scope.vars.update(held)
        for tensor, value in values:
            tensor.value = value
        return False
    return True


def _is_alike(interpreter: Interpreter, node: ast.For, scope: Scope) -> bool:
    """Whether every turn of a loop runs the same statements, on tensors and on numbers that are the same in each."""
    statements = all(isinstance(inner, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr)) for inner in node.body)
    parts = [part for inner in node.body for part in ast.walk(inner)]
    if not statements or any(isinstance(part, _NOT_ALIKE) for part in parts):
        return False
    bound = {*stored_names(node)}
    if any(not isinstance(scope.vars[name], Tensor) for name in bound & scope.vars.keys() if name != node.target.id):  # type: ignore[attr-defined]
        return False
    read = {part.id for part in parts if isinstance(part, ast.Name)} - bound
    return all(isinstance(interpreter.lookup(name, scope), (Tensor, Scalar, External, int, float)) for name in read)


_NOT_ALIKE = (ast.Lambda, ast.comprehension, ast.IfExp, ast.BoolOp, ast.Compare, ast.NamedExpr, ast.Await, ast.Yield)


def run(interpreter: Interpreter, node: ast.For, source: Range, scope: Scope) -> None:
    """Run the body for all iterations at once.

    Raises:
        Unsupported: an iteration does something that the next cannot take up.
    """
    if value_of(source.start) != 0 or value_of(source.step) != 1 or not isinstance(node.target, ast.Name):
        interpreter.unsupported("a loop over time that does not count from 0", code="loop-over-time")
    if node.orelse or not source.host():
        interpreter.unsupported("a loop over time with an `else`, or without an iteration", code="loop-over-time")
    _Loop(interpreter, node, source, scope).run()


@dataclass
class _Place:
    """A variable, or a tensor object that is written in place, before the loop."""

    name: str
    tensor: Tensor
    before: TensorValue


@dataclass
class _Loop:
    interpreter: Interpreter
    node: ast.For
    source: Range
    scope: Scope
    types: dict[str, tuple[tuple[Size, ...], DType]] = field(default_factory=dict)  # of carried variables, once known
    inplace: set[int] = field(default_factory=set)  # tensor objects that are carried from one iteration to the next

    def __post_init__(self) -> None:
        assert isinstance(self.node.target, ast.Name)
        self.index = f"@{self.node.target.id}"
        self.start = self.source.start
        length = self.source.stop if value_of(self.start) == 0 else scalars.apply("-", self.source.stop, self.start)
        assert isinstance(length, (int, Scalar))
        self.length: Size = length
        self.trace = self.interpreter.trace

    def run(self) -> None:
        for _ in range(MAX_ATTEMPTS):
            if self.attempt():
                return
        self.fail("the type or shape of what a loop carries on never settles")

    def fail(self, message: str) -> Any:
        self.interpreter.unsupported(message, code="loop-over-time")

    # ------------------------------------------------------------------------------------------------- one attempt

    def attempt(self) -> bool:
        """Run the body; False where it has to be run again because a carried value changes its type or shape."""
        scope, trace = self.scope, self.trace
        held = dict(scope.vars)
        carried = {n: v for n in dict.fromkeys(bound_names(self.node)) if isinstance(v := held.get(n), Tensor)}
        objects = {id(t): t for value in held.values() for t in handles_in(value)}
        values = {key: tensor.value for key, tensor in objects.items()}
        lists = {name: list(value) for name, value in held.items() if isinstance(value, list)}
        inits = {name: self.initial(name, tensor) for name, tensor in carried.items()}
        made = len(trace.frame.body)
        frame = trace.enter(SCAN, SCAN, trace.frame.module_path)
        formals = {name: TensorValue(init.shape, init.dtype) for name, init in inits.items()}
        states = {key: TensorValue(objects[key].shape, objects[key].dtype) for key in self.inplace}
        for name, formal in formals.items():
            self.interpreter.bind(name, Tensor(formal), scope)
        for key, formal in states.items():
            objects[key].value = formal
        try:
            self.body()
        finally:
            trace.leave(frame)
        after = {name: scope.vars.get(name) for name in carried}
        self.unchanged(held)
        if not self.settled(frame, after, inits, formals) or not self.written(frame, objects, values, states):
            self.undo(held, objects, values, lists, made)
            return False
        self.finish(frame, inits, formals, objects, values, states, lists, held)
        return True

    def initial(self, name: str, tensor: Tensor) -> Tensor:
        """The first value of a carried variable, of the shape and type that every iteration leaves."""
        shape, dtype = self.types.get(name, (tensor.shape, tensor.dtype))
        trace = self.interpreter.tensor_span()
        if dtype is not tensor.dtype:
            tensor = elementwise.cast(trace, tensor, dtype)
        if len(shape) != len(tensor.shape) or not all(map(scalars.same, shape, tensor.shape)):
            expanded = layout.expand(trace, tensor, *shape)
            assert isinstance(expanded, Tensor)
            tensor = expanded
        return tensor

    def body(self) -> None:
        from codegen.graph.interpreter import _Break, _Continue

        interpreter = self.interpreter
        interpreter.loops += 1
        interpreter.turns += 1
        try:
            interpreter.assign(self.node.target, self.number(), self.scope)
            interpreter.exec_body(self.node.body, self.scope)
        except _Continue:
            pass
        except _Break:
            self.fail("a loop over time that ends early")
        finally:
            interpreter.loops -= 1
            interpreter.turns -= 1

    def number(self) -> Scalar:
        """The number of a turn: of a loop over time the first one's, whose shapes are those of all; else one that stands for
        all, as no size in sight is equal to it or to one more or less."""
        if self.source.of_input:
            return Scalar(0, Dim(self.index))
        first = value_of(self.start)
        sizes = {value_of(size) for tensor in handles_in([*self.scope.vars.values()]) for size in tensor.shape}
        known = {0, 1, 2, *(near for size in sizes if isinstance(size, int) for near in (size - 1, size, size + 1))}
        turns = [turn for turn in self.source.host() if turn not in known] or list(self.source.host())
        counted = Scalar(turns[0] - self.source.host()[0], Dim(self.index))
        numbered = counted if first == 0 else scalars.apply("+", counted, self.start)
        assert isinstance(numbered, Scalar)
        return numbered

    def unchanged(self, held: Mapping[str, Any]) -> None:
        """What is no tensor is the same in every turn, or made anew in each; after the loop nobody knows the latter."""
        for name in first_reads(self.node):
            before = held.get(name)
            if name not in held or isinstance(before, (Tensor, list)) or name not in stored_names(self.node):
                continue
            if not _is_same(before, self.scope.vars.get(name)):
                self.fail(f"a loop over time carries `{name}`, which is no tensor")

    def settled(
        self, frame: Frame, after: dict[str, Any], inits: dict[str, Tensor], formals: dict[str, TensorValue]
    ) -> bool:
        """Whether every variable is carried on in the type and shape in which it came."""
        same = True
        for name, value in after.items():
            if not isinstance(value, Tensor):
                self.fail(f"`{name}` is a tensor before a loop over time and none after it")
            init = inits[name]
            equal = len(value.shape) == len(init.shape) and all(map(scalars.same, value.shape, init.shape))
            if equal and value.dtype is init.dtype:
                continue
            if not _reads(frame, formals[name]):  # the name is used again, for something else
                self.types[name] = (value.shape, value.dtype)
                del self.scope.vars[name]
                continue
            self.types[name] = (value.shape, value.dtype)
            same = False
        return same

    def written(
        self,
        frame: Frame,
        objects: dict[int, Tensor],
        values: dict[int, TensorValue],
        states: dict[int, TensorValue],
    ) -> bool:
        """Whether every tensor that the body writes to is either one slice an iteration or known to be carried."""
        fresh = {
            key
            for key, tensor in objects.items()
            if key not in states and tensor.value is not values[key] and self.slot(frame, tensor, values[key]) is None
        }
        self.inplace |= fresh
        return not fresh

    def undo(
        self,
        held: dict[str, Any],
        objects: dict[int, Tensor],
        values: dict[int, TensorValue],
        lists: dict[str, list[Any]],
        made: int,
    ) -> None:
        self.scope.vars.clear()
        self.scope.vars.update(held)
        for key, tensor in objects.items():
            tensor.value = values[key]
        for name, items in lists.items():
            self.scope.vars[name][:] = items
        del self.trace.frame.body[made:]

    # ---------------------------------------------------------------------------------------------- what is stacked

    def slot(self, frame: Frame, tensor: Tensor, before: TensorValue) -> tuple[Node, int, Size] | None:
        """The write of one slice or block of `tensor` in every iteration, the axis, and how many places of it an iteration
        writes (0: a slice without the axis); None if it is written or read otherwise."""
        makers = [node for node, _ in nodes_of(frame) if tensor.value in node.results]
        users = [node for node, _ in nodes_of(frame) if _mentions(node.args, before)]
        if len(makers) != 1 or users != makers or makers[0].op != "setitem" or tensor.base is not None:
            return None
        index, rank = makers[0].args[1], len(tensor.shape)
        if _adds_axes(index):
            return None
        if (axis := self.axis(index, rank)) is not None:
            return (makers[0], axis, 0) if _reaches(before.shape[axis], self.length) else None
        axis, size = self.block(index, rank)
        if axis is None or not _reaches(before.shape[axis], scalars.product((self.length, size))):
            return None
        return makers[0], axis, size

    def block(self, index: object, rank: int) -> tuple[int | None, Size]:
        """The axis that an index takes `i * n : (i + 1) * n` of, where it leaves all others whole, and n."""
        items = list(index) if isinstance(index, tuple) else [index]
        if Ellipsis in [item for item in items if not isinstance(item, TensorValue)]:
            at = next(i for i, item in enumerate(items) if item is Ellipsis)
            items[at : at + 1] = [slice(None)] * (rank - len(items) + 1)
        found = [(at, size) for at, item in enumerate(items) if (size := self.block_size(item)) is not None]
        whole = all(item == slice(None) for at, item in enumerate(items) if not found or at != found[0][0])
        return found[0] if len(found) == 1 and whole else (None, 0)

    def block_size(self, item: object) -> Size | None:
        """n of `i * n : (i + 1) * n`, where i is the number of the iteration."""
        if not isinstance(item, slice) or item.step is not None or not isinstance(item.start, Scalar):
            return None
        match item.start.expr:
            case Apply("*", (Dim(name), size)) | Apply("*", (size, Dim(name))) if name == self.index:
                pass
            case _:
                return None
        stop = polynomial_of(expr_of(item.stop))
        if Dim(self.index) in leaves(size) or stop != polynomial_of(Apply("+", (item.start.expr, size))):
            return None
        first, last = value_of(item.start), value_of(item.stop)
        assert isinstance(first, int)
        return scalars.scalar(last - first, size) if isinstance(last, int) else None  # type: ignore[return-value]

    def axis(self, index: object, rank: int, *, kept: bool = False) -> int | None:
        """The axis that an index takes the slice of this iteration of, where it leaves all others whole; with `kept`, as an
        axis of length one.
        """
        items = [item for item in (index if isinstance(index, tuple) else (index,)) if item is not None]
        if Ellipsis in [item for item in items if not isinstance(item, TensorValue)]:
            at = next(i for i, item in enumerate(items) if item is Ellipsis)
            items[at : at + 1] = [slice(None)] * (rank - len(items) + 1)
        marks = self.is_slice if kept else self.is_index
        marked = [at for at, item in enumerate(items) if marks(item)]
        whole = all(item == slice(None) for at, item in enumerate(items) if at not in marked)
        return marked[0] if len(marked) == 1 and whole else None

    def is_index(self, item: object) -> bool:
        return isinstance(item, Scalar) and item.expr == Dim(self.index)

    def is_slice(self, item: object) -> bool:
        """`i : i + 1`"""
        return isinstance(item, slice) and self.is_index(item.start) and self.is_next(item.stop) and item.step is None

    def is_next(self, item: object) -> bool:
        return isinstance(item, Scalar) and item.expr == Apply("+", (Dim(self.index), Const(1)))

    def parts(self, frame: Frame) -> Iterator[tuple[TensorValue, int, TensorValue]]:
        """Tensors of which the body takes the slice of this iteration: whole, axis, and the slice."""
        inside = {result for node, _ in nodes_of(frame) for result in node.results}
        known: dict[tuple[TensorValue, int], TensorValue] = {}
        blocks: dict[tuple[TensorValue, int], TensorValue] = {}
        for node, owner in list(nodes_of(frame)):
            if node.op != "getitem" or not isinstance(node.args[0], TensorValue) or node.args[0] in inside:
                continue
            whole, index = node.args
            assert isinstance(whole, TensorValue)
            axis = self.axis(index, len(whole.shape))
            kept = self.axis(index, len(whole.shape), kept=True) if axis is None and not _adds_axes(index) else None
            axis = kept if axis is None else axis
            if axis is None and not _adds_axes(index):
                yield from self.part_in_blocks(frame, node, owner, blocks)
                continue
            if axis is None or not scalars.same(whole.shape[axis], self.length):
                continue
            part = known.get((whole, axis))
            if kept is not None:
                made = part or TensorValue((*whole.shape[:axis], *whole.shape[axis + 1 :]), whole.dtype)
                node.op, node.args = "unsqueeze", (made, canonical(axis, len(whole.shape)))
            elif _adds_axes(index):
                made = part or TensorValue((*whole.shape[:axis], *whole.shape[axis + 1 :]), whole.dtype)
                assert isinstance(index, tuple)
                node.args = (made, tuple(item for item in index if not self.is_index(item)))
            else:
                owner.body.remove(node)
                (made,) = node.results
                if part is not None:
                    _rename(frame, {made: part})
            if part is None:
                known[whole, axis] = made
                yield whole, axis, made

    def part_in_blocks(
        self, frame: Frame, node: Node, owner: Frame, known: dict[tuple[TensorValue, int], TensorValue]
    ) -> Iterator[tuple[TensorValue, int, TensorValue]]:
        """The block that a node takes of a tensor, as the slice of this iteration of the tensor in blocks."""
        whole, index = node.args
        assert isinstance(whole, TensorValue)
        axis, size = self.block(index, len(whole.shape))
        if axis is None or not scalars.same(whole.shape[axis], scalars.product((self.length, size))):
            return
        owner.body.remove(node)
        (made,) = node.results
        if (part := known.get((whole, axis))) is not None:
            _rename(frame, {made: part})
            return
        known[whole, axis] = made
        shape = (*whole.shape[:axis], self.length, size, *whole.shape[axis + 1 :])
        parts = TensorValue(shape, whole.dtype)
        around = self.trace.frame.body
        around.insert(around.index(frame), Node("reshape", (whole, shape), (parts,), frame.span))
        yield parts, axis, made

    # -------------------------------------------------------------------------------------------------- the outcome

    def finish(
        self,
        frame: Frame,
        inits: dict[str, Tensor],
        formals: dict[str, TensorValue],
        objects: dict[int, Tensor],
        values: dict[int, TensorValue],
        states: dict[int, TensorValue],
        lists: dict[str, list[Any]],
        held: dict[str, Any],
    ) -> None:
        scope = self.scope
        names = [name for name in inits if name in scope.vars]
        first = [*(inits[name].value for name in names), *(values[key] for key in states)]
        starts = [*(formals[name] for name in names), *states.values()]
        nexts = [*(scope.vars[name].value for name in names), *(objects[key].value for key in states)]
        results = [TensorValue(value.shape, value.dtype) for value in starts]
        pieces: list[TensorValue] = []
        axes: list[int] = []
        outcome: list[tuple[Tensor, TensorValue, int, Size]] = []
        for key, tensor in objects.items():
            if key in states or tensor.value is values[key]:
                continue
            found = self.slot(frame, tensor, values[key])
            assert found is not None
            node, axis, size = found
            piece = self.piece(frame, node, values[key], axis, size)
            pieces.append(piece)
            axes.append(axis)
            shape = (*piece.shape[:axis], self.length, *piece.shape[axis:])
            whole = size == 0 and scalars.same(values[key].shape[axis], self.length)
            stack = TensorValue(values[key].shape if whole else shape, values[key].dtype)
            results.append(stack)
            outcome.append((tensor, stack, axis, size))
        gathered: dict[str, int] = {}
        for name, before in lists.items():
            items = scope.vars[name] if isinstance(scope.vars.get(name), list) else before
            if len(items) == len(before):
                continue
            if before or len(items) != 1 or not isinstance(items[0], Tensor):
                self.fail(f"`{name}` grows by something else than one tensor an iteration")
            pieces.append(items[0].value)
            axes.append(0)
            gathered[name] = len(pieces) - 1
            results.append(TensorValue((self.length, *items[0].shape), items[0].dtype))
        sliced = list(self.parts(frame))
        begin = Node(
            SCAN_BEGIN,
            (tuple(first), tuple(whole for whole, _, _ in sliced), tuple(axis for _, axis, _ in sliced)),
            (*starts, *(part for _, _, part in sliced)),
            frame.span,
        )
        end = Node(
            SCAN_END, (self.length, self.index, tuple(nexts), tuple(pieces), tuple(axes)), tuple(results), frame.span
        )
        frame.body[:0] = [begin]
        frame.body.append(end)
        for at, name in enumerate(names):
            self.interpreter.bind(name, Tensor(results[at]), scope)
        for at, key in enumerate(states):
            objects[key].value = values[key]
            write(self.trace, objects[key], results[len(names) + at])
        for tensor, stack, axis, size in outcome:
            tensor.value = next(value for key, value in values.items() if objects[key] is tensor)
            self.write_stack(tensor, stack, axis, size)
            for name, value in scope.vars.items():
                if value is tensor:
                    self.trace.bind(name, tensor)
        for name, at in gathered.items():
            scope.vars[name] = Gathered(name, end, pieces[at], self.length, frame)
        for name in stored_names(self.node):
            known = name in held and (
                isinstance(held[name], (Tensor, list)) or _is_same(held[name], scope.vars.get(name))
            )
            if not known and name in scope.vars:
                scope.vars[name] = Unknown(f"`{name}` is made by every iteration of a loop over time")

    def write_stack(self, tensor: Tensor, stack: TensorValue, axis: int, size: Size) -> None:
        """Write what all iterations wrote, side by side; perhaps there are places behind that are left as they are."""
        covered = self.length
        if size != 0:
            covered = scalars.product((self.length, size))
            shape = (*stack.shape[:axis], covered, *stack.shape[axis + 2 :])
            stack = self.interpreter.tensor_span().emit("reshape", (stack, shape), (shape, stack.dtype))[0].value
        if scalars.same(covered, tensor.shape[axis]):
            write(self.trace, tensor, stack)
        else:
            index = (*(slice(None),) * axis, slice(None, covered))
            setitem(self.interpreter.tensor_span(), tensor, index, Tensor(stack))

    def piece(self, frame: Frame, node: Node, whole: TensorValue, axis: int, size: Size) -> TensorValue:
        """What an iteration writes, in the shape and type of the slice; the write itself is gone."""
        _, _, source = node.args
        owner = next(owner for other, owner in nodes_of(frame) if other is node)
        at = owner.body.index(node)
        shape = (*whole.shape[:axis], *(() if size == 0 else (size,)), *whole.shape[axis + 1 :])
        del owner.body[at]
        if isinstance(source, TensorValue):
            new: list[Node] = []
            if source.dtype is not whole.dtype:
                cast = TensorValue(source.shape, whole.dtype)
                new.append(Node("cast", (source, whole.dtype), (cast,), node.span))
                source = cast
            if not self.agrees(source.shape, shape):
                wide = TensorValue(shape, whole.dtype)
                new.append(Node("expand", (source, shape), (wide,), node.span))
                source = wide
            owner.body[at:at] = new
            return source
        made = TensorValue(shape, whole.dtype)
        owner.body.insert(at, Node("full", (shape, source, whole.dtype), (made,), node.span))
        return made

    def agrees(self, have: tuple[Size, ...], wanted: tuple[Size, ...]) -> bool:
        """Whether two shapes are the same, if not for every configuration then for all that are served."""
        if len(have) != len(wanted) or any(value_of(a) != value_of(b) for a, b in zip(have, wanted, strict=True)):
            return False
        pairs = [(a, b) for a, b in zip(have, wanted, strict=True) if not scalars.same(a, b)]
        if any(value_of(a) == 1 for a, _ in pairs):
            return False
        for a, b in pairs:
            agree(self.trace, a, b)
        return True


def _is_same(before: object, after: object) -> bool:
    """Whether a variable that holds no tensor has the value that it had."""
    if isinstance(before, (Scalar, int, float, str, bool, type(None))):
        return type(before) is type(after) and before == after
    return before is after


def stored_names(statement: ast.stmt) -> list[str]:
    """The names that are assigned somewhere in a statement, in place too."""
    names = [part for part in ast.walk(statement) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)]
    return list(dict.fromkeys(name.id for name in names))


def first_reads(loop: ast.For) -> list[str]:
    """The names that a turn may read before it binds them."""
    found: dict[str, None] = {}
    target = {name.id for name in ast.walk(loop.target) if isinstance(name, ast.Name)}
    _follow(loop.body, target, found)
    return list(found)


def _follow(body: list[ast.stmt], bound: set[str], found: dict[str, None]) -> set[str]:
    """Note what the statements of a block read before it is bound; what is bound after it for certain."""
    for statement in body:
        match statement:
            case ast.If(test=test, body=then, orelse=otherwise):
                _note_reads([test], bound, found)
                bound |= _follow(then, {*bound}, found) & _follow(otherwise, {*bound}, found)
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign() | ast.Expr():
                _note_reads([statement], bound, found)
                bound |= {*stored_names(statement)}
            case _:
                _note_reads([statement], bound, found)
    return bound


def _note_reads(parts: list[ast.stmt | ast.expr], bound: set[str], found: dict[str, None]) -> None:
    for part in parts:
        added = part.target if isinstance(part, ast.AugAssign) else None
        for name in ast.walk(part):
            if (
                isinstance(name, ast.Name)
                and (isinstance(name.ctx, ast.Load) or name is added)
                and name.id not in bound
            ):
                found[name.id] = None


def _reaches(have: Size, wanted: Size) -> bool:
    """Whether an axis has as many places, whatever the sizes are."""
    rest = polynomial_of(Apply("-", (expr_of(have), expr_of(wanted))))
    return scalars.same(have, wanted) or all(factor > 0 for factor in rest.values())


def _adds_axes(index: object) -> bool:
    return isinstance(index, tuple) and any(item is None for item in index)


def _mentions(argument: object, value: TensorValue) -> bool:
    if isinstance(argument, (tuple, list)):
        return any(_mentions(item, value) for item in argument)
    if isinstance(argument, slice):
        return _mentions((argument.start, argument.stop, argument.step), value)
    return argument is value


def _reads(frame: Frame, value: TensorValue) -> bool:
    return any(_mentions(node.args, value) for node, _ in nodes_of(frame))


def _rename(frame: Frame, values: dict[TensorValue, TensorValue]) -> None:
    """Use other values in all nodes of a frame."""

    def renamed(argument: object) -> object:
        if isinstance(argument, TensorValue):
            return values.get(argument, argument)
        if isinstance(argument, tuple):
            return tuple(renamed(item) for item in argument)
        if isinstance(argument, slice):
            return slice(renamed(argument.start), renamed(argument.stop), renamed(argument.step))
        return argument

    for node, _ in nodes_of(frame):
        node.args = tuple(renamed(argument) for argument in node.args)
