"""What lies outside of the source that is read: torch by its operations, Python's standard library by the few functions that models use,
and the parts of transformers that are machinery rather than models."""

from __future__ import annotations

import ast
import functools
import math
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codegen.graph import builtins, expert_lists, operators
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
    SDict,
    SList,
    SourceModule,
    SSet,
    StaticMethod,
    Stream,
    fresh,
)
from codegen.graph.predicates import Kind
from codegen.graph.scope import Missing, Namespace, Scope
from codegen.graph.values import Scalar, Tensor, value_of
from codegen.source.files import LIBRARY, REPOSITORY, SourceFile
from ir.expressions import OPERATIONS
from ir.graph import DType
from ir.records import dataclass

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter, Raised

Args = list[Any]
Kwargs = dict[str, Any]
Intrinsic = Callable[["Interpreter", Args, Kwargs], Any]

EXTERNALS: dict[str, Any] = {}
"""Functions by their dotted names, of packages that are not read or in place of source that is not interpreted. A value that is a
`Foreign` stands for the name itself."""

LOOPS: dict[type, Callable[[Any, ast.For, Any, Scope], None]] = {}
"""How a `for` statement over a value of this type runs, where the loop itself is recorded."""

PACKAGES = sys.stdlib_module_names | frozenset(
    "torch typing_extensions packaging huggingface_hub numpy stubs einops".split()
)
"""Packages that the interpreted program finds installed; of any other an import fails, as the source usually provides for."""


def intrinsic(*names: str) -> Callable[[Intrinsic], Intrinsic]:
    """Register a function under its dotted names."""

    def register(function: Intrinsic) -> Intrinsic:
        for name in names:
            EXTERNALS[name] = function
        return function

    return register


# -- files -------------------------------------------------------------------------------------------------------------------------


@functools.cache
def _stub_text(name: str) -> str:
    path = Path(__file__).with_name("stubs") / f"{name}.py"
    return path.read_text("utf-8") if path.is_file() else ""


def stub(dotted: str) -> SourceFile | None:
    """The source of layers that are not read from where they are installed."""
    name = dotted.removeprefix("stubs.")
    text = _stub_text(name)
    return SourceFile(dotted, "stubs", f"stubs/{name}.py", text) if text else None


def stub_names() -> dict[str, Any]:
    """What the stub layers can call besides Python."""
    return {name.removeprefix("stubs."): External(name) for name in EXTERNALS if name.startswith("stubs._")}


@functools.cache
def is_helper(dotted: str) -> bool:
    """Whether a module is the machinery of the library, not a model."""
    return dotted.startswith(f"{LIBRARY}.") and not dotted.startswith(f"{LIBRARY}.models.")


def check_package(interp: Interpreter, dotted: str) -> None:
    """Fail as an import of a package that is not installed fails."""
    head = dotted.partition(".")[0]
    if head in (LIBRARY, REPOSITORY):
        if interp.module(dotted) is None:
            interp.throw("ModuleNotFoundError", f"No module named '{dotted}'")
    elif head not in PACKAGES:
        interp.throw("ModuleNotFoundError", f"No module named '{dotted}'")


# -- names in place of source --------------------------------------------------------------------------------------------------------

_STUBBED = {
    "PreTrainedModel": "stubs.models",
    "GenerationMixin": "stubs.models",
    "PushToHubMixin": "stubs.models",
    "PeftAdapterMixin": "stubs.models",
    "ModelOutput": "stubs.models",
    "ContinuousMixin": "stubs.models",
}
_AVAILABLE = re.compile(r"is_\w+_available")
_VERSION_TEST = re.compile(r"is_torch_(greater|less)_or_equal\w*|is_torch_less\w*")
_FALSE = frozenset(
    "is_torchdynamo_compiling is_torchdynamo_exporting is_tracing is_jit_tracing is_fake_tensor is_torch_fx_proxy is_deepspeed_zero3_enabled "
    "is_fsdp_managed_module is_fsdp_enabled is_sagemaker_mp_enabled is_torch_deterministic is_flash_attention_requested".split()
)


def override(interp: Interpreter, dotted: str) -> Any:
    """What stands for a name of the library whose source is not interpreted; None for all others."""
    found = interp.externals.get(dotted)
    if found is not None:
        return found if isinstance(found, Foreign) else External(dotted)
    if not dotted.startswith(f"{LIBRARY}."):
        return None
    name = dotted.rpartition(".")[2]
    if dotted.startswith(f"{LIBRARY}.models."):
        return _auto_override(interp, dotted, name)
    if name in _STUBBED:
        namespace = interp.module(_STUBBED[name])
        assert namespace is not None
        return namespace.resolve(interp, name)
    if _AVAILABLE.fullmatch(name):
        return Builtin(name, lambda i, a, k: name in ("is_torch_available", "is_torch_flex_attn_available"))
    if _VERSION_TEST.fullmatch(name):
        return Builtin(name, lambda i, a, k: "less" not in name)
    if name in _FALSE:
        return Builtin(name, lambda i, a, k: False)
    if dotted.startswith(f"{LIBRARY}.utils.logging"):
        return External("logging")
    if name.startswith("AutoModel") or name in ("AutoConfig", "AutoTokenizer", "AutoProcessor"):
        return External(f"{LIBRARY}.{name}")
    return None


def _auto_override(interp: Interpreter, dotted: str, name: str) -> Any:
    if not dotted.startswith(f"{LIBRARY}.models.auto"):
        return None
    if name == "CONFIG_MAPPING":
        return ConfigurationMapping()
    if name in ("AutoConfig", "AutoTokenizer", "AutoProcessor") or name.startswith("AutoModel"):
        return External(f"{LIBRARY}.{name}")
    return None


