"""Classes, functions and the top model as source text, for one framework."""

from __future__ import annotations

import ast
import copy
import keyword
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from codegen.diagnostics import CompileError, Diagnostic
from codegen.lowering.classes import ClassPlan, Program
from codegen.lowering.instances import CONTAINERS, Instance, absolute, snake_case
from codegen.lowering.numbers import Leaf, to_syntax
from codegen.lowering.printing import BodyPrinter, Target, print_body, values_in
from ir.expressions import Const, Dim, Expr, Index, Key, Local, leaves
from ir.graph import (
    Call,
    DType,
    FunctionTarget,
    Loop,
    Module,
    ModuleTarget,
    Number,
    Op,
    Operand,
    Parameter,
    Region,
    Value,
)

AMBIENT = ("dtype", "cache", "last_only")  # what a body may need beyond its arguments, in this order


class Dialect(Target, Protocol):
    """How a framework writes classes; see torch_dialect.py and flax_dialect.py."""

    base: str
    forward: str
    functional_cache: bool

    def signature(self, plan: ClassPlan, scan: bool) -> list[str]: ...

    def constructor_tail(self) -> list[str]: ...

    def opening(self) -> list[str]: ...

    def layer(self, module: Module, number: Callable[[Operand], ast.expr]) -> str: ...

    def parameter_fill(self, parameter: Parameter, shape: list[str]) -> str: ...

    def module_list(self, items: str, kind: str) -> str: ...

    def ambient_parameters(self, ambient: Iterable[str]) -> list[str]: ...


def name(text: str) -> ast.Name:
    return ast.Name(text, ast.Load())


def attribute(owner: ast.expr, path: str) -> ast.expr:
    """`owner.a[0].b` for the path `a.0.b`."""
    for part in path.split("."):
        if part.isdigit():
            owner = ast.Subscript(owner, ast.Constant(int(part)), ast.Load())
        else:
            owner = ast.Attribute(owner, part, ast.Load())
    return owner


def unparse(node: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(copy.deepcopy(node)))


def lines(statements: list[ast.stmt]) -> list[str]:
    return [line for statement in statements for line in unparse(statement).splitlines()]


# ---------------------------------------------------------------------------------------------------- ambients


def ambients(region: Region, cached: dict[int, tuple[Region, tuple[str, ...]]] | None = None) -> tuple[str, ...]:
    """What the body of `region` needs from its caller beyond its parameters."""
    cached = _AMBIENTS if cached is None else cached
    known = cached.get(id(region))
    if known is not None and known[0] is region:
        return known[1]
    found: set[str] = set()
    holders = any(isinstance(p, Value) and p.dtype is DType.MODEL for p in region.params)
    for node in region.nodes:
        match node:
            case Op(op, args):
                if op == "cache_update":
                    found.add("cache")
                if op == "last_only":
                    found.add("last_only")
                if not holders and _names_model_dtype(args):
                    found.add("dtype")
            case Call(_, inner):
                found |= _inherited(inner, holders)
            case Loop(bodies=bodies):
                for body in bodies:
                    found |= _inherited(body, holders)
        holders = holders or any(result.dtype is DType.MODEL for result in node.results)
    out = tuple(a for a in AMBIENT if a in found)
    cached[id(region)] = (region, out)
    return out


_AMBIENTS: dict[int, tuple[Region, tuple[str, ...]]] = {}


def _inherited(inner: Region, holders: bool) -> set[str]:
    return {a for a in ambients(inner) if a != "dtype" or not holders}


def _names_model_dtype(operands: Iterable[Operand]) -> bool:
    for operand in operands:
        if operand is DType.MODEL or operand is DType.PROMOTED:
            return True
        if isinstance(operand, tuple) and _names_model_dtype(operand):
            return True
    return False


# --------------------------------------------------------------------------------------------------- functions


