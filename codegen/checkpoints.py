"""From a source to a checkpoint that can be converted: what `repo` has read, with the map of the package that serves it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from codegen import repo
from codegen.diagnostics import CompileError, Diagnostic
from codegen.joints import package_name, unpacked
from codegen.regenerate import find_checkout
from codegen.repo import Repository, TensorHeader
from codegen.weights import manifest as manifests
from codegen.weights.conversion import Source, converted_source, hub_source
from codegen.weights.manifest import HUB, MANIFEST, Manifest
from codegen.weights.stored import Files, Shard
from codegen.weights.table import Table, load_table
from ir.records import replace

WEIGHTS = (
    ".safetensors",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".h5",
    ".msgpack",
    ".gguf",
    ".onnx",
    ".ot",
    ".npz",
    ".tflite",
)

Compile = Callable[[Repository, Path], Path]
"""Writes the package of a repository into a folder; returns that of the package."""


def open_source(source: str, compiled: Compile) -> Source:
    """A checkpoint of the Hub, a folder laid out like one, or a checkpoint that was converted before.

    Raises:
        CompileError: every finding of what could be read; `weights-absent`.
    """
    folder = Path(source).expanduser()
    made = manifests.read(folder) if folder.is_dir() else None
    return _hub(_in_full(repo.load(source)), compiled) if made is None else _converted(folder, made, compiled)


def _in_full(repository: Repository) -> Repository:
    """A repository of which no tensor is stored in few bits.

    Raises:
        CompileError: `weights-quantised`.
    """
    tensors = repository.tensors or {}
    whole, _ = unpacked(tensors, repository.config)
    if any(tensors.get(name) != stored for name, stored in whole.items()):
        message = "the checkpoint is quantised, and converting copies bytes: it computes nothing with them"
        help = "load it with `from_pretrained` of its package, and store what `weights.to_hf` gives"
        raise CompileError(Diagnostic("weights-quantised", message, help=help))
    return repository


def _hub(repository: Repository, compiled: Compile) -> Source:
    shards = _shards(repository)
    companions = {name: path for name in _companions(repository) if (path := repository.files.path(name)) is not None}
    sizes = {
        **{shard.name: shard.size for shard in shards},
        **{name: path.stat().st_size for name, path in companions.items()},
    }

    def locate(name: str) -> Path:
        path = repository.files.path(name)
        if path is None:
            raise CompileError(Diagnostic("weights-unreadable", f"{name} is not there any more"))
        return path

    known = {name: companions[name].stat().st_size for name in companions}
    identity = f"{repository.name}@{repository.revision}" if repository.revision else _identity(map(locate, sizes))
    table = _table(repository, compiled)
    return hub_source(repository.name, repository.revision, table, shards, known, Files(sizes, locate), identity)


def _converted(folder: Path, made: Manifest, compiled: Compile) -> Source:
    read = repo.load(str(folder / HUB), weights=False)
    headers = {
        name: TensorHeader(shape, dtype, shard.name) for shard in made.shards for name, dtype, shape, _ in shard.tensors
    }
    repository = replace(read, name=made.name, revision=made.revision, tensors=headers)
    names = {part.file for array in (*made.arrays, *made.left_out) for part in manifests.extents_of(array)}
    names |= {f"{HUB}/{name}" for name in made.companions}
    sizes = {}
    for name in sorted(names):
        path = folder / name
        if not path.is_file():
            raise CompileError(Diagnostic("weights-unreadable", f"{name} is not there any more"))
        sizes[name] = path.stat().st_size
    _long_enough(made, sizes)
    table = _table(repository, compiled)
    identity = _identity(folder / name for name in (*sizes, MANIFEST))
    return converted_source(made, table, Files(sizes, lambda name: folder / name), identity)


def _long_enough(made: Manifest, sizes: Mapping[str, int]) -> None:
    for array in (*made.arrays, *made.left_out):
        for part in manifests.extents_of(array):
            if part.stop > sizes[part.file]:
                message = (
                    f"{part.file} is cut short: {array.name} ends at byte {part.stop}, the file at {sizes[part.file]}"
                )
                raise CompileError(Diagnostic("weights-truncated", message))


def _identity(paths: object) -> str:
    """What tells files of this machine from others, and from themselves once they have changed."""
    facts = []
    for path in paths:  # type: ignore[attr-defined]
        status = path.stat()
        facts.append(f"{path.resolve()} {status.st_size} {status.st_mtime_ns}")
    return "\n".join(sorted(facts))


def _shards(repository: Repository) -> list[Shard]:
    tensors = repository.tensors or {}
    names = sorted({tensor.file for tensor in tensors.values()})
    if not names or not all(name.endswith(".safetensors") for name in names):
        raise CompileError(Diagnostic("weights-absent", "the source holds no safetensors"))
    return [_shard(name, repository) for name in names]


def _shard(name: str, repository: Repository) -> Shard:
    header = repository.files.header(name)
    ordered = sorted(header.tensors, key=lambda tensor: header.ranges[tensor])
    found = []
    for tensor in ordered:
        (start, stop), stored = header.ranges[tensor], header.tensors[tensor]
        assert stored.dtype is not None and stored.shape is not None
        found.append((tensor, stored.dtype, stored.shape, stop - start))
    return Shard(name, header.start, tuple(found))


def _companions(repository: Repository) -> list[str]:
    """The files beside the weights: configuration, tokenizer, code, index."""
    names = [name for name in repository.files.names() if "/" not in name]
    return [name for name in names if not name.endswith(WEIGHTS) and not name.startswith(".")]


def _table(repository: Repository, compiled: Compile) -> Table:
    """By a package that was emitted before if it serves the checkpoint as it is, else by one that is compiled for it."""
    held = {name: stored.shape for name, stored in (repository.tensors or {}).items() if stored.shape is not None}
    checkout = find_checkout()
    folder = None if checkout is None else checkout / "generated" / package_name(repository.config)
    if folder is not None and (folder / "weights.py").is_file() and "auto_map" not in repository.config:
        try:
            table = load_table(folder, repository.config, held)
        except CompileError:
            table = None
        if table is not None and _fits(table):
            return table
    with tempfile.TemporaryDirectory() as place:
        return load_table(compiled(repository, Path(place)), repository.config, held)


def _fits(table: Table) -> bool:
    """Whether all tensors that a table speaks of are there, and those that are there have their place or are left out."""
    wanted = {piece.name: piece.shape for row in table.rows for piece in row.pieces}
    rest = [name for name in table.held if name not in wanted and name not in table.ties]
    return all(
        tuple(table.held.get(name, ())) == shape and name in table.held for name, shape in wanted.items()
    ) and all(table.ignores(name) for name in rest)
