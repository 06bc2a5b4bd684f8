"""Text from a package and published weights, in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

from codegen.diagnostics import CompileError, Diagnostic, printable
from codegen.verify.checklist import FRAMEWORKS
from codegen.verify.processes import installed, last_line, run_module
from ir.records import dataclass


@dataclass(frozen=True, slots=True)
class Generated:
    """What came after the prompt. `framework` is the one that ran."""

    text: str
    tokens: int
    framework: str


def generate(package: Path, weights: str, prompt: str, *, chat: bool) -> Generated:
    """Continue `prompt` with PyTorch, or with Flax where there is no PyTorch; the tokenizer is that of transformers.

    Raises:
        CompileError: `cannot-generate`.
    """
    framework = _framework(package)
    request = {
        "package": str(package.resolve()),
        "weights": weights,
        "prompt": prompt,
        "chat": chat,
        "framework": framework,
    }
    done = run_module("codegen.verify.speaker", json.dumps(request), online=True, timeout=None)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"')]
    answer = rows[-1] if rows else {"failed": last_line(done.stderr)}
    if "failed" in answer:
        raise CompileError(Diagnostic("cannot-generate", printable(str(answer["failed"]), 1500)))
    return Generated(str(answer["text"]), int(answer["tokens"]), framework)


def _framework(package: Path) -> str:
    if not installed("transformers"):
        raise CompileError(
            Diagnostic("cannot-generate", "the tokenizer needs transformers", help="pip install transformers")
        )
    for framework, needed in FRAMEWORKS.items():
        if (package / f"{framework}_model.py").is_file() and all(map(installed, needed)):
            return framework
    raise CompileError(
        Diagnostic(
            "cannot-generate",
            "generating needs torch, or jax and flax, as far as the package has a model for it",
            help="pip install 'codegen[torch]'",
        )
    )
