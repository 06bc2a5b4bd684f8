"""One alphabet of axes: every size that a parameter has along an axis gets a letter."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping

from ir.expressions import Apply, Const, Expr, Key
from ir.records import dataclass

PREFERRED = {
    "vocab_size": "V",
    "hidden_size": "D",
    "intermediate_size": "F",
    "num_attention_heads": "N",
    "num_key_value_heads": "K",
    "head_dim": "H",
    "num_hidden_layers": "L",
    "max_position_embeddings": "P",
    "n_embd": "D",
    "d_model": "D",
    "n_inner": "F",
    "ffn_dim": "F",
    "d_ff": "F",
    "n_head": "N",
    "n_heads": "N",
    "num_heads": "N",
    "n_layer": "L",
    "n_layers": "L",
    "n_positions": "P",
    "num_experts": "E",
    "num_local_experts": "E",
    "n_routed_experts": "E",
}
RESERVED = frozenset("BTSNKHL")
"""Batch, new tokens, attended tokens; heads, heads of keys and values, the size of one; layers."""
HEADS = (("N", "query heads"), ("K", "key/value heads"), ("H", "head size"))
"""The axes of attention, which are often no axes of a parameter."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A letter and the size that it stands for."""

    letter: str
    size: Expr


def name_axes(sizes: Iterable[Expr], words: Mapping[Key, str]) -> tuple[Axis, ...]:
    """A letter for every distinct size; those that the field has a letter for keep it. `words` are the names that the field
    knows, of those that have another."""
    axes: dict[Expr, str] = {}
    wanted = [size for size in dict.fromkeys(sizes) if size != Const(1)]
    for size in wanted:
        letter = PREFERRED.get(words.get(size, str(size.path[-1]))) if isinstance(size, Key) else None
        if letter is not None and letter not in axes.values():
            axes[size] = letter
    for size in wanted:
        if size not in axes:
            axes[size] = _free_letter(size, set(axes.values()))
    return tuple(Axis(letter, size) for size, letter in axes.items())


def _free_letter(size: Expr, used: set[str]) -> str:
    hints = {"Q": _is_product(size, "num_attention_heads"), "C": _is_product(size, "num_key_value_heads")}
    options = [letter for letter, fits in hints.items() if fits]
    if isinstance(size, Key):
        options.append(str(size.path[-1])[0].upper())
    options += [letter for letter in "MIJRWXYZUGCAOQPEHKNFDVL" if letter not in options]
    options += list(string.ascii_lowercase)
    return next(letter for letter in options if letter not in used and letter not in RESERVED)


def _is_product(size: Expr, field: str) -> bool:
    return (
        isinstance(size, Apply)
        and size.op == "*"
        and any(isinstance(a, Key) and a.path[-1] == field for a in size.args)
    )
