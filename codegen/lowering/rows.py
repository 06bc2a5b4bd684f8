"""The weight table: every tensor that a checkpoint holds, its place in both models, and its axes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from codegen.diagnostics import CompileError, Diagnostic
from codegen.lowering import layouts
from codegen.lowering.instances import walk
from codegen.lowering.layouts import Layout, Misfit
from codegen.lowering.meshes import WITHIN, head_counts, heads_in, mesh_axes
from codegen.lowering.partial_gradients import partial_gradients
from codegen.lowering.program import Lowering
from codegen.lowering.shared import SharedParts
from codegen.lowering.splits import own_layers, whole_axes
from codegen.lowering.views import AxisView, RowView, SharedView, SourceView, TableView, TieView, WeightsView
from ir.expressions import Const, Expr, Index, Key, leaves
from ir.graph import DType, Region, Value
from ir.records import dataclass, replace


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A stored tensor: its path with `{}` for the layer, the list of that layer and its index, the Flax leaf, the axes."""

    path: str
    stack: str
    layer: int | None
    leaf: str
    axes: str
    dtype: str


def weights_view(
    lowering: Lowering,
    source: SourceView,
    stored: Callable[[str], Layout],
    ties: Sequence[tuple[str, str]],
    tied_expr: str,
    ignored: tuple[str, ...] = (),
    shared: SharedParts | None = None,
    base: str = "",
) -> WeightsView:
    """`base` is what the library puts before the names of the model without its head, `stored` says how a checkpoint stores the parameter at a path; `ties` are (alias, target) paths.

    Raises:
        CompileError: `weight-operation` for a tie of what is not one tensor in the checkpoint.
    """
    stack, _ = lowering.layers()
    tensors = list(_tensors(lowering, _stacks(lowering, stack)))
    heads = head_counts(_regions(lowering))
    mesh = _mesh(lowering, tensors, heads)
    split = {axis for axis, name in mesh.items() if name == WITHIN}
    owners = {tensor.path.rpartition(".")[0].format(tensor.layer) for tensor in tensors if split & {*tensor.axes}}
    own = own_layers(lowering, owners)
    placed = [
        (tensor.path.rpartition(".")[0].rpartition(".")[0], tensor.axes) for tensor in tensors if not _is_bias(tensor)
    ]
    kinds_at = {path: module.kind for path, module in walk(lowering.given.tree)}
    whole = whole_axes(lowering.axes, split, placed, _regions(lowering, own.linears), heads)
    partial = partial_gradients(
        lowering,
        _split_linears(tensors, split - whole.keys(), kinds_at, own.linears, lowering),
        {axis.size for axis in lowering.axes if axis.letter in split},
        heads,
    )
    tables = tuple(_tables(lowering, tensors, stored))
    tie_views = tuple(TieView(_single(stored(a), a), _single(stored(t), t), a, t) for a, t in ties)
    shared_view = None if shared is None else _shared_view(lowering, shared)
    if shared_view is not None:
        tables = tuple(_marked(table, shared_view) for table in tables)
    return WeightsView(
        source,
        tables,
        tuple(_axis_views(lowering, mesh, heads, whole)),
        tie_views,
        tied_expr,
        ignored,
        stack=stack if len(list(lowering.loops())) else "",
        count_expr=lowering.over_cfg(lowering.count(stack, dict(lowering.lists())[stack])) if stack else "",
        layered_sizes=any(isinstance(leaf, Index) for axis in lowering.axes for leaf in leaves(axis.size)),
        shared=shared_view,
        base=base if any(tensor.path.startswith(f"{base}.") for tensor in tensors) else "",
        vocabulary=next((axis.letter for axis in lowering.axes if axis.size == _vocabulary(lowering)), ""),
        own_linears=own.linears,
        own_embeddings=own.embeddings,
        outer=frozenset(
            kinds_at[_owner(tensor.path)] for tensor in tensors if tensor.layer is None and len(tensor.axes) == 2
        ),
        ties_linears=bool(ties) and all(kinds_at[_owner(alias)] == "Linear" for alias, _ in ties),
        layer_linears=any(
            tensor.layer is not None and kinds_at[_owner(tensor.path.format(tensor.layer))] == "Linear"
            for tensor in tensors
            if len(tensor.axes) == 2
        ),
        mixed=_endings(tensors, partial.mixed, every=False),
        summed=_endings(tensors, partial.summed, every=True),
    )


