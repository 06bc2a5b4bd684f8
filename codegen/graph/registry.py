"""Names under which the library's registry of activation functions holds the same computation."""

from __future__ import annotations

from typing import Any

from codegen.diagnostics import CompileError
from codegen.graph import construction, operators
from codegen.graph.interpreter import Interpreter, Raised
from codegen.graph.regions import nodes_of
from codegen.graph.sizes import USUAL
from codegen.graph.values import Tensor, TensorValue, Trace
from codegen.source.files import LIBRARY, Library
from ir.graph import DType

REGISTRY = f"{LIBRARY}.activations.ACT2FN"
Computation = tuple[tuple[tuple[str, Any], ...], int | None]


def equivalents(files: Library, name: str) -> tuple[str, ...]:
    """`name` and the other names of the registry whose functions do the same operations in the same order."""
    interpreter = Interpreter(files)
    with construction.deep_recursion():
        wanted = _computation(interpreter, name)
        if wanted is None:
            return (name,)
        names = [str(key) for key in operators.mapping(interpreter, interpreter.find(REGISTRY)) if key != name]
        return (name, *(other for other in names if _computation(interpreter, other) == wanted))


def _computation(interpreter: Interpreter, name: str) -> Computation | None:
    """The operations of a function of the registry, None if there is none or if it does not run on one tensor alone."""
    interpreter.stage, interpreter.trace = 2, Trace()
    argument = Tensor(TensorValue((USUAL.B, USUAL.T), DType.MODEL))
    try:
        function = operators.getitem(interpreter, interpreter.find(REGISTRY), name)
        result = interpreter.call(function, [argument], {})
    except (Raised, CompileError):
        return None
    if not isinstance(result, Tensor):
        return None
    order: dict[TensorValue, int] = {argument.value: 0}
    found = []
    for node, _ in nodes_of(interpreter.trace.root):
        found.append((node.op, tuple(_numbered(arg, order) for arg in node.args)))
        for made in node.results:
            order[made] = len(order)
    return tuple(found), order.get(result.value)


def _numbered(argument: object, order: dict[TensorValue, int]) -> object:
    """Tensors by the order in which they were made; numbers with their type, since 1 and 1.0 are not the same operand."""
    match argument:
        case TensorValue():
            return "tensor", order.get(argument)
        case tuple():
            return tuple(_numbered(item, order) for item in argument)
        case _:
            return type(argument).__name__, argument
