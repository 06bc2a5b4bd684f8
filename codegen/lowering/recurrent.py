"""What a recurrence needs in print: the states that it keeps, loops over time, branches on the number of tokens."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from codegen.diagnostics import CompileError, Diagnostic, Label
from codegen.lowering.dialect import Dialect, name, unparse
from codegen.lowering.printing import BodyPrinter, Pending, Scope, numbers_in, to_expr
from codegen.lowering.states import start_of
from ir.expressions import Apply, Const, Dim, Expr, leaves
from ir.graph import Branch, Number, Op, Operand, Region, Scan, SliceOf, Value, has_effect, operands_of, values_in
from ir.records import replace

if TYPE_CHECKING:
    from collections.abc import Sequence

"""Operations on what is kept of the tokens before, see graph/recurrent.py."""


def print_state(dialect: Dialect, node: Op, printer: BodyPrinter) -> None:
    """A state that is read or written. Without a cache it is zeros, and what is written goes nowhere."""
    kind, slot = (operand.expr for operand in node.args[:2] if isinstance(operand, Number))
    field = str(getattr(kind, "value", kind))
    held = "kv" if dialect.functional_cache else "cache"
    place = f"kv.{field}" if dialect.functional_cache else f"cache.{field}[{unparse(printer.number(slot))}]"
    match node:
        case Op("state_read", (_, _, *start), (result,)):
            shape = tuple(printer.number(size) for size in result.shape)
            given = (shape, *(printer.number(start_of(start)) for _ in start), printer.dtype(result.dtype))
            first = unparse(dialect.spell("full" if start else "zeros", given, printer.device()))
            printer.assign(result, ast.parse(f"{first} if {held} is None else {place}", mode="eval").body)
        case Op("state_write", (_, _, value)):
            new = unparse(to_expr(printer.operand(value)))
            if held == "cache" and new.endswith("]"):
                new += ".clone()"  # a part would keep the whole
            printer.statements += _guarded(held, [_stored(dialect, field, place, new)])
        case Op("state_extend", (_, _, Value() as value, size), (result,)):
            x = _renamed(printer, value, result)
            kept = unparse(to_expr(printer.operand(size)))
            joined = (
                f"jnp.concatenate([{place}, {x}], axis=-1)" if held == "kv" else f"torch.cat([{place}, {x}], dim=-1)"
            )
            last = f"{x}[..., -{_bracketed(kept)}:]" + ("" if held == "kv" else ".clone()")
            printer.statements += _guarded(held, [f"{x} = {joined}", _stored(dialect, field, place, last)])
        case Op("state_append", (_, _, Value() as value, Number(Const(int() as axis))), (result,)):
            x = _renamed(printer, value, result)
            if held == "kv":
                written = f"jax.lax.dynamic_update_slice_in_dim({place}, {x}.astype({place}.dtype), start, axis={axis})"
                printer.statements += _guarded(held, [_stored(dialect, field, place, written), f"{x} = {place}"])
            else:
                along = "" if axis == 1 else f", axis={axis}"
                printer.statements += _guarded(held, [f"{x} = cache.append({place}, {x}{along})"])
        case _:
            raise AssertionError(node.name)


def _bracketed(text: str) -> str:
    """A number after a minus sign."""
    simple = isinstance(ast.parse(text, mode="eval").body, (ast.Name, ast.Attribute, ast.Constant))
    return text if simple else f"({text})"


def _stored(dialect: Dialect, field: str, place: str, new: str) -> str:
    return f"kv = kv._replace({field}={new})" if dialect.functional_cache else f"{place} = {new}"


def _guarded(held: str, lines: list[str]) -> list[ast.stmt]:
    return ast.parse("\n".join([f"if {held} is not None:", *("    " + line for line in lines)])).body


def _renamed(printer: BodyPrinter, value: Value, result: Value) -> str:
    """The variable of `value`, which is that of `result` from here on; another with the same content if it is still needed."""
    held = printer.materialize(value)
    if printer.needed(value.id, held):
        fresh = printer.name_for(result)
        printer.statements.append(ast.Assign([ast.Name(fresh, ast.Store())], name(held)))
        held = fresh
    else:
        printer.settle([held])
        printer.names.pop(value.id, None)
    printer.names[result.id] = held
    return held


# ------------------------------------------------------------------------------------------------- loops and branches


def print_within(scope: Scope, node: Scan | Branch, printer: BodyPrinter) -> None:
    """A loop over time or a branch."""
    if isinstance(node, Branch):
        _print_branch(scope, node, printer)
        return
    if any(has_effect(inner) for inner in node.body.nodes):
        label = None if node.span is None else Label(node.span)
        raise CompileError(Diagnostic("state-in-loop", "a loop over time writes a state in every iteration", label))
    if scope.target.writes_in_place or _sizes_change(node):
        _print_loop(scope, node, printer)
    else:
        _print_scan(scope, node, printer)


def _inner(scope: Scope, region: Region, printer: BodyPrinter, free: Iterable[str]) -> BodyPrinter:
    """A printer of a region that runs in the frame of `printer`; it may overwrite `free` alone of the names at hand."""
    outer = {held for key, held in printer.names.items() if printer.last_use.get(key, -1) >= printer.at}
    for pending in printer.pending.values():
        outer |= {found.id for found in ast.walk(pending.expr) if isinstance(found, ast.Name)}
    inner = BodyPrinter(region, scope, frozenset({*printer.reserved, *outer} - set(free)))
    inner.dims_header.update(printer.dims_header)
    inner.names_dtype = printer.names_dtype
    return inner


def _carried(printer: BodyPrinter, node: Scan) -> list[str]:
    """The variables that hold the carried values, before and after."""
    whole = {arg.id for arg in node.args[node.carries :] if isinstance(arg, Value)}
    held: list[str] = []
    first = [operand for operand in node.args[: node.carries] if isinstance(operand, Value)]
    for operand, result in zip(first, node.results, strict=False):
        variable = printer.materialize(operand)
        if printer.needed(operand.id, variable) or operand.id in whole or variable in held:
            fresh = printer.name_for(result, avoid=frozenset({*held, variable}))
            printer.statements.append(ast.Assign([ast.Name(fresh, ast.Store())], name(variable)))
            variable = fresh
        held.append(variable)
    for operand in first:
        if printer.names.get(operand.id) in held:
            del printer.names[operand.id]
    printer.names |= {result.id: variable for result, variable in zip(node.results, held, strict=False)}
    return held


def _values(region: Region) -> list[Value]:
    return [param for param in region.params if isinstance(param, Value)]


def _body(inner: BodyPrinter, carried: Sequence[str]) -> tuple[list[ast.stmt], list[ast.expr]]:
    """The statements of one iteration up to the new carried values, and what it stacks."""
    for result, held in zip(inner.region.results, carried, strict=False):
        if isinstance(result, Value):
            inner.prefer[result.id] = (held,)
    inner.run()
    return inner.header() + inner.statements, inner.results()


def _handed_on(carried: Sequence[str], results: Sequence[ast.expr]) -> list[ast.stmt]:
    """`a, b = x, y` for the carried values that are not yet in their variables."""
    pairs = zip(carried, results, strict=True)
    changed = [(held, new) for held, new in pairs if not (isinstance(new, ast.Name) and new.id == held)]
    if not changed:
        return []
    if len(changed) == 1:
        return [ast.Assign([ast.Name(changed[0][0], ast.Store())], changed[0][1])]
    targets = ast.Tuple([ast.Name(held, ast.Store()) for held, _ in changed], ast.Store())
    return [ast.Assign([targets], ast.Tuple([new for _, new in changed], ast.Load()))]


def _print_loop(scope: Scope, node: Scan, printer: BodyPrinter) -> None:
    """A `for` loop with lists of what is stacked."""
    node, whole = _with_axes(node)
    carried = _carried(printer, node)
    sliced, invariant = _operands(printer, node)
    index = printer.free_name([node.index.lstrip("@")])
    stacks = node.results[node.carries :]
    lists: list[str] = []
    for result in stacks:
        lists.append(printer.free_name([f"{printer.candidates(result)[0]}s", *lists]))
        printer.names[-1 - len(printer.names)] = lists[-1]
    inner = _inner(scope, node.body, printer, carried)
    inner.reserved |= {index, *lists}
    inner.dims_header[node.index] = (index, 0)
    params = _values(node.body)
    for param, held in zip(params, carried, strict=False):
        inner.names[param.id] = held
    for param, held in zip(params[node.carries + len(sliced) :], invariant, strict=True):
        inner.names[param.id] = held
    inner.names_at_entry.update(inner.names)
    for param, held, axis in zip(params[node.carries :], sliced, node.axes, strict=False):
        taken = f"{index} : {index} + 1" if param in whole else index
        piece = ast.parse(f"{held}[{':, ' * axis}{taken}]", mode="eval").body
        if inner.uses.get(param.id, 0) == 1:
            inner.pending[param.id] = Pending(piece, 1)
        else:
            inner.assign(param, piece)
    statements, results = _body(inner, carried)
    pieces = results[node.carries :]
    appended = [ast.parse(f"{to}.append({unparse(new)})").body[0] for to, new in zip(lists, pieces, strict=True)]
    statements += [*appended, *_handed_on(carried, results[: node.carries])]
    printer.statements += [ast.Assign([ast.Name(made, ast.Store())], ast.List([], ast.Load())) for made in lists]
    count = ast.Call(name("range"), [printer.number(node.length)], [])
    printer.statements.append(ast.For(ast.Name(index, ast.Store()), count, statements, []))
    shapes = node.shapes or [None] * len(stacks)
    for result, made, axis, shape in zip(stacks, lists, node.stacked, shapes, strict=True):
        at = -1 if axis == len(result.shape) - 1 else axis
        printer.names = {key: held for key, held in printer.names.items() if held != made}
        joined = f"torch.stack({made}, dim={at})" if scope.target.writes_in_place else f"jnp.stack({made}, axis={at})"
        if shape is not None:
            given = (tuple(printer.number(size) for size in shape), printer.dtype(result.dtype))
            joined += f" if {made} else {unparse(scope.target.spell('zeros', given, printer.device()))}"
        printer.define((result,), ast.parse(joined, mode="eval").body, 2)


def _sizes_change(node: Scan) -> bool:
    """Whether the number of the turn has to be a plain number in either framework: shapes in the body depend on it, or what a
    number is chosen by."""
    sizes = [size for inner in node.body.nodes for value in inner.results for size in value.shape]
    operands = [operand for inner in node.body.nodes for operand in operands_of(inner)]
    sizes += [number.expr for number in numbers_in(_slices(operands))]
    sizes += [part for number in numbers_in(operands) for part in _chosen(number.expr)]
    return any(leaf == Dim(node.index) for expr in sizes for leaf in leaves(expr))


def _slices(operands: Iterable[Operand]) -> Iterator[SliceOf]:
    for operand in operands:
        if isinstance(operand, SliceOf):
            yield operand
        elif isinstance(operand, tuple):
            yield from _slices(operand)


def _chosen(expr: Expr) -> Iterator[Expr]:
    """The parts of a number that are no sum or product, `max(a, b)` for one."""
    if isinstance(expr, Apply) and expr.op in ("+", "-", "*", "/", "//", "%", "**"):
        for arg in expr.args:
            yield from _chosen(arg)
    elif isinstance(expr, Apply):
        yield expr


def _with_axes(node: Scan) -> tuple[Scan, frozenset[Value]]:
    """The loop with slices that are only used with an axis of length one in the place of the one that they were taken along
    as such, and which these are.
    """
    params, nodes = list(node.body.params), list(node.body.nodes)
    used = [value.id for inner in nodes for value in values_in(operands_of(inner))]
    used += [value.id for value in values_in(node.body.results)]
    found: set[Value] = set()
    for at, axis in enumerate(node.axes, node.carries):
        param = params[at]
        for inner in nodes:
            match inner:
                case Op("unsqueeze", (Value() as x, Number(Const(int() as dim))), (result,)) if (
                    x == param and dim % len(result.shape) == axis and used.count(x.id) == 1
                ):
                    params[at] = result
                    found.add(result)
                    nodes.remove(inner)
                    break
    return replace(node, body=replace(node.body, params=tuple(params), nodes=tuple(nodes))), frozenset(found)


def _operands(printer: BodyPrinter, node: Scan) -> tuple[list[str], list[str]]:
    """Variables of the tensors that are sliced and of those that every iteration takes whole."""
    values = [arg for arg in node.args[node.carries :] if isinstance(arg, Value)]
    held = [printer.materialize(value) for value in values]
    return held[: len(node.axes)], held[len(node.axes) :]


def _print_scan(scope: Scope, node: Scan, printer: BodyPrinter) -> None:
    """`jax.lax.scan` over a local function."""
    carried = _carried(printer, node)
    sliced, invariant = _operands(printer, node)
    step = printer.free_name(["step"])
    printer.names[-1 - len(printer.names)] = step
    inner = _inner(scope, node.body, printer, [*carried, *sliced])
    inner.reserved |= {"inputs", "carry", step} | set(invariant)
    params = _values(node.body)
    for param, held in zip(params, carried, strict=False):
        inner.names[param.id] = held
    for param, held in zip(params[node.carries + len(sliced) :], invariant, strict=True):
        inner.names[param.id] = held
    inputs = []
    for param, held in zip(params[node.carries :], sliced, strict=False):
        options = [*inner.candidates(param)] if param.names else [held, *inner.candidates(param)]
        inner.names[param.id] = inner.free_name(options)
        inputs.append(inner.names[param.id])
    inner.names_at_entry.update(inner.names)
    xs = [_first(held, axis) for held, axis in zip(sliced, node.axes, strict=True)]
    index = inner.free_name([node.index.lstrip("@")])
    inner.dims_header[node.index] = (index, 0)
    statements, results = _body(inner, carried)
    length = unparse(printer.number(node.length))
    if _reads(statements, index) or any(_reads([ast.Expr(new)], index) for new in results):
        inputs.append(index)
        xs.append(f"jnp.arange({length})")
    unpack = []
    for names, packed in ((carried, "carry"), (inputs, "inputs")):
        if len(names) > 1:
            unpack += ast.parse(f"{', '.join(names)} = {packed}").body
    given = [_packed(carried, "carry"), _packed(inputs, "inputs")]
    pieces = results[node.carries :]
    given_back = ast.Tuple([_tuple(results[: node.carries]), _tuple(pieces)], ast.Load())
    body = [*unpack, *statements, ast.Return(given_back)]
    printer.statements.append(_function(step, given, body))
    rest = f"{_joined(xs)}" if xs else f"None, length={length}"
    call = ast.parse(f"jax.lax.scan({step}, {_joined(carried)}, {rest})", mode="eval").body
    targets: list[ast.expr] = [_target(carried)]
    stacks = [printer.assignable(result).id for result in node.results[node.carries :]]
    targets.append(_target(stacks))
    printer.statements.append(ast.Assign([ast.Tuple(targets, ast.Store())], call))
    for held, axis in zip(stacks, node.stacked, strict=True):
        if axis:
            moved = ast.parse(f"{held} = {_moved(held, 0, axis)}").body
            printer.statements += moved


def _first(held: str, axis: int) -> str:
    """A tensor with the axis that is sliced in front."""
    return held if axis == 0 else _moved(held, axis, 0)


def _moved(held: str, source: int, to: int) -> str:
    if {source, to} == {0, 1}:
        return f"jnp.swapaxes({held}, 0, 1)"
    return f"jnp.moveaxis({held}, {source}, {to})"


def _packed(names: Sequence[str], many: str) -> str:
    return "_" if not names else names[0] if len(names) == 1 else many


def _joined(texts: Sequence[str]) -> str:
    return "None" if not texts else texts[0] if len(texts) == 1 else f"({', '.join(texts)})"


def _tuple(exprs: Sequence[ast.expr]) -> ast.expr:
    if not exprs:
        return ast.Constant(None)
    return exprs[0] if len(exprs) == 1 else ast.Tuple(list(exprs), ast.Load())


def _target(names: Sequence[str]) -> ast.expr:
    targets: list[ast.expr] = [ast.Name(held, ast.Store()) for held in names]
    if not targets:
        return ast.Name("_", ast.Store())
    return targets[0] if len(targets) == 1 else ast.Tuple(targets, ast.Store())


def _function(called: str, params: Sequence[str], body: list[ast.stmt]) -> ast.stmt:
    made = ast.parse(f"def {called}({', '.join(dict.fromkeys(params))}):\n    pass").body[0]
    assert isinstance(made, ast.FunctionDef)
    made.body = body
    return made


def _reads(statements: Sequence[ast.stmt], variable: str) -> bool:
    return any(isinstance(found, ast.Name) and found.id == variable for s in statements for found in ast.walk(s))


def _print_branch(scope: Scope, node: Branch, printer: BodyPrinter) -> None:
    """`if`, with both arms leaving the results in the same variables."""
    held = [printer.materialize(arg) for arg in node.args if isinstance(arg, Value)]
    test = printer.number(node.condition)
    dying = [
        text
        for arg, text in zip((a for a in node.args if isinstance(a, Value)), held, strict=True)
        if not printer.needed(arg.id, text)
    ]
    targets: list[str] = []
    for result in node.results:
        targets.append(printer.name_for(result, avoid=frozenset(targets)))
        printer.names[result.id] = targets[-1]
    arms = []
    for region in (node.then, node.otherwise):
        inner = _inner(scope, region, printer, [*dying, *targets])
        for param, text in zip(_values(region), held, strict=True):
            inner.names[param.id] = text
        inner.names_at_entry.update(inner.names)
        statements, results = _body(inner, targets)
        arms.append([*statements, *_handed_on(targets, results)] or [ast.Pass()])
    printer.statements.append(ast.If(test, arms[0], arms[1]))
