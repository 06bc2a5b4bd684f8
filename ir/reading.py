"""How a value follows from config.json: decisions on what its keys hold, with an expression at the end of each way.

A key that is absent reads as what the configuration class declares for it, else as None.
"""

from __future__ import annotations

from collections.abc import Mapping

from ir.expressions import (
    OPERATIONS,
    Apply,
    Const,
    Environment,
    Expr,
    Index,
    Key,
    Raw,
    evaluate,
    leaves,
    raw_paths_of,
    substitute,
)
from ir.records import dataclass

Path = tuple[str | int, ...]
Json = object
MAX_COUNT = 1 << 16


@dataclass(frozen=True, slots=True)
class Choice:
    """`then` where `test` (over Raw) is true."""

    test: Expr
    then: Reading
    otherwise: Reading


@dataclass(frozen=True, slots=True)
class Refused:
    """A configuration that makes no sense, or that nobody looked at."""

    reason: str


@dataclass(frozen=True, slots=True)
class Each:
    """A list of `count` elements; `element` speaks of `index`. With `test`, it is `element` or `otherwise` for each."""

    index: Index
    count: Expr
    element: Expr
    test: Expr | None = None
    otherwise: Expr | None = None


Reading = Expr | Choice | Refused | Each


class DoesNotRead(ValueError):
    """A configuration leads to `Refused`."""


class PastTheEnd(LookupError):
    """A list of config.json has fewer elements than are read of it."""


def read(reading: Reading, raw: Mapping[str, Json]) -> Json:
    """The value that `raw`, with what its class declares filled in, gives.

    Raises:
        DoesNotRead: the configuration is refused.
        ArithmeticError, LookupError, TypeError, ValueError: as the operations themselves.
    """
    match reading:
        case Choice(test, then, otherwise):
            return read(then if value(test, raw) else otherwise, raw)
        case Refused(reason):
            raise DoesNotRead(reason)
        case Each(index, count, element, test, otherwise):
            number = value(count, raw)
            if not isinstance(number, int) or not 0 <= number <= MAX_COUNT:
                raise ValueError(f"{number!r} elements of a list")
            made = []
            for i in range(number):
                at = {index: i}
                picked = element
                if test is not None and otherwise is not None and not value(test, raw, at):
                    picked = otherwise
                made.append(value(picked, raw, at))
            return made
        case _:
            return value(reading, raw)


def value(expr: Expr, raw: Mapping[str, Json], indices: Mapping[Index, int] | None = None) -> Json:
    """The value of an expression over Raw, where what is absent is None and nothing is in None.

    Raises:
        PastTheEnd: a list has no element of that number; what is emitted counts into it as well.
        ArithmeticError, TypeError, ValueError: as the operations themselves.
    """
    kind = type(expr)
    if kind is Raw:
        found = lookup(raw, expr.path)  # type: ignore[union-attr]
        if found is None and _past_the_end(raw, expr.path):  # type: ignore[union-attr]
            raise PastTheEnd(f"{'.'.join(map(str, expr.path))} is past the end of its list")  # type: ignore[union-attr]
        return found
    if kind is Const:
        return expr.value  # type: ignore[union-attr]
    if kind is Apply:
        return _applied(expr, raw, indices)  # type: ignore[arg-type]
    if kind is Index and indices is not None and expr in indices:
        return indices[expr]  # type: ignore[index]
    return evaluate(expr, Environment())


def _applied(expr: Apply, raw: Mapping[str, Json], indices: Mapping[Index, int] | None) -> Json:
    op, args = expr.op, expr.args
    if op == "in":
        inside = value(args[1], raw, indices)
        return inside is not None and value(args[0], raw, indices) in inside  # type: ignore[operator]
    if op == "if":
        return value(args[1] if value(args[0], raw, indices) else args[2], raw, indices)
    return OPERATIONS[op](*[value(arg, raw, indices) for arg in args])


def lookup(raw: Json, path: Path) -> Json:
    """What stands at `path`, None where nothing does."""
    for step in path:
        if isinstance(raw, dict):
            raw = raw.get(step)
        elif isinstance(raw, (list, tuple)):
            if not isinstance(step, int) or not -len(raw) <= step < len(raw):
                return None
            raw = raw[step]
        elif raw is None or isinstance(
            raw, (str, int, float)
        ):  # most of what is no object; to ask for a mapping takes long
            return None
        elif isinstance(raw, Mapping):
            raw = raw.get(step)
        else:
            return None
    return raw


def _past_the_end(raw: Json, path: Path) -> bool:
    """Whether a path counts into a list that has fewer elements."""
    owners = [(lookup(raw, path[:at]), step) for at, step in enumerate(path) if isinstance(step, int)]
    return any(isinstance(owner, (list, tuple)) and not -len(owner) <= step < len(owner) for owner, step in owners)


def expressions(reading: Reading) -> list[Expr]:
    """Every expression in a reading, tests included."""
    match reading:
        case Choice(test, then, otherwise):
            return [test, *expressions(then), *expressions(otherwise)]
        case Refused():
            return []
        case Each(_, count, element, test, otherwise):
            return [
                count,
                element,
                *([test] if test is not None else []),
                *([otherwise] if otherwise is not None else []),
            ]
        case _:
            return [reading]


def raw_paths(reading: Reading) -> set[Path]:
    """The keys of config.json that a reading depends on. That something is in an object reads that key of it."""
    return set().union(*map(raw_paths_of, expressions(reading)))


_TRAINING = "matters in training alone"
DROPOUT = "dropout, which is not implemented: training runs without it"
UNTRAINED = "number of a row of the embedding that gets no gradient from look-ups in the original; here it is trained like the others"
QUANTISED = "how tensors are packed, not what the network computes: they are loaded as the numbers that they stand for, or refused"
UNPACKED = frozenset("fp8 mxfp4 gptq awq float-quantized int-quantized naive-quantized pack-quantized".split())
_OUTPUTS = "chooses what the library returns, not what it computes"
_TOKENS = "a token id, for those who generate"
_BOOK = "says how the files were made"

