"""Code that a repository brings: evaluated without being run, and run, when asked for, without network or tokens."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from codegen import pipeline
from codegen.repo import Repository, load
from codegen.verify import checklist, interpreted, processes

REPOSITORIES = Path(__file__).parent.parent / "data" / "repositories"
MODEL, CONFIGURATION = "modeling_marl.py", "configuration_marl.py"


@pytest.fixture
def repository() -> Repository:
    return load(str(REPOSITORIES / "marl"))


@pytest.fixture
def listening() -> Iterator[int]:
    """A port of this machine that answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_evaluating_needs_no_framework_and_tells_later_tokens_apart(repository: Repository, tmp_path: Path) -> None:
    assert pipeline.evaluate(repository, tmp_path) == ""
    found = np.load(tmp_path / "expected.npz")
    assert found["logits"].shape == (*found["ids"].shape, repository.config["vocab_size"])
    assert bool(found["causal"]) and np.isfinite(found["logits"]).all() and found["logits"].std() > 0.01
    assert 0 < found["noise"] < 1e-3


@pytest.mark.slow
def test_what_is_evaluated_is_what_the_code_computes(repository: Repository, tmp_path: Path) -> None:
    """The same weights and tokens in the original, in float64."""
    torch, auto = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from safetensors.torch import load_file

    assert pipeline.evaluate(repository, tmp_path / "ours") == ""
    config = auto.AutoConfig.from_pretrained(REPOSITORIES / "marl", trust_remote_code=True)
    model = auto.AutoModelForCausalLM.from_config(config, trust_remote_code=True, attn_implementation="eager")
    model.load_state_dict(load_file(tmp_path / "ours" / "model.safetensors"), strict=False)
    model.tie_weights()
    found = np.load(tmp_path / "ours" / "expected.npz")
    with torch.no_grad():
        logits = model.double().eval()(torch.from_numpy(found["ids"])).logits.numpy()
    assert np.abs(logits - found["logits"]).max() < 1e-5 * logits.std()


@pytest.mark.slow
def test_a_wrong_package_fails(repository: Repository, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pipeline.write(pipeline.compile_package(repository), tmp_path / "package")
    (tmp_path / "package" / "flax_model.py").unlink()
    file = tmp_path / "package" / "torch_model.py"
    assert "d_model**-0.5" in file.read_text()

    def states() -> set[str]:
        checks = checklist.run(
            tmp_path / "package", lambda config, out: pipeline.evaluate(replace(repository, config=config), out)
        )
        return {check.state for check in checks if check.subject == "torch"}

    assert states() == {"passed", "not run"}
    file.write_text(file.read_text().replace("d_model**-0.5", "d_model**-0.4"))
    assert "FAILED" in states()


def test_an_operation_without_numbers_is_a_reason(repository: Repository, tmp_path: Path) -> None:
    front = pipeline.trace(repository, pipeline.build(repository), raise_components=False)
    from codegen.joints import program

    odd = replace(program(front), inputs=("ids",))
    assert "cannot be evaluated" in interpreted.record(odd, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not processes.can_cut_off(), reason="processes cannot have namespaces of their own here")
def test_code_that_is_run_has_neither_network_nor_tokens(
    repository: Repository, tmp_path: Path, listening: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("OTHER_SECRET", "secret")
    code = {name: str(repository.text(name)) for name in (MODEL, CONFIGURATION)}
    nosy = (
        "import os as _os, socket as _socket\n"
        "assert 'secret' not in _os.environ.values()\n"
        "try:\n"
        f"    _socket.create_connection(('127.0.0.1', {listening}), timeout=5)\n"
        "except OSError:\n"
        "    pass\n"
        "else:\n"
        "    raise AssertionError('the network is there')\n"
    )
    config = json.loads((REPOSITORIES / "marl" / "config.json").read_text())
    assert checklist.execute(config, tmp_path / "out", code={**code, MODEL: nosy + code[MODEL]}) == ""
    assert (tmp_path / "out" / "expected.npz").is_file()
    failing = checklist.execute(config, tmp_path / "no", code={**code, MODEL: "raise ValueError('no')\n" + code[MODEL]})
    assert "the original fails: ValueError: no" in failing
