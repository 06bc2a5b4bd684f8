"""One trace stands for all sizes of the input: what a size decides, and is no way that was compared, is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from codegen import pipeline
from codegen.diagnostics import CompileError
from codegen.repo import load

SOURCE = Path(__file__).resolve().parent.parent / "data" / "repositories" / "marl"
LAST = "        return BaseModelOutputWithPast(last_hidden_state=self.norm(x)"

DECIDED = {
    "parity": "x = x * 2 if x.shape[1] % 2 == 0 else x",
    "rows": "x = x * (2 if len(x) > 1 else 1)",
    "a part for each token": "x = torch.stack([h * 2 for h in x.unbind(1)], 1)",
    "a part for each token, numbered": "x = torch.cat([h * (i + 1) for i, h in enumerate(x.split(1, dim=1))], 1)",
    "a part for each row": "x = torch.stack([h * 2 for h in x], 0)",
    "a number for each token": "x = x * torch.tensor([0.5] * x.shape[1])[None, :, None]",
}
FREE = (
    "a, b = x.split([x.shape[1] // 2, x.shape[1] - x.shape[1] // 2], dim=1)\n        x = torch.cat([b, a], 1).flip(1)"
)


def traced(folder: Path, statement: str) -> None:
    made = folder / "repository"
    shutil.copytree(SOURCE, made)
    (modeling,) = made.glob("modeling_*.py")
    text = modeling.read_text()
    assert text.count(LAST) == 1
    modeling.write_text(text.replace(LAST, f"        {statement}\n{LAST}"))
    repository = load(str(made), weights=False)
    pipeline.trace(repository, pipeline.build(repository))


@pytest.mark.parametrize("statement", DECIDED.values(), ids=DECIDED)
def test_what_a_size_of_the_input_decides_is_refused(tmp_path: Path, statement: str) -> None:
    with pytest.raises(CompileError) as caught:
        traced(tmp_path, statement)
    assert {found.code for found in caught.value.diagnostics} == {"branch-on-length"}
    assert all(
        found.primary is not None and "modeling" in found.primary.span.file for found in caught.value.diagnostics
    )


def test_sizes_that_are_only_computed_with_are_not(tmp_path: Path) -> None:
    traced(tmp_path, FREE)