INERT: dict[str, str] = {
    **dict.fromkeys("initializer_range initializer_factor init_std embedding_init_std".split(), _TRAINING),
    **dict.fromkeys("attention_dropout hidden_dropout embd_pdrop resid_pdrop attn_pdrop dropout".split(), DROPOUT),
    **dict.fromkeys("gradient_checkpointing router_aux_loss_coef pretraining_tp".split(), _TRAINING),
    **dict.fromkeys(
        "use_cache output_attentions output_hidden_states output_router_logits return_dict".split(), _OUTPUTS
    ),
    **dict.fromkeys("num_labels id2label label2id problem_type chunk_size_feed_forward".split(), _OUTPUTS),
    **dict.fromkeys("bos_token_id eos_token_id pad_token_id sep_token_id decoder_start_token_id".split(), _TOKENS),
    **dict.fromkeys("architectures model_type transformers_version _name_or_path name_or_path auto_map".split(), _BOOK),
    **dict.fromkeys(
        "torch_dtype dtype _commit_hash _attn_implementation attn_implementation experts_implementation".split(), _BOOK
    ),
    "classifier_dropout": DROPOUT,
}
"""Keys that change no logit, wherever code does not read them, and why."""


def choice(test: Expr, then: Reading, otherwise: Reading) -> Reading:
    """A choice, unless both ways give the same."""
    return then if then == otherwise else Choice(test, then, otherwise)


@dataclass(frozen=True, slots=True)
class Condition:
    """What the emitted code was compiled for: `expr` over the resolved configuration has the value `value`.

    `reading` is `expr` over config.json, where the values of its keys do not say it. Of the kind "default", `expr` is an
    equation of a key and what its absence stands for: it holds where the key is not given, or given with that value. Of the
    kind "kinds", it is a tuple of the number of layers and what is asked of each over its index; `value` are the answers, one
    tuple a kind of layer.
    """

    kind: str
    expr: Expr
    value: Json
    reading: Reading | None = None

    @property
    def keys(self) -> tuple[Key, ...]:
        return tuple(
            sorted(
                (leaf for leaf in leaves(self.expr) if isinstance(leaf, Key) and leaf.path),
                key=lambda key: repr(key.path),
            )
        )

    def holds(self, values: Mapping[Path, Json], raw: Mapping[str, Json]) -> bool:
        """Whether the code serves a configuration with these values of the keys."""
        if self.kind == "default":
            return self.stands(values, raw)
        if self.reading is not None:
            found = read(self.reading, raw)
        else:
            known: dict[Expr, Expr] = {key: Const(values[key.path]) for key in self.keys}  # type: ignore[arg-type]
            expr = substitute(self.expr, known)
            found = _of_each(expr) if self.kind == "kinds" else value(expr, {})
        if self.kind in ("elements", "kinds"):
            return isinstance(found, (list, tuple)) and set(found) <= set(self.value)  # type: ignore[call-overload]
        if self.kind == "choice":
            return isinstance(self.value, tuple) and found in self.value
        return same(found, self.value)

    def stands(self, values: Mapping[Path, Json], raw: Mapping[str, Json]) -> bool:
        """Whether a key is absent from `raw` or has the value that its absence stands for."""
        assert isinstance(self.expr, Apply)
        key, default = self.expr.args
        assert isinstance(key, Raw)
        owner = lookup(raw, key.path[:-1])
        if not isinstance(owner, Mapping) or key.path[-1] not in owner:
            return True
        known: dict[Expr, Expr] = {leaf: Const(values[leaf.path]) for leaf in self.keys}  # type: ignore[arg-type]
        given, stood = owner[key.path[-1]], value(substitute(default, known), {})
        return given == stood and isinstance(given, bool) == isinstance(stood, bool)


def same(a: Json, b: Json) -> bool:
    """Equal values of equal types, where an int is as good as a float."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def _of_each(expr: Expr) -> list[Json]:
    """What is asked of layers, of each of them; `expr` is a tuple of their number and the questions."""
    assert isinstance(expr, Apply)
    (count, *asked), layer = expr.args, Index("layer")
    number = value(count, {})
    if not isinstance(number, int) or number > MAX_COUNT:
        raise ValueError("a number of layers")
    return [tuple(value(question, {}, {layer: i}) for question in asked) for i in range(number)]


@dataclass(frozen=True, slots=True)
class Explored:
    """All that is known of how a configuration class reads config.json.

    `declared` are the fields of the class with their defaults, `types` the JSON types that they may have, by their Python
    names ("NoneType" for null). `frozen` are keys that must be as they were, since no expression tells what they do.
    """

    raw: Mapping[str, Json]
    declared: Mapping[str, Json]
    types: Mapping[str, tuple[str, ...]]
    readings: Mapping[Path, Reading]
    conditions: tuple[Condition, ...]
    validity: Reading
    frozen: tuple[Path, ...]
    dropped: frozenset[str]  # keys that the class does not keep
    resolved: Mapping[str, Json]

    def filled(self, raw: Mapping[str, Json]) -> dict[str, Json]:
        return {**{name: default for name, default in self.declared.items() if name not in raw}, **raw}


def unpacks(config: Mapping[str, object]) -> bool:
    """Whether nothing of a checkpoint is packed, or all of it in a way that can be unpacked."""
    settings = config.get("quantization_config") or config.get("compression_config")
    if not isinstance(settings, Mapping):
        return not settings
    return settings.get("format" if "format" in settings else "quant_method") in UNPACKED
