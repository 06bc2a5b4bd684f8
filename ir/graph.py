"""What the source did: a tree of modules, and a region of operations for every call frame.

Values are numbered within their region, so two regions that compute the same are equal. Names and spans say where a
value came from; they never take part in equality.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import TYPE_CHECKING

from ir.expressions import Expr
from ir.records import dataclass, field, replace
from ir.spans import Span

if TYPE_CHECKING:
    from ir.arch import Component


class DType(Enum):
    """Element types. MODEL is the type that the user loads the model in; PROMOTED is MODEL, but at least float32."""

    MODEL = "model"
    PROMOTED = "promoted"
    FLOAT64 = "float64"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    INT64 = "int64"
    INT32 = "int32"
    INT16 = "int16"
    INT8 = "int8"
    UINT8 = "uint8"
    BOOL = "bool"
    COMPLEX64 = "complex64"

    def __repr__(self) -> str:
        return f"DType.{self.name}"


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor in a region. `names` are the variable names that the source gave it, in order."""

    id: int
    shape: tuple[Expr, ...]
    dtype: DType
    names: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Number:
    """A number, string or flag that the operation takes, with where it came from; `names` as for a Value."""

    expr: Expr
    names: tuple[str, ...] = field(default=(), compare=False)
    kind: str = field(default="", compare=False, repr=False)  # "int", "float", ... of a parameter


@dataclass(frozen=True, slots=True)
class DTypeOf:
    """The element type of a value that is at hand (`x.dtype` in the source)."""

    value: Value


@dataclass(frozen=True, slots=True)
class SliceOf:
    """`start:stop:step` in an index; None where the source leaves it out."""

    start: Operand
    stop: Operand
    step: Operand


@dataclass(frozen=True, slots=True)
class Ellipsis_:
    """`...` in an index."""


Operand = Value | Number | DType | DTypeOf | SliceOf | Ellipsis_ | None | tuple["Operand", ...]


