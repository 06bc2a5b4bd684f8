"""Python's own functions, types and methods, for values that know how they were computed."""

from __future__ import annotations

import builtins as host
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from codegen.graph import classes, operators, scalars, tensor_ops
from codegen.graph.objects import (
    Bound,
    Buffer,
    Builtin,
    Class,
    ClassMethod,
    External,
    Foreign,
    Function,
    Instance,
    ModuleObject,
    Parameter,
    Partial,
    Property,
    Range,
    SDict,
    SList,
    SourceModule,
    SSet,
    StaticMethod,
    Stream,
    Super,
    Unknown,
    View,
    container_class,
    container_expr,
    plain_key,
)
from codegen.graph.predicates import Kind
from codegen.graph.scope import Namespace
from codegen.graph.tensor_ops.binding import Named
from codegen.graph.values import Scalar, Tensor, value_of
from codegen.source.files import SourceFile
from ir.expressions import Apply, Const, Index
from ir.graph import DType

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

Args = list[Any]
Kwargs = dict[str, Any]

LOCALS = Builtin("locals", None)
nothing = Builtin("nothing", lambda i, a, k: [])

_TYPES: tuple[type, ...] = (
    object,
    int,
    float,
    bool,
    str,
    bytes,
    complex,
    list,
    dict,
    tuple,
    set,
    frozenset,
    slice,
    range,
    type,
    type(None),
    property,
    staticmethod,
    classmethod,
    super,
)

_CLASSES: dict[type, Class] = {}


def _class_of(kind: type) -> Class:
    if kind not in _CLASSES:
        bases = () if kind is object else tuple(_class_of(base) for base in kind.__bases__)
        file = SourceFile("builtins", "", "builtins", "")
        namespace = Namespace("builtins", file)
        namespace.module = namespace
        name = "NoneType" if kind is type(None) else kind.__name__
        cls = Class(name, bases, namespace, "builtins", builtin=kind)
        _CLASSES[kind] = cls
        cls.mro = tuple(_class_of(base) if base is not kind else cls for base in kind.__mro__)
    return _CLASSES[kind]


def class_of(kind: type) -> Class:
    """The class that stands for a type of Python."""
    return _class_of(kind)


# -- functions -------------------------------------------------------------------------------------------------------------------

_FUNCTIONS: dict[str, Callable[[Interpreter, Args, Kwargs], Any]] = {}


def _function(name: str) -> Callable[[Any], Any]:
    def register(function: Any) -> Any:
        _FUNCTIONS[name] = function
        return function

    return register


def table() -> dict[str, Any]:
    """The names that are there without an import."""
    names: dict[str, Any] = {name: Builtin(name, function) for name, function in _FUNCTIONS.items()}
    names["locals"] = LOCALS
    for kind in _TYPES:
        names[kind.__name__] = _class_of(kind)
    for name in dir(host):
        value = getattr(host, name)
        if isinstance(value, type) and issubclass(value, BaseException):
            names[name] = _class_of(value)
    names["NotImplemented"] = NotImplemented
    names["Ellipsis"] = Ellipsis
    names["__debug__"] = True
    return names


