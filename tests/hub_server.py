"""A Hub over HTTP on loopback: what the real huggingface_hub client asks of the real one, for tests."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import unquote, urlsplit

RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")
INFO = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+?)(/revision/(?P<revision>.+))?")


@dataclass
class HubRepository:
    """`revisions`: name -> files. A commit is the digest of a revision's name."""

    revisions: dict[str, dict[str, bytes]]
    gated: bool = False
    token: str | None = None  # that opens a gated repository

    def commit(self, revision: str) -> str | None:
        for name in self.revisions:
            commit = hashlib.sha1(name.encode()).hexdigest()
            if revision in (name, commit):
                return commit
        return None

    def files(self, revision: str) -> dict[str, bytes] | None:
        for name, files in self.revisions.items():
            if revision in (name, hashlib.sha1(name.encode()).hexdigest()):
                return files
        return None


@dataclass
class HubServer:
    """Serves `repositories`; `sent` counts the bytes of every file that went out, `requests` lists what was asked for."""

    repositories: dict[str, HubRepository]
    ignore_ranges: bool = False
    sent: dict[str, int] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def __enter__(self) -> HubServer:
        hub = self

        class Handler(_Handler):
            server_hub = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server_hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server_hub.requests.append(f"{self.command} {path}")
        if found := INFO.fullmatch(path):
            self.info(found["repo"], found["revision"] or "main", body)
        elif found := RESOLVE.fullmatch(path):
            self.file(found["repo"], found["revision"], found["file"], body)
        else:
            self.refuse(404, "EntryNotFound", body)

    def repository(self, name: str, body: bool) -> HubRepository | None:
        repository = self.server_hub.repositories.get(name)
        if repository is None:
            self.refuse(404 if self.headers.get("authorization") else 401, "RepoNotFound", body)
            return None
        if repository.gated and self.headers.get("authorization") != f"Bearer {repository.token}":
            self.refuse(403 if self.headers.get("authorization") else 401, "GatedRepo", body)
            return None
        return repository

    def info(self, name: str, revision: str, body: bool) -> None:
        repository = self.repository(name, body)
        if repository is None:
            return
        commit, files = repository.commit(revision), repository.files(revision)
        if files is None:
            self.refuse(404, "RevisionNotFound", body)
            return
        answer = {"id": name, "sha": commit, "siblings": [{"rfilename": file} for file in files]}
        self.send(200, json.dumps(answer).encode(), {"content-type": "application/json"}, body)

    def file(self, name: str, revision: str, file: str, body: bool) -> None:
        repository = self.repository(name, body)
        if repository is None:
            return
        commit, files = repository.commit(revision), repository.files(revision)
        if commit is None or files is None:
            self.refuse(404, "RevisionNotFound", body)
        elif file not in files:
            self.refuse(404, "EntryNotFound", body, {"x-repo-commit": commit})
        else:
            data = files[file]
            headers = {"x-repo-commit": commit, "etag": f'"{hashlib.sha1(data).hexdigest()}"', "accept-ranges": "bytes"}
            span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
            if span is None or self.server_hub.ignore_ranges:
                self.count(file, len(data) if body else 0)
                self.send(200, data, headers, body)
                return
            start, stop = int(span[1]), min(int(span[2] or len(data)) + 1, len(data))
            if start >= len(data):
                self.send(416, b"", {"content-range": f"bytes */{len(data)}"}, body)
                return
            headers["content-range"] = f"bytes {start}-{stop - 1}/{len(data)}"
            self.count(file, stop - start if body else 0)
            self.send(206, data[start:stop], headers, body)

    def count(self, file: str, size: int) -> None:
        self.server_hub.sent[file] = self.server_hub.sent.get(file, 0) + size

    def refuse(self, status: int, code: str, body: bool, headers: dict[str, str] | None = None) -> None:
        extra = {"x-error-code": code, "x-error-message": code, **(headers or {})}
        self.send(status, json.dumps({"error": code}).encode(), extra, body)

    def send(self, status: int, data: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)