def lazy_member(interp: Interpreter, namespace: Namespace, name: str) -> Any:
    """A name that a package gives out only when asked: of the library's root, any class of any model."""
    if namespace.name != LIBRARY and namespace.name != f"{LIBRARY}.models":
        return None
    for file in interp.files.root.joinpath("models").glob("*/*.py"):
        if file.name.startswith(("modeling_", "configuration_")) and f"class {name}(" in file.read_text("utf-8"):
            inner = interp.module(f"{LIBRARY}.models.{file.parent.name}.{file.stem}")
            return None if inner is None else interp.member(inner, name)
    return None


# -- external names ------------------------------------------------------------------------------------------------------------------

DTYPES: dict[str, DType] = {
    "float64": DType.FLOAT64,
    "double": DType.FLOAT64,
    "float32": DType.FLOAT32,
    "float": DType.FLOAT32,
    "bfloat16": DType.BFLOAT16,
    "float16": DType.FLOAT16,
    "half": DType.FLOAT16,
    "int64": DType.INT64,
    "long": DType.INT64,
    "int32": DType.INT32,
    "int": DType.INT32,
    "int16": DType.INT16,
    "short": DType.INT16,
    "int8": DType.INT8,
    "uint8": DType.UINT8,
    "bool": DType.BOOL,
    "complex64": DType.COMPLEX64,
    "cfloat": DType.COMPLEX64,
}

_CONSTANTS: dict[str, Any] = {
    "math.pi": math.pi,
    "math.e": math.e,
    "math.inf": math.inf,
    "math.nan": math.nan,
    "math.tau": math.tau,
    "torch.pi": math.pi,
    "torch.inf": math.inf,
    "torch.nan": math.nan,
    "numpy.pi": math.pi,
    "numpy.inf": math.inf,
    "numpy.e": math.e,
    "typing.TYPE_CHECKING": False,
    "torch.__version__": "2.9.0",
    "torch.version.cuda": None,
    "torch.version.hip": None,
    "dataclasses.MISSING": External("dataclasses.MISSING"),
    "sys.version_info": (3, 11, 0, "final", 0),
    "os.environ": {},
    "sys.modules": {},
    "numpy.newaxis": None,
}


def external(interp: Interpreter, dotted: str) -> Any:
    """What a dotted name outside of the source means."""
    if dotted in _CONSTANTS:
        return _CONSTANTS[dotted]
    found = interp.externals.get(dotted)
    if found is not None:
        return found if isinstance(found, Foreign) else External(dotted)
    head, _, name = dotted.rpartition(".")
    if head == "torch" and name in DTYPES:
        return DTYPES[name]
    if head in _LAYERS:
        namespace = interp.module("stubs.nn")
        assert namespace is not None
        if namespace.has(name) and name not in ("math", "torch", "F", "Parameter"):
            return namespace.resolve(interp, name)
    if dotted == "collections.OrderedDict":
        return interp.builtins["dict"]
    if dotted in _STUBBED_CLASSES:
        namespace = interp.module(_STUBBED_CLASSES[dotted])
        assert namespace is not None
        return namespace.resolve(interp, name)
    return External(_ALIASES.get(dotted, dotted))


_STUBBED_CLASSES = {
    "collections.UserDict": "stubs.collections",
    "types.SimpleNamespace": "stubs.collections",
    "argparse.Namespace": "stubs.collections",
    "torch.autograd.Function": "stubs.autograd",
}
_LAYERS = frozenset(
    [
        "torch.nn",
        "torch.nn.modules",
        "torch.nn.modules.module",
        "torch.nn.modules.linear",
        "torch.nn.modules.conv",
        "torch.nn.modules.container",
        "torch.nn.modules.normalization",
        "torch.nn.modules.sparse",
        "torch.nn.modules.loss",
        "torch.nn.modules.dropout",
        "torch.nn.modules.activation",
        "torch.nn.modules.batchnorm",
    ]
)
_ALIASES = {"torch.nn.parameter.Parameter": "torch.nn.Parameter", "torch.functional": "torch"}


def external_attribute(interp: Interpreter, owner: External, name: str) -> Any:
    if name in ("__name__", "__qualname__"):
        return owner.name.rpartition(".")[2]
    if name == "__doc__":
        return None
    if name == "__version__" and f"{owner.name}.__version__" not in _CONSTANTS:
        return "0"
    return external(interp, f"{owner.name}.{name}")


def call(interp: Interpreter, name: str, args: Args, kwargs: Kwargs) -> Any:
    """Call something by its dotted name."""
    function = interp.externals.get(name)
    if function is not None:
        return function(interp, args, kwargs)
    from codegen.graph import tensor_ops

    if name in _RANDOM and not interp.framing:
        return _random(interp, name, args, kwargs)
    if name in tensor_ops.KNOWN:
        args, kwargs = [_typed(arg) for arg in args], {key: _typed(arg) for key, arg in kwargs.items()}
        return tensor_ops.call(interp.tensor_span(), name, args, kwargs)
    if name.startswith("torch.Tensor.") and args and isinstance(args[0], Tensor):
        return tensor_ops.method(interp.tensor_span(), args[0], name.rpartition(".")[2], args[1:], kwargs)
    for prefix, family in _FAMILIES:
        if name.startswith(prefix):
            return family(interp, name, args, kwargs)
    interp.unsupported(
        f"`{name}` has no meaning here", help="it can be taught as one function", code="unknown-function"
    )


