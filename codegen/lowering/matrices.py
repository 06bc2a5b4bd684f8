"""What a module does with a matrix of its own: it multiplies by it or looks rows of it up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum

from ir.expressions import Const
from ir.graph import Number, Op, Region, Value


class Use(Enum):
    """How a matrix is used, with what its axes are called for that."""

    LINEAR = ("out_features", "in_features")
    TURNED = ("in_features", "out_features")
    EMBEDDING = ("num_embeddings", "embedding_dim")


def uses_of(name: str, regions: Iterable[Region]) -> frozenset[Use]:
    """What regions of a module do with the parameter of that name."""
    return frozenset(use for region in regions for use in _uses(name, region))


def _uses(name: str, region: Region) -> Iterator[Use]:
    weight: Value | None = None
    for node in region.nodes:
        match node:
            case Op("parameter", (Number(Const(found)),), (Value() as value,)) if found == name:
                weight = value
            case Op("embedding", (_, Value() as matrix, *_)) if matrix == weight:
                yield Use.EMBEDDING
            case Op("linear", (_, Value() as matrix, *_)) if matrix == weight:
                yield Use.LINEAR
            case Op("matmul", (_, Value() as matrix)) | Op("addmm", (_, _, Value() as matrix)) if matrix == weight:
                yield Use.TURNED
            case _:
                pass
