"""Account for published lists of tensors, and take every byte from the Hub to each layout and back without reading one.

    python -m tests.tools.real_weights FOLDER [--out docs/real-weights.md]

FOLDER holds a folder `organisation__name` with config.json and tensors.json (or tensors.json.gz, with dtypes.json) for each
repository. A layout is worked out as `convert` does it, from files of the published names and shapes that nobody has, and from
that the files again: each tensor must come from its own bytes.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from codegen import pipeline
from codegen.diagnostics import CompileError
from codegen.joints import naming_of
from codegen.repo import Repository, load
from codegen.weights import parameters as mapping
from codegen.weights.data import Extent
from codegen.weights.parameters import Layout
from codegen.weights.stored import WIDTHS, Array
from codegen.weights.table import Table, load_table

LAYOUTS = {"PyTorch": Layout(False), "Flax": Layout(True), "Flax, scanned": Layout(True, True)}


@dataclass(frozen=True, slots=True)
class Row:
    """A repository: its tensors, the parameters they make, how many are left out and why, or why it is refused."""

    repository: str
    tensors: int
    parameters: int = 0
    left_out: tuple[str, ...] = ()
    refusal: str = ""
    trips: tuple[str, ...] = ()


def row(folder: Path) -> Row:
    name = folder.name.replace("__", "/", 1)
    count = 0
    try:
        repository = load(str(folder))
        count = len(repository.tensors or {})
        built = pipeline.build(repository)
        accounts = pipeline.check_weights(repository, built, naming_of(built))
        assert accounts is not None
        reasons = list(accounts.ignored.values())
        with tempfile.TemporaryDirectory() as place:
            held = {
                tensor: stored.shape
                for tensor, stored in (repository.tensors or {}).items()
                if stored.shape is not None
            }
            table = load_table(pipeline.compile_into(repository, Path(place)), repository.config, held)
        trips = tuple(f"{kind}: {trip(table, repository, layout)}" for kind, layout in LAYOUTS.items())
    except CompileError as error:
        return Row(name, count, refusal="; ".join(one.message.splitlines()[0] for one in error.diagnostics))
    said = tuple(f"{reasons.count(reason)}: {reason}" for reason in dict.fromkeys(reasons))
    return Row(name, count, len(accounts.layouts), said, trips=trips)


def files_of(repository: Repository, table: Table | None = None) -> dict[str, Array]:
    """Every tensor at the place that it would have in one file; of the shape that the model wants where the list has none."""
    out, at = {}, 0
    wanted = {} if table is None else {piece.name: piece.shape for row in table.rows for piece in row.pieces}
    for name, stored in (repository.tensors or {}).items():
        dtype, shape = stored.dtype or "BF16", wanted.get(name, ()) if stored.shape is None else stored.shape
        end = at + math.prod(shape) * WIDTHS[dtype]
        out[name] = Array(name, dtype, shape, (Extent("hub", at, end),))
        at = end
    return out


def trip(table: Table, repository: Repository, layout: Layout) -> str:
    """To a layout and back: the bytes that came back to their places, or what did not."""
    tensors = {table.called.get(name, name): array for name, array in files_of(repository, table).items()}
    there = mapping.listed(table, mapping.from_hub(table, tensors), layout)
    back = mapping.to_hub(table, mapping.from_listed(table, {array.name: array for array in there}, layout))
    left = {array.name for array in mapping.left_out(table, tensors)}
    lost = [
        name
        for name, array in tensors.items()
        if array.name not in left and name not in table.ties and back[name] != renamed(array, name)
    ]
    if lost:
        return f"{len(lost)} tensors do not come back, such as {lost[0]}"
    return f"{sum(array.block.size for name, array in tensors.items() if array.name not in left):,} bytes"


def renamed(array: Array, name: str) -> Array:
    return Array(name, array.dtype, array.shape, array.data)


def page(rows: list[Row]) -> Iterator[str]:
    good = [one for one in rows if not one.refusal]
    yield "# Published lists of tensors"
    yield ""
    yield f"{len(good)} of {len(rows)} lists are accounted for whole: every tensor is part of one parameter, or left out for a reason, and every parameter has"
    yield "its source. For these, what `convert` would write was worked out for each layout, and from that the files of the Hub again: the bytes"
    yield "that came back to their own places (BF16 where the list does not say). Where a layout has axes exchanged the bytes pass through memory and are not compared here."
    yield ""
    yield "Written by `python -m tests.tools.real_weights FOLDER --out docs/real-weights.md`."
    yield ""
    yield "| repository | tensors | parameters | left out | there and back, or why it is refused |"
    yield "|---|---|---|---|---|"
    for one in rows:
        said = one.refusal or "<br>".join(one.trips)
        left = "<br>".join(one.left_out)
        yield f"| {one.repository} | {one.tensors:,} | {one.parameters or ''} | {left} | {said.replace('|', '/')} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    folders = sorted(
        {path.parent for kind in ("tensors.json", "tensors.json.gz") for path in arguments.folder.glob(f"*/{kind}")}
    )
    rows = []
    for folder in folders:
        rows.append(row(folder))
        print(rows[-1], flush=True)
        if arguments.out is not None:
            arguments.out.write_text("\n".join(page(rows)) + "\n")


if __name__ == "__main__":
    main()
