"""Tensors of the Hub <-> parameters <-> arrays of a layout: both directions from one table, without reading a byte."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from codegen.diagnostics import CompileError, Diagnostic
from codegen.weights.assembling import assembled
from codegen.weights.data import Data, Move, Shape, cut, joined
from codegen.weights.stored import WIDTHS, Array
from codegen.weights.table import Table
from ir.records import dataclass


@dataclass(frozen=True, slots=True)
class Layout:
    """How parameters are named: as PyTorch names them or as Flax does, there with equal layers stacked if `scanned`."""

    flax: bool
    scanned: bool = False


Parameters = Mapping[str, Array]  # by their paths in PyTorch


def from_hub(table: Table, tensors: Mapping[str, Array]) -> Parameters:
    """The parameters that a checkpoint of the Hub holds. `tensors`: by the names of the table.

    Raises:
        CompileError: `missing-tensor`, `tensor-shape`, `mixed-types`.
    """
    out: dict[str, Array] = {}
    for row in table.rows:
        held = [_held(tensors, piece.name, piece.shape) for piece in row.pieces]
        dtype = _one_type(row.path, held)
        moves = [
            Move(piece.inside, array.block, piece.taken, piece.swapped)
            for piece, array in zip(row.pieces, held, strict=True)
        ]
        out[row.path] = Array(row.path, dtype, row.shape, assembled(row.shape, WIDTHS[dtype], moves))
    return out


def to_hub(table: Table, parameters: Parameters) -> Mapping[str, Array]:
    """The tensors of the Hub that parameters are stored in, by the names of the table."""
    moves: dict[str, list[Move]] = {}
    shapes: dict[str, tuple[Shape, str]] = {}
    for row in table.rows:
        array = parameters[row.path]
        for piece in row.pieces:
            shapes[piece.name] = piece.shape, array.dtype
            move = Move(piece.taken, array.block, piece.inside, piece.swapped)
            moves.setdefault(piece.name, []).append(move)
    out = {
        name: Array(name, dtype, shape, assembled(shape, WIDTHS[dtype], moves[name]))
        for name, (shape, dtype) in shapes.items()
    }
    return out | {alias: out[target] for alias, target in table.ties.items()}


def listed(table: Table, parameters: Parameters, layout: Layout) -> list[Array]:
    """The arrays of a layout, in the order of the table.

    Raises:
        CompileError: `mixed-types` where layers that are stacked are of different types.
    """
    if not layout.flax:
        return list(parameters.values())
    stacks: dict[str, dict[int, Array]] = {}
    out: dict[str, Array] = {}
    for row in table.rows:
        array = parameters[row.path]
        path, index = table.place(row, layout.scanned)
        if index is None:
            out[path] = Array(path, array.dtype, row.shape, array.data)
            continue
        stacks.setdefault(path, {})[index] = array
        out[path] = Array(path, array.dtype, row.shape, ())  # takes its place in the order
    for path, layers in stacks.items():
        count = table.stacked_length
        dtype = _one_type(path, layers.values())
        data = joined(layers[index].data for index in range(count))
        out[path] = Array(path, dtype, (count, *out[path].shape), data)
    return list(out.values())


def from_listed(table: Table, arrays: Mapping[str, Array], layout: Layout) -> Parameters:
    """The parameters that the arrays of a layout hold.

    Raises:
        CompileError: `missing-tensor`, `tensor-shape`.
    """
    out: dict[str, Array] = {}
    for row in table.rows:
        path, index = table.place(row, layout.scanned) if layout.flax else (row.path, None)
        whole = row.shape if index is None else (table.stacked_length, *row.shape)
        array = _held(arrays, path, whole)
        data: Data = array.data
        if index is not None:
            size = array.block.size // table.stacked_length
            data = cut(data, index * size, (index + 1) * size)
        out[row.path] = Array(row.path, array.dtype, row.shape, data)
    return out


def left_out(table: Table, tensors: Mapping[str, Array]) -> list[Array]:
    """Tensors of a checkpoint that are no part of the model, by the names of the table."""
    used = {piece.name for row in table.rows for piece in row.pieces} | table.ties.keys()
    return [array for name, array in tensors.items() if name not in used]


def _held(arrays: Mapping[str, Array], name: str, shape: Shape) -> Array:
    if name not in arrays:
        raise CompileError(Diagnostic("missing-tensor", f"the checkpoint lacks {name}"))
    array = arrays[name]
    if array.shape != shape:
        message = f"{name} is {list(array.shape)}, the model has {list(shape)}"
        raise CompileError(Diagnostic("tensor-shape", message))
    if array.dtype not in WIDTHS:
        raise CompileError(Diagnostic("tensor-type", f"{name} holds {array.dtype}, which no other layout can hold"))
    return array


def _one_type(name: str, arrays: Iterable[Array]) -> str:
    found = {array.dtype: array.name for array in arrays}
    if len(found) > 1:
        shown = ", ".join(f"{which} is {dtype}" for dtype, which in found.items())
        message = f"parts of {name} are of different types, which one array cannot hold"
        raise CompileError(Diagnostic("mixed-types", message, notes=(shown,)))
    return next(iter(found))
