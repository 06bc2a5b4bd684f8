"""Loops over modules: a `for` in PyTorch, `run_layers` in Flax."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING

from codegen.lowering.dialect import attribute, lines, name, unparse
from codegen.lowering.functions import keeps_state
from codegen.lowering.printing import BodyPrinter
from ir.graph import Loop, Operand, Value

if TYPE_CHECKING:
    from codegen.lowering.emission import ClassWriter


class LoopWriter:
    """Prints a loop over modules: a `for` in PyTorch, `run_layers` in Flax."""

    def __init__(self, writer: ClassWriter, node: Loop, printer: BodyPrinter):
        self.writer, self.node, self.printer = writer, node, printer

    def write(self) -> None:
        node, printer = self.node, self.printer
        carried = [self.carry(index, operand) for index, operand in enumerate(node.carried)]
        invariant = [printer.materialize(value) for value in node.invariant if isinstance(value, Value)]
        bodies = [self.body(kind, carried, invariant) for kind in range(len(node.bodies))]
        statements = self.merge(bodies, node)
        if self.writer.dialect.functional_cache:
            self.flax(statements, carried)
        else:
            items = attribute(name("self"), node.container)
            printer.statements.append(ast.For(ast.Name("layer", ast.Store()), items, statements, []))
        for operand, result, held in zip(node.carried, node.results, carried, strict=True):
            if isinstance(operand, Value):
                printer.names.pop(operand.id, None)
            printer.release(held)
            printer.names[result.id] = held

    def carry(self, index: int, operand: Operand) -> str:
        assert isinstance(operand, Value)
        printer = self.printer
        held = printer.materialize(operand)
        if not printer.needed(operand.id, held) and operand not in self.node.invariant:
            return held
        result = self.node.results[index]
        fresh = printer.name_for(result)
        printer.statements.append(ast.Assign([ast.Name(fresh, ast.Store())], name(held)))
        return fresh

    def body(self, kind: int, carried: list[str], invariant: list[str]) -> list[ast.stmt]:
        region = self.node.bodies[kind]
        outer = {held for vid, held in self.printer.names.items()}
        inner = BodyPrinter(region, self.writer, frozenset({*outer, "layer", "self"} - {*carried, *invariant}))
        params = [param for param in region.params if isinstance(param, Value)]
        varying = [self.printer.materialize(v) for v in self.node.varying[kind] if isinstance(v, Value)]
        for param, held in zip(params, [*carried, *invariant, *varying], strict=True):
            inner.names[param.id] = held
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

    def merge(self, bodies: list[list[ast.stmt]], node: Loop) -> list[ast.stmt]:
        """One body for all kinds: names that differ are looked up by the layer's kind, other differences are a branch."""
        if len(bodies) == 1 or len({tuple(lines(body)) for body in bodies}) == 1:
            return bodies[0]
        kinds = self.writer.emitter.kinds_of(node.kinds)
        labels = [kinds.labels[node.kinds.index(kind)] for kind in range(len(bodies))]
        loop_kind = ast.Attribute(name("layer"), "kind", ast.Load())
        merged = _lookup(bodies, labels, loop_kind)
        if merged is not None:
            tables, body = merged
            self.printer.statements += tables
            return body
        branch: list[ast.stmt] = bodies[-1]
        for label, body in reversed(list(zip(labels, bodies, strict=True))[:-1]):
            branch = [ast.If(ast.Compare(loop_kind, [ast.Eq()], [literal(label)]), body, branch)]
        return branch

    def flax(self, statements: list[ast.stmt], carried: list[str]) -> None:
        held = ", ".join(carried)
        state = carried[0] if len(carried) == 1 else f"({held})"
        items = unparse(attribute(name("self"), self.node.container))
        touches = any(keeps_state(body) for body in self.node.bodies)
        kv = "kv" if touches else "None"
        targets = f"{state}, kv" if touches else f"{state}, _"
        single = statements[0] if len(statements) == 1 else None
        if (
            single is not None
            and isinstance(single, ast.Assign)
            and isinstance(single.value, ast.Call)
            and len(carried) == 1
            and touches
        ):
            text = f"{targets} = run_layers({items}, lambda layer, {state}, kv: {unparse(single.value)}, {state}, {kv})"
            self.printer.statements += ast.parse(text).body
            return
        body = lines(statements)
        unpack = [f"{held} = state"] if len(carried) > 1 else []
        argument = "state" if len(carried) > 1 else state
        text = "\n".join(
            [
                f"def apply(layer, {argument}, kv):",
                *("    " + line for line in [*unpack, *body]),
                f"    return {state}, kv",
            ]
        )
        self.printer.statements += ast.parse(text).body
        self.printer.statements += ast.parse(f"{targets} = run_layers({items}, apply, {state}, {kv})").body


def _lookup(
    bodies: list[list[ast.stmt]], labels: list[object], kind: ast.expr
) -> tuple[list[ast.stmt], list[ast.stmt]] | None:
    """The first body with `table[layer.kind]` where the bodies name different variables; None if they differ otherwise."""
    first, *others = [ast.Module(copy.deepcopy(body), []) for body in bodies]
    dumps = [[n for n in ast.walk(tree)] for tree in (first, *others)]
    if len({len(d) for d in dumps}) != 1:
        return None
    tables: dict[tuple[str, ...], str] = {}
    for nodes in zip(*dumps, strict=True):
        if len({type(n) for n in nodes}) != 1:
            return None
        head = nodes[0]
        if isinstance(head, ast.Name):
            names = tuple(n.id for n in nodes if isinstance(n, ast.Name))
            if len(set(names)) > 1:
                if not isinstance(head.ctx, ast.Load):
                    return None
                tables.setdefault(names, _fresh(f"{_common(names)}_by_kind", tables.values()))
        elif isinstance(head, ast.Constant):
            if len({repr(n.value) for n in nodes if isinstance(n, ast.Constant)}) != 1:
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
            return ast.Subscript(name(tables[names]), copy.deepcopy(kind), ast.Load())

    body = Rename().visit(first).body
    made = [
        ast.Assign(
            [ast.Name(table, ast.Store())],
            ast.Dict([literal(label) for label in labels], [name(n) for n in names]),
        )
        for names, table in tables.items()
    ]
    return list(made), body


def _fresh(wanted: str, used: Iterable[str]) -> str:
    taken, number = set(used), 2
    while wanted in taken:
        wanted, number = f"{wanted.rstrip('0123456789')}{number}", number + 1
    return wanted


def _common(names: tuple[str, ...]) -> str:
    """What the names of one role share: `mask` for full_mask and window_mask."""
    parts = [set(n.split("_")) for n in names]
    shared = [part for part in names[0].split("_") if all(part in p for p in parts)]
    return "_".join(shared) or names[0].rstrip("0123456789")


def literal(label: object) -> ast.expr:
    """What tells a kind of layers, as it is written."""
    return ast.parse(repr(label), mode="eval").body
