"""Modeling code with one change compiles to what the changed code computes, or is refused.

`python -m tests.tools.code_mutants` draws many more than a test can; docs/mutants.md has what became of them.
"""

from __future__ import annotations

import ast
from itertools import islice
from pathlib import Path

import pytest

from tests.parity.original import record
from tests.tools.code_mutants import (
    AGREES,
    CRASH,
    DROPPED,
    EQUAL,
    REFUSED,
    WRONG,
    Clean,
    Subject,
    Verdict,
    clean_of,
    compiled,
    judge,
    prepare,
    read,
    run,
    subject,
    wrong,
)
from tests.tools.mutants import KINDS, Mutant, Source, mutants, sites

TYPES = ("llama", "gpt2", "mixtral", "bloom", "bart", "mamba2", "deepseek_v2", "gemma2", "roformer", "lfm2")

# What mutants found, each for its kind: a case, what stands there, what stands there then, and what becomes of it.
FOUND = (
    # a call without a mask takes another way than one with a mask, and computes something else there
    ("bloom", "attention_mask.cumsum(dim=-1) - 1", "attention_mask.cumsum(dim=-2) - 1", REFUSED, "branch-on-data"),
    # a call without a cache takes another way than one with a cache
    ("llama", "update(key_states, value_states,", "update(value_states, key_states,", REFUSED, "branch-on-data"),
    # a buffer that the library fills once more after the model is made, with other numbers
    (
        "gpt_neo",
        "bias = torch.bitwise_xor(bias, torch.tril(bias, -config",
        "bias = torch.bitwise_xor(bias, torch.tril(bias, 1 - config",
        REFUSED,
        "unsupported",
    ),
    # what a layer gave was written into, before the next one that is like it was copied from it
    (
        "xlm",
        "self.layer_norm2.append(nn.LayerNorm(self.dim, eps=config.layer_norm_eps))",
        "self.layer_norm2.append(nn.LayerNorm(self.dim, eps=0.05))",
        AGREES,
        "",
    ),
    # the sign of a number bound less than the power it is raised to
    ("bart", "self.head_dim**-0.5", "(-0.5) ** self.head_dim", AGREES, ""),
    # a fused attention takes the square root of its scale
    ("llama", "self.head_dim**-0.5", "-(self.head_dim**-0.5)", AGREES, ""),
    # how many tokens there are was read from a mask that may be None
    ("qwen3", "slen, head_dim)\n    return", "slen, head_dim).flip(2)\n    return", EQUAL, ""),
    # what the first layer takes is of another type than what it gives to the next one
    (
        "bigbird_pegasus",
        "residual + hidden_states\n\n        return hidden_states",
        "residual + hidden_states\n\n        return hidden_states.float()",
        AGREES,
        "",
    ),
)

# Edits that change numbers: a case, what stands there, what stands there then.
CHANGES = (
    ("llama", " * scaling", "", "scale dropped"),
    ("llama", "torch.cat((-x2, x1), dim=-1)", "torch.cat((x2, -x1), dim=-1)", "pairing changed"),
    ("gpt2", "self.ln_1(hidden_states)", "self.ln_2(hidden_states)", "parts exchanged"),
)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutants")


def unchanged(given: Subject, home: Path) -> Clean:
    if not (home / given.name / "lines.json").exists():
        (home / given.name).mkdir(exist_ok=True)
        prepare(given, home / given.name)
    return clean_of(home / given.name)


def edited(given: Subject, old: str, new: str, kind: str = "by hand") -> Mutant:
    assert old in given.text, "what was to be changed stands there no more"
    return Mutant(kind, given.text[: given.text.index(old)].count("\n") + 1, old, new, given.text.replace(old, new))


@pytest.mark.parametrize("name", ["llama", pytest.param("gpt2", marks=pytest.mark.slow)])
def test_a_few_mutants(home: Path, tmp_path: Path, name: str) -> None:
    given = subject(name)
    clean, verdicts = unchanged(given, home), []
    for number, mutant in enumerate(islice(mutants(given.text, 3, clean.lines), 5)):
        (tmp_path / str(number)).mkdir()
        verdicts.append(judge(given, clean, mutant, tmp_path / str(number)))
    check(verdicts)
    assert any(found.verdict == AGREES for found in verdicts)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "old", "new", "verdict", "code"), FOUND)
def test_what_mutants_found(home: Path, tmp_path: Path, name: str, old: str, new: str, verdict: str, code: str) -> None:
    given = subject(name)
    found = judge(given, unchanged(given, home), edited(given, old, new), tmp_path)
    assert (found.verdict, found.code) == (verdict, code), found.detail


@pytest.mark.parametrize(
    ("name", "old", "new", "kind"),
    [CHANGES[0], *(pytest.param(*change, marks=pytest.mark.slow) for change in CHANGES[1:])],
)
def test_a_package_of_other_code_is_noticed(
    home: Path, tmp_path: Path, name: str, old: str, new: str, kind: str
) -> None:
    """The comparison can fail: the package of the code as it is does not compute what the changed code does."""
    given = subject(name)
    mutant = edited(given, old, new, kind)
    record(given.raw, tmp_path / "original", gradients=False, code=given.code(mutant.text))
    package = compiled(given.raw, given.code(), tmp_path / "case_of_the_code_as_it_is", raised=True)
    assert "forward" in wrong(package, read(tmp_path / "original"))
    (tmp_path / "mutant").mkdir()
    assert judge(given, unchanged(given, home), mutant, tmp_path / "mutant").verdict == AGREES


def test_a_mutant_is_one_readable_change() -> None:
    given, texts = subject("mixtral"), set()
    for mutant in islice(mutants(given.text, 0), 60):
        ast.parse(mutant.text)
        assert mutant.before in given.text and mutant.after in mutant.text
        old, new = given.text.splitlines(), mutant.text.splitlines()
        assert old[: mutant.line - 1] == new[: mutant.line - 1] and old[mutant.line - 1] != new[mutant.line - 1]
        texts.add(mutant.text)
    assert len(texts) == 60


def test_the_same_seed_gives_the_same_mutants() -> None:
    text = subject("gpt2").text
    first, again, other = ([found.label for found in islice(mutants(text, seed), 40)] for seed in (1, 1, 2))
    assert first == again != other


def test_every_kind_finds_something() -> None:
    sources = [Source.of(subject(name).text) for name in ("llama", "gpt_neo", "bloom", "mixtral")]
    assert [kind for kind in KINDS if not any(sites(source, kind) for source in sources)] == []


@pytest.mark.long
@pytest.mark.slow
def test_many_mutants() -> None:
    check(list(run(list(TYPES), 24, seed=1)))


def check(verdicts: list[Verdict]) -> None:
    known = (AGREES, EQUAL, REFUSED, *DROPPED)
    assert not [found for found in verdicts if found.verdict in (WRONG, CRASH) or found.verdict not in known]
