"""Compiling imports no framework, runs no line of the source, reaches no network and starts no program but the formatter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# runs the command line under an audit hook and prints what it did
WATCHED = """
import json, os, sys
seen = {"import": [], "exec": [], "socket": [], "process": []}
def hook(event, arguments):
    if event == "import":
        seen["import"].append(arguments[0])
    elif event == "exec":
        seen["exec"].append(getattr(arguments[0], "co_filename", "?"))
    elif event.startswith("socket.") and event != "socket.gethostname":
        seen["socket"].append(event)
    elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn"):
        seen["process"].append(os.path.basename(str(arguments[0])))
sys.addaudithook(hook)
sys.argv = ["codegen", *sys.argv[1:]]
from codegen.cli import main
try:
    main()
except SystemExit as end:
    seen["code"] = end.code
print("\\n" + json.dumps(seen))
"""
FRAMEWORKS = ("torch", "jax", "jaxlib", "flax", "transformers", "orbax", "tensorflow")


def watched(root: Path, folder: Path, *arguments: str) -> dict[str, object]:
    env = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", WATCHED, *arguments]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return {**json.loads(done.stdout.rstrip().rsplit("\n", 1)[1]), "stderr": done.stderr}


def check(seen: dict[str, object], source: Path) -> None:
    imported = [name for name in seen["import"] if name.partition(".")[0] in FRAMEWORKS]
    assert imported == []
    ran = [file for file in seen["exec"] if "/transformers/" in file or str(source) in file or file.startswith("<ast")]
    assert ran == []
    assert seen["socket"] == []
    assert set(seen["process"]) <= {"ruff"}


def test_a_published_configuration(root: Path, example: Path, tmp_path: Path) -> None:
    seen = watched(root, tmp_path, "from-hf", str(example), "--out", "package")
    check(seen, example)
    assert seen["code"] == 0, seen["stderr"]
    assert set(seen["process"]) == {"ruff"}


@pytest.mark.parametrize("command", (["inspect"], ["from-hf", "--emit", "graph"]))
def test_other_commands(root: Path, example: Path, tmp_path: Path, command: list[str]) -> None:
    check(watched(root, tmp_path, command[0], str(example), *command[1:]), example)


CANARY = "open({path!r}, 'w').write('ran')"
CONFIGURATION = """
from transformers import PretrainedConfig
{canary}
class AcmeConfig(PretrainedConfig):
    model_type = "acme"
    {canary}
    def __init__(self, hidden_size=8, **kwargs):
        {canary}
        self.hidden_size = hidden_size
        super().__init__(**kwargs)
"""
MODELING = """
import os, torch
from torch import nn
from transformers import PreTrainedModel
from .configuration_acme import AcmeConfig
{canary}
class AcmeForCausalLM(PreTrainedModel):
    config_class = AcmeConfig
    x = __import__("os").system("touch {path}")
    def __init__(self, config, y={canary}):
        super().__init__(config)
        {canary}
        os.system("touch {path}")
        eval("{evaluated}")
        self.lm_head = nn.Linear(config.hidden_size, config.hidden_size)
    def forward(self, input_ids):
        {canary}
        return self.lm_head(input_ids)
"""


def test_a_hostile_repository(root: Path, tmp_path: Path) -> None:
    source, canary = tmp_path / "source", tmp_path / "canary"
    source.mkdir()
    code = {"canary": CANARY.format(path=str(canary)), "path": canary, "evaluated": CANARY.format(path=str(canary))}
    (source / "configuration_acme.py").write_text(CONFIGURATION.format(**code))
    (source / "modeling_acme.py").write_text(MODELING.format(**code))
    config = {
        "model_type": "acme",
        "architectures": ["AcmeForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_acme.AcmeConfig",
            "AutoModelForCausalLM": "modeling_acme.AcmeForCausalLM",
        },
        "hidden_size": 8,
        "_attn_implementation_internal": "attacker/kernel",
        "trust_remote_code": True,
    }
    (source / "config.json").write_text(json.dumps(config))
    seen = watched(root, tmp_path, "from-hf", str(source), "--out", "package")
    check(seen, source)
    assert not canary.exists()
    assert seen["code"] == 1
    assert sorted(os.listdir(tmp_path)) == ["source"], "a failed run leaves nothing behind"
