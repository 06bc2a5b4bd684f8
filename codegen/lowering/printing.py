"""A region as the statements of one function. Names are the source's, chosen when a statement is written, by liveness."""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from codegen.diagnostics import CompileError, Diagnostic, Label
from codegen.lowering.absent import may_be_none
from codegen.lowering.numbers import Leaf, apply_syntax, to_syntax
from codegen.lowering.syntax import Unspellable, copied, expressions_in, stored
from ir.expressions import Apply, Const, Dim, Expr, Index, Key, Local, Raw, leaves, substitute
from ir.graph import (
    Branch,
    Call,
    DType,
    DTypeOf,
    Ellipsis_,
    Loop,
    ModuleTarget,
    Node,
    Number,
    Op,
    Operand,
    Raised,
    Region,
    Scan,
    SliceOf,
    Value,
    operands_of,
    values_in,
    within,
)
from ir.ops import CREATES, DATA_DEPENDENT, FRESH, OPS
from ir.records import dataclass, field, replace

# The names that the field uses, for those that model code spells out
RESHAPES = frozenset({"transpose", "permute", "reshape", "unsqueeze", "stack", "expand"})
"""Operations that move axes or change their number."""
SHORT_NAMES = {
    "hidden_states": "x",
    "hidden_state": "x",
    "inputs_embeds": "x",
    "last_hidden_state": "x",
    "input_ids": "ids",
    "position_ids": "positions",
    "query_states": "q",
    "query_layer": "q",
    "query": "q",
    "key_states": "k",
    "key_layer": "k",
    "key": "k",
    "value_states": "v",
    "value_layer": "v",
    "value": "v",
    "attn_output": "out",
    "attn_outputs": "out",
    "attention_output": "out",
    "context_layer": "out",
    "attn_weights": "scores",
    "attention_scores": "scores",
    "attention_probs": "probs",
    "causal_mask": "mask",
    "attention_mask": "mask",
    "input": "x",
    "current_hidden_states": "h",
    "final_hidden_states": "out",
    "q_embed": "q",
    "k_embed": "k",
}
# What the results of operations are called that have no name in the source
NOUNS = {
    "arange": "steps",
    "cat": "joined",
    "gather": "picked",
    "index_select": "picked",
    "matmul": "product",
    "mean": "mean",
    "softmax": "weights",
    "stack": "stacked",
    "sum": "total",
    "var": "variance",
}
NORM = re.compile(r"norm|^ln(_|$)")  # in the name of a module that normalises
MAX_INLINE = 4  # operations in one expression
MAX_NAMELESS = 8  # and in one that nothing has a name for
NAMELESS = "h"
WIDTH = 100
PAST = Dim("P")  # how many tokens are in the cache: `start` where it is read
NEW, ALL = Dim("T"), Dim("S")


class Target(Protocol):
    """What differs between frameworks."""

    repeats: Mapping[str, tuple[str, ...]]  # operation -> parameters that its spelling mentions more than once
    writes_in_place: bool
    places: bool  # tensors lie on a device that must be said where they are made out of nothing

    def spell(self, op: str, args: tuple[object, ...], device: ast.expr | None = None) -> ast.expr: ...

    def settles(self, node: Op) -> bool:
        """Whether the result needs a cast to be of the type it has in the source."""

    def parameter(self, path: str, constant: bool = False) -> ast.expr: ...

    def dtype_of(self, value: ast.expr) -> object: ...

    def letter(self, size: Expr) -> str: ...

    def promoted(self, dtype: object) -> ast.expr:
        """A type, or float32 if that holds more."""


class Scope(Protocol):
    """What the surrounding class or module knows."""

    @property
    def target(self) -> Target: ...

    @property
    def sees_configuration(self) -> bool: ...

    @property
    def makes_constants(self) -> bool: ...

    def number(self, leaf: Leaf) -> ast.expr:
        """A configuration key, layer index or parameter as it is spelled in this body."""

    def call(self, node: Call, args: list[ast.expr], printer: BodyPrinter) -> ast.expr:
        """A call of a module, method or function."""

    def state(self, node: Call) -> str | None:
        """The variable of the state that a call hands back beside its results, if it does."""

    def component(self, node: Raised, printer: BodyPrinter) -> None:
        """Print a component of the field."""

    def special(self, node: Op, printer: BodyPrinter) -> bool:
        """Print an operation that is a statement of its own (cache, masks); whether it did."""

    def parameter(self, path: str) -> ast.expr:
        """A parameter or constant of the module, by its path from it."""

    def loop(self, node: Loop, printer: BodyPrinter) -> None:
        """Print a loop over modules."""

    def within(self, node: Scan | Branch, printer: BodyPrinter) -> None:
        """Print a loop over time, or a branch."""


@dataclass(slots=True)
class Pending:
    """An expression that is not a statement yet, with the number of operations in it."""

    expr: ast.expr
    weight: int


