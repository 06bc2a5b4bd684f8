"""Positions: what the emitted model counts for itself, and where the source counts otherwise.

A model is traced on the positions that its caller would pass, the number of tokens before each. Where the source would have
counted from the tokens themselves, its own default is what the model means: it is taken, and the count of tokens in it that
are not padding, on from those in the cache, is the same count of the emitted model.
"""

from __future__ import annotations

import ast
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from codegen.diagnostics import CompileError
from codegen.graph.regions import freeze_with_inputs, nodes_of
from codegen.graph.scope import Scope
from codegen.graph.undoing import mark
from codegen.graph.values import Frame, Node, Scalar, Tensor, TensorValue, expr_of, tensors_in, value_of
from ir.expressions import Dim, Environment, evaluate
from ir.graph import DType

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter


def asks_for_positions(interpreter: Interpreter, test: ast.expr, scope: Scope) -> bool:
    """Whether a condition is `positions is None`, of the positions that the trace passes."""
    match test:
        case ast.Compare(left=ast.Name(id=name), ops=[ast.Is()], comparators=[ast.Constant(value=None)]):
            value = scope.vars.get(name)
            return isinstance(value, Tensor) and value.value is interpreter.surroundings.positions
        case _:
            return False


def take_default(interpreter: Interpreter, test: ast.expr, body: list[ast.stmt], scope: Scope) -> bool:
    """Run what the source does without positions, and keep it if that reads the tokens or counts otherwise than from the first
    token on; else leave no trace of it."""
    from codegen.graph.interpreter import Jump, Raised

    frame, ids, name = interpreter.trace.frame, interpreter.surroundings.ids, _name(test)
    made, undo, variables = len(frame.body), mark(interpreter), dict(scope.vars)
    left: Exception | None = None
    try:
        interpreter.exec_body(body, scope)
    except (Jump, Raised, CompileError) as error:
        left = error  # what does not read the tokens need not be understood
    failed = left is not None and not isinstance(left, Jump)
    if any(ids in tensors_in(node.args) for node in _nodes(frame.body[made:])) or (
        failed and _hands_on(body, ids, variables)
    ):
        if left is not None:
            raise left
        return True
    if left is None and _counts_otherwise(interpreter, [interpreter.trace.root], scope.vars.get(name)):
        return True
    undo()
    scope.vars.clear()
    scope.vars.update(variables)
    return False


def _name(test: ast.expr) -> str:
    assert isinstance(test, ast.Compare) and isinstance(test.left, ast.Name)
    return test.left.id


_LENGTHS = (1, 3, 6)
_MOVES = frozenset({"unsqueeze", "reshape", "expand", "getitem", "cast", "repeat"})


def _counts_otherwise(interpreter: Interpreter, made: list[Node | Frame], positions: object) -> bool:
    """Whether positions that the source makes without looking at the tokens are not the number of tokens before each.

    Asked of whole sequences: some forget what is in the cache, and rely on a caller that passes positions then.
    """
    if not isinstance(positions, Tensor) or _is_usual(made, positions.value, interpreter.surroundings.sizes.S.value):
        return False
    return any(not _counts(interpreter, made, positions.value, length) for length in _LENGTHS)


def _is_usual(made: list[Node | Frame], value: TensorValue, total: object) -> bool:
    """`arange(T) + P` or `arange(P, P + T)`, whatever its axes."""
    makers = {result: node for node in _nodes(made) for result in node.results}
    node = makers.get(value)
    while node is not None and node.op in _MOVES:
        node = makers.get(node.args[0]) if isinstance(node.args[0], TensorValue) else None
    if node is None:
        return False
    shift: object = 0
    if node.op == "add" and isinstance(node.args[0], TensorValue) and _is_past(node.args[1]):
        shift, node = node.args[1], makers.get(node.args[0])
    if node is None or node.op != "arange" or value_of(node.args[2]) != 1:
        return False
    start, stop = node.args[0], node.args[1]
    if _is_past(shift):
        return value_of(start) == 0 and isinstance(stop, Scalar) and stop.expr == Dim("T")
    return _is_past(start) and isinstance(stop, Scalar) and stop.value == total


def _counts(interpreter: Interpreter, made: list[Node | Frame], value: TensorValue, length: int) -> bool:
    """Whether positions are 0, 1, ... for a sequence of some length."""
    import numpy as np  # which takes its time

    from ir.evaluate import CannotEvaluate, Context, evaluate_region

    surroundings = interpreter.surroundings
    root = Frame("function", "default", None, None, None, body=list(_nodes(made)))
    try:
        region, taken = freeze_with_inputs(root, [value], {})
        sizes = {"B": 2, "T": length, "P": 0, "S": length}
        environment = Environment(interpreter.environment.config, dims=sizes)
        args = [np.ones([evaluate(expr_of(size), environment) for size in v.shape], np.int64) for v in taken]  # type: ignore[misc]
        if any(v.dtype is not DType.INT64 or v in (surroundings.ids, surroundings.positions) for v in taken):
            return False
        (found,) = evaluate_region(region, args, Context(environment))
    except (CannotEvaluate, KeyError, TypeError, IndexError, ValueError, ArithmeticError, AssertionError):
        return False
    rows = found.reshape(-1, length).tolist() if found.size % length == 0 else []
    return bool(rows) and all(row == list(range(length)) for row in rows)


