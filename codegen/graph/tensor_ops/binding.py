"""Rules by the names they are called by, and the checks that their arguments pass through.

A rule is a Python function whose parameters are those of the torch function, after the trace. It checks its arguments, works
out shape and type, and records operations of `ir.ops.OPS`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import NoReturn, TypeVar

from codegen.diagnostics import CompileError, Diagnostic, Label
from codegen.graph.objects import Unknown
from codegen.graph.values import Scalar, Size, Tensor, Trace, value_of
from ir.graph import DType
from ir.ops import OPS
from ir.records import dataclass

Arguments = tuple[list[object], dict[str, object]]
Operand = Tensor | Scalar | bool | int | float
Shape = tuple[Size, ...]

# Where a tensor lies and whether it is differentiated changes no number
PLACEMENT = frozenset(
    {"device", "layout", "pin_memory", "memory_format", "non_blocking", "requires_grad", "copy", "generator"}
)
_ALIASES = {"axis": "dim", "keepdims": "keepdim", "x": "input", "self": "input", "a": "input"}


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    run: Callable[..., object]

    @property
    def signature(self) -> inspect.Signature:
        return _signature(self.run)

    @property
    def variadic(self) -> str | None:
        """The parameter that takes sizes one by one as well as in one tuple."""
        return _variadic(self.run)


@cache
def _signature(run: Callable[..., object]) -> inspect.Signature:
    """Worked out for the rules that a source needs, which are few of all."""
    return inspect.signature(run)


@cache
def _variadic(run: Callable[..., object]) -> str | None:
    parameters = _signature(run).parameters.values()
    return next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)


FUNCTIONS: dict[str, Rule] = {}
METHODS: dict[str, Rule] = {}
ATTRIBUTES: dict[str, Callable[[Trace, Tensor], object]] = {}

F = TypeVar("F", bound=Callable[..., object])


@cache
def _arity(run: Callable[..., object]) -> tuple[float, float]:
    """How few and how many arguments a rule takes by their places, if nothing is given by name."""
    parameters = _signature(run).parameters.values()
    placed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters):
        return math.inf, -math.inf
    return sum(p.default is p.empty for p in placed), len(placed) if _variadic(run) is None else math.inf


def rule(*names: str, methods: Sequence[str] = ()) -> Callable[[F], F]:
    """Register a rule for functions (`torch.` is implied, `F.` is torch.nn.functional) and methods of tensors."""

    def register(run: F) -> F:
        for name in names:
            full = "torch.nn.functional." + name[2:] if name.startswith("F.") else "torch." + name
            assert full not in FUNCTIONS, full
            FUNCTIONS[full] = Rule(full, run)
        for name in methods:
            assert name not in METHODS, name
            METHODS[name] = Rule("Tensor." + name, run)
        return run

    return register


def attribute_rule(*names: str) -> Callable[[F], F]:
    def register(run: F) -> F:
        for name in names:
            ATTRIBUTES[name] = run
        return run

    return register


def apply_rule(trace: Trace, found: Rule, args: list[object], kwargs: dict[str, object]) -> object:
    """Bind the arguments and run the rule.

    Raises:
        CompileError: an argument that the rule does not know, or a value that it does not take.
    """
    try:
        least, most = _arity(found.run)
        if not kwargs and least <= 1 + len(args) <= most:  # binding them would give them back
            return found.run(trace, *args)
        bound = _bind(trace, found, args, kwargs)
        return found.run(*bound.args, **bound.kwargs)
    except CompileError:
        raise
    except TypeError as error:
        fail(trace, "unknown-op", f"`{found.name}` is called in a way that is not known: {error}", _TEACH)
    except (ArithmeticError, ValueError, IndexError, KeyError) as error:
        fail(trace, "invalid-op", f"`{found.name}` cannot be computed: {error}")


_TEACH = "the signatures that are known are those of torch; an argument more is taught in codegen/graph/tensor_ops/"


def _bind(trace: Trace, found: Rule, args: list[object], kwargs: dict[str, object]) -> inspect.BoundArguments:
    params = found.signature.parameters
    named: dict[str, object] = {}
    spliced: list[object] = []
    for key, value in kwargs.items():
        name = _ALIASES[key] if key not in params and _ALIASES.get(key) in params else key
        if name in ("size", "shape", "sizes", "dims", "repeats") and found.variadic is not None and name not in params:
            name = found.variadic
        if name == found.variadic:
            spliced = [value]
        elif name in params or "kwargs" in params:
            named[name] = value
        elif name == "out" and value is None or name in PLACEMENT:
            continue
        else:
            fail(trace, "unknown-op", f"`{found.name}` has no argument `{key}` that is known", _TEACH)
    return found.signature.bind(trace, *args, *spliced, **named)


# ------------------------------------------------------------------------------------------------------------ findings


def fail(trace: Trace, code: str, message: str, help: str = "") -> NoReturn:
    """A CompileError at the expression that is being evaluated."""
    label = None if trace.span is None else Label(trace.span)
    raise CompileError(Diagnostic(code, message, label, help=help))


def data_dependent(trace: Trace, what: str) -> NoReturn:
    trace.decided_by_data()
    fail(
        trace,
        "data-dependent",
        f"{what} depends on the data, which only a running model knows",
        "shapes, branches and Python numbers have to follow from the configuration and the shapes of the inputs",
    )


# ------------------------------------------------------------------------------------------------------------ arguments


def kind_of(x: object) -> str:
    """What an argument is called in a message."""
    if isinstance(x, Scalar):
        return type(x.value).__name__
    if isinstance(x, Unknown):
        return f"value that is not known ({x.reason})"
    return "None" if x is None else type(x).__name__


def tensor(trace: Trace, x: object) -> Tensor:
    if not isinstance(x, Tensor):
        fail(trace, "invalid-op", f"a {kind_of(x)} where a tensor is needed")
    return x


def tensors(trace: Trace, xs: object) -> tuple[Tensor, ...]:
    if not isinstance(xs, (list, tuple)):
        fail(trace, "invalid-op", f"a {kind_of(xs)} where a sequence of tensors is needed")
    return tuple(tensor(trace, x) for x in xs)


def is_number(x: object) -> bool:
    return isinstance(value_of(x), (bool, int, float))


def operand(trace: Trace, x: object) -> Operand:
    """A tensor or a number."""
    if isinstance(x, Tensor) or is_number(x):
        return x  # type: ignore[return-value]
    fail(trace, "invalid-op", f"a {kind_of(x)} where a tensor or a number is needed")


def number(trace: Trace, x: object) -> Scalar | bool | int | float:
    if is_number(x):
        return x  # type: ignore[return-value]
    if isinstance(x, Tensor):
        data_dependent(trace, "a number read from a tensor")
    fail(trace, "invalid-op", f"a {kind_of(x)} where a number is needed")


def size(trace: Trace, x: object) -> Size:
    if isinstance(value_of(x), int) and not isinstance(value_of(x), bool):
        return x  # type: ignore[return-value]
    if isinstance(x, Tensor):
        data_dependent(trace, "a size read from a tensor")
    fail(trace, "invalid-op", f"a {kind_of(x)} where a size is needed")


def integer(trace: Trace, x: object) -> int:
    """A number that decides the structure of the result: an axis, a count of axes."""
    return value_of(size(trace, x))  # type: ignore[return-value]


def flag(trace: Trace, x: object) -> bool:
    value = value_of(x)
    if not isinstance(value, (bool, int)):
        fail(trace, "invalid-op", f"a {kind_of(x)} where a flag is needed")
    return bool(value)


def text(trace: Trace, x: object) -> str:
    value = value_of(x)
    if not isinstance(value, str):
        fail(trace, "invalid-op", f"a {kind_of(x)} where a string is needed")
    return value


def dtype(trace: Trace, x: object) -> DType:
    if not isinstance(x, DType):
        fail(trace, "invalid-op", f"a {kind_of(x)} where a dtype is needed")
    return x


def sizes(trace: Trace, xs: Sequence[object]) -> Shape:
    """Sizes that are passed one by one or as one sequence."""
    if len(xs) == 1 and isinstance(xs[0], (list, tuple)):
        xs = xs[0]
    return tuple(size(trace, x) for x in xs)


def plain_dim(trace: Trace, x: object, rank: int) -> int:
    """An axis counted from the front."""
    dim = integer(trace, x)
    if not -max(rank, 1) <= dim < max(rank, 1):
        fail(trace, "invalid-op", f"there is no axis {dim} in a tensor of {rank} axes")
    return dim % max(rank, 1)


def canonical_dim(trace: Trace, x: object, rank: int) -> int:
    """An axis as operations have it: -1 for the last, others counted from the front."""
    return canonical(plain_dim(trace, x, rank), rank)


def canonical(dim: int, rank: int) -> int:
    return -1 if dim == max(rank, 1) - 1 else dim


def plain_dims(trace: Trace, xs: object, rank: int) -> tuple[int, ...]:
    items = xs if isinstance(xs, (list, tuple)) else (xs,)
    dims = tuple(plain_dim(trace, x, rank) for x in items)
    if len(set(dims)) != len(dims):
        fail(trace, "invalid-op", "an axis is named twice")
    return dims


# -------------------------------------------------------------------------------------------------------------- results


def emit(trace: Trace, op: str, args: tuple[object, ...], shape: Shape, dtype: DType) -> Tensor:
    """Record an operation with one result."""
    assert len(args) == len(OPS[op].params), op
    return trace.emit(op, args, (shape, dtype))[0]


class Named(tuple[object, ...]):
    """Several results, also by name (`.values`, `.indices`)."""

    fields: tuple[str, ...] = ("values", "indices")

    def get(self, name: str) -> object:
        """Raises KeyError."""
        if name not in self.fields:
            raise KeyError(name)
        return self[self.fields.index(name)]
