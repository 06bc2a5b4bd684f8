"""What a module does with a matrix of its own: it multiplies by it or looks rows of it up; and whether a vector is a scale."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum

from ir.arch import Norm
from ir.expressions import Const
from ir.graph import Number, Op, Raised, Region, Value, operands_of, values_in


class Use(Enum):
    """How a matrix is used, with what its axes are called for that."""

    LINEAR = ("out_features", "in_features")
    TURNED = ("in_features", "out_features")
    EMBEDDING = ("num_embeddings", "embedding_dim")


def uses_of(name: str, regions: Iterable[Region], *, in_any_type: bool = False) -> frozenset[Use]:
    """What regions of a module do with the parameter of that name, or with what it is cast to."""
    return frozenset(use for region in regions for use in _uses(name, region, in_any_type))


def _uses(name: str, region: Region, in_any_type: bool) -> Iterator[Use]:
    held: list[Value] = []
    for node in region.nodes:
        match node:
            case Op("parameter", (Number(Const(found)),), (Value() as value,)) if found == name:
                held.append(value)
            case Op("cast", (Value() as matrix, *_), (Value() as value,)) if in_any_type and matrix in held:
                held.append(value)
            case Op("embedding", (_, Value() as matrix, *_)) if matrix in held:
                yield Use.EMBEDDING
            case Op("linear", (_, Value() as matrix, *_)) if matrix in held:
                yield Use.LINEAR
            case Op("matmul", (_, Value() as matrix)) | Op("addmm", (_, _, Value() as matrix)) if matrix in held:
                yield Use.TURNED
            case _:
                pass


def scales(name: str, regions: Iterable[Region]) -> bool:
    """Whether all that regions do with the vector of that name is to multiply by it, or by what it adds to a number."""
    found = [_scales(name, region) for region in regions]
    return any(found) and None not in found


def _scales(name: str, region: Region) -> bool | None:
    """None where it is used otherwise, False where it is not used."""
    same: list[Value] = []  # the vector, in any type, and its sums with numbers
    multiplied = False
    for node in region.nodes:
        if isinstance(node, Op) and node.name == "parameter" and node.args[0] == Number(Const(name)):
            same += [result for result in node.results if isinstance(result, Value)]
            continue
        if not any(value in same for value in values_in(operands_of(node))):
            continue
        match node:
            case Op("cast", (Value(), *_), (Value() as result,)) | Op(
                "add" | "sub", (Value(), Number()), (Value() as result,)
            ):
                same.append(result)
            case Op("add", (Number(), Value()), (Value() as result,)):
                same.append(result)
            case Op("mul") | Raised(Norm()):
                multiplied = True
            case _:
                return None
    return None if any(value in same for value in values_in(region.results)) else multiplied
