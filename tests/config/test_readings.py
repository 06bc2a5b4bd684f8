"""What is found of how a configuration class reads config.json."""

from __future__ import annotations

from typing import Any

import pytest

from codegen.diagnostics import CompileError
from codegen.graph.exploration import ConfigurationClass, explore, validate
from codegen.lowering.config_view import merge
from ir.expressions import Apply, Const, Index, Key, Raw
from ir.reading import Choice, DoesNotRead, Each, Explored, Refused, choice, expressions, raw_paths, read
from tests.config.law import case, library

ABSENT = Apply("in", (Const("x"), Raw(())))


def explored(raw: dict[str, Any], *paths: tuple[str, ...]) -> Explored:
    return explore(ConfigurationClass(library(), raw), raw, [Key(path) for path in paths], ())


def test_a_choice_reads_one_way() -> None:
    reading = Choice(Apply("is", (Raw(("x",)), Const(None))), Const(1), Raw(("x",)))
    assert read(reading, {}) == 1
    assert read(reading, {"x": 5}) == 5
    assert raw_paths(reading) == {("x",)}


def test_nothing_is_in_what_is_absent() -> None:
    reading = Choice(Apply("in", (Const("a"), Raw(("o",)))), Raw(("o", "a")), Const(None))
    assert read(reading, {}) is None
    assert read(reading, {"o": None}) is None
    assert read(reading, {"o": {"a": 3}}) == 3


def test_refused_refuses() -> None:
    with pytest.raises(DoesNotRead, match="no such thing"):
        read(Refused("no such thing"), {})


def test_equal_ways_are_no_choice() -> None:
    assert choice(ABSENT, Const(1), Const(1)) == Const(1)


def test_a_loop_over_indices_makes_a_list() -> None:
    layer = Index("layer")
    every_third = Apply("bool", (Apply("%", (Apply("+", (layer, Const(1))), Const(3))),))
    reading = Each(layer, Raw(("n",)), Const("a"), every_third, Const("b"))
    assert read(reading, {"n": 4}) == ["a", "a", "b", "a"]
    with pytest.raises(ValueError, match="elements"):
        read(reading, {"n": 1 << 40})


def test_a_default_that_is_a_formula() -> None:
    found = explored(case("llama"), ("head_dim",), ("num_key_value_heads",))
    raw = found.filled({"hidden_size": 64, "num_attention_heads": 4})
    assert read(found.readings[("head_dim",)], raw) == 16
    assert read(found.readings[("num_key_value_heads",)], raw) == 4
    assert read(found.readings[("head_dim",)], {**raw, "head_dim": 24}) == 24


def test_an_absent_key_is_what_the_class_declares() -> None:
    found = explored(case("llama"), ("rms_norm_eps",))
    assert found.readings[("rms_norm_eps",)] == Raw(("rms_norm_eps",))
    assert read(found.readings[("rms_norm_eps",)], found.filled({})) == 1e-6