@dataclass
class BodyPrinter:
    """Prints the nodes of one region into `statements`."""

    region: Region
    scope: Scope
    reserved: frozenset[str] = frozenset()
    statements: list[ast.stmt] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)  # value id -> the variable that holds it
    pending: dict[int, Pending] = field(default_factory=dict)
    prefer: dict[int, tuple[str, ...]] = field(default_factory=dict)  # names that a value should have if it can
    given: tuple[str, ...] = ()  # names of the parameters, where the caller fixes them
    has_dtype: bool = True  # the type of the model is a variable at hand, if it is needed
    has_total: bool = False  # how many tokens there are in all is a variable at hand
    sized: tuple[Value, ...] = field(init=False)  # the parameters whose shapes can be read: a mask may be None

    def __post_init__(self) -> None:
        self.sized = sized_parameters(self.region)
        self.uses: dict[int, int] = {}
        self.last_use: dict[int, int] = {}
        self.hints = name_hints(self.region)
        self.values = {v.id: v for v in self.region.params if isinstance(v, Value)}
        self.values |= {result.id: result for node in self.region.nodes for result in node.results}
        self.makers = {r.id: node.name for node in self.region.nodes if isinstance(node, Op) for r in node.results}
        self.nouns: dict[int, str] = {}
        for node in self.region.nodes:
            if (noun := noun_for(node, self.nouns)) is not None:
                self.nouns[node.results[0].id] = noun
        for at, node in enumerate(self.region.nodes):
            for value in values_in(operands_of(node)):
                self.uses[value.id] = self.uses.get(value.id, 0) + 1
                self.last_use[value.id] = at
        for value in values_in(self.region.results):
            self.uses[value.id] = self.uses.get(value.id, 0) + 1
            self.last_use[value.id] = len(self.region.nodes)
        self.keep_dtype_holder()
        self.named_numbers = named_numbers(self.region)
        self.at = -1
        self.dims_header: dict[str, tuple[str, int]] = {ALL.name: (ALL.name, 0)} if self.has_total else {}
        self.used_dims: list[str] = []

    def keep_dtype_holder(self) -> None:
        """A parameter that has the type of the model keeps its name as long as a cast asks for that type."""
        for dtype in (DType.MODEL, DType.PROMOTED):
            holder = next((p for p in self.region.params if isinstance(p, Value) and holds_type(p, dtype)), None)
            asking = [
                at
                for at, node in enumerate(self.region.nodes)
                if isinstance(node, Op) and (names_dtype(node.args, dtype) or reads_state(node, dtype))
            ]
            if holder is not None and asking:
                self.last_use[holder.id] = max(self.last_use.get(holder.id, -1), asking[-1])

    # ---------------------------------------------------------------------------------------------- parameters

    def parameters(self) -> list[str]:
        """Names for the parameters of the function, in order."""
        out = []
        if self.given:
            self.names |= {p.id: n for p, n in zip(self.region.params, self.given, strict=True) if isinstance(p, Value)}
            return list(self.given)
        for param in self.region.params:
            if isinstance(param, Number):
                out.append(param.names[0])
                continue
            name = self.free_name(self.candidates(param))
            self.names[param.id] = name
            out.append(name)
        return out

    # ------------------------------------------------------------------------------------------------- printing

    def run(self) -> None:
        for at, node in enumerate(self.region.nodes):
            self.at = at
            match node:
                case Op("parameter", (Number(Const(str() as path)),), (result,)):
                    self.pending[result.id] = Pending(self.scope.parameter(path), 0)
                case Op():
                    if not self.scope.special(node, self):
                        self.op(node)
                case Call():
                    self.call(node)
                case Raised():
                    self.scope.component(node, self)
                case Loop():
                    self.scope.loop(node, self)
                case Scan() | Branch():
                    self.scope.within(node, self)
        self.at = len(self.region.nodes)

    def op(self, node: Op) -> None:
        target = self.scope.target
        if node.name == "setitem" and target.writes_in_place:
            self.write(node)
            return
        for param in target.repeats.get(node.name, ()):
            for value in values_in((node.args[OPS[node.name].position(param)],)):
                self.materialize(value)
        if node.name in DATA_DEPENDENT and not target.writes_in_place:
            label = None if node.span is None else Label(node.span)
            message = f"the data decides how many rows `{node.name}` has, which a compiled program cannot leave open"
            raise CompileError(Diagnostic("data-dependent", message, label))
        if reads_past(node.args) and not target.writes_in_place:
            node = replace(node, args=self.from_start(node))
        args, weight = self.arguments(node.args)
        try:
            expr = target.spell(node.name, args, self.device() if node.name in CREATES else None)
            if node.name == "arange" and reads_past(node.args) and not target.writes_in_place:
                expr = self.arange_from_start(node)
            if target.settles(node):
                expr = target.spell("cast", (expr, self.dtype(node.results[0].dtype)))
        except Unspellable as error:
            label = None if node.span is None else Label(node.span)
            raise CompileError(Diagnostic("no-spelling", f"this cannot be written: {error}", label)) from error
        if node.name in FRESH:
            self.made_here.add(node.results[0].id)
        self.define(node.results, expr, weight + 1)

    def device(self) -> ast.expr | None:
        """Where a tensor that is made out of nothing goes: to where the arguments of the function are."""
        if not self.scope.target.places or self.scope.makes_constants:
            return None
        holder = placed(self.region)
        if holder is None:
            return ast.Name("device", ast.Load())
        held = self.names_at_entry.get(holder.id) or self.names[holder.id]
        return ast.Attribute(ast.Name(held, ast.Load()), "device", ast.Load())

    def from_start(self, node: Op) -> tuple[Operand, ...]:
        """The operands of `node`, where a range from what is in the cache has a length that is known beforehand."""
        match node:
            case Op("getitem", (value, tuple() as index), (result,)):
                axis, out = 0, []
                for item in index:
                    if isinstance(item, SliceOf) and reads_past((item,)) and isinstance(item.start, Number):
                        item = self.span_from(item.start.expr, result.shape[axis])
                    axis += item is None or not isinstance(item, Number)
                    out.append(item)
                return (value, tuple(out))
            case _:
                return node.args

    def write(self, node: Op) -> None:
        """`out = x.clone()`, `out[index] = y`; without the copy where nobody else sees `x`."""
        (tensor, index, y), (result,) = node.args, node.results
        assert isinstance(tensor, Value)
        place, content = self.operand(index), self.operand(y)
        source = self.load(tensor)
        own = tensor.id in self.made_here and self.uses[tensor.id] == 1
        if own and isinstance(source, ast.Name):
            name = source.id
            self.settle({name})
            self.names = {key: held for key, held in self.names.items() if held != name} | {result.id: name}
        else:
            read = {
                n.id
                for part in (place, content)
                for e in expressions_in(part)
                for n in ast.walk(e)
                if isinstance(n, ast.Name)
            }
            name = self.name_for(result, avoid=frozenset(read))
            self.names[result.id] = name
            copied = source if own else ast.Call(ast.Attribute(source, "clone", ast.Load()), [], [])
            self.statements.append(ast.Assign([ast.Name(name, ast.Store())], copied))
        assert isinstance(place, tuple)
        self.statements.append(stored(name, place, content))
        self.made_here.add(result.id)

    def call(self, node: Call) -> None:
        args, weight = self.arguments(node.args)
        exprs = [to_expr(arg) for arg in args]
        state = self.scope.state(node)
        expr = self.scope.call(node, exprs, self)
        if state is None:
            self.define(node.results, expr, weight + 1)
            return
        targets: list[ast.expr] = [*(self.assignable(result) for result in node.results), ast.Name(state, ast.Store())]
        self.statements.append(ast.Assign([ast.Tuple(targets, ast.Store())], expr))

    made_here: set[int] = field(default_factory=set)  # ids of values whose memory is theirs alone

    def define(self, results: tuple[Value, ...], expr: ast.expr, weight: int) -> None:
        """Bind the results of a node: inline later if that reads well, else a statement now."""
        if len(results) > 1:
            targets: list[ast.expr] = [
                self.assignable(r) if self.uses.get(r.id) else ast.Name("_", ast.Store()) for r in results
            ]
            self.statements.append(ast.Assign([ast.Tuple(targets, ast.Store())], expr))
            return
        (result,) = results
        named = bool(result.names)
        nameless = self.candidates(result) == [NAMELESS]
        limit = 2 if named else MAX_NAMELESS if nameless else MAX_INLINE
        if self.uses.get(result.id, 0) == 1 and weight <= limit and width(expr) < WIDTH * (0.95 if nameless else 0.8):
            self.pending[result.id] = Pending(expr, weight)
            return
        if self.returned_alone(result):
            self.pending[result.id] = Pending(expr, 0)
            return
        self.assign(result, expr)

    def returned_alone(self, value: Value) -> bool:
        return (
            self.region.results == (value,)
            and self.uses.get(value.id, 0) == 1
            and self.at == len(self.region.nodes) - 1
        )

    def assign(self, value: Value, expr: ast.expr) -> str:
        target = self.assignable(value)
        if isinstance(expr, ast.Name) and expr.id == target.id:
            return target.id
        self.statements.append(self.remarked(ast.Assign([target], expr), value))
        return target.id

    def assignable(self, value: Value) -> ast.Name:
        name = self.name_for(value)
        self.note_type(value, name)
        self.names[value.id] = name
        return ast.Name(name, ast.Store())

    def note_type(self, value: Value, name: str) -> None:
        if self.first_holder is None and holds_type(value, DType.MODEL):
            self.first_holder = len(self.statements) + 1, name

    # -------------------------------------------------------------------------------------------------- operands

    def arguments(self, operands: tuple[Operand, ...]) -> tuple[tuple[object, ...], int]:
        """Rendered arguments and the number of operations inlined in them."""
        for dtype in (DType.MODEL, DType.PROMOTED):
            if names_dtype(operands, dtype) and not self.names_dtype and self.holder_of(dtype) is None:
                self.holder_of(DType.MODEL)
        inlined = [v for v in values_in(operands) if v.id in self.pending and self.pending[v.id].weight > 0]
        total = sum(self.pending[v.id].weight for v in inlined)
        for value in inlined:
            if total <= (MAX_NAMELESS if self.candidates(value) == [NAMELESS] else MAX_INLINE):
                continue
            total -= self.pending[value.id].weight
            self.materialize(value)
        return tuple(self.operand(operand) for operand in operands), total

    def settle(self, names: Iterable[str]) -> None:
        """Write a statement for everything pending that reads one of `names`, which are about to change."""
        changing = set(names)
        for value_id, pending in list(self.pending.items()):
            if any(isinstance(node, ast.Name) and node.id in changing for node in ast.walk(pending.expr)):
                self.materialize(self.values[value_id])

    def settle_all(self) -> None:
        """Write a statement for everything pending that computes something: what follows is a branch."""
        for value_id, pending in list(self.pending.items()):
            if pending.weight and value_id in self.pending:
                self.materialize(self.values[value_id])

    def materialize(self, value: Value) -> str:
        """The variable that holds `value`, after writing a statement for it if there is none yet."""
        if value.id not in self.pending:
            return self.names[value.id]
        expr = self.pending.pop(value.id).expr
        name = self.name_for(value, avoid=self.read_here())
        self.note_type(value, name)
        self.names[value.id] = name
        if not (isinstance(expr, ast.Name) and expr.id == name):
            self.statements.append(self.remarked(ast.Assign([ast.Name(name, ast.Store())], expr), value))
        return name

    def become(self, value: Value, result: Value) -> str:
        """The name of a value that is written over by a result: one of its own where the value is still needed."""
        held = self.materialize(value)
        if self.last_use.get(value.id, -1) > self.at:
            return self.assign(result, ast.Name(held, ast.Load()))
        self.names.pop(value.id, None)
        self.names[result.id] = held
        return held

    def remarked(self, statement: ast.Assign, value: Value) -> ast.Assign:
        """With the shape of `value`, if it is made by moving or splitting axes that have names, and there are many."""
        letters = [
            str(size.value) if isinstance(size, Const) else self.scope.target.letter(size) for size in value.shape
        ]
        if len(letters) > 3 and all(letters) and self.makers.get(value.id) in RESHAPES:
            statement.remark = f"[{', '.join(letters)}]"  # type: ignore[attr-defined]
        return statement

    def read_here(self) -> frozenset[str]:
        """The variables that the node at hand reads: until it is written, they keep what they hold."""
        if not 0 <= self.at < len(self.region.nodes):
            return frozenset()
        used = values_in(operands_of(self.region.nodes[self.at]))
        return frozenset(self.names[value.id] for value in used if value.id in self.names)

    def operand(self, operand: Operand | ast.expr) -> object:
        match operand:
            case ast.expr():
                return operand
            case Value():
                return self.load(operand)
            case Number(expr):
                return expr.value if isinstance(expr, Const) else self.number(expr)
            case DTypeOf(value):
                return self.scope.target.dtype_of(self.load(value))
            case DType():
                return self.dtype(operand)
            case SliceOf(start, stop, step):
                return SliceOf(self.operand(start), self.operand(stop), self.operand(step))  # type: ignore[arg-type]
            case Ellipsis_() | None:
                return operand
            case tuple():
                return tuple(self.operand(item) for item in operand)

    def dtype(self, dtype: DType) -> object:
        """A type of the source; the type of the model is the type of a value that has it."""
        if dtype not in (DType.MODEL, DType.PROMOTED):
            return dtype
        if self.scope.makes_constants:
            return DType.FLOAT32
        holder = None if self.names_dtype else self.holder_of(dtype)
        if holder is not None:
            return self.scope.target.dtype_of(holder)
        if dtype is DType.PROMOTED:
            return self.scope.target.promoted(self.dtype(DType.MODEL))
        self.names_dtype = True  # from here on the parameter `dtype` is at hand
        return ast.Name("dtype", ast.Load())

    def holder_of(self, dtype: DType) -> ast.expr | None:
        """A variable that has this type; an expression that has it and is not written yet gets one."""
        bare = {
            r.id for node in self.region.nodes if is_of_a_type(node) for r in node.results
        }  # which no type goes with
        for value in self.known_values():
            if holds_type(value, dtype) and value.id in self.names and value.id not in bare:
                return ast.Name(self.names[value.id], ast.Load())
        for value_id, pending in list(self.pending.items()):
            if pending.weight and holds_type(self.values[value_id], dtype) and value_id not in bare:
                return ast.Name(self.materialize(self.values[value_id]), ast.Load())
        return None

    def load(self, value: Value) -> ast.expr:
        if value.id in self.pending:
            held = self.pending[value.id]
            if held.weight > 0:
                del self.pending[value.id]
            return copied(held.expr)
        return ast.Name(self.names[value.id], ast.Load())

    # --------------------------------------------------------------------------------------------------- numbers

    def number(self, expr: Expr) -> ast.expr:
        for whole, wanted in self.named_numbers.items():
            if contains(expr, whole):
                expr = substitute(expr, {whole: Dim(self.named(whole, wanted))})
        return self.plain_number(expr)

    def named(self, expr: Expr, wanted: str) -> str:
        """The variable of a number that has a name; it is bound where it is first needed."""
        known = self.number_names.get(expr)
        if known is None:
            value = self.plain_number(expr)
            known = self.number_names[expr] = self.free_name([wanted])
            self.dims_header[known] = (known, 0)
            self.statements.append(ast.Assign([ast.Name(known, ast.Store())], value))
        return known

    def plain_number(self, expr: Expr) -> ast.expr:
        if self.reads_sizes(expr) and not isinstance(expr, Dim):
            found = self.size_of(expr)
            if found is not None:
                return found
            if isinstance(expr, Apply):
                return self.applied(expr)
        return to_syntax(expr, self.leaf)

    def applied(self, expr: Apply) -> ast.expr:
        """A number from its parts; where these are not at hand, a size of a parameter, read at the top."""
        try:
            return apply_syntax(expr.op, [self.number(arg) for arg in expr.args])
        except Unspellable:
            param = next((param for param in self.sized if expr in param.shape), None)
            if param is None:
                raise
        if expr not in self.number_names:
            self.number_names[expr] = held = self.free_name(["size"])
            self.dims_header[held] = (held, param.shape.index(expr))
            self.dim_sources.setdefault(param.id, []).append(self.dims_header[held])
        return ast.Name(self.number_names[expr], ast.Load())

    def reads_sizes(self, expr: Expr) -> bool:
        """Whether a number is read from the shape of a value rather than from the configuration."""
        kinds = (Dim,) if self.scope.sees_configuration else (Dim, Key, Index)
        return any(isinstance(leaf, kinds) for leaf in leaves(expr))

    def leaf(self, leaf: Leaf) -> ast.expr:
        match leaf:
            case Dim():
                return self.dim(leaf)
            case Key() | Index() if not self.scope.sees_configuration:
                return self.entry_size(leaf)
            case Key() | Index() | Local() | Raw():
                return self.scope.number(leaf)

    def entry_size(self, expr: Expr) -> ast.expr:
        """A size of a parameter whose variable may hold something else by now: read at the top."""
        name = str(expr.path[-1]) if isinstance(expr, Key) else "size"
        for param in self.sized:
            if expr in param.shape:
                if name not in self.dims_header:
                    self.dims_header[name] = (name, param.shape.index(expr))
                    self.dim_sources.setdefault(param.id, []).append(self.dims_header[name])
                return ast.Name(name, ast.Load())
        raise Unspellable(f"a helper function reads {expr}")

    def arange_from_start(self, node: Op) -> ast.expr:
        """A range whose bounds are known when the model runs, of a length that is known before."""
        begin, _, step, dtype = node.args
        if not isinstance(begin, Number) or step != Number(Const(1)):
            raise Unspellable("a range over the cache with a step")
        size = self.number(node.results[0].shape[0])
        return ast.BinOp(
            self.number(begin.expr), ast.Add(), self.scope.target.spell("arange", (0, size, 1, self.operand(dtype)))
        )

    def span_from(self, begin: Expr, size: Expr) -> ast.expr:
        """`start + arange(T)`"""
        arange = self.scope.target.spell("arange", (0, self.number(size), 1, None))
        return ast.BinOp(self.number(begin), ast.Add(), arange)

    def dim(self, dim: Dim) -> ast.expr:
        """`B`, `T`, bound once at the top from the first parameter that has it, or the size of a value at hand."""
        if dim == PAST:
            return ast.Name("start", ast.Load())
        if dim.name in self.dims_header:
            return ast.Name(self.dims_header[dim.name][0], ast.Load())
        for param in self.sized:
            if dim in param.shape and param.id in self.names_at_entry:
                self.dims_header[dim.name] = (self.size_name(dim), param.shape.index(dim))
                self.dim_sources.setdefault(param.id, []).append(self.dims_header[dim.name])
                return ast.Name(self.dims_header[dim.name][0], ast.Load())
        found = self.size_of(dim) or self.factor_of(dim) or self.term_of(dim)
        if found is None:
            raise Unspellable(f"no value at hand has the axis {dim.name}")
        return found

    def bind_all(self) -> None:
        """Make how many tokens there are in all a variable, for bodies that are written within this one."""
        if ALL.name not in self.dims_header:
            size = self.dim(ALL)
            if ALL.name not in self.dims_header:
                self.dims_header[ALL.name] = (ALL.name, 0)
                self.statements.append(ast.Assign([ast.Name(ALL.name, ast.Store())], size))

    def size_name(self, dim: Dim) -> str:
        """The letter of an axis, or a word where a tensor of the source is called that."""
        used = {*self.names_at_entry.values(), *self.names.values(), *(name for name, _ in self.dims_header.values())}
        stored = (node for statement in self.statements for node in ast.walk(statement) if isinstance(node, ast.Name))
        used |= {node.id for node in stored}
        word = {"B": "batch", "T": "length"}.get(dim.name, f"{dim.name.lower()}_size")
        return next(name for name in (dim.name, word, f"{word}2") if name not in used)

    def term_of(self, dim: Dim) -> ast.expr | None:
        """`x.shape[1] - n` for an axis that is longer by a number that is known."""
        for value in self.known_values():
            for axis, size in enumerate(value.shape):
                match size:
                    case Apply("+", (first, second)) if dim in (first, second) and value.id in self.names:
                        rest = second if first == dim else first
                        if any(isinstance(leaf, Dim) for leaf in leaves(rest)):
                            continue
                        shape = ast.Attribute(ast.Name(self.names[value.id], ast.Load()), "shape", ast.Load())
                        return ast.BinOp(
                            ast.Subscript(shape, ast.Constant(axis), ast.Load()), ast.Sub(), self.number(rest)
                        )
                    case _:
                        pass
        return None

    def factor_of(self, dim: Dim) -> ast.expr | None:
        """`x.shape[0] // n` for an axis that is merged with others, whose sizes are known."""
        for value in self.known_values():
            for axis, size in enumerate(value.shape):
                factors = list(_factors(size))
                if dim not in factors or value.id not in self.names:
                    continue
                factors.remove(dim)
                if any(isinstance(leaf, Dim) for factor in factors for leaf in leaves(factor)):
                    continue
                shape = ast.Attribute(ast.Name(self.names[value.id], ast.Load()), "shape", ast.Load())
                result: ast.expr = ast.Subscript(shape, ast.Constant(axis), ast.Load())
                for factor in factors:
                    result = ast.BinOp(result, ast.FloorDiv(), self.number(factor))
                return result
        return None

    def size_of(self, expr: Expr) -> ast.expr | None:
        for value in self.known_values():
            if expr in value.shape and value.id in self.names:
                shape = ast.Attribute(ast.Name(self.names[value.id], ast.Load()), "shape", ast.Load())
                return ast.Subscript(shape, ast.Constant(value.shape.index(expr)), ast.Load())
        return None

    def known_values(self) -> Iterator[Value]:
        """Values whose variable still holds them, the latest first."""
        nodes = self.region.nodes[: max(self.at, 0)]
        known = [r for node in reversed(nodes) for r in node.results]
        known += self.sized
        holders = {name: vid for vid, name in self.names.items()}
        for value in known:
            if value.id in self.names and holders[self.names[value.id]] == value.id:
                yield value

    # ----------------------------------------------------------------------------------------------------- names

    names_at_entry: dict[int, str] = field(default_factory=dict)
    names_dtype: bool = False
    number_names: dict[Expr, str] = field(default_factory=dict)
    first_holder: tuple[int, str] | None = None  # where a variable first has the type of the model, and which
    dim_sources: dict[int, list[tuple[str, int]]] = field(default_factory=dict)

    def candidates(self, value: Value) -> list[str]:
        wanted = [*value.names, *self.hints.get(value.id, ())]
        out = [SHORT_NAMES.get(name, name) for name in wanted]
        usable = [name for name in dict.fromkeys(out) if name.isidentifier() and not keyword.iskeyword(name)]
        return usable or [self.nouns.get(value.id, NAMELESS)]

    def taken(self, name: str) -> bool:
        sizes = {held for held, _ in self.dims_header.values()}
        return name in self.reserved or name in sizes or name == "start"

    def free_name(self, candidates: Iterable[str]) -> str:
        used = set(self.names.values())
        options = list(candidates)
        for name in options:
            if name not in used and not self.taken(name):
                return name
        number = 2
        while f"{options[0]}{number}" in used or self.taken(f"{options[0]}{number}"):
            number += 1
        return f"{options[0]}{number}"

    def name_for(self, value: Value, avoid: frozenset[str] = frozenset()) -> str:
        """A name whose holder is dead; the values that are still needed keep theirs."""
        held = avoid | {name for vid, name in self.names.items() if self.needed(vid, name)}
        for pending in self.pending.values():
            held |= {node.id for node in ast.walk(pending.expr) if isinstance(node, ast.Name)}
        options = [*self.prefer.get(value.id, ()), *self.candidates(value)]
        for name in [*options, *([self.nouns.get(value.id, NAMELESS)] if options[0] == "x" else [])]:
            if name not in held and not self.taken(name):
                self.release(name)
                return name
        number = 2
        while f"{options[0]}{number}" in held or self.taken(f"{options[0]}{number}"):
            number += 1
        self.release(f"{options[0]}{number}")
        return f"{options[0]}{number}"

    def needed(self, value_id: int, name: str) -> bool:
        return self.last_use.get(value_id, -1) > self.at

    def release(self, name: str) -> None:
        for value_id in [vid for vid, held in self.names.items() if held == name]:
            del self.names[value_id]

    # ---------------------------------------------------------------------------------------------------- result

    def results(self) -> list[ast.expr]:
        out = []
        for operand in self.region.results:
            rendered = self.operand(operand)
            out.append(to_expr(rendered))
        return out

    def header(self) -> list[ast.stmt]:
        """`B, T = x.shape[:2]` for the axes that the body names."""
        out: list[ast.stmt] = []
        for param_id, dims in self.dim_sources.items():
            shape = ast.Attribute(ast.Name(self.names_at_entry[param_id], ast.Load()), "shape", ast.Load())
            wanted = sorted(dims, key=lambda pair: pair[1])
            if [axis for _, axis in wanted] == [0, 1]:
                targets = ast.Tuple([ast.Name(name, ast.Store()) for name, _ in wanted], ast.Store())
                out.append(ast.Assign([targets], ast.Subscript(shape, ast.Slice(None, ast.Constant(2)), ast.Load())))
                continue
            for name, axis in wanted:
                out.append(
                    ast.Assign([ast.Name(name, ast.Store())], ast.Subscript(shape, ast.Constant(axis), ast.Load()))
                )
        return out


