"""Every case compiles, and what it was compiled from is what its package serves."""

from __future__ import annotations

import json

import pytest

from codegen.diagnostics import CompileError
from tests.parity.harness import Lab, module
from tests.parity.original import CASES

FILES = {path.stem: path for path in sorted(CASES.parent.glob("*cases/*.json"))}
QUICK = ("gemma4_unified",)
REFUSED = {  # what has no form in either framework: docs/decisions/0013
    "blt": "data-dependent",
    "reformer": "random-numbers",
}
NAMES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in FILES]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_case_is_served_by_its_own_package(lab: Lab, name: str) -> None:
    raw = json.loads(FILES[name].read_text())
    if name in REFUSED:
        with pytest.raises(CompileError) as caught:
            lab.package(name, raw, raised=True)
        assert caught.value.diagnostics[0].code == REFUSED[name]
        return
    module(lab.package(name, raw, raised=True), "config").Config.from_hf(raw)
