"""The map of an emitted package: which tensors of the Hub make which parameter, and where each framework keeps it.

It is the package's own `weights.py`, so that converting and loading cannot disagree. What its functions take depends on what
the model needs: each is given what it asks for.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from codegen.diagnostics import CompileError, Diagnostic, printable
from codegen.weights.data import Index, Shape
from ir.records import dataclass


@dataclass(frozen=True, slots=True)
class Piece:
    """What a parameter shares with a tensor of the Hub: an index of either."""

    name: str
    shape: Shape
    inside: Index = ()
    taken: Index = ()
    swapped: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Row:
    """A parameter: its paths, its shape in either framework, the tensors that hold it."""

    path: str
    flax_path: str
    shape: Shape
    pieces: tuple[Piece, ...]
    made: Any  # the package's own


class Table:
    """What `weights.py` of a package says of one configuration. `held`: the shapes of the checkpoint's tensors."""

    def __init__(self, weights: ModuleType, config: Any, held: Mapping[str, Shape]) -> None:
        self.weights, self.config = weights, config
        names = {*self._call("tensors", held={}), *getattr(weights, "TIED", ())}
        known = getattr(weights, "table_name", lambda name, wanted: name)
        self.called = {name: known(name, names) for name in held}  # by the name that the checkpoint has
        self.held = {self.called[name]: list(shape) for name, shape in held.items()}

    def _call(self, name: str, **known: Any) -> Any:
        function: Callable[..., Any] = getattr(self.weights, name)
        given = {"cfg": self.config, **known}
        return function(**{key: given[key] for key in inspect.signature(function).parameters if key in given})

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """Every parameter, in the order of the table."""
        return tuple(self._rows())

    def _rows(self) -> Iterator[Row]:
        sizes: dict[int, dict[str, int]] = {}
        for made in self._call("rows"):
            layer = made.layer or 0
            if layer not in sizes:
                sizes[layer] = self._call("sizes", layer=layer)
            shape = self.weights.shape_of(made.axes, sizes[layer])
            yield Row(made.path, made.flax_path, tuple(shape), tuple(self._pieces(made, shape)), made)

    def _pieces(self, made: Any, shape: list[int]) -> Iterator[Piece]:
        if not hasattr(self.weights, "pieces"):
            yield Piece(getattr(made, "name", made.path), tuple(shape))
            return
        for one in self._call("pieces", stored=made.stored, shape=shape, held=self.held):
            taken, swapped = getattr(one, "taken", ()), getattr(one, "swapped", (0, 0))
            yield Piece(one.name, tuple(one.shape), tuple(one.inside), tuple(taken), tuple(swapped))

    @cached_property
    def ties(self) -> Mapping[str, str]:
        """Tensors that are one with others: name -> the other."""
        if hasattr(self.weights, "tied"):
            return dict(self._call("tied"))
        own = {piece.name for row in self.rows for piece in row.pieces}
        return {alias: target for alias, target in getattr(self.weights, "TIED", {}).items() if alias not in own}

    def ignores(self, name: str) -> bool:
        """Whether a checkpoint may hold a tensor that no model reads."""
        return any(re.search(pattern, name) for pattern in getattr(self.weights, "IGNORED", ()))

    def place(self, row: Row, scanned: bool) -> tuple[str, int | None]:
        """Where Flax lists a parameter, and its index along the first axis where layers are stacked."""
        path, index = self._call("flax_place", row=row.made, stacked=scanned)
        return self._listed_first.get(path, path), index

    @property
    def stacked_length(self) -> int:
        return int(self._call("stacked_length"))

    @cached_property
    def _listed_first(self) -> Mapping[str, str]:
        """Flax lists a parameter that several have where it finds it first: it goes through attributes by name."""
        own = {row.flax_path for row in self.rows}
        aliases = {**getattr(self.weights, "FLAX_TIED", {})} if self.ties else {}
        if hasattr(self.weights, "shared_rows"):
            aliases |= {one.flax_path: other.flax_path for one, other in self._call("shared_rows")}
        out: dict[str, str] = {}
        for alias, target in aliases.items():
            if alias not in own:
                out[target] = min(out.get(target, target), alias, key=_order)
        return out


def _order(path: str) -> list[tuple[int, int, str]]:
    return [(0, int(step), "") if step.isdigit() else (1, 0, step) for step in path.split(".")]


def load_table(folder: Path, config: Mapping[str, object], held: Mapping[str, Shape]) -> Table:
    """The table of an emitted package for a configuration.

    Raises:
        CompileError: `config-refused` where the package does not serve it, `not-a-package` where it is of an older kind.
    """
    name = f"emitted_{folder.name}_{len(sys.modules)}"
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[name] = package
    spec.loader.exec_module(package)
    weights = _submodule(name, folder, "weights")
    if not hasattr(weights, "shape_of"):
        raise CompileError(Diagnostic("not-a-package", f"{folder} was emitted by another version: regenerate it"))
    try:
        made = package.Config.from_hf(dict(config))
    except ValueError as error:
        raise CompileError(Diagnostic("config-refused", printable(str(error), 500))) from None
    return Table(weights, made, held)


def _submodule(package: str, folder: Path, module: str) -> ModuleType:
    name = f"{package}.{module}"
    spec = importlib.util.spec_from_file_location(name, folder / f"{module}.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made
