"""The objects of the interpreted program.

Literals stay plain Python values, numbers that depend on the configuration are `Scalar`, tensors are `Tensor`; tuples, lists and
dicts are Python's own, with `SList` and `SDict` for those that came from the configuration and know it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from codegen.graph.values import Frame, Looked, Node, Reads, Scalar, Size, Tensor, TensorValue, value_of
from ir.expressions import Apply, Dim, Expr, Index, Key, Plain, Raw, leaves
from ir.records import dataclass, field

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter
    from codegen.graph.scope import Namespace, Scope


class SList(list[Any]):
    """A list whose elements and length follow from the configuration. `expr` is forgotten when the list is changed.

    With `loop`, a comprehension made it, and element i speaks of i as that index; `size` is its length, if that is a symbol.
    """

    __slots__ = ("expr", "loop", "size")

    def __init__(
        self, items: Iterable[Any] = (), expr: Expr | None = None, loop: Index | None = None, size: Scalar | None = None
    ):
        super().__init__(items)
        self.expr = expr
        self.loop = loop
        self.size = size


class Grown(list[Any]):
    """A list that a loop of symbolic length filled; `size` says its length as long as nothing is added or taken out."""

    __slots__ = ("size",)

    def __init__(self, items: Iterable[Any], size: Any):
        super().__init__(items)
        self.size = size


class SDict(dict[Any, Any]):
    """A dict whose keys follow from the configuration; `expr` as for an SList.

    `added` are keys that the program wrote or deleted itself, whose presence says nothing about the configuration; `first` are
    the keys there were before it did.
    """

    __slots__ = ("expr", "added", "first")

    def __init__(self, items: Any = (), expr: Expr | None = None):
        super().__init__(items)
        self.expr = expr
        self.added: set[Any] = set()
        self.first: tuple[Any, ...] | None = None

    @property
    def given(self) -> tuple[Any, ...]:
        """The keys of the configuration."""
        return tuple(dict.keys(self)) if self.first is None else self.first

    def writes(self, keys: Iterable[Any]) -> None:
        """Before the program writes or deletes `keys`."""
        self.first = self.given
        self.added.update(keys)

    def goes_on_from(self, other: SDict) -> None:
        """This is a copy."""
        self.first, self.added = other.first, set(other.added)


class Noticed(SDict):
    """An object of config.json that notes in `reads` that something within it was looked at, whatever that was.

    Python copies, joins and compares a subclass of `dict` that has its own methods through these methods.
    """

    __slots__ = ("look", "reads")

    def __init__(self, items: Any, path: tuple[str | int, ...], reads: Reads):
        super().__init__(items, Raw(path))
        self.look = Looked(path)
        self.reads = reads


def _noticing(name: str) -> Callable[..., Any]:
    inherited = getattr(dict, name)

    def method(self: Noticed, *args: Any, **kwargs: Any) -> Any:
        self.reads.add(self.look)
        return inherited(self, *args, **kwargs)

    return method


_OF_OBJECTS = set(dir(object)) - {"__eq__", "__ne__", "__le__", "__lt__", "__ge__", "__gt__", "__repr__"}
for _name in set(dir(dict)) - _OF_OBJECTS - {"__class_getitem__", "fromkeys"}:
    setattr(Noticed, _name, _noticing(_name))


class Further(SDict):
    """The arguments of a call that no parameter has the name of. `sought` is where it is noted which of them are asked for."""

    __slots__ = ("sought",)

    def __init__(self, items: Any, expr: Expr | None, sought: set[Any]):
        super().__init__(items, expr)
        self.sought = sought


class SSet:
    """A set in order of insertion, so that the same input gives the same output. Elements are found by their plain value."""

    __slots__ = ("items", "frozen")

    def __init__(self, values: Iterable[Any] = (), frozen: bool = False):
        self.items: dict[Any, Any] = {}
        self.frozen = frozen
        for value in values:
            self.items.setdefault(plain_key(value), value)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self.items.values()))

    def __len__(self) -> int:
        return len(self.items)


def plain_key(value: object) -> Any:
    """What finds a value in a dict or set: numbers and strings by their value, objects by themselves."""
    if isinstance(value, Scalar):
        return value.value
    if isinstance(value, tuple):
        return tuple(plain_key(item) for item in value)
    if isinstance(value, SSet):
        return frozenset(value.items)
    return value


@dataclass(eq=False, slots=True)
class Parameter(Tensor):
    """A trainable tensor. A checkpoint replaces what it is at first: `start` everywhere, or random numbers."""

    requires_grad: bool = True
    start: Plain | Scalar | None = None


@dataclass(eq=False, slots=True)
class Buffer(Tensor):
    """What `nn.Buffer` makes: a tensor that becomes a buffer when it is assigned to a module."""

    persistent: bool = True


@dataclass(eq=False, slots=True)
class Function:
    """A function of the source with its closure."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    scope: Scope
    defaults: tuple[Any, ...]
    keyword_defaults: dict[str, Any]
    name: str
    owner: Class | None = None
    generator: bool = False
    attributes: dict[str, Any] = field(default_factory=dict)
    decorators: tuple[str, ...] = ()


