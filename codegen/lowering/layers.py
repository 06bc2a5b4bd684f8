"""The layers of the library that emitted code uses as they are."""

from __future__ import annotations

from collections.abc import Iterable

from ir.expressions import Const
from ir.graph import Module, Number, Operand
from ir.records import dataclass

# Library layers: their positional arguments, then those that go by name, with the value that is left out
LAYERS: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {
    "Linear": (("in_features", "out_features"), {"bias": True}),
    "Embedding": (("num_embeddings", "embedding_dim"), {}),
    "LayerNorm": (("normalized_shape",), {"eps": 1e-5, "elementwise_affine": True, "bias": True}),
    "RMSNorm": (("normalized_shape",), {"eps": None}),
    "GroupNorm": (("num_groups", "num_channels"), {"eps": 1e-5}),
    "Conv1d": (
        ("in_channels", "out_channels", "kernel_size"),
        {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "bias": True},
    ),
}


def arguments_used(module: Module) -> tuple[tuple[str, Operand], ...]:
    """The arguments that matter to what a layer computes or holds; those of other modules as they are."""
    if module.kind not in LAYERS:
        return module.arguments
    positional, named = LAYERS[module.kind]
    return tuple((name, value) for name, value in module.arguments if name in positional or name in named)


@dataclass(frozen=True, slots=True)
class LayerOption:
    """Whether some layers of a model have a part, and whether it takes an argument to say which."""

    some: bool
    asked: bool


def layer_option(modules: Iterable[Module], kind: str, option: str) -> LayerOption:
    """What the layers of one kind say of an option that is a flag; one that depends on the configuration is asked."""
    default = LAYERS[kind][1][option]
    said = {_flag(module, option, default) for module in modules if module.kind == kind}
    return LayerOption(said != {False}, len(said) > 1 or None in said)


def _flag(module: Module, option: str, default: object) -> object:
    match dict(module.arguments).get(option, Number(Const(default))):  # type: ignore[arg-type]
        case Number(Const(value)):
            return value
        case _:
            return None
