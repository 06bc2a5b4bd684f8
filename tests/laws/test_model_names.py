"""The compiler knows no model: no name of one stands in codegen/, ir/ or templates/, in code, comment or file name."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

# words of the field, of English or of this project that are the name of a folder of models too
WORDS = frozenset(
    """auto bit clip codegen common convert ctrl dac deprecated emu encodec encoder_decoder flint focalnet fuyu git hf ibert led
    layers lfm mask mega sam shared beam mra timesformer tvp vision_encoder_decoder vision_text_dual_encoder align bark
    speech_encoder_decoder dpr doge dia gpt vits vit x_clip canine flava mimi cvt sew dit bros rag marian patchtst moonshine
    perceiver retribert realm xmod superglue swin timm_backbone timm_wrapper univnet upernet esm jukebox nat nezha mobile aria
    splinter janus levit luke blt hiera lilt kosmos pegasus""".split()
)
# names of families that are short, or not in the library
FAMILIES = frozenset(
    """glm granite falcon phi olmo bloom opt mpt bert helium ernie llava electra internlm baichuan chatglm qwen xverse aquila
    skywork telechat minicpm openelm grok arctic kimi mistral gemma llama deepseek exaone nemotron hunyuan plamo""".split()
)
ALLOWED = frozenset({"llama3"})  # a value of `rope_type` in configurations, spelt as they spell it
SUFFIXES = frozenset({".py", ".jinja", ".md", ".json", ".toml"})
TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PART = re.compile(r"[A-Z]+(?=[A-Z][a-z0-9])|[A-Z]?[a-z]+[0-9]*|[A-Z]+[0-9]*|[0-9]+")
ROOT = Path(__file__).resolve().parent.parent.parent


def model_names() -> frozenset[str]:
    spec = importlib.util.find_spec("transformers")
    assert spec is not None and spec.submodule_search_locations
    folders = Path(spec.submodule_search_locations[0], "models").iterdir()
    names = {folder.name.lower() for folder in folders if folder.is_dir() and not folder.name.startswith("_")}
    return frozenset({name for name in names if len(name) >= 4} - WORDS | FAMILIES)


def words(token: str) -> set[str]:
    """`AcmeNet2Norm` -> acme, net2, acmenet2, acme_net2, ...: every run of parts that could be a name."""
    parts = [part.lower() for part in PART.findall(token)]
    runs = [
        parts[start:stop] for start in range(len(parts)) for stop in range(start + 1, min(len(parts), start + 4) + 1)
    ]
    return {joined for run in runs for joined in ("".join(run), "_".join(run))}


def found(text: str, names: frozenset[str]) -> set[str]:
    return {token for token in TOKEN.findall(text) if token not in ALLOWED and words(token) & names}


@pytest.mark.parametrize("part", ("codegen", "ir", "templates"))
def test_no_model_is_named(part: str) -> None:
    names = model_names()
    hits = []
    for path in sorted((ROOT / part).rglob("*")):
        shown = path.relative_to(ROOT)
        if "__pycache__" in path.parts:
            continue
        hits += [f"{shown}: {token}" for token in found(shown.as_posix(), names)]
        if path.suffix in SUFFIXES:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                hits += [f"{shown}:{number}: {token}" for token in found(line, names)]
    assert hits == []


@pytest.mark.parametrize("text", ("is_qwen3", "Gemma2RMSNorm", "llama.jinja", "# as in Mistral", "deepseek_v3"))
def test_the_check_finds_names(text: str) -> None:
    assert found(text, model_names())
