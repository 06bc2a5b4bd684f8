"""Buffers that `_init_weights` fills again. The library calls it after `__init__` for everything that no checkpoint holds, so that
what it leaves there is what the model computes with: it has to be what `__init__` left, which is what is emitted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from codegen.diagnostics import CompileError
from codegen.graph import classes
from codegen.graph.makers import makers_of
from codegen.graph.objects import Function, ModuleObject
from codegen.graph.undoing import mark
from codegen.graph.values import Tensor, TensorValue

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

METHOD = "_init_weights"
OF_A_CLASS = 4  # modules that are asked: layers of several kinds are of one class
DIFFERENT = 1e-4


def check(interpreter: Interpreter, model: ModuleObject, modules: Iterator[tuple[str, ModuleObject]]) -> None:
    """
    Raises:
        Unsupported: a buffer is filled otherwise than `__init__` filled it.
    """
    method = classes.find(interpreter, model.cls, METHOD)
    if not isinstance(method, Function) or model.cls.module.startswith("stubs."):
        return
    asked: dict[str, int] = {}
    for path, module in modules:
        held = [
            (name, tensor) for name, tensor in module.buffers.items() if tensor is not None and name in module.transient
        ]
        if not held or asked.setdefault(module.cls.name, 0) >= OF_A_CLASS:
            continue
        asked[module.cls.name] += 1
        for name in _refilled(interpreter, method, model, module, held):
            where = f"{path}.{name}" if path else name
            interpreter.unsupported(
                f"`{METHOD}` fills the buffer `{where}` with other numbers than `__init__`",
                help="no checkpoint holds it, and the library fills it once more after the model is made",
            )


def _refilled(
    interpreter: Interpreter,
    method: Function,
    model: ModuleObject,
    module: ModuleObject,
    held: list[tuple[str, Tensor]],
) -> list[str]:
    """The names of buffers that the method is known to leave with other numbers; what it does is taken back."""
    from codegen.graph.interpreter import Raised

    undo = mark(interpreter)
    tensors = [x for x in (*module.parameters.values(), *module.buffers.values()) if isinstance(x, Tensor)]
    before = [(tensor, tensor.value) for tensor in tensors]
    contents = [(own, dict(own)) for own in (module.parameters, module.buffers, module.dict)]
    old = {name: tensor.value for name, tensor in held}
    try:
        interpreter.call(method, [model, module], {})
        found = {name: now.value for name, _ in held if isinstance(now := module.buffers.get(name), Tensor)}
        changed = [name for name, value in found.items() if value is not old[name]]
        return [name for name in changed if _differ(interpreter, old[name], found[name])]
    except (CompileError, Raised):
        return []  # what draws random numbers, for parameters, is no matter here
    finally:
        for tensor, value in before:
            tensor.value = value
        for own, content in contents:
            own.clear()
            own.update(content)
        undo()


def _differ(interpreter: Interpreter, one: TensorValue, other: TensorValue) -> bool:
    import numpy as np  # which takes its time

    from codegen.graph.evaluating import FAILURES, Evaluator

    values: Any = Evaluator(makers_of(interpreter.trace.root), interpreter.environment, {}, {})
    try:
        a, b = np.asarray(values.value(one)), np.asarray(values.value(other))
    except FAILURES:
        return False
    return a.shape != b.shape or not np.allclose(a, b, rtol=DIFFERENT, atol=DIFFERENT, equal_nan=True)
