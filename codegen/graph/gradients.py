"""Blocks that gradients do not flow through: what modules made inside of one is detached where the block ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from codegen.graph.objects import External
from codegen.graph.scope import Scope
from codegen.graph.values import Frame, Node, Tensor, Trace
from ir.graph import DType

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

MANAGERS = frozenset({"torch.no_grad", "torch.inference_mode"})
TRAINED = frozenset({DType.MODEL, DType.PROMOTED, DType.FLOAT64, DType.FLOAT32, DType.BFLOAT16, DType.FLOAT16})


def stops(manager: object) -> bool:
    """Whether a context manager is one under which no gradients are recorded."""
    return isinstance(manager, External) and manager.name in MANAGERS


def without(interpreter: Interpreter, scope: Scope, run: Callable[[], None]) -> None:
    """Run a block, and detach the tensors that it leaves in variables if modules made them: only these have parameters."""
    trace = interpreter.trace
    frame, start = trace.frame, len(trace.frame.body)
    before = {name: _value(item) for name, item in scope.vars.items()}
    run()
    if trace.frame is frame and any(_calls_module(item) for item in frame.body[start:]):
        _detach(trace, scope.vars, before)


def _detach(trace: Trace, variables: dict[str, Any], before: Mapping[str, object]) -> None:
    for name, item in variables.items():
        if isinstance(item, Tensor) and item.dtype in TRAINED and item.value is not before.get(name):
            (variables[name],) = trace.emit("detach", (item,), (item.shape, item.dtype))


def _value(item: object) -> object:
    return item.value if isinstance(item, Tensor) else None


def _calls_module(item: Node | Frame) -> bool:
    return isinstance(item, Frame) and (item.kind == "module" or any(map(_calls_module, item.body)))
