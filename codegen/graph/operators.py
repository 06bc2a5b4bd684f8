"""Operators, indexing, iteration and truth, for every kind of value."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from codegen.graph import alternatives, classes, emptiness, halves, scalars, tensor_ops
from codegen.graph.objects import (
    Bound,
    Builtin,
    Class,
    External,
    Foreign,
    Function,
    Further,
    Instance,
    ModuleObject,
    Range,
    SDict,
    SList,
    SourceModule,
    SSet,
    Stream,
    Unknown,
    View,
    container_expr,
    element_expr,
    origin,
    plain_key,
)
from codegen.graph.predicates import Kind
from codegen.graph.ragged import is_ragged
from codegen.graph.sizes import USUAL
from codegen.graph.values import Scalar, Tensor, Watched, expr_of, glance, value_of
from ir.expressions import (
    Apply,
    Const,
    Dim,
    Environment,
    Expr,
    Index,
    Key,
    Plain,
    evaluate,
    index_name,
    leaves,
    substitute,
)
from ir.graph import DType
from ir.records import replace

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

BINARY: dict[type, str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.MatMult: "@",
}

COMPARE: dict[type, str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}

_METHODS = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "truediv",
    "//": "floordiv",
    "%": "mod",
    "**": "pow",
    "&": "and",
    "|": "or",
    "^": "xor",
    "<<": "lshift",
    ">>": "rshift",
    "@": "matmul",
    "==": "eq",
    "!=": "ne",
    "<": "lt",
    "<=": "le",
    ">": "gt",
    ">=": "ge",
}

_ATOMS = (bool, int, float, str, type(None), Scalar)
MAX_ITEMS = 4_000_000


def type_name(value: Any) -> str:
    """The name of the type of a value, as messages show it."""
    match value:
        case Scalar():
            return type(value.value).__name__
        case Instance():
            return value.cls.name
        case Class():
            return "type"
        case SList():
            return "list"
        case SDict():
            return "dict"
        case SSet():
            return "set"
        case Stream():
            return value.kind
        case Function() | Bound() | Builtin():
            return "function"
        case SourceModule():
            return "module"
        case _:
            return type(value).__name__


# -- truth ---------------------------------------------------------------------------------------------------------------------


def truth(interp: Interpreter, value: Any, kind: Kind = Kind.STRUCTURE) -> bool:
    """The truth of a value as a plain bool; what the configuration decides is noted."""
    match value:
        case bool():
            return value
        case Scalar():
            held, asked = _asked(value)
            outcome = bool(held)
            expr = value.expr if isinstance(held, bool) else asked
            if is_ragged(value):
                interp.trace.decided_by_data()
                interp.unsupported("a branch on how many rows the data selects", code="branch-on-data")
            if interp.framing and not interp.surroundings.sketch:
                if not _check_length(interp, expr, outcome) and kind is not Kind.GUARD:
                    alternatives.decided(interp, expr)
                outcome = emptiness.answer(interp, expr, outcome)
            interp.note(kind, expr, outcome)
            return outcome
        case SList() | SDict() if (origin_of := container_expr(value)) is not None:
            interp.note(kind, Apply("bool", (origin_of,)), bool(value))
            return bool(value)
        case Tensor():
            return tensor_truth(interp, value)
        case Unknown():
            interp.unsupported(f"a branch on a value that is not known: {value.reason}", code="unknown-branch")
        case Foreign():
            return truth(interp, value.truth(interp), kind)
        case Instance():
            return _instance_truth(interp, value, kind)
        case Range() | SSet():
            return bool(length(interp, value))
        case View():
            return bool(value.source)
        case _:
            return bool(value)


def _asked(value: Scalar) -> tuple[Plain, Expr]:
    """The value of a scalar of which no more is used than its truth, and whether it is a flag; and the question for the truth."""
    if type(value) is Scalar and type(value.value) is bool:
        return value.value, value.expr
    asked = Apply("bool", (value.expr,))
    return glance(value, asked, Apply("is", (value.expr, asked))), asked


def _check_length(interp: Interpreter, expr: Expr, outcome: bool) -> bool:
    """A sequence that is longer than the configuration says takes another path, which a trace of a short one does not show.

    Positions beyond the rows of a table that the module holds are the caller's mistake. Where the source has a path of its own
    for short inputs, what is emitted takes no longer ones. Where the tokens of the trace happen to fill blocks, nothing is seen of
    what other numbers of tokens need. Whether longer ones are the caller's mistake or refused.
    """
    if 0 in _remainders(interp, expr):
        from codegen.graph.interpreter import Coincidence

        interp.unsupported(
            "the source asks whether the tokens fill blocks, and those of the trace happen to fill blocks of this size",
            code="branch-on-length",
            error=Coincidence,
        )
    if interp.wanted and _differs_for_fewer(interp, expr, outcome):
        interp.unsupported("shorter sequences take another path here", code="branch-on-length")
    match expr:
        case Apply("<=", (Dim("T"), right)) | Apply(">=", (right, Dim("T"))) if outcome and not _of_input(right):
            if leaves(right):
                interp.surroundings.limits[right] = None
        case Apply(">" | ">=", (left, right)) | Apply("<" | "<=", (right, left)) if (
            not outcome and _of_input(left) and not _of_input(right)
        ):
            held = rows_held(interp)
            grows = right in held and interp.keeps_tables  # into what could not be shown to be the same
            if leaves(right) and (_over(left, right) == "T" or (grows and _over(left, right) == "S")):
                most = _without_offset(left, right)
                most = most if expr.op in (">", "<") else Apply("-", (most, Const(1)))
                interp.surroundings.limits[most] = None
            elif right not in held and (leaves(right) or _holds_later(interp, expr)):
                interp.unsupported("longer sequences take another path here", code="branch-on-length")
            return right in held
        case _:
            pass
    return False


def _without_offset(left: Expr, right: Expr) -> Expr:
    """What a number of tokens is compared with, where an offset is added on both sides."""
    match left, right:
        case Apply("+", (_, Const() as a)), Apply("+", (limit, Const() as b)) if a == b:
            return limit
        case _:
            return right


def _over(left: Expr, right: Expr) -> str | None:
    """The tokens that are compared with a number: the new ones, or all."""
    match left:
        case Dim(name):
            return name
        case Apply("+", (Dim(name), Const())) if _without_offset(left, right) is not right:
            return name
        case _:
            return None


def rows_held(interp: Interpreter) -> set[Expr]:
    """The sizes of the tables of the module whose method runs."""
    owner = interp.scope.vars.get("self") if interp.scope is not None else None
    held = [*owner.parameters.values(), *owner.buffers.values()] if isinstance(owner, ModuleObject) else []
    return {expr_of(size) for tensor in held if tensor is not None for size in tensor.shape}


def _remainders(interp: Interpreter, expr: Expr) -> Iterator[int]:
    """What is left of the tokens of the trace by blocks of more than one token, wherever a question contains that."""
    match expr:
        case Apply("%", (Dim() as tokens, block)) if not _of_input(block):
            size = evaluate(block, interp.environment)
            if isinstance(size, int) and size > 1 and tokens.name in ("T", "S"):
                yield interp.surroundings.sizes.dims[tokens.name] % size
        case Apply(_, args):
            for arg in args:
                yield from _remainders(interp, arg)
        case _:
            pass


def _differs_for_fewer(interp: Interpreter, test: Expr, outcome: bool) -> bool:
    """Whether a test has another answer for as many tokens as a trace usually has; of one that has more."""
    if not any(leaf == Dim("T") for leaf in leaves(test)):
        return False
    env, sizes = interp.environment, interp.surroundings.sizes
    dims = replace(sizes, new=USUAL.new).dims
    try:
        return bool(evaluate(test, Environment(env.config, env.raw, dims, env.indices, env.locals))) is not outcome
    except (KeyError, IndexError, TypeError, ValueError, ArithmeticError):
        return True


def _holds_later(interp: Interpreter, test: Expr) -> bool:
    """Whether a test that short sequences fail holds for longer ones."""
    env = interp.environment
    for new in _LONGER:
        dims = replace(interp.surroundings.sizes, new=new).dims
        try:
            if evaluate(test, Environment(env.config, env.raw, dims, env.indices, env.locals)):
                return True
        except (KeyError, IndexError, TypeError, ValueError, ArithmeticError):
            return False
    return False


_LONGER = (64, 1000, 1 << 14)


def _of_input(expr: Expr) -> bool:
    return any(isinstance(leaf, Dim) for leaf in leaves(expr))


def _instance_truth(interp: Interpreter, value: Instance, kind: Kind) -> bool:
    if value.path:
        interp.note(kind, Apply("is not", (Key(value.path), Const(None))), True)
    for name in ("__bool__", "__len__"):
        method = classes.find(interp, value.cls, name)
        if method is not None:
            return truth(interp, interp.call(method, [value], {}), kind)
    if isinstance(value.payload, (list, dict, str)):
        return bool(value.payload)
    return True


def tensor_truth(interp: Interpreter, value: Tensor) -> bool:
    """Replaced by who traces `forward`, where some branches on data have a meaning."""
    lifting = interp.trace.lifting
    outcome = lifting.truth(value.value) if lifting is not None else None
    if outcome is not None:
        return outcome
    if value.value.everywhere is not None and not value.shape:
        return interp.branch(value.value.everywhere)
    if interp.framing:
        from codegen.graph import absence  # numpy takes its time

        answer = absence.padding(interp, value.value)
        if answer is not None:
            return answer
        from codegen.graph import selections  # which imports this

        if selections.holds(interp, value.value):
            return True
    interp.trace.decided_by_data()
    interp.unsupported("a branch on the data of a tensor", code="branch-on-data")


def negate(interp: Interpreter, value: Any) -> Any:
    if isinstance(value, Scalar):
        return scalars.apply("not", value)
    expr = container_expr(value)
    if expr is not None:
        return Scalar(not value, Apply("not", (expr,)))
    return not truth(interp, value)


# -- arithmetic ----------------------------------------------------------------------------------------------------------------


def guarded(interp: Interpreter, op: str, *args: Any) -> Any:
    """A scalar operation whose errors are the interpreted program's."""
    try:
        return scalars.apply(op, *args)
    except ZeroDivisionError as error:
        interp.throw("ZeroDivisionError", str(error))
    except OverflowError as error:
        interp.throw("OverflowError", str(error))
    except TypeError as error:
        interp.throw("TypeError", str(error))
    except ValueError as error:
        interp.throw("ValueError", str(error))


