"""Experts that are a list of modules, all alike: one module whose parameters have an axis of experts in front.

The items of the list stay what a checkpoint holds. Once a loop over them runs for all experts at once (`pairs`), the list has
a module in its place: layers of the library in an expert become parameters of their own, because no layer takes the weights
of several; classes of the source stay what they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from codegen.graph.objects import Foreign, Instance, ModuleObject, Parameter, Partial
from codegen.graph.predicates import Kind
from codegen.graph.tensor_ops.shapes import count
from codegen.graph.values import Scalar, Size, Tensor, TensorValue, value_of
from ir.expressions import Raw, leaves
from ir.records import dataclass

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

NOT_ALIKE = "a list of modules that are not all alike, in a loop that takes the rows of one expert after the other,"


@dataclass(frozen=True, slots=True)
class Stacked:
    """`module` stands for `size` items of a list; `names` says, for the path of each of its parameters, that in an item."""

    module: ModuleObject
    size: Size
    names: dict[str, str]


class Picking(Protocol):
    """A loop that runs once for all experts."""

    views: dict[int, ModuleObject]

    def part_of(self, whole: Parameter) -> Tensor:
        """The part of a stacked parameter that belongs to the expert."""

    def dissolve(self, module: ModuleObject) -> None:
        """Let calls of a module leave no frame."""

    def refuse(self, message: str) -> Any: ...


def item(interpreter: Interpreter, modules: ModuleObject, picking: Any) -> ModuleObject:
    """The module of the expert of the loop: an item of the list, whose parameters are parts of the stacked ones."""
    if id(modules) not in picking.views:
        stacked = modules.stacked or _stack(modules, length(interpreter, modules), picking)
        first = _first(modules)
        picking.views[id(modules)] = _View(picking, stacked).of(first, stacked.module.module_path or "", "")
    view: ModuleObject = picking.views[id(modules)]
    return view


def follow(old: ModuleObject, new: ModuleObject) -> None:
    """Stack a list that is like one which is stacked."""
    if old.stacked is not None and new.stacked is None:
        _stack(new, old.stacked.size, None)


def is_library(module: ModuleObject) -> bool:
    return module.cls.module.startswith("stubs.")


def _first(modules: ModuleObject) -> ModuleObject:
    return next(module for module in modules.modules.values() if module is not None)


# ------------------------------------------------------------------------------------------------------- the tree


def parameters(module: ModuleObject) -> dict[str, Parameter | None]:
    """The parameters of a module, those of its lists of layers that are stacked among them."""
    found = dict(module.parameters)
    for name, child in module.modules.items():
        if child is not None and child.stacked is not None and is_library(child.stacked.module):
            found |= {_leaf(name, inner): p for inner, p in child.stacked.module.parameters.items()}
    return found


def children(module: ModuleObject) -> dict[str, ModuleObject | None]:
    """The modules below a module, with one for every list that is stacked."""
    return {
        name: child if child is None or child.stacked is None else child.stacked.module
        for name, child in module.modules.items()
        if child is None or child.stacked is None or not is_library(child.stacked.module)
    }


def templates(module: ModuleObject) -> Iterator[tuple[str, str, int]]:
    """For every stacked parameter below a module: its path, that of its items with `*` for the number, how many there are."""
    for child in module.modules.values():
        if child is None:
            continue
        if child.stacked is None:
            yield from templates(child)
            continue
        path, owned = child.module_path, child.stacked
        for name, inner in owned.names.items():
            where = f"{path}.{name}"
            if is_library(owned.module):
                where = _leaf(str(path), name)
            yield where, f"{path}.*.{inner}", count(owned.size)


def _leaf(module: str, parameter: str) -> str:
    """What a parameter of a layer is called where the layer is none."""
    return module if parameter == "weight" else f"{module}_{parameter}"


# -------------------------------------------------------------------------------------------------------- stacking


def _stack(modules: ModuleObject, size: Size, picking: Any) -> Stacked:
    first, *others = (module for module in modules.modules.values() if module is not None)
    if picking is not None and not all(_alike(first, other) for other in others):
        picking.refuse(NOT_ALIKE)
    names: dict[str, str] = {}
    made = _stacked(first, modules.module_path or "", size, "", "", names)
    stacked = modules.stacked = Stacked(made, size, names)
    return stacked


def _stacked(
    module: ModuleObject, path: str, size: Size, mine: str, source: str, names: dict[str, str]
) -> ModuleObject:
    made = ModuleObject(module.cls, module.dict, span=module.span, module_path=path)
    for name, parameter in module.parameters.items():
        made.parameters[name] = None if parameter is None else _wide(parameter, size)
        if parameter is not None:
            names[f"{mine}{name}"] = f"{source}{name}"
    for name, child in module.modules.items():
        if child is None or not any(True for _ in _held(child)):
            made.modules[name] = None if child is None else _moved(child, f"{path}.{name}")
        elif is_library(child):
            for inner, parameter in _held(child):
                flat = _flat(f"{name}.{inner}", module)
                made.parameters[flat] = _wide(parameter, size)
                names[f"{mine}{flat}"] = f"{source}{name}.{inner}"
        else:
            made.modules[name] = _stacked(child, f"{path}.{name}", size, f"{mine}{name}.", f"{source}{name}.", names)
    return made


def _flat(path: str, owner: ModuleObject) -> str:
    """A name for a parameter of a layer in an expert: `up` for `up.weight`, `net_0_bias` for `net.0.bias`."""
    layer, _, name = path.rpartition(".")
    made = _leaf(layer.replace(".", "_"), name)
    return f"{made}_{name}" if made in owner.parameters else made


def _held(module: ModuleObject, path: str = "") -> Iterator[tuple[str, Parameter]]:
    """The parameters of a module and of those below, by path."""
    yield from ((f"{path}{name}", p) for name, p in module.parameters.items() if p is not None)
    for name, child in module.modules.items():
        if child is not None:
            yield from _held(child, f"{path}{name}.")


def _moved(module: ModuleObject, path: str) -> ModuleObject:
    """A module without parameters, elsewhere."""
    children = {n: None if child is None else _moved(child, f"{path}.{n}") for n, child in module.modules.items()}
    return ModuleObject(module.cls, module.dict, modules=children, module_path=path, span=module.span)


def _wide(parameter: Parameter, size: Size) -> Parameter:
    value = TensorValue((size, *parameter.shape), parameter.dtype)
    return Parameter(value, requires_grad=parameter.requires_grad, start=parameter.start)


@dataclass(slots=True)
class _View:
    """An item of a list as one turn of the loop has it."""

    picking: Picking
    stacked: Stacked

    def of(self, module: ModuleObject, path: str, source: str, flat: bool = False) -> ModuleObject:
        flat = flat or (is_library(module) and any(True for _ in _held(module)))
        made = ModuleObject(module.cls, module.dict, span=module.span, module_path=path)
        for name, parameter in module.parameters.items():
            whole = None if parameter is None else self.whole(f"{source}{name}")
            made.parameters[name] = None if whole is None else self.picking.part_of(whole)  # type: ignore[assignment]
        for name, child in module.modules.items():
            inside = path if flat else f"{path}.{name}"
            made.modules[name] = None if child is None else self.of(child, inside, f"{source}{name}.", flat)
        if flat:
            self.picking.dissolve(made)
        return made

    def whole(self, source: str) -> Parameter:
        mine = next(name for name, inner in self.stacked.names.items() if inner == source)
        module, *steps = self.stacked.module, *mine.split(".")
        for step in steps[:-1]:
            inner = module.modules[step]
            assert inner is not None
            module = inner
        parameter = module.parameters[steps[-1]]
        assert parameter is not None
        return parameter


# ------------------------------------------------------------------------------------------------------------ alike


def _alike(a: ModuleObject, b: ModuleObject) -> bool:
    """Whether two modules differ in nothing but the numbers that a checkpoint holds."""
    if a.cls is not b.cls or a.buffers or b.buffers or a.dict.keys() != b.dict.keys():
        return False
    if a.parameters.keys() != b.parameters.keys() or a.modules.keys() != b.modules.keys():
        return False
    weights = zip(a.parameters.values(), b.parameters.values(), strict=True)
    inner = zip(a.modules.values(), b.modules.values(), strict=True)
    return (
        all(_same_form(p, q) for p, q in weights)
        and all(_same_value(value, b.dict[name]) for name, value in a.dict.items())
        and all((p is None) is (q is None) and (p is None or q is None or _alike(p, q)) for p, q in inner)
    )


def _same_form(a: Parameter | None, b: Parameter | None) -> bool:
    if a is None or b is None:
        return a is b
    sizes = [tuple(map(value_of, tensor.shape)) for tensor in (a, b)]
    return sizes[0] == sizes[1] and a.dtype is b.dtype and a.requires_grad is b.requires_grad and a is not b


def _same_value(a: Any, b: Any) -> bool:
    match a, b:
        case Scalar(), Scalar():
            return a.value == b.value
        case (ModuleObject(), ModuleObject()):
            return _alike(a, b)
        case (tuple(), tuple()) | (list(), list()):
            return len(a) == len(b) and all(map(_same_value, a, b))
        case (dict(), dict()):
            return a.keys() == b.keys() and all(_same_value(value, b[key]) for key, value in a.items())
        case (Partial(), Partial()):
            return _same_value((a.function, a.args, a.kwargs), (b.function, b.args, b.kwargs))
        case (Tensor() | Foreign() | Instance(), _):
            return a is b
        case _:
            return type(a) is type(b) and bool(a == b)


def length(interpreter: Interpreter, modules: ModuleObject) -> Size:
    """How many items a list has, over the configuration: what was counted where it was made."""
    length = len(modules.modules)
    near: list[tuple[int, Scalar]] = []
    for predicate in interpreter.predicates.all():
        place, made = predicate.span, modules.span
        raw = any(isinstance(leaf, Raw) for leaf in leaves(predicate.expr))
        if predicate.kind is not Kind.COUNT or predicate.value != length or raw or place is None or made is None:
            continue
        if place.file == made.file:
            inside = made.line <= place.line and place.end_line <= made.end_line
            near.append((0 if inside else 1 + abs(place.line - made.line), Scalar(length, predicate.expr)))
    return min(near, key=lambda found: found[0], default=(0, length))[1]
