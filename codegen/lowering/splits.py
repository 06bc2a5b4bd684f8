"""What splitting a PyTorch model takes beyond the axes: layers of the source's own, and axes that have to stay whole.

There a module computes with its own part alone: what it does with it has to mean the same for a part as for the whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from codegen.lowering.axes import Axis
from codegen.lowering.instances import walk
from codegen.lowering.matrices import Use, uses_of
from codegen.lowering.meshes import Held, factors, heads_in, is_multiple
from codegen.lowering.program import Lowering
from ir.arch import Norm
from ir.expressions import Apply, Const, Expr
from ir.graph import Module, Number, Op, Raised, Region, Value, within
from ir.ops import OPS
from ir.records import dataclass


@dataclass(frozen=True, slots=True)
class OwnLayers:
    """Names of emitted classes: layers that multiply by a weight [in, out], and embeddings that also compute."""

    linears: tuple[str, ...] = ()
    embeddings: tuple[str, ...] = ()


def own_layers(lowering: Lowering, split: Collection[str]) -> OwnLayers:
    """The classes of modules at the paths in `split` that look up or multiply by a `weight`, and hold no more than a `bias`."""
    linears, embeddings = dict[str, None](), dict[str, None]()
    for path, module in walk(lowering.given.tree):
        instance, plan = lowering.program.instances.get(path), lowering.program.by_path.get(path)
        if module.kind or instance is None or plan is None or path not in split or not _is_one_matrix(module):
            continue
        uses = uses_of("weight", (region for regions in instance.methods.values() for region in regions))
        linears |= {plan.name: None} if Use.TURNED in uses else {}
        embeddings |= {plan.name: None} if Use.EMBEDDING in uses else {}
    return OwnLayers(tuple(linears), tuple(embeddings))


def _is_one_matrix(module: Module) -> bool:
    ranks = {p.name: len(p.shape) for p in module.parameters if not p.buffer or p.persistent}
    return not module.children and ranks in ({"weight": 2}, {"weight": 2, "bias": 1})


NORMS = frozenset({"group_norm", "layer_norm", "rms_norm"})
LAYOUT = frozenset({"squeeze", "stack", "unsqueeze", "permute", "split", "chunk", "unbind", "cat", "repeat_interleave"})
"""What takes the number of an axis and still gives each element as it is."""
ALONG = {
    name: next(at for at, param in enumerate(signature.params) if param.name in ("dim", "dims"))
    for name, signature in OPS.items()
    if name not in LAYOUT and any(param.name in ("dim", "dims") for param in signature.params)
}
"""Operations along an axis, and which of their arguments says which."""

SIDE_BY_SIDE = "several matrices side by side"
ELSEWHERE = "computed with in other blocks too"
COUNTED = "the code names its size"
TOGETHER = "the code computes with all of it at once"
PARTLY = "beside others in its block that stay whole"


def whole_axes(
    axes: Sequence[Axis],
    split: Collection[str],
    held: Sequence[Held],
    regions: Iterable[Region],
    heads: frozenset[Expr],
) -> Mapping[str, str]:
    """Of the axes in `split`, those that a module computing with a part of them gets wrong: letter -> why.

    `held` are matrices, and vectors that are no biases, with the block that each stands in; `regions` what modules compute with
    what is split.
    """
    sizes = {axis.letter: axis.size for axis in axes if axis.letter in split}
    vectors = {(block, letters) for block, letters in held if len(letters) == 1}
    homes = {(block, letter) for block, letters in held if len(letters) > 1 for letter in letters}
    whole: dict[str, list[Expr]] = {block: [] for block, _ in homes}
    for axis in axes:
        for block, name in homes:
            whole[block] += [axis.size] if name == axis.letter and name not in split else []
    regions = tuple(regions)
    told = {size for region in regions for size in _told(region)}
    mixed = {size for region in regions for size in _mixed(region)}
    found: dict[str, str] = {}
    for letter, size in sizes.items():
        if heads_in(size, heads) is None and any(is_multiple(size, part) for part in sizes.values()):
            found[letter] = SIDE_BY_SIDE
        elif any(name == letter and (block, name) not in homes for block, name in vectors):
            found[letter] = ELSEWHERE
        elif {size, heads_in(size, heads)} & told:
            found[letter] = COUNTED
        elif {size, heads_in(size, heads)} & mixed:
            found[letter] = TOGETHER
        elif any(_is_part(size, other) for block, name in homes if name == letter for other in whole[block]):
            found[letter] = PARTLY
    made = {letter for letter, size in sizes.items() if heads_in(size, heads) is not None}
    spoiled = {block for block, name in homes if name in made & found.keys()}
    return found | {name: PARTLY for block, name in sorted(homes) if block in spoiled and name in made - found.keys()}


def _is_part(size: Expr, other: Expr) -> bool:
    """Whether another size, or a term of it, is a product that has a factor of this one in it."""
    own = {*factors(size)}
    terms = other.args if isinstance(other, Apply) and other.op == "+" else (other,)
    found = ({factor for factor in factors(term) if not isinstance(factor, Const)} for term in terms)
    return any(len(term) > 1 and own & term for term in found)


def _told(region: Region) -> Iterator[Expr]:
    """The sizes that operations of a region are told, or divide."""
    for node in region.nodes:
        for inner in within(node):
            yield from _told(inner)
        match node:
            case Op("reshape", (_, tuple(numbers))):
                yield from (number.expr for number in numbers if isinstance(number, Number))
            case Op("chunk" | "split", (Value(shape=shape), _, Number(Const(int(dim))))):
                yield shape[dim]
            case _:
                pass


def _mixed(region: Region) -> Iterator[Expr]:
    """The sizes of axes along which a result of an operation depends on more than the element at its place."""
    for node in region.nodes:
        for inner in within(node):
            yield from _mixed(inner)
        match node:
            case Raised(Norm(), (Value(shape=shape), *_)) if shape:
                yield shape[-1]
            case Op(name, (Value(shape=shape), *_)) if name in NORMS and shape:
                yield shape[-1]
            case Op(name, (Value(shape=shape), *_) as args) if name in ALONG:
                dims = args[ALONG[name]]
                for dim in dims if isinstance(dims, tuple) else (dims,):
                    match dim:
                        case Number(Const(int(at))) if -len(shape) <= at < len(shape):
                            yield shape[at]
                        case None:
                            yield from shape
            case _:
                pass
