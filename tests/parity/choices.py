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

Raw = Mapping[str, object]
Path = tuple[str, ...]  # of a key: those of the composite configurations lie one level deeper
Choices = dict[Path, tuple[object, ...]]

ACTIVATIONS = ("silu", "gelu", "gelu_pytorch_tanh", "gelu_new", "gelu_fast", "quick_gelu", "relu", "relu2", "tanh")
SERVING = frozenset({"use_cache", "dtype", "torch_dtype", "output_hidden_states", "return_dict"})
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
)  # of which one, or an odd number, is no network
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
        if isinstance(value, Mapping) and "model_type" in value and "text" in name:
            found |= _of_class(CONFIG_MAPPING[value["model_type"]], value, (name,))
    return {path: values for path, values in found.items() if len(values) > 1}


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
        default = None if field is None or field.default is dataclasses.MISSING else field.default
        now = raw.get(name, raw.get(spellings.get(name, ""), default))
        values = _values(name, now, default, None if field is None else field.type, cls)
        if values:
            yield (*under, name), tuple(_distinct(values))
    if "rope_parameters" in declared or "rope_scaling" in raw or "rope_parameters" in raw:
        yield (*under, "rope_scaling"), (None, *(v for v in _rope(cls, raw)))
        yield (*under, "rope_theta"), THETAS
        yield (*under, "partial_rotary_factor"), (1.0, 0.5, 0.25)


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
            return [*ACTIVATIONS]
    if hint is bool or isinstance(sample, bool) or bool in typing.get_args(hint):
        return [False, True, *none]
    if "dropout" in name or "drop" in name or "pdrop" in name:
        return [0.0, 0.1]
    if isinstance(sample, float):
        return [sample, sample * 0.5, sample * 2.5, *none]
    if isinstance(sample, int):
        if abs(sample) >= LARGE:
            return [7, 64, *none]
        if any(part in name for part in WIDTHS):
            return [sample, sample * 2, sample // 2, sample + 2, *none]
        near = [sample, 1, 2, 3, sample + 1, sample * 2, sample // 2, sample - 1]
        return [*(v for v in near if v > 0 or v == sample or "first" in name or "shared" in name), *none]
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
    """The list, turned, all of one kind, and taking turns with other periods."""
    size = max(len(sample), 4)
    made: list[object] = [sample, sample[1:] + sample[:1], sample[::-1], *([kind] * size for kind in kinds)]
    for first in kinds:
        for second in kinds:
            if first != second:
                made += [
                    [first if at % 2 else second for at in range(size)],
                    [first if at % 3 == 2 else second for at in range(size)],
                ]
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


def _rope(cls: type, raw: Raw) -> Iterator[dict[str, object]]:
    """Every kind of rotary scaling, in both spellings of its kind; factors per frequency fit the rotary size."""
    size = rotary_size(raw)
    for at, (kind, more) in enumerate(ROPE):
        fitted = {
            name: [value * (1 + 0.05 * i) for i in range(size // 2)]
            if name in ("short_factor", "long_factor") and isinstance(value, float)
            else value
            for name, value in more.items()
        }
        yield {"type" if at % 3 == 1 else "rope_type": kind, **fitted}


def rotary_size(raw: Raw) -> int:
    def number(*names: str) -> float:
        return next((float(raw[n]) for n in names if isinstance(raw.get(n), (int, float))), 0.0)  # type: ignore[arg-type]

    heads = number("num_attention_heads", "n_head") or 1
    size = number("qk_rope_head_dim", "head_dim") or number("hidden_size", "n_embd") / heads
    return int(size * (number("partial_rotary_factor", "rotary_pct") or 1.0))


def _distinct(values: list[object]) -> Iterator[object]:
    seen = set()
    for value in values:
        if (said := repr(value)) not in seen:
            seen.add(said)
            yield value
