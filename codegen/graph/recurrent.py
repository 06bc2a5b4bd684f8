"""What a recurrence keeps of the tokens before: the last inputs of its convolutions, the state that it carries.

A state is zeros before the first token, so that a prompt is what comes after nothing: one trace, of new tokens after some
that have been, serves whole sequences, prompts and single steps. The operations are

    state_read name layer [x]       the state as the tokens before left it; x everywhere before the first, where not 0
    state_write name layer x        what the next call will find
    state_extend name layer x size  x [..., T] behind the last `size` inputs, which become the last of both
    state_append name layer x axis  x [B, ..., T, ...] behind that of all tokens before

A first trace on an empty cache tells shapes and types, since the source may ask for a state before it ever makes one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from codegen.graph import scalars
from codegen.graph.objects import Builtin
from codegen.graph.regions import SCAN_END, nodes_of
from codegen.graph.sizes import Sizes
from codegen.graph.tensor_ops.shapes import of_input
from codegen.graph.values import Frame, Node, Scalar, Size, Tensor, TensorValue, expr_of, value_of
from ir.expressions import Dim, Expr
from ir.graph import WRITES, DType
from ir.records import dataclass, field
from ir.spans import Span

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

READS, EXTENDS, APPENDS = "state_read", "state_extend", "state_append"
ZEROS = frozenset({"zeros", "zeros_like"})

Key = tuple[str, object]  # what it is, and of which layer
Kind = tuple[tuple[Size, ...], DType]


Makers = dict[TensorValue, tuple[Node, Frame]]


class UnknownState(Exception):
    """A state is read whose shape only a trace on an empty cache tells."""


@dataclass
class States:
    """The states of all layers in one trace. While `learning`, the cache is empty."""

    learning: bool = False
    kinds: dict[Key, Kind] = field(default_factory=dict)
    held: dict[Key, Tensor] = field(default_factory=dict)
    lengths: dict[Expr, str] = field(
        default_factory=dict
    )  # by how many inputs are kept: the axis of those and the new ones

    def kind(self, key: Key) -> Kind:
        """The shape and type of a state; layers that are copies of others have what those have."""
        if key in self.kinds:
            return self.kinds[key]
        alike = [kind for (name, _), kind in self.kinds.items() if name == key[0]]
        if not alike:
            raise UnknownState
        return alike[-1]

    def extended(self, size: Size, new: int) -> Size:
        """The length of `new` inputs behind the `size` ones before. Without a cache there are none before."""
        expr = expr_of(size)
        name = self.lengths.setdefault(expr, "W" if not self.lengths else f"W{len(self.lengths) + 1}")
        kept = value_of(size)
        assert isinstance(kept, int)
        return Scalar(new + kept, Dim(name))


def _key(kind: str, layer: Any, state_idx: Any) -> Key:
    number = value_of(state_idx)
    assert isinstance(number, int)
    return (kind if number == 0 else f"{kind}{number + 1}", value_of(layer))


def _get(kind: str) -> Builtin:
    def call(interpreter: Interpreter, args: list[Any], kwargs: dict[str, Any]) -> Any:
        given = {"state_idx": 0, **dict(zip(("layer_idx", "state_idx"), args, strict=False)), **kwargs}
        states: States = interpreter.surroundings.states
        return None if states.learning else read(interpreter, kind, given["layer_idx"], given["state_idx"])

    return Builtin(f"get_{kind}_state", call)


def read(interpreter: Interpreter, kind: str, layer: Any, state_idx: Any) -> Tensor:
    """The state as it is now."""
    states: States = interpreter.surroundings.states
    key = _key(kind, layer, state_idx)
    if key not in states.held:
        (tensor,) = interpreter.tensor_span().emit(READS, (key[0], layer), states.kind(key))
        _hold(interpreter, key, layer, tensor)
    return states.held[key]


def _hold(interpreter: Interpreter, key: Key, layer: Any, tensor: Tensor) -> None:
    """`tensor` is the state: what is written to it is written to the state."""
    interpreter.surroundings.states.held[key] = tensor
    interpreter.trace.watched[tensor] = lambda x: _write(interpreter, key, layer, x)


def _write(interpreter: Interpreter, key: Key, layer: Any, x: Tensor) -> None:
    interpreter.tensor_span().emit(WRITES, (key[0], layer, x))


def _update_conv(interpreter: Interpreter, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """New inputs [..., T] in, those behind the last `conv_kernel_size` ones out."""
    given = {**dict(zip(("conv_states", "layer_idx", "state_idx"), args, strict=False)), **kwargs}
    x, layer = given["conv_states"], given["layer_idx"]
    size = given.get("conv_kernel_size")
    if not isinstance(x, Tensor) or (size is None and of_input(x.shape[-1])):
        interpreter.unsupported("a convolution state that is given something else than inputs and how many to keep")
    states: States = interpreter.surroundings.states
    key = _key("conv", layer, given.get("state_idx", 0))
    if size is None:
        return _replace_conv(interpreter, key, layer, x)
    states.kinds[key] = ((*x.shape[:-1], size), x.dtype)
    if states.learning:
        return x
    shape = (*x.shape[:-1], states.extended(size, interpreter.surroundings.sizes.new))
    return interpreter.tensor_span().emit(EXTENDS, (key[0], layer, x, size), (shape, x.dtype))[0]


def _replace_conv(interpreter: Interpreter, key: Key, layer: Any, x: Tensor) -> None:
    """As many inputs as the state holds: they are the state. What comes back, those before and these, is for no one."""
    states: States = interpreter.surroundings.states
    if key in states.kinds and not all(map(scalars.same, states.kinds[key][0], x.shape)):
        interpreter.unsupported("a convolution state that is given as many inputs as it does not hold")
    states.kinds[key] = (x.shape, x.dtype)
    if not states.learning:
        _write(interpreter, key, layer, x)
        states.held[key] = Tensor(x.value)


def _update_recurrent(interpreter: Interpreter, args: list[Any], kwargs: dict[str, Any]) -> Any:
    given = {**dict(zip(("recurrent_states", "layer_idx", "state_idx"), args, strict=False)), **kwargs}
    x, layer = given["recurrent_states"], given["layer_idx"]
    if not isinstance(x, Tensor):
        interpreter.unsupported("a recurrent state that is no tensor")
    states: States = interpreter.surroundings.states
    key = _key("recurrent", layer, given.get("state_idx", 0))
    if states.learning:
        states.kinds[key] = (x.shape, x.dtype)
        return x
    shape, dtype = states.kind(key)
    if x.dtype is not dtype or not all(map(scalars.same, x.shape, shape)):
        interpreter.unsupported("a recurrent state whose shape or type depends on whether there were tokens before")
    _go_on(interpreter, key, layer, x)
    _write(interpreter, key, layer, x)
    states.held[key] = Tensor(x.value)
    return states.held[key]


def _update_indexer(interpreter: Interpreter, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Something of the new tokens [B, T, H] in, that of all tokens [B, S, H] out."""
    given = {**dict(zip(("indexer_key_states", "layer_idx"), args, strict=False)), **kwargs}
    x, layer = given["indexer_key_states"], given["layer_idx"]
    sizes: Sizes = interpreter.surroundings.sizes
    if not isinstance(x, Tensor) or len(x.shape) < 2 or value_of(x.shape[1]) != sizes.new:
        interpreter.unsupported("what is kept of all tokens is no tensor with an axis for them")
    shape = (x.shape[0], sizes.S, *x.shape[2:])
    return interpreter.tensor_span().emit(APPENDS, ("indexer", layer, x, 1), (shape, x.dtype))[0]


