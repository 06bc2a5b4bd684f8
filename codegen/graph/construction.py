"""From a configuration to a model: which classes, the configuration in two stages, the tree of modules with its parameters."""

from __future__ import annotations

import gc
import math
import re
import sys
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from codegen.diagnostics import CompileError, Diagnostic, Label
from codegen.graph import blame, classes, configuration, expert_lists, library, refills
from codegen.graph.configuration import INERT
from codegen.graph.exploration.spelling import BOOK, said
from codegen.graph.interpreter import Interpreter, Raised
from codegen.graph.objects import Buffer, Class, Instance, ModuleObject, Parameter, container_class, per_layer
from codegen.graph.predicates import Kind, Predicate
from codegen.graph.scope import Missing
from codegen.graph.values import Scalar, Tensor, expr_of, value_of
from codegen.source.files import LIBRARY, REPOSITORY, Library
from ir.expressions import Apply, Const, Environment, Expr, Index, Key, Raw, evaluate, leaves, places, substitute
from ir.graph import DType, Module, Number, Operand
from ir.graph import Parameter as TreeParameter
from ir.reading import lookup
from ir.records import dataclass, field, replace
from ir.spans import Span

RECURSION = 20_000
MOST_TURNS = 1024  # of a loop over layers: more than any model has
MOST_INNER_TURNS, MOST_LOOPS = 64, 2  # of loops in loops, where each number of the one is tried with each of the other


@dataclass(frozen=True, slots=True)
class Tie:
    """`target` is the same tensor as `source` if the condition holds, as it does here if `active`."""

    target: str
    source: str
    condition: Expr
    active: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor of the state dict. `tied` is the name that a checkpoint has for what it is one with, or None."""

    name: str
    shape: tuple[int | Scalar, ...]
    dtype: DType
    kind: str  # "parameter" or "buffer"
    tied: str | None

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(value_of(size) for size in self.shape)  # type: ignore[misc]


@dataclass(eq=False)
class Built:
    """A model before it runs. `definitions` says how each resolved attribute follows from the raw keys."""

    config: Instance
    model: ModuleObject
    class_name: str
    source: str
    predicates: tuple[Predicate, ...]
    definitions: dict[tuple[str | int, ...], Expr]
    resolved: dict[str, Any]
    interpreter: Interpreter
    ties: tuple[Tie, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)
    flat: bool = False


@dataclass(frozen=True, slots=True)
class Around:
    """What is around a module: the configuration, and the numbers of the items of lists that it is in. What a module keeps of
    the turn in which it was made follows from these numbers, where it does. Elsewhere it is a number like any other, and, where
    they are `flat`, in a list within a list.
    """

    config: Environment
    path: str
    flat: bool

    @property
    def numbers(self) -> dict[str, int]:
        found = places(self.path)
        return {} if self.flat and len(found) > 1 else found

    def inside(self, name: str) -> Around:
        """What is around a module of that name in this one."""
        return replace(self, path=f"{self.path}.{name}")


def build(
    files: Library,
    raw_config: Mapping[str, Any],
    repository_files: Mapping[str, str] | None = None,
    *,
    flat: bool = False,
) -> Built:
    """Run the configuration class and the model's `__init__`. `flat`: what modules of a list within a list keep of their
    numbers are plain numbers.

    Raises:
        CompileError: a class cannot be found, the source raises, or it uses something that has no meaning here.
    """
    if repository_files:
        files = files.with_repository(repository_files)
    interpreter = Interpreter(files)
    with deep_recursion():
        try:
            return _build(interpreter, dict(raw_config), flat)
        except Raised as error:
            raise blame.raised(interpreter, error) from None
        except CompileError as error:
            raise blame.explain(interpreter, error) from None
        except RecursionError:
            raise CompileError(Diagnostic("depth-limit", "the source nests too deeply")) from None


def resolve(
    files: Library, raw_config: Mapping[str, Any], repository_files: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The configuration alone, as plain values."""
    interpreter = Interpreter(files.with_repository(repository_files) if repository_files else files)
    with deep_recursion():
        try:
            config = configuration.construct(interpreter, _configuration_class(interpreter, raw_config), raw_config)
        except Raised as error:
            raise blame.raised(interpreter, error) from None
        return configuration.Seeding().seed(config)


