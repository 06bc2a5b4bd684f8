"""Configurations of the library's own types with flags that no published one has: what they ask for is compiled."""

from __future__ import annotations

import pytest

from tests.laws.test_hypothesis_configs import key, lab
from tests.parity.harness import Flax, Lab, Torch, module
from tests.parity.test_other_patterns import Changes, load_case
from tests.parity.test_repositories import check

__all__ = ["lab"]

FLAGS: tuple[tuple[str, Changes], ...] = (
    ("hrm_text", {"H_cycles": 1, "L_cycles": 1}),  # each stack runs once: its layers are numbered from an offset
    (  # layers with settings of their own, by number
        "gemma4_unified_text",
        {"attention_k_eq_v": False, "num_kv_shared_layers": 2, "use_double_wide_mlp": True},
    ),
    ("xlnet", {"attn_type": "uni"}),  # adds a mask to one that is too small for it: takes none
)


def test_a_mask_that_the_original_cannot_take_is_refused(lab: Lab) -> None:
    raw = {**load_case("xlnet"), "attn_type": "uni"}
    recorded = lab.original(key(raw), raw)
    assert recorded.facts.padded is None  # it raises
    model = Torch().load(lab.package(key(raw), raw, raised=True), recorded.folder, "float64")
    with pytest.raises(ValueError, match="rows of one length"):
        Torch().logits(model, recorded.arrays["padded_ids"], recorded.arrays["padded_mask"])


@pytest.mark.slow
@pytest.mark.parametrize("framework", [Torch, Flax])
@pytest.mark.parametrize(("name", "changes"), FLAGS)
def test_flags(lab: Lab, name: str, changes: Changes, framework: type[Torch | Flax]) -> None:
    raw = {**load_case(name), **changes}
    recorded = lab.original(key(raw), raw)
    refused = ["padded"] if recorded.facts.padded is None else []
    check(recorded, lab.package(key(raw), raw, raised=True), framework(), *refused)


def test_an_open_width_is_positive(lab: Lab) -> None:
    raw = load_case("gpt2")
    config = module(lab.package(key(raw), raw, raised=True), "config").Config
    with pytest.raises(ValueError, match="n_inner is not positive: -3"):
        config.from_hf({**raw, "n_inner": -3})