def _go_on(interpreter: Interpreter, key: Key, layer: Any, final: Tensor) -> None:
    """A loop over time that starts from zeros and leaves its last value as the state goes on from the state: the same where
    nothing was before, and what the state is for where something was.
    """
    frame = interpreter.trace.frame
    while frame.kind != "module" and frame.parent is not None:
        frame = frame.parent
    makers = {result: (node, owner) for node, owner in nodes_of(frame) for result in node.results}
    end, owner = _source(makers, final.value)
    if end is None or owner is None:
        return
    shape, dtype = interpreter.surroundings.states.kind(key)
    held: Tensor | None = interpreter.surroundings.states.held.get(key)

    def state(made: list[Node | Frame], span: Span | None) -> TensorValue:
        found = TensorValue(shape, dtype) if held is None else held.value
        if held is None:
            made.append(Node(READS, (key[0], layer), (found,), span))
        return found

    if end.op == SCAN_END:
        _start(makers, final.value, shape, dtype, state)
    elif end.op == "stack":  # of several loops, one for each part of the state
        parts, dim = end.args
        assert isinstance(parts, tuple) and isinstance(dim, int)
        dim %= len(shape)
        rest = (*shape[:dim], *shape[dim + 1 :])
        for number, part in enumerate(parts):

            def one(made: list[Node | Frame], span: Span | None, number: int = number) -> TensorValue:
                found = TensorValue(rest, dtype)
                index = (*(slice(None) for _ in range(dim)), number)
                made.append(Node("getitem", (state(made, span), index), (found,), span))
                return found

            _start(makers, part, rest, dtype, one)


