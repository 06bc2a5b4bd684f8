"""Classes and attributes: method resolution order, descriptors, the attribute protocols of modules and configurations."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from codegen.diagnostics import CompileError, Diagnostic
from codegen.graph import builtins, declared, library, operators, tensor_ops
from codegen.graph.objects import (
    Bound,
    Buffer,
    Builtin,
    Class,
    ClassMethod,
    External,
    Foreign,
    Function,
    Further,
    Instance,
    ModuleObject,
    Noticed,
    Parameter,
    Partial,
    Property,
    SDict,
    SList,
    SourceModule,
    SSet,
    StaticMethod,
    Super,
    Unknown,
    origin,
)
from codegen.graph.predicates import Kind
from codegen.graph.scope import Missing, Namespace
from codegen.graph.values import Scalar, Tensor, Watched, expr_of, glance, value_of
from codegen.source.files import REPOSITORY
from ir.expressions import Apply, Const, Key, leaves
from ir.graph import DType

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

CONFIGURATION = "transformers.configuration_utils.PreTrainedConfig"
MODULE = "stubs.nn.Module"


# -- making classes --------------------------------------------------------------------------------------------------------------


def make(
    interp: Interpreter,
    name: str,
    bases: list[Any],
    namespace: Namespace,
    module: str,
    keywords: dict[str, Any],
    node: ast.ClassDef | None,
) -> Class:
    """A new class; bases that are not read (`typing.Generic`, abstract base classes) give it nothing."""
    kept: list[Class] = []
    marks: set[str] = set()
    for base in bases:
        if isinstance(base, Class):
            kept.append(base)
            marks |= base.marks & _INHERITED
        elif isinstance(base, External) and base.name.rpartition(".")[2] in ("MutableMapping", "Mapping"):
            namespace_of_stubs = interp.module("stubs.collections")
            assert namespace_of_stubs is not None
            kept.append(namespace_of_stubs.resolve(interp, "MutableMapping"))
        elif isinstance(base, External):
            marks |= _base_marks(interp, base)
        else:
            interp.unsupported(f"`{name}` has a base that is no class")
    if not kept:
        kept = [interp.builtins["object"]]
    cls = Class(name, tuple(kept), namespace, module, node, keywords=keywords, marks=marks)
    interp.classes.append(cls)
    cls.mro = (cls, *_linearise(interp, [list(base.mro) for base in kept] + [kept]))
    if "namedtuple" in marks or "enum" in marks:
        return cls
    if is_configuration(cls):
        marks.add("dataclass")
    return cls


_INHERITED = {"enum", "namedtuple", "module", "configuration"}
_EMPTY_BASES = ("typing.", "typing_extensions.", "abc.", "collections.abc.")
_ENUMS = ("enum.Enum", "enum.IntEnum", "enum.StrEnum", "enum.Flag", "enum.IntFlag")


def _base_marks(interp: Interpreter, base: External) -> set[str]:
    if base.name in _ENUMS:
        return {"enum"}
    if base.name == "typing.NamedTuple":
        return {"namedtuple", "dataclass"}
    if base.name == "torch.autograd.Function":
        return {"autograd"}
    if base.name.startswith(_EMPTY_BASES) or base.name in interp.externals or base.name.startswith("torch."):
        return set()
    interp.unsupported(f"a class that derives from `{base.name}`, whose source is not read")


def _linearise(interp: Interpreter, sequences: list[list[Class]]) -> list[Class]:
    result: list[Class] = []
    sequences = [list(s) for s in sequences if s]
    while sequences:
        for sequence in sequences:
            head = sequence[0]
            if not any(head in other[1:] for other in sequences):
                break
        else:
            interp.throw("TypeError", "Cannot create a consistent method resolution order")
        result.append(head)
        sequences = [rest for s in sequences if (rest := s[1:] if s[0] is head else s)]
    return result


def is_configuration(cls: Class) -> bool:
    return _derives(cls, CONFIGURATION)


def is_module_class(cls: Class) -> bool:
    return _derives(cls, MODULE)


def _derives(cls: Class, name: str) -> bool:
    if name not in cls.facts:
        cls.facts[name] = any(base.qualified == name for base in cls.mro)
    return bool(cls.facts[name])


def enum_members(interp: Interpreter, cls: Class) -> dict[str, Any]:
    """The members of an enumeration; empty for other classes."""
    if "enum" not in cls.marks:
        return {}
    if "members" not in cls.facts:
        members: dict[str, Any] = {}
        for statement in cls.namespace.statements:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                name = statement.targets[0].id
                value = cls.namespace.resolve(interp, name)
                payload = value if isinstance(value, (str, int)) else None
                members[name] = Instance(cls, {"name": name, "value": value, "_value_": value}, None, payload)
        cls.facts["members"] = members
    return cls.facts["members"]  # type: ignore[no-any-return]


def fields(interp: Interpreter, cls: Class) -> list[tuple[str, Any, Class]]:
    """The fields of a dataclass in order: name, the expression of the default (None if there is none), owner."""
    if "fields" not in cls.facts:
        found: dict[str, tuple[str, Any, Class]] = {}
        for owner in reversed(cls.mro):
            if owner.builtin is not None or not _declares_fields(owner):
                continue
            for name, annotation, default in owner.namespace.annotations:
                if not _is_class_variable(annotation):
                    found[name] = (name, default, owner)
        cls.facts["fields"] = list(found.values())
    return cls.facts["fields"]  # type: ignore[no-any-return]


def _declares_fields(cls: Class) -> bool:
    return "dataclass" in cls.marks or is_configuration(cls)


def _is_class_variable(annotation: ast.expr) -> bool:
    text = ast.unparse(annotation).strip("'\"")
    return text.startswith(("ClassVar", "typing.ClassVar"))


def default_of(interp: Interpreter, name: str, default: Any, owner: Class) -> Any:
    """The default value of a field.

    Raises:
        Missing: the field has none.
    """
    if default is None:
        raise Missing(name)
    value = owner.namespace.resolve(interp, name)
    if isinstance(value, FieldSpec):
        if value.factory is not None:
            return interp.call(value.factory, [], {})
        if value.default is Missing:
            raise Missing(name)
        return value.default
    if isinstance(value, (Property, Function)):
        raise Missing(name)
    return value


class FieldSpec:
    """`dataclasses.field(...)`."""

    def __init__(self, default: Any = Missing, factory: Any = None):
        self.default, self.factory = default, factory


# -- creating instances ----------------------------------------------------------------------------------------------------------


def instantiate(interp: Interpreter, cls: Class, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """`cls(...)`."""
    if cls.builtin is not None:
        return builtins.construct(interp, cls, args, kwargs)
    if "enum" in cls.marks:
        return _enum_value(interp, cls, args)
    if interp.stage == 2 and not interp.framing and is_module_class(cls):
        return interp.repeating.make(interp, cls, args, kwargs, lambda: _instantiate(interp, cls, args, kwargs))
    if interp.reads is not None and interp.sought is not None and interp.scope is not None and is_configuration(cls):
        notes = interp.predicates, interp.reads, interp.sought
        return interp.parts.make(
            cls, (args, kwargs), interp.loops, notes, lambda: _instantiate(interp, cls, args, kwargs)
        )
    return _instantiate(interp, cls, args, kwargs)


def _instantiate(interp: Interpreter, cls: Class, args: list[Any], kwargs: dict[str, Any]) -> Any:
    new = find(interp, cls, "__new__")
    if isinstance(new, (StaticMethod, Function)):
        created = interp.call(new, [cls, *args], kwargs)
        if not isinstance(created, Instance) or cls not in created.cls.mro:
            return created
        return initialise(interp, created, args, kwargs)
    return initialise(interp, blank(interp, cls), args, kwargs)


def blank(interp: Interpreter, cls: Class) -> Instance:
    """An instance before its `__init__`."""
    if is_module_class(cls):
        return ModuleObject(cls, span=interp.place())
    instance = Instance(cls)
    base = next((b.builtin for b in cls.mro if b.builtin not in (None, object)), None)
    if base is not None and not issubclass(base, BaseException):
        instance.payload = {dict: dict, list: list, set: SSet, str: str, tuple: tuple, int: int, float: float}.get(
            base, dict
        )()
    return instance


def initialise(interp: Interpreter, instance: Instance, args: list[Any], kwargs: dict[str, Any]) -> Instance:
    for owner in instance.cls.mro:
        if initialise_at(interp, instance, owner, args, kwargs):
            return instance
    return instance


def initialise_at(
    interp: Interpreter, instance: Instance, owner: Class, args: list[Any], kwargs: dict[str, Any]
) -> bool:
    """Run the `__init__` that `owner` itself brings, if it brings one."""
    if owner.namespace.has("__init__"):
        interp.call(owner.namespace.resolve(interp, "__init__"), [instance, *args], kwargs)
        return True
    if is_configuration(owner):
        configure(interp, instance, owner, args, kwargs)
        return True
    if "dataclass" in owner.marks:
        _initialise_dataclass(interp, instance, owner, args, kwargs)
        return True
    if owner.builtin is None:
        return False
    if issubclass(owner.builtin, BaseException):
        instance.dict["args"] = tuple(args)
    elif owner.builtin is dict and isinstance(instance.payload, dict):
        instance.payload.update(builtins.make_dict(interp, args, kwargs))
    elif owner.builtin is list and isinstance(instance.payload, list):
        instance.payload.extend(operators.listed(interp, args[0]) if args else [])
    elif owner.builtin in (str, int, float, tuple) and args:
        instance.payload = value_of(args[0])
    return True


def configure(interp: Interpreter, config: Instance, owner: Class, args: list[Any], kwargs: dict[str, Any]) -> None:
    """The `__init__` of a configuration: the fields of `owner` in order, then everything else goes to `__post_init__`."""
    if args:
        interp.throw("ValueError", f"{owner.name} accepts only keyword arguments")
    names = set()
    aliases = find(interp, config.cls, "attribute_map")
    for name, default, where in fields(interp, owner):
        names.add(name)
        if name in kwargs:
            if interp.misfits is not None:
                interp.misfits += declared.misfits(kwargs[name], _annotation(where, name), owner.name)
            if _is_only_stored(config, name, aliases):
                config.dict[name] = kwargs[name]
            else:
                set_attribute(interp, config, name, kwargs[name])
            continue
        try:
            value = default_of(interp, name, default, where)
        except Missing:
            if isinstance(find(interp, config.cls, name), Property):
                continue
            interp.throw("TypeError", f"Missing required field - '{name}'")
        set_attribute(interp, config, name, value)
    rest = {name: value for name, value in kwargs.items() if name not in names}
    if interp.misfits is not None:
        interp.misfits += _renamed_misfits(interp, owner, rest)
    if isinstance(kwargs, SDict):
        rest = SDict(rest, kwargs.expr)
    post = find(interp, config.cls, "__post_init__")
    if post is not None:
        interp.call(post, [config], rest)


def _is_only_stored(config: Instance, name: str, aliases: Any) -> bool:
    """Whether `set_attribute` does no more with a field of a configuration than to put it there: nearly always."""
    if type(config) is not Instance or config.payload is not None or not is_configuration(config.cls):
        return False
    if name.startswith("__") or "attribute_map" in config.dict or (isinstance(aliases, dict) and name in aliases):
        return False
    found = config.cls.cache.get(name, Missing)
    return found is not Missing and not isinstance(found, Property)


def _renamed_misfits(interp: Interpreter, owner: Class, rest: dict[str, Any]) -> Iterator[Diagnostic]:
    """Misfits of fields that are given under other names."""
    table = operators.plain(find(interp, owner, "attribute_map") or {})
    for name, value in rest.items():
        for field_name, _, where in fields(interp, owner):
            if isinstance(table, dict) and table.get(name) == field_name:
                yield from declared.misfits(value, _annotation(where, field_name), owner.name)


def _annotation(owner: Class, name: str) -> ast.expr | None:
    found = [annotation for annotated, annotation, _ in owner.namespace.annotations if annotated == name]
    return found[-1] if found else None


def _initialise_dataclass(
    interp: Interpreter, instance: Instance, owner: Class, args: list[Any], kwargs: dict[str, Any]
) -> None:
    declared = fields(interp, owner)
    if len(args) > len(declared):
        interp.throw("TypeError", f"{owner.name} takes {len(declared)} arguments but {len(args)} were given")
    given = {name: value for (name, _, _), value in zip(declared, args, strict=False)}
    for name, value in kwargs.items():
        if name not in {field[0] for field in declared} or name in given:
            interp.throw("TypeError", f"{owner.name} got an unexpected argument '{name}'")
        given[name] = value
    for name, default, where in declared:
        try:
            value = given[name] if name in given else default_of(interp, name, default, where)
        except Missing:
            interp.throw("TypeError", f"{owner.name} is missing the argument '{name}'")
        instance.dict[name] = value
        if isinstance(instance.payload, dict) and value is not None:
            instance.payload[name] = value
    post = find(interp, instance.cls, "__post_init__")
    if post is not None:
        interp.call(post, [instance], {})


def _enum_value(interp: Interpreter, cls: Class, args: list[Any]) -> Any:
    wanted = interp.pin(args[0])
    if isinstance(wanted, Instance) and cls in wanted.cls.mro:
        return wanted
    for member in enum_members(interp, cls).values():
        if member.dict["value"] == wanted:
            return member
    missing = find(interp, cls, "_missing_")
    if missing is not None:
        return interp.call(bind(interp, missing, None, cls), [wanted], {})
    interp.throw("ValueError", f"{wanted!r} is not a valid {cls.name}")


# -- attributes ------------------------------------------------------------------------------------------------------------------


def find(interp: Interpreter, cls: Class, name: str) -> Any:
    """An attribute in the bodies of a class and its bases, None if there is none."""
    if name in cls.cache:
        return cls.cache[name]
    for owner in cls.mro:
        found = _own(interp, owner, name)
        if found is not Missing:
            cls.cache[name] = found
            return found
        if owner.builtin is not None:
            method = builtins.class_method(owner.builtin, name)
            if method is not None:
                cls.cache[name] = method
                return method
    cls.cache[name] = None
    return None


def announce(interp: Interpreter, model: Class) -> None:
    """Make the plain classes of a model's file and tell those that they extend, as importing the file does."""
    module = model.namespace.module
    assert module is not None
    for name in [*module.definitions]:
        try:
            cls = module.resolve(interp, name)
        except (Missing, CompileError):
            continue
        if not isinstance(cls, Class) or cls.namespace.module is not module or is_configuration(cls):
            continue
        if any(owner.qualified in ("stubs.nn.Module", "stubs.models.ModelOutput") for owner in cls.mro):
            continue
        hook = _find_in(interp, cls.mro[1:], "__init_subclass__")
        if isinstance(hook, (Function, ClassMethod)):
            interp.call(hook, [cls], {}) if isinstance(hook, Function) else interp.call(hook.function, [cls], {})


