"""What a forward pass shares with its surroundings: the cache, the masks, the attention function. None of it is traced into."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from codegen.graph import counting, rearranging
from codegen.graph.dispatch import AttentionFunctions
from codegen.graph.kept import Kept
from codegen.graph.library import EXTERNALS, Intrinsic
from codegen.graph.objects import Builtin, Foreign
from codegen.graph.recurrent import METHODS, States
from codegen.graph.scalars import apply
from codegen.graph.sizes import USUAL, Sizes
from codegen.graph.values import Scalar, Tensor, TensorValue, expr_of, value_of
from ir.expressions import Apply, Const, Dim, Expr, leaves
from ir.graph import DType
from ir.records import dataclass, field

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter


@dataclass(frozen=True, slots=True)
class Mask:
    """Which tokens attend to which: all earlier ones, perhaps the later ones too, less than a window away or within a chunk."""

    causal: bool = True
    window: Expr | None = None
    chunk: Expr | None = None

    @property
    def name(self) -> str:
        kind = "sliding_" if self.window is not None else "chunk_" if self.chunk is not None else ""
        return f"{kind}mask" if self.causal else f"{kind}bidirectional_mask"


@dataclass(frozen=True, slots=True)
class World:
    """Inputs that a source asks about: of one new token, without padding."""

    one: bool = False
    whole: bool = False


@dataclass
class Absence:
    """What was asked of whether masks are there, and whether the answer is for an input that they hide nothing from."""

    optional: dict[TensorValue, World] = field(default_factory=dict)  # by mask, where the source has none
    asked: list[World] = field(default_factory=list)
    answers: World | None = None  # for which questions are answered; None for all inputs


@dataclass
class Surroundings:
    """What a trace asked of its surroundings: masks, by what they mean, and states. Without a cache, all tokens are new."""

    cached: bool = True
    sizes: Sizes = USUAL
    masks: dict[Mask, TensorValue] = field(default_factory=dict)
    ids: TensorValue = field(init=False)
    limits: dict[Expr, None] = field(default_factory=dict)  # how many new tokens the path that was traced is for
    parts: dict[Expr, None] = field(default_factory=dict)  # how many new tokens the source takes at once
    filled: frozenset[object] = frozenset()  # slots of the cache that are said to hold something
    asked: set[object] = field(default_factory=set)  # those that the source asked about
    positions: TensorValue = field(init=False)
    fresh: TensorValue = field(init=False)  # new tokens but for padding
    states: States = field(default_factory=lambda: States())
    kept: Kept | None = None  # what the source keeps in objects of its own
    absence: Absence = field(default_factory=Absence)  # masks that the source leaves out where they hide nothing
    valid: TensorValue | None = None  # which of all tokens are no padding
    sketch: bool = False  # only what a call leaves for the next one is asked for
    begins: bool = False  # questions about how much is in the cache are answered as if that were nothing
    asked_whether_empty: bool = False  # whether any answer depends on that
    forms: tuple[str, ...] = ()  # what the model says of other forms of attention that the library has for it

    def __post_init__(self) -> None:
        shape = (self.sizes.B, self.sizes.T)
        self.ids, self.positions, self.fresh = (TensorValue(shape, DType.INT64) for _ in range(3))

    def mask(self, description: Mask) -> Tensor:
        if description not in self.masks:
            new = self.sizes.T
            shape = (self.sizes.B, 1, new, self.sizes.S if self.cached else new)
            self.masks[description] = TensorValue(shape, DType.MODEL)
        return Tensor(self.masks[description])


class KeyValueCache(Foreign):
    """A cache of keys and values with one slot a layer."""

    classes = ("transformers.cache_utils.Cache", "transformers.cache_utils.DynamicCache")
    stateless = True

    def get(self, interpreter: Interpreter, name: str) -> Any:
        method = _CACHE_METHODS.get(name)
        if method is None:
            raise KeyError(name)
        return method if not isinstance(method, Builtin) else Builtin(name, method.call)

    def length(self, interpreter: Interpreter) -> Any:
        return 1

    def item(self, interpreter: Interpreter, index: Any) -> Any:
        interpreter.unsupported("what a layer keeps, taken out of a cache by its number")

    def iterate(self, interpreter: Interpreter) -> Any:
        interpreter.unsupported("what the layers keep, taken out of a cache one after the other")


class CacheLayers(Foreign):
    """The slots of a cache, as many as are asked for."""

    stateless = True

    def item(self, interpreter: Interpreter, index: Any) -> Any:
        return CacheLayer(value_of(index))

    def length(self, interpreter: Interpreter) -> Any:
        return _MANY


_MANY = 1 << 16


@dataclass(eq=False)
class CacheLayer(Foreign):
    """One slot, which holds something if a trace before this one filled it."""

    index: object

    def get(self, interpreter: Interpreter, name: str) -> Any:
        if name == "keys":
            return CacheContent()
        if name != "is_initialized":
            raise KeyError(name)
        interpreter.surroundings.asked.add(self.index)
        return self.index in interpreter.surroundings.filled


class CacheContent(Foreign):
    """What is in a slot that is filled: something."""

    def get(self, interpreter: Interpreter, name: str) -> Any:
        if name != "numel":
            raise KeyError(name)
        return Builtin(name, lambda _, args, kwargs: 1)


def _update(interpreter: Interpreter, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Keys and values [B, K, T, H] of the new tokens in, those of all tokens [B, K, S, H] out."""
    names = ("key_states", "value_states", "layer_idx", "cache_kwargs")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    key, value, layer = given["key_states"], given["value_states"], given["layer_idx"]
    if not isinstance(key, Tensor) or not isinstance(value, Tensor) or len(key.shape) != 4 or len(value.shape) != 4:
        interpreter.unsupported("the cache is given something else than keys and values [B, K, T, H]")
    total = interpreter.surroundings.sizes.S
    shapes = [((*t.shape[:2], total, t.shape[3]), t.dtype) for t in (key, value)]
    return interpreter.tensor_span().emit("cache_update", (key, value, layer), *shapes)


