"""What a configuration's keys may be, as its own class and its own code say: nothing here names a model.

A field of the class is typed and has a default; a string that the code compares with is a value that the key can have;
a key that only a legacy spelling knows has its own value's type. Which combinations make sense, the original decides.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path as File
from random import Random

Raw = Mapping[str, object]
Path = tuple[str, ...]  # of a key: those of the composite configurations lie one level deeper
Choices = dict[Path, tuple[object, ...]]

SERVING = frozenset({"use_cache", "dtype", "torch_dtype", "output_hidden_states", "output_attentions", "return_dict"})
UNFELT = (
    "init",
    "dropout",
    "drop",
    "token",
    "coef",
    "loss",
    "z_loss",
    "jitter",
    "output_",
    "chunk_size_feed",
    "time_step_m",
)
SPANS = ("chunk", "window", "block", "span", "context")  # of tokens: as long as the sequences, and longer
COUNTS = ("layers", "n_layer", "num_layer", "heads", "n_head")  # of which none makes no network
TOWERS = ("vision", "audio", "image", "vq", "speech", "vocoder", "codec")
LEFT_ALONE = frozenset(
    {"architectures", "model_type", "transformers_version", "auto_map", "id2label", "label2id", "problem_type"}
    | {"is_encoder_decoder", "is_decoder", "vocab_size", "bos_token_id", "eos_token_id", "decoder_start_token_id"}
)
LARGE = 4096  # sizes are varied around what the tiny case has; a default of a published size is not tried
WIDTHS = (
    "dim",
    "size",
    "rank",
    "position",
    "d_model",
    "n_embd",
    "n_inner",
)  # of which one is no network
THETAS = (10000.0, 500.0)
ROPE: tuple[tuple[str, Mapping[str, object]], ...] = (
    ("default", {}),
    ("linear", {"factor": 2.5}),
    ("dynamic", {"factor": 4.0}),
    ("yarn", {"factor": 4.0, "original_max_position_embeddings": 8}),
    (
        "yarn",
        {
            "factor": 4.0,
            "original_max_position_embeddings": 8,
            "beta_fast": 16.0,
            "beta_slow": 2.0,
            "attention_factor": 1.3,
        },
    ),
    ("yarn", {"factor": 4.0, "original_max_position_embeddings": 8, "mscale": 0.7, "mscale_all_dim": 1.2}),
    ("yarn", {"factor": 4.0, "original_max_position_embeddings": 8, "truncate": False}),
    (
        "llama3",
        {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16},
    ),
    ("longrope", {"short_factor": 1.3, "long_factor": 2.7, "original_max_position_embeddings": 8}),
    ("longrope", {"short_factor": 1.3, "long_factor": 2.7, "original_max_position_embeddings": 64, "factor": 4.0}),
    ("proportional", {"partial_rotary_factor": 0.5}),
)


def choices(raw: Raw) -> Choices:
    """Paths of keys -> the values to draw from; the value that the case has may be among them."""
    from transformers import CONFIG_MAPPING

    cls = CONFIG_MAPPING[raw["model_type"]]
    found = dict(_of_class(cls, raw, ()))
    for name, value in raw.items():
        if not isinstance(value, Mapping) or any(part in name for part in (*TOWERS, "rope")):
            continue
        inner = cls.sub_configs.get(name)
        if "model_type" in value:
            found |= _of_class(CONFIG_MAPPING[value["model_type"]], value, (name,))
        elif inner is not None and dataclasses.is_dataclass(inner):
            found |= _of_class(inner, value, (name,))
        else:
            found |= _of_object(value, (name,), cls)
    return {path: values for path, values in found.items() if len(values) > 1}


def weighted(table: Choices) -> list[Path]:
    """The paths to draw from, those of flags more often than those of sizes, and those that no logit feels least often."""
    return [path for path, values in table.items() for _ in range(_weight(path, values))]


def _weight(path: Path, values: tuple[object, ...]) -> int:
    if path[-1] in SERVING or any(part in path[-1] for part in UNFELT):
        return 1
    return 9 if is_flag(path, values) else 5


def is_flag(path: Path, values: tuple[object, ...]) -> bool:
    """Whether a key chooses among ways to compute, rather than how much there is of something or how it starts."""
    if path[-1] in SERVING or any(part in path[-1] for part in ("init", "dropout", "token")):
        return False
    return any(value is None or isinstance(value, (bool, str, list, dict)) for value in values)


def changed(raw: Raw, drawn: Mapping[Path, object]) -> dict[str, object]:
    """`raw` with other values under some paths."""
    out = dict(raw)
    for path, value in drawn.items():
        if len(path) == 1:
            out[path[0]] = value
        else:
            out[path[0]] = changed(typing.cast(Raw, out[path[0]]), {path[1:]: value})
    for value in [out, *(part for part in out.values() if isinstance(part, dict))]:
        _fit(value)
    return out


def _fit(raw: dict[str, object]) -> None:
    """Lists of one entry per layer follow the number of layers."""
    count = next((raw[n] for n in ("num_hidden_layers", "n_layer", "n_layers", "num_layers") if n in raw), None)
    if not isinstance(count, int):
        return
    for name, value in raw.items():
        if isinstance(value, list) and value and ("layer" in name or "pattern" in name) and len(value) != count:
            raw[name] = [value[at % len(value)] for at in range(count)]


def _of_class(cls: type, raw: Raw, under: Path) -> Iterator[tuple[Path, tuple[object, ...]]]:
    declared = {field.name: field for field in dataclasses.fields(cls)}
    spellings = {v: k for k, v in getattr(cls, "attribute_map", {}).items()}
    for name in dict.fromkeys([*declared, *raw]):
        if name in LEFT_ALONE or "token" in name and name != "pad_token_id" and "per_tok" not in name:
            continue
        field = declared.get(name)
        if isinstance(raw.get(name), Mapping) or name in getattr(cls, "sub_configs", {}):
            continue
        default = None if field is None or field.default is dataclasses.MISSING else field.default
        now = raw.get(name, raw.get(spellings.get(name, ""), default))
        values = _values(name, now, default, None if field is None else field.type, cls)
        if values:
            yield (*under, name), tuple(_distinct(values))
    for name, value in _asked(cls).items():
        if name not in declared and name not in raw and name not in LEFT_ALONE:
            yield (*under, name), tuple(_distinct(_values(name, value, value, None, cls)))
    if "rope_parameters" in declared or "rope_scaling" in raw or "rope_parameters" in raw:
        yield (*under, "rope_scaling"), (None, *_rope(raw))
        yield (*under, "rope_theta"), THETAS
        yield (*under, "partial_rotary_factor"), (1.0, 0.5, 0.25, 0.75)
        yield (*under, "rope_parameters"), tuple(_newer(raw))


def _of_object(found: Mapping[str, object], under: Path, cls: type) -> Iterator[tuple[Path, tuple[object, ...]]]:
    """Keys of an object that is no configuration class of its own."""
    for name, value in found.items():
        if isinstance(value, Mapping):
            yield from _of_object(value, (*under, name), cls)
        else:
            if values := _values(f"activation_{name}" if "act" in under[-1] else name, value, value, None, cls):
                yield (*under, name), tuple(_distinct(values))


def _values(name: str, now: object, default: object, hint: object, cls: type) -> list[object]:
    optional = type(None) in typing.get_args(hint)
    none: list[object] = [None] if optional else []
    if name == "pad_token_id":
        return [None, 0, 3]
    if name in ("dtype", "torch_dtype"):
        return ["float32", "bfloat16"]
    sample = now if now is not None else default
    if "act" in name.split("_")[-1] or name.startswith(("hidden_act", "activation")):
        if isinstance(sample, str):
            return [sample, *_activations()]
    if hint is bool or isinstance(sample, bool) or bool in typing.get_args(hint):
        return [False, True, *none]
    if "dropout" in name or "drop" in name or "pdrop" in name:
        return [0.0, 0.1]
    if isinstance(sample, float):
        more = [] if "eps" in name else [0.0, 1.0]
        return [sample, sample * 0.5, sample * 2.5, *more, *none]
    if isinstance(sample, int):
        if abs(sample) >= LARGE:
            return [7, 16, 64, *none]
        if any(part in name for part in WIDTHS):
            return [sample, sample * 2, sample // 2, sample + 2, sample + 1, sample * 3, *none]
        near = [sample, 1, 2, 3, sample + 1, sample * 2, sample // 2, max(sample - 1, 0)]
        long = [16, 17, 40] if any(part in name for part in SPANS) else []
        return [*near, *long, *([] if any(part in name for part in COUNTS) else [0]), *none]
    if isinstance(sample, str) and "pattern" in name:  # a letter for each layer
        return ["".join(map(str, made)) for made in _lists([*sample], [*dict.fromkeys(sample)])] + none
    if isinstance(sample, str):
        literals = [v for v in _literals(hint) if isinstance(v, str)]
        return [sample, *literals, *_compared(cls).get(name, ())]
    if isinstance(sample, list) and sample and all(isinstance(v, str) for v in sample):
        return _lists(typing.cast(list[object], sample), _kinds(cls, sample)) + none
    if isinstance(sample, list) and sample and all(isinstance(v, int) for v in sample):
        return _lists(typing.cast(list[object], sample), sorted(set(sample))) + none
    if sample is None:
        wanted = {part for part in typing.get_args(hint) if isinstance(part, type)} | {hint}
        if int in wanted:
            return [None, 3, 5, 16]
        if float in wanted:
            return [None, 0.5, 3.0]
        if str in wanted:
            return [None, *_compared(cls).get(name, ())]
        if any(typing.get_origin(part) is list for part in wanted) and "layer" in name:
            kinds = _kinds(cls, [])
            return [None, *(_lists([kinds[0]], kinds) if kinds else ())]
    return []


def _lists(sample: list[object], kinds: list[object]) -> list[object]:
    """The list, turned, all of one kind, taking turns with other periods, and with none."""
    size = max(len(sample), 4)
    made: list[object] = [sample, sample[1:] + sample[:1], sample[::-1], *([kind] * size for kind in kinds)]
    for first in kinds:
        for second in kinds:
            if first != second:
                made += [
                    [first if at % 2 else second for at in range(size)],
                    [first if at % 3 == 2 else second for at in range(size)],
                ]
    if len(kinds) > 1:
        random = Random(size)
        made += [[random.choice(kinds) for _ in range(size)] for _ in range(4)]
    return made


def _kinds(cls: type, sample: object) -> list[object]:
    """Kinds of layers that the class's package mentions, of those that the library knows, alike the sample's."""
    from transformers.configuration_utils import ALLOWED_ATTN_LAYER_TYPES, ALLOWED_MLP_LAYER_TYPES

    text = "".join(file.read_text() for file in File(inspect.getfile(cls)).parent.glob("*.py"))
    mlp = bool(sample) and set(typing.cast(list[str], sample)) <= set(ALLOWED_MLP_LAYER_TYPES)
    allowed = ALLOWED_MLP_LAYER_TYPES if mlp else ALLOWED_ATTN_LAYER_TYPES
    return [kind for kind in allowed if f'"{kind}"' in text]


def _literals(hint: object) -> Iterator[object]:
    if typing.get_origin(hint) is typing.Literal:
        yield from typing.get_args(hint)
    for part in typing.get_args(hint):
        yield from _literals(part)


@functools.cache
def _compared(cls: type) -> Mapping[str, tuple[str, ...]]:
    """Names of attributes -> the strings that the class's package compares them with."""
    found: dict[str, list[str]] = {}
    for file in sorted(File(inspect.getfile(cls)).parent.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute):
                texts = [c.value for part in node.comparators for c in ast.walk(part) if isinstance(c, ast.Constant)]
                found.setdefault(node.left.attr, []).extend(text for text in texts if isinstance(text, str))
    return {name: tuple(dict.fromkeys(texts)) for name, texts in found.items()}