CACHE = "transformers.cache_utils.Cache"


def cache_method(name: str) -> Any:
    """What stands for a method of the library's caches; None for those that are interpreted."""
    from codegen.graph.state import METHODS_OF_CACHES

    return METHODS_OF_CACHES.get(name)


def _own(interp: Interpreter, owner: Class, name: str) -> Any:
    if not owner.namespace.has(name):
        return Missing
    keeps = interp.surroundings is not None and interp.surroundings.kept is not None
    if keeps and owner.qualified == CACHE and (method := cache_method(name)) is not None:
        return method
    try:
        found = owner.namespace.resolve(interp, name)
    except Missing:
        return Missing
    if name == "sub_configs_defaults" and isinstance(found, dict):
        found = _sub_configurations(interp, found)
        owner.namespace.values[name] = found
    return found


def _sub_configurations(interp: Interpreter, parts: dict[str, Any]) -> dict[str, Any]:
    """What `__init_subclass__` of configurations does: plain classes become specifications."""
    namespace = interp.module(CONFIGURATION.rpartition(".")[0])
    assert namespace is not None
    specification = namespace.resolve(interp, "SubConfigSpec")
    plain = {name: part for name, part in parts.items() if not isinstance(part, Instance)}
    return {**parts, **{name: interp.call(specification, [], {"config_class": part}) for name, part in plain.items()}}


