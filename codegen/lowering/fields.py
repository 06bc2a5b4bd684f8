"""Which attributes of the resolved configuration the emitted code reads, and what Config calls them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from codegen.lowering.classes import Program, holes
from ir.expressions import Expr, Key, leaves
from ir.graph import Branch, Call, Loop, Number, Op, Operand, Raised, Region, Scan, SliceOf, within

Path = tuple[str | int, ...]


def used_keys(program: Program) -> tuple[Key, ...]:
    """Every configuration key that reaches a size or a number of the program, in the order of first use."""
    found: dict[Key, None] = {}
    for made in program.plans:
        for instance in made.instances:
            for _, expr in holes(instance):
                for key in keys_in(expr):
                    found.setdefault(key)
            for regions in instance.methods.values():
                for region in regions:
                    for expr in numbers_of(region):
                        for key in keys_in(expr):
                            found.setdefault(key)
    return tuple(found)


def keys_in(expr: Expr) -> list[Key]:
    return sorted((leaf for leaf in leaves(expr) if isinstance(leaf, Key)), key=lambda key: repr(key.path))


def numbers_of(region: Region) -> Iterator[Expr]:
    """The numbers in a region and in the helper functions that it calls."""
    for node in region.nodes:
        match node:
            case Op(args=args) | Raised(args=args):
                yield from numbers_in(args)
            case Call(region=inner, args=args):
                yield from numbers_in(args)
                yield from numbers_of(inner)
            case Loop(bodies=bodies):
                for body in bodies:
                    yield from numbers_of(body)
            case Scan() | Branch():
                yield from numbers_in(node.args)
                yield node.length if isinstance(node, Scan) else node.condition
                for inner in within(node):
                    yield from numbers_of(inner)


def numbers_in(operands: Iterable[Operand]) -> Iterator[Expr]:
    """The numbers among operands, those inside tuples and slices too."""
    for operand in operands:
        match operand:
            case Number(expr):
                yield expr
            case SliceOf(start, stop, step):
                yield from numbers_in((start, stop, step))
            case tuple():
                yield from numbers_in(operand)
            case _:
                pass


def field_names(keys: Iterable[Key]) -> dict[Path, str]:
    """A name for each path: the attribute itself, or the innermost steps that tell nested ones apart."""
    names: dict[Path, str] = {}
    nested: list[Path] = []
    for key in keys:
        if len(key.path) == 1:
            names[key.path] = str(key.path[0])
        else:
            nested.append(key.path)
    for path in dict.fromkeys(nested):
        steps = [step for step in path[1:] if isinstance(step, str)]
        tail = steps if steps and len(steps) < len(path) - 1 else [step for step in path[1:]]
        short = "_".join(str(step) for step in reversed(tail)) if len(tail) > 1 else str(tail[0])
        if short in names.values() or not short.isidentifier():
            short = "_".join(str(step) for step in path)
        names[path] = short
    return names
