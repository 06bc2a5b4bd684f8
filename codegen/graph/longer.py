"""Paths for sequences beyond a length, where the shorter ones would give the same on them: tables that grow on demand, factors
that are one up to some length.

Such a path is taken for every length, with the limit in the place of a length that falls short of it. What it leaves is
evaluated there and compared with what the source has without it; where these differ the branch stays a branch. What a module
keeps of it is gone after the call: the next one starts from what the constructor made.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from codegen.diagnostics import CompileError
from codegen.graph import operators, scalars
from codegen.graph.kept import holders_of
from codegen.graph.makers import Makers, makers_of
from codegen.graph.objects import ModuleObject
from codegen.graph.scope import Scope
from codegen.graph.undoing import mark
from codegen.graph.values import Scalar, Tensor, TensorValue, value_of
from ir.expressions import Apply, Dim, Environment, Expr, evaluate, leaves
from ir.ops import category
from ir.records import dataclass

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

SIZES = ((1, 0), (3, 0), (1, 2), (4, 5), (2, 30))
"""New tokens, and tokens in the cache."""
MOST = 2  # of these lengths are looked at
TOLERANCE = 1e-5
_MISSING = object()


def question(interpreter: Interpreter, test: object) -> tuple[Expr, Expr] | None:
    """The length and the limit that a test compares; None where it asks something else, or where no length falls short."""
    if not interpreter.framing or interpreter.surroundings.sketch or not isinstance(test, Scalar):
        return None
    match test.expr:
        case Apply(">" | ">=", (length, limit)) | Apply("<" | "<=", (limit, length)):
            pass
        case _:
            return None
    if not _of_input(length) or _of_input(limit) or any(isinstance(x, Dim) and x.name == "B" for x in leaves(length)):
        return None
    if interpreter.keeps_tables and limit in operators.rows_held(interpreter):
        return None
    return (length, limit) if any(_short(interpreter, test.expr, sizes) for sizes in SIZES) else None


def _of_input(expr: Expr) -> bool:
    return any(isinstance(leaf, Dim) for leaf in leaves(expr))


def _dims(sizes: tuple[int, int]) -> dict[str, int]:
    new, past = sizes
    return {"B": 2, "T": new, "P": past, "S": new + past}


def _short(interpreter: Interpreter, test: Expr, sizes: tuple[int, int]) -> bool:
    env = interpreter.environment
    try:
        return not evaluate(test, Environment(env.config, env.raw, _dims(sizes), env.indices, env.locals))
    except (KeyError, IndexError, TypeError, ValueError, ArithmeticError):
        return False


def in_parts(interpreter: Interpreter, node: ast.If, test: object) -> bool:
    """Whether an arm goes through a longer sequence in parts: what is emitted is for as many tokens at once as one part has,
    and is given longer sequences in parts itself."""
    asked = question(interpreter, test)
    if asked is None or asked[0] != Dim("T") or not leaves(asked[1]):
        return False
    if not any(_counts_up(inner) for statement in node.body for inner in ast.walk(statement)):
        return False
    interpreter.surroundings.parts[asked[1]] = None
    return True


def _counts_up(node: ast.AST) -> bool:
    """`while start < length: ...; start += size`"""
    match node:
        case ast.While(test=ast.Compare(left=ast.Name(id=start), ops=[ast.Lt()]), body=body):
            return any(
                isinstance(step, ast.AugAssign)
                and isinstance(step.op, ast.Add)
                and isinstance(step.target, ast.Name)
                and step.target.id == start
                for step in body
            )
        case _:
            return False


@dataclass(frozen=True)
class State:
    """Variables, what modules hold, and the values of the tensors among these."""

    variables: dict[str, Any]
    lists: dict[str, tuple[Any, ...]]
    slots: list[tuple[dict[str, Any], dict[str, Any]]]
    values: dict[int, tuple[Tensor, TensorValue]]

    @classmethod
    def of(cls, scope: Scope) -> State:
        slots = [(slot, dict(slot)) for module in _modules(scope.vars.get("self")) for slot in _slots(module)]
        held = [*scope.vars.values(), *(value for _, content in slots for value in content.values())]
        lists = {name: tuple(value) for name, value in scope.vars.items() if type(value) is list}
        return cls(dict(scope.vars), lists, slots, {id(t): (t, t.value) for t in held if isinstance(t, Tensor)})

    def restore(self, scope: Scope) -> None:
        scope.vars.clear()
        scope.vars.update(self.variables)
        for name, items in self.lists.items():
            scope.vars[name][:] = items
        self.restore_modules()
        for tensor, value in self.values.values():
            tensor.value = value

    def restore_modules(self) -> None:
        for slot, content in self.slots:
            slot.clear()
            slot.update(content)


def _modules(owner: object) -> list[ModuleObject]:
    if not isinstance(owner, ModuleObject):
        return []
    return [owner, *(inner for child in owner.modules.values() if child is not None for inner in _modules(child))]


def _slots(module: ModuleObject) -> Iterator[dict[str, Any]]:
    yield from (module.parameters, module.buffers, module.dict)
    yield from (held for held in holders_of(module.dict) if isinstance(held, dict) and held is not module.dict)


def run(interpreter: Interpreter, node: ast.If, scope: Scope, test: Scalar) -> bool:
    """Take the longer path for all lengths; whether that gives what the source gives."""
    asked = question(interpreter, test)
    assert asked is not None
    length, limit = asked
    before = State.of(scope)
    undo, made = mark(interpreter), makers_of(interpreter.trace.root)
    if not _tried(interpreter, lambda: interpreter.exec_body(node.orelse, scope)):
        before.restore(scope)
        undo()
        return False
    short = State.of(scope)
    before.restore(scope)
    clamped = scalars.apply("max", Scalar(_value(interpreter, length), length), _scalar(interpreter, limit))
    names = [name for name, value in scope.vars.items() if isinstance(value, Scalar) and value.expr == length]
    scope.vars.update(dict.fromkeys(names, clamped))
    if not _tried(interpreter, lambda: interpreter.exec_body(node.body, scope)):
        before.restore(scope)
        undo()
        return False
    scope.vars.update({name: before.variables[name] for name in names if scope.vars[name] is clamped})
    if not _same(interpreter, test.expr, short, State.of(scope), made):
        before.restore(scope)
        undo()
        return False
    interpreter.grown.append((scope.vars.get("self"), before))
    return True


def settle(interpreter: Interpreter, module: object) -> None:
    """After a call of a module: what it holds is again what it was made with."""
    for owner, state in reversed(interpreter.grown):
        if owner is module:
            state.restore_modules()
    interpreter.grown = [(owner, state) for owner, state in interpreter.grown if owner is not module]


def _value(interpreter: Interpreter, expr: Expr) -> Any:
    env, sizes = interpreter.environment, interpreter.surroundings.sizes.dims
    return evaluate(expr, Environment(env.config, env.raw, sizes, env.indices, env.locals))


def _scalar(interpreter: Interpreter, expr: Expr) -> Any:
    value = _value(interpreter, expr)
    return Scalar(value, expr) if leaves(expr) else value


def _tried(interpreter: Interpreter, step: Callable[[], None]) -> bool:
    from codegen.graph.interpreter import Jump, Raised

    frame = interpreter.trace.frame
    try:
        step()
    except (Jump, Raised, CompileError):
        interpreter.trace.frame = frame
        return False
    return True


# --------------------------------------------------------------------------------------------------------- comparing


def _same(interpreter: Interpreter, test: Expr, short: State, longer: State, made: Makers) -> bool:
    """Whether what the longer path leaves is what there is without it, for lengths that fall short."""
    pairs: list[tuple[TensorValue, TensorValue]] = []
    if not all(_same_items(items, longer.lists.get(name)) for name, items in short.lists.items()):
        return False
    for old, new in _changed(short, longer):
        match old, new:
            case (a, b) if a is b:
                continue
            case Tensor(), Tensor():
                pairs.append((short.values[id(old)][1], new.value))
            case _ if old is _MISSING:
                continue  # a variable of the longer path alone
            case _ if _is_number(old) and _is_number(new):
                continue  # how long a table is
            case _:
                return False
    changed = {
        id(tensor): (value, tensor.value) for tensor, value in short.values.values() if tensor.value is not value
    }
    pairs += list(changed.values())
    return all(_equal(interpreter, test, old, new, made) for old, new in dict.fromkeys(pairs) if old is not new)


def _same_items(a: tuple[Any, ...], b: tuple[Any, ...] | None) -> bool:
    return b is not None and len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


def _changed(short: State, longer: State) -> list[tuple[Any, Any]]:
    found = [(short.variables.get(name, _MISSING), value) for name, value in longer.variables.items()]
    for (_, old), (_, new) in zip(short.slots, longer.slots, strict=True):
        found += [(old.get(name, None), value) for name, value in new.items()]
    return found


def _is_number(x: object) -> bool:
    return isinstance(value_of(x), (int, float))


def _equal(interpreter: Interpreter, test: Expr, old: TensorValue, new: TensorValue, before: Makers) -> bool:
    from codegen.graph.evaluating import Drawing, close  # numpy takes its time

    if category(old.dtype) is not category(new.dtype):
        return False  # a table that grows may be of another precision: its numbers are compared
    makers = makers_of(interpreter.trace.root)
    fitting = [sizes for sizes in SIZES if _short(interpreter, test, sizes)]
    for sizes in fitting[:MOST]:
        values = Drawing(makers, interpreter.environment, _dims(sizes), {}, before=before)
        if not close(values, old, new, TOLERANCE):
            return False
    return bool(fitting)