_RANDOM = frozenset(
    f"torch.{name}" for name in "rand randn randint normal rand_like randn_like empty_like randperm bernoulli".split()
)


def _typed(argument: Any) -> Any:
    """Python's number types as element types."""
    if isinstance(argument, Class) and argument.builtin in (bool, int, float):
        return {bool: DType.BOOL, int: DType.INT64, float: DType.FLOAT64}[argument.builtin]
    return argument


def _random(interp: Interpreter, name: str, args: Args, kwargs: Kwargs) -> Any:
    """A tensor of random numbers, which a checkpoint replaces: only its shape and type matter."""
    from codegen.graph import tensor_ops

    trace = interp.tensor_span()
    dtype = {"dtype": kwargs["dtype"]} if kwargs.get("dtype") is not None else {}
    like = next((arg for arg in [*args, *kwargs.values()] if isinstance(arg, Tensor)), None)
    if like is not None:
        made = tensor_ops.call(trace, "torch.zeros_like", [like], dtype)
        made.value.everywhere = None  # type: ignore[attr-defined]
    elif "size" in kwargs:
        made = tensor_ops.call(trace, "torch.empty", [kwargs["size"]], dtype)
    elif name == "torch.randperm":
        made = tensor_ops.call(trace, "torch.arange", args[:1], {})
    elif name in ("torch.randint", "torch.normal"):
        shape = next(arg for arg in args if isinstance(arg, (tuple, list)))
        whole = {"dtype": DType.INT64} if name == "torch.randint" else {}
        made = tensor_ops.call(trace, "torch.empty", [shape], {**whole, **dtype})
    else:
        made = tensor_ops.call(trace, "torch.empty", args, dtype)
    interp.random.append(made)  # type: ignore[arg-type]
    return made


# -- families of functions -----------------------------------------------------------------------------------------------------------


def _silent(interp: Interpreter, name: str, args: Args, kwargs: Kwargs) -> Any:
    return External(name) if name.endswith("get_logger") or name.endswith("getLogger") else None


def _initialiser(interp: Interpreter, name: str, args: Args, kwargs: Kwargs) -> Any:
    """Values that a checkpoint replaces: one number, or random ones."""
    tensor = args[0] if args else kwargs.get("tensor")
    if isinstance(tensor, Parameter):
        constant = args[1] if len(args) > 1 else kwargs.get("val")
        tensor.start = {"zeros_": 0, "ones_": 1, "constant_": constant}.get(name.rpartition(".")[2])
    return tensor


_HOST_MATH = frozenset(
    "log10 log1p expm1 tan asin acos atan atan2 sinh cosh tanh isclose isnan isinf isfinite trunc fmod hypot factorial erf degrees radians prod fsum copysign comb".split()
)


def _math(interp: Interpreter, name: str, args: Args, kwargs: Kwargs) -> Any:
    word = name.rpartition(".")[2]
    if word in ("power", "pow"):
        return operators.binary(interp, "**", args[0], args[1])
    if word == "prod":
        result: Any = 1
        for item in operators.listed(interp, args[0], Kind.STRUCTURE):
            result = operators.binary(interp, "*", result, item)
        return result
    if word in OPERATIONS and all(isinstance(arg, operators._ATOMS) for arg in args):
        return operators.guarded(interp, word, *args)
    if word == "isqrt":
        return math.isqrt(interp.pin(args[0]))
    if word in _HOST_MATH and all(isinstance(arg, operators._ATOMS) for arg in args):
        try:
            return getattr(math, word)(
                *(interp.pin(arg) for arg in args), **{k: interp.pin(v) for k, v in kwargs.items()}
            )
        except (ValueError, TypeError, OverflowError) as error:
            interp.throw(type(error).__name__, str(error))
    interp.unsupported(f"`{name}` has no meaning here", code="unknown-function")


def _numpy(interp: Interpreter, name: str, args: Args, kwargs: Kwargs) -> Any:
    word = name.rpartition(".")[2]
    if word in ("float32", "float64", "int32", "int64") and args:
        return args[0]
    if any(not isinstance(arg, (*operators._ATOMS, list, tuple)) for arg in args):
        interp.unsupported(f"`{name}` has no meaning here", code="unknown-function")
    return _math(interp, name, args, kwargs)


def _context(interp: Interpreter, name: str, args: Args, kwargs: Kwargs) -> Any:
    if len(args) == 1 and isinstance(args[0], (Function, Bound)):
        return args[0]
    return External(name)


def _typing(interp: Interpreter, name: str, args: Args, kwargs: Kwargs) -> Any:
    if name == "typing.cast":
        return args[1]
    if name.endswith((".overload", ".final", ".runtime_checkable", ".override")):
        return args[0]
    return External("typing.Any")


def _false(interp: Interpreter, name: str, args: Args, kwargs: Kwargs) -> Any:
    return False


