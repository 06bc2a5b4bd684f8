"""Any configuration that a configuration class takes: what is compiled for it computes what the original does.

What a key may be follows from the class and its code (tests/parity/choices.py); nothing here is a list per model. A draw
changes a few keys of a tiny case. Where the original cannot be built or run with that, it is dropped, and counted;
everything else has to compile and to agree in float64: a whole sequence, steps on a cache, a padded batch, the checkpoint
there and back.
"""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import HealthCheck, Phase, assume, event, given, settings
from hypothesis import strategies as st

from codegen.diagnostics import CompileError
from tests.laws.test_hypothesis_configs import key, lab, record, wrong
from tests.parity.choices import Choices, changed, choices, weighted
from tests.parity.harness import Flax, Lab, measure, too_large
from tests.parity.original import CASES, NAMES

__all__ = ["lab"]

Changes = dict[tuple[str, ...], object]

DRAWS = 20  # of each architecture
AT_ONCE = 5  # keys that a draw changes at most
KEPT = 3  # of the draws of each architecture the original can run this many at least

OTHERS = tuple(sorted(path.stem for path in (CASES.parent / "other_cases").glob("*.json")))

# Configurations that the original runs and the compiler refuses: case, changes that suffice -> code, and why.
REFUSED: tuple[tuple[str, Changes, str, str], ...] = (
    (
        "bailing_hybrid",
        {("hidden_act",): "prelu"},
        "unknown-op",
        "an activation with parameters of its own within experts",
    ),
    (
        "internlm3",
        {("hidden_act",): "xielu"},
        "unknown-dtype",
        "the activation makes its tensors in bfloat16, whatever the model has",
    ),
    (
        "gemma",
        {("use_bidirectional_attention",): True},
        "attention-forms-differ",
        "the library itself computes one thing by the function of the file and another by the form that it prefers",
    ),
)

# What draws found, each for its kind.
FOUND: tuple[tuple[str, Changes], ...] = (
    ("mistral", {("is_causal",): False, ("sliding_window",): 4}),  # a window to both sides is one wider
    ("gemma3_text", {("use_bidirectional_attention",): True}),  # a mask or another mask; its name is no function's
    ("gemma3_text", {("head_dim",): 1}),  # heads of one element grow to the size of their angles
    (
        "cohere_compass_text",
        {("layer_types",): ["sliding_attention"] * 4},
    ),  # angles of a kind of layers that is not there
    ("mamba2", {("chunk_size",): 7}),  # a block of as many tokens as a trace once had
    ("flint", {("hidden_act",): "quick_gelu"}),  # a helper was all that needed an import
    ("roformer", {("embedding_size",): 48}),  # two names of one size
    ("electra", {("embedding_size",): 48}),
    (
        "minimax",
        {("layer_types",): ["linear_attention"] * 4},
    ),  # tables that agree with each other as the model made them
    (
        "granite_swa",
        {("partial_rotary_factor",): 0.75},
    ),  # what the class refuses was looked for with nothing left to ask
    (
        "kimi_linear",
        {("linear_attn_config", "full_attn_layers"): [1, 2, 3, 4, 5], ("linear_attn_config", "kda_layers"): []},
    ),  # a list that one of several lists of layer numbers says alone
    ("gemma2", {("use_bidirectional_attention",): True}),  # the only form of attention that there is goes by the mask
)


def load_case(name: str) -> dict[str, object]:
    folder = CASES if name in NAMES else CASES.parent / "other_cases"
    found: dict[str, object] = json.loads((folder / f"{name}.json").read_text())
    return found


def draws(table: Choices) -> st.SearchStrategy[Changes]:
    """A few keys with other values."""
    paths_of = weighted(table)

    @st.composite
    def drawn(draw: st.DrawFn) -> Changes:
        paths = draw(st.lists(st.sampled_from(paths_of), min_size=1, max_size=AT_ONCE, unique=True))
        return {path: draw(st.sampled_from(table[path])) for path in paths}

    return drawn()


def check(lab: Lab, case: str, drawn: Changes) -> None:
    """
    Raises:
        AssertionError: it does not agree, or is not refused as REFUSED says.
        CompileError: it is refused.
    """
    raw = changed(load_case(case), drawn)
    code = next((code for name, part, code, _ in REFUSED if name == case and part.items() <= drawn.items()), None)
    if code is not None:
        with pytest.raises(CompileError) as caught:
            lab.package(key(raw), raw, raised=True)
        assert code in {diagnostic.code for diagnostic in caught.value.diagnostics}
        return
    package = lab.package(key(raw), raw, raised=True)
    assert not wrong(lab, package, raw)


def check_draws(lab: Lab, case: str, number: int) -> None:
    logging.getLogger("transformers").setLevel(logging.ERROR)
    kept = 0

    @settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(draws(choices(load_case(case))))
    def run(drawn: Changes) -> None:
        nonlocal kept
        possible = record(lab, changed(load_case(case), drawn)) is not None
        event("the original runs" if possible else "the original does not run")
        assume(possible)
        kept += 1
        check(lab, case, drawn)

    run()
    assert kept >= min(KEPT, number)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("case", NAMES)
def test_any_configuration(lab: Lab, case: str) -> None:
    check_draws(lab, case, DRAWS)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("case", OTHERS)
def test_any_configuration_of_other_families(lab: Lab, case: str) -> None:
    check_draws(lab, case, DRAWS // 4)


@pytest.mark.parametrize(("case", "drawn"), FOUND, ids=lambda value: value if isinstance(value, str) else "")
def test_what_draws_found(lab: Lab, case: str, drawn: Changes) -> None:
    assert record(lab, changed(load_case(case), drawn)) is not None
    check(lab, case, drawn)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "drawn"), FOUND, ids=lambda value: value if isinstance(value, str) else "")
def test_what_draws_found_in_flax(lab: Lab, case: str, drawn: Changes) -> None:
    raw = changed(load_case(case), drawn)
    recorded = lab.original(key(raw), raw, gradients=False)
    package = lab.package(key(raw), raw, raised=True)
    assert not too_large(measure(Flax(), package, recorded, ["gradient", "decode", "padded"]), recorded.tolerance)


@pytest.mark.slow
def test_a_list_with_more_questions_than_are_followed(lab: Lab) -> None:
    """The class asks for each layer by itself, and writes the last one: a dozen of them are kept as they are."""
    check(lab, "gemma4_text", {("num_hidden_layers",): 12})


@pytest.mark.parametrize(("case", "drawn", "code"), [entry[:3] for entry in REFUSED])
def test_what_is_refused(lab: Lab, case: str, drawn: Changes, code: str) -> None:
    check(lab, case, drawn)
