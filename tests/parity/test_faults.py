"""Known-wrong variants of what the compiler emits: the tests that a package brings along have to catch every one.

A fault is an edit of an emitted file. It must apply (when the output changes its looks, the pattern is to be mended) and
the package's own test_model.py must then fail with an assertion. Where numbers in float64 cannot tell, a cast that is
missing, the comparison in half precision of tests/parity/test_half_precision.py has to.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.parity.half import differing_norms
from tests.parity.harness import Flax, Lab, Torch, identifier
from tests.parity.original import load_case


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong; the case and file that are edited; a pattern, and what takes the place of every match."""

    what: str
    case: str
    pattern: str
    replacement: str
    half: bool = False  # told apart in half precision only
    loud: bool = False  # other exceptions than an assertion catch it too
    file: str = "torch_model.py"

    @property
    def framework(self) -> str:
        return "Flax" if self.file.startswith("flax_") else "Torch"


def flax(
    what: str, case: str, pattern: str, replacement: str, *, half: bool = False, file: str = "flax_model.py"
) -> Fault:
    return Fault(what, case, pattern, replacement, half, file=file)


GENERATION = "torch_generation.py"
EPSILON = r"self\.eps\b(?! =)"
NORM = r"(?s)(class RMSNorm\(nn\.Module\):.*?def forward\(self, x: Tensor\) -> Tensor:\n).*?(?=\n\n\n)"
NARROW = r"\1        h = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)\n        return self.weight * h"
WIDE = r"\1        h = x.float()\n        h = h * torch.rsqrt(h.square().mean(-1, keepdim=True) + self.eps)\n"
SCALE = r"scale=[^\n]*?\*\* ?-0\.5"