_FAMILIES: tuple[tuple[str, Callable[[Any, str, Args, Kwargs], Any]], ...] = (
    (f"{LIBRARY}.AutoModel", lambda i, name, a, k: _auto(i, name, a, k)),
    ("logging", _silent),
    ("warnings.", _silent),
    ("torch.nn.init.", _initialiser),
    ("torch.nn.modules.module.", _silent),
    ("math.", _math),
    ("numpy.", _numpy),
    ("torch.no_grad", _context),
    ("torch.enable_grad", _context),
    ("torch.inference_mode", _context),
    ("torch.set_grad_enabled", _context),
    ("torch.autocast", _context),
    ("torch.amp.", _context),
    ("torch.cuda.amp.", _context),
    ("torch.autograd.", _context),
    ("torch.profiler.", _context),
    ("torch.jit.is_", _false),
    ("torch.compiler.is_", _false),
    ("torch._dynamo.is_", _false),
    ("torch.onnx.is_", _false),
    ("torch.cuda.is_", _false),
    ("torch.backends.", _false),
    ("torch.distributed.is_", _false),
    ("torch.overrides.", _false),
    ("torch._C.", _false),
    ("torch.is_grad_enabled", _false),
    ("torch.is_autocast_", _false),
    ("torch.device", _context),
    ("torch.get_default_device", _context),
    ("torch._dynamo.", _silent),
    ("torch._check", _silent),
    ("torch.manual_seed", _silent),
    ("torch.set_default_dtype", _silent),
    ("torch.fx.wrap", _silent),
    ("torch.library.", _context),
    ("torch.cuda.", _context),
    ("torch.utils._pytree.", _silent),
    ("typing.", _typing),
    ("typing_extensions.", _typing),
    ("contextlib.nullcontext", _context),
    ("contextlib.suppress", _context),
)


# -- decorators and context managers -------------------------------------------------------------------------------------------------

IDENTITY = frozenset(
    "auto_docstring can_return_tuple capture_outputs use_kernel_forward_from_hub use_kernelized_func use_kernel_func_from_hub "
    "force_accelerate_hooks no_grad inference_mode enable_grad deprecate_kwarg merge_with_config_defaults dynamic_rope_update "
    "use_experts_implementation use_kernel_func_from_hub_with_fallback strict dataclass_transform check_model_inputs "
    "add_start_docstrings add_start_docstrings_to_model_forward add_end_docstrings add_code_sample_docstrings "
    "replace_return_docstrings requires requires_backends overload abstractmethod script compile disable wrap unused ignore "
    "compile_compatible_method_lru_cache lru_cache cache deprecated final runtime_checkable total_ordering custom_fwd custom_bwd "
    "autocast allow_in_graph torch_compilable once_differentiable register_kernel integrate_forward_from_hub override".split()
)
"""Decorators that change nothing of what is computed; by their last name, since libraries move them around."""


RETURNING = frozenset(["can_return_tuple", "capture_outputs", "check_model_inputs"])
"""Those among them that take `return_dict` for themselves."""


def decorate(interp: Interpreter, node: ast.expr, value: Any, scope: Scope) -> Any:
    """The result of a decorator."""
    target = node.func if isinstance(node, ast.Call) else node
    name = target.attr if isinstance(target, ast.Attribute) else target.id if isinstance(target, ast.Name) else ""
    if name in IDENTITY and not _own_decorator(interp, target, scope):
        if isinstance(value, Function):
            value.decorators = (name, *value.decorators)
        elif isinstance(value, Class):
            value.marks.add(name)
        return value
    if name == "dataclass" and isinstance(value, Class):
        value.marks.add("dataclass")
        return value
    interp.node = node
    decorator = interp.eval(node, scope)
    interp.node = node
    if isinstance(decorator, External) and decorator.name not in interp.externals:
        interp.unsupported(f"the decorator `{name}` has no meaning here", code="unknown-decorator")
    if isinstance(decorator, Class) and any(base.builtin is property for base in decorator.mro):
        return Property(value, on_class=decorator.builtin is None)
    return interp.call(decorator, [value], {})


def _own_decorator(interp: Interpreter, target: ast.expr, scope: Scope) -> bool:
    """Whether a decorator is defined by models themselves and only has the name of one that is known."""
    while isinstance(target, ast.Attribute):
        target = target.value
    namespace = scope.namespace.module
    if not isinstance(target, ast.Name) or namespace is None:
        return False
    for definition in namespace.definitions.get(target.id, []):
        for statement in definition.statements():
            if not isinstance(statement, (ast.Import, ast.ImportFrom)):
                return not is_helper(namespace.name)
            if isinstance(statement, ast.ImportFrom):
                base = interp.absolute(namespace, statement)
                return base.startswith((f"{REPOSITORY}.", f"{LIBRARY}.models."))
    return False


def enter(interp: Interpreter, manager: Any) -> Any:
    """`__enter__` of a context manager."""
    if isinstance(manager, (External, type(None))):
        return manager
    if isinstance(manager, Stream):
        return next(manager.host, None)
    return interp.call(interp.getattr(manager, "__enter__"), [], {})


def leave(interp: Interpreter, manager: Any, error: Raised | None) -> bool:
    """`__exit__`; whether it swallows the error."""
    if isinstance(manager, (External, type(None))):
        return isinstance(manager, External) and manager.name == "contextlib.suppress" and error is not None
    if isinstance(manager, Stream):
        return False
    cls, instance = (error.instance.cls, error.instance) if error is not None else (None, None)
    return bool(value_of(interp.call(interp.getattr(manager, "__exit__"), [cls, instance, None], {})))


# -- functools, itertools, copy and their like -----------------------------------------------------------------------------------------