def print_apart(
    make: Callable[[frozenset[str]], BodyPrinter], helpers: Iterable[str]
) -> tuple[list[str], list[ast.stmt]]:
    """As `print_body` of what `make` makes without the names that it is given: those of helpers that the body calls."""
    params, body = print_body(make(frozenset()))
    nodes = [node for statement in body for node in ast.walk(statement)]
    called = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    held = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    hidden = called & (held | set(params)) & set(helpers)
    return print_body(make(frozenset(hidden))) if hidden else (params, body)


def print_body(printer: BodyPrinter) -> tuple[list[str], list[ast.stmt]]:
    """Parameter names and statements, the return included, of one function."""
    params = printer.parameters()
    printer.names_at_entry.update(printer.names)
    printer.run()
    results = printer.results()
    name_the_type(printer, results)
    body = printer.header() + printer.statements
    if results:
        value = results[0] if len(results) == 1 else ast.Tuple(results, ast.Load())
        body.append(ast.Return(value))
    return params, body


def name_the_type(printer: BodyPrinter, results: list[ast.expr]) -> None:
    """`dtype = x.dtype` where x first has the type of the model, if something later asks for the type by name."""
    nodes = [found for part in (*printer.statements, *results) for found in ast.walk(part)]
    if printer.has_dtype or not any(isinstance(found, ast.Name) and found.id == "dtype" for found in nodes):
        return
    params = [p for p in printer.region.params if isinstance(p, Value) and holds_type(p, DType.MODEL)]
    at, holder = (0, printer.names_at_entry[params[0].id]) if params else printer.first_holder or (0, "")
    assert holder, "nothing at hand has the type of the model"
    made = ast.Attribute(ast.Name(holder, ast.Load()), "dtype", ast.Load())
    printer.statements.insert(at, ast.Assign([ast.Name("dtype", ast.Store())], made))


