"""Every byte of a mixture of experts goes to a place of its own in each layout, and from there back to where it was."""

from __future__ import annotations

import pytest

from codegen import pipeline
from codegen.diagnostics import CompileError
from codegen.repo.load import from_record
from codegen.weights import parameters as mapping
from codegen.weights.data import Extent
from codegen.weights.stored import Array
from codegen.weights.table import Table, load_table
from tests.render_package.test_accounting import CONFIG, sound
from tests.tools.real_weights import LAYOUTS, files_of, trip

REPOSITORY = from_record("some", "", CONFIG, sound())


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    held = {name: stored.shape for name, stored in (REPOSITORY.tensors or {}).items() if stored.shape is not None}
    return load_table(pipeline.compile_into(REPOSITORY, tmp_path_factory.mktemp("emitted")), CONFIG, held)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_there_and_back(layout: str, table: Table) -> None:
    total = sum(array.block.size for array in files_of(REPOSITORY).values())
    assert trip(table, REPOSITORY, LAYOUTS[layout]) == f"{total:,} bytes"


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_byte_has_one_place(layout: str, table: Table) -> None:
    arrays = mapping.listed(table, mapping.from_hub(table, files_of(REPOSITORY)), LAYOUTS[layout])
    parts = sorted((part.start, part.stop) for array in arrays for part in array.data if isinstance(part, Extent))
    assert parts[0][0] == 0 and all(one[1] == other[0] for one, other in zip(parts, parts[1:], strict=False))
    assert parts[-1][1] == sum(array.block.size for array in files_of(REPOSITORY).values())


@pytest.mark.slow
def test_experts_of_several_types_make_no_parameter(table: Table) -> None:
    arrays = files_of(REPOSITORY)
    name = next(name for name in arrays if ".experts." in name)
    arrays[name] = Array(name, "BF16", arrays[name].shape, arrays[name].data)
    with pytest.raises(CompileError) as caught:
        mapping.from_hub(table, arrays)
    assert [one.code for one in caught.value.diagnostics] == ["mixed-types"]
    assert name in caught.value.diagnostics[0].notes[0]
