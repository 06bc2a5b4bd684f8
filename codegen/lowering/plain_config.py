"""TEMPORARY: Config without derivation, until config_view is there."""

from __future__ import annotations

from collections.abc import Mapping

from codegen.lowering.program import Lowering
from codegen.lowering.views import ConfigView, FieldView, KeyView, SourceView


def plain_config(lowering: Lowering, source: SourceView, extra: tuple[str, ...] = ()) -> ConfigView:
    fields = []
    letters = {a.size.path: a.letter for a in lowering.axes if hasattr(a.size, "path")}
    for path, name in lowering.fields.items():
        value: object = lowering.given.resolved
        for step in path:
            value = value[step]  # type: ignore[index]
        value = tuple(value) if isinstance(value, list) else value
        annotation = {bool: "bool", int: "int", float: "float", str: "str", tuple: "tuple"}.get(type(value), "object")
        fields.append(FieldView(name, annotation, repr(value), repr(value), letters.get(path, "")))
    if "tie_word_embeddings" not in lowering.fields.values():
        tied = lowering.given.resolved.get("tie_word_embeddings", False)
        fields.append(FieldView("tie_word_embeddings", "bool", repr(tied), repr(tied)))
    return ConfigView(source, tuple(fields), (), (), (), ())


__all__ = ["KeyView", "Mapping", "plain_config"]