class deep_recursion:
    """Room for the interpreter's own calls; how deep the source may go is its own limit. No garbage is collected meanwhile."""

    def __enter__(self) -> None:
        self.before, self.collecting = sys.getrecursionlimit(), gc.isenabled()
        sys.setrecursionlimit(max(self.before, RECURSION))
        gc.disable()

    def __exit__(self, *_: object) -> None:
        sys.setrecursionlimit(self.before)
        if self.collecting:
            gc.enable()


def _build(interpreter: Interpreter, raw: dict[str, Any], flat: bool) -> Built:
    config_class = _configuration_class(interpreter, raw)
    model_class = _model_class(interpreter, raw)
    config = configuration.construct(interpreter, config_class, raw)
    seeding = configuration.Seeding()
    resolved = seeding.seed(config)
    interpreter.stage = 2
    interpreter.environment = Environment(config=resolved, raw=raw)
    interpreter.definitions = seeding.definitions
    used = configuration.text_configuration(interpreter, config, model_class)
    interpreter.trace.default_dtype = DType.MODEL
    model = interpreter.call(model_class, [used], {})
    interpreter.trace.default_dtype = DType.FLOAT32
    if not isinstance(model, ModuleObject):
        interpreter.unsupported(f"`{model_class.name}` is no module")
    for path, module in library.walk_modules(model, "", True, set()):
        module.module_path = path
        interpreter.lengths[path] = len(module.modules)
    _place_numbers(model, Around(interpreter.environment, "", flat))
    refills.check(interpreter, model, library.walk_modules(model, "", True, set()))
    _keep_in_float32(interpreter, model)
    ties = _ties(model)
    file = model_class.namespace.file.name
    found = interpreter.predicates.all()
    return Built(
        config, model, model_class.name, file, found, seeding.definitions, resolved, interpreter, ties, raw, flat
    )


def _configuration_class(interpreter: Interpreter, raw: Mapping[str, Any]) -> Class:
    own = _repository_class(interpreter, raw, "AutoConfig")
    if own is not None:
        return own
    model_type = raw.get("model_type")
    if not isinstance(model_type, str):
        interpreter.unsupported("config.json has no `model_type`", code="no-model-type")
    return configuration.configuration_class(interpreter, model_type)


def _model_class(interpreter: Interpreter, raw: Mapping[str, Any]) -> Class:
    own = _repository_class(interpreter, raw, "AutoModelForCausalLM")
    if own is not None:
        return own
    model_type = str(raw.get("model_type"))
    table = configuration._table(
        interpreter, f"{LIBRARY}.models.auto.modeling_auto", "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"
    )
    if model_type not in table:
        interpreter.unsupported(
            f"`{model_type}` has no causal language model in the installed library", code="no-causal-model"
        )
    names = table[model_type]
    names = [names] if isinstance(names, str) else list(names)
    wanted = (raw.get("architectures") or [None])[0]
    name = wanted if wanted in names else names[0]
    found = configuration.class_in_folder(
        interpreter, configuration.module_name(interpreter, model_type), name, "modeling"
    )
    if found is None:
        for key, value in table.items():
            if name == value or (not isinstance(value, str) and name in value):
                folder = configuration.module_name(interpreter, key)
                found = found or configuration.class_in_folder(interpreter, folder, name, "modeling")
    if found is None:
        interpreter.unsupported(f"the class `{name}` is in no file of the installed library", code="no-causal-model")
    return found


def _repository_class(interpreter: Interpreter, raw: Mapping[str, Any], role: str) -> Class | None:
    """The class that `auto_map` names, if its file is at hand."""
    reference = (raw.get("auto_map") or {}).get(role)
    if not isinstance(reference, str) or not interpreter.files.repository:
        return None
    module, _, name = reference.rpartition("--")[2].rpartition(".")
    namespace = interpreter.module(f"{REPOSITORY}.{module}")
    if namespace is None:
        return None
    try:
        found = namespace.resolve(interpreter, name)
    except Missing:
        interpreter.unsupported(f"`{module}.py` of the repository defines no `{name}`", code="no-causal-model")
    return found if isinstance(found, Class) else None


# -- tied weights ----------------------------------------------------------------------------------------------------------------------