def to_expr(rendered: object) -> ast.expr:
    """A rendered operand where Python wants an expression."""
    match rendered:
        case ast.expr():
            return rendered
        case tuple():
            return ast.Tuple([to_expr(item) for item in rendered], ast.Load())
        case bool() | int() | float() | str() | None:
            return ast.Constant(rendered)
        case _:
            raise AssertionError(f"{type(rendered).__name__} where an expression is needed")


def reads_past(operands: Iterable[Operand]) -> bool:
    """Whether a number among operands depends on how many tokens are in the cache."""
    return reads(operands, PAST)


def reads(operands: Iterable[Operand], dim: Dim) -> bool:
    """Whether a number among operands depends on the size of an axis."""
    for operand in operands:
        match operand:
            case Number(expr):
                if dim in set(leaves(expr)):
                    return True
            case SliceOf(start, stop, step):
                if reads((start, stop, step), dim):
                    return True
            case tuple():
                if reads(operand, dim):
                    return True
            case _:
                pass
    return False


def sized_parameters(region: Region) -> tuple[Value, ...]:
    """The parameters whose shapes can be read."""
    tensors = (param for param in region.params if isinstance(param, Value))
    return tuple(x for x in tensors if x.dtype is not DType.BOOL or not may_be_none(region, x))