def bind(interp: Interpreter, found: Any, instance: Any, cls: Class) -> Any:
    """An attribute of a class as seen through an instance, or through the class where `instance` is None."""
    match found:
        case Function() | Builtin():
            return found if instance is None else Bound(found, instance)
        case ClassMethod():
            return Bound(found.function, cls)
        case StaticMethod():
            return found.function
        case Property():
            if found.on_class:
                return interp.call(found.getter, [cls], {})
            return found if instance is None else interp.call(found.getter, [instance], {})
        case Instance():
            getter = find(interp, found.cls, "__get__")
            if getter is not None:
                return interp.call(getter, [found, instance, cls], {})
            return found
        case _:
            return found


_PLAIN = frozenset({dict, list, tuple, str, int, float, bool, SDict, SList, Noticed, Further, Scalar, Watched})


def get(interp: Interpreter, owner: Any, name: str) -> Any:
    """`owner.name`."""
    if type(owner) in _PLAIN:
        return builtins.attribute(interp, owner, name)
    match owner:
        case Instance():
            return get_instance(interp, owner, name)
        case Tensor():
            return _get_tensor(interp, owner, name)
        case Class():
            return _get_class(interp, owner, name)
        case SourceModule():
            try:
                return interp.member(owner.namespace, name)
            except Missing:
                interp.throw("AttributeError", f"module '{owner.namespace.name}' has no attribute '{name}'")
        case External():
            return library.external_attribute(interp, owner, name)
        case Super():
            return _get_super(interp, owner, name)
        case Foreign():
            try:
                return owner.get(interp, name)
            except KeyError:
                interp.throw("AttributeError", f"no attribute '{name}'")
        case Function() | Bound() | Builtin() | Partial() | Property() | StaticMethod() | ClassMethod():
            return _get_function(interp, owner, name)
        case Unknown():
            return owner
        case _:
            return builtins.attribute(interp, owner, name)


