"""Which mesh axis splits which axis of the parameters, by what uses that axis and not by what its size is called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from codegen.lowering.axes import Axis
from ir.arch import Attention
from ir.expressions import Apply, Const, Expr
from ir.graph import Raised, Region, Value

WITHIN, ACROSS = "tp", "fsdp"
"""The mesh axes: one splits what a layer computes within, the other what is handed on from layer to layer."""

Held = tuple[str, str]  # the module that holds a parameter, and the letters of its axes


def head_counts(regions: Iterable[Region]) -> frozenset[Expr]:
    """How many heads of queries, and of keys and values, attention runs over."""
    found: set[Expr] = set()
    for region in regions:
        for node in region.nodes:
            match node:
                case Raised(Attention(), (Value() as q, Value() as k, *_)) if len(q.shape) == len(k.shape) == 4:
                    found |= {reduced(q.shape[1]), reduced(k.shape[1])}
                case _:
                    pass
    return frozenset(size for size in found if not isinstance(size, Const))


def reduced(size: Expr) -> Expr:
    """`a` for `a * b // b`, as a size that is left to be found in a reshape is written."""
    match size:
        case Apply("//", (whole, part)):
            left = factors(whole)
            for factor in factors(part):
                if factor in left:
                    left.remove(factor)
                else:
                    return size
            return left[0] if len(left) == 1 else size
        case _:
            return size


def factors(size: Expr) -> list[Expr]:
    """What a size is the product of."""
    if isinstance(size, Apply) and size.op == "*":
        return [factor for part in size.args for factor in factors(part)]
    return [size]


def mesh_axes(
    axes: Iterable[Axis], held: Iterable[Held], vocabulary: Expr | None, heads: frozenset[Expr]
) -> Mapping[str, str]:
    """Letter -> mesh axis, of those that are split. `held`: the matrices, with the block that each stands in."""
    sizes = {axis.letter: axis.size for axis in axes}
    matrices = [(block, letters) for block, letters in held if len(letters) > 1]
    words = {letter for letter, size in sizes.items() if size == vocabulary}
    embedded = [letter for _, letters in matrices if words & {*letters} for letter in letters if letter not in words]
    width = embedded[0] if embedded else ""
    inner = {letter for letter in _between(matrices, width, sizes)} | {
        letter for letter, size in sizes.items() if heads_in(size, heads) is not None
    }
    experts = {
        letters[0] for _, letters in matrices if len(letters) == 3 and width in letters[1:] and "1" not in letters
    }
    split = dict.fromkeys((words | inner | experts) - {width}, WITHIN)
    return split | ({width: ACROSS} if width else {})


def _between(matrices: list[Held], width: str, sizes: Mapping[str, Expr]) -> Iterator[str]:
    """Axes that one matrix of a block leads into from the width of the layers, and another one out of to the same."""
    blocks: dict[str, list[str]] = {}
    for block, letters in matrices:
        if width in letters[-2:] and letters[-2:] != 2 * width:
            blocks.setdefault(block, []).append(letters[-2:])
    for pairs in blocks.values():
        first = {pair[0] for pair in pairs if pair[1] == width}
        second = {pair[1] for pair in pairs if pair[0] == width}
        for one in first:
            for other in second:
                if (
                    one == other
                    or is_multiple(sizes.get(one), sizes.get(other))
                    or is_multiple(sizes.get(other), sizes.get(one))
                ):
                    yield from (one, other)


def is_multiple(size: Expr | None, part: Expr | None) -> bool:
    """Whether a size is a number of times another, as gates beside what they gate are."""
    match size:
        case Apply("*", (Const(), other)) | Apply("*", (other, Const())):
            return part is not None and other == part
        case _:
            return False


def heads_in(size: Expr, heads: frozenset[Expr]) -> Expr | None:
    """The number of heads that a size is, or is that many times something."""
    return size if size in heads else next((factor for factor in factors(size) if factor in heads), None)