@intrinsic("functools.partial")
def _partial(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return Partial(args[0], tuple(args[1:]), kwargs)


@intrinsic("functools.wraps")
def _wraps(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return Builtin("wraps", lambda i, a, k: a[0])


@intrinsic("functools.cached_property")
def _cached_property(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return Property(args[0])


@intrinsic("functools.reduce")
def _reduce(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    items = operators.listed(interp, args[1], Kind.STRUCTURE)
    result = args[2] if len(args) > 2 else items.pop(0)
    for item in items:
        result = interp.call(args[0], [result, item], {})
    return result


@intrinsic("itertools.chain")
def _chain(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return Stream(item for source in args for item in operators.iterate(interp, source))


@intrinsic("itertools.chain.from_iterable")
def _chain_from(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return _chain(interp, operators.listed(interp, args[0]), {})


@intrinsic("itertools.accumulate")
def _accumulate(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    result: list[Any] = []
    for item in operators.listed(interp, args[0], Kind.STRUCTURE):
        result.append(operators.binary(interp, "+", result[-1], item) if result else item)
    return Stream(iter(result))


@intrinsic("itertools.cycle")
def _cycle(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    items = operators.listed(interp, args[0])

    def forever() -> Iterator[Any]:
        for _ in range(operators.MAX_ITEMS):
            yield from items
        interp.unsupported("a loop of unreasonable length", code="step-limit")

    return Stream(forever() if items else iter(()))


@intrinsic("itertools.repeat")
def _repeat(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    if len(args) > 1:
        return Stream(iter([args[0]] * interp.pin(args[1], Kind.COUNT)))
    return _cycle(interp, [[args[0]]], {})


@intrinsic("itertools.product")
def _product(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    import itertools

    return Stream(iter(list(itertools.product(*(operators.listed(interp, arg) for arg in args)))))


@intrinsic("itertools.count")
def _count(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    start, step = [interp.pin(arg) for arg in args] + [0, 1][len(args) :]

    def numbers() -> Iterator[Any]:
        for position in range(operators.MAX_ITEMS):
            yield start + position * step
        interp.unsupported("a loop of unreasonable length", code="step-limit")

    return Stream(numbers())


@intrinsic("itertools.pairwise")
def _pairwise(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    items = operators.listed(interp, args[0])
    return Stream(zip(items, items[1:], strict=False))


@intrinsic("collections.defaultdict")
def _defaultdict(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    namespace = interp.module("stubs.collections")
    assert namespace is not None
    return interp.call(namespace.resolve(interp, "defaultdict"), args, kwargs)


@intrinsic("collections.deque")
def _deque(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return operators.listed(interp, args[0]) if args else []


@intrinsic("collections.Counter")
def _counter(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    counts: dict[Any, int] = {}
    for item in operators.listed(interp, args[0]) if args else []:
        key = interp.key(item)
        counts[key] = counts.get(key, 0) + 1
    return counts


@intrinsic("copy.copy")
def _copy(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    value = args[0]
    match value:
        case ModuleObject():
            return _copy_module(value, lambda x: x)
        case Instance():
            return Instance(value.cls, dict(value.dict), value.path, value.payload)
        case SList():
            return SList(value, value.expr, value.loop)
        case dict():
            return builtins.make_dict(interp, [value], {})
        case list():
            return list(value)
        case SSet():
            return SSet(value, value.frozen)
        case _:
            return value


@intrinsic("copy.deepcopy")
def _deepcopy(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return deepcopy(args[0], {})


def deepcopy(value: Any, known: dict[int, Any]) -> Any:
    """A copy of a value and all that it holds, each object once."""
    if id(value) in known:
        return known[id(value)]
    result: Any
    match value:
        case ModuleObject():
            result = _copy_module(value, lambda x: deepcopy(x, known))
        case Instance():
            result = Instance(value.cls, {}, value.path, None)
            known[id(value)] = result
            result.dict.update({key: deepcopy(item, known) for key, item in value.dict.items()})
            result.payload = deepcopy(value.payload, known)
        case SList():
            result = SList((deepcopy(item, known) for item in value), value.expr, value.loop)
        case SDict():
            result = SDict({key: deepcopy(item, known) for key, item in value.items()}, value.expr)
            result.goes_on_from(value)
        case dict():
            result = {key: deepcopy(item, known) for key, item in value.items()}
        case list():
            result = [deepcopy(item, known) for item in value]
        case tuple():
            result = tuple(deepcopy(item, known) for item in value)
        case SSet():
            result = SSet([deepcopy(item, known) for item in value], value.frozen)
        case Parameter():
            result = Parameter(fresh(value), requires_grad=value.requires_grad, start=value.start)
        case Buffer():
            result = Buffer(value.value, persistent=value.persistent)
        case Tensor():
            result = Tensor(value.value)
        case _:
            return value
    known[id(value)] = result
    return result


def _copy_module(module: ModuleObject, copy: Callable[[Any], Any]) -> ModuleObject:
    result = ModuleObject(module.cls, {}, span=module.span, transient=set(module.transient))
    result.dict.update({key: copy(item) for key, item in module.dict.items()})
    result.parameters.update({key: copy(item) for key, item in module.parameters.items()})
    result.buffers.update({key: copy(item) for key, item in module.buffers.items()})
    result.modules.update({key: copy(item) for key, item in module.modules.items()})
    return result


@intrinsic("dataclasses.field", "huggingface_hub.dataclasses.validated_field")
def _field(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    from codegen.graph.classes import FieldSpec

    return FieldSpec(kwargs.get("default", Missing), kwargs.get("default_factory"))


@intrinsic("huggingface_hub.dataclasses.as_validated_field")
def _validated(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return Builtin("validated", _field)


@intrinsic("dataclasses.dataclass")
def _dataclass(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    if args and isinstance(args[0], Class):
        args[0].marks.add("dataclass")
        return args[0]
    return Builtin("dataclass", _dataclass)


@intrinsic("dataclasses.fields")
def _fields(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    from codegen.graph.classes import default_of, fields

    cls = args[0] if isinstance(args[0], Class) else args[0].cls
    result = []
    for name, default, owner in fields(interp, cls):
        missing = External("dataclasses.MISSING")
        try:
            value = default_of(interp, name, default, owner)
        except Missing:
            value = missing
        attributes = {"name": name, "default": value, "default_factory": missing}
        result.append(Instance(interp.builtins["object"], attributes))
    return tuple(result)


@intrinsic("dataclasses.is_dataclass")
def _is_dataclass(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    cls = args[0] if isinstance(args[0], Class) else getattr(args[0], "cls", None)
    return cls is not None and any("dataclass" in base.marks for base in cls.mro)


@intrinsic("dataclasses.asdict")
def _as_dict(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    from codegen.graph.classes import fields

    value = args[0]
    if isinstance(value, Instance) and _is_dataclass(interp, [value], {}):
        found = {name: interp.getattr(value, name) for name, *_ in fields(interp, value.cls)}
        return SDict({name: _as_dict(interp, [item], {}) for name, item in found.items()})
    if isinstance(value, SDict):
        return SDict({name: _as_dict(interp, [item], {}) for name, item in value.items()}, value.expr)
    if isinstance(value, (SList, tuple)):
        items = [_as_dict(interp, [item], {}) for item in value]
        return SList(items, value.expr) if isinstance(value, SList) else tuple(items)
    return value


@intrinsic("dataclasses.replace")
def _replace(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    copied = _copy(interp, [args[0]], {})
    for name, value in kwargs.items():
        interp.setattr(copied, name, value)
    return copied


@intrinsic("operator.attrgetter", "operator.itemgetter")
def _getter(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return Builtin("getter", lambda i, a, k: operators.getitem(i, a[0], args[0]))


@intrinsic("inspect.signature")
def _signature(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    function = args[0]
    bound = isinstance(function, Bound)
    if isinstance(function, Class):
        from codegen.graph.classes import find

        function, bound = find(interp, function, "__init__"), True
    while isinstance(function, (Bound, StaticMethod, ClassMethod, Partial)):
        function = function.function
    if isinstance(function, Builtin) and function.owner is not None:
        from codegen.graph.classes import fields

        known = ["self", *(field[0] for field in fields(interp, function.owner))]
        return Instance(
            interp.builtins["object"], {"parameters": {name: External("inspect.Parameter") for name in known}}
        )
    if not isinstance(function, Function):
        interp.unsupported("the signature of this is not known")
    arguments = function.node.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)][1 if bound else 0 :]
    return Instance(interp.builtins["object"], {"parameters": {name: External("inspect.Parameter") for name in names}})


@intrinsic("inspect.isclass")
def _isclass(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return isinstance(args[0], Class)


@intrinsic("os.environ.get", "os.getenv")
def _environ(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return args[1] if len(args) > 1 else None


@intrinsic("abc.abstractmethod", "contextlib.contextmanager", "torch.no_grad.__call__")
def _same(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return args[0]


@intrinsic("packaging.version.parse", "packaging.version.Version")
def _version(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    numbers = re.findall(r"\d+", str(value_of(args[0])))
    return tuple(int(number) for number in numbers[:3])


@intrinsic("re.compile")
def _re_compile(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return Text(re.compile(interp.pin(args[0])))


def _regular(name: str) -> Intrinsic:
    def run(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
        pattern = args[0].host.pattern if isinstance(args[0], Text) else interp.pin(args[0])
        texts = [interp.pin(arg) for arg in args[1:]]
        return _wrap(getattr(re, name)(pattern, *texts))

    return run


for _name in ("match", "search", "fullmatch", "sub", "split", "findall", "escape"):
    EXTERNALS[f"re.{_name}"] = _regular(_name)
EXTERNALS["re.escape"] = lambda i, a, k: re.escape(i.pin(a[0]))


@dataclass(eq=False)
class Text(Foreign):
    """A compiled pattern or a match."""

    host: Any

    def get(self, interpreter: Interpreter, name: str) -> Any:
        if name in (
            "match",
            "search",
            "fullmatch",
            "sub",
            "findall",
            "group",
            "groups",
            "split",
            "start",
            "end",
            "span",
        ):
            method = getattr(self.host, name)
            return Builtin(name, lambda i, a, k: _wrap(method(*(i.pin(arg) for arg in a))))
        raise KeyError(name)


def _wrap(value: Any) -> Any:
    return Text(value) if isinstance(value, (re.Match, re.Pattern)) else value


# -- torch -----------------------------------------------------------------------------------------------------------------------------


@intrinsic("torch.nn.Parameter")
def _parameter(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    data = args[0] if args else kwargs.get("data")
    requires_grad = args[1] if len(args) > 1 else kwargs.get("requires_grad", True)
    if data is None:
        return Parameter(fresh(Tensor(_empty(interp))))
    if not isinstance(data, Tensor):
        interp.throw("TypeError", "Parameter data must be a tensor")
    return Parameter(fresh(data), requires_grad=bool(value_of(requires_grad)), start=data.value.everywhere)


def _empty(interp: Interpreter) -> Any:
    from codegen.graph import tensor_ops

    return tensor_ops.call(interp.tensor_span(), "torch.empty", [0], {}).value  # type: ignore[attr-defined]


@intrinsic("torch.nn.Buffer")
def _buffer(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    data = args[0] if args else kwargs.get("data")
    persistent = args[1] if len(args) > 1 else kwargs.get("persistent", True)
    if not isinstance(data, Tensor):
        interp.throw("TypeError", "Buffer data must be a tensor")
    return Buffer(data.value, persistent=interp.branch(persistent))


@intrinsic("torch.Size")
def _size(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return tuple(operators.listed(interp, args[0]))


def _tensor_of(dtype: DType | None) -> Intrinsic:
    """`torch.FloatTensor(...)`: of a list its numbers, of sizes an empty one."""

    def make(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
        from codegen.graph import tensor_ops

        typed: Kwargs = {} if dtype is None else {"dtype": dtype}
        if args and isinstance(args[0], (list, tuple)):
            return tensor_ops.call(interp.tensor_span(), "torch.tensor", args, typed)
        if args and isinstance(args[0], Tensor):
            return args[0]
        return tensor_ops.call(interp.tensor_span(), "torch.empty", args or [0], typed)

    return make


EXTERNALS["torch.Tensor"] = _tensor_of(None)
EXTERNALS["torch.FloatTensor"] = _tensor_of(DType.FLOAT32)
EXTERNALS["torch.LongTensor"] = _tensor_of(DType.INT64)


@dataclass(eq=False)
class Normal(Foreign):
    """A normal distribution of plain mean and deviation."""

    mean: Any
    deviation: Any

    def get(self, interpreter: Interpreter, name: str) -> Any:
        if name != "icdf":
            raise KeyError(name)
        return Builtin(name, self.icdf)

    def icdf(self, interpreter: Interpreter, args: Args, kwargs: Kwargs) -> Any:
        """mean + deviation * erfinv(2 p - 1) * sqrt(2), as torch.distributions has it"""
        from codegen.graph import tensor_ops

        trace = interpreter.tensor_span()
        x = tensor_ops.binary(trace, "-", tensor_ops.binary(trace, "*", args[0], 2), 1)
        x = tensor_ops.call(trace, "torch.erfinv", [x], {})  # type: ignore[assignment]
        x = x if self.deviation == 1 else tensor_ops.binary(trace, "*", x, self.deviation)
        x = tensor_ops.binary(trace, "*", x, math.sqrt(2))
        return x if self.mean == 0 else tensor_ops.binary(trace, "+", x, self.mean)


@intrinsic("torch.distributions.normal.Normal", "torch.distributions.Normal")
def _normal(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    given = {**dict(zip(("loc", "scale"), args, strict=False)), **kwargs}
    return Normal(given["loc"], given["scale"])


class Categorical(Foreign):
    """A distribution over the last axis of unnormalised logits."""

    def __init__(self, logits: Any):
        self.logits = logits

    def get(self, interpreter: Interpreter, name: str) -> Any:
        if name != "entropy":
            raise KeyError(name)
        return Builtin(name, self.entropy)

    def entropy(self, interpreter: Interpreter, args: Args, kwargs: Kwargs) -> Any:
        """-sum(p * log p), as torch.distributions has it: what is impossible adds nothing."""
        from codegen.graph import tensor_ops

        trace = interpreter.tensor_span()
        total: Any = tensor_ops.call(trace, "torch.logsumexp", [self.logits], {"dim": -1, "keepdim": True})
        logarithms = tensor_ops.binary(trace, "-", self.logits, total)
        shares: Any = tensor_ops.call(trace, "torch.softmax", [logarithms], {"dim": -1})
        impossible = tensor_ops.binary(trace, "==", logarithms, -math.inf)
        finite: Any = tensor_ops.call(trace, "torch.masked_fill", [logarithms, impossible, 0.0], {})
        product = tensor_ops.binary(trace, "*", finite, shares)
        assert isinstance(product, Tensor)
        return tensor_ops.method(trace, tensor_ops.method(trace, product, "sum", [-1], {}), "neg", [], {})  # type: ignore[arg-type]


@intrinsic("torch.distributions.categorical.Categorical", "torch.distributions.Categorical")
def _categorical(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    given = {**dict(zip(("probs", "logits"), args, strict=False)), **kwargs}
    if given.get("probs") is not None or not isinstance(given.get("logits"), Tensor):
        interp.unsupported("a categorical distribution of other than logits", code="unknown-function")
    return Categorical(given["logits"])


@intrinsic("torch.is_tensor")
def _is_tensor(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return isinstance(args[0], Tensor)


@intrinsic("torch.nn.utils.skip_init")
def _skip_init(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return interp.call(args[0], args[1:], {k: v for k, v in kwargs.items() if k != "device"})


def _operator(op: str) -> Intrinsic:
    def run(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
        if op in ("<", "<=", ">", ">=", "==", "!="):
            return operators.compare(interp, op, args[0], args[1])
        return operators.binary(interp, op, args[0], args[1])

    return run


for _name, _op in (
    ("add", "+"),
    ("mul", "*"),
    ("sub", "-"),
    ("truediv", "/"),
    ("floordiv", "//"),
    ("lt", "<"),
    ("gt", ">"),
    ("eq", "=="),
):
    EXTERNALS[f"operator.{_name}"] = _operator(_op)


# what the stub layers call


@intrinsic("stubs._register_buffer")
def _register_buffer(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    module, name, tensor, persistent = args
    name = interp.pin(name, Kind.KEY)
    for slots in (module.dict, module.parameters, module.modules):
        slots.pop(name, None)
    module.buffers[name] = tensor
    module.transient.discard(name)
    if not interp.branch(persistent):
        module.transient.add(name)


@intrinsic("stubs._register_parameter")
def _register_parameter(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    module, name, parameter = args
    module.parameters[interp.pin(name, Kind.KEY)] = parameter


@intrinsic("types.MethodType")
def _method_of(interp: Interpreter, args: list[Any], kwargs: dict[str, Any]) -> Any:
    function, receiver = args
    return Bound(function, receiver)


@intrinsic("stubs._add_module")
def _add_module(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    module, name, child = args
    if child is not None and not isinstance(child, ModuleObject):
        interp.throw("TypeError", f"{operators.type_name(child)} is not a Module subclass")
    plain = name.value if isinstance(name, Scalar) else name
    module.modules[plain] = child


@intrinsic("stubs._module_item")
def _module_item(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    module, index = args
    items = list(module.modules.items())
    lifting = interp.trace.lifting
    if isinstance(index, Tensor) and lifting is not None and lifting.number(index.value) is not None:
        return expert_lists.item(interp, module, lifting)
    if isinstance(index, slice):
        part = dict(items[operators.plain_slice(index)])
        return ModuleObject(module.cls, dict(module.dict), modules={str(i): m for i, m in enumerate(part.values())})
    number = value_of(index)
    if not isinstance(number, int):
        interp.throw("TypeError", "list indices must be integers or slices")
    if not -len(items) <= number < len(items):
        interp.throw("IndexError", "index out of range")
    return items[number][1]


@intrinsic("stubs._named_modules")
def _named_modules(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    module, prefix, once = args
    return list(walk_modules(module, str(value_of(prefix)), bool(value_of(once)), set()))


def walk_modules(module: ModuleObject, prefix: str, once: bool, seen: set[int]) -> Iterator[tuple[str, ModuleObject]]:
    """All modules below one, itself first, with their paths."""
    if once:
        if id(module) in seen:
            return
        seen.add(id(module))
    yield prefix, module
    for name, child in module.modules.items():
        if child is not None:
            yield from walk_modules(child, f"{prefix}.{name}" if prefix else name, once, seen)


@intrinsic("stubs._named_tensors")
def _named_tensors(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    module, kind, prefix, recurse, once = args
    found: list[tuple[str, Any]] = []
    seen: set[int] = set()
    sources = (
        walk_modules(module, str(value_of(prefix)), True, set()) if value_of(recurse) else [(value_of(prefix), module)]
    )
    for path, inner in sources:
        for name, tensor in getattr(inner, kind).items():
            if tensor is None or (value_of(once) and id(tensor) in seen):
                continue
            seen.add(id(tensor))
            found.append((f"{path}.{name}" if path else name, tensor))
    return found


@intrinsic("torch.nn.functional.embedding")
def _embedding(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    from codegen.graph import tensor_ops

    found = tensor_ops.call(interp.tensor_span(), "torch.nn.functional.embedding", args, kwargs)
    padding = kwargs.get("padding_idx", args[2] if len(args) > 2 else None)
    return untrained(interp, found, kwargs.get("input", args[0] if args else None), padding)


def untrained(interp: Interpreter, rows: Any, ids: Any, padding: Any) -> Any:
    """Rows of an embedding, of which that of padding has no gradient. This matters where the model itself asks for it, given
    no ids of that kind; what the ids of the input say is padding has no part in a loss.
    """
    from codegen.graph import tensor_ops

    everywhere = ids.value.everywhere if isinstance(ids, Tensor) else None
    if padding is None or everywhere is None or not interp.branch(operators.compare(interp, "==", padding, everywhere)):
        return rows
    return tensor_ops.call(interp.tensor_span(), "torch.detach", [rows], {})


@intrinsic("stubs._shape")
def _shape(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return tuple(operators.listed(interp, args[0])) if isinstance(args[0], (list, tuple)) else (args[0],)


@intrinsic("stubs._ntuple")
def _ntuple(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    if isinstance(args[0], (list, tuple)):
        return tuple(operators.listed(interp, args[0]))
    return (args[0],) * args[1]


@intrinsic("stubs._is_text")
def _is_text(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return isinstance(value_of(args[0]), str)


@intrinsic("stubs._is_dict")
def _is_dict(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    return isinstance(args[0], dict)


# -- configurations and models by their type ------------------------------------------------------------------------------------------------


class ConfigurationMapping(Foreign):
    """The library's table of configuration classes by model type."""

    def item(self, interpreter: Interpreter, index: Any) -> Any:
        from codegen.graph import configuration

        return configuration.configuration_class(interpreter, interpreter.pin(index, Kind.KEY))

    def binary(self, interpreter: Interpreter, op: str, other: Any, reflected: bool) -> Any:
        from codegen.graph import configuration

        if op == "in":
            return interpreter.pin(other, Kind.KEY) in configuration.names(interpreter)
        raise NotImplementedError

    def get(self, interpreter: Interpreter, name: str) -> Any:
        from codegen.graph import configuration

        if name == "keys":
            return Builtin(name, lambda i, a, k: list(configuration.names(i)))
        raise KeyError(name)


def _auto(interp: Interpreter, name: str, args: Args, kwargs: Kwargs) -> Any:
    """`AutoModelX.from_config(config)`."""
    from codegen.graph import configuration

    config = args[0] if args else kwargs["config"]
    if not name.endswith(("from_config", "_from_config")) or not isinstance(config, Instance):
        interp.unsupported(f"`{name}` has no meaning here", code="unknown-function")
    model = configuration.automatic_class(interp, name.split(".")[-2], config)
    rest = {key: value for key, value in kwargs.items() if key not in _LOADING}
    return interp.call(model, [configuration.text_configuration(interp, config, model)], rest)


_LOADING = frozenset(
    ["config", "dtype", "torch_dtype", "attn_implementation", "experts_implementation", "trust_remote_code"]
)


@intrinsic("transformers.AutoConfig.for_model")
def _for_model(interp: Interpreter, args: Args, kwargs: Kwargs) -> Any:
    from codegen.graph import configuration

    kind = args[0] if args else kwargs.pop("model_type")
    return interp.call(configuration.configuration_class(interp, interp.pin(kind, Kind.KEY)), [], kwargs)


def source_of(module: Any) -> str:
    """The dotted name of a module that is a value."""
    return module.namespace.name if isinstance(module, SourceModule) else ""