def get_instance(interp: Interpreter, owner: Instance, name: str) -> Any:
    if owner.path is not None or is_configuration(owner.cls):
        return _get_configuration(interp, owner, name)
    custom = find(interp, owner.cls, "__getattribute__")
    if isinstance(custom, Function):
        return interp.call(custom, [owner, name], {})
    return get_plain(interp, owner, name, owner.cls.mro)


def _get_configuration(interp: Interpreter, owner: Instance, name: str) -> Any:
    """Attributes of configurations go by their canonical names; layers that differ are guarded by the source itself."""
    if "_heterogeneity_spec" in owner.dict:
        custom = find(interp, owner.cls, "__getattribute__")
        if isinstance(custom, Function):
            return interp.call(custom, [owner, name], {})
    known = canonical(interp, owner, name)
    if interp.sought is not None:
        interp.sought.add(known)
    if known in owner.dict and find(interp, owner.cls, known) is None:  # nearly always
        return owner.dict[known]
    return get_plain(interp, owner, known, owner.cls.mro)


def canonical(interp: Interpreter, owner: Instance, name: str) -> str:
    """The name that `attribute_map` gives an attribute of a configuration."""
    if name.startswith("__") or name == "attribute_map":
        return name
    aliases = owner.dict.get("attribute_map") or find(interp, owner.cls, "attribute_map")
    if isinstance(aliases, dict) and name in aliases:
        return str(value_of(aliases[name]))
    return name


