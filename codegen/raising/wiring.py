"""How a layer wires its parts: what is added back to its input, and where it normalises."""

from __future__ import annotations

from collections.abc import Callable

from codegen.raising.view import View
from ir.arch import Wiring
from ir.graph import Call, ModuleTarget, Node, Op, Operand, Region, Value


def describe(region: Region, is_norm: Callable[[str], bool]) -> Wiring:
    """The wiring of a layer's forward; `is_norm` tells normalisations by the paths that the layer calls."""
    view = View(region)
    value = view.results[0] if view.results else None
    found: list[tuple[bool, bool, bool]] = []  # of each part: norm before, norm after, norm after the sum
    inputs: list[Value] = []  # what each part starts from
    after_sum = False
    while isinstance(value, Value):
        node = view.node_of(value)
        match node:
            case Call(ModuleTarget(path), _, (Value() as inner, *_)) if is_norm(path):
                after_sum = True
                value = inner
            case Op("mul" | "cast", (Value() as inner, *_)) if not found:
                value = inner
            case Op("add", (Value() as a, Value() as b)):
                parts = _branch(view, a, b, is_norm) or _branch(view, b, a, is_norm)
                if parts is None:
                    return Wiring.OTHER
                before, after, start, value = parts
                found.append((before, after, after_sum))
                inputs.append(start)
                after_sum = False
            case _:
                break
    return _wiring(found, inputs)


def _branch(
    view: View, part: Value, rest: Value, is_norm: Callable[[str], bool]
) -> tuple[bool, bool, Value, Value] | None:
    """Of a sum: whether its part normalises first and last, what the part starts from, and the other side of the sum."""
    path: list[bool] = []  # modules from the last to the first, whether each is a norm
    value: Operand = part
    seen = 0
    while isinstance(value, Value) and seen < 64:
        seen += 1
        if path and not all(path) and _reaches(view, rest, value):
            return (path[-1] and len(path) > 1, path[0], value, rest)
        node: Node | None = view.node_of(value)
        match node:
            case Call(ModuleTarget(name), _, (Value() as inner, *_)):
                path.append(is_norm(name))
                value = inner
            case Op("mul" | "cast" | "reshape" | "getitem" | "div" | "transpose", (Value() as inner, *_)):
                value = inner
            case _:
                return None
    return None


def _reaches(view: View, stream: Value, value: Value) -> bool:
    """Whether `value` is the stream, or lies on it."""
    at: Operand = stream
    seen = 0
    while isinstance(at, Value) and seen < 64:
        seen += 1
        if at == value:
            return True
        match view.node_of(at):
            case Op("add" | "mul" | "cast", args):
                options = [arg for arg in args if isinstance(arg, Value)]
                if any(option == value for option in options):
                    return True
                at = options[0] if options else None
            case _:
                return False
    return False


def _wiring(found: list[tuple[bool, bool, bool]], inputs: list[Value]) -> Wiring:
    if not found:
        return Wiring.OTHER
    if len(inputs) > 1 and len({value.id for value in inputs}) == 1:
        return Wiring.PARALLEL
    kinds = set(found)
    if kinds == {(True, False, False)}:
        return Wiring.PRE_NORM
    if kinds == {(False, True, False)}:
        return Wiring.POST_NORM
    if kinds == {(True, True, False)}:
        return Wiring.SANDWICH
    if kinds == {(False, False, True)}:
        return Wiring.RESIDUAL_POST
    return Wiring.OTHER