def binary(interp: Interpreter, op: str, left: Any, right: Any) -> Any:
    if isinstance(left, _ATOMS) and isinstance(right, _ATOMS):
        if op == "%" and isinstance(value_of(left), str):
            check_width(interp, str(value_of(left)))
            return str(value_of(left)) % (value_of(right),)
        if op == "*" and isinstance(value_of(left), int) and isinstance(value_of(right), str):
            left, right = right, left
        if op == "|" and None in (left, right) and not isinstance(left, Scalar) and not isinstance(right, Scalar):
            return External("typing.Union")
        return guarded(interp, op, left, right)
    if isinstance(left, Tensor) or isinstance(right, Tensor):
        return _tensor_binary(interp, op, left, right)
    if isinstance(left, Foreign) or isinstance(right, Foreign):
        if isinstance(left, Foreign):
            return left.binary(interp, op, right, False)
        return right.binary(interp, op, left, True)
    if isinstance(left, Instance) or isinstance(right, Instance):
        found = _instance_binary(interp, op, left, right)
        if found is not NotImplemented:
            return found
        if isinstance(left, Instance) and left.payload is not None:
            return binary(interp, op, left.payload, right)
        if isinstance(right, Instance) and right.payload is not None:
            return binary(interp, op, left, right.payload)
    if isinstance(left, Unknown) or isinstance(right, Unknown):
        return left if isinstance(left, Unknown) else right
    return _container_binary(interp, op, left, right)


