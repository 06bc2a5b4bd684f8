"""Helper functions beside the classes, and what a body needs from its caller beyond its parameters."""

from __future__ import annotations

import ast
import keyword
from collections.abc import Callable, Iterable, Iterator

from codegen.diagnostics import CompileError, Diagnostic
from codegen.lowering.absent import may_be_none
from codegen.lowering.components import is_statement, sizes_needed, statements_first
from codegen.lowering.dialect import AMBIENT, Dialect, attribute, lines, name, unparse
from codegen.lowering.numbers import Leaf
from codegen.lowering.printing import (
    ALL,
    BodyPrinter,
    holds_type,
    placed,
    print_apart,
    reads,
    reads_past,
    sized_parameters,
)
from codegen.lowering.recurrent import print_state, print_within
from codegen.lowering.syntax import Unspellable, dtype_syntax
from ir.expressions import Index, Key, Local
from ir.graph import (
    STATES,
    Branch,
    Call,
    DType,
    FunctionTarget,
    Loop,
    ModuleTarget,
    Node,
    Number,
    Op,
    Operand,
    Raised,
    Region,
    Scan,
    Value,
    operands_of,
    within,
)
from ir.ops import CREATES
from ir.records import dataclass, field

# ---------------------------------------------------------------------------------------------------- ambients


def ambients(region: Region, cached: dict[int, tuple[Region, tuple[str, ...]]] | None = None) -> tuple[str, ...]:
    """What the body of `region` needs from its caller beyond its parameters."""
    cached = _AMBIENTS if cached is None else cached
    known = cached.get(id(region))
    if known is not None and known[0] is region:
        return known[1]
    found: set[str] = set()
    holders = {p.dtype for p in region.params if isinstance(p, Value) and holds_type(p, p.dtype)}
    here = placed(region) is not None
    all_known = any(ALL in param.shape for param in sized_parameters(region))
    for node in region.nodes:
        if not isinstance(node, Loop) and reads_past(node.args):
            found.add("start")
        if not all_known and (
            reads(operands_of(node), ALL) or any("total" in ambients(body) for body in _bodies(node))
        ):
            found.add("total")
        match node:
            case Op(op, args):
                if op in ("cache_update", "state_append"):
                    found.add("cache")
                elif op in STATES:
                    found.add("state")
                if op == "last_only":
                    found.add("last_only")
                if op in CREATES and not here:
                    found.add("device")
                asked = set(_types(args if op != "state_read" else (node.results[0].dtype,)))
                if DType.MODEL not in holders and asked - holders:
                    found.add("dtype")
            case Call(_, inner):
                found |= _inherited(inner, holders, here)
            case Loop(bodies=bodies):
                for body in bodies:
                    found |= _inherited(body, holders, here)
            case Scan() | Branch():
                for inner in within(node):
                    found |= _inherited(inner, holders, here)
        holders |= {result.dtype for result in node.results if holds_type(result, result.dtype)}
        all_known = all_known or any(ALL in result.shape for result in node.results)
    out = tuple(a for a in AMBIENT if a in found)
    cached[id(region)] = (region, out)
    return out


_AMBIENTS: dict[int, tuple[Region, tuple[str, ...]]] = {}


def held_names(dialect: Dialect, region: Region) -> frozenset[str]:
    """What the cache is called in the body of `region`, if it is at hand there: no variable of the source may be called so."""
    if not {"cache", "state"} & {*ambients(region)}:
        return frozenset()
    return frozenset({"kv"} if dialect.functional_cache else {"cache"})


def keeps_state(region: Region) -> bool:
    """Whether the body reads or writes what is kept of the tokens before."""
    return not {"cache", "state"}.isdisjoint(ambients(region))


def _inherited(inner: Region, holders: set[DType], here: bool) -> set[str]:
    known = {"total", *({"dtype"} if DType.MODEL in holders else ()), *({"device"} if here else ())}
    return {a for a in ambients(inner) if a not in known}


def _bodies(node: Node) -> tuple[Region, ...]:
    match node:
        case Call(_, inner):
            return (inner,)
        case Loop(bodies=bodies):
            return bodies
        case _:
            return within(node)


def _types(operands: Iterable[Operand]) -> Iterator[DType]:
    """The types among operands that depend on that of the model."""
    for operand in operands:
        if operand is DType.MODEL or operand is DType.PROMOTED:
            yield operand
        if isinstance(operand, tuple):
            yield from _types(operand)


# --------------------------------------------------------------------------------------------------- functions


