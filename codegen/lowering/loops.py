"""Loops over modules: a `for` in PyTorch, `run_layers` in Flax."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from codegen.diagnostics import CompileError, Diagnostic
from codegen.lowering.dialect import lines, name, unparse
from codegen.lowering.functions import ambients, held_names, keeps_state
from codegen.lowering.instances import lists_beside
from codegen.lowering.numbers import Leaf
from codegen.lowering.patterns import LayerKinds, decided
from codegen.lowering.printing import SHORT_NAMES, BodyPrinter, name_hints
from codegen.lowering.syntax import copied
from ir.expressions import Index
from ir.graph import Loop, Value
from ir.records import dataclass, field

if TYPE_CHECKING:
    from codegen.lowering.emission import ClassWriter

COUNTERS = ("i", "j")  # of a loop, and of one in it


class LoopScope:
    """What the body of a loop knows: what is around it does, and the number of the iteration, `index`.

    Raises:
        CompileError: `unknown-pattern`, for a loop in a loop in a loop.
    """

    def __init__(self, writer: ClassWriter, index: str):
        self.writer, self.index, self.counts = writer, index, False
        depth = COUNTERS.index(writer.counter) + 1 if isinstance(writer, LoopScope) else 0
        if depth == len(COUNTERS):
            raise CompileError(Diagnostic("unknown-pattern", "loops over modules are in each other, three deep"))
        self.counter: str = COUNTERS[depth]
        self.depth = depth
        self.root: ClassWriter = writer.root if isinstance(writer, LoopScope) else writer

    def loop(self, node: Loop, printer: BodyPrinter) -> None:
        LoopWriter(self, node, printer).write()  # type: ignore[arg-type]

    def __getattr__(self, text: str) -> object:
        return getattr(self.writer, text)

    def number(self, leaf: Leaf) -> ast.expr:
        if leaf == Index(self.index):
            self.counts = True
            return name(self.counter)
        return self.writer.number(leaf)


@dataclass
class Shared:
    """Variables of several kinds of layers that are one table: `shared_k[layer.kind]`."""

    table: str
    kinds: LayerKinds
    labels: dict[str, object]  # variable -> the kind that it belongs to
    attribute: str = field(default="")


class LoopWriter:
    """Prints a loop over modules: a `for` in PyTorch, `run_layers` in Flax."""

    def __init__(self, writer: ClassWriter, node: Loop, printer: BodyPrinter):
        self.writer, self.node, self.printer = writer, node, printer
        self.scope = LoopScope(writer, node.index)
        beside = lists_beside(node)
        self.item = printer.free_name(["part"]) if self.scope.depth else "layer"
        self.turn_of = {} if beside else {node.container: self.item}
        for container in (node.container, *beside) if beside else ():
            self.turn_of[container] = self.name_of(_one_of(container))
        self.shared: list[Shared] = []

    def name_of(self, wanted: str) -> str:
        """A variable for the modules of a list, which no other variable around it is called."""
        around = (*self.scope.root.turn_of.values(), *self.printer.names.values())
        taken = {*self.turn_of.values(), *around, "layers", "state", "kv", *COUNTERS}
        options = (wanted, *(f"{wanted}{number}" for number in range(2, len(taken) + 99)))
        return next(text for text in options if text not in taken and not self.printer.taken(text))

    def write(self) -> None:
        node, printer = self.node, self.printer
        carried = [self.carry(index) for index in range(len(node.carried))]
        invariant = [printer.materialize(value) for value in node.invariant if isinstance(value, Value)]
        around, self.scope.root.turn_of = self.scope.root.turn_of, self.turn_of
        bodies = [self.body(kind, carried, invariant) for kind in range(len(node.bodies))]
        self.scope.root.turn_of = around
        self.share(bodies, carried)
        statements = self.merge(bodies, list(range(len(bodies))))
        held = self.open(carried)
        self.writer.emitter.note_count(self.scope.counts)
        if self.writer.dialect.functional_cache:
            self.flax(statements, held)
        else:
            items, target = self.items(), self.target()
            if self.scope.counts:
                target = ast.Tuple([ast.Name(self.scope.counter, ast.Store()), target], ast.Store())
                items = ast.Call(name("enumerate"), [items], [])
            printer.statements.append(ast.For(target, items, statements, []))
        for operand, result, variable in zip(node.carried, node.results, carried, strict=True):
            if isinstance(operand, Value):
                printer.names.pop(operand.id, None)
            printer.release(variable)
            printer.names[result.id] = variable

    def items(self) -> ast.expr:
        """The modules of the list, or those of several lists together."""
        lists = [self.writer.item(container) for container in self.turn_of]
        lengths = {len(self.writer.plan.example.module.at(container).children) for container in self.turn_of}
        strict = ast.keyword("strict", ast.Constant(len(lengths) == 1))  # one may hold more than the loop takes
        return lists[0] if len(lists) == 1 else ast.Call(name("zip"), lists, [strict])

    def target(self) -> ast.expr:
        variables = [ast.Name(variable, ast.Store()) for variable in self.turn_of.values()]
        return variables[0] if len(variables) == 1 else ast.Tuple([*variables], ast.Store())

    # ------------------------------------------------------------------------------------------- what is carried

    def carry(self, index: int) -> str:
        """The variable of a carried value."""
        printer, operand, result = self.printer, self.node.carried[index], self.node.results[index]
        if not isinstance(operand, Value):
            variable = self.fresh(index)
            printer.names[result.id] = variable
            return variable
        held = printer.materialize(operand)
        others = (*self.node.invariant, *self.node.carried[index + 1 :])  # of which several may begin as one
        kept = operand in others or any(operand in values for values in self.node.varying)
        if not printer.needed(operand.id, held) and not kept:
            return held
        variable = printer.name_for(result, avoid=frozenset({held}))
        printer.names[result.id] = variable  # taken from here on
        printer.statements.append(ast.Assign([ast.Name(variable, ast.Store())], name(held)))
        return variable

    def fresh(self, index: int) -> str:
        """A name for what an iteration makes for later ones: as those call it that take it."""
        wanted: list[str] = []
        for body in self.node.bodies:
            param = body.params[index]
            if isinstance(param, Value):
                wanted += [*param.names, *name_hints(body).get(param.id, ())]
        short = SHORT_NAMES.get(wanted[0], wanted[0]) if wanted else "value"
        return self.printer.free_name([f"shared_{short}" if len(short) == 1 else short])

    def open(self, carried: list[str]) -> list[str]:
        """Statements that begin with nothing what only later iterations have; the variables that are carried then."""
        tables = {variable: shared.table for shared in self.shared for variable in shared.labels}
        held: dict[str, None] = {}
        for variable, operand in zip(carried, self.node.carried, strict=True):
            own = tables.get(variable, variable)
            if not isinstance(operand, Value) and own not in held:
                empty: ast.expr = ast.Dict([], []) if variable in tables else ast.Constant(None)
                self.printer.statements.append(ast.Assign([ast.Name(own, ast.Store())], empty))
            held[own] = None
        return list(held)

    def body(self, kind: int, carried: list[str], invariant: list[str]) -> list[ast.stmt]:
        region = self.node.bodies[kind]
        outer = {held for vid, held in self.printer.names.items()}
        ambient = held_names(self.writer.dialect, region)
        reserved = frozenset(
            {*outer, *ambient, "layer", *self.turn_of.values(), "self", *COUNTERS} - {*carried, *invariant}
        )
        has_total = "total" in ambients(region)
        if has_total:
            self.printer.bind_all()
        inner = BodyPrinter(region, self.scope, reserved, has_total=has_total)  # type: ignore[arg-type]
        params = [param for param in region.params if isinstance(param, Value)]
        varying = [self.printer.materialize(v) for v in self.node.varying[kind] if isinstance(v, Value)]
        for param, held in zip(params, [*carried, *invariant, *varying], strict=True):
            inner.names[param.id] = held
        for param in params[len(carried) :]:
            inner.last_use[param.id] = len(region.nodes) + 1  # the next iteration reads it too
        inner.names_at_entry.update(inner.names)
        for result, held in zip(region.results, carried, strict=True):
            if isinstance(result, Value):
                inner.prefer[result.id] = (held,)
        inner.run()
        results = inner.results()
        statements = inner.header() + inner.statements
        changed = [(h, r) for h, r in zip(carried, results, strict=True) if not (isinstance(r, ast.Name) and r.id == h)]
        if len(changed) == 1:
            statements.append(ast.Assign([ast.Name(changed[0][0], ast.Store())], changed[0][1]))
        elif changed:
            targets = ast.Tuple([ast.Name(h, ast.Store()) for h, _ in changed], ast.Store())
            statements.append(ast.Assign([targets], ast.Tuple([r for _, r in changed], ast.Load())))
        return statements

    # ------------------------------------------------------------------------------------------ kinds of layers

    def parts(self, groups: Sequence[Iterable[int]]) -> list[int | None]:
        """Which group of kinds each layer is of."""
        of = {kind: number for number, group in enumerate(groups) for kind in group}
        return [of.get(kind) for kind in self.node.kinds]

    def kept(self, kinds: LayerKinds) -> ast.expr:
        """`layer.kind`"""
        emitter, owner = self.writer.emitter, self.writer.plan
        for container, variable in self.turn_of.items():
            if emitter.items_of(owner, container):
                return ast.Attribute(name(variable), emitter.keep(owner, container, kinds), ast.Load())
        raise CompileError(
            Diagnostic("unknown-pattern", "modules of the library run in ways that differ by their number")
        )

    def share(self, bodies: list[list[ast.stmt]], carried: list[str]) -> None:
        """Variables that play the same role in bodies which are otherwise the same become a table by the kind of layer."""
        made = {v for v, operand in zip(carried, self.node.carried, strict=True) if not isinstance(operand, Value)}
        used = {v for v, result in zip(carried, self.node.results, strict=True) if self.printer.uses.get(result.id)}
        free = made - used
        for kinds, tables in self.tables(bodies):
            for names in tables:
                roles = dict(zip(names, (self.label(kinds, kind) for kind in tables[names]), strict=True))
                if set(names) <= free and len(roles) > 1 and not any(set(names) & set(s.labels) for s in self.shared):
                    self.shared.append(Shared(self.table_name(names), kinds, roles))
        for statements in bodies:
            for statement in statements:
                _Subscripts(self.shared, self.kept).visit(statement)

    def label(self, kinds: LayerKinds, kind: int) -> object:
        return kinds.labels[self.node.kinds.index(kind)]

    def table_name(self, names: Sequence[str]) -> str:
        taken = {shared.table for shared in self.shared}
        return _fresh(names[0].rstrip("0123456789"), taken)

    def tables(self, bodies: list[list[ast.stmt]]) -> Iterator[tuple[LayerKinds, dict[tuple[str, ...], list[int]]]]:
        """For bodies that differ in their variables alone: the question that tells them apart, and the variables of each role."""
        for kinds_alike in self.groups(bodies, list(range(len(bodies)))):
            same = _same(bodies, kinds_alike)
            group = [kinds[0] for kinds in same]
            trees = [ast.Module(bodies[kind], []) for kind in group]
            roles = {
                names: group
                for nodes in zip(*(ast.walk(tree) for tree in trees), strict=True)
                if len(set(names := tuple(n.id for n in nodes if isinstance(n, ast.Name)))) > 1
            }
            kinds = self.question(same) if roles else None
            if kinds is not None:
                yield kinds, roles

    def question(self, groups: Sequence[Sequence[int]]) -> LayerKinds | None:
        """The one question that tells groups of kinds apart; None if one is not enough."""
        decision = self.writer.emitter.patterns.decision(self.parts(groups))
        return decision.kinds if all(isinstance(arm, int) for _, arm in decision.arms) else None

    def groups(self, bodies: list[list[ast.stmt]], kinds: list[int]) -> list[list[int]]:
        """Kinds whose bodies differ in the names of variables alone."""
        found: dict[str, list[int]] = {}
        for kind in kinds:
            tables = {shared.table for shared in self.shared}
            found.setdefault(_shape(bodies[kind], tables, self.turn_of.values()), []).append(kind)
        return list(found.values())

    def merge(self, bodies: list[list[ast.stmt]], kinds: list[int]) -> list[ast.stmt]:
        """One body for several kinds: names that differ are looked up by the layer's kind, other differences are a branch."""
        same = _same(bodies, kinds)
        if len(same) == 1:
            return bodies[kinds[0]]
        groups = self.groups(bodies, kinds)
        asked = self.question(same) if len(groups) == 1 else None
        if asked is not None:
            first = [group[0] for group in same]
            labels = [list(dict.fromkeys(self.label(asked, k) for k in group)) for group in same]
            order = sorted(
                ((label, at) for at, own in enumerate(labels) for label in own),
                key=lambda pair: asked.labels.index(pair[0]),
            )
            merged = _lookup([bodies[k] for k in first], order, self.kept(asked))
            if merged is not None:
                tables, body = merged
                self.add(tables)
                return body
        if len(groups) == 1:
            groups = same

        def asks(asked: LayerKinds, label: object, then: list[ast.stmt], otherwise: list[ast.stmt]) -> list[ast.stmt]:
            return [ast.If(_is(self.kept(asked), label), then or [ast.Pass()], otherwise)]

        decision = self.writer.emitter.patterns.decision(self.parts(groups))
        return decided(decision, lambda group: self.merge(bodies, groups[group]), asks)

    def add(self, tables: list[ast.stmt]) -> None:
        """Tables before the loop; one that is there already is not written again."""
        known = set(lines(self.printer.statements))
        self.printer.statements += [table for table in tables if not set(lines([table])) <= known]

    # --------------------------------------------------------------------------------------------------- in Flax

    def flax(self, statements: list[ast.stmt], carried: list[str]) -> None:
        held = ", ".join(carried)
        state = carried[0] if len(carried) == 1 else f"({held})"
        several = len(self.turn_of) > 1
        item = "layers" if several else self.item
        items = f"[*{unparse(self.items())}]" if several else unparse(self.items())
        touches = any(keeps_state(body) for body in self.node.bodies)
        kv = "kv" if touches else "None"
        targets = f"{state}, kv" if touches else f"{state}, _"
        unread = "_, " if self.writer.emitter.all_count else ""
        index = f"{self.scope.counter}, " if self.scope.counts else unread
        single = statements[0] if len(statements) == 1 else None
        if (
            single is not None
            and isinstance(single, ast.Assign)
            and isinstance(single.value, ast.Call)
            and len(carried) == 1
            and touches
            and not several
        ):
            call = f"lambda {self.item}, {index}{state}, kv: {unparse(single.value)}"
            self.printer.statements += ast.parse(f"{targets} = run_layers({items}, {call}, {state}, {kv})").body
            return
        body = lines(statements)
        unpack = [f"{', '.join(self.turn_of.values())} = layers"] if several else []
        unpack += [f"{held} = state"] if len(carried) > 1 else []
        argument = "state" if len(carried) > 1 else state
        text = "\n".join(
            [
                f"def apply({item}, {index}{argument}, kv):",
                *("    " + line for line in [*unpack, *body]),
                f"    return {state}, kv",
            ]
        )
        self.printer.statements += ast.parse(text).body
        self.printer.statements += ast.parse(f"{targets} = run_layers({items}, apply, {state}, {kv})").body


