"""Tracing `forward`: a batch of new tokens after some that are in the cache, with every size symbolic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from codegen.diagnostics import CompileError, Diagnostic
from codegen.graph.construction import Built, module_tree
from codegen.graph.objects import ModuleObject
from codegen.graph.regions import freeze, nodes_of
from codegen.graph.replay import Recordings
from codegen.graph.state import B, KeyValueCache, Mask, S, Surroundings, T
from codegen.graph.values import Frame, Node, Tensor, TensorValue
from ir.graph import DType, Module, Parameter, Region


@dataclass(frozen=True)
class Traced:
    """A model as it runs: its modules, what happens to the tokens, and what its top region takes, by name."""

    tree: Module
    region: Region
    inputs: tuple[str, ...]  # names of the region's parameters: "ids", "positions", "valid" or a mask's name
    masks: tuple[Mask, ...]
    constants: frozenset[str]  # paths of tensors that are computed from the configuration

    @property
    def mask_parameters(self) -> tuple[int, ...]:
        """Which parameters of the region are masks."""
        names = {mask.name for mask in self.masks}
        return tuple(at for at, name in enumerate(self.inputs) if name in names)

    @property
    def both_ways(self) -> tuple[int, ...]:
        """Which of them hide no later tokens."""
        names = {mask.name for mask in self.masks if not mask.causal}
        return tuple(at for at, name in enumerate(self.inputs) if name in names)


def trace_forward(built: Built, *, replay: bool = True) -> Traced:
    """Run `forward` of the top module once; with `replay`, layers that are alike are run once and copied.

    Raises:
        CompileError: something in it has no meaning here.
    """
    interpreter, model = built.interpreter, built.model
    trace = interpreter.trace
    made = list(trace.root.body)  # what filled the buffers
    surroundings = interpreter.surroundings = Surroundings()
    ids = Tensor(TensorValue((B, T), DType.INT64))
    positions = Tensor(TensorValue((B, T), DType.INT64))
    valid = Tensor(TensorValue((B, S), DType.INT64))
    parameters = _parameters(model)
    trace.default_dtype = DType.FLOAT32
    interpreter.framing = True
    interpreter.recordings = Recordings() if replay else None
    held = _held(model)
    output = interpreter.call_module(model, [], _arguments(built, ids, positions, valid))
    _restore(held)
    interpreter.framing = False
    logits = _logits(interpreter, output)
    frame = next(f for f in trace.root.body if isinstance(f, Frame) and f.kind == "module" and f.module_path == "")
    region = freeze(frame, [logits.value], parameters, _constants(model))
    names = {ids.value: "ids", positions.value: "positions", valid.value: "valid"}
    names |= {value: mask.name for mask, value in surroundings.masks.items()}
    takes = _takes(frame, logits.value, parameters)
    unknown = [value for value in takes if value not in names]
    if unknown:
        raise CompileError(Diagnostic("hidden-state", "forward reads a tensor that is neither an input nor a parameter"))
    inputs = tuple(names[value] for value in takes)
    masks = tuple(mask for mask, value in surroundings.masks.items() if value in takes)
    tree, constants = _with_constants(module_tree(built), model, parameters, made)
    return Traced(tree, region, inputs, masks, constants)


def _arguments(built: Built, ids: Tensor, positions: Tensor, valid: Tensor) -> dict[str, Any]:
    """What `forward` is called with, as far as it knows the parameters."""
    from codegen.graph import classes
    from codegen.graph.objects import Function

    method = classes.find(built.interpreter, built.model.cls, "forward")
    assert isinstance(method, Function)
    node = method.node.args
    known = {a.arg for a in [*node.posonlyargs, *node.args, *node.kwonlyargs]}
    arguments = {
        "input_ids": ids,
        "attention_mask": valid,
        "position_ids": positions,
        "past_key_values": KeyValueCache(),
        "use_cache": True,
    }
    passes_on = node.kwarg is not None
    return {name: value for name, value in arguments.items() if name in known or (passes_on and name == "position_ids")}


def _logits(interpreter: Any, output: Any) -> Tensor:
    if isinstance(output, Tensor):
        return output
    if isinstance(output, (tuple, list)):
        return next(item for item in output if isinstance(item, Tensor))
    logits = interpreter.getattr(output, "logits")
    assert isinstance(logits, Tensor)
    return logits


def _parameters(model: ModuleObject) -> dict[TensorValue, list[str]]:
    """Paths of every tensor that a module holds: parameters, buffers, and plain attributes."""
    paths: dict[TensorValue, list[str]] = {}
    for path, module in _modules(model, ""):
        for name, tensor in _tensors(module):
            paths.setdefault(tensor.value, []).append(f"{path}.{name}" if path else name)
    return paths


def _tensors(module: ModuleObject) -> Iterator[tuple[str, Tensor]]:
    for source in (module.parameters, module.buffers, module.dict):
        for name, value in source.items():
            if isinstance(value, Tensor):
                yield name, value


def _constants(model: ModuleObject) -> frozenset[TensorValue]:
    """Tensors that modules hold and no checkpoint does."""
    return frozenset(
        tensor.value
        for _, module in _modules(model, "")
        for name, tensor in _tensors(module)
        if name not in module.parameters and (name in module.transient or name in module.dict)
    )


def _modules(module: ModuleObject, path: str) -> Iterator[tuple[str, ModuleObject]]:
    yield path, module
    for name, child in module.modules.items():
        if child is not None:
            yield from _modules(child, f"{path}.{name}" if path else name)


Held = list[tuple[dict[str, Any], dict[str, Any], list[tuple[Tensor, TensorValue]]]]


def _held(model: ModuleObject) -> Held:
    """What every module holds: slots, what is in them, and the values of the tensors among that."""
    slots = [slot for _, m in _modules(model, "") for slot in (m.parameters, m.buffers, m.dict)]
    return [(s, dict(s), [(t, t.value) for t in s.values() if isinstance(t, Tensor)]) for s in slots]  # type: ignore[misc]


def _restore(held: Held) -> None:
    """Take back what `forward` wrote into its modules: the next call starts from what the constructor made."""
    for slot, content, values in held:
        slot.clear()
        slot.update(content)
        for tensor, value in values:
            tensor.value = value


def _takes(frame: Frame, logits: TensorValue, parameters: dict[TensorValue, list[str]]) -> tuple[TensorValue, ...]:
    from codegen.graph.regions import inputs_of

    return inputs_of(frame, [logits], parameters)


# ------------------------------------------------------------------------------------------------------ constants


def _with_constants(
    tree: Module, model: ModuleObject, parameters: dict[TensorValue, list[str]], made: list[Node | Frame]
) -> tuple[Module, frozenset[str]]:
    """The tree with, for every tensor that no checkpoint holds, the code that computes it."""
    setup = Frame("function", "constants", None, None, None, body=made)
    defined = {result for node, _ in nodes_of(setup) for result in node.results}
    flat = Frame("module", "constants", "", None, None, body=[node for node, _ in nodes_of(setup)])
    constants: set[str] = set()

    def visit(node: Module, source: ModuleObject, path: str) -> Module:
        stored = {p.name: p for p in node.parameters}
        fills: list[Parameter] = []
        for name, tensor in _tensors(source):
            where = f"{path}.{name}" if path else name
            transient = name not in source.parameters and (name in source.transient or name in source.dict)
            known = stored.get(name)
            if not transient:
                if known is not None:
                    fills.append(known)
                continue
            if tensor.value not in defined:
                continue
            region = freeze(flat, [tensor.value], {})
            constants.add(where)
            shape = known.shape if known is not None else tuple(_expr(size) for size in tensor.shape)
            fills.append(Parameter(name, shape, tensor.dtype, buffer=True, persistent=False, fill=region))
        order = [p for p in node.parameters if p.name not in {f.name for f in fills}]
        children = tuple(
            (name, visit(child, source.modules[name], f"{path}.{name}" if path else name))  # type: ignore[arg-type]
            for name, child in node.children
        )
        return replace(node, parameters=(*fills, *order), children=children)

    return visit(tree, model, ""), frozenset(constants)


def _expr(size: Any) -> Any:
    from codegen.graph.values import expr_of

    return expr_of(size)


