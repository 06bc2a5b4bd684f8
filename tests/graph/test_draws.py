"""Numbers that are drawn in every call are named where a model cannot be compiled."""

from __future__ import annotations

import ast

import pytest

from codegen.graph.draws import _calls

DRAWN = {
    "torch.randn(3)": 1,
    "x + torch.rand(2) if x.sum() else torch.bernoulli(x)": 2,
    "torch.rand(2) if self.training else x": 0,
    "other.randn(3)": 0,
    "torch.zeros(3)": 0,
}


@pytest.mark.parametrize("text", DRAWN)
def test_what_draws_outside_of_training_is_found(text: str) -> None:
    assert len(list(_calls(ast.parse(text)))) == DRAWN[text]


def test_a_statement_for_training_alone_draws_nothing() -> None:
    assert not list(_calls(ast.parse("if self.training and noisy:\n    x = torch.randn(3)")))