class _Subscripts(ast.NodeTransformer):
    """Variables that are entries of a table as such."""

    def __init__(self, shared: Sequence[Shared], kept: object):
        self.shared, self.kept = shared, kept

    def visit_Name(self, node: ast.Name) -> ast.expr:
        for shared in self.shared:
            if node.id in shared.labels:
                return ast.Subscript(name(shared.table), literal(shared.labels[node.id]), node.ctx)
        return node


def _one_of(container: str) -> str:
    """What one of a list of modules is called."""
    text = container.rpartition(".")[2]
    return text.removesuffix("s") if len(text) > 2 and not text.endswith("ss") else text


def _same(bodies: list[list[ast.stmt]], kinds: Iterable[int]) -> list[list[int]]:
    """Kinds whose bodies read the same."""
    found: dict[tuple[str, ...], list[int]] = {}
    for kind in kinds:
        found.setdefault(tuple(lines(bodies[kind])), []).append(kind)
    return list(found.values())


def _shape(statements: list[ast.stmt], tables: set[str], items: Collection[str]) -> str:
    """What statements do, whatever their variables are called, but for the modules of a turn, `items`, and whichever entry of a
    table they take."""
    tree = copied(ast.Module(statements, []))
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=ast.Name(id=table), slice=ast.Constant()) if table in tables:
                node.slice = ast.Constant("_")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in items:
            node.id = "_"
    return ast.dump(tree)


