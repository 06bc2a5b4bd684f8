"""The layers of the library that emitted code uses as they are."""

from __future__ import annotations

from ir.graph import Module, Operand

# Library layers: their positional arguments, then those that go by name, with the value that is left out
LAYERS: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {
    "Linear": (("in_features", "out_features"), {"bias": True}),
    "Embedding": (("num_embeddings", "embedding_dim"), {}),
    "LayerNorm": (("normalized_shape",), {"eps": 1e-5, "elementwise_affine": True, "bias": True}),
    "RMSNorm": (("normalized_shape",), {"eps": None}),
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