def get_plain(interp: Interpreter, owner: Instance, name: str, mro: tuple[Class, ...]) -> Any:
    """What `object.__getattribute__` does, looking through the classes of `mro`."""
    if name == "__dict__":
        return owner.dict
    if name == "__class__":
        return owner.cls
    found = find(interp, owner.cls, name) if mro is owner.cls.mro else _find_in(interp, mro, name)
    if isinstance(found, Property):
        return bind(interp, found, owner, owner.cls)
    if name in owner.dict:
        return owner.dict[name]
    if isinstance(owner, ModuleObject):
        for slots in (owner.parameters, owner.buffers, owner.modules):
            if name in slots:
                return slots[name]
        if name in _MODULE_SLOTS:
            return getattr(owner, _MODULE_SLOTS[name])
    if found is not None:
        return bind(interp, found, owner, owner.cls)
    if name == "__module__":
        return owner.cls.module
    if owner.payload is not None:
        method = builtins.method(interp, owner.payload, name)
        if method is not None:
            return method
    if isinstance(owner, ModuleObject) and name == "__doc__":
        return None
    fallback = find(interp, owner.cls, "__getattr__")
    if fallback is not None:
        return interp.call(fallback, [owner, name], {})
    if _class_has_none(interp, owner.cls, name):
        return None
    interp.throw("AttributeError", f"'{owner.cls.name}' object has no attribute '{name}'")


_MODULE_SLOTS = {
    "_parameters": "parameters",
    "_buffers": "buffers",
    "_modules": "modules",
    "_non_persistent_buffers_set": "transient",
}


def _class_has_none(interp: Interpreter, cls: Class, name: str) -> bool:
    """Whether a class body says `name = None`, which `find` cannot tell from no definition."""
    return any(_own(interp, owner, name) is not Missing for owner in cls.mro)


def _find_in(interp: Interpreter, mro: tuple[Class, ...], name: str) -> Any:
    for owner in mro:
        found = _own(interp, owner, name)
        if found is not Missing:
            return found
        if owner.builtin is not None:
            method = builtins.class_method(owner.builtin, name)
            if method is not None:
                return method
    return None


def _get_class(interp: Interpreter, owner: Class, name: str) -> Any:
    special = {"__name__": owner.name, "__qualname__": owner.name, "__module__": owner.module, "__mro__": owner.mro}
    if name in special:
        return special[name]
    if name == "__bases__":
        return owner.bases
    if name == "__dict__":
        return {n: owner.namespace.resolve(interp, n) for n in owner.namespace.names() if owner.namespace.has(n)}
    if name == "__class__":
        return interp.builtins["type"]
    if name == "__annotations__":
        return {annotation[0]: External("typing.Any") for annotation in owner.namespace.annotations}
    if name == "__doc__":
        return None
    members = enum_members(interp, owner)
    if name in members:
        return members[name]
    if name == "__members__":
        return members
    if name == "config_class" and is_module_class(owner):
        return configuration_class(interp, owner)
    found = find(interp, owner, name)
    if found is not None:
        return bind(interp, found, None, owner)
    if _class_has_none(interp, owner, name):
        return None
    if name == "__subclasses__":
        return builtins.nothing
    if name == "__init__":
        return Builtin("__init__", lambda i, a, k: initialise(i, a[0], a[1:], k) and None, owner)
    interp.throw("AttributeError", f"type object '{owner.name}' has no attribute '{name}'")


def configuration_class(interp: Interpreter, owner: Class) -> Any:
    """`config_class` of a model: an attribute, else the annotation of `config`, of the class itself before its bases."""
    for cls in owner.mro:
        if cls.namespace.has("config_class") and (own := cls.namespace.resolve(interp, "config_class")) is not None:
            return own
        for name, annotation, _ in cls.namespace.annotations:
            if name == "config" and cls.namespace.scope is not None:
                if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
                    annotation = ast.parse(annotation.value, mode="eval").body
                found = interp.eval(annotation, cls.namespace.scope)
                if isinstance(found, Class):
                    return found
    return None


