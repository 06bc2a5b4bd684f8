"""Tables over all places of which only the rows of the new tokens are taken: what is computed for every place, by an operation that
keeps rows apart, is computed at the places of the tokens instead. Then no table is made, and none grows.

A number that follows from how many tokens there are is computed as a tensor, since a compiled program counts them as it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from codegen.graph.growing import is_clamp, parts
from codegen.graph.regions import BRANCH_END, NARROW, nodes_of
from codegen.graph.scalars import same
from codegen.graph.sizes import Sizes
from codegen.graph.values import Frame, Node, Scalar, Size, TensorValue, expr_of, tensors_in, value_of
from ir.expressions import Apply, Const, Dim, Expr, leaves
from ir.graph import WRITES, DType
from ir.records import dataclass, field

NEW, PAST, ALL = Dim("T"), Dim("P"), Dim("S")
BINARY = frozenset("add sub mul div pow maximum minimum".split())
UNARY = frozenset("cast cos sin neg exp log sqrt rsqrt reciprocal abs clamp tanh sigmoid".split())


def needed(root: Frame, logits: TensorValue) -> list[tuple[Node, Frame]]:
    """The operations that the result depends on, in order."""
    wanted, found = {logits}, []
    for node, frame in reversed(list(nodes_of(root))):
        if node.op == WRITES or not wanted.isdisjoint(node.results):
            found.append((node, frame))
            wanted.update(tensors_in(node.args[1:] if node.op == BRANCH_END else node.args))
    return found[::-1]


def rewrite(root: Frame, logits: TensorValue, sizes: Sizes) -> None:
    """Compute rows of tables where they are taken, and numbers of tokens as tensors."""
    live = needed(root, logits)
    tables = False
    for node, frame in live:
        if node.op == "arange" and _counts_places(node):
            tables = True
            _Table(live, node, frame, sizes).rewrite()
    for node, frame in needed(root, logits) if tables else live:
        if node.op in BINARY:
            _measure(node, frame, sizes)
        elif node.op == "arange":
            _shift(node, frame, sizes)
        elif node.op == "getitem":
            _from_the_start(node, sizes)


def _shift(node: Node, frame: Frame, sizes: Sizes) -> None:
    """The places of the new tokens, as many as there are new ones, and on from those in the cache."""
    start, stop, step, *rest = node.args
    (result,) = node.results
    if not isinstance(start, Scalar) or start.expr != PAST or not isinstance(stop, Scalar) or stop.expr != ALL:
        return
    if value_of(step) != 1 or len(result.shape) != 1:
        return
    steps = TensorValue((sizes.T,), result.dtype)
    frame.body.insert(frame.body.index(node), Node("arange", (0, sizes.T, 1, *rest), (steps,), node.span))
    node.op, node.args = "add", (steps, sizes.P)
    result.shape = (sizes.T,)


def _from_the_start(node: Node, sizes: Sizes) -> None:
    """The last of all tokens counted from the first: a compiled program has room for more of them behind."""
    table, index = node.args
    if not isinstance(table, TensorValue) or not isinstance(index, tuple):
        return
    items, axis = list(_spread(index, len(table.shape))), 0
    for at, item in enumerate(items):
        if item is None:
            continue
        if isinstance(item, TensorValue):
            return
        last = isinstance(item, slice) and item.stop is None and isinstance(item.start, Scalar)
        if last and item.start.expr == Apply("neg", (NEW,)) and same(table.shape[axis], sizes.S):
            items[at] = slice(sizes.P, sizes.S, item.step)
        axis += 1
    if tuple(items) != _spread(index, len(table.shape)):
        node.args = (table, tuple(items))


class TableRemains(Exception):
    """A table over as many places as there are tokens, or as the module's own has, is made by every call."""


def check(root: Frame, logits: TensorValue) -> None:
    """
    Raises:
        TableRemains: see there.
    """
    for node, _ in needed(root, logits):
        stop = node.args[1] if node.op == "arange" else None
        if isinstance(stop, Scalar) and any(map(is_clamp, parts(stop.expr))):
            raise TableRemains


