"""A small configuration of the same structure, for the tests that a package brings along."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

VOCABULARY = 134  # two devices divide it
POSITIONS = 72
WINDOW = 4  # shorter than the tests' sequences
SMALL = 256  # a width up to this may stay as it is
HEAD = 8  # no head becomes narrower
EXPERTS = 16
CYCLE = 4  # layers that may all be there twice


def tiny_configs(
    raw: Mapping[str, object],
    sizes: Collection[str],
    depth: str,
    kinds: Sequence[int],
    windows: Collection[str] = (),
) -> Iterator[dict[str, object]]:
    """Ever larger configurations, the smallest first: not every one need be served, for numbers may hang together."""
    yield tiny_config(raw, sizes, depth, kinds, windows)
    yield tiny_config(raw, sizes, "", kinds, windows)
    yield dict(raw)


def tiny_config(
    raw: Mapping[str, object],
    sizes: Collection[str],
    depth: str,
    kinds: Sequence[int],
    windows: Collection[str] = (),
) -> dict[str, object]:
    """`raw` with fewer layers and narrower widths, the numbers of heads and all structure as they are.

    `sizes` are the keys that sizes of parameters are made of, `depth` is the one that counts layers, `kinds` tells equal
    layers, `windows` are the keys that limit how far a token sees.
    """
    out = dict(raw)
    layers = len(kinds)
    wanted = min(layers, _depth(kinds))
    if depth in out:
        out[depth] = wanted
        lists = {key: value for key, value in raw.items() if isinstance(value, list)}
        out |= {key: value[:wanted] for key, value in lists.items() if len(value) == layers}
        out |= {
            key: [i for i in value if i < wanted] for key, value in lists.items() if _are_layers(key, value, layers)
        }
    out |= _fewer_experts(raw)
    out |= _narrowed({key: value for key, value in raw.items() if key in sizes and type(value) is int}, _head(raw))
    for key, value in raw.items():
        if key.endswith("token_id") and type(value) is int:
            out[key] = min(value, VOCABULARY - 1)
        elif key.endswith("token_id") and isinstance(value, list):
            out[key] = [min(item, VOCABULARY - 1) for item in value if type(item) is int]
        elif key in windows and type(value) is int:
            out[key] = min(value, WINDOW)
    return out


def _depth(kinds: Sequence[int]) -> int:
    """As many layers as there are of every kind; of a short cycle of kinds two, and a layer of the next one."""
    every = 1 + max((list(kinds).index(kind) for kind in set(kinds)), default=0)
    return 2 * every + 1 if 1 < every <= CYCLE else max(2, every)


def _are_layers(key: str, value: list[object], layers: int) -> bool:
    """Whether a list is of the numbers of some layers."""
    return "layer" in key and len(value) < layers and all(type(i) is int and 0 <= i < layers for i in value)


def _narrowed(sizes: Mapping[str, object], head: int) -> dict[str, object]:
    widths = {key: value for key, value in sizes.items() if isinstance(value, int) and _is_width(key) and value > HEAD}
    factor = math.gcd(*widths.values()) if widths else 1
    factor &= -factor  # its largest power of two
    while factor > 1 and head // factor < HEAD:
        factor //= 2
    if max(widths.values(), default=0) <= SMALL:
        factor = 1
    out: dict[str, object] = {key: width // factor for key, width in widths.items()}
    for key, value in sizes.items():
        if isinstance(value, int) and "vocab" in key:
            out[key] = min(value, VOCABULARY)
        elif isinstance(value, int) and "position" in key:
            out[key] = min(value, POSITIONS)
    return out


def _is_width(key: str) -> bool:
    """Whether a key is a number of elements, not of heads, layers, tokens or experts."""
    counts = ("num", "n_head", "n_layer", "vocab", "position", "expert", "group", "token")
    return not any(word in key for word in counts)


def _fewer_experts(raw: Mapping[str, object]) -> dict[str, object]:
    """Numbers of experts, of which there stay at least twice as many as a token goes to, and as there are groups."""
    words = ("per_tok", "top_k", "topk", "n_group")
    chosen = [value for key, value in raw.items() if type(value) is int and any(word in key for word in words)]
    experts = 2 ** math.ceil(math.log2(max([EXPERTS, *(2 * number for number in chosen if number > 0)])))
    counts = {key: value for key, value in raw.items() if key.endswith("experts") and type(value) is int}
    return {key: experts for key, value in counts.items() if value > experts}


def _head(raw: Mapping[str, object]) -> int:
    """How wide a head is, as far as the keys say it."""
    heads = [value for key, value in raw.items() if key in ("num_attention_heads", "n_head") and isinstance(value, int)]
    widths = [
        value for key, value in raw.items() if key in ("hidden_size", "n_embd", "d_model") and isinstance(value, int)
    ]
    named = [value for key, value in raw.items() if key.endswith("head_dim") and isinstance(value, int)]
    derived = [width // heads[0] for width in widths if heads and heads[0] > 0]
    return min([*named, *derived], default=HEAD)