def _get_super(interp: Interpreter, owner: Super, name: str) -> Any:
    receiver = owner.receiver
    cls = receiver if isinstance(receiver, Class) else receiver.cls
    mro = cls.mro[cls.mro.index(owner.after) + 1 :]
    if isinstance(receiver, Instance):
        if name == "__init__":
            return Builtin("__init__", lambda i, a, k: _super_init(i, receiver, mro, a, k))
        if name == "__getattribute__":
            return Builtin("__getattribute__", lambda i, a, k: _super_getattribute(i, receiver, mro, a[0]))
        if name == "__setattr__":
            return Builtin("__setattr__", lambda i, a, k: _super_setattr(i, receiver, mro, a[0], a[1]))
        if name == "__delattr__":
            return Builtin("__delattr__", lambda i, a, k: _delete_plain(i, receiver, a[0]))
    if name in ("__init_subclass__", "__post_init__"):
        found = _find_in(interp, mro, name)
        if found is None:
            return Builtin(name, lambda i, a, k: None)
        return bind(interp, found, receiver, cls)
    if name == "__new__":
        return Builtin("__new__", lambda i, a, k: blank(i, a[0]))
    found = _find_in(interp, mro, name)
    if found is None:
        if isinstance(receiver, ModuleObject) and name == "__call__":
            return Builtin(name, lambda i, a, k: i.call(i.getattr(receiver, "forward"), a, k))
        if isinstance(receiver, ModuleObject) and name == "__getattr__":
            return Builtin(name, lambda i, a, k: _module_getattr(i, receiver, a[0]))
        if isinstance(receiver, Instance) and receiver.payload is not None:
            method = builtins.method(interp, receiver.payload, name)
            if method is not None:
                return method
        interp.throw("AttributeError", f"'super' object has no attribute '{name}'")
    if isinstance(receiver, Class):
        return bind(interp, found, None, receiver)
    return bind(interp, found, receiver, cls)


def _module_getattr(interp: Interpreter, module: ModuleObject, name: str) -> Any:
    for slots in (module.parameters, module.buffers, module.modules):
        if name in slots:
            return slots[name]
    interp.throw("AttributeError", f"'{module.cls.name}' object has no attribute '{name}'")


def _super_init(
    interp: Interpreter, receiver: Instance, mro: tuple[Class, ...], args: list[Any], kwargs: dict[str, Any]
) -> None:
    for owner in mro:
        if initialise_at(interp, receiver, owner, args, kwargs):
            return


def _super_getattribute(interp: Interpreter, receiver: Instance, mro: tuple[Class, ...], name: str) -> Any:
    for position, owner in enumerate(mro):
        if owner.namespace.has("__getattribute__"):
            return interp.call(owner.namespace.resolve(interp, "__getattribute__"), [receiver, name], {})
        del position
    return get_plain(interp, receiver, value_of(name), receiver.cls.mro)  # type: ignore[arg-type]


def _super_setattr(interp: Interpreter, receiver: Instance, mro: tuple[Class, ...], name: Any, value: Any) -> None:
    for owner in mro:
        if owner.namespace.has("__setattr__") and not owner.namespace.name.startswith("stubs."):
            interp.call(owner.namespace.resolve(interp, "__setattr__"), [receiver, name, value], {})
            return
    set_plain(interp, receiver, str(interp.pin(name, Kind.KEY)), value)


def _get_function(interp: Interpreter, owner: Any, name: str) -> Any:
    if isinstance(owner, Property):
        match name:
            case "fget":
                return owner.getter
            case "fset":
                return owner.setter
            case "setter":
                return Builtin(name, lambda i, a, k: Property(owner.getter, a[0], owner.deleter, owner.on_class))
            case "getter":
                return Builtin(name, lambda i, a, k: Property(a[0], owner.setter, owner.deleter, owner.on_class))
            case "deleter":
                return Builtin(name, lambda i, a, k: Property(owner.getter, owner.setter, a[0], owner.on_class))
            case "__get__":
                return Builtin(name, lambda i, a, k: i.call(owner.getter, [a[0]], {}))
            case "__set__":
                return Builtin(name, lambda i, a, k: i.call(owner.setter, [a[0], a[1]], {}))
    inner = owner
    while isinstance(inner, (Bound, StaticMethod, ClassMethod, Partial)):
        if isinstance(inner, Bound) and name == "__self__":
            return inner.receiver
        if name in ("__func__", "func"):
            return inner.function
        inner = inner.function
    if isinstance(inner, Function):
        if name in inner.attributes:
            return inner.attributes[name]
        if name == "__wrapped__":
            return inner
        if name == "__globals__" and inner.scope.namespace.module is not None:
            return inner.scope.namespace.module.values
        if name == "apply" and inner.owner is not None:
            return inner
    if name in ("__name__", "__qualname__"):
        return inner.name
    if name == "__doc__":
        return None
    if name == "__module__":
        return inner.scope.namespace.name if isinstance(inner, Function) else "builtins"
    if name == "__get__":
        return Builtin(name, lambda i, a, k: Bound(owner, a[0]))
    if name == "__call__":
        return owner
    interp.throw("AttributeError", f"'function' object has no attribute '{name}'")


_TENSOR_ATTRIBUTES = frozenset(
    "shape dtype T mT H mH device ndim data real imag is_cuda requires_grad grad layout itemsize nbytes is_sparse is_meta names".split()
)


_RANDOM = frozenset("uniform_ normal_ random_ exponential_ bernoulli_ log_normal_ cauchy_ geometric_".split())


def _number_of(interp: Interpreter, owner: Tensor, name: str) -> Any:
    """The numbers of a tensor while a model is made: of some it is not known, and then they must not matter."""
    try:
        return tensor_ops.method(interp.tensor_span(), owner, name, [], {})
    except CompileError:
        unknown = Unknown("it was read from a tensor")
        return unknown if name == "item" or not owner.shape else [unknown] * int(value_of(owner.shape[0]))  # type: ignore[call-overload]


