"""From one layout to another: what is read, what is written, what it costs."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from codegen import __version__
from codegen.diagnostics import CompileError, Diagnostic
from codegen.weights import manifest as manifests
from codegen.weights import parameters as mapping
from codegen.weights.data import Data, Extent, Literal, extents, memory, size
from codegen.weights.manifest import HUB, MANIFEST, Manifest
from codegen.weights.parameters import Layout, Parameters
from codegen.weights.reading import BUFFER, Reader
from codegen.weights.stored import Array, Files, Shard
from codegen.weights.table import Table
from codegen.weights.targets import Unit, hub_files, orbax_files, safetensors_files
from codegen.weights.writing import Outcome, begun, staging, write
from ir.records import dataclass

LEFT_OUT = "left_out"
TARGETS = ("orbax", "safetensors", "hf")


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint that can be converted. `tied`: pairs of names that must hold the same bytes; `companions`: the other files
    of the Hub's by their names there; `identity`: what tells it from any other, and from itself when it has changed.
    """

    name: str
    revision: str
    table: Table
    parameters: Parameters
    left_out: tuple[Array, ...]
    tied: tuple[tuple[Array, Array], ...]
    shards: tuple[Shard, ...]
    companions: Mapping[str, Data]
    files: Files
    identity: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a conversion will write, in which order. Sizes are bytes; `memory` is what it holds at most beside the program."""

    source: Source
    units: tuple[Unit, ...]
    key: str
    reads: int
    writes: int
    memory: int


def hub_source(
    name: str,
    revision: str,
    table: Table,
    shards: Sequence[Shard],
    companions: Mapping[str, int],
    files: Files,
    identity: str,
) -> Source:
    """A checkpoint as the Hub has it. `companions`: the files beside the weights, and their sizes.

    Raises:
        CompileError: as `parameters.from_hub` does.
    """
    arrays = [array for shard in shards for array in shard.arrays(shard.name)]
    tensors = {table.called[array.name]: array for array in arrays}
    tied = [(tensors[alias], tensors[target]) for alias, target in table.ties.items() if alias in tensors]
    return Source(
        name,
        revision,
        table,
        mapping.from_hub(table, tensors),
        tuple(mapping.left_out(table, tensors)),
        tuple(tied),
        tuple(shards),
        {one: (Extent(one, 0, length),) for one, length in companions.items()},
        files,
        identity,
    )


def converted_source(made: Manifest, table: Table, files: Files, identity: str) -> Source:
    """A checkpoint that was converted before.

    Raises:
        CompileError: `layout-differs` where the package lays it out otherwise.
    """
    arrays = {array.name: array for array in made.arrays}
    try:
        found = mapping.from_listed(table, arrays, made.layout)
    except CompileError as error:
        raise _differs(error.diagnostics[0].message) from None
    ours = {array.name: (array.dtype, array.shape) for array in mapping.listed(table, found, made.layout)}
    if ours != {array.name: (array.dtype, array.shape) for array in made.arrays}:
        raise _differs("it holds parameters that the package does not have")
    companions: dict[str, Data] = {
        name: (Extent(f"{HUB}/{name}", 0, files.sizes[f"{HUB}/{name}"]),) for name in made.companions
    }
    return Source(made.name, made.revision, table, found, made.left_out, (), made.shards, companions, files, identity)


def _differs(why: str) -> CompileError:
    return CompileError(
        Diagnostic(
            "layout-differs",
            "the checkpoint was written for another layout of the model's parameters",
            notes=(why,),
            help="convert the checkpoint of the Hub again",
        )
    )


def plan(source: Source, to: str, layout: Layout) -> Plan:
    """What to write.

    Raises:
        CompileError: `mixed-types`, `tensor-type`.
    """
    units = _hub_units(source) if to == "hf" else _layout_units(source, to, layout)
    facts = [__version__, source.identity, to, layout.flax, layout.scanned]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for unit in units:
        head = unit.data[0].content if unit.data and isinstance(unit.data[0], Literal) else b""
        digest.update(f"{unit.path} {size(unit.data)} ".encode() + hashlib.sha256(head).digest())
    reads = sum(part.stop - part.start for unit in units for part in extents(unit.data))
    held = max((memory(unit.data) for unit in units), default=0)
    return Plan(source, tuple(units), digest.hexdigest(), reads, sum(size(unit.data) for unit in units), held + BUFFER)


def _hub_units(source: Source) -> list[Unit]:
    tensors = mapping.to_hub(source.table, source.parameters)
    own = {array.name: array for array in source.left_out}
    named = {name: own[name] if name in own else tensors[source.table.called[name]] for name in source.table.called}
    for shard in source.shards:
        for name, dtype, shape, _ in shard.tensors:
            if (named[name].dtype, named[name].shape) != (dtype, shape):
                raise _differs(
                    f"{name} was {dtype} {list(shape)}, and is {named[name].dtype} {list(named[name].shape)}"
                )
    return [*hub_files(source.shards, named), *(Unit(name, data) for name, data in source.companions.items())]


def _layout_units(source: Source, to: str, layout: Layout) -> list[Unit]:
    arrays = mapping.listed(source.table, source.parameters, layout)
    rest = safetensors_files(source.left_out, f"{HUB}/{LEFT_OUT}", {}) if source.left_out else None

    def manifest(placed: tuple[Array, ...]) -> Manifest:
        beside = rest.arrays if rest is not None else ()
        return Manifest(source.name, source.revision, layout, placed, beside, source.shards, tuple(source.companions))

    if to == "orbax":
        marked = manifest(orbax_files(arrays, {}).arrays)
        made = orbax_files(arrays, {"layout": marked.fingerprint, "scanned": layout.scanned})
    else:
        made = safetensors_files(arrays, "model", {"format": "np" if layout.flax else "pt"})
        marked = manifest(made.arrays)
    return [
        *made.units,
        *(rest.units if rest is not None else ()),
        *(Unit(f"{HUB}/{name}", data) for name, data in source.companions.items()),
        Unit(MANIFEST, (Literal(manifests.to_bytes(marked)),)),
    ]


def describe(made: Plan, out: Path) -> tuple[dict[str, object], list[str]]:
    """The plan as facts, and in words: bytes to read and to write, memory, room on the disk."""
    done = _done(made, out)
    free = free_bytes(out)
    facts: dict[str, object] = {
        "files": len(made.units),
        "read": made.reads,
        "write": made.writes,
        "done": done,
        "memory": made.memory,
        "free": free,
        "resumes": begun(out, made.key),
    }
    lines = [
        f"read    {made.reads:>17,} bytes of {made.source.name}",
        f"write   {made.writes:>17,} bytes in {len(made.units)} files to {out}",
        f"memory  {made.memory:>17,} bytes at most, beside the program",
        f"free    {free:>17,} bytes on that disk",
    ]
    if done:
        lines.append(f"done    {done:>17,} bytes by an earlier run, which are kept")
    return facts, lines


def run(made: Plan, out: Path, progress: Callable[[int], None]) -> Outcome:
    """Do what was planned.

    Raises:
        CompileError: `disk-full` where there is no room, `tied-tensors-differ`, and what writing raises.
    """
    missing = made.writes - _done(made, out) - free_bytes(out)
    if missing > 0 and not out.exists():
        message = f"the disk of {out} lacks {missing:,} bytes for this conversion"
        raise CompileError(Diagnostic("disk-full", message))
    with Reader(made.source.files) as reader:
        if not begun(out, made.key):
            _check_ties(made.source, reader)
        return write(made.units, out, made.key, reader, progress)


def _check_ties(source: Source, reader: Reader) -> None:
    for alias, target in source.tied:
        if alias.dtype != target.dtype or not reader.equal(alias.data, target.data):
            message = f"{alias.name} and {target.name} are one parameter, but hold different numbers"
            raise CompileError(Diagnostic("tied-tensors-differ", message))


def _done(made: Plan, out: Path) -> int:
    """Bytes that an earlier run of this conversion has written."""
    if not begun(out, made.key):
        return 0
    sizes = {unit.path: size(unit.data) for unit in made.units}
    paths = (staging(out) / name for name in sizes)
    return sum(path.stat().st_size for path in paths if path.is_file())


def free_bytes(out: Path) -> int:
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    return shutil.disk_usage(folder).free