def _length(interpreter: Interpreter, args: list[Any], kwargs: dict[str, Any]) -> Any:
    return interpreter.surroundings.sizes.P


def _fresh(interpreter: Interpreter, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """The mask of a recurrence: which of the new tokens are no padding."""
    given = {**dict(zip(_MASK_PARAMETERS, args, strict=False)), **kwargs}
    return None if given.get("attention_mask") is None else Tensor(interpreter.surroundings.fresh)


def _mask_sizes(interpreter: Interpreter, args: list[Any], kwargs: dict[str, Any]) -> Any:
    return (interpreter.surroundings.sizes.S, 0)


_CACHE_METHODS: dict[str, Any] = {
    "update": Builtin("update", _update),
    "get_seq_length": Builtin("get_seq_length", _length),
    "get_query_offset": Builtin("get_query_offset", _length),
    "get_mask_sizes": Builtin("get_mask_sizes", _mask_sizes),
    **METHODS,
    "is_compileable": False,
    "is_initialized": True,
    "is_sliding": (),
    "layers": CacheLayers(),
}


METHODS_OF_CACHES: dict[str, Builtin] = {}
"""By name, what stands for methods of the class of caches."""


def _mask_helper(describe: Callable[[Interpreter, Any], Mask]) -> Intrinsic:
    """A mask helper of the library, as a description."""

    def call(interpreter: Interpreter, args: list[Any], kwargs: dict[str, Any]) -> Any:
        given = {**dict(zip(_MASK_PARAMETERS, args, strict=False)), **kwargs}
        for name in ("and_mask_function", "block_sequence_ids"):
            if given.get(name) is not None and not (name == "block_sequence_ids" and _no_blocks(given[name])):
                interpreter.unsupported(
                    f"a mask with `{name}`", help="teach this overlay to graph/state.py and the mask helpers"
                )
        if isinstance(positions := given.get("position_ids"), Tensor) and counting.restarts(interpreter, positions):
            interpreter.unsupported(
                "a mask for positions that do not go up by one",
                help="the library takes them for several sequences in one row, of which none sees another",
                code="packed-positions",
            )
        if given.get("encoder_hidden_states") is not None:
            interpreter.unsupported("a mask over encoder states")
        mask = describe(interpreter, given["config"])
        if (overlay := given.get("or_mask_function")) is not None:
            mask = _or_mask(interpreter, mask, overlay)
        return interpreter.surroundings.mask(mask)

    return call


def _or_mask(interpreter: Interpreter, mask: Mask, overlay: Any) -> Mask:
    """What a token attends to by `mask` or by a function of the places of two tokens, which is asked about any two."""
    query, key = Scalar(3, Dim("query")), Scalar(1, Dim("key"))
    found = interpreter.call(overlay, [0, 0, query, key], {})
    holds = found.value.everywhere if isinstance(found, Tensor) else found
    if holds is True:
        return Mask(causal=False)
    if isinstance(holds, Scalar):
        distances = [expr_of(apply("abs", apply("-", *pair))) for pair in ((query, key), (key, query))]
        match holds.expr:
            case Apply("<" | "<=" as op, (distance, reach)) if distance in distances and not _places(reach):
                window = reach if op == "<" else _one_more(reach)
                if mask == Mask(window=window) or mask == Mask(causal=False, window=window):
                    return Mask(causal=False, window=window)
    interpreter.unsupported(
        "a mask with this `or_mask_function`", help="teach this overlay to graph/state.py and the mask helpers"
    )


def _places(expr: Expr) -> bool:
    return bool(leaves(expr) & {Dim("query"), Dim("key")})


def _one_more(size: Expr) -> Expr:
    return Apply("+", (size, Const(1)))


def _no_blocks(ids: Any) -> bool:
    """Whether no token belongs to a block: all ids are negative, whatever the input."""
    return isinstance(ids, Tensor) and isinstance(ids.value.everywhere, int) and ids.value.everywhere < 0


def _last_only(interpreter: Interpreter, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Keeping the last positions before the head is the caller's choice: `last_only` of the emitted model."""
    hidden, kept = [*args, *(kwargs[name] for name in ("hidden_states", "logits_to_keep")[len(args) :])]
    assert isinstance(hidden, Tensor)
    if isinstance(kept, Tensor) or value_of(kept) != 0:
        interpreter.unsupported(
            "logits of some positions alone",
            code="some-logits",
            help="a model answers with the logits of all positions of all rows",
        )
    return interpreter.tensor_span().emit("last_only", (hidden,), (hidden.shape, hidden.dtype))[0]


def _of_caches(method: Builtin) -> Intrinsic:
    """A method of all caches of the library, those that are made by the source too."""
    return lambda interpreter, args, kwargs: method.call(interpreter, args[1:], kwargs)


def register() -> None:
    """Tell the interpreter what helpers of the library and of einops mean."""
    EXTERNALS["einops.rearrange"] = EXTERNALS["einops.repeat"] = rearranging.rearrange
    EXTERNALS["einops.reduce"] = rearranging.reduce
    EXTERNALS["einops.einsum"] = rearranging.einsum
    for name, method in _CACHE_METHODS.items():
        if isinstance(method, Builtin):
            METHODS_OF_CACHES[name] = Builtin(name, _of_caches(method))
    masks = "transformers.masking_utils."
    EXTERNALS["transformers.modeling_utils.ALL_ATTENTION_FUNCTIONS"] = AttentionFunctions()
    EXTERNALS["transformers.modeling_utils.AttentionInterface"] = lambda interpreter, args, kwargs: AttentionFunctions()
    EXTERNALS["transformers.modeling_utils.slice_logits_to_keep"] = _last_only
    EXTERNALS[masks + "create_causal_mask"] = _mask_helper(lambda i, config: Mask(causal=_is_causal(i, config)))
    EXTERNALS[masks + "create_sliding_window_causal_mask"] = _mask_helper(
        lambda i, config: _sliding(i, config, causal=_is_causal(i, config))
    )
    EXTERNALS[masks + "create_chunked_causal_mask"] = _mask_helper(
        lambda i, config: Mask(chunk=_attribute(i, config, "attention_chunk_size"))
    )
    EXTERNALS[masks + "create_recurrent_attention_mask"] = _fresh
    EXTERNALS[masks + "create_bidirectional_mask"] = _mask_helper(lambda i, config: Mask(causal=False))
    EXTERNALS[masks + "create_bidirectional_sliding_window_mask"] = _mask_helper(
        lambda i, config: _sliding(i, config, causal=False)
    )


def _sliding(interpreter: Interpreter, config: Any, *, causal: bool) -> Mask:
    """A window; the library counts the token itself in those that look back, not in those that look to both sides."""
    window = _attribute(interpreter, config, "sliding_window")
    return Mask(causal=causal, window=window if causal else _one_more(window))


_MASK_PARAMETERS = ("config", "inputs_embeds", "attention_mask", "past_key_values", "position_ids")


def _is_causal(interpreter: Interpreter, config: Any) -> bool:
    """As the configuration says; it need not say it."""
    given = interpreter.call(interpreter.builtins["getattr"], [config, "is_causal", True], {})
    return bool(interpreter.branch(given))


def _attribute(interpreter: Interpreter, config: Any, name: str) -> Expr:
    value = interpreter.getattr(config, name)
    if value_of(value) is None:
        interpreter.throw("ValueError", f"Could not find a `{name}` argument in the config, or it is not set")
    return expr_of(value)


register()
