"""Several parameters that are tied to one, directly or by way of another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from codegen.lowering.views import SourceView, TieView, WeightsView

SOURCE = SourceView("a", "a", "a", "", "")


def view(pairs: list[tuple[str, str]]) -> WeightsView:
    return WeightsView(SOURCE, (), (), tuple(TieView(a, b, a, b) for a, b in pairs))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_every_parameter_is_assigned_once_beside_what_it_is_tied_to(parents: list[int]) -> None:
    # parameter i + 1 is tied to one of those before it
    pairs = [(f"p{i + 1}", f"p{parent % (i + 1)}") for i, parent in enumerate(parents)]
    assert [root for root, _ in view(pairs).torch_ties] == ["p0"]
    ((_, places),) = view(pairs).torch_ties
    assert sorted(places.split(" = ")) == sorted(f'state["p{i}"]' for i in range(len(parents) + 1))


def test_groups_stay_apart() -> None:
    made = view([("head.weight", "words.weight"), ("head.bias", "bias")]).torch_ties
    assert made == (
        ("words.weight", 'state["head.weight"] = state["words.weight"]'),
        ("bias", 'state["head.bias"] = state["bias"]'),
    )