FAULTS = (
    # attention
    Fault("scale dropped", "qwen3", SCALE, "scale=1.0"),
    Fault("scale of another axis", "gemma2", r"self\.query_pre_attn_scalar\*\*-0\.5", "q.shape[-1] ** -0.5"),
    Fault(
        "queries grouped in the wrong order",
        "gemma2",
        r"q\.reshape\(B, K, -1, H\)",
        "q.reshape(B, -1, K, T, H).transpose(1, 2).reshape(B, K, -1, H)",
    ),
    Fault(
        "probabilities grouped in the wrong order",
        "gemma2",
        r"probs\.view\(B, K, -1, S\)",
        "probs.view(B, -1, K, T, S).transpose(1, 2).reshape(B, K, -1, S)",
    ),
    Fault(
        "query norm dropped",
        "qwen3",
        r"self\.q_norm\((self\.q_proj\(x\)\.reshape\(.*?\))\)\.transpose",
        r"\1.transpose",
    ),
    Fault("norm of keys on queries", "qwen3", r"self\.q_norm\(self", "self.k_norm(self"),
    Fault("cap of scores dropped", "gemma2", r"torch\.tanh\((scores \* scale) / cap\) \* cap", r"\1"),
    Fault(
        "cap before the scale",
        "gemma2",
        r"torch\.tanh\(scores \* scale / cap\) \* cap",
        "torch.tanh(scores / cap) * cap * scale",
    ),
    Fault("queries and keys exchanged", "gpt2", r"q, k, v = self\.c_attn", "k, q, v = self.c_attn"),
    # masks
    Fault("window ignored", "gemma2", r"window=self\.cfg\.sliding_window", "window=None"),
    Fault("window off by one", "gemma2", r"order\[:, None\] > order", "order[:, None] >= order"),
    Fault(
        "window forgotten where the mask is left out",
        "gemma2",
        r" and \(window is None or slots\.shape\[0\] <= window\)",
        "",
    ),
    Fault(
        "windows of the other layers",
        "gemma2",
        r'"sliding_attention": sliding_mask, "full_attention": full_mask',
        '"sliding_attention": full_mask, "full_attention": sliding_mask',
    ),
    Fault(
        "padding attended to", "qwen3", r"if seen is not None:\n        mask = ", "if seen is not None:\n        _ = "
    ),
    Fault("own token masked", "qwen3", r"mask = slots <= new", "mask = slots < new"),
    Fault("next token seen", "qwen3", r"mask = slots <= new", "mask = slots <= new + 1"),
    Fault("a part of a prompt taken for a whole", "qwen3", r"start \+ 1 == slots\.shape\[0\]", "start > 0"),
    # positions
    Fault("rotation the other way", "qwen3", r"\(-angles, angles\)", "(angles, -angles)"),
    Fault("neighbours rotated, not halves", "qwen3", r"x\.roll\(x\.shape\[-1\] // 2, -1\)", "x.roll(1, -1)"),
    Fault("keys not rotated", "qwen3", r"k = apply_rope\(k, cos, sin\)\n", "k = k\n"),
    Fault("another base", "qwen3", r"cfg\.rope_theta \*\*", "11000.0 **"),
    Fault(
        "frequencies of the whole width",
        "olmo2",
        r"dtype=([\w.]+)\) / cfg\.head_dim\)",
        r"dtype=\1) / cfg.hidden_size)",
    ),
    Fault("positions off by one on a cache", "qwen3", r"order\[:, start:\]", "order[:, start:] + int(start > 0)"),
    Fault("positions start again on a cache", "gpt2", r"order\[:, start:\]", "order[:, : ids.shape[1]]"),
    Fault(
        "padding counts as positions",
        "gpt2",
        r"\(seen\.cumsum\(-1\) - 1\)\.clamp\(min=0\)",
        "slots[None].expand_as(seen)",
    ),
    Fault("positions from one", "gpt2", r"self\.wpe\(positions\)", "self.wpe(positions + 1)"),
    # cache
    Fault(
        "values written one slot early",
        "qwen3",
        r"self\.v\[layer\]\.narrow\(2, self\.length, new\)",
        "self.v[layer].narrow(2, max(self.length - 1, 0), new)",
    ),
    Fault("keys not written", "qwen3", r"self\.k\[layer\]\.narrow\(2, self\.length, new\)\.copy_\(k\)", "pass"),
    Fault("one layer's cache for all", "qwen3", r"cache\.update\(self\.layer, k, v\)", "cache.update(0, k, v)"),
    Fault(
        "keys cached before the rotation",
        "qwen3",
        r" +k = apply_rope\(k, cos, sin\)\n( +if cache[^\n]*\n[^\n]*\n)",
        r"\1        k = apply_rope(k, cos, sin) if cache is None else k\n",
    ),
    # norms
    Fault("ten times the epsilon", "qwen3", EPSILON, "10 * self.eps"),
    Fault("epsilon of habit", "olmo2", EPSILON, "1e-6"),
    Fault("one plus the weight dropped", "gemma2", r"\(1\.0 \+ self\.weight\.float\(\)\)", "self.weight.float()"),
    Fault("layer norm without its bias", "gpt2", r"return self\.ln_f\(x\)", "return self.ln_f(x) - self.ln_f.bias"),
    Fault(
        "norm before, not after",
        "olmo2",
        r"self\.post_attention_layernorm\(self\.self_attn\(x,([^\n]*)\)\)",
        r"self.self_attn(self.post_attention_layernorm(x),\1)",
    ),
    Fault("norms exchanged", "qwen3", r"self\.mlp\(self\.post_attention_layernorm", "self.mlp(self.input_layernorm"),
    Fault("last norm dropped", "qwen3", r"return self\.norm\(x\)", "return x"),
    Fault("weight after the cast", "olmo2", NORM, WIDE + "        return self.weight * h.to(x.dtype)", half=True),
    Fault("weight before the cast", "qwen3", NORM, WIDE + "        return (self.weight * h).to(x.dtype)", half=True),
    Fault("float32 of the norm dropped", "olmo2", NORM, NARROW, half=True),
    # feed-forward
    Fault(
        "gate and up exchanged",
        "qwen3",
        r"F\.silu\(self\.gate_proj\(x\)\) \* self\.up_proj\(x\)",
        "F.silu(self.up_proj(x)) * self.gate_proj(x)",
    ),
    Fault("exact gelu", "gemma2", r'approximate="tanh"', 'approximate="none"'),
    Fault("another activation", "qwen3", r"F\.silu\(", "F.gelu("),
    Fault("bias dropped", "gpt2", r"F\.linear\(x, self\.weight\.T, self\.bias\)", "F.linear(x, self.weight.T)"),
    # the whole
    Fault("residual dropped", "qwen3", r"x = x \+ self\.self_attn\(", "x = self.self_attn("),
    Fault(
        "residual of the layer's input",
        "olmo2",
        r"(def forward\(self, x: Tensor, mask[^\n]*\n)        x = x \+ self\.post_attention([^\n]*)\n        return x \+",
        r"\1        h = x\n        x = x + self.post_attention\2\n        return h +",
    ),
    Fault("last layer skipped", "qwen3", r"for layer in self\.layers:", "for layer in self.layers[:-1]:"),
    Fault("layers in reverse", "olmo2", r"for layer in self\.layers:", "for layer in reversed(self.layers):"),
    Fault("embedding not scaled", "gemma2", r"return h \* self\.embed_scale\.to\(h\.dtype\)", "return h"),
    Fault("embedding for the head", "qwen3", r"self\.lm_head\(x\)", "F.linear(x, self.model.embed_tokens.weight)"),
    Fault(
        "cap of logits dropped",
        "gemma2",
        r"torch\.tanh\((self\.lm_head\(x\) / self\.cfg\.final_logit_softcapping)\)",
        r"(\1)",
    ),
    Fault("first position for the last", "qwen3", r"x = x\[:, -1:\]", "x = x[:, :1]"),
    # sampling
    Fault("one more than top-k", "gpt2", r"min\(top_k, ", "min(top_k + 1, ", file=GENERATION),
    Fault(
        "top-p without the token that passes it",
        "gpt2",
        r"falling\.cumsum\(-1\) - falling < top_p",
        "falling.cumsum(-1) < top_p",
        file=GENERATION,
    ),
    Fault("top-p from the least likely", "gpt2", r"sort\(descending=True\)", "sort()", file=GENERATION),
    Fault(
        "temperature upside down",
        "gpt2",
        r"logits\.float\(\) / temperature",
        "logits.float() * temperature",
        file=GENERATION,
    ),
    Fault("goes on after the end", "gpt2", r"token = torch\.where\(ended, ends\[0\], token\)", "pass", file=GENERATION),
    Fault(
        "padding left where it is",
        "gpt2",
        r"new, valid = ids\.gather\(1, order\), valid\.gather\(1, order\)",
        "pass",
        file=GENERATION,
    ),
    # weights
    Fault(
        "axes of a weight exchanged",
        "qwen3",
        r'gate_proj\.weight": \("kernel", "FD"\)',
        'gate_proj.weight": ("kernel", "DF")',
        loud=True,
        file="weights.py",
    ),
    # the same and others in Flax
    flax("scale dropped", "qwen3", r"self\.head_dim\*\*-0\.5", "1.0"),
    flax(
        "heads grouped in the wrong order",
        "qwen3",
        r"q\.reshape\(B, K, N // K, T, H\)",
        "q.reshape(B, N // K, K, T, H).swapaxes(1, 2)",
    ),
    flax("rotation the other way", "qwen3", r"\(-angles, angles\)", "(angles, -angles)"),
    flax("cache written from the start", "qwen3", r"start_index=start", "start_index=0"),
    flax(
        "positions off by one on a cache",
        "qwen3",
        r"\(count - 1\)\.clip\(min=0\)",
        "(count - 1).clip(min=0) + (cache.length > 0)",
    ),
    flax(
        "padding attended to",
        "qwen3",
        r"mask = \(mask & valid\[:, None\]\)[^\n]*",
        "mask = mask & jnp.ones_like(valid)[:, None]",
    ),
    flax("window off by one", "gemma2", r"order\[:, None\] > new_order", "order[:, None] >= new_order"),
    flax("cap of scores dropped", "gemma2", r"scores = jnp\.tanh\(scores / cap\) \* cap\n", "scores = scores\n"),
    flax(
        "one plus the weight dropped",
        "gemma2",
        r"\(1\.0 \+ self\.scale\[\.\.\.\]\.astype\(jnp\.float32\)\)",
        "self.scale[...].astype(jnp.float32)",
    ),
    flax("exact gelu", "gpt2", r"0\.044715", "0.0"),
    flax("first position for the last", "qwen3", r"x = x\[:, -1:\]", "x = x[:, :1]"),
    flax("one more than top-k", "gpt2", r"min\(top_k, ", "min(top_k + 1, ", file="flax_generation.py"),
    flax(
        "top-p without the token that passes it",
        "gpt2",
        r"jnp\.cumsum\(falling, axis=-1\) - falling < top_p",
        "jnp.cumsum(falling, axis=-1) < top_p",
        file="flax_generation.py",
    ),
    flax("float32 dropped", "qwen3", r"h = x\.astype\(jnp\.float32\)", "h = x", half=True),
)

