"""Patterns for tensors that a checkpoint may hold and no model reads, as the source means them and as few as they can be."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PLAIN = re.compile(r"\w+(\.\w+)*")


def meant(patterns: Iterable[str]) -> tuple[str, ...]:
    """Regular expressions for patterns of a source. A pattern without any sign of one is the beginning of a name within a path
    (`rotary`), or with dots some steps of a path (`attn.bias`, which is no `c_attn.bias`); those that differ in a number or in
    the last step alone become one."""
    given = list(dict.fromkeys(patterns))
    paths = [tuple(p.split(".")) for p in given if _PLAIN.fullmatch(p) and "." in p]
    paths = list(dict.fromkeys(path for named in paths for path in (named, *_twin(named))))
    words = [rf"(^|\.){p}" for p in given if _PLAIN.fullmatch(p) and "." not in p]
    joined = [rf"(^|\.){'[.]'.join(path)}(\.|$)".replace("[.]", r"\.") for path in _ends(_numbers(paths))]
    return (*(p for p in given if not _PLAIN.fullmatch(p)), *words, *joined)


def _twin(path: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The buffer that was stored beside a causal mask, `attn.bias`, as long as that was: what hidden scores become."""
    *steps, last = path
    return [(*steps, "masked_bias")] if last == "bias" and "att" in steps[-1] else []


def _numbers(paths: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Paths that differ in their first number alone as one."""
    groups: dict[tuple[str, ...], dict[int, None]] = {}
    for path in paths:
        at = next((i for i, step in enumerate(path) if step.isdigit()), None)
        key = path if at is None else (*path[:at], "#", *path[at + 1 :])
        groups.setdefault(key, {}).update({} if at is None else {int(path[at]): None})
    return [tuple(_any(numbers) if step == "#" else step for step in key) for key, numbers in groups.items()]


def _ends(paths: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Paths that differ in their last step alone as one."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for *steps, last in paths:
        groups.setdefault(tuple(steps), []).append(last)
    return [(*steps, last[0] if len(last) == 1 else f"({'|'.join(sorted(last))})") for steps, last in groups.items()]


def _any(numbers: Iterable[int]) -> str:
    """A pattern for any of some numbers: `([89]|1[0-4])` for 8 to 14."""
    tens: dict[str, list[int]] = {}
    for number in sorted(numbers):
        tens.setdefault(str(number)[:-1], []).append(number % 10)
    parts = [f"{head}{_digits(digits)}" for head, digits in tens.items()]
    return parts[0] if len(parts) == 1 else f"({'|'.join(parts)})"


def _digits(digits: list[int]) -> str:
    first, last = digits[0], digits[-1]
    if len(digits) == 1:
        return str(first)
    run = last - first + 1 == len(digits) > 2
    return f"[{first}-{last}]" if run else f"[{''.join(map(str, digits))}]"
