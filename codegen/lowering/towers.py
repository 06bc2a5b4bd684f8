"""Models within the model that text never runs through: what encodes pictures and sound, and what fits that to the decoder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from codegen.lowering.instances import absolute, collect, parameters_read, walk
from ir.graph import Module, Region
from ir.records import replace


def towers(tree: Module, root: Region, submodels: Sequence[str], ties: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Paths of modules that nothing runs and nothing reads, and that are models of their own, with what stands beside them.

    `submodels` are the paths of the models in the tree. A part that is not run but belongs to a layer that is, stays.
    """
    used: set[str] = set()
    for path, instance in collect(tree, root).items():
        if instance.methods:
            used.add(path)
        for regions in instance.methods.values():
            used |= {absolute(name, path).rpartition(".")[0] for region in regions for name in parameters_read(region)}
    alive = {"", *(above for path in used for above in _above(path))}
    for pair in ties:  # what is one tensor with a part that runs is read there
        ends = [_parent(end) for end in pair]
        if any(end in alive for end in ends):
            alive |= {above for end in ends for above in _above(end)}
    dead = [path for path, _ in walk(tree) if path not in alive and _parent(path) in alive]
    found = [path for path in dead if any(within(part, [path]) for part in submodels)]
    owners = {_parent(path) for path in found}
    return tuple(path for path in dead if _parent(path) in owners)


def without(tree: Module, paths: Sequence[str], path: str = "") -> Module:
    """The tree without the modules at `paths`."""
    kept = tuple(
        (name, without(child, paths, where))
        for name, child in tree.children
        if (where := f"{path}.{name}" if path else name) not in paths
    )
    return replace(tree, children=kept)


def stored_names(tree: Module, paths: Sequence[str], published: Callable[[str], Iterable[str]]) -> tuple[str, ...]:
    """Regular expressions for the tensors of the modules at `paths`, by the names that a checkpoint has for them."""
    held = {path: [n for tensor in _tensors(tree, path) for n in published(tensor)] for path in paths}
    others = [name for tensor in _tensors(tree, "") if not within(tensor, paths) for name in published(tensor)]
    patterns: dict[str, None] = {}
    for names in held.values():
        prefix = _common(names)
        if prefix and not any(name.startswith(prefix) for name in others):
            patterns["^" + _pattern(prefix)] = None
        else:
            patterns |= dict.fromkeys(f"^{_pattern(name)}$" for name in names)
    return tuple(patterns)


def _pattern(name: str) -> str:
    """`*` in a name stands for a number."""
    return "[0-9]+".join(re.escape(part) for part in name.split("*"))


def _tensors(tree: Module, path: str) -> Iterator[str]:
    for where, module in walk(tree):
        if not path or where == path or where.startswith(f"{path}."):
            for parameter in module.parameters:
                if not parameter.buffer or parameter.persistent:
                    yield f"{where}.{parameter.name}" if where else parameter.name


def within(path: str, paths: Sequence[str]) -> bool:
    """Whether a path is one of others, or below one."""
    return any(path == other or path.startswith(f"{other}.") for other in paths)


def _above(path: str) -> Iterator[str]:
    """A path and those of the modules that it is in."""
    steps = path.split(".")
    return (".".join(steps[:n]) for n in range(1, len(steps) + 1))


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _common(names: Sequence[str]) -> str:
    """The longest start in whole steps that names share, with its dot."""
    if not names:
        return ""
    steps = [name.split(".")[:-1] for name in names]
    shared = []
    for level in zip(*steps, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return ".".join(shared) + "." if shared else ""