@_function("len")
def _len(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return operators.length(interp, args[0])


@_function("isinstance")
def _isinstance(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return classes.is_instance(interp, args[0], args[1])


@_function("issubclass")
def _issubclass(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return classes.is_subclass(interp, args[0], args[1])


@_function("hasattr")
def _hasattr(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return classes.has(interp, args[0], interp.pin(args[1], Kind.KEY))


@_function("getattr")
def _getattr(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    from codegen.graph.interpreter import Raised

    name = interp.pin(args[1], Kind.KEY)
    if len(args) < 3:
        return interp.getattr(args[0], name)
    try:
        value = interp.getattr(args[0], name)
    except Raised as error:
        if not classes.is_instance(interp, error.instance, interp.builtins["AttributeError"]):
            raise
        if interp.absent is not None and args[2] is None:
            interp.absent.append((args[0], name))
        else:
            classes.note_presence(interp, args[0], name, False, args[2])
        return args[2]
    classes.note_presence(interp, args[0], name, True)
    return value


@_function("setattr")
def _setattr(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    interp.setattr(args[0], interp.pin(args[1], Kind.KEY), args[2])


@_function("delattr")
def _delattr(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    classes.delete(interp, args[0], interp.pin(args[1], Kind.KEY))


@_function("callable")
def _callable(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    value = args[0]
    if isinstance(value, Instance):
        return isinstance(value, ModuleObject) or classes.find(interp, value.cls, "__call__") is not None
    return isinstance(value, (Function, Bound, Builtin, Class, Partial, External, StaticMethod))


@_function("print")
def _print(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return None


@_function("id")
def _id(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return _identity(interp, args[0])


def _identity(interp: Interpreter, value: Any) -> int:
    known: dict[int, tuple[int, Any]] = interp.__dict__.setdefault("_identities", {})
    return known.setdefault(id(value), (len(known) + 1, value))[0]


@_function("hash")
def _hash(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return _identity(interp, args[0])


@_function("repr")
def _repr(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    value = operators.plain(args[0])
    return repr(value) if not isinstance(value, (Instance, Class)) else operators.describe(interp, value)


@_function("iter")
def _iter(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return Stream(operators.iterate(interp, args[0]))


@_function("next")
def _next(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    stream = args[0]
    if isinstance(stream, Instance):
        return interp.call(interp.getattr(stream, "__next__"), [], {})
    if not isinstance(stream, Stream):
        interp.throw("TypeError", f"'{operators.type_name(stream)}' object is not an iterator")
    for item in stream.host:
        return item
    if len(args) > 1:
        return args[1]
    interp.throw("StopIteration", "")


@_function("enumerate")
def _enumerate(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    start = args[1] if len(args) > 1 else kwargs.get("start", 0)
    symbolic = _symbolic_length(args[0]) and value_of(start) == 0
    index = Index(operators.loop_name(interp))
    counted = args[0] if value_of(start) == 0 else None
    source: Iterable[Any] = () if isinstance(counted, Foreign) else operators.iterate(interp, args[0])

    def pairs() -> Iterator[Any]:
        items = counted.iterate(interp) if isinstance(counted, Foreign) else source
        for number, item in enumerate(items):
            yield (Scalar(number, index) if symbolic else operators.binary(interp, "+", start, number), item)

    return Stream(pairs(), "enumerate", counted)


def _symbolic_length(value: Any) -> bool:
    """Whether the configuration decides how long a value is."""
    if isinstance(value, (SList, SDict)):
        return value.expr is not None or getattr(value, "loop", None) is not None
    if isinstance(value, Range):
        return any(isinstance(bound, Scalar) for bound in (value.start, value.stop, value.step))
    if isinstance(value, ModuleObject):
        container = container_class(value.cls)
        return container is not None and container.name == "ModuleList" and _is_whole(value)
    return isinstance(value, Stream) and value.kind == "modules"


def _is_whole(modules: ModuleObject) -> bool:
    """Whether a list of modules is no part of another one."""
    paths = [child.module_path for child in modules.modules.values() if child is not None]
    return all(path is None or path.rpartition(".")[2] == str(at) for at, path in enumerate(paths))


@_function("zip")
def _zip(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    sources = [operators.iterate(interp, arg) for arg in args]
    return Stream(zip(*sources, strict=False), "zip")


@_function("map")
def _map(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    sources = [operators.iterate(interp, arg) for arg in args[1:]]
    return Stream((interp.call(args[0], list(items), {}) for items in zip(*sources, strict=False)), "map")


@_function("filter")
def _filter(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    def chosen() -> Iterator[Any]:
        for item in operators.iterate(interp, args[1]):
            if interp.branch(item if args[0] is None else interp.call(args[0], [item], {})):
                yield item

    return Stream(chosen(), "filter")


@_function("reversed")
def _reversed(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return Stream(iter(operators.listed(interp, args[0])[::-1]))


@_function("any")
def _any(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return any(interp.branch(item) for item in operators.iterate(interp, args[0]))


@_function("all")
def _all(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return all(interp.branch(item) for item in operators.iterate(interp, args[0]))


@_function("sum")
def _sum(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    result = args[1] if len(args) > 1 else kwargs.get("start", 0)
    for item in operators.listed(interp, args[0], Kind.STRUCTURE):
        result = operators.binary(interp, "+", result, item)
    return result


@_function("sorted")
def _sorted(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    items = operators.listed(interp, args[0])
    sort(interp, items, kwargs.get("key"), kwargs.get("reverse", False))
    return items


def sort(interp: Interpreter, items: list[Any], key: Any, reverse: Any) -> None:
    keys = [operators.plain(item if key is None else interp.call(key, [item], {})) for item in items]
    for item in items if key is None else ():
        if isinstance(item, Scalar):
            interp.pin(item)
    try:
        order = sorted(range(len(items)), key=lambda i: keys[i], reverse=bool(value_of(reverse)))
    except TypeError as error:
        interp.throw("TypeError", str(error))
    items[:] = [items[i] for i in order]


def _extreme(name: str) -> Callable[[Interpreter, Args, Kwargs], Any]:
    def extreme(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
        items = operators.listed(interp, args[0], Kind.STRUCTURE) if len(args) == 1 else args
        if not items:
            if "default" in kwargs:
                return kwargs["default"]
            interp.throw("ValueError", f"{name}() arg is an empty sequence")
        key = kwargs.get("key")
        if key is None and all(isinstance(item, operators._ATOMS) for item in items):
            return operators.guarded(interp, name, *items)
        if any(isinstance(item, Unknown) for item in items):
            return next(item for item in items if isinstance(item, Unknown))
        if any(isinstance(item, (Tensor, Foreign)) for item in items):
            interp.unsupported(f"`{name}` of tensors as Python numbers", code="branch-on-data")
        ordered = list(items)
        sort(interp, ordered, key, name == "max")
        return ordered[0]

    return extreme


_FUNCTIONS["max"] = _extreme("max")
_FUNCTIONS["min"] = _extreme("min")


@_function("abs")
def _abs(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    if isinstance(args[0], Tensor):
        return tensor_ops.method(interp.tensor_span(), args[0], "abs", [], {})
    return operators.guarded(interp, "abs", args[0])


@_function("round")
def _round(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    if isinstance(args[0], Tensor):
        return tensor_ops.method(interp.tensor_span(), args[0], "round", args[1:], kwargs)
    return operators.guarded(interp, "round", *args, *kwargs.values())


@_function("pow")
def _pow(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return operators.binary(interp, "**", args[0], args[1])


@_function("divmod")
def _divmod(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return operators.binary(interp, "//", args[0], args[1]), operators.binary(interp, "%", args[0], args[1])


@_function("vars")
def _vars(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return interp.getattr(args[0], "__dict__")


@_function("dir")
def _dir(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    owner = args[0]
    names: dict[str, None] = {}
    cls = owner if isinstance(owner, Class) else getattr(owner, "cls", None)
    if isinstance(owner, Instance):
        names.update(dict.fromkeys(owner.dict))
    for base in cls.mro if cls is not None else ():
        names.update(dict.fromkeys(base.namespace.names()))
    return sorted(names)


@_function("format")
def _format(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return operators.formatted(interp, args[0], -1, value_of(args[1]) if len(args) > 1 else "")


@_function("chr")
def _chr(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return chr(interp.pin(args[0]))


@_function("ord")
def _ord(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return ord(interp.pin(args[0]))


@_function("hex")
def _hex(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return hex(interp.pin(args[0]))


@_function("globals")
def _globals(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    interp.unsupported("`globals()` has no meaning here")


# -- types as constructors ---------------------------------------------------------------------------------------------------------


def construct(interp: Interpreter, cls: Class, args: Args, kwargs: Kwargs) -> Any:
    """`int(x)`, `dict(...)`, `ValueError(...)` and the like."""
    kind = cls.builtin
    assert kind is not None
    if issubclass(kind, BaseException):
        return Instance(cls, {"args": tuple(args), **kwargs})
    maker = _MAKERS.get(kind)
    if maker is None:
        interp.unsupported(f"`{cls.name}(...)` has no meaning here")
    return maker(interp, args, kwargs)


def _make_number(kind: type) -> Callable[[Interpreter, Args, Kwargs], Any]:
    def make(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
        if not args:
            return kind()
        value = args[0]
        if isinstance(value, Tensor):
            return tensor_number(interp, value, kind)
        if isinstance(value, Unknown):
            return value
        if isinstance(value, Instance) and value.payload is not None:
            value = value.payload
        if isinstance(value, Foreign):
            return value.binary(interp, kind.__name__, None, False)
        if len(args) > 1:
            return kind(interp.pin(value), *(interp.pin(a) for a in args[1:]))
        if not isinstance(value, operators._ATOMS):
            interp.throw(
                "TypeError", f"{kind.__name__}() argument must be a number, not '{operators.type_name(value)}'"
            )
        return operators.guarded(interp, kind.__name__, value)

    return make


def tensor_number(interp: Interpreter, value: Tensor, kind: type) -> Any:
    """`int(tensor)` and `float(tensor)`: a number if the tensor is a constant."""
    number = tensor_ops.method(interp.tensor_span(), value, "item", [], {})
    if isinstance(number, (int, float, Scalar)):
        return operators.guarded(interp, kind.__name__, number)
    return number


def _make_bool(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    if not args:
        return False
    value = args[0]
    if isinstance(value, Scalar):
        return scalars.apply("bool", value)
    expr = container_expr(value)
    if expr is not None:
        return Scalar(bool(value), Apply("bool", (expr,)))
    return operators.truth(interp, value)


def _make_str(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    if not args:
        return ""
    value = args[0]
    if isinstance(value, operators._ATOMS):
        return operators.guarded(interp, "str", value)
    if isinstance(value, Instance):
        method = classes.find(interp, value.cls, "__str__")
        if isinstance(method, Function):
            return interp.call(method, [value], {})
    return operators.describe(interp, value)


def _make_list(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    if not args:
        return []
    source = args[0]
    if isinstance(source, SList):
        return SList(source, source.expr, source.loop)
    if isinstance(source, Range) and source.of_input:
        return source  # as long as nobody asks for its elements
    return operators.listed(interp, source)


def _make_tuple(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return tuple(operators.listed(interp, args[0])) if args else ()


def make_dict(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    """`dict(...)`."""
    result: dict[Any, Any] = {}
    if args:
        source = args[0]
        if isinstance(source, Instance) and isinstance(source.payload, dict):
            source = source.payload
        if isinstance(source, SDict):
            result = SDict(source, source.expr)
            result.goes_on_from(source)
        elif isinstance(source, dict):
            result = dict(source)
        elif isinstance(source, Instance):
            result = dict(operators.mapping(interp, source))
        else:
            for pair in operators.iterate(interp, source):
                key, value = operators.listed(interp, pair)
                result[interp.key(key)] = value
    result.update(kwargs)
    return result


def _choices(interp: Interpreter, source: SList) -> list[Any]:
    """The distinct elements of a list. Words that a model asks for are literals from there on: each must stay in the list."""
    values = list(dict.fromkeys(plain_key(item) for item in source))
    if interp.stage == 1 or source.expr is None or not all(isinstance(value, str) for value in values):
        return list(source)
    for value in values:
        interp.note(Kind.STRUCTURE, Apply("in", (Const(value), source.expr)), True)
    return values


def _make_set(frozen: bool) -> Callable[[Interpreter, Args, Kwargs], Any]:
    def make(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
        if not args:
            return SSet((), frozen)
        source = args[0]
        if isinstance(source, SList) and source.expr is not None:
            return SSet(_choices(interp, source), frozen)
        return SSet(operators.iterate(interp, source), frozen)

    return make


def _make_range(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    for bound in args:
        if not isinstance(value_of(bound), int):
            interp.throw("TypeError", f"'{operators.type_name(bound)}' object cannot be interpreted as an integer")
    if len(args) == 1:
        return Range(0, args[0], 1)
    return Range(args[0], args[1], args[2] if len(args) > 2 else 1)


def _make_type(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    if len(args) != 1:
        interp.unsupported("`type(name, bases, dict)` has no meaning here")
    return type_of(interp, args[0])


def type_of(interp: Interpreter, value: Any) -> Any:
    """`type(value)`."""
    match value:
        case Instance():
            return value.cls
        case Scalar():
            interp.note(Kind.TYPE, Apply("type", (value.expr,)), type(value.value).__name__)
            return _class_of(type(value.value))
        case Class():
            return _class_of(type)
        case SSet():
            return _class_of(frozenset if value.frozen else set)
        case Parameter():
            return External("torch.nn.Parameter")
        case Tensor():
            return External("torch.Tensor")
        case DType():
            return External("torch.dtype")
        case Foreign() if value.classes:
            return interp.find(value.classes[0])
        case list():
            return _class_of(list)
        case dict():
            return _class_of(dict)
        case Range():
            return _class_of(range)
        case Function() | Bound() | Builtin():
            return External("types.FunctionType")
    return _class_of(type(value)) if type(value) in _TYPES else External(type(value).__name__)


def _make_slice(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return slice(*args)


def _make_super(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return Super(args[0], args[1])


_MAKERS: dict[type, Callable[[Interpreter, Args, Kwargs], Any]] = {
    object: lambda i, a, k: Instance(_class_of(object)),
    int: _make_number(int),
    float: _make_number(float),
    bool: _make_bool,
    str: _make_str,
    list: _make_list,
    tuple: _make_tuple,
    dict: make_dict,
    set: _make_set(False),
    frozenset: _make_set(True),
    range: _make_range,
    type: _make_type,
    slice: _make_slice,
    super: _make_super,
    property: lambda i, a, k: Property(*a, **k),
    staticmethod: lambda i, a, k: StaticMethod(a[0]),
    classmethod: lambda i, a, k: ClassMethod(a[0]),
}


# -- types of values -----------------------------------------------------------------------------------------------------------------


def has_type(interp: Interpreter, value: Any, cls: Any) -> bool:
    """Whether a value is of a class, one of Python's, of the source or known by name only."""
    if isinstance(cls, Class):
        if isinstance(value, Instance):
            return cls in value.cls.mro or cls.builtin is object
        if isinstance(value, Foreign):
            return cls.qualified in value.classes
        return cls.builtin is not None and _has_host_type(value, cls.builtin)
    if isinstance(cls, External):
        return _has_external_type(interp, value, cls.name)
    if cls is None:
        return value is None
    interp.throw("TypeError", "isinstance() arg 2 must be a type")


def _has_host_type(value: Any, kind: type) -> bool:
    match value:
        case SSet():
            return kind is (frozenset if value.frozen else set) or kind is object
        case Range():
            return kind in (range, object)
        case Class():
            return kind in (type, object)
        case Property():
            return kind in (property, object)
        case Tensor() | Function() | Bound() | External() | DType() | View() | Stream() | SourceModule() | Builtin():
            return kind is object
        case _:
            return isinstance(value, kind)


_EXTERNAL_TYPES: dict[str, Callable[[Any], bool]] = {
    "torch.Tensor": lambda v: isinstance(v, Tensor),
    "torch.FloatTensor": lambda v: isinstance(v, Tensor),
    "torch.LongTensor": lambda v: isinstance(v, Tensor),
    "torch.nn.Parameter": lambda v: isinstance(v, Parameter),
    "torch.nn.parameter.Parameter": lambda v: isinstance(v, Parameter),
    "torch.nn.Buffer": lambda v: isinstance(v, Buffer),
    "torch.dtype": lambda v: isinstance(v, DType),
    "torch.Size": lambda v: isinstance(v, tuple),
    "typing.Any": lambda v: True,
}

_ABSTRACT: dict[str, Callable[[Any], bool]] = {
    "Mapping": lambda v: isinstance(v, dict) or (isinstance(v, Instance) and isinstance(v.payload, dict)),
    "MutableMapping": lambda v: isinstance(v, dict),
    "Sequence": lambda v: isinstance(v, (list, tuple, str, Range)),
    "Iterable": lambda v: isinstance(v, (list, tuple, str, Range, dict, SSet, Stream, View)),
    "Sized": lambda v: isinstance(v, (list, tuple, str, Range, dict, SSet, View)),
    "Iterator": lambda v: isinstance(v, Stream),
    "Generator": lambda v: isinstance(v, Stream),
    "Callable": lambda v: isinstance(v, (Function, Bound, Builtin, Class, Partial, ModuleObject)),
    "Set": lambda v: isinstance(v, SSet),
    "Hashable": lambda v: not isinstance(v, (list, dict)),
    "Number": lambda v: isinstance(v, (int, float)),
    "Integral": lambda v: isinstance(v, int),
    "Real": lambda v: isinstance(v, (int, float)),
}


def _has_external_type(interp: Interpreter, value: Any, name: str) -> bool:
    if name in _EXTERNAL_TYPES:
        return _EXTERNAL_TYPES[name](value)
    head, _, word = name.rpartition(".")
    if head in ("collections.abc", "typing", "numbers") and word in _ABSTRACT:
        return _ABSTRACT[word](value)
    if isinstance(value, Foreign):
        return name in value.classes
    return False


# -- methods of plain values -----------------------------------------------------------------------------------------------------------


def attribute(interp: Interpreter, owner: Any, name: str) -> Any:
    """An attribute of a number, text or container."""
    if isinstance(owner, Named) and name in owner.fields:
        return owner.get(name)
    found = method(interp, owner, name)
    if found is not None:
        return found
    if name == "__class__":
        return type_of(interp, owner)
    if isinstance(owner, DType):
        return _dtype_attribute(interp, owner, name)
    if isinstance(owner, slice):
        return getattr(owner, name)
    if isinstance(owner, Range):
        return getattr(owner, name)
    if isinstance(owner, FOREIGN_VALUES):
        return getattr(owner, name)
    if isinstance(value_of(owner), (int, float)) and name in ("real", "imag", "is_integer", "bit_length"):
        value = interp.pin(owner)
        found = getattr(value, name)
        return Builtin(name, lambda i, a, k: found()) if callable(found) else found
    interp.throw("AttributeError", f"'{operators.type_name(owner)}' object has no attribute '{name}'")


FOREIGN_VALUES: tuple[type, ...] = ()


def _dtype_attribute(interp: Interpreter, owner: DType, name: str) -> Any:
    floating = owner in (DType.MODEL, DType.PROMOTED, DType.FLOAT64, DType.FLOAT32, DType.BFLOAT16, DType.FLOAT16)
    if name == "is_floating_point":
        return floating
    if name == "is_complex":
        return owner is DType.COMPLEX64
    interp.unsupported(f"the attribute `{name}` of an element type")


def method(interp: Interpreter, owner: Any, name: str) -> Any:
    """A bound method of a plain value, None if it has no such method."""
    call = None
    match owner:
        case list() | tuple():
            call = _LIST_METHODS.get(name) if isinstance(owner, list) or name in ("index", "count") else None
        case dict():
            call = _DICT_METHODS.get(name)
        case SSet():
            call = _SET_METHODS.get(name)
        case str():
            call = _text_method(name)
        case Scalar() if isinstance(owner.value, str):
            call = _text_method(name)
        case View() | Stream() | Range():
            call = _VIEW_METHODS.get(name)
    if call is None and name in _COMMON and not isinstance(owner, (DType,)):
        call = _COMMON[name]
    if call is None:
        return None
    function = call
    return Builtin(name, lambda i, a, k: function(i, owner, a, k))


def class_method(kind: type, name: str) -> Any:
    """A method of one of Python's types taken from the type: `dict.fromkeys`, `str.join`, `object.__setattr__`."""
    if kind is dict and name == "fromkeys":
        return StaticMethod(Builtin(name, _fromkeys))
    if kind is object:
        return _OBJECT_METHODS.get(name)
    if kind in (dict, list, set, str, frozenset, tuple):
        tables: dict[type, dict[str, Any]] = {
            dict: _DICT_METHODS,
            list: _LIST_METHODS,
            set: _SET_METHODS,
            tuple: _LIST_METHODS,
        }
        known = tables.get(kind, {})
        call = known.get(name) if kind is not str else _text_method(name)
        call = call or _COMMON.get(name)
        if call is not None:
            function = call
            return Builtin(name, lambda i, a, k: function(i, _payload(a[0]), a[1:], k))
    return None


def _payload(value: Any) -> Any:
    return value.payload if isinstance(value, Instance) and value.payload is not None else value


def _fromkeys(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    value = args[1] if len(args) > 1 else None
    return {interp.key(key): value for key in operators.iterate(interp, args[0])}


def _object_setattr(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    classes.set_plain(interp, args[0], interp.pin(args[1], Kind.KEY), args[2])


def _object_getattribute(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return classes.get_plain(interp, args[0], interp.pin(args[1], Kind.KEY), args[0].cls.mro)


def _object_new(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return classes.blank(interp, args[0])


_OBJECT_METHODS: dict[str, Any] = {
    "__setattr__": Builtin("__setattr__", _object_setattr),
    "__getattribute__": Builtin("__getattribute__", _object_getattribute),
    "__new__": Builtin("__new__", _object_new),
    "__init_subclass__": Builtin("__init_subclass__", lambda i, a, k: None),
}

_COMMON: dict[str, Any] = {
    "__len__": lambda i, o, a, k: operators.length(i, o),
    "__iter__": lambda i, o, a, k: Stream(operators.iterate(i, o)),
    "__contains__": lambda i, o, a, k: operators.contains(i, o, a[0]),
    "__getitem__": lambda i, o, a, k: operators.getitem(i, o, a[0]),
    "__setitem__": lambda i, o, a, k: operators.setitem(i, o, a[0], a[1]),
    "__delitem__": lambda i, o, a, k: operators.delitem(i, o, a[0]),
    "__eq__": lambda i, o, a, k: operators.compare(i, "==", o, a[0]),
    "__str__": lambda i, o, a, k: _make_str(i, [o], {}),
}


# lists


def _append(interp: Interpreter, owner: list[Any], args: Args, kwargs: Kwargs) -> None:
    operators.forget(owner)
    owner.append(args[0])


def _extend(interp: Interpreter, owner: list[Any], args: Args, kwargs: Kwargs) -> None:
    operators.forget(owner)
    owner.extend(operators.listed(interp, args[0]))


def _insert(interp: Interpreter, owner: list[Any], args: Args, kwargs: Kwargs) -> None:
    operators.forget(owner)
    owner.insert(interp.pin(args[0]), args[1])


def _list_pop(interp: Interpreter, owner: list[Any], args: Args, kwargs: Kwargs) -> Any:
    operators.forget(owner)
    try:
        return owner.pop(*(interp.pin(a) for a in args))
    except IndexError as error:
        interp.throw("IndexError", str(error))


def _position(interp: Interpreter, owner: Any, args: Args, kwargs: Kwargs) -> Any:
    for position, item in enumerate(owner):
        if operators.truth(interp, operators.compare(interp, "==", item, args[0])):
            return position
    interp.throw("ValueError", "value is not in list")


def _count(interp: Interpreter, owner: Any, args: Args, kwargs: Kwargs) -> Any:
    return sum(operators.truth(interp, operators.compare(interp, "==", item, args[0])) for item in owner)


def _remove(interp: Interpreter, owner: list[Any], args: Args, kwargs: Kwargs) -> None:
    position = _position(interp, owner, args, kwargs)
    operators.forget(owner)
    del owner[position]


def _list_sort(interp: Interpreter, owner: list[Any], args: Args, kwargs: Kwargs) -> None:
    operators.forget(owner)
    sort(interp, owner, kwargs.get("key"), kwargs.get("reverse", False))


def _list_reverse(interp: Interpreter, owner: list[Any], args: Args, kwargs: Kwargs) -> None:
    operators.forget(owner)
    owner.reverse()


def _list_clear(interp: Interpreter, owner: list[Any], args: Args, kwargs: Kwargs) -> None:
    operators.forget(owner)
    owner.clear()


def _list_copy(interp: Interpreter, owner: list[Any], args: Args, kwargs: Kwargs) -> Any:
    return SList(owner, owner.expr, owner.loop) if isinstance(owner, SList) else list(owner)


_LIST_METHODS: dict[str, Any] = {
    "append": _append,
    "extend": _extend,
    "insert": _insert,
    "pop": _list_pop,
    "index": _position,
    "count": _count,
    "remove": _remove,
    "sort": _list_sort,
    "reverse": _list_reverse,
    "clear": _list_clear,
    "copy": _list_copy,
}


# dicts


def _dict_get(interp: Interpreter, owner: dict[Any, Any], args: Args, kwargs: Kwargs) -> Any:
    default = args[1] if len(args) > 1 else kwargs.get("default")
    inside = operators.contains(interp, owner, args[0])
    if operators.truth(interp, inside, Kind.PRESENCE):
        return operators.getitem(interp, owner, args[0])
    return default


def _dict_pop(interp: Interpreter, owner: dict[Any, Any], args: Args, kwargs: Kwargs) -> Any:
    inside = operators.contains(interp, owner, args[0])
    if operators.truth(interp, inside, Kind.PRESENCE):
        value = operators.getitem(interp, owner, args[0])
        key = interp.key(args[0])
        if isinstance(owner, SDict):
            owner.writes([key])
        del owner[key]
        return value
    if len(args) > 1:
        return args[1]
    interp.throw("KeyError", str(plain_key(args[0])))


def _setdefault(interp: Interpreter, owner: dict[Any, Any], args: Args, kwargs: Kwargs) -> Any:
    inside = operators.contains(interp, owner, args[0])
    if not operators.truth(interp, inside, Kind.PRESENCE):
        operators.setitem(interp, owner, args[0], args[1] if len(args) > 1 else None)
    return operators.getitem(interp, owner, args[0])


def _dict_update(interp: Interpreter, owner: dict[Any, Any], args: Args, kwargs: Kwargs) -> None:
    for source in [*args, kwargs]:
        if isinstance(source, dict):
            items = dict(source)
        elif isinstance(source, Instance):
            items = operators.mapping(interp, source)
        else:
            items = make_dict(interp, [source], {})
        if isinstance(owner, SDict):
            owner.writes(items)
        owner.update(items)


def _dict_copy(interp: Interpreter, owner: dict[Any, Any], args: Args, kwargs: Kwargs) -> Any:
    return make_dict(interp, [owner], {})


def _popitem(interp: Interpreter, owner: dict[Any, Any], args: Args, kwargs: Kwargs) -> Any:
    if not owner:
        interp.throw("KeyError", "dictionary is empty")
    if isinstance(owner, SDict):
        *_, last = operators.iterate(interp, View("keys", owner))
        owner.writes([last])
    return owner.popitem()


def _move_to_end(interp: Interpreter, owner: dict[Any, Any], args: Args, kwargs: Kwargs) -> None:
    key = interp.key(args[0])
    if isinstance(owner, SDict):
        owner.writes([key])
    owner[key] = owner.pop(key)


def _dict_clear(interp: Interpreter, owner: dict[Any, Any], args: Args, kwargs: Kwargs) -> None:
    if isinstance(owner, SDict):
        owner.writes(list(owner))
    owner.clear()


_DICT_METHODS: dict[str, Any] = {
    "get": _dict_get,
    "pop": _dict_pop,
    "setdefault": _setdefault,
    "update": _dict_update,
    "copy": _dict_copy,
    "popitem": _popitem,
    "move_to_end": _move_to_end,
    "keys": lambda i, o, a, k: View("keys", o),
    "values": lambda i, o, a, k: View("values", o),
    "items": lambda i, o, a, k: View("items", o),
    "clear": _dict_clear,
}


# sets


def _set_add(interp: Interpreter, owner: SSet, args: Args, kwargs: Kwargs) -> None:
    owner.items.setdefault(plain_key(args[0]), args[0])


def _set_discard(interp: Interpreter, owner: SSet, args: Args, kwargs: Kwargs) -> None:
    owner.items.pop(plain_key(args[0]), None)


def _set_remove(interp: Interpreter, owner: SSet, args: Args, kwargs: Kwargs) -> None:
    if plain_key(args[0]) not in owner.items:
        interp.throw("KeyError", str(plain_key(args[0])))
    owner.items.pop(plain_key(args[0]))


def _set_combine(op: str, in_place: bool = False) -> Any:
    def combine(interp: Interpreter, owner: SSet, args: Args, kwargs: Kwargs) -> Any:
        result = owner
        for other in args:
            operand = other if isinstance(other, SSet) else SSet(operators.iterate(interp, other))
            result = operators._set_operation(op, result, operand)
        if in_place:
            owner.items = result.items
            return None
        return result

    return combine


def _set_compare(op: str) -> Any:
    def compare(interp: Interpreter, owner: SSet, args: Args, kwargs: Kwargs) -> Any:
        other = args[0] if isinstance(args[0], SSet) else SSet(operators.iterate(interp, args[0]))
        if op == "disjoint":
            return not set(owner.items) & set(other.items)
        return operators.compare(interp, op, owner, other)

    return compare


_SET_METHODS: dict[str, Any] = {
    "add": _set_add,
    "discard": _set_discard,
    "remove": _set_remove,
    "update": _set_combine("|", True),
    "union": _set_combine("|"),
    "intersection": _set_combine("&"),
    "difference": _set_combine("-"),
    "symmetric_difference": _set_combine("^"),
    "intersection_update": _set_combine("&", True),
    "difference_update": _set_combine("-", True),
    "issubset": _set_compare("<="),
    "issuperset": _set_compare(">="),
    "isdisjoint": _set_compare("disjoint"),
    "copy": lambda i, o, a, k: SSet(o),
    "clear": lambda i, o, a, k: o.items.clear(),
    "pop": lambda i, o, a, k: o.items.pop(next(iter(o.items))),
}


def _range_index(interp: Interpreter, owner: Any, args: Args, kwargs: Kwargs) -> Any:
    return operators.listed(interp, owner).index(interp.pin(args[0]))


def _generator_close(interp: Interpreter, owner: Any, args: Args, kwargs: Kwargs) -> None:
    return None


_VIEW_METHODS: dict[str, Any] = {
    "index": _range_index,
    "close": _generator_close,
    "isdisjoint": lambda i, o, a, k: not set(o.source) & set(operators._as_set(a[0]).items),
    "__next__": lambda i, o, a, k: _next(i, [o], {}),
}


# text

_TEXT_METHODS = frozenset(
    "startswith endswith split rsplit strip lstrip rstrip lower upper title capitalize replace find rfind index count "
    "isdigit isnumeric isalpha isalnum isidentifier partition rpartition removeprefix removesuffix zfill ljust rjust center "
    "splitlines encode isupper islower casefold".split()
)


def _text_method(name: str) -> Any:
    if name == "join":
        return _join
    if name == "format":
        return _text_format
    if name not in _TEXT_METHODS:
        return None

    def call(interp: Interpreter, owner: Any, args: Args, kwargs: Kwargs) -> Any:
        text = interp.pin(owner)
        if name in ("ljust", "rjust", "center", "zfill"):
            operators.check_width(interp, str(value_of(args[0])))
        plain_args = [operators.plain(interp.pin(arg)) for arg in args]
        try:
            result = getattr(text, name)(*plain_args, **{key: interp.pin(value) for key, value in kwargs.items()})
        except (TypeError, ValueError) as error:
            interp.throw(type(error).__name__, str(error))
        return result

    return call


def _join(interp: Interpreter, owner: Any, args: Args, kwargs: Kwargs) -> Any:
    separator: Any = owner
    result: Any = ""
    for position, item in enumerate(operators.listed(interp, args[0])):
        if not isinstance(value_of(item), str):
            interp.throw("TypeError", f"sequence item {position}: expected str instance")
        if position:
            result = operators.joined(interp, result, separator)
        result = operators.joined(interp, result, item)
    return result


def _text_format(interp: Interpreter, owner: Any, args: Args, kwargs: Kwargs) -> Any:
    texts = [
        operators.describe(interp, arg) if isinstance(arg, (Instance, Class)) else operators.plain(arg) for arg in args
    ]
    named = {key: operators.plain(value) for key, value in kwargs.items()}
    operators.check_width(interp, str(value_of(owner)))
    try:
        return str(value_of(owner)).format(*texts, **named)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        interp.throw(type(error).__name__, str(error))