def _randomised(interp: Interpreter, owner: Tensor) -> Tensor:
    """Random numbers that a checkpoint replaces; while a model runs there are none."""
    if interp.framing:
        interp.unsupported("a random tensor", "a compiled model computes the same every time", "unknown-op")
    interp.random.append(owner)
    return owner


def _get_tensor(interp: Interpreter, owner: Tensor, name: str) -> Any:
    if name == "__class__":
        return External("torch.nn.Parameter" if isinstance(owner, Parameter) else "torch.Tensor")
    if isinstance(owner, Parameter) and name == "requires_grad":
        return owner.requires_grad
    if name in ("item", "tolist") and not interp.framing:
        return Builtin(name, lambda i, a, k: _number_of(i, owner, name))
    if name in _RANDOM:
        return Builtin(name, lambda i, a, k: _randomised(i, owner))
    if name in _TENSOR_ATTRIBUTES:
        return tensor_ops.attribute(interp.tensor_span(), owner, name)
    if name.startswith("_") or name[0].isupper():  # what other packages hang on tensors is not there
        interp.throw("AttributeError", f"'Tensor' object has no attribute '{name}'")
    return Builtin(name, lambda i, a, k: tensor_ops.method(i.tensor_span(), owner, name, a, k))


# -- setting ---------------------------------------------------------------------------------------------------------------------


_REPLACED = "a function or a class of the repository's own can do what is put in its place"
_SWITCHES = tuple(f"torch.{name}" for name in "backends _dynamo _inductor _C cuda utils distributed".split())
"""What says how fast things are computed, and not what."""


def set_attribute(interp: Interpreter, owner: Any, name: str, value: Any) -> None:
    """`owner.name = value`."""
    match owner:
        case Instance() if is_configuration(owner.cls):
            set_plain(interp, owner, canonical(interp, owner, name), value)
        case Instance():
            custom = find(interp, owner.cls, "__setattr__")
            if isinstance(custom, Function) and not custom.scope.namespace.name.startswith("stubs."):
                interp.call(custom, [owner, name, value], {})
            else:
                set_plain(interp, owner, name, value)
        case Class() if owner.module == "stubs.nn" and not name.startswith("_"):
            interp.unsupported(f"`{name}` of `{owner.name}` is replaced for all models", _REPLACED)
        case Class():
            owner.namespace.values[name] = value
            _forget(interp, name)
        case SourceModule():
            owner.namespace.values[name] = value
        case Tensor():
            _set_tensor(interp, owner, name, value)
        case Foreign():
            try:
                owner.set(interp, name, value)
            except KeyError:
                interp.unsupported(f"the attribute `{name}` of this object cannot be set")
        case Function():
            owner.attributes[name] = value
        case Bound() if isinstance(owner.function, Function):
            owner.function.attributes[name] = value
        case External(name=package) if package.startswith("torch") and not package.startswith(_SWITCHES):
            interp.unsupported(f"`{package}.{name}` is replaced for all models", _REPLACED)
        case External() | Unknown() | Builtin():
            pass
        case _:
            interp.throw("AttributeError", f"'{operators.type_name(owner)}' object has no attribute '{name}'")


def _set_tensor(interp: Interpreter, owner: Tensor, name: str, value: Any) -> None:
    if name == "data" and isinstance(value, Tensor):
        owner.value = value.value
    elif name == "requires_grad" and isinstance(owner, Parameter):
        owner.requires_grad = bool(value_of(value))
    elif not name.startswith("_") and name not in ("grad", "requires_grad", "is_sparse_grad"):
        interp.unsupported(f"the attribute `{name}` of a tensor cannot be set")


def set_plain(interp: Interpreter, owner: Instance, name: str, value: Any) -> None:
    """What `object.__setattr__` and `nn.Module.__setattr__` do."""
    found = find(interp, owner.cls, name)
    if isinstance(found, Property):
        if found.setter is None:
            interp.throw("AttributeError", f"property '{name}' of '{owner.cls.name}' object has no setter")
        interp.call(found.setter, [owner, value], {})
        return
    if name == "__class__" and isinstance(value, Class):
        owner.cls = value
    elif isinstance(owner, ModuleObject):
        _set_module(interp, owner, name, value)
    else:
        owner.dict[name] = value
        if isinstance(owner.payload, dict) and "dataclass" in owner.cls.marks and value is not None:
            owner.payload[name] = value


