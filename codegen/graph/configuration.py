"""The configuration: its class runs on the keys as written, then every attribute it ended up with becomes a symbol of its own.

So a default that depends on another key (`head_dim or hidden_size // heads`) restricts nothing in the model; how the attribute follows
from the raw keys is kept beside it.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from codegen.graph import classes, operators
from codegen.graph.objects import Class, External, Foreign, Instance, Noticed, SDict, SList, SourceModule, SSet
from codegen.graph.scope import Missing
from codegen.graph.values import Reads, Scalar, Watched, value_of
from codegen.source.files import LIBRARY
from ir.expressions import Apply, Const, Environment, Expr, Key, Raw
from ir.graph import DType

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

Path = tuple[str | int, ...]

AUTO = f"{LIBRARY}.models.auto.configuration_auto"
INERT = frozenset(
    {
        "_name_or_path",
        "_post_init_done",
        "_attn_implementation_internal",
        "_experts_implementation_internal",
        "_output_attentions",
    }
)
"""Attributes that the library keeps for itself; they are no part of the configuration."""


def names(interp: Interpreter) -> dict[str, str]:
    """The library's table from model type to the name of the configuration class."""
    return _table(interp, AUTO, "CONFIG_MAPPING_NAMES")


def _table(interp: Interpreter, module: str, name: str) -> dict[str, Any]:
    namespace = interp.module(module)
    if namespace is None:
        interp.unsupported(f"the installed library has no `{module}`", code="unknown-library")
    table = operators.plain(namespace.resolve(interp, name))
    assert isinstance(table, dict)
    return table


def module_name(interp: Interpreter, model_type: str) -> str:
    """The folder of a model type."""
    namespace = interp.module(AUTO)
    assert namespace is not None
    function = namespace.resolve(interp, "model_type_to_module_name")
    return str(value_of(interp.call(function, [model_type], {})))


def configuration_class(interp: Interpreter, model_type: str) -> Class:
    """The configuration class of a model type.

    Raises:
        Unsupported: the library has no such type.
    """
    table = names(interp)
    if model_type not in table:
        interp.unsupported(
            f"the installed transformers package does not know the model type `{model_type}`",
            "give a repository that brings its own modeling code, or install a version that has it",
            "unknown-model-type",
        )
    name = table[model_type]
    for candidate in [model_type, *(key for key, other in table.items() if other == name and key != model_type)]:
        found = class_in_folder(interp, module_name(interp, candidate), name, "configuration")
        if found is not None:
            return found
    interp.unsupported(
        f"the class `{name}` is in no file of the installed transformers package", code="unknown-model-type"
    )


def class_in_folder(interp: Interpreter, folder: str, name: str, prefix: str) -> Class | None:
    """A class in the files of a model's folder; None if none has it."""
    directory = interp.files.root / "models" / folder
    files = sorted(directory.glob(f"{prefix}_*.py")) if directory.is_dir() else []
    exact = directory / f"{prefix}_{folder}.py"
    for file in sorted(files, key=lambda f: f != exact):
        namespace = interp.module(f"{LIBRARY}.models.{folder}.{file.stem}")
        if namespace is not None and namespace.has(name):
            found = namespace.resolve(interp, name)
            if isinstance(found, Class):
                return found
    return None


def seed_raw(value: Any, path: Path = (), reads: Reads | None = None) -> Any:
    """A key of config.json as a symbol, which notes in `reads` that it was looked at; containers are copied."""
    match value:
        case dict():
            decoded = special_float(value)
            if decoded is not None:
                return Scalar(decoded, Raw(path))
            items = {key: seed_raw(item, (*path, key), reads) for key, item in value.items()}
            return SDict(items, Raw(path)) if reads is None or not path else Noticed(items, path, reads)
        case list():
            return SList((seed_raw(item, (*path, i), reads) for i, item in enumerate(value)), Raw(path))
        case _:
            return Scalar(value, Raw(path)) if reads is None else Watched(value, Raw(path), reads)


_FLOATS = {"Infinity": float("inf"), "-Infinity": float("-inf"), "NaN": float("nan")}


def special_float(value: dict[str, Any]) -> float | None:
    return (
        _FLOATS.get(value["__float__"])
        if value.keys() == {"__float__"} and isinstance(value["__float__"], str)
        else None
    )


def construct(interp: Interpreter, cls: Class, raw: Mapping[str, Any], reads: Reads | None = None) -> Instance:
    """Run the configuration class on raw keys (stage 1)."""
    interp.stage = 1
    interp.environment = Environment(raw=dict(raw))
    keys = seed_raw(dict(raw), (), reads)
    keys.pop("attn_implementation", None)
    if reads_keys_itself(cls):
        config = interp.call(interp.getattr(cls, "from_dict"), [keys], {})
    else:
        config = interp.call(cls, [], keys)
    assert isinstance(config, Instance)
    return config


def reads_keys_itself(cls: Class) -> bool:
    """Whether a configuration class changes the keys before they reach its constructor."""
    for owner in cls.mro:
        if owner.namespace.has("from_dict"):
            return owner.qualified != classes.CONFIGURATION
    return False