@dataclass(eq=False, slots=True)
class Class:
    """A class of the source. `namespace` evaluates what its body defines when it is first asked for."""

    name: str
    bases: tuple[Any, ...]
    namespace: Namespace
    module: str
    node: ast.ClassDef | None = None
    mro: tuple[Class, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)
    marks: set[str] = field(default_factory=set)  # "dataclass", "strict", ... as decorators left them
    builtin: type | None = None  # the Python type whose constructor and behaviour this class stands for
    cache: dict[str, Any] = field(
        default_factory=dict
    )  # attributes that were looked up, None for those that are not there
    facts: dict[str, Any] = field(default_factory=dict)  # about the class itself

    @property
    def qualified(self) -> str:
        return f"{self.module}.{self.name}"

    def __repr__(self) -> str:
        return f"<class {self.qualified}>"


@dataclass(eq=False, slots=True)
class Instance:
    """An object of a class of the source. `path` is its place in the configuration, if it is a configuration."""

    cls: Class
    dict: dict[str, Any] = field(default_factory=dict)
    path: tuple[str | int, ...] | None = None
    payload: Any = None  # the list, dict, str or exception that an instance of a subclass of those extends

    def __repr__(self) -> str:
        return f"<{self.cls.name} object>"


@dataclass(eq=False, slots=True)
class ModuleObject(Instance):
    """An `nn.Module`: `dict` holds plain attributes, the other three what a state dict is made of, in order."""

    parameters: dict[str, Parameter | None] = field(default_factory=dict)
    buffers: dict[str, Tensor | None] = field(default_factory=dict)
    modules: dict[str, ModuleObject | None] = field(default_factory=dict)
    transient: set[str] = field(default_factory=set)  # names of buffers that no checkpoint holds
    module_path: str | None = None  # from the top module, which is ""
    span: Any = None
    stacked: Any = None  # of a list of experts: one module for all, see expert_lists.py

    def __repr__(self) -> str:
        return f"<{self.cls.name} module {self.module_path}>"


@dataclass(eq=False, slots=True)
class Bound:
    """A function together with its first argument."""

    function: Any
    receiver: Any


@dataclass(eq=False, slots=True)
class Super:
    """What `super()` gives: attributes of the classes after `after`."""

    after: Class
    receiver: Any


@dataclass(eq=False, slots=True)
class Property:
    getter: Any
    setter: Any = None
    deleter: Any = None
    on_class: bool = False


@dataclass(eq=False, slots=True)
class StaticMethod:
    function: Any


@dataclass(eq=False, slots=True)
class ClassMethod:
    function: Any


@dataclass(eq=False, slots=True)
class Partial:
    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class External:
    """A name outside of the files that are read: known by its dotted path alone."""

    name: str


@dataclass(eq=False, slots=True)
class Builtin:
    """A function written in Python: `call(interpreter, args, kwargs)`."""

    name: str
    call: Any
    owner: Class | None = None  # of a constructor that no source spells out


@dataclass(eq=False, slots=True)
class Unknown:
    """A value that depends on what only a running model knows; to branch on it is an error."""

    reason: str


@dataclass(eq=False, slots=True)
class SourceModule:
    """A module of the source as a value."""

    namespace: Namespace


@dataclass(eq=False, slots=True)
class Range:
    """`range`, whose bounds may be symbols."""

    start: Any
    stop: Any
    step: Any

    @property
    def of_input(self) -> bool:
        """Whether its length depends on the size of what the model is given."""
        bounds = [bound.expr for bound in (self.start, self.stop, self.step) if isinstance(bound, Scalar)]
        return any(isinstance(leaf, Dim) for bound in bounds for leaf in leaves(bound))

    def host(self) -> range:
        bounds: list[Any] = [value_of(self.start), value_of(self.stop), value_of(self.step)]
        return range(*bounds)