@dataclass
class Functions:
    """Helper functions by what they do; two bodies never share a name."""

    dialect: Dialect
    names: dict[str, list[Region]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    reserved: set[str] = field(default_factory=set)

    def name_of(self, wanted: str, region: Region) -> str:
        base = wanted.lstrip("_") or "helper"
        if base in self.reserved or keyword.iskeyword(base):
            base += "_"
        known = self.names.setdefault(base, [])
        for number, other in enumerate(known, 1):
            if other is region or other == region:
                return base if number == 1 else f"{base}{number}"
        known.append(region)
        unique = base if len(known) == 1 else f"{base}{len(known)}"
        self.texts[unique] = ""  # keeps callees first: the text follows when its own callees are written
        del self.texts[unique]
        self.texts[unique] = self.write(unique, region)
        return unique

    def write(self, unique: str, region: Region) -> str:
        scope = FunctionScope(self)
        params, body = print_body(BodyPrinter(region, scope, frozenset({unique, *self.names})))
        params += self.dialect.ambient_parameters(ambients(region))
        text = "\n".join("    " + line for line in lines(body))
        return f"def {unique}({', '.join(params)}):\n{text}\n"


@dataclass
class FunctionScope:
    """A helper function sees its parameters and other helpers."""

    functions: Functions

    @property
    def target(self) -> Dialect:
        return self.functions.dialect

    def number(self, leaf: Leaf) -> ast.expr:
        if isinstance(leaf, Local):
            return name(leaf.name)
        raise AssertionError(f"a helper function reads {leaf}")

    def call(self, node: Call, args: list[ast.expr], printer: BodyPrinter) -> ast.expr:
        if isinstance(node.target, ModuleTarget):
            raise CompileError(
                Diagnostic("module-in-function", f"`{node.target.path}` is called inside of a helper function", help="teach inlining of such helpers")
            )
        return call_function(self.functions, node, args, printer)

    def special(self, node: Op, printer: BodyPrinter) -> bool:
        return special(self.target, node, printer)

    def loop(self, node: Loop, printer: BodyPrinter) -> None:
        raise CompileError(Diagnostic("module-in-function", "a helper function loops over modules"))


def call_function(functions: Functions, node: Call, args: list[ast.expr], printer: BodyPrinter) -> ast.expr:
    assert isinstance(node.target, FunctionTarget)
    callee = functions.name_of(node.target.name, node.region)
    return ast.Call(name(callee), [*args, *passed_ambients(functions.dialect, node.region, printer)], [])


def passed_ambients(dialect: Dialect, region: Region, printer: BodyPrinter) -> list[ast.expr]:
    out: list[ast.expr] = []
    for ambient in ambients(region):
        if ambient == "dtype":
            holder = printer.holder_of(DType.MODEL)
            rendered = dialect.dtype_of(holder) if holder is not None else name("dtype")
            out.append(rendered if isinstance(rendered, ast.expr) else dtype_expr(rendered))
        else:
            out += [name(text) for text in dialect.ambient_parameters([ambient])]
    return out


def dtype_expr(rendered: object) -> ast.expr:
    value = getattr(rendered, "expr", None)
    assert isinstance(value, ast.expr)
    return ast.Attribute(value, "dtype", ast.Load())


def special(dialect: Dialect, node: Op, printer: BodyPrinter) -> bool:
    """Operations that are statements: reading and writing the cache, keeping the last position alone."""
    if node.name == "last_only":
        (value,) = (operand for operand in node.args if isinstance(operand, Value))
        held = printer.materialize(value)
        printer.names.pop(value.id, None)
        printer.names[node.results[0].id] = held
        printer.statements += ast.parse(f"if last_only:\n    {held} = {held}[:, -1:]").body
        return True
    if node.name == "cache_update":
        key, value, slot = node.args
        assert isinstance(key, Value) and isinstance(value, Value) and isinstance(slot, Number)
        names = [printer.materialize(key), printer.materialize(value)]
        for operand, result, held in zip((key, value), node.results, names, strict=True):
            printer.names.pop(operand.id, None)
            printer.names[result.id] = held
        k, v = names
        if dialect.functional_cache:
            text = f"if kv is not None:\n    kv = update(*kv, {k}, {v}, start)\n    {k}, {v} = kv"
        else:
            at = unparse(printer.number(slot.expr))
            text = f"if cache is not None:\n    {k}, {v} = cache.update({at}, {k}, {v})"
        printer.statements += ast.parse(text).body
        return True
    return False


# ------------------------------------------------------------------------------------------------------ classes


@dataclass
class Kinds:
    """What tells the layers of a list apart: an expression over cfg that yields one label per layer."""

    sequence: str  # "cfg.layer_types"
    labels: tuple[object, ...]  # of each layer of the compiled checkpoint


@dataclass
class Emitter:
    """Prints the classes of one program."""

    program: Program
    dialect: Dialect
    fields: dict[tuple[str | int, ...], str]  # configuration path -> field of Config
    count_of: Callable[[str, int], str]  # path of a module list, its length -> expression over cfg
    kinds_of: Callable[[tuple[int, ...]], Kinds]  # partition of the layers -> what tells them apart
    functions: Functions = field(init=False)
    item_kinds: dict[int, Kinds] = field(default_factory=dict)  # class -> what its instances call their kind

    def __post_init__(self) -> None:
        self.note_kinds()
        reserved = {"update", "run_layers", "stack_layers", "causal_mask", "additive_mask", "Model", "Cache"}
        self.functions = Functions(self.dialect, reserved=reserved)

    def classes(self) -> list[str]:
        """The text of every class but the top one, callees first."""
        return [ClassWriter(self, made).text() for made in self.program.plans if made is not self.program.top]

    def top(self) -> tuple[list[str], list[str]]:
        """Lines of the top model's `__init__` (after cfg is kept) and of its `_run`."""
        writer = ClassWriter(self, self.program.top)
        return writer.init_lines(top=True), writer.method_lines("forward", self.program.top.example.methods["forward"][0])[1]

    def note_kinds(self) -> None:
        """Layers whose loop treats them by kind know their kind, so their class needs the layer's index."""
        for made in self.program.plans:
            loops = [n for rs in made.example.methods.values() for r in rs for n in r.nodes if isinstance(n, Loop)]
            for loop in loops:
                if len(loop.bodies) == 1:
                    continue
                kinds = self.kinds_of(loop.kinds)
                prefix = f"{made.instances[0].path}.{loop.container}".lstrip(".")
                for item in {id(p): p for path, p in self.program.by_path.items() if path.rpartition(".")[0] == prefix}.values():
                    item.needs_layer = True
                    self.item_kinds[id(item)] = kinds

    def field(self, leaf: Key) -> str:
        if leaf.path not in self.fields:
            raise CompileError(Diagnostic("unknown-field", f"no field of Config holds {'.'.join(map(str, leaf.path))}"))
        return self.fields[leaf.path]


class ClassWriter:
    """Prints one class: what its methods read decides what its constructor keeps."""

    def __init__(self, emitter: Emitter, made: ClassPlan):
        self.emitter, self.plan, self.dialect = emitter, made, emitter.dialect
        self.kept: dict[str, str] = {}  # attribute -> expression in __init__
        self.buffers = {p.name: p for p in made.example.module.parameters if p.fill is not None and not p.persistent}

    @property
    def target(self) -> Dialect:
        return self.dialect

    # ------------------------------------------------------------------------------------------------ text

    def text(self) -> str:
        methods = []
        for method, regions in self.plan.example.methods.items():
            for number, region in enumerate(regions):
                params, body = self.method_lines(method, region)
                printed = self.method_name(method, number)
                head = f"    def {printed}({', '.join(['self', *params])}):"
                methods.append("\n".join([head, *("        " + line for line in body)]))
        init = self.init_lines()
        scan = holds_layers(self.plan, self.emitter.program)
        signature = ", ".join(self.dialect.signature(self.plan, scan))
        opening = self.dialect.opening()
        out = [f"class {self.plan.name}({self.dialect.base}):", f"    def __init__({signature}):"]
        body = [*opening, *init] or ["pass"]
        out += ["        " + line for line in body]
        return "\n".join(out) + "".join("\n\n" + method for method in methods) + "\n"

    def method_name(self, method: str, number: int) -> str:
        base = self.dialect.forward if method == "forward" else method
        if number == 0:
            return base
        return f"{'forward' if method == 'forward' else method}{number + 1}"

    def method_lines(self, method: str, region: Region) -> tuple[list[str], list[str]]:
        printer = BodyPrinter(region, self, frozenset({"self", "cfg"}))
        params, body = print_body(printer)
        needed = ambients(region)
        params += self.dialect.ambient_parameters(needed)
        if self.dialect.functional_cache and "cache" in needed:
            _return_state(body)
        return params, lines(body)

    def init_lines(self, top: bool = False) -> list[str]:
        example = self.plan.example
        out: list[str] = []
        kinds = self.emitter.item_kinds.get(id(self.plan))
        if kinds is not None:
            out.append(f"self.kind = {kinds.sequence}[layer]")
        for attribute_name, expr in self.kept.items():
            out.append(f"self.{attribute_name} = {expr}")
        for parameter in example.module.parameters:
            if parameter.name in self.buffers:
                out += self.buffer_lines(parameter)
            else:
                shape = [unparse(to_syntax(size, self.init_leaf)) for size in parameter.shape]
                out.append(f"self.{parameter.name} = {self.dialect.parameter_fill(parameter, shape)}")
        for child_name, child in example.module.children:
            made = self.child(child_name, child)
            if made:
                out.append(f"self.{child_name} = {made}")
        return out

    def buffer_lines(self, parameter: Parameter) -> list[str]:
        return []

    # ------------------------------------------------------------------------------------------- construction

    def init_leaf(self, leaf: Leaf) -> ast.expr:
        match leaf:
            case Key():
                return attribute(name("cfg"), self.emitter.field(leaf))
            case Index():
                return name("layer")
            case Local(text):
                return name(text)
            case _:
                raise AssertionError(f"{leaf} while a module is made")

    def init_number(self, operand: Operand) -> ast.expr:
        match operand:
            case Number(expr):
                return to_syntax(expr, self.init_leaf)
            case None:
                return ast.Constant(None)
            case tuple():
                return ast.Tuple([self.init_number(item) for item in operand], ast.Load())
            case _:
                raise AssertionError(f"{operand} as an argument of a layer")

    def child(self, child_name: str, child: Module) -> str:
        where = f"{self.plan.instances[0].path}.{child_name}".lstrip(".")
        if where in self.emitter.program.by_path:
            return self.construct(where)
        if child.kind in CONTAINERS:
            return self.container(where, child)
        instance = self.emitter.program.instances[where]
        if not instance.methods and not child.parameters:
            return ""
        return self.dialect.layer(child, self.init_number)

    def construct(self, where: str, layer: str = "layer") -> str:
        made = self.emitter.program.by_path[where]
        args = ["cfg"]
        mine = self.plan.instances[0]
        own = dict(zip(self.plan.arguments[mine.path], self.plan.parameters, strict=True))
        for expr in made.arguments[where]:
            if expr in own:
                args.append(own[expr])
            else:
                args.append(unparse(to_syntax(expr, self.init_leaf)))
        if made.needs_layer:
            args.insert(1, layer)
        if holds_layers(made, self.emitter.program) and self.dialect.functional_cache:
            args.append("scan_layers=scan_layers")
        return f"{made.name}({', '.join([*args, *self.dialect.constructor_tail()])})"

    def container(self, where: str, child: Module) -> str:
        if child.kind == "ModuleDict":
            items = []
            for child_name, grandchild in child.children:
                made = self.child(f"{where[len(self.plan.instances[0].path) :].lstrip('.')}.{child_name}", grandchild)
                items.append(f"{child_name!r}: {made}")
            return f"{self.dialect.module_list('{' + ', '.join(items) + '}', 'dict')}"
        texts = []
        for index, (child_name, grandchild) in enumerate(child.children):
            inner = f"{where}.{child_name}"
            if inner in self.emitter.program.by_path:
                texts.append(self.construct(inner))
            elif grandchild.kind in CONTAINERS:
                texts.append(self.container(inner, grandchild))
            else:
                texts.append(self.dialect.layer(grandchild, self.init_number))
        if not texts:
            return self.dialect.module_list("[]", "list")
        if all(text == texts[0] for text in texts):
            count = self.emitter.count_of(where, len(texts))
            return self.dialect.module_list(f"{texts[0]} for layer in range({count})", "layers")
        partition = tuple(list(dict.fromkeys(texts)).index(text) for text in texts)
        kinds = self.emitter.kinds_of(partition)
        return self.dialect.module_list(_by_kind(texts, kinds), "layers")

    # ------------------------------------------------------------------------------------------------ scope

    def number(self, leaf: Leaf) -> ast.expr:
        match leaf:
            case Key():
                text = self.emitter.field(leaf)
                if self.plan is self.emitter.program.top:
                    return attribute(name("self"), f"cfg.{text}")
                self.kept[text] = f"cfg.{text}"
                return attribute(name("self"), text)
            case Index():
                self.kept["layer"] = "layer"
                return attribute(name("self"), "layer")
            case Local(text):
                self.kept[text] = text
                return attribute(name("self"), text)
            case _:
                raise AssertionError(f"{leaf} in a method")

    def call(self, node: Call, args: list[ast.expr], printer: BodyPrinter) -> ast.expr:
        if isinstance(node.target, FunctionTarget):
            return call_function(self.emitter.functions, node, args, printer)
        callee = self.callee(node.target, node.region)
        return ast.Call(callee, [*args, *passed_ambients(self.dialect, node.region, printer)], [])

    def callee(self, target: ModuleTarget, region: Region) -> ast.expr:
        path = target.path
        if path.startswith("^"):
            raise CompileError(Diagnostic("foreign-module", f"`{path[1:]}` is called from a module that does not hold it"))
        owner = self.item(path)
        where = absolute(path.replace("{}", "0"), self.plan.instances[0].path)
        instance = self.emitter.program.instances.get(where)
        number = _variant(instance, target.method, region) if instance is not None else 0
        if target.method == "forward" and number == 0 and path:
            return owner
        return ast.Attribute(owner, self.method_name(target.method, number), ast.Load())

    def item(self, path: str) -> ast.expr:
        """`self.path`, or the variable of the loop for a path with `{}`."""
        if "{}" in path:
            _, _, rest = path.partition("{}")
            return attribute(name("layer"), rest[1:]) if rest else name("layer")
        return attribute(name("self"), path) if path else name("self")

    def special(self, node: Op, printer: BodyPrinter) -> bool:
        return special(self.dialect, node, printer)

    def loop(self, node: Loop, printer: BodyPrinter) -> None:
        LoopWriter(self, node, printer).write()


def _variant(instance: Instance, method: str, region: Region) -> int:
    for number, other in enumerate(instance.methods.get(method, [])):
        if other is region or other == region:
            return number
    return 0


def _by_kind(texts: list[str], kinds: Kinds) -> str:
    """`A(cfg, layer) if kind == "a" else B(cfg, layer) for layer, kind in enumerate(...)`."""
    options = dict(zip(kinds.labels, texts, strict=True))
    items = list(options.items())
    text = items[-1][1]
    for label, made in reversed(items[:-1]):
        text = f"{made} if kind == {label!r} else {text}"
    return f"{text} for layer, kind in enumerate({kinds.sequence})"


def holds_layers(made: ClassPlan, program: Program) -> bool:
    """Whether a loop over modules runs in this class or below it, outside of lists."""
    for regions in made.example.methods.values():
        if any(isinstance(node, Loop) for region in regions for node in region.nodes):
            return True
    return any(holds_layers(child, program) for where, child in made.children.items() if not any(p.isdigit() for p in where.split(".")))


def _return_state(body: list[ast.stmt]) -> None:
    """Hand the cache back beside the result."""
    last = body[-1]
    assert isinstance(last, ast.Return) and last.value is not None
    values = last.value.elts if isinstance(last.value, ast.Tuple) else [last.value]
    last.value = ast.Tuple([*values, name("kv")], ast.Load())


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
        inner.run()
        results = inner.results()
        statements = inner.header() + inner.statements
        targets: list[ast.expr] = [ast.Name(held, ast.Store()) for held in carried]
        if self.writer.dialect.functional_cache and "cache" in ambients(region):
            targets.append(ast.Name("kv", ast.Store()))
        value = results[0] if len(results) == 1 else ast.Tuple(results, ast.Load())
        if len(targets) > len(results):
            if len(results) == 1 and isinstance(value, ast.Call):
                statements.append(ast.Assign([ast.Tuple(targets, ast.Store())], value))
            else:
                value = ast.Tuple([*results, name("kv")], ast.Load())
                statements.append(ast.Assign([ast.Tuple(targets, ast.Store())], value))
        elif len(targets) == 1:
            if not (isinstance(value, ast.Name) and value.id == carried[0]):
                statements.append(ast.Assign(targets, value))
        else:
            statements.append(ast.Assign([ast.Tuple(targets, ast.Store())], value))
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
            branch = [ast.If(ast.Compare(loop_kind, [ast.Eq()], [ast.Constant(label)]), body, branch)]
        return branch

    def flax(self, statements: list[ast.stmt], carried: list[str]) -> None:
        held = ", ".join(carried)
        state = carried[0] if len(carried) == 1 else f"({held})"
        items = unparse(attribute(name("self"), self.node.container))
        touches = any("cache" in ambients(body) for body in self.node.bodies)
        kv = "kv" if touches else "None"
        targets = f"{state}, kv" if touches else f"{state}, _"
        single = statements[0] if len(statements) == 1 else None
        if single is not None and isinstance(single, ast.Assign) and isinstance(single.value, ast.Call) and len(carried) == 1 and touches:
            text = f"{targets} = run_layers({items}, lambda layer, {state}, kv: {unparse(single.value)}, {state}, {kv})"
            self.printer.statements += ast.parse(text).body
            return
        body = lines(statements)
        unpack = [f"{held} = state"] if len(carried) > 1 else []
        argument = "state" if len(carried) > 1 else state
        text = "\n".join([f"def apply(layer, {argument}, kv):", *("    " + line for line in [*unpack, *body]), f"    return {state}, kv"])
        self.printer.statements += ast.parse(text).body
        self.printer.statements += ast.parse(f"{targets} = run_layers({items}, apply, {state}, {kv})").body


def _lookup(bodies: list[list[ast.stmt]], labels: list[object], kind: ast.expr) -> tuple[list[ast.stmt], list[ast.stmt]] | None:
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
                tables.setdefault(names, f"{_common(names)}_by_kind")
        elif isinstance(head, ast.Constant):
            if len({repr(n.value) for n in nodes if isinstance(n, ast.Constant)}) != 1:
                return None
        elif isinstance(head, ast.Attribute):
            if len({n.attr for n in nodes if isinstance(n, ast.Attribute)}) != 1:
                return None

    class Rename(ast.NodeTransformer):
        def __init__(self) -> None:
            self.at = {id(nodes[0]): tuple(n.id for n in nodes) for nodes in zip(*dumps, strict=True) if isinstance(nodes[0], ast.Name)}  # type: ignore[attr-defined]

        def visit_Name(self, node: ast.Name) -> ast.expr:
            names = self.at.get(id(node), ())
            if len(set(names)) <= 1:
                return node
            return ast.Subscript(name(tables[names]), copy.deepcopy(kind), ast.Load())

    body = Rename().visit(first).body
    made = [
        ast.Assign([ast.Name(table, ast.Store())], ast.Dict([ast.Constant(label) for label in labels], [name(n) for n in names]))
        for names, table in tables.items()
    ]
    return list(made), body


def _common(names: tuple[str, ...]) -> str:
    """What the names of one role share: `mask` for full_mask and window_mask."""
    parts = [set(n.split("_")) for n in names]
    shared = [part for part in names[0].split("_") if all(part in p for p in parts)]
    return "_".join(shared) or names[0].rstrip("0123456789")


__all__ = ["Const", "Dim", "Emitter", "Expr", "Kinds", "leaves", "snake_case", "values_in"]