def _split_linears(
    tensors: Sequence[_Tensor],
    split: Collection[str],
    kinds: Mapping[str, str],
    own: Collection[str],
    lowering: Lowering,
) -> dict[str, bool]:
    """The linear layers that `torch_plan` splits, by its rules, and whether that is along what they take."""
    blocks: dict[str, dict[str, tuple[bool, bool]]] = {}
    whole: list[str] = []
    for tensor in tensors:
        path = _owner(tensor.path.format(tensor.layer))
        made = lowering.program.by_path.get(path)
        turned = made is not None and made.name in own
        if tensor.layer is None:
            continue
        if not (kinds[path] == "Linear" or turned):
            whole += [path] if {*tensor.axes}.intersection(split) else []
        elif len(tensor.axes) == 2:
            takes, gives = (letter in split for letter in (tensor.axes if turned else tensor.axes[::-1]))
            if takes or gives:
                blocks.setdefault(_owner(path), {})[path] = (takes, gives)
    return {
        path: takes
        for block, layers in blocks.items()
        if {*layers.values()} == {(True, False), (False, True)}
        and not any(f"{other}.".startswith(f"{block}.") for other in whole)
        for path, (takes, _) in layers.items()
    }


def _endings(tensors: Sequence[_Tensor], paths: Collection[str], *, every: bool) -> tuple[str, ...]:
    """What the paths of parameters at, or in, `paths` end in behind the number of their layer; with `every`, only where all
    that end so are among these."""
    found: dict[str, set[bool]] = {}
    for tensor in tensors:
        if tensor.layer is not None:
            path = tensor.path.format(tensor.layer)
            inside = any(path == other or path.startswith(f"{other}.") for other in paths)
            found.setdefault(tensor.path.rpartition("{}")[2], set()).add(inside)
    return tuple(ending for ending, among in found.items() if (among == {True} if every else True in among))


def _owner(path: str) -> str:
    return path.rpartition(".")[0]


def _shared_view(lowering: Lowering, shared: SharedParts) -> SharedView:
    count = lowering.count(shared.stack, dict(lowering.lists())[shared.stack])
    layers = _layers_expr(lowering, shared.members, shared.stack, count)
    return SharedView(shared.stack, shared.parts, layers, shared.distinct)


def _marked(table: TableView, shared: SharedView) -> TableView:
    """The table with a note whether layers share some of its rows.

    Raises:
        CompileError: `weight-operation` for what is shared and not one tensor in the checkpoint.
    """
    rows = [row for row in table.rows if shared.holds(row.path)]
    for row in rows:
        _single(row.stored, row.path)
    return replace(table, shared=bool(rows))


def _single(layout: Layout, path: str) -> str:
    if isinstance(layout, str):
        return layout
    raise CompileError(
        Diagnostic(
            "weight-operation", f"`{path}` is tied, and is not one tensor in the checkpoint: {layouts.spelled(layout)}"
        )
    )


def _stacks(lowering: Lowering, stack: str) -> tuple[str, ...]:
    """The lists of modules, that of the layers first, whose lengths the configuration decides; none within another."""
    lists = [path for path, length in lowering.lists() if not isinstance(lowering.count(path, length), Const)]
    outer = [path for path in lists if not any(path.startswith(f"{other}.") for other in lists)]
    return (stack, *(path for path in outer if path != stack))


def _tensors(lowering: Lowering, stacks: tuple[str, ...]) -> Iterator[_Tensor]:
    letters = {axis.size: axis.letter for axis in lowering.axes}
    for path, module in walk(lowering.given.tree):
        for parameter in module.parameters:
            if parameter.buffer and not parameter.persistent:
                continue
            where = f"{path}.{parameter.name}" if path else parameter.name
            stack = next((stack for stack in stacks if stack and where.startswith(f"{stack}.")), "")
            generic, layer = _generic(where, stack)
            leaf = lowering.leaves.of(path, parameter.name)
            axes = "".join(_letter(size, letters) for size in parameter.shape)
            kept = "" if parameter.dtype is DType.MODEL else _KEPT.get(parameter.dtype, parameter.dtype.value)
            yield _Tensor(generic, stack, layer, leaf, axes, kept)


_KEPT = {DType.PROMOTED: DType.FLOAT32.value}  # at least


def _letter(size: Expr, letters: Mapping[Expr, str]) -> str:
    return "1" if size == Const(1) else letters[size]


def _generic(path: str, stack: str) -> tuple[str, int | None]:
    if not stack or not path.startswith(stack + "."):
        return path, None
    index, _, rest = path[len(stack) + 1 :].partition(".")
    return f"{stack}.{{}}.{rest}", int(index)


