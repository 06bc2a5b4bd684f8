"""Numbers that a checkpoint stores in few bits: which tensors belong together, and the numbers that they stand for.

    form     tensors                                                     numbers
    scaled   x, x_scale_inv or x_scale                                   x * scale, one for each block, row or tensor
    mxfp4    x_blocks [..., B, A / 32, 16], x_scales [..., B, A / 32]    [..., A, B], 32 numbers to a power of two
    gptq     qweight [I / n, O], qzeros [G, O / n], scales, g_idx [I]    [O, I]: (q - zero - 1) * scale of the group
    awq      qweight [I, O / n], qzeros [G, O / n], scales [G, O]        [O, I]: (q - zero) * scale of the group
    signed   weight_packed [O, I / n], weight_scale [O, G]               [O, I]: (q - 2 ** (bits - 1)) * scale

n numbers share 32 bits. mxfp4: OCP Microscaling Formats (MX) v1.0. gptq: Frantar et al. 2022, as AutoGPTQ stores it.
awq: Lin et al. 2023, as AutoAWQ stores it ("gemm"). signed: "pack-quantized" of compressed-tensors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

NARROW = ("F8_E4M3", "F8_E5M2", "I8")  # what a number of 8 bits may be
SCALES = ("_scale_inv", "_scale")  # what scales add to the name of what they scale
ACTIVATIONS = ("input_scale", "input_zero_point", "output_scale", "q_scale", "k_scale", "v_scale")
FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
AWQ_ORDER = (0, 4, 1, 5, 2, 6, 3, 7)  # where in 32 bits each of 8 columns is
WHOLE = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1"}


class Packed(NamedTuple):
    """A tensor that is stored in few bits: in which form, under which names, and its own shape."""

    form: str
    parts: dict[str, str]
    shape: tuple[int, ...]
    bits: int = 8
    block: tuple[int, ...] = ()  # how many numbers have one scale, along the last axes
    offset: int = 0  # what is added to a stored zero


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a config.json says of packing; nothing where nothing is packed.

    Raises:
        ValueError: groups of modules are packed in different ways.
    """
    inner = config.get("text_config")
    for one in (config, inner if isinstance(inner, dict) else {}):
        found = one.get("quantization_config") or one.get("compression_config")
        if isinstance(found, dict):
            return found | _common(found.get("config_groups"))
    return {}


def _common(groups: Any) -> dict[str, Any]:
    """What all groups of modules have in common, by the names that other methods have for it."""
    if not isinstance(groups, dict) or not groups:
        return {}
    first, *others = [group.get("weights") or {} for group in groups.values()]
    if any(other != first for other in others):
        raise ValueError("groups of modules are quantised in different ways")
    return {"bits": first.get("num_bits"), "weight_block_size": first.get("block_structure")}