def _counts_places(node: Node) -> bool:
    start, stop, step = node.args[:3]
    counted = isinstance(stop, Scalar) and any(isinstance(leaf, Dim) for leaf in leaves(stop.expr))
    return counted and value_of(start) == 0 and value_of(step) == 1


class _No(Exception):
    """Something is done with a table that does not keep its rows apart."""


@dataclass
class _Table:
    live: list[tuple[Node, Frame]]
    start: Node
    frame: Frame
    sizes: Sizes
    rows: dict[TensorValue, int] = field(default_factory=dict)  # the axis of places
    nodes: list[tuple[Node, Frame, Callable[[Node, Frame], None]]] = field(default_factory=list)
    ids: list[TensorValue] = field(default_factory=list)
    cut: bool = False  # the rows of the new tokens are the last ones

    def rewrite(self) -> None:
        (steps,) = self.start.results
        self.rows[steps] = 0
        try:
            for node, frame in self.live:
                if node is not self.start and any(value in self.rows for value in tensors_in(node.args)):
                    self.nodes.append((node, frame, self.rule(node)))
        except _No:
            return
        if len(set(self.ids)) + self.cut != 1:
            return
        shapes = {value: self.shape(value, axis) for value, axis in self.rows.items()}
        for value, shape in shapes.items():
            value.shape = shape
        self.begin()
        for node, frame, change in self.nodes:
            change(node, frame)

    def shape(self, value: TensorValue, axis: int) -> tuple[Size, ...]:
        if self.cut:
            return (*value.shape[:axis], self.sizes.T, *value.shape[axis + 1 :])
        return (*self.ids[0].shape, *value.shape[axis + 1 :])

    def begin(self) -> None:
        node, body = self.start, self.frame.body
        (result,) = node.results
        at = body.index(node)
        places = self.ids[0] if self.ids else TensorValue((self.sizes.T,), DType.INT64)
        if self.cut:
            steps = TensorValue((self.sizes.T,), DType.INT64)
            body.insert(at, Node("arange", (0, self.sizes.T, 1, None), (steps,), node.span))
            body.insert(at + 1, Node("add", (steps, self.sizes.P), (places,), node.span))
        if result.dtype is places.dtype:
            node.op, node.args = NARROW, (places,)
        else:
            node.op, node.args = "cast", (places, result.dtype)

    # ---------------------------------------------------------------------------------------------------------- rules

    def rule(self, node: Node) -> Callable[[Node, Frame], None]:
        """What becomes of an operation on rows.

        Raises:
            _No: it does not keep them apart.
        """
        given = [value for value in tensors_in(node.args) if value in self.rows]
        if node.op in UNARY and given == [node.args[0]]:
            return self.keep(node, self.rows[given[0]])
        if node.op in BINARY:
            return self.binary(node)
        if node.op in ("einsum", "outer"):
            return self.outer(node)
        if node.op in ("cat", "stack"):
            return self.joined(node)
        if node.op in ("unsqueeze", "squeeze"):
            return self.reaxed(node)
        if node.op == "getitem" and given == [node.args[0]]:
            return self.getitem(node)
        if node.op == "index_select" and given == [node.args[0]] and value_of(node.args[1]) == 0:
            return self.taken(node, node.args[2])
        raise _No

    def keep(self, node: Node, axis: int) -> Callable[[Node, Frame], None]:
        (result,) = node.results
        self.rows[result] = axis
        return lambda node, frame: None

    def binary(self, node: Node) -> Callable[[Node, Frame], None]:
        (result,) = node.results
        rank = len(result.shape)
        axes = set()
        for value in tensors_in(node.args):
            shift = rank - len(value.shape)
            if value in self.rows:
                axes.add(self.rows[value] + shift)
        if len(axes) != 1:
            raise _No
        (axis,) = axes
        for value in tensors_in(node.args):
            shift = rank - len(value.shape)
            if value not in self.rows and any(value_of(s) != 1 for s in value.shape[: max(axis - shift + 1, 0)]):
                raise _No
        return self.keep(node, axis)

    def outer(self, node: Node) -> Callable[[Node, Frame], None]:
        operands = node.args if node.op == "outer" else node.args[1]
        assert isinstance(operands, tuple)
        if node.op == "einsum" and str(value_of(node.args[0])).replace(" ", "") not in (
            "i,j->ij",
            "n,d->nd",
            "t,d->td",
        ):
            raise _No
        match operands:
            case (TensorValue() as places, TensorValue() as other) if places in self.rows and other not in self.rows:
                pass
            case _:
                raise _No
        if len(places.shape) != 1 or len(other.shape) != 1:
            raise _No

        def change(node: Node, frame: Frame) -> None:
            column = TensorValue((*places.shape, 1), places.dtype)
            frame.body.insert(frame.body.index(node), Node("unsqueeze", (places, -1), (column,), node.span))
            node.op, node.args = "mul", (column, other)

        self.keep(node, 0)
        return change

    def joined(self, node: Node) -> Callable[[Node, Frame], None]:
        parts, dim = node.args[:2]
        assert isinstance(parts, tuple)
        (result,) = node.results
        axes = {self.rows.get(part, -1) for part in parts}
        at = value_of(dim)
        if len(axes) != 1 or not isinstance(at, int):
            raise _No
        (axis,) = axes
        at %= len(result.shape)
        if at <= axis:
            raise _No
        back = at - len(result.shape)

        def change(node: Node, frame: Frame) -> None:
            node.args = (parts, back, *node.args[2:])

        self.keep(node, axis)
        return change

    def reaxed(self, node: Node) -> Callable[[Node, Frame], None]:
        """An axis of one element more or less."""
        table, dims = node.args
        assert isinstance(table, TensorValue)
        (result,) = node.results
        axis = self.rows[table]
        wide = result if node.op == "unsqueeze" else table
        listed = [value_of(dim) for dim in (dims if isinstance(dims, tuple) else (dims,))]
        if len(listed) != 1 or not isinstance(listed[0], int):
            raise _No
        at = listed[0] % len(wide.shape)
        before = at <= axis if node.op == "unsqueeze" else at < axis
        step = 1 if node.op == "unsqueeze" else -1
        self.rows[result] = axis + step if before else axis
        cut, back = self, at - len(wide.shape)

        def change(node: Node, frame: Frame) -> None:
            if before and not cut.cut:
                node.op, node.args = NARROW, (table,)
            else:
                node.args = (table, at if before else back if node.op == "unsqueeze" else (back,))

        return change

    def getitem(self, node: Node) -> Callable[[Node, Frame], None]:
        table, index = node.args
        assert isinstance(table, TensorValue) and isinstance(index, tuple)
        (result,) = node.results
        axis = self.rows[table]
        if axis == 0 and len(index) == 1 and isinstance(index[0], TensorValue):
            return self.taken(node, index[0])
        items = _spread(index, len(table.shape))
        at = [at for at, item in enumerate(items) if item is not None][axis]
        before, item, after = items[:at], items[at], items[at + 1 :]
        if any(x is not None and x != slice(None) for x in before) or not isinstance(item, slice):
            raise _No
        if any(isinstance(x, TensorValue) for x in after) or value_of(item.step) not in (None, 1):
            raise _No
        if self.is_last(item, table.shape[axis]):
            self.cut = True
            final = True
        elif value_of(item.start) in (None, 0):
            self.rows[result] = sum(1 for x in before)
            final = False
        else:
            raise _No

        def change(node: Node, frame: Frame) -> None:
            if self.cut:
                kept: tuple[Any, ...] = (*before, slice(None), *after)
            else:
                kept = (Ellipsis, *after)
            plain = all(x is Ellipsis or x == slice(None) for x in kept)
            node.op, node.args = (NARROW, (table,)) if plain else ("getitem", (table, kept))

        if final and any(x is None for x in before):
            raise _No
        return change

    def is_last(self, item: slice, rows: Size) -> bool:
        """`[-T:]` of all tokens, or `[P:]`, `[P:S]`."""
        start = expr_of(item.start) if item.start is not None else None
        ends = item.stop is None or expr_of(item.stop) == ALL
        if start == PAST:
            return ends and (item.stop is not None or same(rows, self.sizes.S))
        return start == Apply("neg", (NEW,)) and item.stop is None and same(rows, self.sizes.S)

    def taken(self, node: Node, ids: object) -> Callable[[Node, Frame], None]:
        if not isinstance(ids, TensorValue) or ids.dtype is not DType.INT64:
            raise _No
        self.ids.append(ids)
        (table,) = (arg for arg in node.args[:1] if isinstance(arg, TensorValue))

        def change(node: Node, frame: Frame) -> None:
            node.op, node.args = NARROW, (table,)

        return change