def _start(
    makers: Makers,
    final: TensorValue,
    shape: tuple[Size, ...],
    dtype: DType,
    state: Callable[[list[Node | Frame], Span | None], TensorValue],
) -> None:
    """Let the loop that `final` comes from, if it starts from zeros, start from a state that is made before it."""
    end, owner = _source(makers, final)
    if end is None or owner is None or end.op != SCAN_END:
        return
    nexts = end.args[2]
    assert isinstance(nexts, tuple)
    at = end.results.index(_uncast(makers, final))
    begin = owner.body[0]
    assert isinstance(begin, Node)
    inits, *rest = begin.args
    assert isinstance(inits, tuple)
    if at >= len(nexts) or not _is_zero(makers, inits[at]):
        return
    formal = begin.results[at]
    if not all(map(scalars.same, shape, formal.shape)):
        return
    assert owner.parent is not None
    made: list[Node | Frame] = []
    value = state(made, owner.span)
    if dtype is not formal.dtype:
        cast = TensorValue(shape, formal.dtype)
        made.append(Node("cast", (value, formal.dtype), (cast,), owner.span))
        value = cast
    before = owner.parent.body.index(owner)
    owner.parent.body[before:before] = made
    begin.args = ((*inits[:at], value, *inits[at + 1 :]), *rest)


def _uncast(makers: Makers, value: TensorValue) -> TensorValue:
    while value in makers and makers[value][0].op == "cast":
        source = makers[value][0].args[0]
        assert isinstance(source, TensorValue)
        value = source
    return value


def _source(makers: Makers, value: TensorValue) -> tuple[Node | None, Frame | None]:
    return makers.get(_uncast(makers, value), (None, None))


def _is_zero(makers: Makers, value: TensorValue) -> bool:
    if value.everywhere is not None and value_of(value.everywhere) == 0:
        return True
    node, _ = _source(makers, value)
    return node is not None and node.op in ZEROS


def _has_previous(interpreter: Interpreter, args: list[Any], kwargs: dict[str, Any]) -> Any:
    return not interpreter.surroundings.states.learning


METHODS: dict[str, Any] = {
    "get_conv_state": _get("conv"),
    "get_recurrent_state": _get("recurrent"),
    "update_conv_state": Builtin("update_conv_state", _update_conv),
    "update_recurrent_state": Builtin("update_recurrent_state", _update_recurrent),
    "update_indexer": Builtin("update_indexer", _update_indexer),
    "has_previous_state": Builtin("has_previous_state", _has_previous),
    "is_recording_past": Builtin("is_recording_past", lambda *_: False),
}
