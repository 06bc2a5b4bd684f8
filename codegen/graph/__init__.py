"""The interpreter: configuration, construction and forward pass of a model, traced into regions."""

from codegen.graph.construction import Built, build
from codegen.graph.forward import Traced, trace_forward

__all__ = ["Built", "Traced", "build", "trace_forward"]
