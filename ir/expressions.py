"""Symbolic numbers: what the compiler knows of a size, a constant or a condition beyond its value.

An expression is evaluated in the order and with the operations of the source, so that floats agree to the last bit. What is
compared and looked up most often here says itself how: hundreds of thousands of times in one compile.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import assert_never

from ir.records import dataclass, field

Plain = bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Const:
    """A literal of the source."""

    value: Plain

    def __eq__(self, other: object) -> bool:
        return other.__class__ is Const and (self.value,) == (other.value,)

    def __hash__(self) -> int:
        try:
            return hash(self.value)
        except TypeError:  # a list or a dict of the configuration
            return hash(type(self.value))


@dataclass(frozen=True, slots=True)
class Key:
    """An attribute of the resolved configuration; deeper steps go into nested dicts and lists."""

    path: tuple[str | int, ...]

    def __eq__(self, other: object) -> bool:
        return other.__class__ is Key and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)


@dataclass(frozen=True, slots=True)
class Raw:
    """A key of config.json as it was written, before the configuration class saw it."""

    path: tuple[str | int, ...]

    def __eq__(self, other: object) -> bool:
        return other.__class__ is Raw and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)


@dataclass(frozen=True, slots=True)
class Dim:
    """A size known only when the model runs: B batch, T new tokens, P tokens in the cache."""

    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """The index of the surrounding loop over layers; the same in every iteration."""

    name: str


@dataclass(frozen=True, slots=True)
class Local:
    """A number that a helper function takes as a parameter."""

    name: str


class _Known:
    """What is worked out once for each operation: expressions are large, shared, and looked up often."""

    __slots__ = ("_hash", "_leaves", "_raw_paths")
    _hash: int
    _leaves: frozenset[Expr]
    _raw_paths: frozenset[tuple[str | int, ...]]


@dataclass(frozen=True, slots=True)
class Apply(_Known):
    """An operation on expressions; `op` is a key of OPERATIONS."""

    op: str
    args: tuple[Expr, ...]

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return other.__class__ is Apply and self.op == other.op and self.args == other.args

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            object.__setattr__(self, "_hash", hash((self.op, self.args)))
            return self._hash


Expr = Const | Key | Raw | Dim | Index | Local | Apply

OPERATIONS: dict[str, Callable[..., object]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
    "neg": operator.neg,
    "^": operator.xor,
    "&": operator.and_,
    "|": operator.or_,
    "<<": operator.lshift,
    ">>": operator.rshift,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "is": lambda a, b: a is b,
    "is not": lambda a, b: a is not b,
    "in": lambda a, b: a in b,
    "not in": lambda a, b: a not in b,
    "not": operator.not_,
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "abs": abs,
    "round": round,
    "max": max,
    "min": min,
    "ceil": math.ceil,
    "floor": math.floor,
    "sqrt": math.sqrt,
    "log": math.log,
    "log2": math.log2,
    "exp": math.exp,
    "cos": math.cos,
    "sin": math.sin,
    "gcd": math.gcd,
    "lcm": math.lcm,
    "type": lambda x: type(x).__name__,
    "keys": lambda x: list(x),
    "len": len,
    "getitem": operator.getitem,
    "list": lambda *items: list(items),
    "tuple": lambda *items: items,
    "if": lambda condition, then, otherwise: then if condition else otherwise,
}


@dataclass(frozen=True, slots=True)
class Environment:
    """Values for the leaves of an expression. `config` and `raw` are nested mappings and lists."""

    config: Mapping[str, object] = field(default_factory=dict)
    raw: Mapping[str, object] = field(default_factory=dict)
    dims: Mapping[str, int] = field(default_factory=dict)
    indices: Mapping[str, int] = field(default_factory=dict)
    locals: Mapping[str, object] = field(default_factory=dict)


def index_name(depth: int) -> str:
    """What the index of a list of modules is called that is inside `depth` others, and that of a loop over one."""
    return "layer" if depth == 0 else f"inner{depth}"


def places(path: str) -> dict[str, int]:
    """The numbers of the items of lists that a module is in, the outermost first, by the names of their indices."""
    numbers = [int(part) for part in path.split(".") if part.isdigit()]
    return {index_name(depth): number for depth, number in enumerate(numbers)}


def evaluate(expr: Expr, env: Environment) -> object:
    """The value of `expr`.

    Raises:
        KeyError: a leaf has no value in `env`.
        ArithmeticError, TypeError, ValueError: as the operation itself.
    """
    kind = type(expr)
    if kind is Apply:
        return OPERATIONS[expr.op](*[evaluate(arg, env) for arg in expr.args])  # type: ignore[union-attr]
    match expr:
        case Const(value):
            return value
        case Key(path):
            return _walk(env.config, path)
        case Raw(path):
            return _walk(env.raw, path)
        case Dim(name):
            return env.dims[name]
        case Index(name):
            return env.indices[name]
        case Local(name):
            return env.locals[name]
        case Apply():
            raise AssertionError("handled above")
        case _:
            assert_never(expr)


def _walk(root: object, path: tuple[str | int, ...]) -> object:
    for step in path:
        root = root[step]  # type: ignore[index]
    return root


_NONE: frozenset[Expr] = frozenset()


def leaves(expr: Expr) -> frozenset[Expr]:
    """The keys, dims and indices that `expr` depends on."""
    if isinstance(expr, Const):
        return _NONE
    if not isinstance(expr, Apply):
        return frozenset((expr,))
    try:
        return expr._leaves
    except AttributeError:
        object.__setattr__(expr, "_leaves", _NONE.union(*map(leaves, expr.args)))
        return expr._leaves


_NOWHERE: frozenset[tuple[str | int, ...]] = frozenset()


def raw_paths_of(expr: Expr) -> frozenset[tuple[str | int, ...]]:
    """The keys of config.json that `expr` depends on. That something is in an object reads that key of it."""
    if isinstance(expr, Raw):
        return frozenset((expr.path,))
    if not isinstance(expr, Apply):
        return _NOWHERE
    try:
        return expr._raw_paths
    except AttributeError:
        found = _NOWHERE.union(*map(raw_paths_of, expr.args))
        match expr:
            case Apply("in", (Const(str() as name), Raw(path))):
                found = frozenset(((*path, name),))
        object.__setattr__(expr, "_raw_paths", found)
        return found


def indexed_lists(expr: Expr) -> set[Key]:
    """The lists of the configuration that an expression takes the element of a layer from."""
    match expr:
        case Apply("getitem", (Key() as key, Index())):
            return {key}
        case Apply(_, args):
            return set().union(*(indexed_lists(arg) for arg in args))
        case _:
            return set()


def substitute(expr: Expr, replacements: Mapping[Expr, Expr]) -> Expr:
    """`expr` with every subexpression that is a key of `replacements` replaced, outermost first."""
    if expr in replacements:
        return replacements[expr]
    if not isinstance(expr, Apply):
        return expr
    args = tuple([substitute(arg, replacements) for arg in expr.args])
    return expr if all(map(operator.is_, args, expr.args)) else Apply(expr.op, args)
