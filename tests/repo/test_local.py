"""Folders and configuration files on this machine."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from codegen.diagnostics import CompileError, Severity
from codegen.repo import load
from tests.checkpoints import entries, safetensors

CONFIG = {"model_type": "acme", "hidden_size": 8, "num_attention_heads": 2}
ONE = entries({"a": ("F32", (2,))})
TWO = entries({"b": ("F32", (3,))})


def folder(tmp_path: Path, **files: object) -> Path:
    path = tmp_path / "org__name"
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(CONFIG))
    for name, content in files.items():
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        (path / name).write_bytes(data)
    return path


def findings(source: Path | str, **options: object) -> list[tuple[str, str]]:
    with pytest.raises(CompileError) as caught:
        load(str(source), **options)  # type: ignore[arg-type]
    return [(found.code, found.message) for found in caught.value.diagnostics]


def codes(source: Path | str) -> list[str]:
    return [code for code, _ in findings(source)]


def test_folder(tmp_path: Path) -> None:
    repository = load(str(folder(tmp_path, **{"model.safetensors": safetensors(ONE), "modeling_x.py": b"x = 1\n"})))
    assert (repository.name, repository.revision, repository.config) == ("org/name", "", CONFIG)
    assert repository.tensors is not None and repository.tensors["a"].shape == (2,)
    assert repository.python_files() == ("modeling_x.py",)
    assert repository.text("modeling_x.py") == "x = 1\n"
    assert repository.text("absent.py") is None


def test_configuration_by_itself(tmp_path: Path) -> None:
    path = folder(tmp_path, **{"model.safetensors": b"not read"})
    repository = load(str(path / "config.json"))
    assert repository.name == "org/name" and repository.tensors is None


def test_weights_can_be_skipped(tmp_path: Path) -> None:
    assert load(str(folder(tmp_path, **{"model.safetensors": b""})), weights=False).tensors is None


def test_folder_of_the_hubs_cache_says_its_commit(tmp_path: Path) -> None:
    path = tmp_path / "models--org--my--name" / "snapshots" / "abc123"
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    assert (load(str(path)).name, load(str(path)).revision) == ("org/my--name", "abc123")


def test_name_of_a_folder_cannot_become_code(tmp_path: Path) -> None:
    path = tmp_path / 'a\n"""; import os #\u202e'
    path.mkdir()
    (path / "config.json").write_text("{}")
    assert load(str(path)).name == "a_import_os_"


def index(**places: object) -> dict[str, object]:
    return {"weight_map": places}


def test_shards(tmp_path: Path) -> None:
    files = {"1.safetensors": safetensors(ONE), "2.safetensors": safetensors(TWO)}
    files["model.safetensors.index.json"] = json.dumps(index(a="1.safetensors", b="2.safetensors")).encode()
    files["consolidated.safetensors"] = b"another copy, which the index does not name"
    repository = load(str(folder(tmp_path, **files)))
    assert repository.tensors is not None
    assert {name: tensor.file for name, tensor in repository.tensors.items()} == {
        "a": "1.safetensors",
        "b": "2.safetensors",
    }


INDEX_FAULTS = {
    "absent shard": (index(a="1.safetensors", b="3.safetensors"), ["weights-index"]),
    "absent tensor": (index(a="1.safetensors", b="2.safetensors", c="2.safetensors"), ["weights-index"]),
    "tensor not listed": (index(a="1.safetensors"), []),
    "other shard": (index(a="2.safetensors", b="1.safetensors"), ["weights-index", "weights-index"]),
    "no map": ({}, ["weights-index"]),
    "map to numbers": (index(a=1), ["weights-index"]),
    "leads out": (index(a="../1.safetensors"), ["file-outside-source"]),
    "absolute": (index(a="/etc/passwd"), ["file-outside-source"]),
    "drive": (index(a="C:\\x"), ["file-outside-source"]),
}


@pytest.mark.parametrize("name", INDEX_FAULTS)
def test_fault_of_an_index(tmp_path: Path, name: str) -> None:
    content, expected = INDEX_FAULTS[name]
    path = folder(
        tmp_path,
        **{
            "1.safetensors": safetensors(ONE),
            "2.safetensors": safetensors(TWO),
            "model.safetensors.index.json": content,
        },
    )
    if expected:
        assert codes(path) == expected
    else:
        load(str(path))


def test_tensor_in_two_shards(tmp_path: Path) -> None:
    assert codes(folder(tmp_path, **{"x.safetensors": safetensors(ONE), "y.safetensors": safetensors(ONE)})) == [
        "weights-index"
    ]


