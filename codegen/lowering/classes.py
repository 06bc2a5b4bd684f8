"""Modules that run the same code become one class; what differs between them becomes a parameter of its constructor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby

from codegen.lowering.instances import CONTAINERS, Instance, without_parameters
from codegen.lowering.layers import arguments_used
from codegen.lowering.matrices import uses_of
from codegen.lowering.names import Labels, name_classes
from ir.expressions import Apply, Const, Environment, Expr, Index, Key, Local, evaluate, leaves
from ir.graph import (
    SLOTS,
    Branch,
    Call,
    DTypeOf,
    FunctionTarget,
    Loop,
    Module,
    Node,
    Number,
    Op,
    Operand,
    Parameter,
    Raised,
    Region,
    Scan,
    SliceOf,
    Value,
    within,
)
from ir.records import dataclass, field, replace

Hole = tuple[str, Expr]  # a name for it, and what stands there
FEW = 2  # numbers that a small class takes one by one
AXES = ("rows", "columns")  # of a matrix whose use says no more, where instances differ in its shape


@dataclass
class ClassPlan:
    """A class to emit. `example` is one of its instances with `Local(parameter)` where the others differ."""

    name: str
    source_name: str
    instances: list[Instance]
    example: Instance
    parameters: tuple[str, ...]  # of the constructor, beyond the configuration and the layer's index
    arguments: dict[str, tuple[Expr, ...]]  # what each instance passes for them, by its path
    needs_layer: bool
    children: dict[str, ClassPlan] = field(default_factory=dict)  # by the child's name, where it has a class of its own
    types: tuple[str, ...] = ()  # of the parameters, where they are known
    chosen: tuple[str, ...] = ()  # children whose class depends on the layer

    @property
    def paths(self) -> list[str]:
        """Where its instances stand."""
        return [instance.path for instance in self.instances]

    def loops(self) -> Iterator[Loop]:
        """The loops over modules in its methods."""
        regions = (region for regions in self.example.methods.values() for region in regions)
        yield from (node for region in regions for node in region.nodes if isinstance(node, Loop))

    @property
    def held(self) -> list[ClassPlan]:
        """The classes of the children."""
        return list(self.children.values())

    @property
    def typed_parameters(self) -> list[str]:
        if not self.types:
            return list(self.parameters)
        return [f"{name}: {kind}" if kind else name for name, kind in zip(self.parameters, self.types, strict=True)]

    @property
    def columns(self) -> dict[tuple[Expr, ...], str]:
        """The parameters, by what each instance passes for them."""
        passed = zip(*(self.arguments[path] for path in self.paths), strict=True)
        return dict(zip(passed, self.parameters, strict=False))

    def with_types(self, resolved: Mapping[str, object]) -> None:
        """Note what the parameters are for the compiled checkpoint."""
        passed = list(zip(*self.arguments.values(), strict=True)) or [()] * len(self.parameters)
        self.types = tuple(_type_of(exprs, resolved) for exprs in passed)


@dataclass(frozen=True)
class Program:
    """Everything to print: classes, callees first, and which class every module has."""

    plans: tuple[ClassPlan, ...]
    by_path: dict[str, ClassPlan]
    instances: dict[str, Instance]

    @property
    def top(self) -> ClassPlan:
        return self.by_path[""]

    def choice(self, made: ClassPlan, child: str) -> tuple[list[str], tuple[int | None, ...]]:
        """Paths of a child of each of its classes, and which of them each item of the list has; None where it matters not."""
        members = {member.path for member in made.instances}
        owner = _list_of(made.instances[0].path)
        items = [f"{owner}.{i}" for i in range(sum(_list_of(path) == owner for path in self.instances))]
        classes = [id(self.by_path[f"{item}.{child}"]) if item in members else None for item in items]
        distinct = [made for made in dict.fromkeys(classes) if made is not None]
        paths = [f"{items[classes.index(made)]}.{child}" for made in distinct]
        return paths, tuple(None if made is None else distinct.index(made) for made in classes)


def plan(instances: dict[str, Instance], needs: Callable[[Region], object], labels: Labels = ()) -> Program:
    """Group the modules into classes, children before parents. `needs` says what else a body takes from its caller, `labels`
    what the configuration calls the layers."""
    groups: dict[object, list[Instance]] = {}
    keys: dict[str, tuple[object, ...]] = {}
    ids: dict[object, int] = {}
    regions_known: dict[int, object] = {}
    for _, paths in groupby(sorted(instances, key=lambda p: -_depth(p)), _depth):
        deep: dict[Skeleton, list[Instance]] = {}
        for path in paths:
            instance = instances[path]
            if (
                instance.is_layer
                or instance.module.kind in CONTAINERS
                or (path and without_parameters(instance.module))
            ):
                keys[path] = ("layer", instance.module.kind, *_container_key(instance, keys))
                continue
            key = _skeleton(instance, keys, regions_known)
            deep.setdefault(key, []).append(instance)
        for key, members in _with_relatives(deep, needs):
            ids.setdefault(key, len(ids))
            for member in members:
                keys[member.path] = ("class", ids[key])
            groups.setdefault(key, []).extend(members)
    plans: list[ClassPlan] = []
    by_path: dict[str, ClassPlan] = {}
    for together in groups.values():
        for members in _separable(together, by_path):
            made = _plan_class(members, by_path)
            plans.append(made)
            for member in members:
                by_path[member.path] = made
    library = {instance.module.kind for instance in instances.values() if instance.is_layer}
    name_classes(plans, by_path[""], frozenset(library), labels)
    return Program(tuple(_in_order(by_path[""], instances, by_path)), by_path, instances)


Skeleton = tuple[str, object, tuple[tuple[str, tuple[object, ...]], ...], object]
"""Name of the class, parameters, children with what they must share, methods."""


def _with_relatives(
    groups: Mapping[Skeleton, list[Instance]], needs: Callable[[Region], object]
) -> Iterator[tuple[Skeleton, list[Instance]]]:
    """Groups of modules, with those in one that are items of one list and differ in the classes of some children alone."""
    found: dict[object, list[tuple[Skeleton, list[Instance]]]] = {}
    for key, members in groups.items():
        class_name, parameters, children, methods = key
        lists = {_list_of(member.path) for member in members}
        kinds = tuple((name, () if own[0] == "class" else own) for name, own in children)
        wanted = tuple(tuple(needs(inner) for inner in _called(r)) for rs in members[0].methods.values() for r in rs)
        alike = len(lists) == 1 and lists != {""}
        shared = (class_name, parameters, kinds, methods, wanted, *lists) if alike else key
        found.setdefault(shared, []).append((key, members))
    for relatives in found.values():
        tables = [dict(children) for (_, _, children, _), _ in relatives]
        differing = [name for name in tables[0] if any(table[name] != tables[0][name] for table in tables)]
        if len(relatives) > 1 and 2 * len(differing) <= len(tables[0]):
            yield relatives[0][0], [member for _, members in relatives for member in members]
        else:
            yield from relatives


def _called(region: Region) -> Iterator[Region]:
    """What a body calls of the modules that it holds."""
    for node in region.nodes:
        match node:
            case Call(FunctionTarget(), inner):
                yield from _called(inner)
            case Call(_, inner):
                yield inner
            case Scan() | Branch():
                for inner in within(node):
                    yield from _called(inner)
            case _:
                pass


def _list_of(path: str) -> str:
    """The list of which a module is an item; nothing where it is none."""
    owner, _, name = path.rpartition(".")
    return owner if name.isdigit() else ""


def _separable(members: list[Instance], by_path: Mapping[str, ClassPlan]) -> Iterator[list[Instance]]:
    """The members as they are, or apart again where a child's class cannot be told from the layer's index alone."""
    chosen = _chosen(members, by_path)
    for name in chosen:
        made: dict[int, set[tuple[Expr, ...]]] = {}
        for member in members:
            where = _child(member.path, name)
            made.setdefault(id(by_path[where]), set()).add(by_path[where].arguments[where])
        if any(len(arguments) > 1 for arguments in made.values()):
            apart: dict[tuple[int, ...], list[Instance]] = {}
            for member in members:
                kinds = tuple(id(by_path[_child(member.path, other)]) for other in chosen)
                apart.setdefault(kinds, []).append(member)
            yield from apart.values()
            return
    yield members


def _chosen(members: list[Instance], by_path: Mapping[str, ClassPlan]) -> tuple[str, ...]:
    """The children whose class is not the same in all members."""
    first = members[0]
    return tuple(
        name
        for name, _ in first.module.children
        if _child(first.path, name) in by_path
        and len({id(by_path[_child(member.path, name)]) for member in members}) > 1
    )


def _depth(path: str) -> int:
    return path.count(".") + 1 if path else 0


def _container_key(instance: Instance, keys: dict[str, tuple[object, ...]]) -> tuple[object, ...]:
    if instance.module.kind not in CONTAINERS:
        return tuple((name, _abstract(value)) for name, value in arguments_used(instance.module))
    distinct = dict.fromkeys(keys[_child(instance.path, name)] for name, _ in instance.module.children)
    return tuple(distinct)


def _child(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


# --------------------------------------------------------------------------------------------- what is the same


def _skeleton(instance: Instance, keys: dict[str, tuple[object, ...]], regions_known: dict[int, object]) -> Skeleton:
    """What two modules must share to be of one class: everything but the numbers that come from the configuration."""
    module = instance.module

    def abstract(region: Region) -> object:
        if id(region) not in regions_known:
            regions_known[id(region)] = _abstract_region(region)
        return regions_known[id(region)]

    return (
        module.class_name,
        tuple(
            (
                p.name,
                tuple(_abstract_expr(s) for s in p.shape),
                p.dtype,
                p.buffer,
                p.fill and abstract(p.fill),
                p.persistent,
                p.trainable,
                p.start and _abstract_expr(p.start),
            )
            for p in module.parameters
        ),
        tuple((name, keys[_child(instance.path, name)]) for name, _ in module.children),
        tuple((name, tuple(abstract(r) for r in regions)) for name, regions in sorted(instance.methods.items())),
    )


def _abstract_expr(expr: Expr) -> object:
    """What an expression must share with others: floats as well as what the configuration gives may differ."""
    if isinstance(expr, Const) and isinstance(expr.value, float):
        return "?"
    return "?" if any(isinstance(leaf, (Key, Index)) for leaf in leaves(expr)) else expr


def _abstract(operand: Operand) -> object:
    match operand:
        case Value():
            return operand.id
        case Number(expr):
            return _abstract_expr(expr)
        case DTypeOf(value):
            return ("dtype", value.id)
        case SliceOf(start, stop, step):
            return ("slice", _abstract(start), _abstract(stop), _abstract(step))
        case tuple():
            return tuple(_abstract(item) for item in operand)
        case _:
            return operand


def _abstract_region(region: Region) -> object:
    nodes: list[object] = []
    for node in region.nodes:
        match node:
            case Op(name, args, results):
                told = tuple("?" if SLOTS.get(name) == at else _abstract(arg) for at, arg in enumerate(args))
                nodes.append((name, told, tuple(r.id for r in results)))
            case Raised(component, args, results):
                nodes.append((component, _abstract(args), tuple(r.id for r in results)))
            case Call(target, inner, args, results):
                body = _abstract_region(inner) if isinstance(target, FunctionTarget) else len(inner.params)
                nodes.append((target, body, _abstract(args), tuple(r.id for r in results)))
            case Loop(container, bodies, kinds, carried, invariant, varying, results):
                body = tuple(_abstract_region(b) for b in bodies)
                nodes.append((container, body, kinds, _abstract(carried), _abstract(invariant), _abstract(varying)))
            case Scan(body=inner, args=args, length=length):
                made = (node.carries, node.axes, node.stacked, node.index, tuple(r.id for r in node.results))
                nodes.append(("scan", _abstract_region(inner), _abstract(args), _abstract_expr(length), made))
            case Branch(condition, then, otherwise, args, results):
                arms = (_abstract_region(then), _abstract_region(otherwise))
                nodes.append((_abstract_expr(condition), arms, _abstract(args), tuple(r.id for r in results)))
    params = tuple(p.id if isinstance(p, Value) else p.names for p in region.params)
    return (params, tuple(nodes), _abstract(region.results))


# ------------------------------------------------------------------------------------------------- what differs


def map_numbers(instance: Instance, change: Callable[[str, Expr], Expr]) -> Instance:
    """The instance with every number in its own code changed; called in a fixed order, with a name for each."""

    def in_operand(operand: Operand, name: str) -> Operand:
        match operand:
            case Number(expr, names):
                return Number(change(names[0] if names else name, expr), names)
            case SliceOf(start, stop, step):
                return SliceOf(in_operand(start, name), in_operand(stop, name), in_operand(step, name))
            case tuple():
                return tuple(in_operand(item, name) for item in operand)
            case _:
                return operand

    def in_region(region: Region, name: str = "") -> Region:
        nodes: list[Node] = []
        for node in region.nodes:
            match node:
                case Op() | Raised():
                    called = "slot" if isinstance(node, Op) and node.name == "cache_update" else name
                    nodes.append(replace(node, args=tuple(in_operand(arg, called) for arg in node.args)))
                case Call():
                    nodes.append(replace(node, args=tuple(in_operand(arg, "") for arg in node.args)))
                case Loop():
                    nodes.append(replace(node, bodies=tuple(in_region(body) for body in node.bodies)))
                case Scan():
                    args = tuple(in_operand(arg, "") for arg in node.args)
                    length = change("length", node.length)
                    nodes.append(replace(node, body=in_region(node.body), args=args, length=length))
                case Branch():
                    args = tuple(in_operand(arg, "") for arg in node.args)
                    arms = (in_region(node.then), in_region(node.otherwise))
                    condition = change("condition", node.condition)
                    nodes.append(Branch(condition, *arms, args, node.results, node.span))
        return replace(region, nodes=tuple(nodes))

    regions = [region for regions in instance.methods.values() for region in regions]

    def axis_names(p: Parameter) -> tuple[str, ...]:
        uses = uses_of(p.name, regions) if len(p.shape) == 2 else frozenset()
        names = next(iter(uses)).value if len(uses) == 1 else AXES
        return names if len(p.shape) == 2 else ("size",) * len(p.shape)

    def in_parameter(p: Parameter) -> Parameter:
        if p.fill:
            return _with_fill(p, change, in_region)
        shape = tuple(map(change, axis_names(p), p.shape))
        return replace(p, shape=shape, start=p.start and change("start", p.start))

    module = instance.module
    parameters = tuple(map(in_parameter, module.parameters))
    children = tuple((name, _map_layer(child, in_operand, in_parameter)) for name, child in module.children)
    arguments = tuple((name, in_operand(value, name)) for name, value in arguments_used(module))
    changed = replace(module, parameters=parameters, children=children, arguments=arguments)
    methods = {name: [in_region(r) for r in regions] for name, regions in instance.methods.items()}
    return Instance(instance.path, changed, methods)


def _with_fill(
    p: Parameter, change: Callable[[str, Expr], Expr], in_region: Callable[[Region, str], Region]
) -> Parameter:
    shape = tuple(change("size", size) for size in p.shape)
    return replace(p, shape=shape, fill=in_region(p.fill, "value") if p.fill else None)


def _map_layer(
    child: Module, in_operand: Callable[[Operand, str], Operand], in_parameter: Callable[[Parameter], Parameter]
) -> Module:
    """Numbers of a child that is a library layer, or a container of such or of parameters, belong to the class that makes it."""
    if child.kind in CONTAINERS:
        children = tuple((n, _map_layer(c, in_operand, in_parameter)) for n, c in child.children)
        return replace(child, children=children, parameters=tuple(map(in_parameter, child.parameters)))
    if not child.kind:
        return child
    return replace(child, arguments=tuple((name, in_operand(value, name)) for name, value in arguments_used(child)))


def holes(instance: Instance) -> list[Hole]:
    """The numbers of an instance that come from the configuration, in order."""
    found: list[Hole] = []

    def note(name: str, expr: Expr) -> Expr:
        found.append((name, expr))
        return expr

    map_numbers(instance, note)
    return found


def _rows(members: list[Instance]) -> list[list[Hole]]:
    """The holes of each member; members that share their code and their numbers share the row."""
    known: dict[object, list[Hole]] = {}
    rows = []
    for member in members:
        ids = tuple((name, tuple(id(region) for region in regions)) for name, regions in member.methods.items())
        key = (ids, member.module)
        if key not in known:
            known[key] = holes(member)
        rows.append(known[key])
    return rows


def _child_classes(instance: Instance, by_path: dict[str, ClassPlan]) -> Iterator[tuple[str, ClassPlan]]:
    """Children (also those in lists) that have a class of their own."""

    def visit(module: Module, path: str) -> Iterator[tuple[str, ClassPlan]]:
        for name, child in module.children:
            where = _child(path, name)
            if where in by_path:
                yield where, by_path[where]
            elif child.kind in CONTAINERS:
                yield from visit(child, where)

    yield from visit(instance.module, instance.path)


def _plan_class(members: list[Instance], by_path: dict[str, ClassPlan]) -> ClassPlan:
    rows = _rows(members)
    chosen = _chosen(members, by_path)
    passed = [
        [list(p.arguments[where]) for where, p in _child_classes(m, by_path) if where[len(m.path) + 1 :] not in chosen]
        for m in members
    ]
    columns: dict[tuple[Expr, ...], str] = {}  # what the members have there -> parameter
    used: set[str] = {"cfg", "layer", "dtype", "rngs", "self"}

    def parameter(name: str, exprs: tuple[Expr, ...]) -> str:
        if exprs not in columns:
            base = name or "size"
            unique, number = base, 2
            while unique in used:
                unique, number = f"{base}{number}", number + 1
            used.add(unique)
            columns[exprs] = unique
        return columns[exprs]

    at = 0
    told = _is_told(members[0].module, rows[0])

    def change(name: str, expr: Expr) -> Expr:
        nonlocal at
        exprs = tuple(row[at][1] for row in rows)
        at += 1
        if all(e == expr for e in exprs) and not (told and _reads_keys(expr)):
            return expr
        return Local(parameter(name or _name_of(exprs), exprs))

    example = map_numbers(members[0], change)
    start = len(members[0].path) + 1 if members[0].path else 0
    held = [child_plan for where, child_plan in _child_classes(members[0], by_path) if where[start:] not in chosen]
    first = members[0]
    places = [where for where, _ in _child_classes(first, by_path) if where[start:] not in chosen]
    for child, child_plan in enumerate(held):
        for position, name in enumerate(child_plan.parameters):
            exprs = tuple(p[child][position] for p in passed)
            if all(e == exprs[0] for e in exprs):
                continue
            offsets = offsets_of(exprs) if _in_list(places[child], first, by_path) else None
            parameter(name if offsets is None else "offset", exprs if offsets is None else offsets)
    arguments = {m.path: tuple(column[i] for column in columns) for i, m in enumerate(members)}
    computed = [expr for child in passed[0] for expr in child if expr not in arguments[first.path]]
    own = [expr for _, expr in holes(_outside_loops(example))] + (computed if is_in_list(first.path) else [])
    needs_layer = any(isinstance(leaf, Index) for expr in own for leaf in leaves(expr)) or any(
        p.needs_layer for where, p in _child_classes(members[0], by_path) if not _in_list(where, members[0], by_path)
    )
    return ClassPlan(
        members[0].module.class_name,
        members[0].module.class_name,
        members,
        example,
        tuple(columns.values()),
        arguments,
        needs_layer or bool(chosen),
        {where: p for where, p in _child_classes(members[0], by_path)},
        chosen=chosen,
    )


def offsets_of(exprs: tuple[Expr, ...]) -> tuple[Expr, ...] | None:
    """What is added to the number of an item of a list, if each expression is that number or adds to it."""
    found: list[Expr] = []
    for expr in exprs:
        match expr:
            case Index():
                found.append(Const(0))
            case Apply("+", (Index(), rest)) if not any(isinstance(leaf, Index) for leaf in leaves(rest)):
                found.append(rest)
            case _:
                return None
    return tuple(found)


def _is_told(module: Module, row: list[Hole]) -> bool:
    """Whether a class takes its numbers one by one, as a norm takes its size and epsilon, and not the whole configuration."""
    read = {expr for _, expr in row if _reads_keys(expr)}
    constants = any(parameter.fill is not None for parameter in module.parameters)
    own = any(isinstance(leaf, Index) for _, expr in row for leaf in leaves(expr))
    return _is_small(module) and bool(module.parameters) and not constants and not own and len(read) <= FEW


def _reads_keys(expr: Expr) -> bool:
    return any(isinstance(leaf, Key) for leaf in leaves(expr))


def is_in_list(path: str) -> bool:
    """Whether a module is an item of a list, or in one."""
    return any(part.isdigit() for part in path.split("."))


def _outside_loops(instance: Instance) -> Instance:
    """The instance without its loops over modules, whose index is that of the loop."""
    methods = {
        name: [replace(r, nodes=tuple(n for n in r.nodes if not isinstance(n, Loop))) for r in regions]
        for name, regions in instance.methods.items()
    }
    return Instance(instance.path, instance.module, methods)


def _type_of(exprs: tuple[Expr, ...], resolved: Mapping[str, object]) -> str:
    """The type of what instances pass for a parameter; nothing where the index of the layer decides."""
    found: dict[str, None] = {}
    for expr in exprs:
        if any(not isinstance(leaf, (Key, Const)) for leaf in leaves(expr)):
            return ""
        value = evaluate(expr, Environment(config=resolved))
        found["None" if value is None else type(value).__name__] = None
    if set(found) == {"int", "float"}:
        return "float"
    return " | ".join(sorted(found, key="None".__eq__)) if set(found) <= {"int", "float", "bool", "str", "None"} else ""


def _in_list(where: str, owner: Instance, by_path: dict[str, ClassPlan]) -> bool:
    rest = where[len(owner.path) + 1 :] if owner.path else where
    return any(part.isdigit() for part in rest.split("."))


def _name_of(exprs: tuple[Expr, ...]) -> str:
    for expr in exprs:
        if isinstance(expr, Key) and isinstance(expr.path[-1], str):
            words = expr.path[-1].split("_")
            if {"eps", "epsilon"} & set(words):
                return "eps"
            return "size" if "size" in expr.path[-1] or "dim" in expr.path[-1] else expr.path[-1]
    return "size" if all(not isinstance(e, Const) for e in exprs) else "value"


# ----------------------------------------------------------------------------------------------------- order


def _in_order(top: ClassPlan, instances: dict[str, Instance], by_path: dict[str, ClassPlan]) -> list[ClassPlan]:
    """Callees above callers, in the order of the top module's tree; first the small ones."""
    ordered: list[ClassPlan] = []

    def visit(made: ClassPlan) -> None:
        for member in made.instances if made.chosen else made.instances[:1]:
            for _, child in _child_classes(member, by_path):
                if child is not made and child not in ordered:
                    visit(child)
        if made not in ordered:
            ordered.append(made)

    visit(top)
    return sorted(ordered, key=lambda made: not _is_small(made.example.module))


def _is_small(module: Module) -> bool:
    """Whether a module holds no others and at most vectors, as norms and rotary angles do."""
    return not module.children and all(len(parameter.shape) < 2 for parameter in module.parameters)