def _tensor_binary(interp: Interpreter, op: str, left: Any, right: Any) -> Any:
    return tensor_ops.binary(interp.tensor_span(), op, left, right)


def _instance_binary(interp: Interpreter, op: str, left: Any, right: Any) -> Any:
    word = _METHODS[op]
    for owner, other, name in ((left, right, f"__{word}__"), (right, left, f"__r{word}__")):
        if isinstance(owner, Instance):
            method = classes.find(interp, owner.cls, name)
            if method is not None:
                result = interp.call(method, [owner, other], {})
                if result is not NotImplemented:
                    return result
    return NotImplemented


def _container_binary(interp: Interpreter, op: str, left: Any, right: Any) -> Any:
    if op == "+" and isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        if len(left) + len(right) > MAX_ITEMS:
            interp.unsupported("a list of unreasonable length", code="step-limit")
    match op, left, right:
        case "+", list(), list():
            return [*left, *right]
        case "+", tuple(), tuple():
            return (*left, *right)
        case "*", list() | tuple(), int() | Scalar():
            return _repeat(interp, left, right)
        case "*", int() | Scalar(), list() | tuple():
            return _repeat(interp, right, left)
        case "|", dict(), dict():
            return {**left, **right}
        case "|" | "&" | "-" | "^", SSet() | View(), SSet() | View():
            return _set_operation(op, _as_set(left), _as_set(right))
        case "%", str(), tuple():
            return left % plain(right)
        case "%", str(), _:
            return left % (plain(right),)
        case "|", Class() | External() | None, Class() | External() | None:
            return External("typing.Union")
        case "|", (DType() | tuple()), _:
            return External("typing.Union")
    if op == "|" and isinstance(right, (Class, External)):
        return External("typing.Union")
    interp.throw("TypeError", f"unsupported operand type(s) for {op}: '{type_name(left)}' and '{type_name(right)}'")


def _as_set(value: SSet | View) -> SSet:
    return value if isinstance(value, SSet) else SSet(value.source)


def _repeat(interp: Interpreter, items: Any, count: Any) -> Any:
    if isinstance(count, Scalar):
        interp.note(Kind.COUNT, count.expr, count.value)
    number = value_of(count)
    if not isinstance(number, int):
        interp.throw("TypeError", "can't multiply sequence by non-int")
    if len(items) * number > MAX_ITEMS:
        interp.unsupported("a list of unreasonable length", code="step-limit")
    repeated = (list(items) if isinstance(items, list) else items) * number
    if _keeps_sizes(interp) and isinstance(repeated, list):
        return _sized(repeated, guarded(interp, "*", length(interp, items), count))
    return repeated


def _keeps_sizes(interp: Interpreter) -> bool:
    """Whether lists know their lengths: what a configuration says of itself is checked against its number of layers."""
    return interp.stage != 1 and of_a_configuration(interp)


def _sized(items: list[Any], size: Any) -> list[Any]:
    """A list of a length that may be a symbol."""
    return SList(items, size=size) if isinstance(size, Scalar) else items


def _set_operation(op: str, left: SSet, right: SSet) -> SSet:
    a, b = left.items, right.items
    match op:
        case "|":
            return SSet([*a.values(), *b.values()])
        case "&":
            return SSet(v for k, v in a.items() if k in b)
        case "-":
            return SSet(v for k, v in a.items() if k not in b)
        case _:
            return SSet([*(v for k, v in a.items() if k not in b), *(v for k, v in b.items() if k not in a)])


def augmented(interp: Interpreter, op: str, left: Any, right: Any) -> Any:
    """`left op= right`: lists, sets, dicts and tensors change in place."""
    if isinstance(left, Tensor):
        if op in _INPLACE:
            return tensor_ops.method(interp.tensor_span(), left, _INPLACE[op], [right], {})
    if isinstance(left, list) and op == "+":
        forget(left)
        left.extend(listed(interp, right))
        return left
    if isinstance(left, SSet) and not left.frozen and isinstance(right, (SSet, View)):
        left.items = _set_operation(op, left, _as_set(right)).items
        return left
    if isinstance(left, dict) and op == "|":
        left.update(mapping(interp, right))
        return left
    if isinstance(left, Instance):
        method = classes.find(interp, left.cls, f"__i{_METHODS[op]}__")
        if method is not None:
            return interp.call(method, [left, right], {})
    return binary(interp, op, left, right)


_INPLACE = {"+": "add_", "-": "sub_", "*": "mul_", "/": "div_", "//": "floor_divide_", "%": "remainder_", "**": "pow_"}


def forget(container: Any) -> None:
    """A container that the program changes is no longer the configuration's; its elements still know where they are from."""
    if isinstance(container, (SList, SDict)):
        container.expr = None
    if isinstance(container, SList):
        container.size = None
    if isinstance(container, SList) and container.loop is not None:
        container[:] = [placed(item, container.loop, Const(i)) for i, item in enumerate(container)]
        container.loop = None


def unary(interp: Interpreter, op: type[ast.unaryop], value: Any) -> Any:
    if op is ast.Not:
        return negate(interp, value)
    if isinstance(value, Tensor):
        return tensor_ops.unary(interp.tensor_span(), {ast.USub: "-", ast.UAdd: "+", ast.Invert: "~"}[op], value)
    if isinstance(value, Unknown):
        return value
    if isinstance(value, Foreign):
        return value.binary(interp, {ast.USub: "neg", ast.UAdd: "pos", ast.Invert: "invert"}[op], None, False)
    if op is ast.UAdd:
        return value
    if isinstance(value, _ATOMS):
        if op is ast.Invert:
            return guarded(interp, "-", guarded(interp, "neg", value), 1)
        return guarded(interp, "neg", value)
    interp.throw("TypeError", f"bad operand type for unary: '{type_name(value)}'")


# -- comparison ----------------------------------------------------------------------------------------------------------------


