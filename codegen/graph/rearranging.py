"""`rearrange`, `repeat`, `reduce` and `einsum` of the package einops: axes by name, taken apart, moved and merged as two patterns say.

The first two are reshape, permute, expand and reshape, which is what is recorded; `reduce` has a reduction between. Source: the
documentation of einops.
"""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING, Any

from codegen.graph import operators, tensor_ops
from codegen.graph.values import Scalar, Tensor, value_of

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

Groups = list[list[str]]
"""Of every axis the names of the axes that it is made of; none for an axis of one element."""
ELLIPSIS, MERGED = "...", "(...)"


def rearrange(interpreter: Interpreter, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """The tensor with its axes as the right side of the pattern names them; the first axis of a list of tensors says which.

    Raises:
        Unsupported: the pattern does not fit the tensor.
    """
    return _rearranged(interpreter, args, kwargs, None)


def reduce(interpreter: Interpreter, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """The tensor with the axes that the right side does not name taken together, by the third argument.

    Raises:
        Unsupported: the pattern does not fit the tensor, or the reduction is none that has a name.
    """
    given = dict(kwargs)
    *two, by = (*args, given.pop("reduction")) if len(args) == 2 and "reduction" in given else args
    name = value_of(by) if isinstance(by, (str, Scalar)) else None
    if name not in _REDUCTIONS:
        interpreter.unsupported("a reduction of einops by something else than its name")
    return _rearranged(interpreter, list(two), given, _REDUCTIONS[str(name)])


_REDUCTIONS = {"sum": "sum", "mean": "mean", "max": "amax", "min": "amin", "prod": "prod"}


def einsum(interpreter: Interpreter, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Products of tensors whose axes have names of any length, the pattern last.

    Raises:
        Unsupported: the pattern is none.
    """
    *tensors, pattern = args
    text = value_of(pattern)
    left, arrow, right = str(text).partition("->")
    parts = [side.split() for side in [*left.split(","), right]]
    names = list(dict.fromkeys(name for part in parts for name in part if name != ELLIPSIS))
    fit = all(name.isidentifier() for name in names) and len(names) <= len(string.ascii_letters)
    if kwargs or not isinstance(text, str) or not arrow or not fit or len(parts) != len(tensors) + 1:
        interpreter.unsupported(f"a product by {text!r}")
    letters = {ELLIPSIS: ELLIPSIS, **_letters(names)}
    *operands, result = ("".join(letters[name] for name in part) for part in parts)
    equation = f"{','.join(operands)}->{result}"
    return tensor_ops.call(interpreter.tensor_span(), "torch.einsum", [equation, *tensors], {})


def _letters(names: list[str]) -> dict[str, str]:
    """A letter for each name, the first of its own that is free."""
    taken: dict[str, str] = {}
    for name in sorted(names, key=len):  # what is a letter already stays what it is
        own = [*name, *string.ascii_letters]
        taken[name] = next(
            letter for letter in own if letter.isalpha() and letter.isascii() and letter not in taken.values()
        )
    return taken


def _rearranged(interpreter: Interpreter, args: list[Any], kwargs: dict[str, Any], reduction: str | None) -> Any:
    tensor, pattern, *_ = args
    left, arrow, right = str(value_of(pattern)).partition("->")
    if isinstance(tensor, (list, tuple)) and tensor and all(isinstance(item, Tensor) for item in tensor):
        tensor = tensor_ops.call(interpreter.tensor_span(), "torch.stack", [list(tensor), 0], {})
    if not isinstance(tensor, Tensor) or not arrow or len(args) != 2:
        interpreter.unsupported(f"a rearrangement by {value_of(pattern)!r}")
    before, after = _groups(left), _groups(right)
    if any({ELLIPSIS, MERGED} & set(group) for group in before + after):
        if [ELLIPSIS] not in before or len(before) > len(tensor.shape) + 1:
            interpreter.unsupported(f"a rearrangement of {len(tensor.shape)} axes by {value_of(pattern)!r}")
        others = [f"{ELLIPSIS}{number}" for number in range(len(tensor.shape) - len(before) + 1)]
        before, after = _named(before, others), _named(after, others)
    if len(before) != len(tensor.shape):
        interpreter.unsupported(f"a rearrangement of {len(tensor.shape)} axes by {value_of(pattern)!r}")
    sizes = _sizes(interpreter, tensor, before, dict(kwargs))
    named = [name for group in before for name in group]
    wanted = [name for group in after for name in group]
    dropped = [name for name in named if name not in wanted]
    doubled = len(set(named)) != len(named) or len(set(wanted)) != len(wanted)
    if doubled or bool(dropped) and reduction is None or reduction is not None and not set(wanted) <= set(named):
        interpreter.unsupported(f"a rearrangement by {value_of(pattern)!r}")
    if any(name not in sizes for name in wanted):
        interpreter.unsupported(f"a rearrangement by {value_of(pattern)!r}, whose axes have unknown sizes")

    def do(name: str, *operands: Any) -> None:
        nonlocal tensor
        tensor = tensor_ops.method(interpreter.tensor_span(), tensor, name, list(operands), {})

    if any(len(group) > 1 for group in before):
        do("reshape", *(sizes[name] for name in named))
    else:
        for at in reversed([at for at, group in enumerate(before) if not group]):
            do("squeeze", at)
    if dropped:
        assert reduction is not None
        axes: list[int] = [named.index(name) for name in dropped]
        if reduction == "prod":  # of one axis at a time
            for axis in reversed(axes):
                do("prod", axis)
        else:
            do(reduction, axes)
        named = [name for name in named if name in wanted]
    kept = [name for name in wanted if name in named]
    if kept != named:
        do("permute", *(named.index(name) for name in kept))
    if kept != wanted:
        for at, name in enumerate(wanted):
            if name not in named:
                do("unsqueeze", at)
        do("expand", *(sizes[name] for name in wanted))
    if all(len(group) <= 1 for group in after):
        for at in [at for at, group in enumerate(after) if not group]:
            do("unsqueeze", at)
    else:
        do("reshape", *(_product(interpreter, [sizes[name] for name in group]) for group in after))
    return tensor


def _named(groups: Groups, others: list[str]) -> Groups:
    """With a name for every axis that the ellipsis stands for: axes of their own, or within a group."""
    spread = [[[name] for name in others] if group == [ELLIPSIS] else [group] for group in groups]
    return [
        [name for written in group for name in (others if written in (ELLIPSIS, MERGED) else [written])]
        for part in spread
        for group in part
    ]


def _groups(side: str) -> Groups:
    """`b (h d) 1` as [[b], [h, d], []]."""
    found = re.findall(r"\(([^)]*)\)|(\S+)", side)
    groups = [[name for name in (merged or single).split() if name != "1"] for merged, single in found]
    inside = [bool(merged) for merged, _ in found]
    return [[MERGED] if g == [ELLIPSIS] and merged else g for g, merged in zip(groups, inside, strict=True)]


def _sizes(interpreter: Interpreter, tensor: Tensor, groups: Groups, known: dict[str, Any]) -> dict[str, Any]:
    """The size of every axis that has a name: those that are given, and in every group the one that follows from the others."""
    sizes = dict(known)
    for whole, group in zip(tensor.shape, groups, strict=True):
        open_ = [name for name in group if name not in known]
        if len(open_) > 1:
            interpreter.unsupported(f"axes {', '.join(open_)} whose sizes do not follow from each other")
        if open_ and len(group) == 1:
            sizes[open_[0]] = whole
        elif open_:
            rest = _product(interpreter, [known[name] for name in group if name in known])
            sizes[open_[0]] = operators.binary(interpreter, "//", whole, rest)
    return sizes


def _product(interpreter: Interpreter, sizes: list[Any]) -> Any:
    total: Any = 1
    for at, size in enumerate(sizes):
        total = size if at == 0 else operators.binary(interpreter, "*", total, size)
    return total
