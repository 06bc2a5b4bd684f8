"""Modules of this compiler that need a framework, each in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 600.0  # seconds
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
KEPT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "OMP_NUM_THREADS")  # for a process that is alone
CUT_OFF = ("unshare", "--map-root-user", "--net")  # of util-linux


def installed(package: str) -> bool:
    """Whether a top-level package can be imported; it is not."""
    return importlib.util.find_spec(package) is not None


def run_module(
    module: str, *args: str, online: bool = False, alone: Path | None = None, timeout: float | None = TIMEOUT
) -> subprocess.CompletedProcess[str]:
    """Run `python -m module`, with nothing on its input; unless `online`, without the Hub and its tokens. With `alone`, a
    folder for all that it keeps, it has neither a network nor what else the environment says.
    """
    known = os.environ if alone is None else {name: os.environ[name] for name in KEPT if name in os.environ}
    env = {name: value for name, value in known.items() if online or name not in TOKENS}
    paths = [str(ROOT), *filter(None, [env.get("PYTHONPATH")])]
    env |= {"PYTHONPATH": os.pathsep.join(paths), "TOKENIZERS_PARALLELISM": "false"}
    env |= {} if online else {"HF_HUB_OFFLINE": "1"}
    env |= {} if alone is None else {"HOME": str(alone), "HF_HOME": str(alone)}
    command = [*([] if alone is None else CUT_OFF), sys.executable, "-m", module, *args]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL, env=env
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no end after {timeout:.0f} s")


def can_cut_off() -> bool:
    """Whether a process can be run without a network: by namespaces of its own."""
    try:
        return subprocess.run([*CUT_OFF, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def import_package(folder: Path) -> str:
    """Import an emitted package, for the modules in it; under a name that nothing else has, which is returned."""
    name = f"emitted_{folder.name}"
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} is no package")
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    return name


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1][:300]
