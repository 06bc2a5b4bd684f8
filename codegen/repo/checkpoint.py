"""Which files hold the tensors of a source, and what they hold together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from codegen.diagnostics import CompileError, Diagnostic, Severity, printable
from codegen.repo.headers import Header
from codegen.repo.names import check_relative, tensor_name_fault
from codegen.repo.repository import Files, TensorHeader
from codegen.repo.text import parse_object, read_bytes

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
LISTS = ("tensors.json", "tensors.json.gz")  # published names and shapes without the file: {name: shape}
TYPES = ("dtypes.json", "dtypes.json.gz")  # and types, beside it: {name: type}
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
MAX_LIST = 256 << 20

Tensors = dict[str, TensorHeader]
HeaderReader = Callable[[str], Header]


def read_tensors(files: Files, header: HeaderReader, parallel: int = 1) -> tuple[Tensors | None, list[Diagnostic]]:
    """Every tensor of the source and what is wrong with its files; None where the source has no safetensors."""
    names = set(files.names())
    if _by_index(names):
        return _indexed(files, header, parallel)
    found = [SINGLE] if SINGLE in names else sorted(n for n in names if n.endswith(".safetensors") and "/" not in n)
    if found:
        return _merged(found, header, parallel)
    if names & set(LISTS):
        return _listed(files, names)
    pickles = sorted(name for name in names if name.endswith(PICKLES))
    if not pickles:
        return None, []
    note = Diagnostic(
        "weights-pickled",
        f"the weights are pickles ({printable(pickles[0], 200)}), which are never opened: nothing checks their names and shapes",
        severity=Severity.NOTE,
        help="convert them to safetensors first, or look for a revision of the repository that has them",
    )
    return None, [note]


def _merged(shards: Iterable[str], header: HeaderReader, parallel: int) -> tuple[Tensors, list[Diagnostic]]:
    shards = list(shards)
    if parallel > 1:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(parallel) as pool:
            headers = list(pool.map(header, shards))
    else:
        headers = [header(shard) for shard in shards]
    tensors: Tensors = {}
    findings: list[Diagnostic] = []
    for read in headers:
        findings.extend(read.findings)
        for name, tensor in read.tensors.items():
            if name in tensors:
                findings.append(_index_fault(f"tensor {name} is in {tensors[name].file} and in {tensor.file}"))
            tensors[name] = tensor
    return tensors, findings


def _by_index(names: set[str]) -> bool:
    """Whether an index says where tensors are: beside a whole file it is what was there before, as for the library."""
    return INDEX in names and SINGLE not in names


def _indexed(files: Files, header: HeaderReader, parallel: int) -> tuple[Tensors, list[Diagnostic]]:
    try:
        index = _json(files, INDEX, "weights-index", "an index of tensors")
        places = _places(index.get("weight_map"))
    except CompileError as error:
        return {}, list(error.diagnostics)
    present = set(files.names())
    shards = sorted(set(places.values()))
    absent = [shard for shard in shards if shard not in present]
    findings = [_index_fault(f"{INDEX} names {shard}, which is not there") for shard in absent]
    tensors, faults = _merged((shard for shard in shards if shard in present), header, parallel)
    findings += faults
    if findings:
        return tensors, findings
    for name in sorted(places.keys() | tensors.keys()):
        listed, held = places.get(name), tensors.get(name)
        if held is None:
            findings.append(_index_fault(f"{INDEX} says that {printable(name, 200)} is in {listed}; it is in no file"))
        elif listed != held.file:
            said = "does not list it" if listed is None else f"says {listed}"
            findings.append(_index_fault(f"tensor {name} is in {held.file}; {INDEX} {said}"))
    return tensors, findings


def index_total(files: Files) -> int | None:
    """The bytes of all tensors, as the index says; None where there is no index or it does not say.

    Raises:
        CompileError: `weights-index`.
    """
    if not _by_index(set(files.names())):
        return None
    metadata = _json(files, INDEX, "weights-index", "an index of tensors").get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    return int(total) if isinstance(total, (int, float)) and not isinstance(total, bool) else None


def _places(weight_map: object) -> dict[str, str]:
    """Tensor name -> file, checked."""
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise CompileError(_index_fault(f"{INDEX} has no `weight_map` from tensor names to files"))
    for file in set(weight_map.values()):
        check_relative(file, INDEX)
    return weight_map


def _listed(files: Files, names: set[str]) -> tuple[Tensors, list[Diagnostic]]:
    """A published list of names and shapes in place of the files themselves."""
    source = next(name for name in LISTS if name in names)
    shapes = _json(files, source, "weights-index", "a list of tensors")
    types: Mapping[str, object] = {}
    for name in TYPES:
        if name in names:
            types = _json(files, name, "weights-index", "a list of types")
    tensors: Tensors = {}
    findings: list[Diagnostic] = []
    for name, shape in shapes.items():
        fault = tensor_name_fault(name)
        if fault is not None:
            findings.append(
                Diagnostic(
                    "weights-tensor-name", f"{source}: the name {printable(repr(name), 200)} of a tensor {fault}"
                )
            )
            continue
        if not (shape is None or (isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape))):
            findings.append(_index_fault(f"{source}: {name} has the shape {printable(repr(shape), 60)}"))
            continue
        dtype = types.get(name)
        tensors[name] = TensorHeader(
            None if shape is None else tuple(shape), dtype if isinstance(dtype, str) else None, source
        )
    return tensors, findings


def _json(files: Files, name: str, code: str, what: str) -> dict[str, object]:
    path = files.path(name)
    if path is None:
        raise CompileError(_index_fault(f"{name} is not there"))
    return parse_object(_text(path, name), name, code, what)


def _text(path: Path, name: str) -> str:
    if not name.endswith(".gz"):
        return read_bytes(path, name, MAX_LIST).decode("utf-8", "replace")
    import gzip

    try:
        with gzip.open(path) as file:
            data = file.read(MAX_LIST + 1)
    except (OSError, EOFError) as error:
        raise CompileError(_index_fault(f"cannot unpack {name}: {error}")) from None
    if len(data) > MAX_LIST:
        raise CompileError(_index_fault(f"{name} is larger than {MAX_LIST >> 20} MiB"))
    return data.decode("utf-8", "replace")


def _index_fault(message: str) -> Diagnostic:
    return Diagnostic("weights-index", message)