@pytest.mark.parametrize(
    "spelling",
    [
        {"rope_theta": 500.0},
        {"rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}},
        {"rope_parameters": {"rope_theta": 500.0}},
        {"rope_scaling": {"rope_theta": 500.0, "type": "default"}},
        {"rope_scaling": {"rope_type": "default"}, "rope_theta": 500.0},
        {"rope_scaling": None, "rope_parameters": None, "rope_theta": 500.0},
    ],
)
@pytest.mark.parametrize("compiled_from", ["flat", "nested"])
def test_spellings_that_mean_the_same_read_the_same(spelling: dict[str, Any], compiled_from: str) -> None:
    raw = {key: value for key, value in case("llama").items() if not key.startswith("rope")}
    own = (
        {"rope_theta": 7.0}
        if compiled_from == "flat"
        else {"rope_parameters": {"rope_theta": 7.0, "rope_type": "default"}}
    )
    found = explored({**raw, **own}, ("rope_parameters", "rope_theta"), ("rope_parameters", "rope_type"))
    filled = found.filled({**raw, **spelling})
    assert read(found.readings[("rope_parameters", "rope_theta")], filled) == 500.0
    assert read(found.readings[("rope_parameters", "rope_type")], filled) == "default"


def test_aliases_of_an_attribute() -> None:
    raw = case("gpt2")
    found = explored(raw, ("n_embd",))
    assert read(found.readings[("n_embd",)], found.filled({"n_embd": 32})) == 32
    assert read(found.readings[("n_embd",)], found.filled({"hidden_size": 40})) == 40


def test_a_list_that_is_made_up_when_absent() -> None:
    raw = {key: value for key, value in case("cohere2").items() if key != "layer_types"}
    found = explored(raw, ("layer_types",))
    reading = found.readings[("layer_types",)]
    made = read(reading, found.filled({**raw, "num_hidden_layers": 5, "sliding_window_pattern": 2}))
    assert made == ["sliding_attention", "full_attention"] * 2 + ["sliding_attention"]
    assert read(reading, found.filled({**raw, "layer_types": ["full_attention"]})) == ["full_attention"]


def test_two_flags_that_matter_together() -> None:
    """With windows off, the layer where they begin decides nothing; with windows on it decides every kind."""
    raw = case("qwen2")
    raw = {key: value for key, value in raw.items() if key != "layer_types"} | {"use_sliding_window": False}
    found = explored(raw, ("layer_types",))
    other = {**raw, "use_sliding_window": True, "num_hidden_layers": 3, "max_window_layers": 1, "sliding_window": 8}
    made = read(found.readings[("layer_types",)], found.filled(other))
    assert made == ["full_attention", "sliding_attention", "sliding_attention"]


@pytest.mark.parametrize("compiled_with", [{}, {"use_sliding_window": True}])
def test_an_option_whose_other_half_is_null(compiled_with: dict[str, Any]) -> None:
    """Windows that are on but of no width: what the class asks only of them is asked whatever is compiled."""
    raw = case("qwen3") | {"use_sliding_window": False, "max_window_layers": 1} | compiled_with
    found = explored({key: value for key, value in raw.items() if key != "layer_types"}, ("layer_types",))
    for flag, window in ((True, None), (True, 8), (False, None), (False, 8)):
        other = {**found.raw, "use_sliding_window": flag, "sliding_window": window, "num_hidden_layers": 3}
        made = read(found.readings[("layer_types",)], found.filled(other))
        assert made == ["full_attention", *(["sliding_attention" if flag and window else "full_attention"] * 2)]


def test_a_list_that_one_of_several_lists_says_alone() -> None:
    """Layers of one kind, where another number of layers has some of no kind: this number is served, no other is guessed."""
    raw = case("kimi_linear")
    raw["linear_attn_config"] = {**raw["linear_attn_config"], "full_attn_layers": [1, 2, 3, 4, 5], "kda_layers": []}
    found = explored(raw, ("layer_types",))
    assert read(found.readings[("layer_types",)], found.filled(raw)) == ["full_attention"] * 5
    assert {("linear_attn_config",), ("num_hidden_layers",)} <= set(found.frozen)


def test_a_list_that_is_too_short_reads_as_nothing() -> None:
    sections = Raw(("rope", "sections", 2))
    assert read(sections, {"rope": {"sections": [1, 2, 3]}}) == 3
    assert read(sections, {"rope": {"sections": None}}) is None
    with pytest.raises(LookupError, match="past the end"):
        read(sections, {"rope": {"sections": [1, 2]}})


def test_an_element_of_a_list_does_not_freeze_its_object() -> None:
    raw = case("qwen3_5_text") | {"rope_parameters": {"mrope_section": [2, 1, 1], "rope_theta": 1e4}}
    found = explored(raw, ("rope_parameters", "mrope_section", 2))  # type: ignore[arg-type]
    assert ("rope_parameters",) not in found.frozen
    other = {**raw, "rope_parameters": {"mrope_section": [1, 1, 5], "rope_theta": 5e4}}
    assert read(found.readings[("rope_parameters", "mrope_section", 2)], found.filled(other)) == 5


def test_the_same_keys_of_several_objects() -> None:
    inside = Choice(Apply("in", (Const("t"), Raw(("a",)))), Raw(("a", "t")), Const(1))
    last = Choice(Apply("in", (Const("t"), Raw(("b",)))), Raw(("b", "t")), Const(1))
    reading = Choice(
        Apply("bool", (Raw(("a",)),)), inside, Choice(Apply("is", (Raw(("b",)), Const(None))), Const(1), last)
    )
    assert merge(reading) == ((("a",), ("b",)), last)
    unlike = Choice(
        Apply("bool", (Raw(("a",)),)), inside, Choice(Apply("is", (Raw(("b",)), Const(None))), Const(2), last)
    )
    assert merge(unlike) is None


def test_what_the_source_refuses_is_a_diagnostic_with_its_place() -> None:
    with pytest.raises(CompileError) as caught:
        validate(library(), {**case("llama"), "hidden_size": 50})
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "source-raises"
    assert "not a multiple of the number of attention heads" in diagnostic.message
    assert diagnostic.primary is not None
    assert "configuration" in diagnostic.primary.span.file


def test_a_list_of_two_loops_is_not_written_out_for_every_depth() -> None:
    """Two loops one after the other are no single loop: the list is that of the depth that was compiled, others are refused."""
    raw = {**case("cohere2_moe"), "first_k_dense_replace": 1, "num_hidden_layers": 6}
    found = explored(raw, ("layer_types",)).readings["layer_types",]
    assert len(expressions(found)) < 40
    assert read(found, raw) == ["full_attention", *["sliding_attention", "sliding_attention", "full_attention"] * 2][:6]
    with pytest.raises(DoesNotRead, match="num_hidden_layers is another"):
        read(found, {**raw, "num_hidden_layers": 7})