def _factors(expr: Expr) -> Iterator[Expr]:
    if isinstance(expr, Apply) and expr.op == "*":
        for arg in expr.args:
            yield from _factors(arg)
    else:
        yield expr


def noun_for(node: Node, nouns: Mapping[int, str]) -> str | None:
    """What the result of a node is called where the source has no name for it; `nouns` holds what others are called."""
    match node:
        case Op("cast" | "reshape" | "contiguous", (Value(id=number), *_)):
            return nouns.get(number)
        case Op(name):
            return NOUNS.get(name)
        case Call(ModuleTarget(path)) if NORM.search(path.rpartition(".")[2]):
            return "normed"
        case _:
            return None


def placed(region: Region) -> Value | None:
    """The parameter of a region that says on which device it runs; a mask may be None."""
    tensors = (p for p in region.params if isinstance(p, Value))
    return next((p for p in tensors if p.dtype is not DType.BOOL or len(p.shape) != 4), None)


def holds_type(value: Value, dtype: DType) -> bool:
    """Whether `value.dtype` spells `dtype`. Masks do not count: a mask may be absent, or boolean."""
    return value.dtype is dtype and not (Dim("T") in value.shape and Dim("S") in value.shape)


def is_of_a_type(node: Node) -> bool:
    """Whether a node gives a number that a type has, such as its least: a number of Python in PyTorch."""
    return isinstance(node, Op) and node.name.startswith("finfo_")


