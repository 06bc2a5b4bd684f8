"""The interpreter: configuration, construction and forward pass of a model, traced into regions."""

from codegen.graph.construction import (
    Built,
    answered_alike,
    base_prefix,
    build,
    class_places,
    dropped_patterns,
    kept_answers,
    module_shapes,
    seen_configuration,
    state_entries,
    submodel_settings,
    submodels,
    transient_buffers,
    untrained_rows,
)
from codegen.graph.exploration import validate
from codegen.graph.forward import Attempt, Traced, trace_forward
from codegen.graph.histories import note as note_runs_again

__all__ = [
    "Attempt",
    "Built",
    "Traced",
    "answered_alike",
    "base_prefix",
    "build",
    "class_places",
    "dropped_patterns",
    "kept_answers",
    "module_shapes",
    "note_runs_again",
    "seen_configuration",
    "state_entries",
    "submodel_settings",
    "submodels",
    "trace_forward",
    "transient_buffers",
    "untrained_rows",
    "validate",
]