def test_two_documents_in_an_index(tmp_path: Path) -> None:
    assert codes(folder(tmp_path, **{"model.safetensors.index.json": b"{}\n{}"})) == ["weights-index"]


def test_published_list_of_tensors(tmp_path: Path) -> None:
    lists = {"tensors.json": {"a": [2, 3], "b": None}, "dtypes.json": {"a": "BF16"}}
    for pack in (False, True):
        (tmp_path / str(pack)).mkdir()
        files = {
            name + ".gz" * pack: gzip.compress(json.dumps(value).encode()) if pack else value
            for name, value in lists.items()
        }
        tensors = load(str(folder(tmp_path / str(pack), **files))).tensors
        assert tensors is not None
        assert [(t.shape, t.dtype) for t in tensors.values()] == [((2, 3), "BF16"), (None, None)]


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    repository = load(str(folder(tmp_path, **{"pytorch_model.bin": b"\x80\x04"})))
    assert repository.tensors is None
    assert [(note.code, note.severity) for note in repository.notes] == [("weights-pickled", Severity.NOTE)]


CONFIG_FAULTS = {
    "": ["config-not-json"],
    "{": ["config-not-json"],
    "[]": ["config-not-json"],
    "{} {}": ["config-not-json"],
    '{"a": 1, "a": 2}': ["config-not-json"],
    '{"a": NaN}': ["config-not-json"],
    '{"a":' * 100_000: ["config-not-json"],
    '{"a": 1' + "0" * 5000 + "}": ["config-not-json"],
    "version https://git-lfs.github.com/spec/v1": ["lfs-pointer"],
    '{"hidden_size": -1, "num_hidden_layers": "2", "vocab_size": 1.5, "head_dim": true}': ["config-value"] * 4,
    '{"hidden_size": 99999999999999}': ["config-value"],
    '{"text_config": {"num_experts": -2, "hidden_size": [8, 0]}}': ["config-value"] * 2,
    '{"architectures": "X", "model_type": 3}': ["config-value"] * 2,
    '{"architectures": ["X()"], "model_type": "../x"}': ["config-value"] * 2,
    '{"model_type": "a b", "hidden_act": "a\\nb"}': ["config-value"] * 2,
}


@pytest.mark.parametrize("text", CONFIG_FAULTS, ids=lambda text: text[:40])
def test_configuration_that_cannot_be_meant(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    assert codes(tmp_path) == CONFIG_FAULTS[text]


def test_the_value_is_shown_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{\n  "a": {"head_dim": 4},\n  "b": {\n    "head_dim": -4\n  }\n}')
    with pytest.raises(CompileError) as caught:
        load(str(tmp_path))
    (found,) = caught.value.diagnostics
    assert found.primary is not None and found.primary.span.line == 4
    assert "`b.head_dim`" in found.message


def test_interval_without_end_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"time_step_limit": [0.0, Infinity], "head_dim": null}')
    load(str(tmp_path))


def test_configuration_and_weights_are_reported_together(tmp_path: Path) -> None:
    path = folder(tmp_path, **{"model.safetensors": b"x"})
    (path / "config.json").write_text('{"hidden_size": 0}')
    assert codes(path) == ["config-value", "weights-truncated"]


def test_missing(tmp_path: Path) -> None:
    assert codes(tmp_path) == ["config-missing"]
    assert codes(tmp_path / "nothing") == ["source-not-found"]
    assert codes("./nothing") == ["source-not-found"]
    (tmp_path / "config.json").mkdir()
    assert codes(tmp_path) == ["config-missing"]


def test_not_text(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b'{"a": "\xff"}')
    assert codes(tmp_path) == ["file-not-text"]


def test_revision_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="no revisions"):
        load(str(folder(tmp_path)), "v1")


@pytest.mark.parametrize("name", ("../x.py", "/x.py", "C:/x.py", "\\\\host\\x.py", "a/../../x.py", "a\nb.py", ""))
def test_name_that_leads_out(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.py").write_text("secret")
    repository = load(str(folder(tmp_path)))
    with pytest.raises(CompileError) as caught:
        repository.text(name)
    assert caught.value.diagnostics[0].code == "file-outside-source"


def test_link_that_leads_out(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x = 1")
    path = folder(tmp_path)
    (path / "modeling.py").symlink_to(tmp_path / "secret")
    with pytest.raises(CompileError, match="not inside the source"):
        load(str(path)).text("modeling.py")