@library.intrinsic("stubs._tie")
def _tie(interp: Interpreter, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """What `post_init` does: this model's own ties, then those of its children under their names."""
    model = args[0]
    ties: dict[str, Tie] = {}
    mapping = interp.getattr(model, "_tied_weights_keys")
    if mapping:
        flag: Any = False
        if classes.has(interp, model.dict["config"], "tie_word_embeddings"):
            flag = interp.getattr(model.dict["config"], "tie_word_embeddings")
        if isinstance(flag, Scalar):
            interp.note(Kind.TIE, flag.expr, flag.value)
        for target, source in _expanded(interp, model, mapping).items():
            ties[target] = Tie(target, source, expr_of(flag), bool(value_of(flag)))
    for name, child in model.modules.items():
        for tie in child.dict.get("all_tied_weights_keys", {}).values() if child is not None else ():
            target = f"{name}.{tie.target}"
            ties[target] = Tie(target, f"{name}.{tie.source}", tie.condition, tie.active)
    model.dict["all_tied_weights_keys"] = ties


def _expanded(interp: Interpreter, model: ModuleObject, mapping: Any) -> dict[str, str]:
    """Names of tied tensors, where the source gives patterns or modules."""
    import itertools

    if isinstance(mapping, (list, tuple)):
        source = _input_embedding(interp, model)
        return {str(value_of(name)): source for name in mapping} if source else {}
    pairs = {str(value_of(target)): str(value_of(source)) for target, source in mapping.items()}
    plain = re.compile(r"^[A-Za-z0-9_\.]+(weight)|(bias)$")
    if all(plain.match(name) for name in [*pairs, *pairs.values()]):
        return pairs
    known = {
        f"{path}.{name}" if path else name
        for path, module in library.walk_modules(model, "", False, set())
        for name, tensor in (*module.parameters.items(), *module.buffers.items())
        if tensor is not None
    }
    result: dict[str, str] = {}
    for target, source in pairs.items():
        sources = sorted(name for name in known if re.search("^" + source, name))
        targets = sorted(name for name in known if re.search("^" + target, name))
        if not sources or not targets or len(targets) % len(sources):
            interp.throw("ValueError", f"cannot tie {target} to {source}")
        for one, other in zip(targets, itertools.cycle(sources)):
            result[one] = result.get(other, other)
    return result


def _input_embedding(interp: Interpreter, model: ModuleObject) -> str | None:
    embedding = interp.call(interp.getattr(model, "get_input_embeddings"), [], {})
    for path, module in library.walk_modules(model, "", True, set()):
        if module is embedding:
            return f"{path}.weight"
    return None


def _ties(model: ModuleObject) -> tuple[Tie, ...]:
    return tuple(model.dict.get("all_tied_weights_keys", {}).values())


# -- types of parameters ---------------------------------------------------------------------------------------------------------------


def _keep_in_float32(interp: Interpreter, model: ModuleObject) -> None:
    """Parameters that the library leaves in float32 in a narrower model: patterns in the classes name them, as they do there."""
    patterns: dict[str, None] = {}
    for _, module in library.walk_modules(model, "", True, set()):
        if any(cls.name == "PreTrainedModel" for cls in module.cls.mro):
            named = interp.getattr(module, "_keep_in_fp32_modules_strict")
            patterns |= dict.fromkeys(str(value_of(name)) for name in named or ())
    wide = re.compile("|".join(pattern.replace("*", ".*") for pattern in patterns))
    for name, tensor, _ in _stored(model) if patterns else ():
        if tensor.dtype is DType.MODEL and wide.search(name):
            tensor.value.dtype = DType.FLOAT32


# -- what was built --------------------------------------------------------------------------------------------------------------------


def state_entries(built: Built) -> list[Entry]:
    """The tensors of the state dict, in its order."""
    groups = _groups(built)
    entries = []
    for name, tensor, kind in _stored(built.model):
        group = groups.get(name, name)
        entries.append(Entry(name, tensor.shape, tensor.dtype, kind, None if group == name else group))
    return entries


def transient_buffers(built: Built) -> list[Entry]:
    """Buffers that no checkpoint holds."""
    found = []
    for path, module in library.walk_modules(built.model, "", False, set()):
        for name, tensor in module.buffers.items():
            if tensor is not None and name in module.transient:
                full = f"{path}.{name}" if path else name
                found.append(Entry(full, tensor.shape, tensor.dtype, "transient", None))
    return found


def kept_answers(built: Built) -> dict[Expr, str]:
    """Flags and kinds that modules keep and that depend on the index of their layer, with the name that they keep them under."""
    found: dict[Expr, str] = {}
    for _, module in library.walk_modules(built.model, "", False, set()):
        for name, value in module.dict.items():
            if isinstance(value, Scalar) and isinstance(value.value, (bool, str)) and per_layer(value.expr):
                found.setdefault(value.expr, name)
    return found


def _stored(model: ModuleObject) -> Iterator[tuple[str, Tensor, str]]:
    for path, module in library.walk_modules(model, "", False, set()):
        prefix = f"{path}." if path else ""
        for name, parameter in module.parameters.items():
            if parameter is not None:
                yield prefix + name, parameter, "parameter"
        for name, buffer in module.buffers.items():
            if buffer is not None and name not in module.transient:
                yield prefix + name, buffer, "buffer"


def _groups(built: Built) -> dict[str, str]:
    """The name that a checkpoint has for every tensor with several: what it is tied to, else the first."""
    first: dict[str, str] = {}

    def root(name: str) -> str:
        while first.get(name, name) != name:
            name = first[name]
        return name

    order = {}
    owners: dict[int, str] = {}
    for position, (name, tensor, _) in enumerate(_stored(built.model)):
        order[name] = position
        first[name] = owners.setdefault(id(tensor), name)
    for tie in built.ties:
        if tie.active and tie.target in order and tie.source in order:
            first[root(tie.target)] = root(tie.source)  # a checkpoint holds what the others are tied to
    return {name: root(name) for name in order}


def submodels(built: Built, *, own_code: bool = True) -> list[tuple[str, str, str | None]]:
    """Path, class and model_type of every pretrained model in the tree, the top one first; without `own_code` only those
    whose class the library has.
    """
    found = []
    for path, module in library.walk_modules(built.model, "", True, set()):
        if not own_code and not module.cls.module.startswith(f"{LIBRARY}."):
            continue
        if any(cls.name == "PreTrainedModel" for cls in module.cls.mro):
            config = module.dict.get("config")
            kind = value_of(built.interpreter.getattr(config, "model_type")) if config is not None else None
            found.append((path, module.cls.name, str(kind) if kind else None))
    return found


def seen_configuration(built: Built) -> str:
    """All that a model sees of its configuration, however that is spelled, with what the library keeps for itself; without
    what is said of the file and the order of keys."""
    parts, at = [built.config], 0
    while at < len(parts):
        inner = [item for item in parts[at].dict.values() if isinstance(item, Instance) and item not in parts]
        parts += inner
        at += 1
    kept = [[(name, part.dict[name]) for name in sorted(INERT) if name in part.dict] for part in parts]
    return repr((_in_order(said(built.resolved)), kept))


def _in_order(item: object) -> object:
    if isinstance(item, Mapping):
        return {key: _in_order(item[key]) for key in sorted(item, key=repr)}
    return [_in_order(inner) for inner in item] if isinstance(item, list) else item


def answered_alike(known: Built, other: Built) -> bool:
    """Whether what a model asked beyond that, of keys as they are written, of the file or of their order, is as in another."""
    asked = {p.expr for p in known.interpreter.predicates if p.stage == 2}
    found = {leaf for expr in asked for leaf in leaves(expr)}
    written = {leaf.path for leaf in found if isinstance(leaf, Raw)}
    files = any(isinstance(leaf, Key) and {*leaf.path} & {*BOOK} for leaf in found)
    if (files or any(map(_is_about_order, asked))) and repr(known.resolved) != repr(other.resolved):
        return False
    return all(repr(lookup(known.raw, path)) == repr(lookup(other.raw, path)) for path in written)


def _is_about_order(expr: Expr) -> bool:
    return isinstance(expr, Apply) and (expr.op == "keys" or any(map(_is_about_order, expr.args)))


def submodel_settings(built: Built) -> dict[str, tuple[str | int, ...]]:
    """For every pretrained model in the tree, the path of its configuration within the whole."""
    found = {}
    for path, _, _ in submodels(built):
        module = next(m for where, m in library.walk_modules(built.model, "", True, set()) if where == path)
        config = module.dict.get("config")
        if isinstance(config, Instance) and config.path is not None:
            found[path] = config.path
    return found


def untrained_rows(built: Built) -> tuple[tuple[str | int, ...], ...]:
    """The attributes of the configuration that number a row of an embedding to which look-ups give no gradient."""
    found: dict[tuple[str | int, ...], None] = {}
    for _, module in library.walk_modules(built.model, "", True, set()):
        embeds = any(cls.module == "stubs.nn" and cls.name == "Embedding" for cls in module.cls.mro)
        row = module.dict.get("padding_idx") if embeds else None
        if isinstance(row, Scalar):
            found |= dict.fromkeys(leaf.path for leaf in leaves(row.expr) if isinstance(leaf, Key))
    return tuple(found)


def base_prefix(built: Built) -> str:
    """What the top model calls the model below its head."""
    return str(value_of(built.interpreter.getattr(built.model, "base_model_prefix")))


def dropped_patterns(built: Built) -> tuple[str, ...]:
    """Regular expressions for stored tensors that the source says its models leave unread."""
    found: dict[str, None] = {}
    for _, module in library.walk_modules(built.model, "", True, set()):
        if any(cls.name == "PreTrainedModel" for cls in module.cls.mro):
            if classes.has(built.interpreter, module, "_keys_to_ignore_on_load_unexpected"):
                patterns = built.interpreter.getattr(module, "_keys_to_ignore_on_load_unexpected")
                found |= dict.fromkeys(str(value_of(pattern)) for pattern in patterns or ())
    return tuple(found)


def class_places(built: Built) -> dict[str, Span]:
    """Where the classes of the modules are defined."""
    found: dict[str, Span] = {}
    for _, module in library.walk_modules(built.model, "", True, set()):
        node = module.cls.node
        if node is not None and module.cls.name not in found:
            file = module.cls.namespace.file.name
            end = node.end_lineno or node.lineno
            found[module.cls.name] = Span(file, node.lineno, node.col_offset, end, node.end_col_offset or 0)
    return found


def module_tree(built: Built) -> Module:
    """The modules as they are, with what a checkpoint holds and what is computed."""
    return _module(built.model, Around(Environment(built.resolved), "", built.flat))


def module_shapes(built: Built) -> object:
    """The modules with the names and sizes of what they hold; programs whose modules differ in that are not the same."""

    def shapes(module: ModuleObject) -> object:
        held = [
            (n, tuple(map(expr_of, t.shape))) for n, t in (module.parameters | module.buffers).items() if t is not None
        ]
        return module.cls.name, held, [(n, shapes(child)) for n, child in module.modules.items() if child is not None]

    return shapes(built.model)


_KINDS = frozenset(
    "Linear Embedding LayerNorm RMSNorm GroupNorm Conv1d Conv2d Conv3d Dropout Identity ModuleList ModuleDict Sequential ParameterList ParameterDict".split()
)


def _module(module: ModuleObject, around: Around) -> Module:
    own = module.cls.module == "stubs.nn"
    held = expert_lists.parameters(module)
    parameters = [_parameter(name, p, False, True, around) for name, p in held.items() if p is not None]
    parameters += [
        _parameter(name, b, True, name not in module.transient, around)
        for name, b in module.buffers.items()
        if b is not None
    ]
    below = expert_lists.children(module)
    kind = container.name if (container := container_class(module.cls)) is not None else module.cls.name if own else ""
    if container is not None and not container.name.startswith("Parameter") and parameters:
        message = f"`{module.cls.name}` is a `{container.name}` with parameters of its own"
        label = Label(module.span) if module.span is not None else None
        raise CompileError(
            Diagnostic("unsupported", message, label, help="a module that holds both can hold the container")
        )
    kind = "ModuleList" if _is_list(module) else kind
    children = tuple((name, _module(child, around.inside(name))) for name, child in below.items() if child is not None)
    arguments = _layer_arguments(module, around) if own and parameters else ()
    return Module(module.cls.name, kind, arguments, tuple(parameters), children, module.span)


def _layer_arguments(module: ModuleObject, around: Around) -> tuple[tuple[str, Operand], ...]:
    """What a layer of the library was made with: the numbers that it keeps, and which of its parameters it has."""
    kept = [(name, operand) for name, value in module.dict.items() if (operand := _argument(value, around)) is not None]
    has = [(name, Number(Const(p is not None))) for name, p in module.parameters.items() if name != "weight"]
    if module.parameters.get("weight") is None:
        has.append(("elementwise_affine", Number(Const(False))))
    return tuple(dict([*kept, *has]).items())


def _argument(value: Any, around: Around) -> Operand:
    if isinstance(value, (Scalar, bool, int, float, str)):
        return Number(_placed(value, around))
    if isinstance(value, tuple) and value:
        parts = tuple(_argument(item, around) for item in value)
        return parts[0] if len(parts) == 1 else parts
    return None


def _placed(value: Any, around: Around) -> Expr:
    """A number over the configuration; with the number of the turn of the loop that it was made in, outside of lists of modules."""
    expr = expr_of(value)
    found = sorted({leaf for leaf in leaves(expr) if isinstance(leaf, Index)}, key=lambda index: index.name)
    if not found or _holds(expr, value, around):
        return expr
    if all(isinstance(leaf, Index) for leaf in leaves(expr)):
        return Const(value_of(value))  # type: ignore[arg-type]
    own = [*reversed(places(around.path).values())]
    turns = [*own, *range(MOST_TURNS if len(found) == 1 else MOST_INNER_TURNS)]
    for numbers in product(turns, repeat=len(found)) if len(found) <= MOST_LOOPS else ():
        indices = {index.name: number for index, number in zip(found, numbers, strict=True)}
        try:
            if evaluate(expr, replace(around.config, indices=indices)) == value_of(value):
                placed = substitute(expr, {Index(name): Const(number) for name, number in indices.items()})
                return placed if leaves(placed) else Const(value_of(value))  # type: ignore[arg-type]
        except (LookupError, TypeError, ValueError, ArithmeticError):
            continue
    return expr


def _holds(expr: Expr, value: Any, around: Around) -> bool:
    """Whether a number follows so from those of the items of lists that a module is in, or nothing can be said of it."""
    if not around.numbers:
        return False
    try:
        return evaluate(expr, replace(around.config, indices=around.numbers)) == value_of(value)
    except (TypeError, ValueError, ArithmeticError):
        return True
    except LookupError:
        return False


def _place_numbers(module: ModuleObject, around: Around) -> None:
    """What modules keep of the turn of the loop that they were made in follows from their place, or is a number like any other."""
    for name, value in module.dict.items():
        if isinstance(value, Scalar) and per_layer(value.expr):
            module.dict[name] = replace(value, expr=_placed(value, around))
    for name, child in module.modules.items():
        if child is not None:
            _place_numbers(child, around.inside(name))


def _is_list(module: ModuleObject) -> bool:
    """Whether the modules in it are the items of a list: those of the source in a sequence, or in a dict by their numbers,
    are, where they are of one class."""
    container = container_class(module.cls)
    if container is None or container.name not in ("Sequential", "ModuleDict"):
        return container is not None and container.name == "ModuleList"
    if [*module.modules] != [str(at) for at in range(len(module.modules))]:
        return False
    classes_of = {id(child.cls): child.cls for child in module.modules.values() if child is not None}
    return len(classes_of) == 1 and all(cls.module != "stubs.nn" for cls in classes_of.values())


def _parameter(name: str, tensor: Tensor, buffer: bool, persistent: bool, around: Around) -> TreeParameter:
    trainable = not isinstance(tensor, Parameter) or tensor.requires_grad
    shape = tuple(_placed(size, around) for size in tensor.shape)
    known = tensor.start if isinstance(tensor, Parameter) else tensor.value.everywhere
    start = None if known is None or not math.isfinite(value_of(known)) else expr_of(known)  # type: ignore[arg-type]
    return TreeParameter(name, shape, tensor.dtype, buffer, persistent, trainable=trainable, start=start)


def known_kinds() -> frozenset[str]:
    """The layers of the library that emitted code uses as they are."""
    return _KINDS


__all__ = [
    "Built",
    "Buffer",
    "Const",
    "Entry",
    "Parameter",
    "Tie",
    "build",
    "module_tree",
    "resolve",
    "state_entries",
    "transient_buffers",
]