def _is(subject: ast.expr, label: object) -> ast.expr:
    if isinstance(label, bool):
        return subject if label else ast.UnaryOp(ast.Not(), subject)
    return ast.Compare(subject, [ast.Eq()], [literal(label)])


def _lookup(
    bodies: list[list[ast.stmt]], order: list[tuple[object, int]], kind: ast.expr
) -> tuple[list[ast.stmt], list[ast.stmt]] | None:
    """The first body with `table[layer.kind]` where the bodies name different variables; None if they differ otherwise, or
    what they name plays different roles. `order` holds the kinds and the number of the body of each.
    """
    labels = [label for at in range(len(bodies)) for label, own in order if own == at]
    first, *others = [copied(ast.Module(body, [])) for body in bodies]
    changing = {  # a table is made before the loop: it would keep what these held then
        n.id
        for tree in (first, *others)
        for n in ast.walk(tree)
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    dumps = [[n for n in ast.walk(tree)] for tree in (first, *others)]
    if len({len(d) for d in dumps}) != 1:
        return None
    tables: dict[tuple[str, ...], str] = {}
    entries: set[int] = set()  # keys of tables that every body reads at its own kind
    for nodes in zip(*dumps, strict=True):
        if len({type(n) for n in nodes}) != 1:
            return None
        head = nodes[0]
        if isinstance(head, ast.Name):
            names = tuple(n.id for n in nodes if isinstance(n, ast.Name))
            if len(set(names)) > 1:
                if not isinstance(head.ctx, ast.Load) or not _is_one_role(names) or changing & set(names):
                    return None
                tables.setdefault(names, _fresh(f"{_common(names)}_by_kind", tables.values()))
        elif isinstance(head, ast.Constant):
            values = [n.value for n in nodes if isinstance(n, ast.Constant)]
            if values == labels and len(set(labels)) > 1:
                entries.add(id(head))
            elif len({repr(value) for value in values}) != 1:
                return None
        elif isinstance(head, ast.Attribute):
            if len({n.attr for n in nodes if isinstance(n, ast.Attribute)}) != 1:
                return None

    spread = [name for names in tables for name in set(names)]
    if len(spread) != len(set(spread)):
        return None  # what one kind takes in one place, another takes elsewhere

    class Rename(ast.NodeTransformer):
        def __init__(self) -> None:
            self.at = {
                id(nodes[0]): tuple(n.id for n in nodes)
                for nodes in zip(*dumps, strict=True)
                if isinstance(nodes[0], ast.Name)
            }

        def visit_Name(self, node: ast.Name) -> ast.expr:
            names = self.at.get(id(node), ())
            if len(set(names)) <= 1:
                return node
            return ast.Subscript(name(tables[names]), copied(kind), ast.Load())

        def visit_Constant(self, node: ast.Constant) -> ast.expr:
            return copied(kind) if id(node) in entries else node

    body = Rename().visit(first).body
    made = [
        ast.Assign(
            [ast.Name(table, ast.Store())],
            ast.Dict([literal(label) for label, _ in order], [name(names[at]) for _, at in order]),
        )
        for names, table in tables.items()
    ]
    return list(made), body


def _fresh(wanted: str, used: Iterable[str]) -> str:
    taken, number = set(used), 2
    while wanted in taken:
        wanted, number = f"{wanted.rstrip('0123456789')}{number}", number + 1
    return wanted


def _is_one_role(names: tuple[str, ...]) -> bool:
    """Whether variables are called alike, up to numbers or what they are of."""
    parts = [set(text.rstrip("0123456789").split("_")) for text in names]
    return bool(set.intersection(*parts))


def _common(names: tuple[str, ...]) -> str:
    """What the names of one role share: `mask` for full_mask and window_mask."""
    parts = [set(n.split("_")) for n in names]
    shared = [part for part in names[0].split("_") if all(part in p for p in parts)]
    return "_".join(shared) or names[0].rstrip("0123456789")


def literal(label: object) -> ast.expr:
    """What tells a kind of layers, as it is written."""
    return ast.parse(repr(label), mode="eval").body
