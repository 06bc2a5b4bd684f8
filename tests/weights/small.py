"""Small checkpoints with random bytes, in as many files as a test wants."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path

from tests.checkpoints import BYTES, entries
from tests.cli.small import TENSORS, small_source

METADATA = {"format": "pt", "note": "ä"}


def checkpoint(
    example: Path,
    folder: Path,
    *,
    tensors: Mapping[str, list[int]] = TENSORS,
    types: Mapping[str, str] | None = None,
    files: int = 2,
    seed: int = 0,
    **changes: object,
) -> Path:
    """A folder as the Hub has it. `types`: those of tensors that are not BF16."""
    small_source(example, folder, **changes)
    rng = random.Random(seed)
    names = list(tensors)
    rng.shuffle(names)  # the order in a file is nobody's but the file's
    places = {}
    for number in range(files):
        file = "model.safetensors" if files == 1 else f"model-{number + 1:05}-of-{files:05}.safetensors"
        own = {name: ((types or {}).get(name, "BF16"), tuple(tensors[name])) for name in names[number::files]}
        (folder / file).write_bytes(whole(own, rng))
        places |= dict.fromkeys(own, file)
    if files > 1:
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": places}, indent=3)
        )
    (folder / "tokenizer.json").write_text('{"version": "1.0"}\n')
    return folder


def whole(tensors: Mapping[str, tuple[str, tuple[int, ...]]], rng: random.Random) -> bytes:
    """A file of tensors, its header spaced as no writer here would."""
    header = json.dumps({"__metadata__": METADATA, **entries(tensors)}, indent=1, ensure_ascii=False).encode() + b"   "
    sizes = [BYTES[dtype] * _count(shape) for dtype, shape in tensors.values()]
    return len(header).to_bytes(8, "little") + header + rng.randbytes(sum(sizes))


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for n in shape:
        count *= n
    return count


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