def compare(interp: Interpreter, op: str, left: Any, right: Any) -> Any:
    match op:
        case "is" | "is not":
            same = identical(left, right)
            if right is None and isinstance(left, Tensor) and interp.framing and interp.surroundings.absence.optional:
                from codegen.graph import absence  # numpy takes its time

                same = absence.is_absent(interp, left)
            if op == "is" or not isinstance(same, Scalar):
                return same if op == "is" else not same
            return Scalar(not same.value, Apply("is not", same.expr.args)) if isinstance(same.expr, Apply) else same
        case "in" | "not in":
            inside = contains(interp, right, left)
            if op == "in":
                return inside
            return negate(interp, inside)
        case "==" | "!=":
            return equal(interp, op, left, right)
    if isinstance(left, _ATOMS) and isinstance(right, _ATOMS):
        return guarded(interp, op, left, right)
    if isinstance(left, Tensor) or isinstance(right, Tensor):
        return _tensor_binary(interp, op, left, right)
    if isinstance(left, SSet) and isinstance(right, SSet):
        a, b = set(left.items), set(right.items)
        return {"<=": a <= b, "<": a < b, ">=": a >= b, ">": a > b}[op]
    if isinstance(left, Instance) or isinstance(right, Instance):
        found = _instance_binary(interp, op, left, right)
        if found is not NotImplemented:
            return found
    if isinstance(left, Unknown) or isinstance(right, Unknown):
        return left if isinstance(left, Unknown) else right
    if isinstance(left, Foreign):
        return left.binary(interp, op, right, False)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return guarded(interp, op, plain(left), plain(right))
    interp.throw("TypeError", f"'{op}' not supported between '{type_name(left)}' and '{type_name(right)}'")


def identical(left: Any, right: Any) -> Any:
    """`left is right`."""
    if isinstance(left, Scalar) or isinstance(right, Scalar):
        if isinstance(left, _ATOMS) and isinstance(right, _ATOMS):
            return scalars.apply("is", left, right)
        return False
    for container, other in ((left, right), (right, left)):
        expr = origin(container)
        if expr is not None and other is None:
            return Scalar(False, Apply("is", (expr, Const(None))))
    return left is right or (isinstance(left, External) and left == right)


def equal(interp: Interpreter, op: str, left: Any, right: Any) -> Any:
    """`==` and `!=`."""
    if isinstance(left, _ATOMS) and isinstance(right, _ATOMS):
        return scalars.apply(op, left, right)
    if isinstance(left, Tensor) or isinstance(right, Tensor):
        if left is None or right is None:
            return op == "!="
        return _tensor_binary(interp, op, left, right)
    if isinstance(left, Foreign):
        return left.binary(interp, op, right, False)
    if (
        {left, right} == {DType.PROMOTED, DType.FLOAT32}
        if isinstance(left, DType) and isinstance(right, DType)
        else False
    ):
        interp.trace.widening = interp.trace.frame  # from here on float32 is what the tensor is: at least that
        return op == "=="
    a, b = _expression(left), _expression(right)
    if a is not None and b is not None and not (isinstance(a, Const) and isinstance(b, Const)):
        same = plain(left) == plain(right)
        return Scalar(same if op == "==" else not same, Apply(op, (a, b)))
    if isinstance(left, Instance) or isinstance(right, Instance):
        found = _instance_binary(interp, "==", left, right)
        if found is not NotImplemented:
            return found if op == "==" else negate(interp, found)
        left = left.payload if isinstance(left, Instance) and left.payload is not None else left
        right = right.payload if isinstance(right, Instance) and right.payload is not None else right
    outcome = _deep_equal(interp, left, right)
    return outcome if op == "==" else not outcome


def _expression(value: Any) -> Expr | None:
    """The expression of a scalar, a container of the configuration, or a list of scalars."""
    if isinstance(value, _ATOMS):
        return expr_of(value)
    expr = container_expr(value)
    if expr is not None:
        return expr
    if type(value) in (list, SList) and all(isinstance(item, _ATOMS) for item in value):
        return Apply("list", tuple(expr_of(item) for item in value))
    return None


