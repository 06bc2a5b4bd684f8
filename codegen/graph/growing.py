"""Tables over as many places as there are tokens, or over a number of the configuration where that is more: of such a table no more
than the rows of the tokens is taken, so that it is made over the tokens alone, where that gives the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from codegen.graph.values import Frame, Node, Scalar, tensors_in
from ir.expressions import Apply, Dim, Environment, Expr, evaluate, leaves
from ir.records import dataclass

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

TOKENS = frozenset({Dim("T"), Dim("P"), Dim("S")})
SIZES = ((3, 0), (5, 0), (3, 2), (1, 6))
"""New tokens, and tokens in the cache."""
TOLERANCE = 1e-6


def shorten(interpreter: Interpreter, nodes: list[tuple[Node, Frame]]) -> None:
    """Make such tables over the tokens, in place; `nodes` are those that the result follows from."""
    for clamp in dict.fromkeys(part for node, _ in nodes if node.op == "arange" for part in _clamps(node.args)):
        length = next(arg for arg in clamp.args if leaves(arg) & TOKENS)
        change = _Change(interpreter, clamp, length)
        touched = [node for node, _ in nodes if _mentions(node, clamp)]
        plan = {id(node): Node(node.op, change(node.args), node.results, node.span) for node in touched}
        if _same(interpreter, [node for node, _ in nodes], plan):
            for node in touched:
                node.args = plan[id(node)].args
                for value in node.results:
                    value.shape = change(value.shape)
            for frame in {id(frame): frame for _, frame in nodes}.values():
                frame.bindings[:] = [(name, change(value)) for name, value in frame.bindings]


def is_clamp(expr: Expr) -> bool:
    """Whether a number is a length, or a limit where that is more."""
    match expr:
        case Apply("max", (length, limit)):
            return bool(leaves(length) & TOKENS) and bool(leaves(limit)) and not leaves(limit) & TOKENS
        case _:
            return False


def parts(expr: Expr) -> Iterator[Expr]:
    yield expr
    if isinstance(expr, Apply):
        for arg in expr.args:
            yield from parts(arg)


def _clamps(arguments: object) -> Iterator[Apply]:
    for size in _numbers(arguments):
        yield from (part for part in parts(size.expr) if isinstance(part, Apply) and is_clamp(part))


def _numbers(argument: object) -> Iterator[Scalar]:
    match argument:
        case Scalar():
            yield argument
        case tuple() | list():
            for item in argument:
                yield from _numbers(item)
        case slice():
            yield from _numbers((argument.start, argument.stop, argument.step))
        case _:
            pass


def _mentions(node: Node, clamp: Expr) -> bool:
    sizes = (node.args, *(value.shape for value in node.results))
    return any(clamp in parts(number.expr) for number in _numbers(sizes))


@dataclass
class _Change:
    interpreter: Interpreter
    clamp: Expr
    length: Expr

    def __call__(self, x: Any) -> Any:
        match x:
            case Scalar() if self.clamp in parts(x.expr):
                return self.number(self.within(x.expr))
            case tuple():
                return tuple(map(self, x))
            case list():
                return [self(item) for item in x]
            case slice():
                return slice(self(x.start), self(x.stop), self(x.step))
            case _:
                return x

    def number(self, expr: Expr) -> Scalar:
        env, sizes = self.interpreter.environment, self.interpreter.surroundings.sizes.dims
        value: Any = evaluate(expr, Environment(env.config, env.raw, sizes, env.indices, env.locals))
        return Scalar(value, expr)

    def within(self, expr: Expr) -> Expr:
        if expr == self.clamp:
            return self.length
        if not isinstance(expr, Apply):
            return expr
        args = tuple(map(self.within, expr.args))
        if expr.op in ("min", "max") and len(set(args)) == 1:
            return args[0]
        return Apply(expr.op, args)


def _dims(sizes: tuple[int, int]) -> dict[str, int]:
    new, past = sizes
    return {"B": 2, "T": new, "P": past, "S": new + past}


def _same(interpreter: Interpreter, nodes: list[Node], plan: dict[int, Node]) -> bool:
    """Whether all that is computed from such tables is the same for few tokens."""
    import numpy as np  # which takes its time

    from codegen.graph.evaluating import FAILURES, Evaluator

    made = [result for node in nodes if id(node) in plan for result in node.results]
    before = {result: node for node in nodes for result in node.results}
    after = {result: plan.get(id(node), node) for result, node in before.items()}
    for dims in map(_dims, SIZES):
        old, short = (Evaluator(makers, interpreter.environment, dims, {}) for makers in (before, after))
        try:
            pairs = {value: (np.asarray(old.value(value)), np.asarray(short.value(value))) for value in made}
            tables = {value for value, (a, b) in pairs.items() if a.shape != b.shape}
            if not all(_equal(a, b) for value, (a, b) in pairs.items() if value not in tables):
                return False
            taken = [n for n in nodes if id(n) not in plan and any(value in tables for value in tensors_in(n.args))]
            results = [value for node in taken for value in node.results]
            if not all(_equal(np.asarray(old.value(v)), np.asarray(short.value(v))) for v in results):
                return False
        except FAILURES:
            return False
    return True


def _equal(a: Any, b: Any) -> bool:
    import numpy as np

    return a.shape == b.shape and bool(np.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE))
