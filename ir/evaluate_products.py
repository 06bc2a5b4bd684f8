"""Sums of products of two arrays as products of matrices: numpy's own way to a batch of them takes many times as long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_EXACT = frozenset({np.dtype(np.float32), np.dtype(np.float64)})  # what there are fast products of


def einsum(equation: str, operands: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """`np.einsum`, but for rounding."""
    terms, _, out = equation.replace(" ", "").partition("->")
    names = terms.split(",")
    if not _is_product(names, out, operands, "->" in equation):
        return np.asarray(np.einsum(equation, *operands))
    (a, x), (b, y) = ((name, _alone(name, other, out, array)) for name, other, array in zip(names, names[::-1], operands, strict=True))  # fmt: skip
    a, b = (_kept(name, other, out) for name, other in ((a, b), (b, a)))
    batch = [letter for letter in a if letter in b and letter in out]
    summed = [letter for letter in a if letter in b and letter not in out]
    rows = [letter for letter in a if letter not in b]
    columns = [letter for letter in b if letter not in a]
    size = dict(zip((*a, *b), (*x.shape, *y.shape), strict=True))
    left = _matrices(x, a, (batch, rows, summed), size)
    right = _matrices(y, b, (batch, summed, columns), size)
    made: np.ndarray[Any, Any] = np.matmul(left, right).reshape([size[letter] for letter in (*batch, *rows, *columns)])
    return made.transpose([[*batch, *rows, *columns].index(letter) for letter in out])


def _is_product(names: list[str], out: str, operands: Sequence[np.ndarray[Any, Any]], explicit: bool) -> bool:
    """Whether every letter is there once in each term, and each axis of two arrays of one type is as long as its letter says."""
    if not explicit or len(names) != 2 or len(operands) != 2 or operands[0].dtype != operands[1].dtype:
        return False
    if operands[0].dtype not in _EXACT or any(len({*term}) != len(term) or "." in term for term in (*names, out)):
        return False
    if any(len(term) != array.ndim for term, array in zip(names, operands, strict=True)) or not {*out} <= {*"".join(names)}:  # fmt: skip
        return False
    sizes = [{*zip(term, array.shape, strict=True)} for term, array in zip(names, operands, strict=True)]
    return len(sizes[0] | sizes[1]) == len({*"".join(names)})


def _kept(name: str, other: str, out: str) -> str:
    return "".join(letter for letter in name if letter in other or letter in out)


def _alone(name: str, other: str, out: str, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array without the axes of letters that nothing else has, which are summed over."""
    axes = tuple(at for at, letter in enumerate(name) if letter not in other and letter not in out)
    return np.asarray(array.sum(axis=axes)) if axes else array


def _matrices(
    array: np.ndarray[Any, Any], letters: str, groups: tuple[list[str], ...], size: dict[str, int]
) -> np.ndarray[Any, Any]:
    """A batch of matrices: the axes of each group as one."""
    order = [letters.index(letter) for group in groups for letter in group]
    shape = [int(np.prod([size[letter] for letter in group], dtype=np.int64)) for group in groups]
    return array.transpose(order).reshape(shape)


__all__ = ["einsum"]
