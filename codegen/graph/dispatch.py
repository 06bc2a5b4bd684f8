"""The attention functions of the library: that of the file itself is the meaning, the others are faster forms of it.

They are, as long as what the module says of itself and the mask that it is given say the same. Faster forms leave out masks that
hide the future and nothing else, and go by `is_causal` of the module instead; the function of the file goes by the mask alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codegen.graph.objects import Builtin, Foreign, ModuleObject
from codegen.graph.values import Scalar, Tensor
from ir.expressions import Key, leaves

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

PREFERRED = "_supports_sdpa"
"""What a model says of the form that runs unless another is asked for. What the others would compute is asked for only so that
a package serves no configuration that they take otherwise than the one it was compiled for."""

_PARAMETERS = ("module", "query", "key", "value", "attention_mask")


class AttentionFunctions(Foreign):
    """The registry of attention functions."""

    def get(self, interpreter: Interpreter, name: str) -> Any:
        if name != "get_interface":
            raise KeyError(name)
        return Builtin(name, _interface)

    def set_item(self, interpreter: Interpreter, index: Any, value: Any) -> None:
        """A form of the program's own is not the one that is asked for."""


def _interface(interpreter: Interpreter, args: list[Any], kwargs: dict[str, Any]) -> Any:
    own = args[1] if len(args) > 1 else kwargs["default"]
    asking = interpreter.scope.vars.get("self") if interpreter.scope is not None else None
    if not interpreter.surroundings.forms or not isinstance(asking, ModuleObject) or _says_causal(asking) is True:
        return own
    return Builtin("attention", lambda interpreter, args, kwargs: _checked(interpreter, own, args, kwargs))


def _says_causal(module: ModuleObject) -> Any:
    """What a module says of its attention; what says nothing is causal."""
    return module.dict.get("is_causal", True)


def _checked(interpreter: Interpreter, own: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Attention by the function of the file, where the other forms compute the same.

    Raises:
        Unsupported: `attention-forms-differ`.
    """
    given = {**dict(zip(_PARAMETERS, args, strict=False)), **kwargs}
    mask, module = given.get("attention_mask"), given.get("module")
    if isinstance(mask, Tensor) and isinstance(module, ModuleObject):
        said = _says_causal(module) if given.get("is_causal") is None else given["is_causal"]
        hides = any(known.causal for known, value in interpreter.surroundings.masks.items() if value is mask.value)
        if hides and not interpreter.branch(said) and PREFERRED in interpreter.surroundings.forms:
            names = sorted(".".join(map(str, key.path)) for key in _keys(said))
            why = f" by {', '.join(f'`{name}`' for name in names)}" if names else ""
            interpreter.unsupported(
                f"attention that is not causal{why}, on a mask that hides the future",
                help="the library computes one thing with this mask, and another in the forms of attention that do without",
                code="attention-forms-differ",
            )
    return interpreter.call(own, args, kwargs)


def _keys(said: Any) -> list[Key]:
    return [leaf for leaf in leaves(said.expr) if isinstance(leaf, Key)] if isinstance(said, Scalar) else []