@dataclass
class Functions:
    """Helper functions by what they do; two bodies never share a name."""

    dialect: Dialect
    names: dict[str, list[tuple[Region, str]]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    reserved: set[str] = field(default_factory=set)
    extras: dict[str, tuple[str, ...]] = field(default_factory=dict)
    configured: set[str] = field(default_factory=set)  # helpers of constants that read the configuration
    unread: dict[int, frozenset[int]] = field(
        default_factory=dict
    )  # by the region's identity: numbers that no text takes

    def name_of(self, wanted: str, region: Region) -> str:
        """The name of the helper that does what `region` does; two regions that read the same are one helper."""
        base = wanted.lstrip("_").removeprefix("torch_") or "helper"  # there is no other implementation to tell it from
        if base in self.reserved or keyword.iskeyword(base):
            base += "_"
        known = self.names.setdefault(base, [])
        for other, unique in known:
            if other is region or other == region:
                self.unread[id(region)] = self.unread[id(other)]
                return unique
        text = self.write(region)
        for _, unique in known:
            if self.texts[unique] == f"def {unique}{text}":
                known.append((region, unique))
                return unique
        count = len({unique for _, unique in known})
        unique = base if count == 0 else f"{base}{count + 1}"
        known.append((region, unique))
        self.texts[unique] = f"def {unique}{text}"
        return unique

    def constant(self, wanted: str, region: Region, field_of: Callable[[Key], str], cfg: str) -> str:
        """A call of the helper that computes a tensor from the configuration."""
        base = wanted if wanted not in self.reserved else f"{wanted}_"
        known = self.names.setdefault(base, [])
        unique = next((u for other, u in known if other is region or other == region), "")
        if not unique:
            unique = base if not known else f"{base}{len(known) + 1}"
            known.append((region, unique))
        if unique not in self.texts:
            scope = ConstantScope(self, field_of)
            helpers = self.dialect.spelling_helpers
            _, body = print_apart(lambda names: BodyPrinter(region, scope, names | {"cfg"}), helpers)
            text = "\n".join(self.dialect.constant_lines(lines(body)))
            read = {node.id for statement in body for node in ast.walk(statement) if isinstance(node, ast.Name)}
            given = ["cfg: Config"] if "cfg" in read else []
            given += [f"{local}: {'int' if local == 'layer' else 'float'}" for local in scope.locals]
            self.texts[unique] = f"def {unique}({', '.join(given)}) -> {self.dialect.tensor}:\n{text}\n"
            self.extras[unique] = tuple(scope.locals)
            self.configured |= {unique} if "cfg" in read else set()
        owner = cfg.removesuffix("cfg")  # where the constant is computed after construction, what it takes was kept
        configured = [cfg] if unique in self.configured else []
        return f"{unique}({', '.join([*configured, *(owner + extra for extra in self.extras[unique])])})"

    def taken(self, wanted: str, region: Region) -> tuple[str, ...]:
        """What the helper of a constant takes beside the configuration."""
        known = self.names.get(wanted if wanted not in self.reserved else f"{wanted}_", [])
        return next((self.extras[u] for other, u in known if other is region or other == region), ())

    def write(self, region: Region) -> str:
        """The text of a helper after its name."""
        scope = FunctionScope(self)
        needed = ambients(region)

        def printer(helpers: frozenset[str]) -> BodyPrinter:
            reserved = frozenset(self.names) | helpers | held_names(self.dialect, region)
            return BodyPrinter(region, scope, reserved, has_dtype="dtype" in needed, has_total="total" in needed)

        params, body = print_apart(printer, self.dialect.spelling_helpers)
        read = {node.id for statement in body for node in ast.walk(statement) if isinstance(node, ast.Name)}
        numbers = [at for at, param in enumerate(region.params) if not isinstance(param, Value)]
        unread = frozenset(at for at in numbers if params[at] not in read)
        self.unread[id(region)] = unread
        taken = [text for at, text in enumerate(annotate(region, params, self.dialect)) if at not in unread]
        annotated = taken + annotate_ambients(ambients(region), self.dialect)
        returned = state_returned(self.dialect, region)
        if returned:
            return_state(body)
        result = self.dialect.result_annotation(len(region.results), returned)
        text = "\n".join("    " + line for line in lines(body))
        return f"({', '.join(annotated)}) -> {result}:\n{text}\n"


def annotate(region: Region, params: list[str], dialect: Dialect) -> list[str]:
    """Parameters with their types."""
    out = []
    for param, text in zip(region.params, params, strict=True):
        kind = dialect.tensor if isinstance(param, Value) else param.kind
        if isinstance(param, Value) and param.dtype is DType.BOOL and may_be_none(region, param):
            kind += " | None"  # a mask that says nothing
        out.append(f"{text}: {kind}" if kind else text)
    return out


def annotate_ambients(needed: Iterable[str], dialect: Dialect) -> list[str]:
    return [f"{text}: {dialect.ambient_types[text]}" for text in dialect.ambient_parameters(needed)]


@dataclass
class FunctionScope:
    """A helper function sees its parameters and other helpers."""

    functions: Functions

    @property
    def target(self) -> Dialect:
        return self.functions.dialect

    @property
    def sees_configuration(self) -> bool:
        return False

    @property
    def makes_constants(self) -> bool:
        return False

    def number(self, leaf: Leaf) -> ast.expr:
        if isinstance(leaf, Local):
            return name(leaf.name)
        raise Unspellable(f"a helper function reads {leaf}")

    def call(self, node: Call, args: list[ast.expr], printer: BodyPrinter) -> ast.expr:
        if isinstance(node.target, ModuleTarget):
            raise CompileError(
                Diagnostic(
                    "module-in-function",
                    f"`{node.target.path}` is called inside of a helper function",
                    help="teach inlining of such helpers",
                )
            )
        return call_function(self.functions, node, args, printer)

    def state(self, node: Call) -> str | None:
        return state(self.target, node)

    def component(self, node: Raised, printer: BodyPrinter) -> None:
        component(self.target, node, printer)

    def special(self, node: Op, printer: BodyPrinter) -> bool:
        return special(self.target, node, printer)

    def parameter(self, path: str) -> ast.expr:
        raise Unspellable(f"a helper function reads the parameter {path}")

    def loop(self, node: Loop, printer: BodyPrinter) -> None:
        raise CompileError(Diagnostic("module-in-function", "a helper function loops over modules"))

    def within(self, node: Scan | Branch, printer: BodyPrinter) -> None:
        print_within(self, node, printer)


@dataclass
class ConstantScope(FunctionScope):
    """The code that computes a constant sees the configuration, and what the constructor was given."""

    field_of: Callable[[Key], str]
    locals: dict[str, None] = field(default_factory=dict)

    @property
    def sees_configuration(self) -> bool:
        return True

    @property
    def makes_constants(self) -> bool:
        return True

    def number(self, leaf: Leaf) -> ast.expr:
        match leaf:
            case Key():
                return attribute(name("cfg"), self.field_of(leaf))
            case Index():
                self.locals["layer"] = None
                return name("layer")
            case Local(text):
                self.locals[text] = None
                return name(text)
            case _:
                raise AssertionError(f"{leaf} in a constant")


def call_function(functions: Functions, node: Call, args: list[ast.expr], printer: BodyPrinter) -> ast.expr:
    assert isinstance(node.target, FunctionTarget)
    callee = functions.name_of(node.target.name, node.region)
    unread = functions.unread[id(node.region)]
    args = [arg for at, arg in enumerate(args) if at not in unread]
    return ast.Call(name(callee), [*args, *passed_ambients(functions.dialect, node.region, printer)], [])


def passed_ambients(dialect: Dialect, region: Region, printer: BodyPrinter) -> list[ast.expr]:
    out: list[ast.expr] = []
    for ambient in ambients(region):
        if ambient == "dtype":
            holder = printer.holder_of(DType.MODEL)
            out.append(dtype_syntax(dialect.dtype_of(holder) if holder is not None else name("dtype")))
        elif ambient == "total":
            out.append(printer.dim(ALL))
        elif ambient == "device" and (place := printer.device()) is not None:
            out.append(place)
        else:
            given = {node.id for node in out if isinstance(node, ast.Name)}
            out += [name(text) for text in dialect.ambient_parameters([ambient]) if text not in given]
    return out


def state(dialect: Dialect, node: Call) -> str | None:
    """Flax hands the cache back; PyTorch writes into it."""
    return "kv" if dialect.functional_cache and keeps_state(node.region) else None


def state_returned(dialect: Dialect, region: Region) -> bool:
    """Whether the body hands the cache back beside its results."""
    return dialect.functional_cache and keeps_state(region)


def return_state(body: list[ast.stmt]) -> None:
    """Hand the cache back beside the result."""
    last = body[-1]
    assert isinstance(last, ast.Return) and last.value is not None
    values = last.value.elts if isinstance(last.value, ast.Tuple) else [last.value]
    last.value = ast.Tuple([*values, name("kv")], ast.Load())


def component(dialect: Dialect, node: Raised, printer: BodyPrinter) -> None:
    for value in statements_first(node):
        printer.materialize(value)
    args, weight = printer.arguments(node.args)
    expr = dialect.component(node.component, (*args, *(printer.number(size) for size in sizes_needed(node))))
    if is_statement(node.component):
        printer.assign(node.results[0], expr)
    else:
        printer.define(node.results, expr, weight + 1)


def special(dialect: Dialect, node: Op, printer: BodyPrinter) -> bool:
    """Operations that are statements: reading and writing the cache, keeping the last position alone."""
    if node.name == "last_only":
        (value,) = (operand for operand in node.args if isinstance(operand, Value))
        held = printer.materialize(value)
        printer.settle([held])
        printer.names.pop(value.id, None)
        printer.names[node.results[0].id] = held
        printer.statements += ast.parse(f"if last_only:\n    {held} = {held}[:, -1:]").body
        return True
    if node.name in STATES:
        print_state(dialect, node, printer)
        return True
    if node.name == "cache_update":
        keys, values, slot = node.args
        assert isinstance(keys, Value) and isinstance(values, Value) and isinstance(slot, Number)
        printer.settle_all()
        k, v = (printer.become(*pair) for pair in zip((keys, values), node.results, strict=True))
        if dialect.functional_cache:
            text = f"if kv is not None:\n    kv = update(kv, {k}, {v}, start)\n    {k}, {v} = {dialect.keys_and_values}"
        else:
            at = unparse(printer.number(slot.expr))
            text = f"if cache is not None:\n    {k}, {v} = cache.update({at}, {k}, {v})"
        printer.statements += ast.parse(text).body
        return True
    return False
