"""What Flax calls parameters: `kernel`, `embedding` and `scale`, by what is done with them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from codegen.lowering.classes import Program
from codegen.lowering.flax_dialect import LEAVES
from codegen.lowering.matrices import Use, scales, uses_of
from ir.graph import Parameter, Region

WEIGHT = "weight"


class Leaves:
    """The names of the parameters of a program; `taken` are those of what else modules hold, numbers of the configuration."""

    def __init__(self, program: Program, taken: Collection[str]) -> None:
        self.program, self.taken = program, frozenset(taken)
        self.known: dict[int, str] = {}  # by class: its word for its weight

    def of(self, owner: str, parameter: str) -> str:
        """The name of a parameter of the module at a path."""
        if parameter != WEIGHT:
            return parameter
        kind = self.program.instances[owner].module.kind
        if kind:
            return LEAVES.get(kind, parameter)
        made = self.program.by_path.get(owner)
        if made is None:
            return parameter
        if id(made) not in self.known:
            module = made.example.module
            held = {*self.taken, *made.parameters, *(p.name for p in module.parameters), *dict(module.children)}
            regions = [region for regions in made.example.methods.values() for region in regions]
            weight = next((p for p in module.parameters if p.name == WEIGHT), None)
            word = _word(weight, regions) if weight is not None else WEIGHT
            self.known[id(made)] = word if word not in held else WEIGHT
        return self.known[id(made)]

    def path(self, path: str) -> str:
        """The path of a parameter."""
        owner, _, parameter = path.rpartition(".")
        leaf = self.of(owner, parameter)
        return f"{owner}.{leaf}" if owner else leaf


def _word(weight: Parameter, regions: Iterable[Region]) -> str:
    if len(weight.shape) == 1:
        return "scale" if scales(weight.name, regions) else WEIGHT
    uses = uses_of(weight.name, regions, in_any_type=True) if len(weight.shape) == 2 else frozenset()
    if uses == {Use.EMBEDDING}:
        return "embedding"
    return "kernel" if uses and Use.EMBEDDING not in uses else WEIGHT
