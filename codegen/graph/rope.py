"""Rotary frequencies that follow the longest position: the library's decorator writes them into the module before `forward`.

The library keeps what the longest sequence so far needed; here every call computes what its own positions need, which is
what a model does that has just been loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codegen.graph import operators, tensor_ops
from codegen.graph.objects import Function, ModuleObject
from codegen.graph.scope import Scope
from codegen.graph.values import Tensor, value_of

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

DECORATOR = "dynamic_rope_update"
LIBRARY_MODULE = "transformers.modeling_rope_utils"


def prepare(interpreter: Interpreter, module: ModuleObject) -> None:
    """Give a module the frequencies for long sequences beside those for short ones, as constants."""
    kinds = module.dict.get("rope_type")
    options = kinds.items() if isinstance(kinds, dict) else [(None, kinds)]
    for layer_type, kind in options:
        if value_of(kind) == "longrope":
            name = f"{_prefix(layer_type)}long_inv_freq"
            limit = operators.binary(interpreter, "+", _parameters(interpreter, module, layer_type)[1], 1)
            interpreter.setattr(module, name, _frequencies(interpreter, module, kind, limit, layer_type))


def update(interpreter: Interpreter, function: Function, scope: Scope) -> None:
    """Frequencies for the positions that `forward` was given, in place of the module's own while it runs."""
    names = [a.arg for a in function.node.args.args]
    module, positions = scope.vars[names[0]], scope.vars["position_ids"]
    layer_type = scope.vars.get("layer_type")
    kinds = module.dict.get("rope_type")
    kind = kinds if layer_type is None else operators.getitem(interpreter, kinds, layer_type)
    word = value_of(kind)
    if not isinstance(word, str) or not ("dynamic" in word or word == "longrope"):
        return
    interpreter.pin(kind)
    prefix, trace = _prefix(layer_type), interpreter.tensor_span()
    length = tensor_ops.binary(trace, "+", tensor_ops.call(trace, "torch.max", [positions], {}), 1)
    original = interpreter.getattr(module, f"{prefix}original_inv_freq")
    if word == "longrope":
        limit = _parameters(interpreter, module, layer_type)[1]
        longer = interpreter.getattr(module, f"{prefix}long_inv_freq")
    else:
        limit = interpreter.getattr(module, "max_seq_len_cached")
        longer = _frequencies(interpreter, module, kind, length, layer_type)
    trace = interpreter.tensor_span()
    beyond = tensor_ops.binary(trace, ">", length, limit)
    chosen = tensor_ops.call(trace, "torch.where", [beyond, longer, original], {})
    held = interpreter.getattr(module, f"{prefix}inv_freq")
    assert isinstance(held, Tensor) and isinstance(chosen, Tensor)
    held.value = chosen.value


def _prefix(layer_type: Any) -> str:
    return "" if layer_type is None else f"{value_of(layer_type)}_"


def _parameters(interpreter: Interpreter, module: ModuleObject, layer_type: Any) -> tuple[Any, Any]:
    """The scaling parameters of a module, and the context that it was trained on first."""
    found = interpreter.getattr(interpreter.getattr(module, "config"), "rope_parameters")
    if layer_type is not None:
        found = operators.getitem(interpreter, found, layer_type)
    return found, operators.getitem(interpreter, found, "original_max_position_embeddings")


def _frequencies(interpreter: Interpreter, module: ModuleObject, kind: Any, length: Any, layer_type: Any) -> Any:
    """Inverse frequencies for sequences of some length, as the library computes them."""
    namespace = interpreter.module(LIBRARY_MODULE)
    assert namespace is not None
    known = interpreter.member(namespace, "ROPE_INIT_FUNCTIONS")
    function = operators.getitem(interpreter, known, kind)
    given = {"seq_len": length} | ({} if layer_type is None else {"layer_type": layer_type})
    config = interpreter.getattr(module, "config")
    return interpreter.call(function, [config, tensor_ops.DEVICE], given)[0]