@dataclass(frozen=True, slots=True)
class Op:
    """A tensor operation: `name` is a key of `ir.ops.OPS`, whose signature the arguments fill in order."""

    name: str
    args: tuple[Operand, ...]
    results: tuple[Value, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ModuleTarget:
    """A method of a module, by its path from the module that owns the region."""

    path: str
    method: str = "forward"


@dataclass(frozen=True, slots=True)
class FunctionTarget:
    """A helper function of the source, or a method without state."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call frame of its own: the arguments become the parameters of `region`, its results the results."""

    target: ModuleTarget | FunctionTarget
    region: Region
    args: tuple[Operand, ...]
    results: tuple[Value, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop over a list of modules. Every iteration runs the body of its kind.

    The parameters of a body are the carried values, then the invariant ones, then those that differ by kind. The results of
    a body are the carried values of the next iteration; those of the last are the results of the loop. A carried value is
    None where an iteration makes it for later ones: until then no body reads it.
    """

    container: str
    bodies: tuple[Region, ...]
    kinds: tuple[int, ...]
    carried: tuple[Operand, ...]
    invariant: tuple[Operand, ...]
    varying: tuple[tuple[Operand, ...], ...]
    results: tuple[Value, ...]
    span: Span | None = field(default=None, compare=False, repr=False)
    index: str = "layer"  # the name of the number of the iteration, in the bodies


@dataclass(frozen=True, slots=True)
class Raised:
    """Operations that were recognised as a component of the field; `rule` says by which rule."""

    component: Component
    args: tuple[Operand, ...]
    results: tuple[Value, ...]
    rule: str = field(default="", compare=False)
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Scan:
    """A loop over time or chunks: every iteration hands the carried values to the next.

    `args` are the first carried values, then tensors of which iteration i takes slice i of the axis in `axes`, then what all
    iterations take whole. The results of the body are what it carries on, then what is stacked along the axes in `stacked`;
    so are those of the loop. The body knows the number of the iteration as the size `index`. A loop that may have no
    iteration says in `shapes` what it has stacked then.
    """

    body: Region
    args: tuple[Operand, ...]
    results: tuple[Value, ...]
    length: Expr
    carries: int
    axes: tuple[int, ...]
    stacked: tuple[int, ...]
    index: str
    shapes: tuple[tuple[Expr, ...], ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Branch:
    """One of two ways to compute the results, chosen by the sizes of the input. Both take all of `args`."""

    condition: Expr
    then: Region
    otherwise: Region
    args: tuple[Operand, ...]
    results: tuple[Value, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


Node = Op | Call | Loop | Raised | Scan | Branch


WRITES = "state_write"
"""The operation whose result is what later calls find: nothing in the region uses it."""

BEGUN = "begun"
"""The name of the state [B] that is one where there were tokens before."""

STATES = frozenset({"state_read", "state_write", "state_extend", "state_append"})
SLOTS = {"cache_update": 2, **dict.fromkeys(STATES, 1)}
"""The operations that keep something, and which of their arguments is the slot of the cache."""


def has_effect(node: Node) -> bool:
    """Whether a node leaves something behind for later calls, so that it is needed though nobody uses its results."""
    match node:
        case Op(name):
            return name == WRITES
        case Call(region=inner):
            return any(has_effect(other) for other in inner.nodes)
        case Loop(bodies=bodies):
            return any(has_effect(other) for body in bodies for other in body.nodes)
        case Scan() | Branch():
            return any(has_effect(other) for region in within(node) for other in region.nodes)
        case Raised():
            return False


def within(node: Node) -> tuple[Region, ...]:
    """The regions of a node that run in the frame of the node itself: a body, or two arms."""
    match node:
        case Scan(body=body):
            return (body,)
        case Branch(then=then, otherwise=otherwise):
            return (then, otherwise)
        case _:
            return ()


def operands_of(node: Node) -> tuple[Operand, ...]:
    """Everything that a node takes, in order."""
    if isinstance(node, Loop):
        return (*node.carried, *node.invariant, *(operand for kind in node.varying for operand in kind))
    return node.args


def values_in(operands: Iterable[Operand]) -> Iterator[Value]:
    """The values among operands, in order, as often as they occur; `x.dtype` is a use of x."""
    for operand in operands:
        match operand:
            case Value():
                yield operand
            case DTypeOf(value):
                yield value
            case SliceOf(start, stop, step):
                yield from values_in((start, stop, step))
            case tuple():
                yield from values_in(operand)
            case Number() | DType() | Ellipsis_() | None:
                pass


def with_regions(node: Scan | Branch, change: Callable[[Region], Region]) -> Scan | Branch:
    """The node with the regions that run in its frame changed."""
    match node:
        case Scan(body=body):
            return replace(node, body=change(body))
        case Branch(then=then, otherwise=otherwise):
            return replace(node, then=change(then), otherwise=change(otherwise))


@dataclass(frozen=True, slots=True)
class Region:
    """The body of one call frame. `params` are tensors or numbers, `results` any operands."""

    name: str
    params: tuple[Value | Number, ...]
    nodes: tuple[Node, ...]
    results: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter or buffer of a module. `fill` computes a buffer from the configuration; `None` for what a checkpoint holds.
    A parameter that is not `trainable` has no gradient. `start` is the number that all elements are before a checkpoint is read;
    `None` where they are drawn.
    """

    name: str
    shape: tuple[Expr, ...]
    dtype: DType
    buffer: bool = False
    persistent: bool = True
    fill: Region | None = None
    trainable: bool = True
    start: Expr | None = None


@dataclass(frozen=True, slots=True)
class Module:
    """A module instance. `kind` names the library layer ("Linear", "Embedding", "ModuleList", ...) or is empty."""

    class_name: str
    kind: str
    arguments: tuple[tuple[str, Operand], ...]
    parameters: tuple[Parameter, ...]
    children: tuple[tuple[str, Module], ...]
    span: Span | None = field(default=None, compare=False, repr=False)

    def at(self, path: str) -> Module:
        """
        Raises:
            KeyError: there is no module at `path`.
        """
        found = self
        for step in path.split(".") if path else ():
            found = dict(found.children)[step]
        return found
