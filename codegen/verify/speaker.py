"""Generates text with one package, in a process of its own.

    python -m codegen.verify.speaker '{"package": ..., "weights": ..., "prompt": ..., "chat": ..., "framework": ...}'

Prints one JSON object: {"text": ..., "tokens": ...} or {"failed": reason}.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from codegen.verify.processes import import_package

NEW = 128  # tokens at most


def speak(package: str, weights: str, prompt: str, chat: bool, framework: str) -> tuple[str, int]:
    """The text after the prompt and the number of its tokens."""
    from transformers import AutoTokenizer

    name, _, revision = weights.partition("@") if not Path(weights).exists() else (weights, "", "")
    tokenizer = AutoTokenizer.from_pretrained(name, revision=revision or None, trust_remote_code=False)
    if chat:
        if not tokenizer.chat_template:
            raise ValueError(f"{weights} has no chat template; leave out --chat")
        message = [{"role": "user", "content": prompt}]
        prompt = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    ids = np.asarray(tokenizer(prompt, add_special_tokens=not chat)["input_ids"], np.int64)
    if not ids.size:
        raise ValueError("the prompt has no tokens")
    new = _generate(package, weights, ids[None], _ends(package, weights, tokenizer), framework)
    return tokenizer.decode(new, skip_special_tokens=True), len(new)


def _ends(package: str, weights: str, tokenizer: Any) -> list[int]:
    """The tokens that end a text: what generation_config.json, config.json and the tokenizer say."""
    folder = importlib.import_module(f"{package}.weights").folder(weights)
    found = {tokenizer.eos_token_id} - {None}
    for file in ("generation_config.json", "config.json"):
        if (folder / file).is_file():
            value = json.loads((folder / file).read_text(encoding="utf-8")).get("eos_token_id")
            found |= set(value if isinstance(value, list) else [] if value is None else [value])
    return sorted(found)


def _generate(package: str, weights: str, ids: Any, ends: list[int], framework: str) -> list[int]:
    model = importlib.import_module(f"{package}.{framework}_model").Model
    if framework == "torch":
        import torch

        with torch.no_grad():
            loaded = model.from_pretrained(weights, dtype=torch.float32).eval()
            out = loaded.generate(torch.from_numpy(ids), NEW, eos_token_id=ends or None)
    else:
        import jax.numpy as jnp

        loaded = model.from_pretrained(weights, dtype=jnp.float32)
        out = loaded.generate(jnp.asarray(ids, jnp.int32), NEW, eos_token_id=ends or None)
    new = np.asarray(out)[0, ids.shape[1] :].tolist()
    stop = next((at for at, token in enumerate(new) if token in ends), len(new))
    return [int(token) for token in new[:stop]]


def main() -> None:
    request = json.loads(sys.argv[1])
    folder = Path(request.pop("package"))
    try:
        text, tokens = speak(import_package(folder), **request)
        print(json.dumps({"text": text, "tokens": tokens}), flush=True)
    except Exception as error:
        print(json.dumps({"failed": f"{type(error).__name__}: {' '.join(str(error).split())}"}), flush=True)


if __name__ == "__main__":
    main()