# The comparison comes first: most faults need no other test.
ORDER = ("test_parity_with_the_original", "test_shapes", "test_steps_on_a_cache_equal_the_whole_sequence")
QUICK = {"qwen3": 2, "gemma2": 2, "gpt2": 1, "olmo2": 1}  # so many of a case run with the fast tests


def _marked() -> Iterator[Any]:
    left = dict(QUICK)
    for number, fault in enumerate(FAULTS):
        quick = fault.framework == "Torch" and left[fault.case] > 0
        left[fault.case] -= quick
        label = f"{fault.framework.lower()}-{fault.case}-{fault.what.replace(' ', '-')}"
        yield pytest.param(number, id=label, marks=() if quick else pytest.mark.slow)


def files_of(package: Path, file: str) -> list[Path]:
    """A file of a package; of a model with what it was divided into."""
    start, model, _ = file.partition("model.py")
    others = {"stack", "generation", "model"}
    parts = (
        [path for path in package.glob(f"{start}*.py") if path.stem.removeprefix(start) not in others] if model else []
    )
    return [package / file, *sorted(parts)]


def plant(file: Path, fault: Fault) -> bool:
    text = file.read_text()
    changed = re.sub(fault.pattern, fault.replacement, text)
    file.write_text(changed)
    return changed != text