def _spread(index: tuple[Any, ...], rank: int) -> tuple[Any, ...]:
    """The ellipsis as full slices, one item for every axis."""
    consumed = sum(1 for item in index if item is not None and item is not Ellipsis)
    rest = (slice(None),) * (rank - consumed)
    at = next((i for i, item in enumerate(index) if item is Ellipsis), None)
    return (*index, *rest) if at is None else (*index[:at], *rest, *index[at + 1 :])


# ------------------------------------------------------------------------------------------------ numbers of tokens


def _measure(node: Node, frame: Frame, sizes: Sizes) -> None:
    """Give an operation a tensor for a number that depends on how many tokens there are, those in the cache included."""
    for at, arg in enumerate(node.args):
        if isinstance(arg, Scalar) and leaves(arg.expr) & {ALL, PAST} and not isinstance(arg.value, bool):
            if isinstance(arg.expr, Dim):
                continue
            made: list[Node] = []
            try:
                found = _number(arg.expr, sizes, made, node)
            except _No:
                return
            if isinstance(found, TensorValue):
                place = frame.body.index(node)
                frame.body[place:place] = made
                node.args = (*node.args[:at], found, *node.args[at + 1 :])


_OPS = {"+": "add", "-": "sub", "*": "mul", "/": "div", "**": "pow"}
_FUNCTIONS = {
    "ceil": "ceil",
    "floor": "floor",
    "sqrt": "sqrt",
    "exp": "exp",
    "neg": "neg",
    "int": "trunc",
    "log2": "log2",
}
_FUNCTIONS |= {"float": ""}


