"""What the source keeps in objects of its own from call to call."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from codegen import graph, pipeline
from codegen.diagnostics import CompileError
from codegen.repo import load
from ir.expressions import Const
from ir.graph import Branch, Number, Op
from tests.graph.test_forward import nodes, operations

DATA = Path(__file__).resolve().parent.parent / "data" / "own_caches"
STATES = {"state_read", "state_write", "state_append", "state_extend"}


def states(folder: Path) -> Counter[str]:
    """How often one layer of each kind reads and writes states, and joins to them."""
    region = graph.trace_forward(pipeline.build(load(str(folder)))).region
    return Counter(name for name in operations(region) if name in STATES)


def changed(name: str, to: Path, *edits: tuple[str, str]) -> Path:
    shutil.copytree(DATA / name, to, dirs_exist_ok=True)
    file = to / f"modeling_{name}.py"
    text = file.read_text()
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
    return to


def test_lists_and_dicts_of_tensors_made_when_they_are_needed() -> None:
    assert states(DATA / "heath") == {"state_read": 3, "state_write": 3}  # one kind of layer keeps one, the other two


def test_tensors_of_all_layers() -> None:
    assert states(DATA / "scree") == {"state_read": 2, "state_write": 2}


def test_attributes_of_modules() -> None:
    assert states(DATA / "tarn") == {"state_read": 2, "state_write": 2}


def test_tuples_that_grow_with_the_tokens() -> None:
    assert states(DATA / "shoal") == {"state_append": 4}


def starts(folder: Path) -> set[object]:
    """What the states of a layer that are not zeros at first are then."""
    region = graph.trace_forward(pipeline.build(load(str(folder)))).region
    found = [node.args[2:] for node in nodes(region) if isinstance(node, Op) and node.name == "state_read"]
    return {operand.expr for operands in found for operand in operands if isinstance(operand, Number)}


def test_states_that_do_not_start_as_zeros(tmp_path: Path) -> None:
    assert starts(DATA / "skerry") == {Const(-1e30)}
    edit = ("torch.zeros(*shape, config.state_size", "torch.ones(*shape, config.state_size")
    assert starts(changed("scree", tmp_path, edit)) == {Const(1)}


def test_a_way_for_one_token_that_broadcasts_otherwise_is_not_taken() -> None:
    region = graph.trace_forward(pipeline.build(load(str(DATA / "skerry")))).region
    assert not any(isinstance(node, Branch) for node in nodes(region))


ATTENTION = "\n    def forward(self, x, past=None):\n        batch,"
"""Where an attention of shoal is made, and where it begins to run."""


@pytest.mark.parametrize(
    ("table", "cached"),
    [
        ("self.table = x.new_ones(())\n        x = x * self.table", True),
        ("x = x if self.table is None else x * self.table\n        self.table = x.new_ones(())", False),
        ("if self.table is None:\n            self.table = x.new_ones(())\n        x = x * self.table", False),
    ],
)
def test_what_a_module_keeps_and_what_it_makes_anew(tmp_path: Path, table: str, cached: bool) -> None:
    begins = ATTENTION.replace("batch,", f"{table}\n        batch,")
    folder = changed("shoal", tmp_path, (ATTENTION, "        self.table = None\n" + begins))
    try:
        traced = graph.trace_forward(pipeline.build(load(str(folder))))
    except CompileError as error:
        assert not cached and "table" in str(error)
    else:
        assert traced.runs_again is not cached


LIMIT = ("x = self.conv(x)[..., :length]\n        else", "x = self.conv(x)[..., :length].clamp(max=0.4)\n        else")
"""A limit that the way of one token forgets."""


def test_a_way_for_one_token_that_computes_something_else_is_not_taken(tmp_path: Path) -> None:
    for folder, taken in ((DATA / "tarn", True), (changed("tarn", tmp_path, LIMIT), False)):
        region = graph.trace_forward(pipeline.build(load(str(folder)))).region
        assert any(isinstance(node, Branch) for node in nodes(region)) is taken


def test_what_a_trace_on_own_states_asks_is_known(tmp_path: Path) -> None:
    """Questions about layers come from the trace that is kept, which is not the first."""
    built = pipeline.build(load(str(DATA / "skerry")))
    graph.trace_forward(built)
    assert any("halve_every" in repr(predicate.expr) for predicate in built.interpreter.predicates.all())


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("scree", "torch.zeros(*shape, config.state_size", "torch.rand(*shape, config.state_size"),
        ("skerry", "kept[:, :, i] = new", "kept[:, :, i] = new\n        memory[3] *= 2"),
        (
            "tarn",
            "x = self.conv(x)[..., :length]\n        else",
            "x = self.conv(F.tanh(x))[..., :length]\n        else",
        ),
        ("tarn", "total = torch.zeros_like(x[:, 0])", "total = 1 + torch.zeros_like(x[:, 0])"),
        ("heath", "sums = torch.zeros(", "sums = 1 + torch.zeros("),
        ("shoal", "(key, value)", "(key[:, :, -9:], value)"),
        ("scree", "cache_params.ssm_states[self.layer_idx].copy_(state)", "cache_params.ssm_states.add_(state)"),
    ],
    ids=[
        "starts as anything",
        "written as a whole and in parts",
        "kept before something is made of it",
        "starts as ones in a module",
        "starts as ones when needed",
        "keeps the last alone",
        "written as a whole",
    ],
)
def test_what_is_not_followed_is_traced_on_whole_sequences(name: str, old: str, new: str, tmp_path: Path) -> None:
    assert not states(changed(name, tmp_path, (old, new)))


def test_a_path_for_longer_sequences_is_refused(tmp_path: Path) -> None:
    edit = (
        "        decay = torch.exp(",
        "        if length // 64 > 0:\n            x = 2 * x\n        decay = torch.exp(",
    )
    with pytest.raises(Exception, match="longer sequences"):
        states(changed("scree", tmp_path, edit))