@pytest.mark.parametrize("number", list(_marked()))
def test_fault_is_caught(lab: Lab, tmp_path_factory: pytest.TempPathFactory, number: int) -> None:
    fault = FAULTS[number]
    clean = lab.package(fault.case, load_case(fault.case), raised=True)
    faulty = tmp_path_factory.mktemp("faults") / f"fault_{number}"
    shutil.copytree(clean, faulty, ignore=shutil.ignore_patterns("__pycache__"))
    planted = [plant(file, fault) for file in files_of(faulty, fault.file)]
    assert any(planted), f"nothing in {fault.file} matches `{fault.pattern}`"
    if fault.half:
        backend = Torch() if fault.framework == "Torch" else Flax()
        recorded = lab.original(fault.case, load_case(fault.case))
        assert differing_norms(backend, faulty, recorded), "no norm differs in half precision"
    else:
        caught = failing(faulty, fault.framework, tmp_path_factory, loud=fault.loud)
        assert caught, "no test of the package fails"


@pytest.mark.parametrize(
    ("case", "framework"),
    [
        pytest.param(case, framework, marks=() if (case, framework) == ("qwen3", "Torch") else pytest.mark.slow)
        for case in QUICK
        for framework in ("Torch", "Flax")
    ],
)
def test_clean_package_passes(lab: Lab, tmp_path_factory: pytest.TempPathFactory, case: str, framework: str) -> None:
    package = tmp_path_factory.mktemp("clean") / f"clean_{identifier(case)}_{framework.lower()}"
    shutil.copytree(lab.package(case, load_case(case), raised=True), package)
    assert failing(package, framework, tmp_path_factory) is None


def failing(package: Path, framework: str, factory: pytest.TempPathFactory, *, loud: bool = False) -> str | None:
    """The first of a package's own tests, in one framework, that fails.

    Raises:
        Exception: one fails by another exception than an assertion, and the fault is not `loud`.
    """
    tests = load_tests(package)
    backend = getattr(tests, framework)()
    values = {
        "backend": backend,
        "checkpoint": inspect.unwrap(tests.checkpoint)(factory),
        "ids": inspect.unwrap(tests.ids)(),
        "tmp_path": factory.mktemp("misfits"),
    }
    for name, function in sorted(functions(tests), key=lambda item: (item[0] not in ORDER, item[0])):
        parameters = inspect.signature(function).parameters
        if name.startswith("test_stacked") and framework != "Flax":
            continue
        for options in choices(function):
            try:
                function(**{key: (values | options)[key] for key in parameters})
            except AssertionError:
                return name
            except pytest.skip.Exception as reason:
                raise RuntimeError(f"{name} does not run: {reason}") from None
            except Exception:
                if loud:
                    return name
                raise
    return None


def functions(tests: ModuleType) -> list[tuple[str, Callable[..., None]]]:
    return [(name, value) for name, value in vars(tests).items() if name.startswith("test_") and callable(value)]


def choices(function: Callable[..., None]) -> Iterator[dict[str, object]]:
    """The arguments that `parametrize` gives a test."""
    marks = [mark for mark in getattr(function, "pytestmark", ()) if mark.name == "parametrize"]
    if not marks:
        yield {}
    for mark in marks:
        name, given = mark.args
        yield from ({name: value} for value in given)


def load_tests(package: Path) -> ModuleType:
    """The package's test_model.py, which imports the package by the name of its folder."""
    spec = importlib.util.spec_from_file_location(f"{package.name}_tests", package / "test_model.py")
    assert spec and spec.loader
    tests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tests)
    return tests
