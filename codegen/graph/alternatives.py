"""Questions that have other answers for other sizes of the input: how many tokens fill a block, or pass a size of the
configuration.

Both ways are run. What one leaves that the other leaves too, for the sizes that are the other's, is the way for all sizes:
`if pad > 0: y = y[:, :length]` changes nothing where it is not asked for. A way that is an exception of the source is no way.
What cannot be shown to be the same is noted, and refused once the trace is done (lengths.py).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from codegen.diagnostics import CompileError
from codegen.graph.makers import Makers, makers_of
from codegen.graph.objects import ModuleObject
from codegen.graph.regions import nodes_of
from codegen.graph.scope import Scope
from codegen.graph.shortcuts import reads_next
from codegen.graph.undoing import mark
from codegen.graph.values import Frame, Node, Scalar, Tensor, TensorValue, expr_of, handles_in, value_of
from ir.expressions import Apply, Const, Dim, Environment, Expr, Index, evaluate, leaves
from ir.graph import WRITES
from ir.ops import Category, category
from ir.records import dataclass, field

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

Sizes = Mapping[str, int]
INPUT = frozenset({"B", "T", "P", "S"})
PAIRS = ((2, 1, 0), (2, 3, 0), (1, 4, 0), (3, 8, 0), (3, 17, 0), (2, 1, 2), (1, 4, 5), (2, 2, 30))
LONG = ((1, 99_991, 0), (1, 1, 99_991))
"""Rows of a batch, new tokens, and tokens in the cache."""
MOST = 3  # of the sizes that decide otherwise are evaluated
LAYERS = 64  # that a question for a layer is asked for
TOLERANCE = 1e-5
_FAILURES = (ArithmeticError, LookupError, TypeError, ValueError)
_MISSING = object()
_KEEP = frozenset({WRITES, "state_extend", "state_append", "cache_update"})


def sizes_to_ask(interpreter: Interpreter, *exprs: Expr) -> list[Sizes]:
    """Sizes of inputs, among them those around every number that expressions compare with, few tokens first. Inputs of more
    tokens than a trace is for are none."""
    cached = interpreter.surroundings.cached
    found = [size for size in (*PAIRS, *LONG) if cached is (size[2] > 0)]
    for number in sorted({n for expr in exprs for n in _numbers(interpreter, expr)}):
        for new in (number - 1, number, number + 1, 2 * number, 2 * number + 1):
            found += [(2, new, 5), (2, 1, new - 1), (2, new - 3, 3)] if cached else [(2, new, 0)]
    limits = [evaluate(limit, interpreter.environment) for limit in interpreter.surroundings.limits]
    kept = {s for s in found if s[1] > 0 and (s[2] > 0) is cached and all(s[1] <= limit for limit in limits)}  # type: ignore[operator]
    ordered = sorted(kept, key=lambda size: (size[1] + size[2], size[1]))
    return [{"B": rows, "T": new, "P": past, "S": new + past} for rows, new, past in ordered]


def _numbers(interpreter: Interpreter, expr: Expr) -> Iterator[int]:
    """The integers among the parts of an expression that the input does not decide."""
    if any(isinstance(leaf, Dim) for leaf in leaves(expr)):
        if isinstance(expr, Apply):
            for arg in expr.args:
                yield from _numbers(interpreter, arg)
        return
    for indices in _indices(expr):
        try:
            number = evaluate(expr, environment(interpreter, {}, indices))
        except _FAILURES:
            return
        if type(number) is int and number > 1:
            yield number


def _indices(expr: Expr) -> Iterator[dict[str, int]]:
    names = [leaf.name for leaf in leaves(expr) if isinstance(leaf, Index)]
    yield from ({name: at for name in names} for at in (range(LAYERS) if names else (0,)))


def environment(interpreter: Interpreter, sizes: Sizes, indices: Mapping[str, int]) -> Environment:
    env = interpreter.environment
    return Environment(env.config, env.raw, sizes, {**env.indices, **indices}, env.locals)


def answers(interpreter: Interpreter, expr: Expr) -> list[tuple[Sizes, Mapping[str, int], bool]]:
    """How a question is answered for other sizes, for the first layer for which it has more than one answer."""
    asked = {leaf.name for leaf in leaves(expr) if isinstance(leaf, Dim)}
    if not asked or not asked <= INPUT:
        return []
    sizes = sizes_to_ask(interpreter, expr)
    for indices in _indices(expr):
        found: list[tuple[Sizes, Mapping[str, int], bool]] = []
        for dims in sizes:
            try:
                found.append((dims, indices, bool(evaluate(expr, environment(interpreter, dims, indices)))))
            except _FAILURES:
                continue
        if len({answer for _, _, answer in found}) > 1:
            return found
    return []


def is_one_token(expr: Expr) -> bool:
    """A question for the case of one token, which has its own rules (branches.py)."""
    match expr:
        case Apply("==" | "!=" | ">" | "<=" | ">=" | "<", (Dim("T" | "S" | "P"), Const(0 | 1 | 2))):
            return True
        case Apply("not" | "bool", (inner,)):
            return is_one_token(inner)
        case _:
            return False


def asks(interpreter: Interpreter, test: object) -> bool:
    """Whether other sizes of the input have another answer to a test."""
    if not interpreter.framing or interpreter.surroundings.sketch or not isinstance(test, Scalar):
        return False
    return not is_one_token(test.expr) and bool(answers(interpreter, test.expr))


def decided(interpreter: Interpreter, expr: Expr) -> None:
    """A trace goes one way at a question whose other way was not shown to be the same."""
    mixed = not all(isinstance(leaf, Dim) for leaf in leaves(expr))
    if mixed and not is_one_token(expr) and answers(interpreter, expr):
        interpreter.undecided[expr, interpreter.place()] = None


def statement(interpreter: Interpreter, node: ast.If, scope: Scope, test: Scalar) -> bool:
    """Run the arm that serves all sizes; whether there is one."""
    returns = any(
        isinstance(found, ast.Return) for arm in (node.body, node.orelse) for s in arm for found in ast.walk(s)
    )

    def arm(answer: bool) -> None:
        interpreter.exec_body(node.body if answer else node.orelse, scope)
        if returns:
            interpreter.exec_rest(scope)

    raising = [answer for answer, body in ((True, node.body), (False, node.orelse)) if _raises(body)]
    answer = _Fork(interpreter, scope, test, arm, returns).serves(raising)
    if answer is None:
        return False
    interpreter.exec_body(node.body if answer else node.orelse, scope)
    return True


def expression(interpreter: Interpreter, node: ast.IfExp, scope: Scope, test: Scalar) -> ast.expr | None:
    """The operand that serves all sizes; None where neither is known to."""
    from codegen.graph.interpreter import _Return

    def arm(answer: bool) -> None:
        raise _Return(interpreter.eval(node.body if answer else node.orelse, scope))

    answer = _Fork(interpreter, scope, test, arm, returns=True).serves([])
    return None if answer is None else node.body if answer else node.orelse


def _raises(body: list[ast.stmt]) -> bool:
    return bool(body) and isinstance(body[-1], ast.Raise)


@dataclass
class _Left:
    """What an arm leaves: variables, lists, what modules and caches hold, values of tensors, what it returns if it does."""

    variables: dict[str, Any]
    holders: list[dict[Any, Any]]
    values: dict[int, TensorValue]
    returned: tuple[Any] | None
    made: Makers


@dataclass
class _Fork:
    interpreter: Interpreter
    scope: Scope
    test: Scalar
    arm: Callable[[bool], None]
    returns: bool
    holders: list[Any] = field(default_factory=list)
    tensors: dict[int, Tensor] = field(default_factory=dict)
    before: dict[TensorValue, Any] = field(default_factory=dict)

    def serves(self, raising: list[bool]) -> bool | None:
        """The answer whose arm gives what the other one gives for the sizes of that; None where none is known to."""
        interpreter, expr = self.interpreter, self.test.expr
        here = bool(self.test.value)
        if raising:
            return here if raising == [not here] else None
        known = answers(interpreter, expr)
        self.look_around()
        self.before = dict(makers_of(interpreter.trace.root))
        left = {answer: self.left(answer) for answer in (here, not here)}
        one, other = left[here], left[not here]
        if one is None or other is None:
            return None
        for answer in (here, not here):
            sizes = [(dims, indices) for dims, indices, given in known if given is not answer]
            if self.same(one, other, sizes[:MOST]):
                return answer
        return None

    def look_around(self) -> None:
        """What the arms may change."""
        kept = self.interpreter.surroundings.kept
        owner = self.scope.vars.get("self")
        attributes = [slot for m in _modules(owner) for slot in (m.parameters, m.buffers, m.dict)]
        lists = [value for value in self.scope.vars.values() if type(value) in (list, dict)]
        self.holders = [self.scope.vars, *attributes, *lists, *([] if kept is None else kept.holders)]
        states = list(self.interpreter.surroundings.states.held.values())
        reached = [*states, *(value for holder in self.holders for value in _items(holder).values())]
        self.tensors = {id(tensor): tensor for value in reached for tensor in handles_in(value)}

    def left(self, answer: bool) -> _Left | None:
        """What an arm leaves, all of it taken back; None where it does what cannot be compared."""
        from codegen.graph.interpreter import Coincidence, Jump, Raised, _Return

        interpreter, trace = self.interpreter, self.interpreter.trace
        undo, frame, start, at = mark(interpreter), trace.frame, len(trace.frame.body), interpreter.node
        contents = [dict(_items(holder)) for holder in self.holders]
        values = {key: tensor.value for key, tensor in self.tensors.items()}
        limits = dict(interpreter.surroundings.limits)
        found: _Left | None = None
        returned: tuple[Any] | None = None
        try:
            try:
                self.arm(answer)
            except _Return as result:
                returned = (result.value,)
            part = Frame("arm", "arm", None, None, None, body=frame.body[start:])
            nodes = [node for node, _ in nodes_of(part)]
            if not any(node.op in _KEEP for node in nodes):
                left = [dict(_items(holder)) for holder in self.holders]
                now = {key: tensor.value for key, tensor in self.tensors.items()}
                found = _Left(left[0], left[1:], now, returned, {r: node for node in nodes for r in node.results})
        except Coincidence:
            raise
        except (Jump, Raised, CompileError):
            pass
        undo()
        trace.frame, interpreter.node = frame, at
        interpreter.surroundings.limits.clear()
        interpreter.surroundings.limits.update(limits)
        for holder, content in zip(self.holders, contents, strict=True):
            _fill(holder, content)
        for key, value in values.items():
            self.tensors[key].value = value
        return found

    # ------------------------------------------------------------------------------------------------------ comparing

    def same(self, one: _Left, other: _Left, sizes: list[tuple[Sizes, Mapping[str, int]]]) -> bool:
        """Whether two arms leave the same for some sizes."""
        if not sizes or (one.returned is None) is not (other.returned is None):
            return False
        return all(_Comparison(self, one, other, dims, indices).agrees() for dims, indices in sizes)

    def is_free(self, name: str) -> bool:
        """Whether nothing reads a variable before it is set again."""
        level = next((loops for body, _, loops in reversed(self.interpreter.rest) if body is None), None)
        return level == self.interpreter.loops and not reads_next(self.interpreter.following(), name)


class _Comparison:
    """What two arms leave, for an input of some size."""

    def __init__(self, fork: _Fork, one: _Left, other: _Left, sizes: Sizes, indices: Mapping[str, int]):
        from codegen.graph.evaluating import Drawing  # numpy takes its time

        class Values(Drawing):
            def _results(self, node: Node) -> tuple[Any, ...]:
                if node.op != "reshape":
                    return super()._results(node)
                (made,) = node.results  # the shape says what the rest is where there are no elements
                return (self.value(node.args[0]).reshape(self.shape(made)),)  # type: ignore[arg-type]

            def drawn(self, value: TensorValue) -> Any:
                if category(value.dtype) is Category.INTEGER:
                    import numpy as np

                    return np.arange(int(np.prod(self.shape(value)))).reshape(self.shape(value)) % 2
                return super().drawn(value)

        self.fork, self.one, self.other = fork, one, other
        env = environment(fork.interpreter, sizes, indices)
        makers = {**fork.before, **one.made, **other.made}
        self.values = Values(makers, env, sizes, {}, before=fork.before)

    def agrees(self) -> bool:
        fork, one, other = self.fork, self.one, self.other
        if one.returned is not None and other.returned is not None:
            if not self.equal(one.returned[0], other.returned[0]):
                return False
        else:
            for name in dict.fromkeys([*one.variables, *other.variables]):
                pair = one.variables.get(name, _MISSING), other.variables.get(name, _MISSING)
                if not self.equal(*pair) and not fork.is_free(name):
                    return False
        for first, second in zip(one.holders, other.holders, strict=True):
            if first.keys() != second.keys() or not all(self.equal(first[key], second[key]) for key in first):
                return False
        return all(self.alike(one.values[key], other.values[key]) for key in one.values)

    def equal(self, a: Any, b: Any) -> bool:
        if a is b:
            return not isinstance(a, Tensor) or self.alike(self.held(self.one, a), self.held(self.other, a))
        match a, b:
            case Tensor(), Tensor():
                return self.alike(self.held(self.one, a), self.held(self.other, b))
            case (None, Tensor() as tensor) | (Tensor() as tensor, None):
                return self.is_empty(tensor.value)
            case (tuple(), tuple()) | (list(), list()):
                return len(a) == len(b) and all(map(self.equal, a, b))
            case (dict(), dict()):
                return list(a) == list(b) and all(self.equal(a[key], b[key]) for key in a)
            case (Scalar() | int() | float(), Scalar() | int() | float()):
                return bool(self.number(a) == self.number(b))
            case _:
                return isinstance(a, str) and isinstance(b, str) and bool(a == b)

    def held(self, left: _Left, tensor: Tensor) -> TensorValue:
        """What a tensor object has after an arm."""
        return left.values.get(id(tensor), tensor.value)

    def number(self, x: Any) -> Any:
        try:
            return evaluate(expr_of(x), self.values.environment)
        except _FAILURES:
            return value_of(x)

    def is_empty(self, value: TensorValue) -> bool:
        """Whether a tensor has no elements, and so says as much as none."""
        try:
            return 0 in self.values.shape(value)
        except _FAILURES:
            return False

    def alike(self, a: TensorValue, b: TensorValue) -> bool:
        import numpy as np

        from codegen.graph.evaluating import FAILURES

        if a is b:
            return True
        if a.dtype is not b.dtype:
            return False
        try:
            x, y = np.asarray(self.values.value(a)), np.asarray(self.values.value(b))
        except FAILURES:
            return False
        return x.shape == y.shape and bool(np.allclose(x, y, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))


def _modules(owner: object) -> Iterator[ModuleObject]:
    if isinstance(owner, ModuleObject):
        yield owner
        for child in owner.modules.values():
            yield from _modules(child)


def _items(holder: Any) -> dict[Any, Any]:
    return holder if isinstance(holder, dict) else dict(enumerate(holder))


def _fill(holder: Any, content: dict[Any, Any]) -> None:
    holder.clear()
    if isinstance(holder, dict):
        holder.update(content)
    else:
        holder.extend(content.values())
