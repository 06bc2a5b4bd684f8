"""What layers keep of the tokens before beyond keys and values, in the words of the field; and in which order modules run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from codegen.lowering.instances import Instance
from codegen.lowering.states import KEYS, State
from ir.expressions import Const, Key, leaves
from ir.graph import Branch, Call, Loop, ModuleTarget, Number, Op, Operand, Region, Scan, Value, within
from ir.records import dataclass


@dataclass(frozen=True, slots=True)
class Recurrence:
    """What some layers have, which mixes tokens by what it keeps of those before."""

    name: str
    layers: tuple[int, ...]


DELTA, GATED_DELTA, SPACE, OTHER = "the delta rule", "the gated delta rule", "a state space", "a recurrence"
CONVOLUTION = "a short convolution"


def recurrences(instances: Mapping[str, Instance], states: Sequence[Sequence[State]]) -> tuple[Recurrence, ...]:
    """What the layers have, each with its layers; `states` are those of every layer."""
    found: dict[str, list[int]] = {}
    for layer, held in enumerate(states):
        own = [state for state in held if state.name not in KEYS]
        convolves = any(node.name == "conv1d" for region in _regions(instances, layer) for node in _ops(region))
        scans = list(_scans(instances, layer))
        carried = [state for state in own if not (convolves and _rolls(state, scans))]
        names = [_rule(scans, carried)] if carried and _recurs(instances, layer) else []
        names += [CONVOLUTION] if convolves and len(carried) < len(own) else []
        if names:
            found.setdefault(" with ".join(names), []).append(layer)
    return tuple(Recurrence(name, tuple(layers)) for name, layers in found.items())


def _rolls(state: State, scans: Sequence[Scan]) -> bool:
    """Whether a state is the last inputs of a convolution: one row for every channel, which no loop over time carries."""
    first = (param for scan in scans for param in scan.body.params[: scan.carries] if isinstance(param, Value))
    return len(state.shape) == 3 and state.shape[1:] not in [value.shape[1:] for value in first]


def _recurs(instances: Mapping[str, Instance], layer: int) -> bool:
    """Whether states are carried along, and not what attention selects tokens by."""
    reads = ("state_read", "state_write")
    return any(node.name in reads for region in _regions(instances, layer) for node in _ops(region))


def _rule(scans: Sequence[Scan], carried: Sequence[State]) -> str:
    if any(_corrects(scan) for scan in scans):
        return GATED_DELTA if any(map(_decays, scans)) else DELTA
    keys = (leaf for state in carried for size in state.shape[1:] for leaf in leaves(size))
    return SPACE if any(isinstance(key, Key) and "state" in str(key.path[-1]) for key in keys) else OTHER


def _corrects(scan: Scan) -> bool:
    """Whether what a step brings is compared to what the state has for it: a difference with a product of the state."""
    carried = {v.id for v in scan.body.params[: scan.carries] if isinstance(v, Value)}
    touched, product = set(carried), set[int]()
    for node in scan.body.nodes:
        read = {value.id for value in _values(node.args)} if not isinstance(node, Loop) else set()
        if not read & touched:
            continue
        touched |= {value.id for value in node.results}
        if isinstance(node, Op) and node.name in ("matmul", "sum", "einsum"):
            product |= {value.id for value in node.results}
        elif isinstance(node, Op) and node.name == "sub":
            first, second = ({v.id for v in _values((arg,))} for arg in node.args[:2])
            if second & product and not first & touched:
                return True
        elif (
            read & product and isinstance(node, Op) and node.name in ("cast", "unsqueeze", "squeeze", "reshape", "mul")
        ):
            product |= {value.id for value in node.results}
    return False


def _decays(scan: Scan) -> bool:
    """Whether the state itself is multiplied, by more than a correction."""
    carried = {v.id for v in scan.body.params[: scan.carries] if isinstance(v, Value)}
    muls = [node for node in scan.body.nodes if isinstance(node, Op) and node.name == "mul"]
    direct = [node for node in muls if {v.id for v in _values(node.args)} & carried]
    summed = {v.id for n in scan.body.nodes if isinstance(n, Op) and n.name == "sum" for v in _values(n.args)}
    return any(node.results[0].id not in summed for node in direct)


def _scans(instances: Mapping[str, Instance], layer: int) -> Iterator[Scan]:
    for region in _regions(instances, layer):
        yield from (node for node in _nodes(region) if isinstance(node, Scan))


def _regions(instances: Mapping[str, Instance], layer: int) -> Iterator[Region]:
    """What the modules of a layer run."""
    for path, instance in instances.items():
        if next((int(part) for part in path.split(".") if part.isdigit()), None) == layer:
            for regions in instance.methods.values():
                yield from regions


def _ops(region: Region) -> Iterator[Op]:
    return (node for node in _nodes(region) if isinstance(node, Op))


def _nodes(region: Region) -> Iterator[object]:
    for node in region.nodes:
        yield node
        if isinstance(node, Call):
            yield from _nodes(node.region)
        elif isinstance(node, (Loop, Scan, Branch)):
            for inner in within(node):
                yield from _nodes(inner)


def _values(operands: Sequence[Operand]) -> Iterator[Value]:
    for operand in operands:
        if isinstance(operand, Value):
            yield operand
        elif isinstance(operand, tuple):
            yield from _values(operand)


def order_of_calls(region: Region) -> tuple[str, ...]:
    """The paths of all modules in the order in which they are first called; of a list, one of every kind."""
    return tuple(dict.fromkeys(_called(region, "")))


def _called(region: Region, owner: str) -> Iterator[str]:
    for node in region.nodes:
        match node:
            case Call(ModuleTarget(path), inner):
                where = path[1:] if path.startswith("^") else f"{owner}.{path}".strip(".")
                yield where
                yield from _called(inner, where)
            case Op("parameter", (Number(Const(str() as path)), *_)) if "." in path:  # of a module that is not called
                yield f"{owner}.{path}".strip(".").rpartition(".")[0]
            case Call(_, inner):
                yield from _called(inner, owner)
            case Loop():
                for kind, body in enumerate(node.bodies):
                    index = str(node.kinds.index(kind)) if kind in node.kinds else "0"
                    yield from (path.replace("{}", index, 1) for path in _called(body, owner))
            case Scan() | Branch():
                for inner in within(node):
                    yield from _called(inner, owner)
            case _:
                pass