def _tables(lowering: Lowering, tensors: list[_Tensor], stored: Callable[[str], Layout]) -> Iterator[TableView]:
    layers: dict[_Row, list[int]] = {}
    for tensor in tensors:
        layers.setdefault(_Row(tensor.path, tensor.stack, tensor.leaf, tensor.axes, tensor.dtype), []).extend(
            [] if tensor.layer is None else [tensor.layer]
        )
    single = tuple(row.view(stored) for row, at in layers.items() if not at)
    if single:
        yield TableView("TABLE", single)
    groups: dict[tuple[str, tuple[int, ...]], list[_Row]] = {}
    for row, at in layers.items():
        if at:
            groups.setdefault((row.stack, tuple(at)), []).append(row)
    for number, ((stack, chosen), rows) in enumerate(groups.items()):
        constant = "LAYERS" if number == 0 else f"LAYERS_{number + 1}"
        count = lowering.count(stack, dict(lowering.lists())[stack])
        yield TableView(constant, tuple(row.view(stored) for row in rows), _layers_expr(lowering, chosen, stack, count))


@dataclass(frozen=True, slots=True)
class _Row:
    path: str
    stack: str
    leaf: str
    axes: str
    dtype: str

    def view(self, stored: Callable[[str], Layout]) -> RowView:
        layout = stored(self.path)
        try:
            layouts.spelled(layout)
        except Misfit as error:
            raise CompileError(Diagnostic("weight-operation", f"`{self.path}`: {error}")) from None
        return RowView(layout, self.path, self.leaf, self.axes, self.dtype)


def _layers_expr(lowering: Lowering, at: tuple[int, ...], stack: str, count: Expr) -> str:
    length = dict(lowering.lists())[stack]
    total = lowering.over_cfg(count)
    if len(at) == length:
        return f"range({total})"
    partition = tuple(int(layer in at) for layer in range(length))
    if lowering.told_apart(stack, partition) is None:
        return repr(list(at))
    kinds = lowering.patterns.finer(partition)
    wanted = tuple(dict.fromkeys(kinds.labels[layer] for layer in at))
    if kinds.is_condition and not isinstance(kinds.element, Key):
        test = lowering.over_cfg(lowering.patterns.spelled(kinds))
        return f"[layer for layer in range({total}) if {test if wanted == (True,) else f'not ({test})'}]"
    test = f"== {wanted[0]!r}" if len(wanted) == 1 else f"in {wanted!r}"
    return f"[layer for layer, kind in enumerate({lowering.sequence(kinds)}) if kind {test}]"


def _regions(lowering: Lowering, without: Collection[str] = ()) -> list[Region]:
    """What all modules compute, but those of some classes."""
    plans = lowering.program.by_path
    instances = [
        made
        for path, made in lowering.program.instances.items()
        if path not in plans or plans[path].name not in without
    ]
    return [region for made in instances for found in made.methods.values() for region in found]


def _is_bias(tensor: _Tensor) -> bool:
    return tensor.path.endswith(".bias") and len(tensor.axes) == 1


def _mesh(lowering: Lowering, tensors: Sequence[_Tensor], heads: frozenset[Expr]) -> Mapping[str, str]:
    held = [(tensor.path.rpartition(".")[0].rpartition(".")[0], tensor.axes) for tensor in tensors]
    held += [(tensor.path.rpartition(".")[0], tensor.axes) for tensor in tensors if len(tensor.axes) == 3]
    return mesh_axes(lowering.axes, held, _vocabulary(lowering), heads)


def _vocabulary(lowering: Lowering) -> Expr | None:
    """How many logits there are for a token."""
    logits = lowering.given.region.results[0]
    return logits.shape[-1] if isinstance(logits, Value) else None


def _axis_views(
    lowering: Lowering, mesh: Mapping[str, str], heads: frozenset[Expr], whole: Mapping[str, str]
) -> Iterator[AxisView]:
    if Const(1) in lowering.sizes():
        yield AxisView("1", "1", "one")
    for axis in lowering.axes:
        expr = lowering.over_cfg(axis.size)
        meaning = lowering.names[axis.size.path] if isinstance(axis.size, Key) else expr.replace("cfg.", "")
        count = heads_in(axis.size, heads)
        counted = lowering.over_cfg(count) if count is not None and count != axis.size else ""
        size = lowering.size_over_cfg(axis.size)
        yield AxisView(axis.letter, size, meaning, mesh.get(axis.letter, ""), counted, whole.get(axis.letter, ""))
