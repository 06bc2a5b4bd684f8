"""One pass over all pairs of a token and an expert that it goes to, in place of a loop over experts.

The body of such a loop runs once. Tensors that hold the tokens of one expert hold those of all experts, sorted by expert; a
product with the weights of one expert is a product of groups of rows, each with the weights of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from codegen.graph.objects import Foreign, ModuleObject, Parameter
from codegen.graph.regions import frames_of, nodes_of
from codegen.graph.routing import Routing, bound_of, compare, is_distinct, routing_of
from codegen.graph.rowwise import ELEMENTWISE, keeps_rows
from codegen.graph.scalars import product, same
from codegen.graph.tensor_ops.binding import canonical
from codegen.graph.tensor_ops.shapes import count
from codegen.graph.values import Frame, Size, Tensor, TensorValue, Trace, value_of
from ir.graph import DType
from ir.records import dataclass

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

Shape = tuple[Size, ...]
Results = tuple[tuple[Shape, DType], ...]
Refuse = Callable[[str], NoReturn]
COMPARISONS = frozenset("eq ne lt le gt ge".split())


class Pairs:
    """What the values of the body stand for.

    `routing` says which experts the tokens go to, or the first mask of the body does; `turns` is how many experts the loop
    is over where these are not those that some token goes to. `refuse` raises the error of what has no meaning in such a body.
    """

    index: TensorValue | None = None
    flat: TensorValue
    order: TensorValue
    count: Size

    def __init__(self, trace: Trace, routing: Routing | None, refuse: Refuse, turns: Size | None = None):
        self.trace, self.refuse, self.turns = trace, refuse, turns
        self.bound: Size = turns if turns is not None else 0
        self.outer, self.start = trace.frame, len(trace.frame.body)
        self.prologue = Frame("function", "", None, None, None)
        self.experts: set[TensorValue] = set()  # the number of the expert
        self.masks: dict[TensorValue, tuple[int | None, ...]] = {}  # tokens of the expert -> axes of the index
        self.found: dict[TensorValue, tuple[int | None, ...]] = {}  # their places, one a row
        self.picked: dict[TensorValue, TensorValue] = {}  # something of the expert -> that of all experts
        self.conditions: dict[TensorValue, tuple[str, Size]] = {}  # what is asked about the number
        self.rows: set[TensorValue] = set()
        self.sums: set[TensorValue] = set()  # what the results are added to, before and after
        self.adding: set[int] = set()  # the operations that add
        self.active: TensorValue | None = None  # which rows the statement at hand runs for; None for all
        self.sizes: dict[int, TensorValue] = {}
        self.totals: set[TensorValue] = set()  # how many tokens the expert has
        self.always: dict[TensorValue, bool] = {}  # what is true of all experts that have tokens, or of none
        self.placed: dict[TensorValue, tuple[Tensor, ...]] = {}  # where a mask holds
        self.axes: dict[TensorValue, int | None] = {}  # of the index, along which rows stand where a tensor says
        self.leading: dict[TensorValue, TensorValue] = {}  # rows behind an axis of size one -> rows
        self.cuts: dict[TensorValue, TensorValue] = {}  # the rows of the expert -> all of them, which are in order
        self.gone: set[TensorValue] = set()  # what was cut
        self.kept: set[TensorValue] = set()  # rows of all experts that are read after the loop
        self.views: dict[int, ModuleObject] = {}  # of lists of experts
        self.dissolved: set[int] = set()
        if routing is not None:
            self._settle(routing)

    def _settle(self, routing: Routing, *, bounded: bool = True) -> None:
        """The mask that tells which tokens go to an expert is known; all others have to be the same. Where it is `bounded`, the
        source itself fails if an index is not below the number of classes."""
        if self.index is not None:
            if routing.index is not self.index:
                self.refuse("a mask of tokens that is not that of the experts of the loop")
            return
        if any(routing.index in node.results for node, _ in nodes_of(self._body())):
            self.refuse("an index of experts that every turn makes anew")
        self.index = routing.index
        bound = bound_of(self.trace, self.index)
        if bound is None and not bounded:
            self.refuse("an index of experts of which nothing says how many there are")
        self.bound = bound if bound is not None and count(bound) <= count(routing.classes) else routing.classes
        with self._before():
            self.flat = self._record(
                "reshape", (self.index, (-1,)), (product(self.index.shape),), DType.INT64, "experts"
            )
            order = (self.flat, -1, False, True)
            self.order = self._record("argsort", order, self.flat.shape, DType.INT64, "order")
        self.count = self.flat.shape[0]
        self.rows.add(self.order)
        self.axes[self.order] = 0 if len(self.index.shape) == 1 else None
        if self.turns is not None and count(self.bound) > count(self.turns):
            within = self._row("lt", (self.expert_of_row(), self.turns), (self.count,), DType.BOOL)
            self.active = within.value if self.active is None else self.refuse("a mask after a branch")

    def _body(self) -> Frame:
        return Frame("function", "", None, None, None, body=self.outer.body[self.start :])

    # ------------------------------------------------------------------------------------------- what the loop asks

    def expert(self, shape: Shape) -> Tensor:
        """The item of the loop: the number of an expert."""
        value = TensorValue(shape, DType.INT64)
        self.experts.add(value)
        return Tensor(value)

    def number(self, value: TensorValue) -> Tensor | None:
        return self.expert(()) if value in self.experts else None

    def holds_rows(self, value: TensorValue) -> bool:
        return value in self.rows

    def places(self, mask: TensorValue) -> tuple[Tensor, ...] | None:
        if mask not in self.masks:
            return None
        if mask not in self.placed:
            self.placed[mask] = tuple(self.place(axis) for axis in self.masks[mask])
        return self.placed[mask]

    def part(self, x: Tensor, index: object) -> Tensor | None:
        cut = index[0] if isinstance(index, tuple) and len(index) == 1 else index
        if not isinstance(cut, slice) or not (isinstance(cut.start, Edge) or isinstance(cut.stop, Edge)):
            return None
        whole = isinstance(cut.start, Edge) and cut.start.first and isinstance(cut.stop, Edge) and not cut.stop.first
        if not whole or cut.step is not None or not same(x.shape[0], self.count):
            self.refuse("a cut that is not from where the rows of an expert begin to where they end")
        made = TensorValue((self.count, *x.shape[1:]), x.dtype)
        self.cuts[made] = x.value
        self.rows.add(x.value)
        self.gone.add(x.value)
        return Tensor(made)

    def part_of(self, whole: Parameter) -> Tensor:
        made = Parameter(TensorValue(whole.shape[1:], whole.dtype), requires_grad=whole.requires_grad)
        self.picked[made.value] = whole.value
        return made

    def dissolve(self, module: ModuleObject) -> None:
        self.dissolved.add(id(module))

    def is_dissolved(self, module: Any) -> bool:
        return id(module) in self.dissolved

    def truth(self, value: TensorValue) -> bool | None:
        if value in self.always:
            return self.always[value]
        if value in self.totals:
            return True
        if value not in self.conditions:
            return None
        op, number = self.conditions[value]
        return compare(op, 0, self.bound, number)

    def undecided(self, value: object) -> bool:
        """Whether some experts go one way at a branch on `value` and some the other."""
        return isinstance(value, Tensor) and value.value in self.conditions and self.truth(value.value) is None

    def holds(self, value: TensorValue) -> Tensor:
        """For every row, whether the condition holds for its expert."""
        op, number = self.conditions[value]
        return self._row(op, (self.expert_of_row(), number), (self.count,), DType.BOOL)

    def spent(self) -> frozenset[TensorValue]:
        """Values that mean nothing after the loop."""
        marks = (
            self.experts,
            self.masks,
            self.found,
            self.picked,
            self.conditions,
            self.rows,
            self.totals,
            self.always,
        )
        values = frozenset(value for group in (*marks, self.leading, self.cuts) for value in group)
        return values - self.gone - self.kept

    def close(self) -> None:
        """The end of the body: what it starts with goes before it; what was of one expert gives its name to that of all."""
        whole = {**self.picked, **self.cuts}
        for frame in (self.outer, *frames_of(self._body())):
            frame.bindings = [
                (name, whole.get(value, value) if isinstance(value, TensorValue) else value)
                for name, value in frame.bindings
            ]
        self.outer.body[self.start : self.start] = self.prologue.body

    # ------------------------------------------------------------------------------------------------------ lifting

    def lift(self, op: str, args: tuple[object, ...], results: Results) -> tuple[Tensor, ...] | None:
        if any(value in self.gone for value in _values(args)):
            self.refuse("all rows, of which a turn cuts out those of its expert,")
        args = _replaced(args, self.cuts)
        values = _values(args)
        if any(value in self.totals for value in values):
            return (self._of_total(op, args, results),)
        if any(value in self.leading for value in values):
            return (self._of_leading(op, args, results),)
        if any(value in self.experts for value in values) and any(value in self.rows for value in values):
            args = _replaced(args, dict.fromkeys(self.experts, self.expert_of_row()))
            values = _values(args)
        if any(value in self.experts for value in values):
            return (self._of_number(op, args, results),)
        if any(value in self.masks or value in self.found for value in values):
            return (self._of_mask(op, args, results),)
        if any(value in self.picked for value in values):
            if any(value in self.rows for value in values):
                return (self._of_rows_and_weights(op, args, results),)
            return self._of_weights(op, args, results)
        if any(value in self.conditions for value in values):
            self.refuse("a tensor made of what is asked about the number of an expert")
        if any(value in self.rows for value in values):
            return self._of_rows(op, args, results)
        return None

    def _of_number(self, op: str, args: tuple[object, ...], results: Results) -> Tensor:
        """An operation on the number of the expert."""
        ((shape, dtype),) = results
        match op, args:
            case "getitem", (TensorValue() as value, tuple()) if value in self.experts and count(product(shape)) == 1:
                return self.expert(shape)
            case "squeeze" | "reshape" | "cast" | "unsqueeze", _ if count(product(shape)) == 1 and len(shape) < 2:
                return self.expert(shape)
            case "getitem", (TensorValue() as source, tuple() as index):
                return self._picked(source, index, shape)
            case "index_select", (TensorValue() as source, axis, TensorValue() as chosen) if chosen in self.experts:
                return self._picked(source, (*(slice(None),) * _int(axis), chosen), shape)
            case "add" | "sub", (TensorValue(), number) if value_of(number) == 0:
                return self.expert(shape)
            case _, (left, right) if op in COMPARISONS:
                return self._asked(op, left, right, shape)
        self.refuse(f"`{op}` of the number of an expert")

    def _picked(self, source: TensorValue, index: tuple[object, ...], shape: Shape) -> Tensor:
        """A slice of `source` that belongs to the expert: the mask of its tokens, or its weights."""
        chosen = [(i, item) for i, item in enumerate(index) if isinstance(item, TensorValue)]
        routing = routing_of(self.trace, source)
        if len(chosen) != 1 or chosen[0][1] not in self.experts:
            self.refuse("an index made of the number of an expert")
        ((at, number),) = chosen
        others = [*index[:at], *index[at + 1 :]]
        lead = len(number.shape)
        made = TensorValue(shape, source.dtype)
        if routing is not None:
            if routing.axes[at] is not None or any(other != slice(None) for other in others):
                self.refuse("a mask of tokens that is not that of the experts of the loop")
            self._settle(routing)
            rest = tuple(axis for axis in routing.axes if axis is not None)
            self.masks[made] = (*(None,) * lead, *rest)
            return Tensor(made)
        if at != 0 or source in self.rows:
            self.refuse("weights whose first axis is not that of the experts")
        whole: Shape = source.shape
        if others:
            whole = (source.shape[0], *shape[lead:])
            source = self._plain("getitem", (source, (slice(None), *others)), whole, source.dtype)
        if lead:
            source = self._plain("unsqueeze", (source, 1), (whole[0], 1, *whole[1:]), source.dtype)
        self.picked[made] = source
        return Tensor(made)

    def _asked(self, op: str, left: object, right: object, shape: Shape) -> Tensor:
        if isinstance(left, TensorValue) and isinstance(right, TensorValue):
            tensor, number = (right, left) if left in self.experts else (left, right)
            if op == "eq" and number in self.experts and tensor not in self.experts and not tensor.shape == ():
                classes = bound_of(self.trace, tensor) or self.bound
                self._settle(Routing(tensor, classes, (*range(len(tensor.shape)), None)), bounded=False)
                made = TensorValue(shape, DType.BOOL)
                self.masks[made] = tuple(range(len(shape)))
                return Tensor(made)
            self.refuse("a comparison of the number of an expert with a tensor")
        flipped = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le"}
        asked, limit = (op, right) if isinstance(left, TensorValue) else (flipped.get(op, op), left)
        made = TensorValue(shape, DType.BOOL)
        self.conditions[made] = (asked, limit)  # type: ignore[assignment]
        return Tensor(made)

    def _of_mask(self, op: str, args: tuple[object, ...], results: Results) -> Tensor:
        """An operation on the mask of the tokens of the expert, or on the list of their places."""
        ((shape, dtype),) = results
        match op, args:
            case "any" | "sum", (TensorValue() as source, dims, *rest) if source in self.masks:
                return self._reduced(op, source, dims, rest, shape, dtype)
            case "squeeze" | "cast", (TensorValue() as source, *_) if source in self.masks:
                made = TensorValue(shape, dtype)
                axes = self.masks[source]
                self.masks[made] = axes[len(axes) - len(shape) :]
                return Tensor(made)
            case "nonzero", (TensorValue() as source,) if source in self.masks:
                made = TensorValue((self.count, len(self.masks[source])), dtype)
                self.found[made] = self.masks[source]
                return Tensor(made)
            case "getitem", (TensorValue() as source, (slice() as rows, column)) if source in self.found:
                if rows == slice(None):
                    return self.place(self.found[source][_int(column)])
        self.refuse(f"`{op}` of the tokens of an expert")

    def _reduced(
        self, op: str, mask: TensorValue, dims: object, rest: list[object], shape: Shape, dtype: DType
    ) -> Tensor:
        """Whether the expert has tokens and how many, or which tokens go to it in any place of the index."""
        axes = self.masks[mask]
        made = TensorValue(shape, dtype)
        gone = {_int(d) % len(axes) for d in (dims if isinstance(dims, tuple) else (dims,))} if dims is not None else {}
        if dims is None or len(gone) == len(axes):
            self.totals.add(made)
            return Tensor(made)
        left = tuple(axis for at, axis in enumerate(axes) if at not in gone)
        assert self.index is not None
        if op == "any" and rest == [False] and None not in left and is_distinct(self.trace, self.index, len(axes) - 1):
            if gone == {at for at, axis in enumerate(axes) if axis == len(self.index.shape) - 1}:
                self.masks[made] = left
                return Tensor(made)
        self.refuse(f"`{op}` along the axes of a mask of tokens, which may go to an expert several times,")

    def _of_total(self, op: str, args: tuple[object, ...], results: Results) -> Tensor:
        """What is asked about the number of tokens of an expert: a turn without any does nothing."""
        ((shape, dtype),) = results
        made = TensorValue(shape, dtype)
        match op, args:
            case "gt" | "ne", (TensorValue(), number) if value_of(number) == 0:
                self.always[made] = True
            case "ge", (TensorValue(), number) if value_of(number) == 1:
                self.always[made] = True
            case "eq" | "le", (TensorValue(), number) if value_of(number) == 0:
                self.always[made] = False
            case "lt", (TensorValue(), number) if value_of(number) == 1:
                self.always[made] = False
            case "cast" | "squeeze" | "reshape", _:
                self.totals.add(made)
            case _:
                self.refuse("the number of tokens of an expert")
        return Tensor(made)

    def _of_leading(self, op: str, args: tuple[object, ...], results: Results) -> Tensor:
        """`x[None, tokens]`, which is soon given its shape of rows back."""
        ((shape, _),) = results
        source = args[0]
        rows = self.leading.get(source) if isinstance(source, TensorValue) else None
        if rows is not None and op in ("reshape", "squeeze") and len(shape) == len(rows.shape):
            if all(same(a, b) for a, b in zip(shape[1:], rows.shape[1:], strict=True)):
                return Tensor(rows)
        self.refuse(f"`{op}` of tokens behind another axis")

    def place(self, axis: int | None) -> Tensor:
        """For every row, where it stands along an axis of the index of experts."""
        assert self.index is not None
        if axis is None:
            return self._row("zeros_like", (self.order, None), (self.count,), DType.INT64)
        shape = self.index.shape
        stride = product(shape[axis + 1 :])
        made = Tensor(self.order)
        if value_of(stride) != 1:
            made = self._row("floor_divide", (made.value, stride), (self.count,), DType.INT64)
        if axis > 0:
            made = self._row("remainder", (made.value, shape[axis]), (self.count,), DType.INT64)
        self.axes[made.value] = axis
        return made

    # ------------------------------------------------------------------------------------------------------ weights

    def _of_weights(self, op: str, args: tuple[object, ...], results: Results) -> tuple[Tensor, ...]:
        """An operation on the weights of the expert alone: the same on those of all experts, one axis further."""
        lead = next(self.picked[value].shape[0] for value in _values(args) if value in self.picked)
        ranks = {len(value.shape) for value in _values(args)}
        if op in ELEMENTWISE and len(ranks) == 1 and all(value in self.picked for value in _values(args)):
            moved: tuple[object, ...] = tuple(args)
        else:
            moved = self._moved(op, args)
        full = tuple(self.picked.get(arg, arg) if isinstance(arg, TensorValue) else arg for arg in moved)
        made = self.trace.record(op, full, *(((lead, *shape), dtype) for shape, dtype in results))
        out = []
        for (shape, dtype), whole in zip(results, made, strict=True):
            value = TensorValue(shape, dtype)
            self.picked[value] = whole.value
            out.append(Tensor(value))
        return tuple(out)

    def _moved(self, op: str, args: tuple[object, ...]) -> tuple[object, ...]:
        """The axes among arguments, counted with one more in front."""

        def up(dim: object) -> int:
            at = _int(dim)
            return at + 1 if at >= 0 else at

        source, *rest = args
        assert isinstance(source, TensorValue)
        lead = self.picked[source].shape[0]
        match op, rest:
            case "transpose", [a, b]:
                return (source, up(a), up(b))
            case "permute", [dims]:
                return (source, (0, *(up(d) for d in dims)))  # type: ignore[attr-defined]
            case "reshape" | "expand", [shape]:
                return (source, (lead, *shape))  # type: ignore[misc]
            case "getitem", [index]:
                return (source, (slice(None), *index))  # type: ignore[misc]
            case "unsqueeze", [dim]:
                return (source, up(dim))
            case "squeeze", [dims]:
                return (source, tuple(up(d) for d in dims))  # type: ignore[attr-defined]
            case "chunk" | "split", [parts, dim]:
                return (source, parts, up(dim))
            case "unbind", [dim]:
                return (source, up(dim))
            case _ if op in ELEMENTWISE and not _values(rest):
                return args
        self.refuse(f"`{op}` of the weights of an expert")

    def _of_rows_and_weights(self, op: str, args: tuple[object, ...], results: Results) -> Tensor:
        """The tokens of the expert and its weights together."""
        ((shape, dtype),) = results
        match op, args:
            case "linear", (x, w, b) if x in self.rows and w in self.picked:
                return self._plus(self._product("grouped_linear", x, w, shape, dtype), b, shape, dtype)
            case "matmul", (x, w) if x in self.rows and w in self.picked:
                return self._product("grouped_matmul", x, w, shape, dtype)
            case "addmm", (b, x, w) if x in self.rows and w in self.picked:
                return self._plus(self._product("grouped_matmul", x, w, shape, dtype), b, shape, dtype)
            case "layer_norm" | "rms_norm", (x, *weights, sizes, eps) if x in self.rows:
                made = self._of_rows(op, (x, *(None for _ in weights), sizes, eps), results)[0]
                for name, weight in zip(("mul", "add"), weights, strict=False):
                    if weight is not None:
                        made = self._row_and_weight(name, made, weight, shape, dtype)
                return made
            case _ if op in ELEMENTWISE:
                full = tuple(
                    self.of_row(arg, len(shape)).value if isinstance(arg, TensorValue) and arg in self.picked else arg
                    for arg in args
                )
                return self._of_rows(op, full, results)[0]
        self.refuse(f"`{op}` of the tokens of an expert and its weights")

    def _product(self, op: str, x: object, w: object, shape: Shape, dtype: DType) -> Tensor:
        assert isinstance(x, TensorValue) and isinstance(w, TensorValue)
        whole = self.picked[w]
        if len(x.shape) != 2 or len(whole.shape) != 3:
            self.refuse("a product of the tokens of an expert with weights of other than two axes")
        node = self.trace.made.get(whole)
        if node is not None and node.op == "transpose" and {_int(d) % 3 for d in node.args[1:]} == {1, 2}:
            op = "grouped_matmul" if op == "grouped_linear" else "grouped_linear"
            assert isinstance(node.args[0], TensorValue)
            whole = node.args[0]
        sizes = self.group_sizes(whole.shape[0])
        self._named("sizes", sizes)
        return self._row(op, (x, whole, sizes), shape, dtype)

    def _plus(self, made: Tensor, bias: object, shape: Shape, dtype: DType) -> Tensor:
        return made if bias is None else self._row_and_weight("add", made, bias, shape, dtype)

    def _row_and_weight(self, op: str, made: Tensor, weight: object, shape: Shape, dtype: DType) -> Tensor:
        assert isinstance(weight, TensorValue)
        other = self.of_row(weight, len(shape)).value if weight in self.picked else weight
        return self._row(op, (made.value, other), shape, dtype)

    def of_row(self, part: TensorValue, rank: int) -> Tensor:
        """For every row, the part of the weights that belongs to its expert, with `rank` axes."""
        whole = self.picked[part]
        missing = rank - len(whole.shape)
        if missing < 0:
            self.refuse("the tokens of an expert with weights of more axes")
        made = self._row("getitem", (whole, (self.expert_of_row(),)), (self.count, *part.shape), part.dtype)
        for _ in range(missing):
            made = self._row("unsqueeze", (made.value, 1), (self.count, 1, *made.shape[1:]), part.dtype)
        return made

    def expert_of_row(self) -> TensorValue:
        """The number of the expert of every row."""
        if self._expert_of_row is None:
            with self._before():
                index = (self.flat, (self.order,))
                self._expert_of_row = self._record("getitem", index, (self.count,), DType.INT64, "expert_of_row")
            self.rows.add(self._expert_of_row)
        self._named("expert_of_row", self._expert_of_row)
        return self._expert_of_row

    def _named(self, name: str, value: TensorValue) -> None:
        """Let a function that is given a value call it by its name."""
        if self.trace.frame not in (self.outer, self.prologue):
            self.trace.frame.bindings.append((name, value))

    _expert_of_row: TensorValue | None = None

    def group_sizes(self, groups: Size) -> TensorValue:
        """How many rows each expert has. Rows of experts without weights come after all others."""
        if count(groups) not in self.sizes:
            length = self.bound if count(self.bound) >= count(groups) else groups
            with self._before():
                sizes = self._record("bincount", (self.flat, length), (length,), DType.INT64, "sizes")
                if not same(length, groups):
                    index = (slice(None, groups),)
                    sizes = self._record("getitem", (sizes, index), (groups,), DType.INT64, "sizes")
            self.sizes[count(groups)] = sizes
        return self.sizes[count(groups)]

    # --------------------------------------------------------------------------------------------------------- rows

    def _of_rows(self, op: str, args: tuple[object, ...], results: Results) -> tuple[Tensor, ...]:
        """An operation on the tokens of the expert: the same on those of all, as long as it keeps them apart."""
        if op == "index_add":
            return (self._added(args, results),)
        if op == "setitem":
            return (self._stored(args, results),)
        if op == "getitem" and isinstance(args[1], tuple) and args[1][:1] == (None,) and args[0] not in self.rows:
            ((shape, dtype),) = results
            behind = self._of_rows(op, (args[0], args[1][1:]), ((shape[1:], dtype),))[0]
            before = TensorValue(shape, dtype)
            self.leading[before] = behind.value
            return (Tensor(before),)
        if not keeps_rows(op, args, frozenset(self.rows), results[0][0]):
            self.refuse(f"`{op}` mixes the tokens of an expert")
        made = self.trace.record(op, args, *results)
        self.rows.update(tensor.value for tensor in made)
        return made

    def _added(self, args: tuple[object, ...], results: Results) -> Tensor:
        """`index_add(total, 0, tokens, rows)`"""
        total, axis, index, source = args
        ((shape, dtype),) = results
        if total in self.rows or index not in self.rows or source not in self.rows or axis not in (0, canonical(0, 1)):
            self.refuse("a sum that is not over the tokens of an expert")
        assert isinstance(total, TensorValue) and isinstance(source, TensorValue)
        if self.active is not None:
            source = self._masked(source)
        made = self.trace.record("index_add", (total, 0, index, source), (shape, dtype))
        self.adding.add(id(self.trace.made[made[0].value]))
        self.sums |= {total, made[0].value}
        return made[0]

    def _stored(self, args: tuple[object, ...], results: Results) -> Tensor:
        """`total[tokens] += rows`, which adds as long as no token is there twice."""
        total, index, source = args
        node = self.trace.made.get(source) if isinstance(source, TensorValue) else None
        if isinstance(index, tuple) and len(index) == 1 and node is not None and node.op == "add":
            for old, new in (node.args, node.args[::-1]):
                read = self.trace.made.get(old) if isinstance(old, TensorValue) else None
                if read is not None and read.op == "getitem" and read.args == (total, index):
                    self.adding |= {id(read), id(node)}
                    return self._added((total, 0, index[0], new), results)
        if self._everywhere(index) and total not in self.rows and source in self.rows and self.active is None:
            (made,) = self.trace.record("setitem", args, *results)
            self.adding.add(id(self.trace.made[made.value]))
            self.sums |= {total, made.value}  # type: ignore[arg-type]
            return made
        self.refuse("a write to the tokens of an expert, which other experts may write to as well")

    def _everywhere(self, index: object) -> bool:
        """Whether an index is all places of the index of experts, of which every one is some expert's."""
        assert self.index is not None
        if not isinstance(index, tuple) or not all(isinstance(item, TensorValue) for item in index):
            return False
        return [self.axes.get(item, None) for item in index] == list(range(len(self.index.shape)))

    def _masked(self, source: TensorValue) -> TensorValue:
        """Zero in the rows that the statement does not run for."""
        assert self.active is not None
        mask = Tensor(self.active)
        for _ in source.shape[1:]:
            mask = self._row("unsqueeze", (mask.value, -1), (*mask.shape, 1), DType.BOOL)
        return self._row("where", (mask.value, source, 0), source.shape, source.dtype).value

    def restrict(self, condition: Tensor, wanted: bool) -> TensorValue:
        """The rows among the active ones whose expert goes one way."""
        made = condition if wanted else self._row("logical_not", (condition.value,), condition.shape, DType.BOOL)
        if self.active is None:
            return made.value
        return self._row("logical_and", (self.active, made.value), made.shape, DType.BOOL).value

    def chosen(self, condition: Tensor, then: Tensor, otherwise: Tensor) -> Tensor:
        """For every row, one of two values."""
        mask = condition
        for _ in then.shape[1:]:
            mask = self._row("unsqueeze", (mask.value, -1), (*mask.shape, 1), DType.BOOL)
        return self._row("where", (mask.value, then.value, otherwise.value), then.shape, then.dtype)

    # -------------------------------------------------------------------------------------------------- recording

    def _row(self, op: str, args: tuple[object, ...], shape: Shape, dtype: DType) -> Tensor:
        (made,) = self.trace.record(op, args, (shape, dtype))
        self.rows.add(made.value)
        return made

    def _plain(self, op: str, args: tuple[object, ...], shape: Shape, dtype: DType) -> TensorValue:
        return self.trace.record(op, args, (shape, dtype))[0].value

    def _record(self, op: str, args: tuple[object, ...], shape: Shape, dtype: DType, name: str) -> TensorValue:
        value = self._plain(op, args, shape, dtype)
        self.outer.bindings.append((name, value))
        return value

    def _before(self) -> _Before:
        return _Before(self)