def named_numbers(region: Region) -> dict[Expr, str]:
    """Numbers that follow from the sizes of the input, have a name in the source and are used more than once."""
    found = [number for node in region.nodes for number in numbers_in(operands_of(node))]
    out: dict[Expr, str] = {}
    for number in found:
        expr = number.expr
        if number.names and isinstance(expr, Apply) and any(isinstance(leaf, Dim) for leaf in leaves(expr)):
            if PAST not in leaves(expr) and sum(contains(other.expr, expr) for other in found) > 1:
                out.setdefault(expr, number.names[0])
    return out | {expr: wanted for expr, wanted in repeated_numbers(found).items() if expr not in out}


def repeated_numbers(found: Sequence[Number]) -> dict[Expr, str]:
    """What numbers from the configuration have in common, if it is long enough to be worked out once; and a name for it."""
    counts: dict[Expr, int] = {}

    def count(expr: Expr) -> None:
        if isinstance(expr, Apply):
            counts[expr] = counts.get(expr, 0) + 1
            for arg in expr.args:
                count(arg)

    for number in found:
        count(number.expr)
    often = [e for e, n in counts.items() if n > 1 and operations(e) > 3 and not any(map(_is_dim, leaves(e)))]
    widest = [e for e in often if not any(e != o and counts[o] == counts[e] and contains(o, e) for o in often)]
    named = {number.expr: number.names[0] for number in found if number.names}
    return {expr: named.get(expr, "factor") for expr in widest}


