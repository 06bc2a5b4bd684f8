"""`codegen generate`: weights, tokenizer and emitted model together."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from codegen.verify import generation
from tests.cli.small import small_source
from tests.cli.test_cli import run

WORDS = ["<end>", "once", "upon", "a", "time", "there", "was", "user", ":"]


@pytest.fixture(scope="module")
def source(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_source(example, tmp_path_factory.mktemp("source") / "org__small", eos_token_id=0, bos_token_id=0)


@pytest.fixture(scope="module")
def package(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "small"
    assert run("from-hf", source, "--out", out).exit_code == 0
    return out


@pytest.fixture(scope="module")
def weights(source: Path, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights with a tokenizer of a few words."""
    torch = pytest.importorskip("torch")
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    from safetensors.numpy import save_file

    folder = tmp_path_factory.mktemp("weights") / "org__small"
    folder.mkdir()
    (folder / "config.json").write_text((source / "config.json").read_text())
    sys.path.insert(0, str(package.parent))
    try:
        from small import weights as emitted  # type: ignore[import-not-found]
        from small.config import Config  # type: ignore[import-not-found]
        from small.torch_model import Model  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(package.parent))
    torch.manual_seed(0)
    save_file(emitted.to_hf(Model(Config.from_hf(folder)).float()), folder / "model.safetensors")
    words = {word: at for at, word in enumerate([*WORDS, *(f"w{i}" for i in range(131 - len(WORDS)))])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<end>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>")
    made.chat_template = "{% for message in messages %}{{ message['role'] }} : {{ message['content'] }} {% endfor %}"
    made.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_text_is_generated(package: Path, weights: Path) -> None:
    result = run("generate", package, "--weights", weights, "--prompt", "once upon a", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["framework"] == "torch" and 0 <= document["tokens"] <= 128
    assert len(document["text"].split()) <= document["tokens"]
    chat = run("generate", package, "--weights", weights, "--prompt", "once upon a", "--chat")
    assert chat.exit_code == 0 and chat.stdout != document["text"]


@pytest.mark.slow
def test_weights_that_do_not_fit(package: Path, weights: Path, tmp_path: Path) -> None:
    import shutil

    other = shutil.copytree(weights, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "hidden_size": 128}))
    result = run("generate", package, "--weights", other, "--prompt", "once")
    assert result.exit_code == 1 and result.stdout == ""
    assert "error[cannot-generate]" in result.stderr and "do not fit" in result.stderr


def test_no_framework(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "installed", lambda name: name == "transformers")
    result = run("generate", package, "--weights", "x", "--prompt", "once")
    assert result.exit_code == 1 and "error[cannot-generate]" in result.stderr and "pip install" in result.stderr
