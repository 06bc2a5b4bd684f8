"""Repositories on a Hub that listens on loopback, through the real client in a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkpoints import entries, safetensors
from tests.hub_server import HubRepository, HubServer

CLIENT = """
import json, sys
from codegen.diagnostics import CompileError
from codegen.repo import load
try:
    r = load(sys.argv[1], sys.argv[2] or None)
    shapes = None if r.tensors is None else {name: [t.dtype, t.shape, t.file] for name, t in r.tensors.items()}
    texts = {name: r.text(name) for name in r.python_files()}
    print(json.dumps([r.name, r.revision, r.config, shapes, texts, [n.code for n in r.notes]]))
except CompileError as error:
    print(json.dumps([[d.code, d.message] for d in error.diagnostics]))
"""
BIG = entries({"a.weight": ("F32", (1000, 1000))})
LONG = entries({f"layers.{i}.weight": ("U8", (i % 7,)) for i in range(4000)})  # a header beyond the first read
SHARDS = {
    "1.safetensors": safetensors(entries({"a": ("F32", (2,))})),
    "2.safetensors": safetensors(entries({"b": ("BF16", (3,))})),
    "model.safetensors.index.json": json.dumps({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}).encode(),
}


def config(**keys: object) -> dict[str, bytes]:
    return {"config.json": json.dumps({"model_type": "acme", **keys}).encode()}


REPOSITORIES = {
    "org/plain": HubRepository(
        {
            "main": {**config(), "model.safetensors": safetensors(BIG), "modeling_acme.py": b"x = 1\n"},
            "v1": config(old=True),
        }
    ),
    "org/long": HubRepository({"main": {**config(), "model.safetensors": safetensors(LONG)}}),
    "org/shards": HubRepository({"main": {**config(), **SHARDS}}),
    "org/gated": HubRepository({"main": config()}, gated=True, token="secret"),
    "org/empty": HubRepository({"main": {"README.md": b""}}),
    "org/pickled": HubRepository({"main": {**config(), "pytorch_model.bin": b"\x80"}}),
    "org/pointer": HubRepository(
        {"main": {**config(), "model.safetensors": b"version https://git-lfs.github.com/spec/v1"}}
    ),
    "org/short": HubRepository({"main": {**config(), "model.safetensors": safetensors(BIG)[:-1]}}),
    "org/nothing": HubRepository({"main": {**config(), "model.safetensors": b""}}),
}


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with HubServer(REPOSITORIES) as server:
        yield server


@pytest.fixture
def ask(hub: HubServer, root: Path, tmp_path: Path):
    def run(source: str, revision: str = "", **environment: str) -> list:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        env = {**clean, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path), "PYTHONPATH": str(root), **environment}
        command = [sys.executable, "-c", CLIENT, source, revision]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_repository(ask, hub: HubServer) -> None:
    hub.sent.clear()
    name, revision, found, tensors, texts, notes = ask("org/plain")
    assert (name, revision, found) == ("org/plain", REPOSITORIES["org/plain"].commit("main"), {"model_type": "acme"})
    assert tensors == {"a.weight": ["F32", [1000, 1000], "model.safetensors"]}
    assert texts == {"modeling_acme.py": "x = 1\n"} and notes == []
    assert hub.sent["model.safetensors"] < 200_000, "the data of four megabytes stays where it is"


def test_server_that_ignores_ranges_is_not_read_to_its_end(ask, hub: HubServer) -> None:
    hub.ignore_ranges = True
    try:
        assert ask("org/plain")[3] == {"a.weight": ["F32", [1000, 1000], "model.safetensors"]}
        assert len(ask("org/long")[3]) == 4000
    finally:
        hub.ignore_ranges = False


def test_revision(ask) -> None:
    commit = REPOSITORIES["org/plain"].commit("v1")
    for answer in (ask("org/plain@v1"), ask("org/plain", "v1"), ask(f"org/plain@{commit}")):
        assert answer[1:3] == [commit, {"model_type": "acme", "old": True}]


def test_header_longer_than_the_first_read(ask) -> None:
    assert len(ask("org/long")[3]) == 4000


def test_shards(ask) -> None:
    assert ask("org/shards")[3] == {"a": ["F32", [2], "1.safetensors"], "b": ["BF16", [3], "2.safetensors"]}


def test_pickles(ask) -> None:
    assert ask("org/pickled")[3:] == [None, {}, ["weights-pickled"]]


def test_gated(ask) -> None:
    assert [code for code, _ in ask("org/gated")] == ["source-gated"]
    assert [code for code, _ in ask("org/gated", HF_TOKEN="wrong")] == ["source-gated"]
    assert ask("org/gated", HF_TOKEN="secret")[0] == "org/gated"


@pytest.mark.parametrize(
    ("source", "code"),
    (
        ("org/none", "source-not-found"),
        ("org/plain@v9", "revision-not-found"),
        ("org/empty", "config-missing"),
        ("org/pointer", "lfs-pointer"),
        ("org/short", "weights-truncated"),
        ("org/nothing", "weights-truncated"),
        ("a--b/c..d", "source-not-found"),
    ),
)
def test_refusal(ask, source: str, code: str) -> None:
    assert [found for found, _ in ask(source)] == [code]


def test_unreachable(ask) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        ((code, message),) = ask("org/plain", HF_ENDPOINT=f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert code == "hub-unreachable" and "127.0.0.1" in message


def test_offline(ask, hub: HubServer) -> None:
    ((code, message),) = ask("org/plain", HF_HUB_OFFLINE="1")
    assert code == "hub-unreachable" and "HF_HUB_OFFLINE" in message
    online = ask("org/plain")
    hub.requests.clear()
    offline = ask("org/plain", HF_HUB_OFFLINE="1")
    assert offline[:3] == online[:3] and offline[4:] == [online[4], ["weights-unread"]]
    assert hub.requests == []