def operations(expr: Expr) -> int:
    return 1 + sum(map(operations, expr.args)) if isinstance(expr, Apply) else 0


def _is_dim(leaf: Expr) -> bool:
    return isinstance(leaf, Dim)


def numbers_in(operands: Iterable[Operand]) -> Iterator[Number]:
    for operand in operands:
        match operand:
            case Number():
                yield operand
            case SliceOf(start, stop, step):
                yield from numbers_in((start, stop, step))
            case tuple():
                yield from numbers_in(operand)
            case _:
                pass


def contains(expr: Expr, part: Expr) -> bool:
    """Whether an expression is or has `part`."""
    return expr == part or (isinstance(expr, Apply) and any(contains(arg, part) for arg in expr.args))


def reads_state(node: Op, dtype: DType) -> bool:
    """Whether a state of this type is read, of which there are zeros where there is no cache."""
    return node.name == "state_read" and node.results[0].dtype is dtype


def names_dtype(operands: Iterable[Operand], dtype: DType) -> bool:
    """Whether a type stands among operands."""
    return any(o is dtype or (isinstance(o, tuple) and names_dtype(o, dtype)) for o in operands)


def name_hints(region: Region) -> dict[int, tuple[str, ...]]:
    """Names that other frames gave to the values that have none here: of a callee's result, then of a callee's parameter."""
    return _name_hints(region, {})