def packed(held: Mapping[str, tuple[str | None, Sequence[int]]], settings: Mapping[str, Any]) -> dict[str, Packed]:
    """What is packed in a checkpoint, by the name that it would have if it were not. `held`: name -> type and shape."""
    found = {}
    for name, (kind, shape) in held.items():
        stem, _, last = name.rpartition(".")
        if last == "qweight" and f"{stem}.qzeros" in held and len(shape) == 2:
            found[f"{stem}.weight"] = _in_words(held, stem, settings)
        elif last == "weight_packed" and f"{stem}.weight_zero_point" not in held and len(shape) == 2:
            parts = {"values": name, "scale": f"{stem}.weight_scale"}
            parts |= {"shape": f"{stem}.weight_shape"} if f"{stem}.weight_shape" in held else {}
            bits = _bits(settings)
            found[f"{stem}.weight"] = Packed("signed", parts, (shape[0], shape[1] * (32 // bits)), bits)
        elif name.endswith("_blocks") and f"{name.removesuffix('_blocks')}_scales" in held and len(shape) > 2:
            path = name.removesuffix("_blocks")
            parts = {"values": name, "scales": f"{path}_scales"}
            found[path] = Packed("mxfp4", parts, (*shape[:-3], shape[-2] * 32, shape[-3]), 4)
        elif scale := next((name + end for end in SCALES if kind in (*NARROW, None) and name + end in held), ""):
            block = tuple(settings.get("weight_block_size") or ())
            found[name] = Packed("scaled", {"values": name, "scale": scale}, tuple(shape), 8, block)
    return found


def _in_words(held: Mapping[str, tuple[str | None, Sequence[int]]], stem: str, settings: Mapping[str, Any]) -> Packed:
    """A weight of which words of 32 bits hold several numbers, side by side or one below the other."""
    rows, columns = held[f"{stem}.qweight"][1]
    if held.keys().isdisjoint([f"{stem}.scales"]):
        raise ValueError(f"{stem}.qweight has no scales")
    parts = {"values": f"{stem}.qweight"}
    parts |= {role: f"{stem}.{role}" for role in ("qzeros", "scales", "g_idx") if f"{stem}.{role}" in held}
    bits = _bits(settings)
    if settings.get("quant_method") == "awq":
        if str(settings.get("version", "gemm")).lower() != "gemm":
            raise ValueError(f"the order of awq's version {settings['version']} is not known")
        return Packed("awq", parts, (columns * (32 // bits), rows), bits)
    offset = 0 if settings.get("checkpoint_format") == "gptq_v2" else 1
    return Packed("gptq", parts, (columns, rows * (32 // bits)), bits, offset=offset)


def _bits(settings: Mapping[str, Any]) -> int:
    bits = settings.get("bits") or settings.get("w_bit")
    if bits not in (2, 4, 8):
        raise ValueError(f"weights of {bits} bits are not read")
    return int(bits)


def beside(held: Mapping[str, Any], found: Mapping[str, Packed]) -> tuple[set[str], set[str]]:
    """The tensors that are parts of others, and those that scale activations, which are not rounded here."""
    parts = {part for one in found.values() for part in one.parts.values()}
    return parts, {name for name in held.keys() - parts if name.rpartition(".")[2] in ACTIVATIONS}


def unpack(what: Packed, parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """The numbers, in float32.

    Raises:
        ValueError: the parts do not fit together.
    """
    match what.form:
        case "scaled":
            return np.asarray(parts["values"] * _spread(parts["scale"], what.shape, what.block), np.float32)
        case "mxfp4":
            return _unpack_mxfp4(parts["values"], parts["scales"])
        case "signed":
            values = _fields(parts["values"], what.bits).reshape(what.shape) - 2.0 ** (what.bits - 1)
            groups = parts["scale"].shape[-1]
            scale = _spread(parts["scale"], what.shape, (1, -(-what.shape[1] // groups)))
            return np.asarray(values * scale, np.float32)
        case _:
            return _unpack_words(what, parts)


def _spread(scale: np.ndarray, shape: tuple[int, ...], block: tuple[int, ...]) -> np.ndarray:
    """Scales as they are multiplied with numbers of a shape: one for all, for each row, or for each block."""
    scale = scale.astype(np.float32)
    if scale.size == 1:
        return scale.reshape(())
    scale = scale.reshape(scale.shape + (1,) * (len(shape) - scale.ndim))
    blocks = (1,) * (len(shape) - len(block)) + block
    for axis, size in enumerate(shape):
        count: int = scale.shape[axis]
        if count in (1, size):
            continue
        if count != -(-size // blocks[axis]):
            raise ValueError(f"scales {list(scale.shape)} do not fit numbers {list(shape)} in blocks of {list(block)}")
        scale = scale.repeat(blocks[axis], axis).take(range(size), axis)
    return scale


def _unpack_mxfp4(blocks: np.ndarray, scales: np.ndarray) -> np.ndarray:
    pairs = np.stack([blocks & 15, blocks >> 4], -1).reshape(*blocks.shape[:-1], 32)
    values = np.ldexp(FP4[pairs], scales[..., None].astype(np.int32) - 127)
    return np.ascontiguousarray(values.reshape(*scales.shape[:-1], -1).swapaxes(-1, -2))


def _unpack_words(what: Packed, parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """The weight of a linear layer, [O, I], from whole numbers, and a zero and a scale for each group of inputs."""
    scales, inputs = parts["scales"].astype(np.float32), what.shape[1]
    words, zeros = _fields(parts["values"], what.bits), _fields(parts["qzeros"], what.bits)
    if what.form == "awq":
        order = AWQ_ORDER if what.bits == 4 else range(32 // what.bits)
        words, zeros = words[..., order].reshape(inputs, -1), zeros[..., order]
    else:
        words, zeros = words.swapaxes(1, 2).reshape(inputs, -1), (zeros + what.offset) & (2**what.bits - 1)
    group = parts.get("g_idx", np.arange(inputs) // -(-inputs // len(scales)))
    values = words.astype(np.float32) - zeros.reshape(scales.shape)[group].astype(np.float32)
    return np.ascontiguousarray((values * scales[group]).T)


def _fields(words: np.ndarray, bits: int) -> np.ndarray:
    """The numbers in words of 32 bits, along a new last axis, lowest bits first."""
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    return (words.view(np.uint32)[..., None] >> shifts & np.uint32(2**bits - 1)).astype(np.int32)


class Raw:
    """The bytes of a file of tensors. safetensors gives numpy no numbers of 8 bits."""

    def __init__(self, file: Path) -> None:
        self.file = file
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            self.entries, self.start = json.loads(stream.read(size)), 8 + size

    def numbers(self, name: str) -> np.ndarray:
        """A tensor as it is stored, numbers of 8 bits and bfloat16 as float32."""
        kind, shape, (start, end) = (self.entries[name][key] for key in ("dtype", "shape", "data_offsets"))
        found = np.fromfile(self.file, np.uint8, end - start, offset=self.start + start)
        return decoded(found, kind).reshape(shape)


def decoded(found: np.ndarray, kind: str) -> np.ndarray:
    """Bytes as numbers of a type that safetensors names."""
    match kind:
        case "BF16":
            return np.asarray(found.view("<u2").astype(np.uint32) << 16).view(np.float32)
        case "F8_E5M2":
            return (found.astype(np.uint16) << 8).view(np.float16).astype(np.float32)
        case "F8_E4M3":
            return np.asarray(_e4m3()[found])
        case _:
            return found.view(WHOLE[kind])


def _e4m3() -> np.ndarray:
    """The numbers of 8 bits with 4 for the exponent and no infinity. Micikevicius et al. 2022, FP8 formats."""
    bits = np.arange(256)
    exponent, mantissa = bits >> 3 & 15, (bits & 7).astype(np.float32)
    values = np.where(exponent == 0, np.ldexp(mantissa, -9), np.ldexp(8 + mantissa, exponent - 10))
    values[127] = values[255] = np.nan
    return np.where(bits < 128, values, -values).astype(np.float32)


class Unpacked:
    """A tensor that is put together when it is read, in place of the files that hold it."""

    def __init__(self, name: str, what: Packed, parts: Mapping[str, Raw], framework: str) -> None:
        self.what, self.parts, self.framework = what, parts, framework
        self.names = {name: name}

    def get_slice(self, name: str) -> Unpacked:
        """The tensor, which is read when it is indexed."""
        return self

    def get_shape(self) -> list[int]:
        return list(self.what.shape)

    def get_dtype(self) -> str:
        return "F32"

    def get_tensor(self, name: str, part: Any = ...) -> Any:
        """The tensor in float32, or a part of it."""
        found = unpack(self.what, {role: raw.numbers(self.what.parts[role]) for role, raw in self.parts.items()})
        if self.framework == "np":
            return found[part]
        import torch

        return torch.from_numpy(found)[part]

    def __getitem__(self, part: Any) -> Any:
        return self.get_tensor(self.what.form, part)


def unpacked(held: Mapping[str, Any], root: Path, framework: str) -> dict[str, Any]:
    """What a checkpoint holds, by its own names, with what is packed in place of its parts.

    Raises:
        ValueError: it is packed in a way that is not known.
    """
    settings = settings_of(json.loads((root / "config.json").read_text(encoding="utf-8")))
    if not settings:
        return dict(held)
    slices = {name: shard.get_slice(name) for name, shard in held.items()}
    found = packed({name: (one.get_dtype(), one.get_shape()) for name, one in slices.items()}, settings)
    raw = {file: Raw(file) for file in {shard.file for shard in held.values()}}
    gone = set().union(*beside(held, found))
    made = {
        name: Unpacked(name, what, {role: raw[held[part].file] for role, part in what.parts.items()}, framework)
        for name, what in found.items()
    }
    return {name: shard for name, shard in held.items() if name not in gone} | made
