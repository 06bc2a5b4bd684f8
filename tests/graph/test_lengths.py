"""One trace stands for all sizes of the input: what a size decides, and is no way that was compared, is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from codegen import pipeline
from codegen.diagnostics import CompileError
from codegen.graph.forward import Traced
from codegen.repo import load
from ir.expressions import Apply, Const, Key

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


WINDOW = "self.config.window"
BY_CONFIGURATION = {
    "shorter than": f"if x.shape[1] < {WINDOW}:\n            x = x * 2",
    "as many as": f"x = x * 2 if x.shape[1] == {WINDOW} else x",
    "blocks": f"if x.shape[1] % {WINDOW} == 0:\n            x = x * 2",
    "blocks, beside a flag": f"if self.training is False and x.shape[1] % {WINDOW} == 0:\n            x = x * 2",
    "blocks, before a flag": f"if x.shape[1] % {WINDOW} != 0 and self.config.skip_weight:\n            x = x * 2",
    "blocks, not": f"even = not x.shape[1] % {WINDOW}\n        x = x * 2 if even else x",
    "all tokens": f"n = past_key_values.get_seq_length() if past_key_values else x.shape[1]\n        x = x * 2 if n > {WINDOW} else x",
    "a factor": f"factor = 2.0 if x.shape[1] % {WINDOW} == 0 else 1.0\n        x = x * factor",
    "an attribute": f"self.even = x.shape[1] % {WINDOW} == 0\n        if self.even:\n            x = x * 2",
    "returned": f"if x.shape[1] % {WINDOW} == 0:\n            return BaseModelOutputWithPast(last_hidden_state=x)",
}
PAD = f"size = {WINDOW}\n        pad = (size - x.shape[1] % size) % size\n        length = x.shape[1]\n        "
PADDED = "torch.cat([x, x.new_zeros(x.shape[0], pad, x.shape[2])], 1)"
ALIKE = {
    "cut off what is padded": f"{PAD}x = {PADDED} * 2\n        if pad > 0:\n            x = x[:, :length]",
    "pad, and cut off": f"{PAD}if pad:\n            x = {PADDED}\n        x = (x * 2)[:, :length]",
    "pad in one expression": f"{PAD}x = {PADDED} if pad > 0 else x\n        x = (x * 2)[:, :length]",
    "pad where it is asked for": f"{PAD}if pad > 0 and self.config.skip_weight:\n            x = {PADDED}\n        x = x[:, :length]",
    "not asked for": f"{PAD}if pad == 0:\n            x = x + 0.0\n        else:\n            x = {PADDED}[:, :length]",
    "an exception": f"if x.shape[1] % {WINDOW} == 0:\n            raise ValueError('full')",
}


def traced(folder: Path, statement: str) -> Traced:
    made = folder / "repository"
    shutil.copytree(SOURCE, made)
    (modeling,) = made.glob("modeling_*.py")
    text = modeling.read_text()
    assert text.count(LAST) == 1
    modeling.write_text(text.replace(LAST, f"        {statement}\n{LAST}"))
    repository = load(str(made), weights=False)
    return pipeline.trace(repository, pipeline.build(repository)).traced


EVERY = {**DECIDED, **BY_CONFIGURATION}


@pytest.mark.parametrize("statement", EVERY.values(), ids=EVERY)
def test_what_a_size_of_the_input_decides_is_refused(tmp_path: Path, statement: str) -> None:
    with pytest.raises(CompileError) as caught:
        traced(tmp_path, statement)
    assert {found.code for found in caught.value.diagnostics} == {"branch-on-length"}
    assert all(
        found.primary is not None and "modeling" in found.primary.span.file for found in caught.value.diagnostics
    )


def test_sizes_that_are_only_computed_with_are_not(tmp_path: Path) -> None:
    traced(tmp_path, FREE)


@pytest.mark.parametrize("statement", ALIKE.values(), ids=ALIKE)
def test_ways_that_give_the_same_are_one(tmp_path: Path, statement: str) -> None:
    assert traced(tmp_path, statement).limits == ()


LIMIT = Key(("max_position_embeddings",))
LIMITED = {
    ">": LIMIT,
    ">=": Apply("-", (LIMIT, Const(1))),
}


@pytest.mark.parametrize("compared", LIMITED)
def test_another_way_of_longer_inputs_is_a_limit(tmp_path: Path, compared: str) -> None:
    statement = f"if x.shape[1] {compared} self.config.max_position_embeddings:\n            x = x * 2"
    assert traced(tmp_path, statement).limits == (LIMITED[compared],)