def _name_hints(region: Region, known: dict[int, dict[int, tuple[str, ...]]]) -> dict[int, tuple[str, ...]]:
    """The same; `known` holds those of regions that were asked for before, by identity."""
    if id(region) in known:
        return known[id(region)]
    hints: dict[int, list[str]] = {}

    def inside(body: Region, value: Operand) -> tuple[str, ...]:
        return _name_hints(body, known).get(value.id, ()) if isinstance(value, Value) else ()

    def hint(value: Operand, names: tuple[str, ...]) -> None:
        if isinstance(value, Value):
            hints.setdefault(value.id, []).extend(names)

    for node in region.nodes:
        match node:
            case Call(_, inner, _, results):
                for result, produced in zip(results, inner.results, strict=False):
                    if isinstance(produced, Value):
                        hint(result, produced.names or inside(inner, produced))
            case Loop(bodies=bodies, results=results):
                for result, produced in zip(results, bodies[0].results, strict=False):
                    if isinstance(produced, Value):
                        hint(result, produced.names or inside(bodies[0], produced))
            case Scan() | Branch():
                body = within(node)[-1]
                for result, produced in zip(node.results, body.results, strict=False):
                    if isinstance(produced, Value):
                        hint(result, produced.names or inside(body, produced))
            case Op() | Raised():
                pass
    for node in region.nodes:
        match node:
            case Call(_, inner, args, _):
                for arg, param in zip(args, inner.params, strict=False):
                    hint(arg, param.names or inside(inner, param))
            case Loop(bodies=bodies, carried=carried, invariant=invariant, varying=varying):
                for body, differing in zip(bodies, varying, strict=True):
                    for arg, param in zip(differing, body.params[len(carried) + len(invariant) :], strict=False):
                        hint(arg, param.names or inside(body, param))
                for arg, param in zip((*carried, *invariant), bodies[0].params, strict=False):
                    hint(arg, param.names or inside(bodies[0], param))
            case Scan() | Branch():
                pass
            case Op() | Raised():
                pass
    for node in reversed(region.nodes):  # what becomes of a value that is used once names it too
        if isinstance(node, Op) and len(node.results) == 1:
            (result,) = node.results
            for arg in node.args[:1]:
                if isinstance(arg, Value) and not arg.names and arg.id not in hints:
                    hint(arg, result.names or tuple(hints.get(result.id, ())))
    known[id(region)] = {value_id: tuple(names) for value_id, names in hints.items()}
    return known[id(region)]


def width(expr: ast.expr) -> int:
    return len(ast.unparse(ast.fix_missing_locations(copied(expr))))


Namer = Callable[[str], str]