def _set_module(interp: Interpreter, owner: ModuleObject, name: str, value: Any) -> None:
    """A name belongs to one of parameters, buffers, modules and plain attributes; `None` keeps a slot."""
    slots: tuple[dict[str, Any], ...] = (owner.dict, owner.parameters, owner.buffers, owner.modules)
    match value:
        case Parameter():
            target = owner.parameters
        case ModuleObject():
            target = owner.modules  # type: ignore[assignment]
        case Buffer():
            target = owner.buffers  # type: ignore[assignment]
            owner.transient.discard(name)
            if not value.persistent:
                owner.transient.add(name)
        case None | Tensor():
            kept = next((slot for slot in slots[1:] if name in slot), None)
            if kept is owner.parameters and value is not None:
                interp.throw("TypeError", f"cannot assign a tensor as parameter '{name}'")
            target = owner.dict if kept is None or (kept is owner.modules and value is not None) else kept
        case _:
            target = owner.dict
            if name in owner.parameters or name in owner.buffers or name in owner.modules:
                interp.throw("TypeError", f"cannot assign this as '{name}'")
    for slot in slots:
        if slot is not target:
            slot.pop(name, None)
    target[name] = value


def delete(interp: Interpreter, owner: Any, name: str) -> None:
    """`del owner.name`."""
    if isinstance(owner, Instance):
        if is_configuration(owner.cls):
            name = canonical(interp, owner, name)
        _delete_plain(interp, owner, name)
    elif isinstance(owner, Class) and owner.namespace.has(name):
        owner.namespace.values.pop(name, None)
        owner.namespace.definitions.pop(name, None)
        _forget(interp, name)
    else:
        interp.throw("AttributeError", name)


def _forget(interp: Interpreter, name: str) -> None:
    """A class changed: what its subclasses found under that name no longer holds."""
    for cls in interp.classes:
        cls.cache.pop(name, None)


def _delete_plain(interp: Interpreter, owner: Instance, name: str) -> None:
    found = find(interp, owner.cls, name)
    if isinstance(found, Property) and found.deleter is not None:
        interp.call(found.deleter, [owner], {})
        return
    slots: list[dict[str, Any]] = [owner.dict]
    if isinstance(owner, ModuleObject):
        slots += [owner.parameters, owner.buffers, owner.modules]
    for slot in slots:
        if name in slot:
            del slot[name]
            return
    interp.throw("AttributeError", f"'{owner.cls.name}' object has no attribute '{name}'")


# -- questions -------------------------------------------------------------------------------------------------------------------


def has(interp: Interpreter, owner: Any, name: str) -> bool:
    """`hasattr`, noting what the configuration decides."""
    from codegen.graph.interpreter import Raised

    if isinstance(owner, Tensor):
        return name in _TENSOR_ATTRIBUTES or name in tensor_ops.METHODS
    try:
        interp.getattr(owner, name)
        found = True
    except Raised as error:
        if not is_instance(interp, error.instance, interp.builtins["AttributeError"]):
            raise
        found = False
    note_presence(interp, owner, name, found)
    return found


def note_presence(interp: Interpreter, owner: Any, name: str, found: bool, default: Any = Missing) -> None:
    """That a configuration has an attribute or not, unless its class alone decides that. An absent one stands for `default`."""
    if not isinstance(owner, Instance) or owner.path is None or name.startswith("_"):
        return
    name = canonical(interp, owner, name)
    if find(interp, owner.cls, name) is not None or any(name == field[0] for field in fields(interp, owner.cls)):
        return
    if interp.stage == 2:
        stands = expr_of(default) if isinstance(default, (Scalar, bool, int, float, str, type(None))) else None
        if stands is not None and not all(isinstance(leaf, Key) for leaf in leaves(stands)):
            stands = None
        interp.note(Kind.PRESENCE, Apply("in", (Const(name), Key(owner.path))), found, None if found else stands)


def is_instance(interp: Interpreter, value: Any, cls: Any) -> bool:
    """`isinstance`; that a value of the configuration has some type is noted."""
    if isinstance(cls, tuple):
        return any(is_instance(interp, value, item) for item in cls)
    from codegen.graph.state import KeyValueCache  # which imports this

    if isinstance(value, KeyValueCache) and isinstance(cls, Class) and cls.module.startswith(f"{REPOSITORY}."):
        interp.unsupported(f"whether the cache is a `{cls.name}`, which the source makes itself", code="unknown-state")
    if isinstance(value, Scalar):
        kind = Apply("type", (value.expr,))
        held = glance(value, kind)
        outcome = builtins.has_type(interp, held, cls)
        interp.note(Kind.TYPE, kind, type(held).__name__)
        return outcome
    expr = origin(value)
    if expr is not None:
        interp.note(Kind.TYPE, Apply("type", (expr,)), "list" if isinstance(value, list) else "dict")
    return builtins.has_type(interp, value, cls)


def is_subclass(interp: Interpreter, value: Any, cls: Any) -> bool:
    if isinstance(cls, tuple):
        return any(is_subclass(interp, value, item) for item in cls)
    if isinstance(value, Class) and isinstance(cls, Class):
        return cls in value.mro or cls.builtin is object
    if isinstance(value, External):
        return bool(value == cls)
    if isinstance(value, Class):
        return False
    interp.throw("TypeError", "issubclass() arg 1 must be a class")


def is_dtype(value: Any) -> bool:
    return isinstance(value, DType)