def restarts(interpreter: Interpreter, positions: Tensor) -> bool:
    """Whether positions, of whole sequences that are not padded, are known to do anything but go up by one. The library's
    masks take them for the positions of several sequences in a row then, which see nothing of each other."""
    surroundings = interpreter.surroundings
    if positions.value is surroundings.positions:
        return False
    needed = _needed(interpreter.trace.root, positions.value)
    if _is_usual(needed, positions.value, surroundings.sizes.S.value):
        return False
    found = [_rows(interpreter, needed, positions.value, length) for length in _LENGTHS]
    return any(b - a != 1 for rows in found if rows is not None for row in rows for a, b in pairwise(row))


def _needed(root: Frame, value: TensorValue) -> list[Node | Frame]:
    """The operations that a value comes of, in order."""
    wanted = {value}
    found: list[Node | Frame] = []
    for node in reversed([node for node, _ in nodes_of(root)]):
        if wanted.intersection(node.results):
            found.append(node)
            wanted.update(tensors_in(node.args))
    return found[::-1]


def _rows(
    interpreter: Interpreter, made: list[Node | Frame], value: TensorValue, length: int
) -> list[list[int]] | None:
    """The positions of a whole sequence of some length, for the usual positions of a caller; None where they cannot be told."""
    import numpy as np  # which takes its time

    from ir.evaluate import CannotEvaluate, Context, evaluate_region

    surroundings = interpreter.surroundings
    environment = Environment(interpreter.environment.config, dims={"B": 2, "T": length, "P": 0, "S": length})
    try:
        region, taken = freeze_with_inputs(Frame("function", "positions", None, None, None, body=made), [value], {})
        if surroundings.ids in taken or any(v.dtype is not DType.INT64 for v in taken):
            return None
        shapes: list[Any] = [[evaluate(expr_of(size), environment) for size in v.shape] for v in taken]
        args = [
            np.arange(length) + np.zeros(shape, np.int64) if v is surroundings.positions else np.ones(shape, np.int64)
            for v, shape in zip(taken, shapes, strict=True)
        ]
        (found,) = evaluate_region(region, args, Context(environment))
    except (CannotEvaluate, KeyError, TypeError, IndexError, ValueError, ArithmeticError, AssertionError):
        return None
    return found.reshape(-1, length).tolist() if found.size % length == 0 else None


def _hands_on(body: list[ast.stmt], ids: TensorValue, variables: dict[str, Any]) -> bool:
    """Whether a block passes the tokens to something, rather than asking for their shape or whether they are there."""
    nodes = [node for statement in body for node in ast.walk(statement)]
    asked = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    asked |= {id(node.left) for node in nodes if isinstance(node, ast.Compare)}
    names = {name for name, value in variables.items() if isinstance(value, Tensor) and value.value is ids}
    return any(isinstance(node, ast.Name) and node.id in names and id(node) not in asked for node in nodes)


def _nodes(items: list[Node | Frame]) -> list[Node]:
    return [node for node, _ in nodes_of(Frame("function", "", None, None, None, body=items))]


def share_the_count(root: Frame, ids: TensorValue, positions: TensorValue, *, cached: bool) -> None:
    """Replace every count of the tokens that are not padding by one more than the positions."""
    made = {result: node for node, _ in nodes_of(root) for result in node.results}

    def source(x: object) -> Node | None:
        node = made.get(x) if isinstance(x, TensorValue) else None
        while node is not None and node.op == "cast":
            node = made.get(node.args[0]) if isinstance(node.args[0], TensorValue) else None
        return node

    def counts(x: object) -> bool:
        node = source(x)
        if node is None or node.op != "cumsum" or value_of_axis(node) not in (1, -1):
            return False
        test = source(node.args[0])
        return (
            test is not None and test.op == "ne" and test.args[0] is ids and not isinstance(test.args[1], TensorValue)
        )

    for node, frame in list(nodes_of(root)):
        match node:
            case Node(op="add", args=(first, second)) if cached and (
                (counts(first) and _is_past(second)) or (counts(second) and _is_past(first))
            ):
                _replace(frame, node, positions)
            case Node(op="cumsum", results=(result,)) if not cached and counts(result):
                _replace(frame, node, positions)
            case _:
                pass


def value_of_axis(node: Node) -> object:
    axis = node.args[1]
    return axis.value if isinstance(axis, Scalar) else axis


def _is_past(x: object) -> bool:
    return isinstance(x, Scalar) and x.expr == Dim("P")


def _replace(frame: Frame, node: Node, positions: TensorValue) -> None:
    (result,) = node.results
    at = frame.body.index(node)
    if result.dtype is DType.INT64:
        frame.body[at] = Node("add", (positions, 1), node.results, node.span)
        return
    count = TensorValue(positions.shape, DType.INT64)
    frame.body[at : at + 1] = [
        Node("add", (positions, 1), (count,), node.span),
        Node("cast", (count, result.dtype), node.results, node.span),
    ]
