"""Whatever stands in a configuration: it is read, or refused with a diagnostic."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.diagnostics import CompileError, to_json, to_text
from codegen.repo.config import parse_config

EXAMPLE = next((Path(__file__).parents[2] / "docs" / "examples").glob("*__*/config.json")).read_text()
CONFIG = json.loads(EXAMPLE)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from((0, -1, "8", 1 << 40, "\x1b[31m", "../x", float("inf")))
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.sampled_from(sorted(CONFIG)), SCALARS, max_size=3)


def attempt(text: str) -> dict[str, object] | None:
    try:
        return parse_config(text, "config.json")
    except CompileError as error:
        for found in error.diagnostics:
            shown = to_text(found, lambda file: text)
            assert "\x1b" not in shown
            json.dumps(to_json(found))
        return None


@given(st.dictionaries(st.sampled_from(sorted(CONFIG)) | st.text(max_size=5), VALUES, max_size=4), st.data())
@settings(max_examples=300)
def test_changed_values(changes: dict[str, object], data: st.DataObject) -> None:
    dropped = data.draw(st.sets(st.sampled_from(sorted(CONFIG)), max_size=3))
    config = {key: value for key, value in {**CONFIG, **changes}.items() if key not in dropped}
    read = attempt(json.dumps(config))
    assert read is None or read == config


@given(st.integers(0, len(EXAMPLE)), st.text(max_size=4), st.integers(0, 4))
@settings(max_examples=300)
def test_changed_text(position: int, inserted: str, deleted: int) -> None:
    attempt(EXAMPLE[:position] + inserted + EXAMPLE[position + deleted :])


@given(st.permutations(sorted(CONFIG)))
@settings(max_examples=20)
def test_the_order_of_keys_does_not_matter(order: list[str]) -> None:
    assert attempt(json.dumps({key: CONFIG[key] for key in order})) == CONFIG