def _number(expr: Expr, sizes: Sizes, made: list[Node], near: Node) -> object:
    """A number as a tensor without axes, if it depends on the tokens in the cache; else as it is.

    Raises:
        _No: by an operation that no tensor has.
    """

    def emit(op: str, *args: object) -> TensorValue:
        value = TensorValue((), DType.FLOAT32)
        made.append(Node(op, args, (value,), near.span))
        return value

    def of(x: Expr) -> object:
        if not leaves(x) & {ALL, PAST}:
            return x.value if isinstance(x, Const) else Scalar(None, x)
        match x:
            case Dim("P"):
                return emit("full", (), sizes.P, DType.FLOAT32)
            case Dim("S"):
                total = Scalar(sizes.S.value, Apply("+", (PAST, NEW)))
                return emit("full", (), total, DType.FLOAT32)
            case Apply("max", (a, b)):
                left, right = of(a), of(b)
                if isinstance(left, TensorValue):
                    return emit("clamp", left, right, None)
                return emit("clamp", right, left, None)
            case Apply("log", (a,)):
                return emit("log", of(a))
            case Apply("log", (a, Const(value))) if value == 2:
                return emit("log2", of(a))
            case Apply(op, (a, b)) if op in _OPS:
                return emit(_OPS[op], of(a), of(b))
            case Apply(op, (a,)) if op in _FUNCTIONS:
                return emit(_FUNCTIONS[op], of(a)) if _FUNCTIONS[op] else of(a)
            case _:
                raise _No

    return of(expr)