class Seeding:
    """Stage 2 begins: attributes become symbols, `definitions` keeps how they were computed, `resolved` what they are."""

    def __init__(self) -> None:
        self.definitions: dict[Path, Expr] = {}
        self.seen: dict[int, Path] = {}

    def seed(self, config: Instance, path: Path = ()) -> dict[str, Any]:
        """Seed a configuration in place; its resolved attributes as plain values."""
        self.seen[id(config)] = path
        if classes.is_configuration(config.cls):
            config.path = path
        resolved: dict[str, Any] = {}
        for name, value in list(config.dict.items()):
            if name in INERT:
                continue
            config.dict[name], resolved[name] = self.value(value, (*path, name))
        return resolved

    def value(self, value: Any, path: Path) -> tuple[Any, Any]:
        """A value as a symbol, and plain."""
        match value:
            case Scalar() | bool() | int() | float() | str() | None:
                self.definitions[path] = value.expr if isinstance(value, Scalar) else Const(value)
                plain = value_of(value)
                return Scalar(plain, Key(path)), plain  # type: ignore[arg-type]
            case Instance() if id(value) in self.seen:
                return value, {}
            case Instance() if value.payload is None:
                return value, self.seed(value, path)
            case dict():
                return self._dict(value, path)
            case list() | tuple():
                return self._list(value, path)
            case SSet():
                return value, sorted(map(str, value.items))
            case DType():
                return DType.MODEL if path[-1] == "dtype" else value, value.value
            case _:
                return value, operators.plain(value) if not isinstance(
                    value, (External, Foreign, SourceModule)
                ) else None

    def _dict(self, value: dict[Any, Any], path: Path) -> tuple[Any, Any]:
        if isinstance(value, SDict) and value.expr is not None and not value.added:
            self.definitions[path] = value.expr
        pairs = {key: self.value(item, (*path, key)) for key, item in value.items()}
        if value and all(isinstance(key, int) for key in value):
            pairs = self._shared(pairs, path)
        return SDict({key: pair[0] for key, pair in pairs.items()}, Key(path)), {
            key: pair[1] for key, pair in pairs.items()
        }

    def _shared(self, pairs: dict[Any, tuple[Any, Any]], path: Path) -> dict[Any, tuple[Any, Any]]:
        """Entries by layer: those that were computed in the same way are one, whichever layer they are taken for."""
        known: dict[object, tuple[Any, Any]] = {}
        for key, pair in pairs.items():
            own = (*path, key)
            made = frozenset((p[len(own) :], e) for p, e in self.definitions.items() if p[: len(own)] == own)
            pairs[key] = known.setdefault(made, pair)
        return pairs

    def _list(self, value: Any, path: Path) -> tuple[Any, Any]:
        expr = operators._expression(list(value) if isinstance(value, tuple) else value)
        if expr is not None:
            self.definitions[path] = expr
        pairs = [self.value(item, (*path, i)) for i, item in enumerate(value)]
        plain = [pair[1] for pair in pairs]
        if isinstance(value, tuple):
            return tuple(pair[0] for pair in pairs), tuple(plain)
        return SList((pair[0] for pair in pairs), Key(path)), plain


def text_configuration(interp: Interpreter, config: Instance, model: Class) -> Instance:
    """The configuration that a model takes: of a composite one the text part, where the model's class is made for that."""
    try:
        parts = interp.getattr(config.cls, "sub_configs")
    except Missing:
        return config
    if not isinstance(parts, dict) or "text_config" not in parts:
        return config
    if parts["text_config"] is not classes.configuration_class(interp, model):
        return config
    text = interp.call(interp.getattr(config, "get_text_config"), [], {})
    assert isinstance(text, Instance)
    return text


def automatic_class(interp: Interpreter, role: str, config: Instance) -> Class:
    """The class that an automatic class (`AutoModelX`) picks for a configuration."""
    types = {name: key for key, name in names(interp).items()}
    model_type = types.get(config.cls.name)
    table = _table(interp, f"{LIBRARY}.models.auto.modeling_auto", _mapping_of(interp, role))
    if model_type is None or model_type not in table:
        interp.unsupported(f"`{role}` knows no model for `{config.cls.name}`", code="unknown-model-type")
    found = table[model_type]
    choices = [found] if isinstance(found, str) else list(found)
    given = config.dict.get("architectures")
    wanted = [str(value_of(name)) for name in given] if isinstance(given, (list, tuple)) else []
    name = next((choice for choice in choices if choice in wanted), choices[0])
    cls = class_in_folder(interp, module_name(interp, model_type), name, "modeling")
    if cls is None:
        interp.unsupported(f"the class `{name}` is in no file of the installed library", code="unknown-model-type")
    return cls


def _mapping_of(interp: Interpreter, role: str) -> str:
    """The name of the table behind an automatic class, as its source says it."""
    namespace = interp.module(f"{LIBRARY}.models.auto.modeling_auto")
    assert namespace is not None
    variable = ""
    for definition in namespace.definitions.get(role, []):
        for statement in definition.statements():
            for inner in ast.walk(statement):
                if isinstance(inner, ast.Assign) and isinstance(inner.value, ast.Name):
                    if isinstance(inner.targets[0], ast.Name) and inner.targets[0].id == "_model_mapping":
                        variable = inner.value.id
    for definition in namespace.definitions.get(variable, []):
        for statement in definition.statements():
            if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
                argument = statement.value.args[-1]
                if isinstance(argument, ast.Name):
                    return argument.id
    interp.unsupported(f"the table behind `{role}` cannot be found", code="unknown-library")


def layer_index(expr: Expr) -> Expr:
    """The condition of a per-layer predicate with a readable index."""
    return Apply("bool", (expr,))