@dataclass(eq=False, slots=True)
class View:
    """Keys, values or items of a dict."""

    kind: str
    source: dict[Any, Any]


@dataclass(eq=False, slots=True)
class Stream:
    """An iterator: zip, enumerate, map, a generator expression."""

    host: Iterator[Any]
    kind: str = "iterator"
    of: Any = None  # what `enumerate` counts from 0 on


class Foreign:
    """An object whose behaviour is written in Python: caches, masks and the like. Subclasses override what they support."""

    classes: tuple[str, ...] = ()  # dotted names of the classes that the object is an instance of
    stateless = False  # a call that is given it leaves nothing in it that a later one finds

    def get(self, interpreter: Interpreter, name: str) -> Any:
        """The attribute `name`; raise KeyError if there is none."""
        raise KeyError(name)

    def set(self, interpreter: Interpreter, name: str, value: Any) -> None:
        raise KeyError(name)

    def call(self, interpreter: Interpreter, args: list[Any], kwargs: dict[str, Any]) -> Any:
        raise NotImplementedError

    def item(self, interpreter: Interpreter, index: Any) -> Any:
        raise NotImplementedError

    def set_item(self, interpreter: Interpreter, index: Any, value: Any) -> None:
        raise NotImplementedError

    def length(self, interpreter: Interpreter) -> Any:
        raise NotImplementedError

    def iterate(self, interpreter: Interpreter) -> Iterator[Any]:
        raise NotImplementedError

    def truth(self, interpreter: Interpreter) -> Any:
        return True

    def binary(self, interpreter: Interpreter, op: str, other: Any, reflected: bool) -> Any:
        if op in ("==", "!="):
            return (self is other) == (op == "==")
        raise NotImplementedError


class Gathered(Foreign):
    """A list to which every iteration of a loop over time appended one tensor; `end` is the end of that loop, in `frame`."""

    def __init__(self, name: str, end: Node, piece: TensorValue, length: Size, frame: Frame):
        self.name, self.end, self.piece, self.size, self.frame = name, end, piece, length, frame

    def length(self, interpreter: Interpreter) -> Any:
        return self.size

    def along(self, axis: int) -> TensorValue:
        """The tensors stacked along a new axis."""
        shape = (*self.piece.shape[:axis], self.size, *self.piece.shape[axis:])
        result = TensorValue(shape, self.piece.dtype)
        length, index, nexts, pieces, axes = self.end.args
        assert isinstance(pieces, tuple) and isinstance(axes, tuple)
        self.end.args = (length, index, nexts, (*pieces, self.piece), (*axes, axis))
        self.end.results = (*self.end.results, result)
        self.frame.known = None
        return result


def container_expr(value: object) -> Expr | None:
    """The expression of a list or dict that came from the configuration unchanged."""
    if isinstance(value, SDict) and value.added:
        return None
    return origin(value) if isinstance(value, (SList, SDict)) else None


def origin(value: object) -> Expr | None:
    """Where a list or dict came from in the configuration, whatever the program added to it; a part of a configuration too."""
    if isinstance(value, Instance):
        return Key(value.path) if value.path else None
    return value.expr if isinstance(value, (SList, SDict)) else None


def per_layer(expr: Expr) -> bool:
    """Whether an expression depends on the index of a loop."""
    for leaf in leaves(expr):  # asked of every expression that decides something
        if type(leaf) is Index:
            return True
    return False


def element_expr(container: Expr, index: Expr | int | str) -> Expr:
    """The expression of an element of a container: a longer path where the index is a literal."""
    if isinstance(index, (int, str)) and isinstance(container, (Key, Raw)) and not isinstance(index, bool):
        if not (isinstance(index, int) and index < 0):
            return type(container)((*container.path, index))
    from ir.expressions import Const

    step = Const(index) if isinstance(index, (int, str)) else index
    return Apply("getitem", (container, step))


def fresh(tensor: Tensor) -> TensorValue:
    """A value of its own with the shape and type of `tensor`."""
    return TensorValue(tensor.shape, tensor.dtype)


_CONTAINERS = frozenset(
    f"stubs.nn.{name}" for name in "Sequential ModuleList ModuleDict ParameterList ParameterDict".split()
)


def container_class(cls: Class) -> Class | None:
    """The container of modules or parameters that a class is, or is derived from."""
    return next((base for base in cls.mro if base.qualified in _CONTAINERS), None)
