"""One program, run four ways: by torch, by the compiler's rules, and what those recorded by numpy, as PyTorch, as JAX."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F

from codegen.graph import tensor_ops
from codegen.graph.scalars import apply
from codegen.graph.values import Node, Scalar, Tensor, TensorValue, Trace, value_of
from codegen.lowering import flax_spellings, torch_spellings
from codegen.lowering.syntax import DTypeOfRendered
from ir.evaluate import evaluate_op
from ir.expressions import Dim, Key
from ir.graph import DType, Ellipsis_, SliceOf

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_disable_most_optimizations", True)  # every example compiles afresh

Program = Callable[..., Any]
DTYPES = {dtype.value: dtype for dtype in DType} | {"long": DType.INT64, "float": DType.FLOAT32, "int": DType.INT32}


class Torch:
    """`torch` for the compiler: its functions record, its types are DTypes."""

    def __init__(self, trace: Trace, name: str = "torch"):
        self._trace, self._name = trace, name

    def __getattr__(self, name: str) -> Any:
        if name in DTYPES and self._name == "torch":
            return DTYPES[name]
        if name == "nn":
            return Torch(self._trace, "torch.nn")
        return Torch(self._trace, f"{self._name}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        made = tensor_ops.call(
            self._trace, self._name, [bare(a) for a in args], {k: bare(v) for k, v in kwargs.items()}
        )
        return wrap(self._trace, made)


class Size:
    """A number of the compiler that behaves as one of Python."""

    def __init__(self, inner: Scalar):
        self._inner = inner

    def __index__(self) -> int:
        return int(self._inner.value)  # type: ignore[arg-type]


def _arithmetic(op: str, reflected: bool) -> Callable[[Size, Any], Any]:
    def run(self: Size, other: Any) -> Any:
        if isinstance(other, Handle):
            return NotImplemented
        left, right = (bare(other), self._inner) if reflected else (self._inner, bare(other))
        made = apply(op, left, right)
        return Size(made) if isinstance(made, Scalar) else made

    return run


for _name, _op in {"add": "+", "sub": "-", "mul": "*", "floordiv": "//"}.items():
    setattr(Size, f"__{_name}__", _arithmetic(_op, reflected=False))
    setattr(Size, f"__r{_name}__", _arithmetic(_op, reflected=True))


class Info:
    def __init__(self, trace: Trace, info: Any):
        self._trace, self._info = trace, info

    def __getattr__(self, name: str) -> Any:
        return wrap(self._trace, self._info.get(None, name))


class Handle:
    """A tensor of the compiler that behaves as one of torch."""

    def __init__(self, trace: Trace, inner: Tensor):
        self._trace, self._inner = trace, inner

    def __getattr__(self, name: str) -> Any:
        if name in tensor_ops.METHODS:
            return lambda *args, **kwargs: wrap(
                self._trace,
                tensor_ops.method(
                    self._trace, self._inner, name, [bare(a) for a in args], {k: bare(v) for k, v in kwargs.items()}
                ),
            )
        return wrap(self._trace, tensor_ops.attribute(self._trace, self._inner, name))

    def __getitem__(self, index: Any) -> Any:
        return wrap(self._trace, tensor_ops.getitem(self._trace, self._inner, bare(index)))

    def __setitem__(self, index: Any, value: Any) -> None:
        tensor_ops.setitem(self._trace, self._inner, bare(index), bare(value))


class Results(tuple):  # type: ignore[type-arg]
    """A tuple whose elements have names."""

    names: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Any:
        return self[self.names.index(name)]


OPERATORS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "truediv": "/",
    "floordiv": "//",
    "mod": "%",
    "pow": "**",
    "matmul": "@",
    "and": "&",
    "or": "|",
    "xor": "^",
    "lshift": "<<",
    "rshift": ">>",
}
COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}


def _operator(op: str, reflected: bool = False) -> Callable[[Handle, Any], Any]:
    def run(self: Handle, other: Any) -> Any:
        left, right = (bare(other), self._inner) if reflected else (self._inner, bare(other))
        return wrap(self._trace, tensor_ops.binary(self._trace, op, left, right))

    return run


def _augmented(op: str) -> Callable[[Handle, Any], Any]:
    def run(self: Handle, other: Any) -> Any:
        tensor_ops.augmented(self._trace, op, self._inner, bare(other))
        return self

    return run


for _name, _op in OPERATORS.items():
    setattr(Handle, f"__{_name}__", _operator(_op))
    setattr(Handle, f"__r{_name}__", _operator(_op, reflected=True))
    setattr(Handle, f"__i{_name}__", _augmented(_op))
for _name, _op in COMPARISONS.items():
    setattr(Handle, f"__{_name}__", _operator(_op))
Handle.__neg__ = lambda self: wrap(self._trace, tensor_ops.unary(self._trace, "-", self._inner))  # type: ignore[attr-defined]
Handle.__invert__ = lambda self: wrap(self._trace, tensor_ops.unary(self._trace, "~", self._inner))  # type: ignore[attr-defined]


def bare(x: Any) -> Any:
    """What the compiler works with."""
    if isinstance(x, (Handle, Size)):
        return x._inner
    if isinstance(x, (list, tuple)):
        return type(x)(bare(item) for item in x) if type(x) in (list, tuple) else tuple(bare(item) for item in x)
    if isinstance(x, slice):
        return slice(bare(x.start), bare(x.stop), bare(x.step))
    return x


def wrap(trace: Trace, x: Any) -> Any:
    if isinstance(x, Tensor):
        return Handle(trace, x)
    if isinstance(x, Scalar):
        return Size(x)
    if isinstance(x, tensor_ops.Named):
        made = Results(wrap(trace, item) for item in x)
        made.names = x.fields
        return made
    if isinstance(x, (list, tuple)):
        return type(x)(wrap(trace, item) for item in x)
    return Info(trace, x) if hasattr(x, "get") and hasattr(x, "classes") and x.classes[0].endswith("info") else x


@dataclass
class Recorded:
    """What the rules made of a program: the nodes, the inputs, the results."""

    nodes: list[Node]
    inputs: list[TensorValue]
    results: list[TensorValue]


def flat(x: Any) -> list[Any]:
    if isinstance(x, (list, tuple)):
        return [leaf for item in x for leaf in flat(item)]
    return [] if x is None else [x]


def symbolic(shape: tuple[int, ...], letters: str) -> tuple[int | Scalar, ...]:
    """The shape with symbols for its sizes, equal for equal sizes above 1; every third size stays a literal."""
    return tuple(
        size
        if size == 1 or size % 3 == 0
        else Scalar(size, Dim(f"{letters}{size}") if size % 2 else Key((f"k{size}",)))
        for size in shape
    )


TYPE_OF = {
    np.dtype(np.float64): DType.FLOAT64,
    np.dtype(np.float32): DType.FLOAT32,
    np.dtype(np.int64): DType.INT64,
    np.dtype(np.int32): DType.INT32,
    np.dtype(np.uint8): DType.UINT8,
    np.dtype(np.bool_): DType.BOOL,
    np.dtype(np.complex64): DType.COMPLEX64,
}


def record(program: Program, args: list[Any]) -> Recorded:
    """Run a program by the rules."""
    trace = Trace()
    handles = [
        Handle(trace, Tensor(TensorValue(symbolic(a.shape, "d"), TYPE_OF[a.dtype]))) if isinstance(a, np.ndarray) else a
        for a in args
    ]
    inputs = [h._inner.value for h in handles if isinstance(h, Handle)]
    torch_like = Torch(trace)
    made = program(torch_like, Torch(trace, "torch.nn.functional"), *handles)
    results = [bare(x).value for x in flat(made)]
    assert all(isinstance(item, Node) for item in trace.root.body)
    return Recorded(_needed(trace.root.body, results), inputs, results)  # type: ignore[arg-type]


def _needed(nodes: list[Node], results: list[TensorValue]) -> list[Node]:
    wanted, kept = set(results), []
    for node in reversed(nodes):
        if wanted & set(node.results):
            kept.append(node)
            wanted |= {value for value in _values(node.args)}
    return kept[::-1]


def _values(x: Any) -> list[TensorValue]:
    if isinstance(x, TensorValue):
        return [x]
    if isinstance(x, slice):
        return _values((x.start, x.stop, x.step))
    return [v for item in x for v in _values(item)] if isinstance(x, (tuple, list)) else []


def by_torch(program: Program, args: list[Any]) -> list[torch.Tensor]:
    """Run a program by torch itself."""
    return flat(program(torch, F, *(torch.from_numpy(a.copy()) if isinstance(a, np.ndarray) else a for a in args)))


def by_numpy(recorded: Recorded, args: list[Any]) -> list[np.ndarray[Any, Any]]:
    known: dict[TensorValue, Any] = dict(
        zip(recorded.inputs, (a for a in args if isinstance(a, np.ndarray)), strict=True)
    )

    def plain(x: Any) -> Any:
        if isinstance(x, TensorValue):
            return known[x]
        if isinstance(x, slice):
            return slice(plain(x.start), plain(x.stop), plain(x.step))
        return tuple(plain(item) for item in x) if isinstance(x, tuple) else value_of(x)

    for node in recorded.nodes:
        made = evaluate_op(node.op, [plain(arg) for arg in node.args], model=DType.FLOAT64)
        made = made if isinstance(made, tuple) else (made,)
        known.update(zip(node.results, made, strict=True))
    return [known[result] for result in recorded.results]


def by_spelling(recorded: Recorded, args: list[Any], framework: str) -> list[Any]:
    """Execute what a spelling prints, statement by statement."""
    table: Any = torch_spellings if framework == "torch" else flax_spellings
    scope: dict[str, Any] = {"torch": torch, "F": F, "jax": jax, "jnp": jnp}
    scope |= {"Tensor": torch.Tensor, "Array": jax.Array}
    for text in table.HELPERS.values():
        exec(text, scope)  # the project's own text
    names: dict[TensorValue, str] = {}
    arrays = (a for a in args if isinstance(a, (np.ndarray, torch.Tensor)))
    for value, array in zip(recorded.inputs, arrays, strict=True):
        names[value] = f"x{len(names)}"
        scope[names[value]] = given(array, framework)

    def rendered(x: Any) -> Any:
        match x:
            case TensorValue():
                return ast.Name(names[x], ast.Load())
            case Scalar():
                name = f"n{x.value}".replace("-", "_")
                scope[name] = x.value
                return ast.Name(name, ast.Load())
            case slice():
                return SliceOf(rendered(x.start), rendered(x.stop), rendered(x.step))
            case tuple():
                return tuple(rendered(item) for item in x)
            case DType.MODEL:
                return DTypeOfRendered(ast.Name(next(iter(names.values())), ast.Load()))
            case _ if x is Ellipsis:
                return Ellipsis_()
            case _:
                return x

    for node in recorded.nodes:
        targets = []
        for result in node.results:
            names[result] = f"x{len(names)}"
            targets.append(names[result])
        arguments = tuple(rendered(arg) for arg in node.args)
        if framework == "torch" and node.op == "setitem":
            statements = table.assign("setitem", arguments, targets[0], fresh=False)
            text = "\n".join(ast.unparse(ast.fix_missing_locations(s)) for s in statements)
        else:
            spelled = table.spell(node.op, arguments)
            if framework == "flax" and flax_spellings.settles(node.op, node.args, node.results[0].dtype):
                spelled = flax_spellings.spell("cast", (spelled, rendered(node.results[0].dtype)))
            left = targets[0] if len(targets) == 1 and node.op not in SEQUENCES else "(" + ", ".join(targets) + ",)"
            text = f"{left} = {ast.unparse(ast.fix_missing_locations(spelled))}"
        exec(text, scope)
    return [scope[names[result]] for result in recorded.results]


def given(array: Any, framework: str) -> Any:
    """An argument as a framework takes it; a tensor of torch is used as it is."""
    if isinstance(array, torch.Tensor):
        return array
    return torch.from_numpy(array.copy()) if framework == "torch" else jnp.asarray(array)


SEQUENCES = frozenset({"split", "chunk", "unbind"})
