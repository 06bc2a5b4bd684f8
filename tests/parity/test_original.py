"""What is emitted for the tiny configurations of tests/data/cases, against the original implementation.

Raising off and in float32, PyTorch equals the original bit for bit. Raising on and in float64, both frameworks agree with
it: whole sequences, pieces on a cache, a padded batch, the checkpoint there and back, gradients, stacked layers.
"""

from __future__ import annotations

import pytest

from codegen.diagnostics import CompileError
from tests.parity.gaps import KNOWN_GAPS, MEASURED_GAPS, NOT_EXACT, Gap, Inexact
from tests.parity.harness import Backend, Flax, Lab, Torch, inexact, measure, measure_stacked, too_large
from tests.parity.original import LENGTHS, NAMES, Recorded, load_case

# A few that differ in kind stand for all while somebody works on the compiler.
QUICK = ("gpt2", "qwen3", "gemma2", "olmo2", "glm", "opt")

# What the original itself does not do, and why. The package is not asked for it where nothing else says what is right.
FALLS_SHORT = {
    ("cpmant", "causal"): "every token of the prompt is context for every other",
    ("cpmant", "decode"): "takes the whole sequence again, with a cache too",
    ("openai-gpt", "decode"): "the class has no cache",
    ("moshi", "decode"): "a whole sequence ignores the window that the cache honours",
}
# Elsewhere its whole sequence says what steps on a cache have to be; not where later tokens change earlier ones.
NOT_ASKED = {"cpmant": ("decode", "padded")}  # it knows padding by its token alone, and takes no mask

# What rounding in float32 may change, of the original itself.
EXACT = 1e-4


def some(quick: tuple[str, ...]) -> pytest.MarkDecorator:
    """All cases, of which only a few run with the fast tests."""
    marked = [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in NAMES]
    return pytest.mark.parametrize("name", marked)


def original(lab: Lab, name: str) -> Recorded:
    return lab.original(name, load_case(name))


@some(QUICK)
def test_what_the_original_does(lab: Lab, name: str) -> None:
    """The tables above say the truth: a difference beyond rounding, or an exception, is there if and only if they name it."""
    facts = original(lab, name).facts
    found = {"causal": facts.causal, "decode": facts.decode, "padded": facts.padded}
    assert {key for key, value in found.items() if value is None or not value < EXACT} == {
        key for case, key in FALLS_SHORT if case == name
    }
    assert facts.dtype == ("float32" if name == "xglm" else "float64")  # its mask constant overflows


@some(QUICK)
def test_unraised_is_exact(lab: Lab, name: str) -> None:
    if missing(lab, name, raised=False):
        return
    differing = inexact(lab.package(name, load_case(name), raised=False), original(lab, name))
    if name in NOT_EXACT:
        allowed = NOT_EXACT[name]
        assert differing and max(differing.values()) <= allowed.at_most, "the table of exceptions is out of date"
    else:
        assert not differing


@some(("gpt2", "qwen3"))
def test_unraised_in_flax(lab: Lab, flax: Flax, name: str) -> None:
    """The same graph and the same numbers: in float32 the two frameworks differ by the order of their sums alone."""
    if not missing(lab, name, raised=False):
        differing = inexact(lab.package(name, load_case(name), raised=False), original(lab, name), flax, LENGTHS[-1:])
        assert not differing or max(differing.values()) < EXACT


@some(QUICK)
def test_torch(lab: Lab, name: str) -> None:
    if not missing(lab, name, raised=True):
        compare(lab, name, Torch())


@some(("gpt2", "qwen3", "gpt_neo"))
def test_flax(lab: Lab, flax: Flax, name: str) -> None:
    if not missing(lab, name, raised=True):
        compare(lab, name, flax)


def compare(lab: Lab, name: str, backend: Backend) -> None:
    recorded, package = original(lab, name), lab.package(name, load_case(name), raised=True)
    measures = measure(backend, package, recorded, NOT_ASKED.get(name, ()))
    if isinstance(backend, Flax):
        measures |= measure_stacked(backend, package, recorded, NOT_ASKED.get(name, ()))
    wrong = too_large(measures, recorded.tolerance)
    known = MEASURED_GAPS.get((name, type(backend).__name__), frozenset())
    assert wrong.keys() == known, wrong or "a known gap is closed: take it off the list"


def missing(lab: Lab, name: str, *, raised: bool) -> bool:
    """Whether a case is known not to compile; asserts that it fails as the table says."""
    gap: Gap | None = KNOWN_GAPS.get(name)
    if gap is None or (gap.raised_only and not raised):
        return False
    with pytest.raises(CompileError) as caught:
        lab.package(name, load_case(name), raised=raised)
    assert gap.code in {diagnostic.code for diagnostic in caught.value.diagnostics}
    return True


def test_tables_name_cases() -> None:
    named = {*KNOWN_GAPS, *NOT_EXACT, *NOT_ASKED, *(case for case, _ in [*MEASURED_GAPS, *FALLS_SHORT])}
    assert named <= set(NAMES)
    assert all(isinstance(value, Inexact) and value.at_most < EXACT for value in NOT_EXACT.values())