class _Before:
    """Record what the loop starts with."""

    def __init__(self, pairs: Pairs):
        self.pairs = pairs

    def __enter__(self) -> None:
        self.frame = self.pairs.trace.frame
        self.pairs.trace.frame = self.pairs.prologue

    def __exit__(self, *_: object) -> None:
        self.pairs.trace.frame = self.frame


class _OfRows(Foreign):
    """What only the data knows about the rows of the expert."""

    def item(self, interpreter: Interpreter, index: Any) -> Any:
        return refuse_number(interpreter)

    def iterate(self, interpreter: Interpreter) -> Any:
        return refuse_number(interpreter)


@dataclass(frozen=True)
class Edge(_OfRows):
    """Where the rows of the expert begin, or end, among rows sorted by expert."""

    first: bool

    def truth(self, interpreter: Interpreter) -> Any:
        return refuse_number(interpreter)

    def binary(self, interpreter: Interpreter, op: str, other: Any, reflected: bool) -> Any:
        if op == "+" and self.first and isinstance(other, RowCount):
            return Edge(False)
        if op in ("==", "!="):
            return isinstance(other, Edge) and (other.first is self.first) is (op == "==")
        return refuse_number(interpreter)


class RowCount(_OfRows):
    """How many rows the expert has, as a number of Python; a turn without any does nothing."""

    def binary(self, interpreter: Interpreter, op: str, other: Any, reflected: bool) -> Any:
        if op == "+" and isinstance(other, Edge):
            return other.binary(interpreter, op, self, False)
        if value_of(other) == 0 and not reflected and op in (">", "!=", "==", "<="):
            return op in (">", "!=")
        return refuse_number(interpreter)

    def truth(self, interpreter: Interpreter) -> Any:
        return True


def refuse_number(interpreter: Interpreter) -> NoReturn:
    """What is done with a number that only the data knows has no meaning."""
    interpreter.trace.lifting.refuse("arithmetic with the number of tokens of an expert")  # type: ignore[union-attr]
    raise AssertionError


def _replaced(x: Any, values: Mapping[TensorValue, TensorValue]) -> Any:
    if isinstance(x, TensorValue):
        return values.get(x, x)
    if isinstance(x, tuple):
        return tuple(_replaced(item, values) for item in x)
    return x


def _int(x: object) -> int:
    value = value_of(x)
    assert isinstance(value, int)
    return value


def _values(x: object) -> list[TensorValue]:
    if isinstance(x, TensorValue):
        return [x]
    if isinstance(x, (tuple, list)):
        return [value for item in x for value in _values(item)]
    if isinstance(x, slice):
        return _values((x.start, x.stop, x.step))
    return []
