"""From the flat trace to regions: what a call frame takes and gives follows from which values are used where."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from codegen.graph.sizes import may_be_none
from codegen.graph.values import Frame, Node, Scalar, TensorValue, expr_of, tensors_in
from ir.expressions import Apply, Const, Dim, Expr, Index, Key, Local, leaves, substitute
from ir.graph import (
    WRITES,
    Branch,
    Call,
    DType,
    DTypeOf,
    Ellipsis_,
    FunctionTarget,
    Loop,
    ModuleTarget,
    Number,
    Op,
    Operand,
    Region,
    Scan,
    SliceOf,
    Value,
    within,
)
from ir.graph import Node as GraphNode
from ir.records import dataclass, field, replace

PARAMETER = "parameter"
SCAN, ARMS = "scan", "branch"
"""Frames of loops over time and of branches on the size of the input: see scans.py and branches.py."""
SCAN_BEGIN, SCAN_END, BRANCH_END, NARROW = "scan_begin", "scan_end", "branch_end", "narrow"


def freeze(
    root: Frame,
    outputs: list[TensorValue],
    parameters: Mapping[TensorValue, list[str]],
    constants: frozenset[TensorValue] = frozenset(),
) -> Region:
    """The region of `root`, whose results are `outputs`; what they do not depend on is left out.

    `parameters` holds, for every parameter and buffer, its paths from the top module (several if it is shared). `constants`
    are those that no checkpoint holds: they are computed in float32 and cast to the type of the model where they are read.
    """
    return freeze_with_inputs(root, outputs, parameters, constants)[0]


def _bodies(region: Region) -> int:
    """How many bodies the loops of a region have, all of them together."""
    found = 0
    for node in region.nodes:
        match node:
            case Loop(bodies=bodies):
                found += len(bodies) + sum(map(_bodies, bodies))
            case Call(region=inner):
                found += _bodies(inner)
            case _:
                found += sum(map(_bodies, within(node)))
    return found


def freeze_with_inputs(
    root: Frame,
    outputs: list[TensorValue],
    parameters: Mapping[TensorValue, list[str]],
    constants: frozenset[TensorValue] = frozenset(),
    *,
    folds: bool = True,
) -> tuple[Region, tuple[TensorValue, ...]]:
    """The region of `root`, and the values that it takes, in the order of its parameters. Where it does not fold, every
    iteration of a loop over modules is written out."""
    first = _Freezer(root, outputs, parameters, constants, folds=folds)
    taken = first.takes(root)
    region = first.region(root, tuple(outputs))
    if first.idle:  # what the last iteration of a loop makes for one more, so that it may be like the others
        whole = _Freezer(root, outputs, parameters, constants, first.idle, folds=folds).region(root, tuple(outputs))
        region = min(region, whole, key=_bodies)
    return region, taken


def inputs_of(
    root: Frame,
    outputs: list[TensorValue],
    parameters: Mapping[TensorValue, list[str]],
    constants: frozenset[TensorValue] = frozenset(),
) -> tuple[TensorValue, ...]:
    """The values that the region of `root` takes, as `freeze_with_inputs` has them."""
    return _Freezer(root, outputs, parameters, constants).takes(root)


def nodes_of(frame: Frame) -> Iterator[tuple[Node, Frame]]:
    """Every node below `frame` in the order of execution, with the frame that it is in."""
    below = [(frame, iter(frame.body))]
    while below:
        owner, items = below[-1]
        for item in items:
            if isinstance(item, Frame):
                below.append((item, iter(item.body)))
                break
            yield item, owner
        else:
            below.pop()


def frames_of(frame: Frame) -> Iterator[Frame]:
    """A frame and all below it."""
    yield frame
    for item in frame.body:
        if isinstance(item, Frame):
            yield from frames_of(item)


def _names_in(frame: Frame) -> dict[TensorValue, set[str]]:
    """What the methods of modules call values. Helper functions have names of their own for whatever they are given."""
    names: dict[TensorValue, set[str]] = {}
    frames = [frame]
    while frames:
        at = frames.pop()
        frames += [item for item in at.body if isinstance(item, Frame)]
        for name, bound in at.bindings if at.module_path is not None else ():
            if isinstance(bound, TensorValue):
                names.setdefault(bound, set()).add(name)
    return names


def _dims(x: object, known: frozenset[Expr]) -> Iterator[Dim]:
    """The axes of the input that numbers among the arguments of a node depend on, but for numbers that are `known`."""
    if isinstance(x, Scalar):
        yield from (leaf for leaf in _unknown(x.expr, known) if isinstance(leaf, Dim) and leaf != Dim("P"))
    elif isinstance(x, (tuple, list)):
        for item in x:
            yield from _dims(item, known)
    elif isinstance(x, slice):
        yield from _dims((x.start, x.stop, x.step), known)


_NOTHING: frozenset[Expr] = frozenset()


def _unknown(expr: Expr, known: frozenset[Expr]) -> Iterable[Expr]:
    """The leaves of an expression outside of the parts that are known."""
    if expr in known:
        return ()
    if not known or not isinstance(expr, Apply):
        return leaves(expr)
    return (leaf for arg in expr.args for leaf in _unknown(arg, known))


def _sizes(value: TensorValue) -> tuple[Expr, ...]:
    return tuple(expr_of(size) for size in value.shape)


@dataclass
class _Facts:
    """What the dataflow says about one frame."""

    takes: dict[TensorValue, None] = field(default_factory=dict)
    gives: dict[TensorValue, None] = field(default_factory=dict)
    alive: bool = False
    sizes: set[Expr] = field(default_factory=set)  # of the first `counted` of what it takes
    counted: int = 0


class _Freezer:
    def __init__(
        self,
        root: Frame,
        outputs: list[TensorValue],
        parameters: Mapping[TensorValue, list[str]],
        constants: frozenset[TensorValue] = frozenset(),
        kept: Mapping[TensorValue, Frame] | None = None,
        *,
        folds: bool = True,
    ):
        self.parameters, self.constants, self.folds = parameters, constants, folds
        self.kept = kept or {}  # what nobody needs, and the frame that it is given to all the same
        self.idle: dict[TensorValue, Frame] = {}  # what may be treated so
        self.facts: dict[int, _Facts] = {}
        self.defined_in: dict[TensorValue, Frame] = {}
        self.root = root
        self.users: dict[TensorValue, list[Frame]] = {}
        self.names = _names_in(root)
        nodes = list(nodes_of(root))
        self.order = {result: at for at, (node, _) in enumerate(nodes) for result in node.results}
        self.reads: dict[
            int, Sequence[TensorValue]
        ] = {}  # by operation; what is needed of the arms by the end of a branch
        self.alive = self._alive(nodes, outputs)
        for node, frame in nodes:
            if id(node) in self.alive:
                self._note(node, frame)
        for value in outputs:
            self._flow(value, root)
        for value, outside in self.kept.items():
            self.give(value, outside)
        for node, frame in nodes:
            if id(node) in self.alive:
                self._flow_sizes(node, frame)

    def _flow_sizes(self, node: Node, frame: Frame) -> None:
        """A number that is the size of an axis is read from a tensor: what has it was given its name in the frame."""
        if next(_dims(node.args, _NOTHING), None) is None:  # nearly always
            return
        blocks = {size for size in self._taken_sizes(frame) if isinstance(size, Apply) and size.op in ("//", "-")}
        for dim in _dims(node.args, frozenset(blocks)):
            if dim in self._taken_sizes(frame) or self._makes(frame, node, dim):
                continue
            holder = self._earlier(dim, [frame], node)
            if holder is None:  # all tokens are those in the cache and the new ones
                holder = self._earlier(Dim("T") if dim == Dim("S") else dim, _chain(frame), node)
            if holder is not None and self.defined_in.get(holder) is not frame:
                self._flow(holder, frame)

    def _taken_sizes(self, frame: Frame) -> set[Expr]:
        """The sizes of what a frame takes."""
        fact = self._fact(frame)
        if fact.counted < len(fact.takes):
            fact.sizes.update(size for value in islice(fact.takes, fact.counted, None) for size in _sizes(value))
            fact.counted = len(fact.takes)
        return fact.sizes

    def _earlier(self, dim: Dim, frames: list[Frame], node: Node) -> TensorValue | None:
        """What has the axis, was made before `node`, and has a name in one of the frames."""
        for frame in frames:
            for _, value in frame.bindings:
                if isinstance(value, TensorValue) and dim in _sizes(value) and self._precedes(value, node):
                    return value
        return None

    def _precedes(self, value: TensorValue, node: Node) -> bool:
        return value not in self.order or self.order[value] < self.order[node.results[0]]

    def _makes(self, frame: Frame, before: Node, dim: Dim) -> bool:
        """Whether a tensor with the axis is made in the frame before a node."""
        for node, _ in nodes_of(frame):
            if node is before:
                return False
            if id(node) in self.alive and any(dim in set(leaves(size)) for r in node.results for size in _sizes(r)):
                return True
        return False

    def _alive(self, nodes: list[tuple[Node, Frame]], outputs: list[TensorValue]) -> set[int]:
        wanted, alive = {*outputs, *self.kept}, set()
        for node, _ in reversed(nodes):
            if node.op == BRANCH_END:
                kept = [j for j, result in enumerate(node.results) if result in wanted]
                _, one, several = node.args
                assert isinstance(one, tuple) and isinstance(several, tuple)
                self.reads[id(node)] = tuple(arm[j] for arm in (one, several) for j in kept)
                wanted.update(self.reads[id(node)])
                alive |= {id(node)} if kept else set()
            elif node.op == WRITES or not wanted.isdisjoint(node.results):
                alive.add(id(node))
                self.reads[id(node)] = tensors_in(node.args)
                wanted.update(self.reads[id(node)])
        return alive

    def _fact(self, frame: Frame) -> _Facts:
        found = self.facts.get(id(frame))
        if found is None:
            found = self.facts[id(frame)] = _Facts()
        return found

    def _note(self, node: Node, frame: Frame) -> None:
        for result in node.results:
            self.defined_in[result] = frame
        outer: Frame | None = frame
        while outer is not None and not (fact := self._fact(outer)).alive:
            fact.alive = True  # and so is what is around it
            outer = outer.parent
        for value in self.reads[id(node)]:
            self._flow(value, frame)

    def _flow(self, value: TensorValue, user: Frame) -> None:
        """`value` reaches `user`: every frame that it leaves gives it, every frame that it enters takes it."""
        self.users.setdefault(value, []).append(user)
        home = self.defined_in.get(value)
        inside = _chain(home) if home is not None else []
        at: Frame | None = user
        while at is not None and at not in inside and not self._owns(at, value):
            self._fact(at).takes[value] = None
            at = at.parent if at is not self.root else None
        for frame in inside:
            if frame is at:
                return
            self._fact(frame).gives[value] = None

    def give(self, value: TensorValue, outside: Frame) -> None:
        """Let every frame between where `value` is made and `outside` give it."""
        for frame in _chain(self.defined_in[value]):
            if frame is outside:
                return
            self._fact(frame).gives[value] = None

    def _owns(self, frame: Frame, value: TensorValue) -> bool:
        return value in self.parameters and self._path(frame, value) is not None

    def _path(self, frame: Frame, value: TensorValue) -> str | None:
        """The path of a parameter from the module that `frame` is a method of."""
        if frame.module_path is None:
            return None
        prefix = frame.module_path + "." if frame.module_path else ""
        return next((p[len(prefix) :] for p in self.parameters[value] if p.startswith(prefix)), None)

    # ------------------------------------------------------------------------------------------------ building

    def region(self, frame: Frame, results: tuple[TensorValue, ...]) -> Region:
        return _Builder(self, frame).build(self.takes(frame), results)

    def takes(self, frame: Frame) -> tuple[TensorValue, ...]:
        taken = self._fact(frame).takes
        formals = [value for _, value in frame.bindings if isinstance(value, TensorValue) and value in taken]
        return tuple(dict.fromkeys([*formals, *taken]))

    def gives(self, frame: Frame) -> tuple[TensorValue, ...]:
        given = self._fact(frame).gives
        returned = [value for value in tensors_in(_flat(frame.returned)) if value in given]
        return tuple(dict.fromkeys([*returned, *given]))


def _flat(x: object) -> tuple[object, ...]:
    from codegen.graph.values import Tensor

    if isinstance(x, Tensor):
        return (x.value,)
    if isinstance(x, (tuple, list)):
        return tuple(item for part in x for item in _flat(part))
    if isinstance(x, dict):
        return tuple(item for part in x.values() for item in _flat(part))
    items = getattr(x, "items", None)
    return _flat(items) if isinstance(items, (tuple, list, dict)) else ()


def _chain(frame: Frame | None) -> list[Frame]:
    chain = []
    while frame is not None:
        chain.append(frame)
        frame = frame.parent
    return chain


class _Builder:
    """Builds the region of one frame: numbers its values, renders its arguments."""

    def __init__(self, freezer: _Freezer, frame: Frame):
        self.freezer, self.frame = freezer, frame
        self.values: dict[TensorValue, Value] = {}
        self.nodes: list[GraphNode] = []
        self.names: dict[object, list[str]] = {}
        self.kinds: dict[object, str] = {}  # types of the numbers that have names
        self.note_names(frame)
        self.is_function = frame.module_path is None and frame.parent is not None
        self.numbers: dict[Expr, Number] = {}  # of a function: what its caller passes
        self.sizes: set[Expr] = set()  # of the tensors that the frame takes
        self.turns: Mapping[
            Expr, Expr
        ] = {}  # the numbers of the iterations that are written out, by the index of the loop

    def note_names(self, frame: Frame) -> None:
        for name, bound in frame.bindings:
            key = bound if isinstance(bound, TensorValue) else bound.expr
            if isinstance(bound, Scalar):
                self.kinds.setdefault(key, type(bound.value).__name__)
            if name not in self.names.setdefault(key, []):
                self.names[key].append(name)

    def build(self, takes: tuple[TensorValue, ...], results: tuple[TensorValue, ...]) -> Region:
        params = tuple(self.value(value) for value in takes)
        self.sizes = {size for param in params for size in param.shape}
        self.body(self.frame.body)
        outputs = tuple(self.operand(result) for result in results)
        region = Region(self.frame.name, (*params, *self.numbers.values()), tuple(self.nodes), outputs)
        return region

    def value(self, value: TensorValue) -> Value:
        if value not in self.values:
            shape = tuple(expr_of(size) for size in value.shape)
            self.values[value] = Value(len(self.values), shape, value.dtype, tuple(self.names.get(value, ())))
        return self.values[value]

    def expr(self, expr: Expr, kind: str = "") -> Expr:
        """`expr` in the terms of this frame. A helper function does not see the configuration: what it is passed has a name,
        what a tensor at hand has as a size is read from it, all else becomes a parameter."""
        if self.turns:
            expr = substitute(expr, self.turns)
        if not self.is_function or not _is_config(expr):
            return expr
        kind = self.kinds.get(expr, kind)
        if expr in self.names and not any(isinstance(leaf, Dim) for leaf in leaves(expr)):
            local = Local(self.names[expr][0])
            self.numbers.setdefault(expr, Number(local, (local.name,), kind))
            return local
        if expr in self.sizes:
            return expr
        if isinstance(expr, Apply):
            return Apply(expr.op, tuple(self.expr(arg, kind if kind == "int" else "") for arg in expr.args))
        name = expr.name if isinstance(expr, Index) else _parameter_name(expr)
        self.numbers.setdefault(expr, Number(Local(name), (name,), kind))
        return Local(name)

    def operand(self, x: object) -> Operand:
        match x:
            case TensorValue():
                return self.load(x)
            case Scalar():
                return Number(self.expr(x.expr, type(x.value).__name__), tuple(self.names.get(x.expr, ())))
            case None | DType():
                return x
            case bool() | int() | float() | str():
                return Number(Const(x))
            case tuple() | list():
                return tuple(self.operand(item) for item in x)
            case slice():
                return SliceOf(self.operand(x.start), self.operand(x.stop), self.operand(x.step))
            case _ if x is Ellipsis:
                return Ellipsis_()
            case _:
                raise AssertionError(f"an argument of type {type(x).__name__} reached the graph")

    def load(self, value: TensorValue) -> Value:
        """The value itself, or a parameter read from the module that this frame belongs to."""
        if value in self.values:
            return self.values[value]
        if value not in self.freezer.parameters:
            raise AssertionError("a value is used before it is made")
        path = self.freezer._path(self.frame, value)
        assert path is not None, "a parameter that no caller passes"
        if value in self.freezer.constants and value.dtype is DType.MODEL:
            kept = self.value(TensorValue(value.shape, DType.FLOAT32))
            loaded = self.value(value)
            self.nodes += [Op(PARAMETER, (Number(Const(path)),), (kept,)), Op("cast", (kept, DType.MODEL), (loaded,))]
            return loaded
        loaded = self.value(value)
        self.nodes.append(Op(PARAMETER, (Number(Const(path)),), (loaded,)))
        return loaded

    def body(self, items: list[Node | Frame]) -> None:
        at = 0
        while at < len(items):
            item = items[at]
            if isinstance(item, Node):
                self.node(item)
                at += 1
            elif item.kind == SCAN:
                self.scan(item)
                at += 1
            elif item.kind == ARMS:
                self.branch(item)
                at += 1
            elif item.kind == "iteration":
                stop = at
                while stop < len(items) and _same_loop(item, items[stop], stop - at):
                    stop += 1
                self.loop([frame for frame in items[at:stop] if isinstance(frame, Frame)])
                at = stop
            else:
                self.call(item)
                at += 1

    def node(self, node: Node) -> None:
        if id(node) not in self.freezer.alive:
            return
        if node.op == NARROW:
            self.values[node.results[0]] = self.load(node.args[0])  # type: ignore[arg-type]
            return
        if _is_identity(node):
            self.values[node.results[0]] = self.load(node.args[0])  # type: ignore[arg-type]
            return
        args = tuple(self.operand(arg) for arg in node.args)
        self.nodes.append(Op(node.op, args, tuple(self.value(result) for result in node.results), node.span))

    def call(self, frame: Frame) -> None:
        if not self.freezer._fact(frame).alive:
            return
        results = self.freezer.gives(frame)
        if not results:
            return
        if frame.name == "forward" and frame.module_path == self.frame.module_path:
            self.body(frame.body)  # super().forward(): the same method, further up
            return
        if frame.module_path is None and _runs_modules(frame):
            self.note_names(frame)
            self.body(frame.body)  # a helper that is given what it calls: the module that gives it runs it
            return
        takes = self.freezer.takes(frame)
        inner = _Builder(self.freezer, frame)
        region = inner.build(takes, results)
        args: list[Operand] = [self.load(value) for value in takes]
        args += [Number(self.expr(expr), tuple(self.names.get(expr, ()))) for expr in inner.numbers]
        target: ModuleTarget | FunctionTarget
        if frame.module_path is None:
            target = FunctionTarget(frame.name)
        else:
            target = ModuleTarget(_relative(frame.module_path, self.frame.module_path), frame.name)
        self.nodes.append(Call(target, region, tuple(args), tuple(self.value(v) for v in results), frame.span))

    def inner(self, frame: Frame, numbers: Mapping[Expr, Expr] | None = None) -> _Builder:
        """A builder of a region that runs in this frame: it shares the numbers that a helper function is passed."""
        made = _Builder(self.freezer, frame)
        made.is_function, made.numbers, made.sizes = self.is_function, self.numbers, self.sizes
        for key, names in self.names.items():
            if not isinstance(key, TensorValue):
                made.names.setdefault(key, list(names))
        return made

    def scan(self, frame: Frame) -> None:
        """A loop over time, see scans.py. Carried values and stacks that nobody needs are left out."""
        if not self.freezer._fact(frame).alive:
            return
        begin, end = (item for item in frame.body if isinstance(item, Node) and item.op in (SCAN_BEGIN, SCAN_END))
        inits, wholes, axes = begin.args
        length, index, nexts, pieces, stacked = end.args
        assert isinstance(inits, tuple) and isinstance(wholes, tuple) and isinstance(axes, tuple)
        assert isinstance(nexts, tuple) and isinstance(pieces, tuple) and isinstance(stacked, tuple)
        items = [item for item in frame.body if item not in (begin, end)]
        used, given = self._used(items), set(self.freezer.gives(frame))
        carries = [j for j in range(len(inits)) if begin.results[j] in used or end.results[j] in given]
        parts = [j for j in range(len(wholes)) if begin.results[len(inits) + j] in used]
        kept = [j for j in range(len(pieces)) if end.results[len(nexts) + j] in given]
        made = [*(nexts[j] for j in carries), *(pieces[j] for j in kept)]
        used |= set(made)
        invariant = [value for value in self.freezer.takes(frame) if value in used]
        formals = [*(begin.results[j] for j in carries), *(begin.results[len(inits) + j] for j in parts), *invariant]
        body = self._within(frame, formals)
        body.body(items)
        region = Region(frame.name, tuple(body.values[v] for v in formals), tuple(body.nodes), body.operands(made))
        args = [*(inits[j] for j in carries), *(wholes[j] for j in parts), *invariant]
        results = [*(end.results[j] for j in carries), *(end.results[len(nexts) + j] for j in kept)]
        self.nodes.append(
            Scan(
                region,
                tuple(self.load(value) for value in args),
                tuple(self.value(value) for value in results),
                self.expr(expr_of(length)),  # type: ignore[arg-type]
                len(carries),
                tuple(axes[j] for j in parts),
                tuple(stacked[j] for j in kept),
                str(index),
                tuple(self.shape(end.results[len(nexts) + j]) for j in kept) if may_be_none(expr_of(length)) else (),  # type: ignore[arg-type]
                frame.span,
            )
        )

    def shape(self, value: TensorValue) -> tuple[Expr, ...]:
        """The sizes of a value in the terms of this frame."""
        return tuple(self.expr(expr_of(size), "int") for size in value.shape)

    def branch(self, frame: Frame) -> None:
        """Two ways that the size of the input chooses from, see branches.py."""
        if not self.freezer._fact(frame).alive:
            return
        then, otherwise, end = frame.body
        assert isinstance(then, Frame) and isinstance(otherwise, Frame) and isinstance(end, Node)
        condition, yes, no = end.args
        given = set(self.freezer.gives(frame))
        kept = [j for j, result in enumerate(end.results) if result in given]
        takes = self.freezer.takes(frame)
        arms: list[Region] = []
        for arm, made in ((then, yes), (otherwise, no)):
            assert isinstance(made, tuple)
            body = self._within(arm, takes)
            body.body(arm.body)
            outputs = body.operands([made[j] for j in kept])
            arms.append(Region(frame.name, tuple(body.values[v] for v in takes), tuple(body.nodes), outputs))
        args = tuple(self.load(value) for value in takes)
        results = tuple(self.value(end.results[j]) for j in kept)
        expr = self.expr(expr_of(condition))  # type: ignore[arg-type]
        self.nodes.append(Branch(expr, arms[0], arms[1], args, results, frame.span))

    def _within(self, frame: Frame, formals: Iterable[TensorValue]) -> _Builder:
        """A builder of a region that runs in this frame: it shares the numbers that a helper function is passed."""
        made = _Builder(self.freezer, frame)
        made.is_function, made.numbers = self.is_function, self.numbers
        for key, names in self.names.items():
            for name in names:
                if name not in made.names.setdefault(key, []):
                    made.names[key].append(name)
        made.sizes = self.sizes | {size for value in formals for size in made.value(value).shape}
        return made

    def _used(self, items: Iterable[Node | Frame]) -> set[TensorValue]:
        nodes = (n for item in items for n in ((item,) if isinstance(item, Node) else (n for n, _ in nodes_of(item))))
        return {v for node in nodes if id(node) in self.freezer.alive for v in tensors_in(node.args)}

    def widened(self, operand: Value, like: TensorValue) -> Value:
        """A value in the type of another."""
        if operand.dtype is like.dtype:
            return operand
        wide = self.value(TensorValue(like.shape, like.dtype))
        self.nodes.append(Op("cast", (operand, like.dtype), (wide,)))
        return wide

    def operands(self, values: Iterable[TensorValue]) -> tuple[Operand, ...]:
        return tuple(self.operand(value) for value in values)

    def loop(self, frames: list[Frame]) -> None:
        if not any(self.freezer._fact(frame).alive for frame in frames):
            return
        whole = [frame.index for frame in frames] == list(range(frames[0].count)) and not frames[0].name.isdigit()
        folded = (
            _fold(self, frames) if whole and self.freezer.folds else None
        )  # one that does nothing has its place too
        if folded is not None:
            self.nodes.append(folded)
            return
        for frame in frames:
            self.written_out(frame)

    def written_out(self, frame: Frame) -> None:
        """An iteration as statements of their own, with its number in the place of the index."""
        outer = self.turns
        self.turns = {**outer, Index(frame.counter): Const(frame.index)}
        self.note_names(frame)
        self.body(frame.body)
        self.turns = outer


def _is_identity(node: Node) -> bool:
    """A product with a literal one, which some helpers of the library write."""
    if node.op != "mul" or not isinstance(node.args[0], TensorValue):
        return False
    one = node.args[1]
    plain = one.value if isinstance(one, Scalar) and isinstance(one.expr, Const) else one
    return isinstance(plain, float) and plain == 1.0 and node.results[0].dtype is node.args[0].dtype


def _runs_modules(frame: Frame) -> bool:
    """Whether a function calls modules, or methods of them."""
    return any(
        item.module_path is not None or item.kind == "iteration" or _runs_modules(item)
        for item in frame.body
        if isinstance(item, Frame)
    )


def _parameter_name(expr: Expr) -> str:
    """What a helper function calls a number of the configuration; an element of a list by the list and its place."""
    assert isinstance(expr, Key)
    *_, last = expr.path
    return f"{expr.path[-2]}_{last}" if isinstance(last, int) else last


def _is_config(bound: object) -> bool:
    return isinstance(bound, (Key, Index, Apply)) and any(isinstance(leaf, (Key, Index)) for leaf in leaves(bound))


def _same_loop(first: Frame, other: Node | Frame, turn: int) -> bool:
    """Whether another iteration is a later turn of the same loop: where the modules begin anew, another loop does."""
    return (
        isinstance(other, Frame)
        and other.kind == "iteration"
        and (other.name, other.module_path) == (first.name, first.module_path)
        and other.index == first.index + turn
    )


def _relative(path: str, owner: str | None) -> str:
    if not owner:
        return path
    if path == owner:
        return ""
    if path.startswith(owner + "."):
        return path[len(owner) + 1 :]
    return "^" + path  # a module elsewhere in the tree


MAX_CARRIED = 12
"""Values that a loop carries, beyond which its iterations are written out."""


@dataclass
class _Slots:
    """What a loop carries: for every slot its content before each iteration, and after the last; None where nothing is in it yet."""

    contents: list[list[TensorValue | None]]

    def before(self, k: int) -> list[TensorValue]:
        return [self._at(slot, k) for slot in self.contents]

    def _at(self, slot: list[TensorValue | None], k: int) -> TensorValue:
        """The content, or one like what comes into the slot later."""
        found = slot[k]
        if found is not None:
            return found
        later = next(value for value in slot if value is not None)
        return TensorValue(later.shape, later.dtype)


class _Lives:
    """Values that iterations hand to each other and to what follows the loop: when each is made, and when it is used last."""

    def __init__(self, freezer: _Freezer, frames: list[Frame], heirs: Mapping[TensorValue, TensorValue] | None = None):
        self.frames, self.heirs = frames, heirs or {}
        self.takes = [freezer.takes(frame) for frame in frames]
        self.gives = [freezer.gives(frame) for frame in frames]
        self.names = freezer.names
        inside = {id(frame) for frame in frames}
        self.last: dict[TensorValue, int] = {v: -1 for given in self.gives for v in given}
        for k, taken in enumerate(self.takes):
            for value in taken:
                if value in self.last:
                    self.last[value] = k
        for value in self.last:
            if any(not any(id(f) in inside for f in _chain(user)) for user in freezer.users.get(value, ())):
                self.last[value] = len(frames)

    def slots(self) -> _Slots | None:
        """Every value in a slot until it is used last; a value takes the place of the one that it follows from."""
        contents: list[list[TensorValue | None]] = []
        for k, given in enumerate(self.gives):
            after: dict[int, TensorValue] = {}
            for value in given:
                free = [s for s, slot in enumerate(contents) if s not in after and self.follows(slot[k], value, k)]
                if free:
                    after[max(free, key=lambda s, v=value: self.kinship(contents[s][k], v, k))] = value  # type: ignore[misc]
                else:
                    known = [slot[0] for slot in contents]
                    first = self.initial(value, known) if k == 0 else self.grown_from(value, known, k)
                    contents.append([first, *[first] * k])
                    after[len(contents) - 1] = value
            if len(contents) > MAX_CARRIED:
                return None
            for s, slot in enumerate(contents):
                slot.append(after.get(s, slot[k]))
        return _Slots(contents)

    def follows(self, held: TensorValue | None, value: TensorValue, k: int) -> bool:
        """Whether `value`, which iteration `k` makes, may take the place of what a slot holds."""
        if held is None or self.last.get(held, k) > k:
            return False
        if held in self.heirs:
            return self.heirs.get(value, value) is self.heirs[held]
        placed, named = self.kinship(held, value, k)
        if _alike(held, value):
            return placed or named
        return _grows(held, value) and named and self.takes_the_place(held, value, k)

    def takes_the_place(self, held: TensorValue, value: TensorValue, k: int) -> bool:
        """Whether the next iteration that takes `value` takes it where iteration `k` took `held`."""
        later = next((at for j in range(k + 1, len(self.frames)) if (at := self.at(value, j)) is not None), None)
        return self.at(held, k) is not None and later in (None, self.at(held, k))

    def kinship(self, held: TensorValue | None, value: TensorValue, k: int) -> tuple[bool, bool]:
        """Whether the next iteration takes `value` where this one took `held`; whether the source calls both the same."""
        assert held is not None
        return self.at(held, k) is not None and self.at(held, k) == self.at(value, k + 1), self._share_a_name(
            held, value
        )

    def at(self, value: TensorValue, k: int) -> int | None:
        taken = self.takes[k] if k < len(self.takes) else ()
        return taken.index(value) if value in taken else None

    def initial(self, value: TensorValue, known: list[TensorValue | None]) -> TensorValue | None:
        """What the first iteration takes from outside where a later one takes `value`, which the first made."""
        fitting = (v for v in self.takes[0] if v not in known)
        outer = [v for v in fitting if _alike(v, value) or _widens(v, value) or self._may_become(v, value)]
        if len(self.frames) == 1:
            return next((v for v in outer if self._share_a_name(v, value)), next(iter(outer), None))
        aligned = [v for v in outer if self.at(v, 0) is not None and self.at(v, 0) == self.at(value, 1)]
        twice = (v for v in self.takes[0] if v in known and _alike(v, value) and self._share_a_name(v, value))
        return next((v for v in outer if self._share_a_name(v, value)), next(iter(aligned), next(twice, None)))

    def grown_from(self, value: TensorValue, known: list[TensorValue | None], k: int) -> TensorValue | None:
        """What iteration `k`, the first to take it, takes from outside and hands on with more in it."""
        outer = (v for v in self.takes[k] if v not in known and v not in self.last and self._may_become(v, value))
        return next((v for v in outer if not any(v in taken for taken in self.takes[k + 1 :])), None)

    def _may_become(self, first: TensorValue, value: TensorValue) -> bool:
        return _grows(first, value) and self._share_a_name(first, value)

    def _share_a_name(self, a: TensorValue, b: TensorValue) -> bool:
        return bool(self.names.get(a, set()) & self.names.get(b, set()))


def _alike(a: TensorValue, b: TensorValue) -> bool:
    return a.dtype is b.dtype and _sizes(a) == _sizes(b)


def _grows(a: TensorValue, b: TensorValue) -> bool:
    """Whether the second may be the first with more in it: they differ in sizes that are plain numbers."""
    pairs = list(zip(_sizes(a), _sizes(b), strict=False))
    return a.dtype is b.dtype and len(a.shape) == len(b.shape) and all(x == y or _are_numbers(x, y) for x, y in pairs)


def _are_numbers(*sizes: Expr) -> bool:
    return all(isinstance(size, Const) or size == SO_MANY for size in sizes)


def _widens(a: TensorValue, b: TensorValue) -> bool:
    return (a.dtype, b.dtype) in _WIDER and _sizes(a) == _sizes(b)


def _early_makers(
    freezer: _Freezer, frames: list[Frame], lives: _Lives, slots: _Slots
) -> dict[TensorValue, TensorValue]:
    """What later iterations take, as iterations make it that come before the first one whose result they take.

    These compute the same and keep it to themselves. Nobody reads what they would hand on before it is replaced, so they may
    hand it on too: then they are of the kind of those that do.
    """
    firsts = [next(k for k, v in enumerate(slot) if v is not None) - 1 for slot in slots.contents if slot[0] is None]
    found: dict[TensorValue, TensorValue] = {}
    made = set(lives.last) | {slot[0] for slot in slots.contents if slot[0] is not None}
    for slot in slots.contents:
        first = next(k for k, v in enumerate(slot) if v is not None) - 1
        value = slot[first + 1]
        if slot[0] is not None or value is None:
            continue
        taken = [v for v in lives.takes[first] if v not in made]
        for k in range(min(firsts)):
            same = _counterpart(freezer, value, frames[first], frames[k])
            if same is not None and [v for v in lives.takes[k] if v not in made] == taken and _alike(same, value):
                found[same] = value
    return found


def _counterpart(freezer: _Freezer, value: TensorValue, frame: Frame, other: Frame) -> TensorValue | None:
    """What `other` computes in the place where `frame` computes `value`."""
    home = freezer.defined_in[value]
    while home is not frame and home.parent is not None:
        home = home.parent
    if home is not frame:
        return None
    path = [f for f in _chain(freezer.defined_in[value]) if frame in _chain(f) and f is not frame]
    at, there = frame, other
    for inner in reversed(path):
        place = next(i for i, item in enumerate(at.body) if item is inner)
        if len(there.body) <= place or not isinstance(found := there.body[place], Frame) or found.name != inner.name:
            return None
        at, there = inner, found
    for mine, theirs in zip(at.body, there.body, strict=False):
        if isinstance(mine, Node) and value in mine.results:
            if not isinstance(theirs, Node) or theirs.op != mine.op:
                return None
            return theirs.results[mine.results.index(value)]
    return None


def _fold(builder: _Builder, frames: list[Frame]) -> Loop | None:
    """One loop instead of its iterations; None where these have too little in common."""
    if not frames:
        return None
    freezer = builder.freezer
    lives = _Lives(freezer, frames)
    slots = lives.slots()
    heirs = _early_makers(freezer, frames, lives, slots) if slots is not None else {}
    if heirs:
        for value in heirs:
            freezer.give(value, builder.frame)
        lives = _Lives(freezer, frames, heirs)
        slots = lives.slots()
    if slots is None:
        return None
    made = set(lives.last)
    befores = [slots.before(k) for k in range(len(frames) + 1)]
    rest = [[v for v in taken if v not in befores[k]] for k, taken in enumerate(lives.takes)]
    if any(value in made for values in rest for value in values):
        return None
    shared = dict.fromkeys(value for values in rest for value in values)
    invariant = [value for value in shared if all(value in taken for taken in lives.takes)]

    growing = any(not _alike(v, slot[-1]) for slot in slots.contents for v in slot if v is not None and slot[-1])
    bodies: list[Region] = []
    unpromoted: list[Region] = []  # the bodies, as they are compared where the first layer promotes
    outer: list[tuple[Operand, ...]] = []
    kinds: list[int] = []
    initial: tuple[Operand, ...] = tuple(None if s[0] is None else builder.load(s[0]) for s in slots.contents)
    beside = _lists_beside(frames)
    for k, frame in enumerate(frames):
        varying = [value for value in rest[k] if value not in invariant]
        order = (*befores[k], *invariant, *varying)
        after = tuple(
            befores[k][s] if slot[k + 1] is slot[k] else befores[k + 1][s] for s, slot in enumerate(slots.contents)
        )
        region = _generic_item(_Builder(freezer, frame).build(order, after), frame, beside)
        passed = tuple(builder.load(value) for value in varying)
        fitting = [i for i, given in enumerate(outer) if given == passed]
        key = next((i for i in fitting if bodies[i] == region), None)
        plain = region if key is not None else _unpromoted(region)
        if key is None:
            key = next((i for i in fitting if unpromoted[i] == plain), None)
        if key is None and growing:
            key, joined = next(
                ((i, r) for i in fitting if (r := _joined(bodies[i], region)) is not None), (None, region)
            )
            bodies = [joined if i == key else body for i, body in enumerate(bodies)]
            unpromoted = [_unpromoted(joined) if i == key else body for i, body in enumerate(unpromoted)]
        if key is None:
            key = len(bodies)
            bodies.append(region)
            unpromoted.append(plain)
            outer.append(passed)
        kinds.append(key)
    if kinds.count(kinds[-1]) == 1 and len(kinds) > 1:
        _note_idle(builder, frames, slots)
    twin = _twin(kinds, outer, lambda j: _same_but_for_aliases(bodies[0], bodies[j]))
    if twin is not None:
        bodies, outer, kinds = _as_twin(bodies, outer, kinds, twin)
    twin = _twin(kinds, outer, lambda j: _same_but_for_types(bodies[0], bodies[j], len(initial)))
    if twin is not None:
        initial = tuple(
            builder.widened(value, other) if isinstance(value, Value) else value
            for value, other in zip(initial, befores[1], strict=True)
        )
        bodies, outer, kinds = _as_twin(bodies, outer, kinds, twin)
    return Loop(
        frames[0].name,
        tuple(bodies),
        tuple(kinds),
        initial,
        tuple(builder.load(value) for value in invariant),
        tuple(outer),
        tuple(builder.value(value) for value in befores[-1]),
        frames[0].span,
        frames[0].counter,
    )


def _twin(kinds: list[int], outer: list[tuple[Operand, ...]], same: Callable[[int], bool]) -> int | None:
    """The kind that the first iteration may be of as well, where it has one of its own."""
    if kinds.count(0) > 1:
        return None
    return next((j for j in dict.fromkeys(kinds[1:]) if outer[j] == outer[0] and same(j)), None)


def _as_twin(
    bodies: list[Region], outer: list[tuple[Operand, ...]], kinds: list[int], twin: int
) -> tuple[list[Region], list[tuple[Operand, ...]], list[int]]:
    """The kinds with the first iteration of the kind `twin`; they are numbered as they come first."""
    order = list(dict.fromkeys([twin, *kinds[1:]]))
    return [bodies[j] for j in order], [outer[j] for j in order], [order.index(j) for j in (twin, *kinds[1:])]


def _note_idle(builder: _Builder, frames: list[Frame], slots: _Slots) -> None:
    """Note what the last iteration computes in the place where others make what the next one takes, and nobody takes."""
    freezer = builder.freezer
    for slot in slots.contents:
        if slot[-1] is not slot[-2]:
            continue
        for k, frame in enumerate(frames[:-1]):
            value = slot[k + 1]
            if value is None or value is slot[k]:
                continue
            found = _counterpart(freezer, value, frame, frames[-1])
            if found is not None and (_alike(found, value) or _grows(found, value)):
                freezer.idle[found] = builder.frame
                break


SO_MANY = Dim("M")
"""The size of what grows from one iteration to the next."""


def _joined(a: Region, b: Region) -> Region | None:
    """One body for two that differ in sizes that are plain numbers alone, as those of what grows from one iteration to the
    next; None where they differ otherwise."""
    try:
        found = _join(a, b)
    except _Differ:
        return None
    assert isinstance(found, Region)
    return found


class _Differ(Exception):
    pass


def _join(a: Any, b: Any) -> Any:
    """
    Raises:
        _Differ: they differ in more than sizes.
    """
    if a == b:
        return a
    match a, b:
        case Value(), Value() if replace(a, shape=()) == replace(b, shape=()) and len(a.shape) == len(b.shape):
            if all(x == y or _are_numbers(x, y) for x, y in zip(a.shape, b.shape, strict=True)):
                return replace(a, shape=tuple(x if x == y else SO_MANY for x, y in zip(a.shape, b.shape, strict=True)))
        case tuple(), tuple() if len(a) == len(b):
            return tuple(_join(x, y) for x, y in zip(a, b, strict=True))
        case Op(), Op() if a.name == b.name != PARAMETER:
            return replace(a, args=_join(a.args, b.args), results=_join(a.results, b.results))
        case Call(), Call() if a.target == b.target:
            made = replace(a, args=_join(a.args, b.args), results=_join(a.results, b.results))
            return replace(made, region=_join(a.region, b.region))
        case Region(), Region() if a.name == b.name:
            return Region(a.name, _join(a.params, b.params), _join(a.nodes, b.nodes), _join(a.results, b.results))
        case SliceOf(), SliceOf():
            return SliceOf(_join(a.start, b.start), _join(a.stop, b.stop), _join(a.step, b.step))
        case DTypeOf(), DTypeOf():
            return DTypeOf(_join(a.value, b.value))
    raise _Differ


def _same_but_for_aliases(first: Region, second: Region) -> bool:
    """Whether two bodies do the same, the first with one value in several places: what a loop carries starts as something
    that every iteration takes as well.
    """
    if len(first.params) != len(second.params) or len(set(first.params)) == len(first.params):
        return False
    pairs = list(zip(first.params, second.params, strict=True))
    if any(isinstance(a, Value) is not isinstance(b, Value) for a, b in pairs):
        return False
    canonical: dict[Operand, Operand] = {}
    known: dict[Operand, Operand] = {b: canonical.setdefault(a, b) for a, b in pairs}
    return _numbered(second, known) == _numbered(replace(first, params=tuple(dict.fromkeys(first.params))), {})


def _numbered(region: Region, known: Mapping[Operand, Operand]) -> object:
    """What a region computes, with its values numbered as they appear; those that are `known` as others count as these."""
    order: dict[int, int] = {}

    def of(x: Any) -> object:
        match x:
            case Value():
                named = known.get(x, x)
                assert isinstance(named, Value)
                return ("value", order.setdefault(named.id, len(order)), named.shape, named.dtype)
            case tuple():
                return tuple(of(item) for item in x)
            case DTypeOf(value):
                return ("type", of(value))
            case SliceOf(start, stop, step):
                return ("slice", of(start), of(stop), of(step))
            case Number(expr):
                return ("number", expr)
            case Op(name):
                return (name, of(x.args), of(x.results))
            case Call(target, inner, args, results):
                merged = _merged(inner, args, known)
                given = tuple(arg for param, arg in zip(inner.params, args, strict=True) if merged.get(param) is param)
                return (target, _numbered(inner, merged), of(given), of(results))
            case _:
                return x

    params = tuple(param for param in region.params if known.get(param, param) is param)
    return (of(params), of(region.nodes), of(region.results))


def _merged(inner: Region, args: tuple[Operand, ...], known: Mapping[Operand, Operand]) -> dict[Operand, Operand]:
    """Every parameter of a callee as the first one that is given the same."""
    first: dict[Operand, Operand] = {}
    return {
        param: first.setdefault(known.get(arg, arg) if isinstance(arg, Value) else arg, param)
        for param, arg in zip(inner.params, args, strict=True)
    }


def _same_but_for_types(first: Region, second: Region, carried: int) -> bool:
    """Whether the first of two bodies takes its carried values in a narrower type, and casts them before anything else.

    The second then computes the same from the values in the wider type, since casting to and fro is exact.
    """
    pairs = list(zip(first.params[:carried], second.params[:carried], strict=False))
    for a, b in pairs:
        if not isinstance(a, Value) or not isinstance(b, Value):
            return False
        if a.dtype is not b.dtype and not ((a.dtype, b.dtype) in _WIDER and _only_cast(first, a)):
            return False
    return len(first.params) == len(second.params) and _untyped(first) == _untyped(second)


_WIDER = frozenset({(DType.MODEL, DType.PROMOTED)})


def _only_cast(region: Region, value: Value) -> bool:
    """Whether all that is done with a value is to cast it."""
    for node in region.nodes:
        for at, arg in enumerate(node.args if isinstance(node, (Op, Call)) else ()):
            if arg != value:
                continue
            if isinstance(node, Call):
                param = node.region.params[at]
                if not isinstance(param, Value) or not _only_cast(node.region, param):
                    return False
            elif not isinstance(node, Op) or node.name != "cast":
                return False
    return True


def _untyped(region: Region) -> object:
    """What a region computes, but for the types of its values and casts between them."""
    order: dict[int, int] = {}

    def value(x: Value) -> int:
        return order.setdefault(x.id, len(set(order.values())))

    def operand(x: Operand) -> object:
        match x:
            case Value():
                return value(x)
            case SliceOf(start, stop, step):
                return ("slice", operand(start), operand(stop), operand(step))
            case tuple():
                return tuple(operand(item) for item in x)
            case DType():
                return "type"
            case _:
                return x

    for param in region.params:
        if isinstance(param, Value):
            value(param)
    nodes: list[object] = []
    for node in region.nodes:
        if isinstance(node, Op) and node.name == "cast" and isinstance(node.args[0], Value):
            order[node.results[0].id] = value(node.args[0])
            continue
        inner: tuple[object, ...] = ()
        match node:
            case Op(name):
                inner = (name,)
            case Call(target, body):
                inner = (target, _untyped(body))
            case Scan(body=body):
                inner = (node.length, node.carries, node.axes, node.stacked, _untyped(body))
            case Branch(condition, then, otherwise):
                inner = (condition, _untyped(then), _untyped(otherwise))
            case _:
                return (id(region),)
        nodes.append((inner, operand(node.args), tuple(value(result) for result in node.results)))
    return (tuple(nodes), operand(region.results))


def _unpromoted(x: Any) -> Any:
    """A region with the type of the model for every value that is at least float32: bodies that are equal so do the same. The
    first layer may take in the type of the model what the others take as it was promoted by the first."""
    match x:
        case Value():
            return replace(x, dtype=DType.MODEL) if x.dtype is DType.PROMOTED else x
        case tuple():
            return tuple(_unpromoted(item) for item in x)
        case DTypeOf(value):
            return DTypeOf(_unpromoted(value))
        case SliceOf(start, stop, step):
            return SliceOf(_unpromoted(start), _unpromoted(stop), _unpromoted(step))
        case Op():
            return replace(x, args=_unpromoted(x.args), results=_unpromoted(x.results))
        case Call():
            return replace(x, args=_unpromoted(x.args), results=_unpromoted(x.results), region=_unpromoted(x.region))
        case Region():
            return Region(x.name, _unpromoted(x.params), _unpromoted(x.nodes), _unpromoted(x.results))
        case _:
            return x


def _lists_beside(frames: Sequence[Frame]) -> frozenset[str]:
    """Lists of modules that a loop goes through beside its own: its turns take the module with their own number, and no other."""
    found: dict[str, list[bool]] = {}
    for frame in frames:
        for path in {_relative(called.module_path or "", frame.module_path) for called in _called(frame)}:
            steps = path.split(".")
            numbers = [at for at, step in enumerate(steps) if step.isdigit()]
            if numbers and not path.startswith("^"):
                found.setdefault(".".join(steps[: numbers[0]]), []).append(int(steps[numbers[0]]) == frame.index)
    return frozenset(path for path, own in found.items() if len(own) > 1 and all(own))


def _called(frame: Frame) -> Iterator[Frame]:
    """The modules that a turn of a loop calls itself."""
    for item in frame.body:
        match item:
            case Frame(kind="function"):
                yield from _called(item)
            case Frame(module_path=str()):
                yield item
            case _:
                pass


def _generic_item(region: Region, frame: Frame, beside: Collection[str]) -> Region:
    """The body with the index of the module replaced by `{}`, so that bodies of equal layers are equal, and so of the modules
    that are called of the lists `beside`."""
    prefixes = [f"{path}.{frame.index}" for path in {frame.name, *beside}]

    def rename(path: str) -> str:
        for prefix in prefixes:
            if path == prefix or path.startswith(prefix + "."):
                return prefix.rpartition(".")[0] + ".{}" + path[len(prefix) :]
        return path

    nodes: list[GraphNode] = []
    for node in region.nodes:
        match node:
            case Call(ModuleTarget(path, method), inner, args, results, span):
                nodes.append(Call(ModuleTarget(rename(path), method), inner, args, results, span))
            case Op("parameter", (Number(Const(str() as path)),), results):
                nodes.append(Op(PARAMETER, (Number(Const(rename(path))),), results))
            case _:
                nodes.append(node)
    return Region(region.name, region.params, tuple(nodes), region.results)


__all__ = ["Dim", "freeze", "nodes_of"]