@functools.cache
def _activations() -> tuple[str, ...]:
    from transformers.activations import ACT2FN

    return tuple(ACT2FN)


@functools.cache
def _asked(cls: type) -> Mapping[str, object]:
    """Attributes that the class's package asks for though none may be there, and what it takes instead."""
    found: dict[str, object] = {}
    for file in sorted(File(inspect.getfile(cls)).parent.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(
                    func=ast.Name(id="getattr"),
                    args=[
                        ast.Name(id="config") | ast.Attribute(attr="config"),
                        ast.Constant(value=str() as name),
                        ast.Constant(value=value),
                    ],
                ):
                    found[name] = value
    return found


def _rope(raw: Raw) -> Iterator[dict[str, object]]:
    """Every kind of rotary scaling, in both spellings of its kind; factors per frequency fit the rotary size.

    What else the case says of its rotation (sections of several positions, how they are laid out) is kept.
    """
    size, own = rotary_size(raw), _own(raw)
    for at, (kind, more) in enumerate(ROPE):
        fitted = {
            name: [value * (1 + 0.05 * i) for i in range(size // 2)]
            if name in ("short_factor", "long_factor") and isinstance(value, float)
            else value
            for name, value in more.items()
        }
        yield {"type" if at % 3 == 1 else "rope_type": kind, **own, **fitted}


def _own(raw: Raw) -> dict[str, object]:
    given = raw.get("rope_parameters", raw.get("rope_scaling"))
    if not isinstance(given, Mapping) or any(isinstance(value, Mapping) for value in given.values()):
        return {}
    usual = {"type", "rope_type", "rope_theta", *(name for _, more in ROPE for name in more)}
    return {name: value for name, value in given.items() if name not in usual}


def _newer(raw: Raw) -> Iterator[dict[str, object]]:
    """The spelling with everything in one object, and an object for each kind of layers where the case has that."""
    given = raw.get("rope_parameters")
    kinds = [name for name, value in given.items() if isinstance(value, Mapping)] if isinstance(given, Mapping) else []
    every = [{"rope_theta": THETAS[at % 2], **scaling} for at, scaling in enumerate(_rope(raw))]
    for scaling in every:
        kind = scaling.pop("type", None)
        if kind is not None:
            scaling["rope_type"] = kind
    if not kinds:
        yield from every
        yield from ({**scaling, "partial_rotary_factor": 0.5} for scaling in every[::3])
        return
    for at in range(len(every)):
        yield {kind: every[(at + 3 * index) % len(every)] for index, kind in enumerate(kinds)}
    yield every[0]


def rotary_size(raw: Raw) -> int:
    def number(*names: str) -> float:
        return next((float(raw[n]) for n in names if isinstance(raw.get(n), (int, float))), 0.0)  # type: ignore[arg-type]

    heads = number("num_attention_heads", "n_head", "n_heads") or 1
    size = number("qk_rope_head_dim", "head_dim") or number("hidden_size", "n_embd", "d_model") / heads
    return int(size * (number("partial_rotary_factor", "rotary_pct") or 1.0))


def _distinct(values: list[object]) -> Iterator[object]:
    seen = set()
    for value in values:
        if (said := repr(value)) not in seen:
            seen.add(said)
            yield value
