"""What runs over all tokens in every step is what the source computes step by step, or is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from codegen.diagnostics import CompileError, Diagnostic
from codegen.graph import Attempt, histories
from codegen.pipeline import build, compile_package, trace
from codegen.repo import load

DATA = Path(__file__).resolve().parent.parent / "data"
CAUSE = Diagnostic("unknown-state", "not this one")


def refused(source: Path, causes: tuple[Diagnostic, ...]) -> bool:
    repository = load(str(source))
    traced = trace(repository, build(repository), raise_components=False, way=Attempt(False)).traced
    try:
        histories.check(traced.region, traced.inputs, causes)
    except CompileError as error:
        return error.diagnostics[0].code == "depends-on-length"
    return False


def case(name: str, folder: Path, **changes: object) -> Path:
    raw = json.loads(next(DATA.glob(f"*cases/{name}.json")).read_text())
    (folder / "config.json").write_text(json.dumps({**raw, **changes}))
    return folder / "config.json"


@pytest.mark.parametrize("name", ["llama", "bloom", "mpt", "gpt2", "xlnet"])
def test_places_and_masks_are_no_lengths(name: str, tmp_path: Path) -> None:
    assert not refused(case(name, tmp_path), (CAUSE,))


def test_angles_that_follow_from_the_longest_position(tmp_path: Path) -> None:
    source = case("internlm3", tmp_path)
    assert refused(source, (CAUSE,))
    assert not refused(source, ())  # a source without a cache counts them in every call, and so does what is emitted


def without_its_cache(folder: Path) -> Path:
    """Code with angles by the length, whose cache no call fills twice alike."""
    shutil.copytree(DATA / "repositories" / "quill", folder / "quill")
    file = folder / "quill" / "modeling_quill.py"
    text = file.read_text()
    joined = "key = torch.cat((past_key, key), dim=1)"
    assert joined in text
    file.write_text(text.replace(joined, f"{joined}[:, ::2]"))
    return folder / "quill"


def test_code_that_cannot_be_followed_on_its_cache_is_refused_where_that_makes_a_difference(tmp_path: Path) -> None:
    source = without_its_cache(tmp_path)
    with pytest.raises(CompileError) as caught:
        compile_package(load(str(source)))
    assert caught.value.diagnostics[0].code == "depends-on-length"
    raw = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**raw, "use_dynamic_ntk": False}))
    package = compile_package(load(str(source)))
    (note,) = (note for note in package.notes if note.code == "runs-again")
    assert note.notes
    assert "A step runs over all tokens so far" in package.files["README.md"]


def test_the_card_of_a_model_with_a_cache_says_nothing_of_the_kind(tmp_path: Path) -> None:
    package = compile_package(load(str(case("llama", tmp_path))))
    assert all(note.code != "runs-again" for note in package.notes)
    assert "all tokens so far" not in package.files["README.md"]