def _deep_equal(interp: Interpreter, left: Any, right: Any) -> bool:
    if isinstance(left, _ATOMS) and isinstance(right, _ATOMS):
        return truth(interp, scalars.apply("==", left, right))
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        if isinstance(left, tuple) is not isinstance(right, tuple) or len(left) != len(right):
            return False
        return all(_deep_equal(interp, a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_deep_equal(interp, left[key], right[key]) for key in left)
    if isinstance(left, SSet) and isinstance(right, SSet):
        return left.items.keys() == right.items.keys()
    if isinstance(left, View) and isinstance(right, (SSet, View)):
        return set(left.source) == set(_as_set(right).items)
    if isinstance(left, Bound) and isinstance(right, Bound):
        return left.function is right.function and left.receiver is right.receiver
    if isinstance(left, DType) and isinstance(right, DType):
        return halves.same(interp, left, right)
    if isinstance(left, (External, DType)):
        return bool(left == right)
    return left is right


def plain(value: Any) -> Any:
    """A value without expressions, containers included."""
    match value:
        case Scalar():
            return value.value
        case list():
            return [plain(item) for item in value]
        case tuple():
            return tuple(plain(item) for item in value)
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case SSet():
            return set(value.items)
        case _:
            return value


def contains(interp: Interpreter, container: Any, item: Any) -> Any:
    """`item in container`."""
    match container:
        case Scalar() | str():
            if isinstance(item, _ATOMS):
                return guarded(interp, "in", item, container)
            interp.throw("TypeError", f"'in' requires a string, not '{type_name(item)}'")
        case dict():
            return _contains_key(interp, container, item)
        case View(kind="keys"):
            return _contains_key(interp, container.source, item)
        case View(kind=kind):
            return contains(interp, [v if kind == "values" else (k, v) for k, v in container.source.items()], item)
        case SSet():
            found = plain_key(item) in container.items
            return _membership(interp, found, list(container), item)
        case list() | tuple():
            return _contains_item(interp, container, item)
        case Range():
            interp.pin(item)
            return value_of(item) in container.host()
        case Tensor():
            return tensor_ops.method(interp.tensor_span(), _tensor_binary(interp, "==", container, item), "any", [], {})
        case Foreign():
            return container.binary(interp, "in", item, True)
        case Instance():
            method = classes.find(interp, container.cls, "__contains__")
            if method is not None and not (isinstance(method, Builtin) and container.payload is not None):
                return interp.call(method, [container, item], {})
            if container.payload is not None:
                return contains(interp, container.payload, item)
            return contains(interp, list(iterate(interp, container)), item)
        case Stream():
            return contains(interp, list(container.host), item)
        case Class():
            return contains(interp, list(iterate(interp, container)), item)
        case External():
            return False
    interp.throw("TypeError", f"argument of type '{type_name(container)}' is not iterable")


def _contains_key(interp: Interpreter, container: dict[Any, Any], item: Any) -> Any:
    key = plain_key(item)
    try:
        found = key in container
    except TypeError:
        interp.throw("TypeError", f"unhashable type: '{type_name(item)}'")
    if isinstance(container, Further):
        container.sought.add(key)
    if isinstance(container, SDict) and container.expr is not None and key not in container.added:
        if isinstance(item, _ATOMS):
            return Scalar(found, Apply("in", (expr_of(item), container.expr)))
    if isinstance(item, Scalar):
        return _membership(interp, found, list(container), item)
    return found


def _contains_item(interp: Interpreter, container: Any, item: Any) -> Any:
    expr = container_expr(container)
    if isinstance(item, _ATOMS) and all(isinstance(other, _ATOMS) for other in container):
        if isinstance(item, Watched) and expr is None and not any(isinstance(other, Scalar) for other in container):
            return _membership(interp, glance(item, _among(item, container)) in container, container, item)
        found = value_of(item) in [value_of(other) for other in container]
        if expr is not None:
            return Scalar(found, Apply("in", (expr_of(item), expr)))
        return _membership(interp, found, container, item)
    return any([item is other or _deep_equal(interp, other, item) for other in container])


def _membership(interp: Interpreter, found: bool, items: Any, item: Any) -> Any:
    if not isinstance(item, Scalar) and not any(isinstance(other, Scalar) for other in items):
        return found
    if not isinstance(item, _ATOMS):
        return found
    return Scalar(found, _among(item, items))


def _among(item: Any, items: Any) -> Expr:
    others = tuple(expr_of(other) for other in items if isinstance(other, _ATOMS))
    return Apply("in", (expr_of(item), Apply("list", others)))


# -- indexing ------------------------------------------------------------------------------------------------------------------


def reseed(value: Any, expr: Expr) -> Any:
    """A value of the configuration under another expression, containers included."""
    match value:
        case Scalar() | bool() | int() | float() | str() | None:
            return Scalar(value_of(value), expr)  # type: ignore[arg-type]
        case dict():
            return SDict({key: reseed(item, element_expr(expr, key)) for key, item in value.items()}, expr)
        case list():
            return SList((reseed(item, element_expr(expr, i)) for i, item in enumerate(value)), expr)
        case _:
            return value


def getitem(interp: Interpreter, owner: Any, index: Any) -> Any:
    match owner:
        case Tensor():
            if isinstance(index, Tensor) and index.dtype is DType.BOOL and (held := index.value.everywhere) is not None:
                return tensor_ops.all_or_none(interp.tensor_span(), owner, index, interp.branch(held))
            return tensor_ops.getitem(interp.tensor_span(), owner, index)
        case dict():
            return _dict_item(interp, owner, index)
        case list() | tuple():
            return _list_item(interp, owner, index)
        case str() | Scalar():
            return _text_item(interp, owner, index)
        case Foreign():
            return owner.item(interp, index)
        case Instance():
            return _instance_item(interp, owner, index)
        case Class() | External():
            return _class_item(interp, owner, index)
        case Range():
            return _range_item(interp, owner, index)
        case Unknown():
            return owner
        case View():
            interp.throw("TypeError", "'dict_keys' object is not subscriptable")
        case Function() | Builtin():
            return owner
    interp.throw("TypeError", f"'{type_name(owner)}' object is not subscriptable")


def _dict_item(interp: Interpreter, owner: dict[Any, Any], index: Any) -> Any:
    key = plain_key(index)
    try:
        present = key in owner
    except TypeError:
        interp.throw("TypeError", f"unhashable type: '{type_name(index)}'")
    if isinstance(owner, Further):
        owner.sought.add(key)
    if isinstance(owner, SDict) and owner.expr is not None and key not in owner.added:
        if isinstance(index, Scalar) and present and isinstance(owner[key], dict) and isinstance(key, int):
            return owner[key]  # which entries there are was asked before, and what differs between them has other keys
        if isinstance(index, Scalar) and present:
            return reseed(owner[key], Apply("getitem", (owner.expr, index.expr)))
        if not present:
            interp.note(Kind.PRESENCE, Apply("in", (Const(key), owner.expr)), False)
    elif isinstance(index, (Scalar, tuple)):
        interp.key(index)
    if not present:
        interp.throw_missing(index, owner)
    return owner[key]


def _list_item(interp: Interpreter, owner: Any, index: Any) -> Any:
    if isinstance(index, slice):
        part = plain_slice(index)
        items = owner[part]
        if isinstance(items, list) and _keeps_sizes(interp) and index.start is None and index.step is None:
            counted = isinstance(index.stop, Scalar) and index.stop.value >= 0  # type: ignore[operator]
            return _sized(items, guarded(interp, "min", index.stop, length(interp, owner)) if counted else None)
        expr = container_expr(owner)
        return SList(items, None) if expr is not None else items
    number = value_of(index)
    if not isinstance(number, int):
        interp.throw("TypeError", f"list indices must be integers or slices, not {type_name(index)}")
    if not -len(owner) <= number < len(owner):
        interp.throw("IndexError", "list index out of range")
    item = owner[number]
    expr = container_expr(owner)
    if isinstance(owner, SList) and owner.loop is not None:
        return placed(item, owner.loop, expr_of(index) if number >= 0 else Const(len(owner) + number))
    if isinstance(index, Scalar):
        if expr is not None:
            return reseed(item, Apply("getitem", (expr, index.expr)))
        if not any(isinstance(leaf, Index) for leaf in leaves(index.expr)):
            interp.pin(index)
        elif all(isinstance(other, (str, int, type(None))) for other in owner):
            return Scalar(item, Apply("getitem", (Apply("list", tuple(map(Const, owner))), index.expr)))
        else:
            interp.note_layer(index.expr, number)
            if all(isinstance(other, (Class, Function, Builtin)) for other in owner):
                _note_choice(interp, owner, item, index.expr)
    return item


def _note_choice(interp: Interpreter, owner: Sequence[Any], item: Any, number: Expr) -> None:
    """That a layer takes this class or function out of a list."""
    places = tuple(Const(at) for at, other in enumerate(owner) if other is item)
    if len(places) < len(owner):
        asked = Apply("==", (number, *places)) if len(places) == 1 else Apply("in", (number, Apply("tuple", places)))
        interp.note(Kind.KEY, asked, True)


def plain_slice(index: slice) -> slice:
    return slice(value_of(index.start), value_of(index.stop), value_of(index.step))


def _text_item(interp: Interpreter, owner: Any, index: Any) -> Any:
    text = value_of(owner)
    if not isinstance(text, str):
        interp.throw("TypeError", f"'{type_name(owner)}' object is not subscriptable")
    if isinstance(owner, Scalar) and isinstance(owner.expr, Key) and isinstance(index, Scalar) and text:
        number = value_of(index)
        if isinstance(number, int) and -len(text) <= number < len(text):
            return Scalar(text[number], Apply("getitem", (owner.expr, index.expr)))
    interp.pin(owner)
    if isinstance(index, slice):
        return text[plain_slice(index)]
    try:
        return text[interp.pin(index)]
    except IndexError:
        interp.throw("IndexError", "string index out of range")


def _instance_item(interp: Interpreter, owner: Instance, index: Any) -> Any:
    method = classes.find(interp, owner.cls, "__getitem__")
    if method is not None and not (isinstance(method, Builtin) and owner.payload is not None):
        return interp.call(method, [owner, index], {})
    if owner.payload is not None:
        if isinstance(owner.payload, dict) and plain_key(index) not in owner.payload:
            missing = classes.find(interp, owner.cls, "__missing__")
            if missing is not None:
                return interp.call(missing, [owner, index], {})
        return getitem(interp, owner.payload, index)
    interp.throw("TypeError", f"'{owner.cls.name}' object is not subscriptable")


def _class_item(interp: Interpreter, owner: Any, index: Any) -> Any:
    if isinstance(owner, Class):
        members = classes.enum_members(interp, owner)
        if members and isinstance(value_of(index), str):
            if index in members:
                return members[index]
            interp.throw_missing(index, members)
    return owner


def _range_item(interp: Interpreter, owner: Range, index: Any) -> Any:
    if isinstance(index, slice):
        if owner.of_input and plain_slice(index) == slice(None, None, -1) and owner.step == 1:
            return Range(binary(interp, "-", owner.stop, 1), binary(interp, "-", owner.start, 1), -1)
        return list(owner.host()[plain_slice(index)])
    return binary(interp, "+", owner.start, binary(interp, "*", index, owner.step))


def setitem(interp: Interpreter, owner: Any, index: Any, value: Any) -> None:
    match owner:
        case Tensor():
            if isinstance(index, Tensor) and index.dtype is DType.BOOL and (held := index.value.everywhere) is not None:
                if not interp.branch(held):
                    return
                if len(index.shape) == 1 and isinstance(value, Tensor) and value.shape:
                    index = slice(None)
            tensor_ops.setitem(interp.tensor_span(), owner, index, value)
        case dict():
            key = interp.key(index)
            if isinstance(owner, SDict):
                owner.writes([key])
            owner[key] = value
        case list():
            forget(owner)
            if isinstance(index, slice):
                owner[plain_slice(index)] = listed(interp, value)
            else:
                number = interp.pin(index)
                if not isinstance(number, int) or not -len(owner) <= number < len(owner):
                    interp.throw("IndexError", "list assignment index out of range")
                owner[number] = value
        case Foreign():
            owner.set_item(interp, index, value)
        case Instance():
            method = classes.find(interp, owner.cls, "__setitem__")
            if method is not None and not (isinstance(method, Builtin) and owner.payload is not None):
                interp.call(method, [owner, index, value], {})
            elif owner.payload is not None:
                setitem(interp, owner.payload, index, value)
            else:
                interp.throw("TypeError", f"'{owner.cls.name}' object does not support item assignment")
        case External():
            pass
        case _:
            interp.throw("TypeError", f"'{type_name(owner)}' object does not support item assignment")


def delitem(interp: Interpreter, owner: Any, index: Any) -> None:
    match owner:
        case dict():
            key = interp.key(index)
            if key not in owner:
                interp.throw("KeyError", str(key))
            if isinstance(owner, SDict):
                owner.writes([key])
            del owner[key]
        case list():
            forget(owner)
            del owner[plain_slice(index) if isinstance(index, slice) else interp.pin(index)]
        case Instance():
            method = classes.find(interp, owner.cls, "__delitem__")
            if method is not None and not (isinstance(method, Builtin) and owner.payload is not None):
                interp.call(method, [owner, index], {})
            else:
                delitem(interp, owner.payload, index)
        case _:
            interp.throw("TypeError", f"'{type_name(owner)}' object doesn't support item deletion")


# -- iteration -----------------------------------------------------------------------------------------------------------------


def loop_name(interp: Interpreter, *, around: int = 0) -> str:
    """The name of the index of a loop that is about to run, or of one of those that do: the innermost is 1."""
    depth = interp.loops - around
    return index_name(depth)


def counts(source: Any) -> bool:
    """Whether a range counts from zero, one by one."""
    return isinstance(source, Range) and value_of(source.start) == 0 and value_of(source.step) == 1


def last(source: Range) -> int:
    """The last value of the index of a loop over a range."""
    return len(source.host()) - 1


def iterate(interp: Interpreter, value: Any, *, repeats: bool = False) -> Iterator[Any]:
    """The elements of a value one after the other; a length that the configuration decides is noted.

    Every index of a range stands for other code when `forward` runs, unless a loop `repeats` the same for every module of a list.
    """
    match value:
        case list() | tuple():
            if isinstance(value, SList) and value.expr is not None:
                interp.note(Kind.COUNT, Apply("len", (value.expr,)), len(value))
                return _list_elements(interp, value)
            return _live(value) if isinstance(value, list) else iter(value)
        case dict():
            if isinstance(value, SDict) and value.expr is not None:
                _note_keys(interp, value)
            return iter(list(value))
        case SSet():
            return iter(value)
        case Range():
            return _range_elements(interp, value, repeats or not interp.framing or of_a_configuration(interp))
        case Stream():
            return value.host
        case View():
            return _view(interp, value)
        case str():
            return iter(value)
        case Scalar() if isinstance(value.value, str):
            return _letters(interp, value)
        case Tensor():
            size = value_of(value.shape[0])
            assert isinstance(size, int)
            if size != value.shape[0]:
                interp.trace.agreements.append((value.shape[0], size, interp.place()))
            return (tensor_ops.getitem(interp.tensor_span(), value, i) for i in range(size))
        case Foreign():
            return value.iterate(interp)
        case Instance():
            return _instance_elements(interp, value)
        case Class():
            return iter(list(classes.enum_members(interp, value).values()))
        case Unknown():
            interp.unsupported(f"a loop over what is not known: {value.reason}")
    interp.throw("TypeError", f"'{type_name(value)}' object is not iterable")


def _live(value: list[Any]) -> Iterator[Any]:
    position = 0
    while position < len(value):
        yield value[position]
        position += 1


def _list_elements(interp: Interpreter, value: SList) -> Iterator[Any]:
    """Names of kinds are taken by the index of the loop, so that equal layers have equal expressions."""
    expr = value.expr
    assert expr is not None
    if value and all(isinstance(value_of(item), str) for item in value):
        index = Index(loop_name(interp))
        return iter([Scalar(value_of(item), Apply("getitem", (expr, index))) for item in value])  # type: ignore[arg-type]
    return iter(list(value))


def _letters(interp: Interpreter, text: Scalar) -> Iterator[Any]:
    """The letters of a text: taken by the index of the loop, where a text of the configuration has one for each layer."""
    if not isinstance(text.expr, Key) or text.value == "":
        return iter(interp.pin(text))
    interp.note(Kind.COUNT, Apply("len", (text.expr,)), len(str(text.value)))
    index = Index(loop_name(interp))
    return iter([Scalar(letter, Apply("getitem", (text.expr, index))) for letter in str(text.value)])


def of_a_configuration(interp: Interpreter) -> bool:
    """Whether a method of the configuration runs."""
    owner = interp.scope.vars.get("self") if interp.scope is not None else None
    return isinstance(owner, Instance) and owner.path is not None


def _range_elements(interp: Interpreter, value: Range, free: bool) -> Iterator[Any]:
    host = value.host()
    if len(host) > MAX_ITEMS:
        interp.unsupported("a loop of unreasonable length", code="step-limit")
    symbolic = [bound for bound in (value.start, value.stop, value.step) if isinstance(bound, Scalar)]
    if not symbolic:
        return iter(host)
    if value.of_input and interp.framing and interp.surroundings.sketch:
        return iter(host)
    if value.of_input:
        interp.unsupported("a loop in Python over the tokens", help="loops over time are scans, see codegen/graph")
    length = value.stop if counts(value) else _range_length(interp, value)
    for bound in symbolic if not free else [length] if isinstance(length, Scalar) else []:
        interp.note(Kind.COUNT if free else Kind.STRUCTURE, bound.expr, bound.value)
    if not free:
        return iter(host)
    index = Index(loop_name(interp))
    return (_range_element(interp, value, Scalar(at, index)) for at in range(len(host)))


def _range_element(interp: Interpreter, owner: Range, at: Scalar) -> Any:
    if type(owner.start) is int and owner.start == 0 and type(owner.step) is int and owner.step == 1:
        return at
    return guarded(interp, "+", owner.start, guarded(interp, "*", owner.step, at))


def _note_keys(interp: Interpreter, value: SDict) -> None:
    assert value.expr is not None
    keys = Apply("list", tuple(map(Const, value.given)))
    interp.note(Kind.STRUCTURE, Apply("==", (Apply("keys", (value.expr,)), keys)), True)


def _view(interp: Interpreter, value: View) -> Iterator[Any]:
    source = value.source
    if isinstance(source, SDict) and source.expr is not None:
        _note_keys(interp, source)
    match value.kind:
        case "keys":
            return iter(list(source))
        case "values":
            return iter(list(source.values()))
        case _:
            return iter(list(source.items()))


def _instance_elements(interp: Interpreter, value: Instance) -> Iterator[Any]:
    method = classes.find(interp, value.cls, "__iter__")
    if method is not None and not (isinstance(method, Builtin) and value.payload is not None):
        return iterate(interp, interp.call(method, [value], {}))
    if value.payload is not None:
        return iterate(interp, value.payload)
    if (
        classes.find(interp, value.cls, "__getitem__") is not None
        and classes.find(interp, value.cls, "__len__") is not None
    ):
        count = value_of(length(interp, value))
        assert isinstance(count, int)
        return (getitem(interp, value, i) for i in range(count))
    interp.throw("TypeError", f"'{value.cls.name}' object is not iterable")


def listed(interp: Interpreter, value: Any, kind: Kind = Kind.COUNT) -> list[Any]:
    """All elements of a value. Where their number matters, it is noted."""
    if isinstance(value, SList) and value.expr is not None:
        interp.note(kind, Apply("len", (value.expr,)), len(value))
        return list(value)
    if isinstance(value, SList) and value.loop is not None:
        return [placed(item, value.loop, Const(i)) for i, item in enumerate(value)]
    if isinstance(value, (list, tuple)):
        return list(value)
    items = []
    for item in iterate(interp, value):
        items.append(item)
        if len(items) > MAX_ITEMS:
            interp.unsupported("a list of unreasonable length", code="step-limit")
    return items


def mapping(interp: Interpreter, value: Any) -> dict[Any, Any]:
    """What `**value` gives."""
    if isinstance(value, dict):
        return value
    if isinstance(value, Instance):
        if isinstance(value.payload, dict):
            return value.payload
        keys = listed(interp, interp.call(interp.getattr(value, "keys"), [], {}))
        return {interp.key(key): getitem(interp, value, key) for key in keys}
    if isinstance(value, Foreign):
        keys = listed(interp, interp.call(value.get(interp, "keys"), [], {}))
        return {interp.key(key): value.item(interp, key) for key in keys}
    if isinstance(value, (View, Stream)):
        return {interp.key(k): v for k, v in iterate(interp, value)}
    interp.throw("TypeError", f"argument after ** must be a mapping, not {type_name(value)}")


def length(interp: Interpreter, value: Any) -> Any:
    match value:
        case SList() | SDict() if (expr := container_expr(value)) is not None:
            return Scalar(len(value), Apply("len", (expr,)))
        case SList() if value.size is not None:
            return value.size
        case list() | tuple() | dict() | SSet() | str():
            return len(value)
        case Scalar() if isinstance(value.value, str):
            return scalars.apply("len", value)
        case View():
            return length(interp, value.source)
        case Range():
            return _range_length(interp, value)
        case Tensor():
            return value.shape[0]
        case Foreign():
            return value.length(interp)
        case Unknown():
            return value
        case Instance():
            method = classes.find(interp, value.cls, "__len__")
            if method is not None and not (isinstance(method, Builtin) and value.payload is not None):
                return interp.call(method, [value], {})
            if value.payload is not None:
                return length(interp, value.payload)
        case Class():
            return len(listed(interp, value))
    interp.throw("TypeError", f"object of type '{type_name(value)}' has no len()")


def _range_length(interp: Interpreter, value: Range) -> Any:
    span = guarded(interp, "-", value.stop, value.start)
    if value_of(value.step) == 1:
        return guarded(interp, "max", 0, span)
    host = value.host()
    if not host or host.step < 0:
        return len(host)
    return guarded(interp, "//", guarded(interp, "+", span, guarded(interp, "-", value.step, 1)), value.step)


def unrolled(interp: Interpreter, items: list[Any], source: Any = None) -> list[Any]:
    """A list made by a comprehension over all of `source`: what its elements say of the loop's index holds at their own place."""
    size = length(interp, source) if _keeps_sizes(interp) and isinstance(source, (Range, list)) else None
    if isinstance(source, Range) and items and source.start == 0 and source.step == 1:
        size = source.stop if size is not None else None  # there are some
    index = Index(loop_name(interp))
    if any(isinstance(item, Scalar) and index in leaves(item.expr) for item in items):
        return SList(items, None, index, size if isinstance(size, Scalar) else None)
    return _sized(items, size)


def placed(item: Any, loop: Index, position: Expr) -> Any:
    """An element of a list that a loop made, where it is taken out at `position`."""
    if isinstance(item, Scalar) and loop in leaves(item.expr):
        return Scalar(item.value, substitute(item.expr, {loop: position}))
    return item


def settled(interp: Interpreter, value: Scalar, loop: Index, last_index: int) -> Any:
    """A number that a loop leaves behind: its last index is a constant; where that does not reproduce it, so is the number."""
    if loop not in leaves(value.expr):
        return value
    expr = substitute(value.expr, {loop: Const(last_index)})
    try:
        if evaluate(expr, interp.environment) == value.value:
            return scalars.scalar(value.value, expr)
    except (KeyError, IndexError, TypeError, ValueError, ArithmeticError):
        pass
    return value.value


# -- text ----------------------------------------------------------------------------------------------------------------------


def joined(interp: Interpreter, left: Any, right: Any) -> Any:
    if left == "" and not isinstance(left, Scalar):
        return right
    if right == "" and not isinstance(right, Scalar):
        return left
    if isinstance(left, (str, Scalar)) and isinstance(right, (str, Scalar)):
        return guarded(interp, "+", left, right)
    return f"{value_of(left)}{value_of(right)}"


def check_width(interp: Interpreter, template: str) -> None:
    """Refuse to pad text to millions of characters."""
    if re.search(r"\d{7}", template):
        interp.unsupported("text of unreasonable length", code="step-limit")


def formatted(interp: Interpreter, value: Any, conversion: int, spec: Any) -> Any:
    if isinstance(value, _ATOMS) and conversion == -1 and not spec:
        return guarded(interp, "str", value)
    check_width(interp, str(spec))
    plain_value = plain(value)
    text = (
        describe(interp, value)
        if not isinstance(plain_value, (int, float, str, bool, type(None), list, tuple))
        else plain_value
    )
    if conversion == ord("r"):
        text = repr(text)
    elif conversion == ord("s"):
        text = str(text)
    try:
        return format(text, spec or "") if not isinstance(text, (list, tuple)) else str(text)
    except (TypeError, ValueError):
        return str(text)


def describe(interp: Interpreter, value: Any) -> str:
    """`str(value)` of an object."""
    match value:
        case Instance() if "args" in value.dict and value.cls.name == "KeyError":
            return " ".join(repr(plain(arg)) for arg in value.dict["args"])
        case Instance() if "args" in value.dict:
            return " ".join(str(plain(arg)) for arg in value.dict["args"])
        case Instance() if isinstance(value.payload, str):
            return value.payload
        case Class():
            return f"<class '{value.qualified}'>"
        case DType():
            return f"torch.{value.value}"
        case SSet():
            return "{" + ", ".join(repr(key) for key in value.items) + "}"
        case _:
            return str(plain(value))
