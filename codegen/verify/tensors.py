"""What the headers of a checkpoint say, as a checklist: the data is never read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from codegen.verify.checklist import Check
from ir.records import dataclass


@dataclass(frozen=True, slots=True)
class Held:
    """A tensor of the checkpoint: its bytes, None where its type or shape is not known; why it is left out, or nothing."""

    name: str
    size: int | None
    left_out: str = ""


def checks(
    held: Sequence[Held], parameters: int, tied: Mapping[str, str], stored_ties: Iterable[str], total: int | None
) -> Iterator[Check]:
    """A checkpoint of which every tensor has been accounted for. `total`: the bytes that its index speaks of."""
    reasons: dict[str, list[Held]] = {}
    for one in held:
        if one.left_out:
            reasons.setdefault(one.left_out, []).append(one)
    placed = len(held) - sum(map(len, reasons.values()))
    yield Check("tensors", "one place each", said=f"{_counted(placed)} for {parameters} parameters")
    for reason, which in reasons.items():
        yield Check("tensors", "left out", said=f"{_counted(len(which))}, {_bytes(which)}: {reason}")
    stored = frozenset(stored_ties)
    for alias, target in tied.items():
        said = "stored as well" if alias in stored else "not stored"
        yield Check("parameters", "tied", said=f"{alias} is {target}, {said}")
    yield _sum(held, total)


def _sum(held: Sequence[Held], total: int | None) -> Check:
    name = "sum of the index"
    if any(one.size is None for one in held):
        return Check("bytes", name, skipped="the list does not say of what type every tensor is")
    if not total:
        return Check("bytes", name, skipped=f"no index says how many there are; the tensors have {_bytes(held)}")
    found = sum(one.size or 0 for one in held)
    if found == total:
        return Check("bytes", name, said=f"{found:,} in both")
    return Check("bytes", name, failure=f"the tensors have {found:,}, the index says {total:,}")


def _bytes(held: Iterable[Held]) -> str:
    sizes = [one.size for one in held]
    return "of unknown size" if None in sizes else f"{sum(size or 0 for size in sizes):,} bytes"


def _counted(count: int) -> str:
    return f"{count} tensor{'' if count == 1 else 's'}"
