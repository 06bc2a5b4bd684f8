"""Patterns of repository names."""

from __future__ import annotations

from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st

from codegen.listing import patterns

WORDS = st.sampled_from(["model", "base", "v2", "chat", "0.5B", "7b", "125m", "2.5", "1B", "it"])
NAMES = st.lists(
    st.builds(lambda owner, words: f"{owner}/{'-'.join(words)}", st.sampled_from("ab"), st.lists(WORDS, min_size=1)),
    min_size=1,
)


@given(NAMES)
def test_every_repository_matches_a_pattern_and_no_pattern_another(names: list[str]) -> None:
    found = patterns(names)
    assert all(any(fnmatchcase(name, pattern) for pattern in found) for name in names)
    assert not [(p, q) for p in found for q in found if p != q and fnmatchcase(p, q)]


def test_what_follows_a_size_is_open() -> None:
    assert patterns(["a/model-2-7b", "a/model-2-0.5B-chat", "a/model-2-chat-7b"]) == ("a/model-2-*",)
    assert patterns(["a/model2", "b/model-3b"]) == ("a/model2", "b/model-*")
