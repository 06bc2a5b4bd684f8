"""config.json: read strictly, and checked as far as that needs no knowledge of a network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from codegen.diagnostics import CompileError, Diagnostic, Label, printable
from codegen.repo.text import parse_object
from ir.spans import Span

CODE = "config-value"
MAX_SIZE = 1 << 31
MAX_DEPTH = 1024  # layers
DEPTHS = frozenset("num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers".split())
# the words of the field for what every network has; null stands for a default, a list has a value for each layer
SIZES = frozenset(
    "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim "
    "max_position_embeddings n_embd n_head n_layer n_layers n_positions n_ctx n_inner d_model d_ff d_kv num_layers num_heads "
    "decoder_layers encoder_layers".split()
)
COUNT = re.compile(r"num_.*|.*_size|.*_dim|.*_window|.*_length")
NAME = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.+\-]{0,99})?")  # it may become the name of a folder or of a file
STRINGS = frozenset(("model_type", "hidden_act", "hidden_activation", "activation_function"))


def parse_config(text: str, name: str) -> dict[str, object]:
    """The configuration as published.

    Raises:
        CompileError: `config-not-json`, or every `config-value` that cannot be meant.
    """
    config = parse_object(text, name, "config-not-json", "a configuration")
    findings = [
        Diagnostic(CODE, f"`{'.'.join(path)}` is {printable(repr(value), 80)}; {expected}", place_of(text, name, path))
        for path, value, expected in _faults(config, ())
    ]
    if findings:
        raise CompileError(*findings)
    return config


Fault = tuple[tuple[str, ...], object, str]


def _faults(config: Mapping[str, object], path: tuple[str, ...]) -> Iterator[Fault]:
    for key, value in config.items():
        here = (*path, key)
        if isinstance(value, dict):
            yield from _faults(value, here)
        elif value is None:
            continue
        elif key in SIZES:
            expected = _size_fault(value, MAX_DEPTH if key in DEPTHS else MAX_SIZE)
            if expected is not None:
                yield here, value, expected
        elif key in STRINGS and not (isinstance(value, str) and NAME.fullmatch(value)):
            yield here, value, "it must be a name"
        elif COUNT.fullmatch(key) and isinstance(value, (int, float)) and value < 0:
            yield here, value, "a count or size cannot be negative"
    yield from _architectures(config.get("architectures"), path)
    yield from _auto_map(config.get("auto_map"), path)


def _size_fault(value: object, limit: int) -> str | None:
    if isinstance(value, list):
        return next((fault for item in value if (fault := _size_fault(item, limit)) is not None), None)
    if type(value) is not int:
        return "it must be a whole number"
    if value < 1:
        return "it must be at least 1"
    if value > limit:
        return f"no network is that large (at most {limit})"
    return None


def _architectures(value: object, path: tuple[str, ...]) -> Iterator[Fault]:
    if value is None:
        return
    if not (isinstance(value, list) and all(isinstance(name, str) and name.isidentifier() for name in value)):
        yield (*path, "architectures"), value, "it must be a list of class names"


def _auto_map(value: object, path: tuple[str, ...]) -> Iterator[Fault]:
    if value is None:
        return
    if not (isinstance(value, dict) and all(isinstance(names, (str, list)) for names in value.values())):
        yield (*path, "auto_map"), value, "it must be an object of class names"


def heads_apart(config: Mapping[str, object], text: str, name: str) -> tuple[Diagnostic, ...]:
    """What may be wrong with a network whose sizes do not agree: heads that do not share keys and values evenly. Some networks
    have no use for the number."""
    return tuple(
        Diagnostic(
            CODE, f"`{'.'.join(path)}` is {groups}; it must divide `num_attention_heads`", place_of(text, name, path)
        )
        for path, groups in _uneven(config, ())
    )


def _uneven(config: Mapping[str, object], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    heads, groups = config.get("num_attention_heads"), config.get("num_key_value_heads")
    if type(heads) is int and type(groups) is int and groups > 0 and heads % groups:
        yield (*path, "num_key_value_heads"), groups
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _uneven(value, (*path, key))


def place_of(text: str, name: str, path: tuple[str, ...]) -> Label | None:
    """Where the key stands. Searched, not parsed: a key that also stands in an earlier object may be found there."""
    position = 0
    for key in path:
        found = re.compile(rf'"{re.escape(key)}"\s*:\s*').search(text, position)
        if found is None:
            return None
        start, position = found.start(), found.end()
    value = re.compile(r"[^,}\]\n]*").match(text, position)
    end = max(position, value.end() if value else position)
    line = text.count("\n", 0, start) + 1
    column = start - (text.rfind("\n", 0, start) + 1)
    return Label(Span(name, line, column, line, column + len(text[start:end].split("\n")[0].rstrip())))
