"""A Hugging Face Hub on this machine: the part of its HTTP interface that downloads a file and commits files.

Written from what huggingface_hub asks for: resolve with its headers, repos/create, validate-yaml, preupload, the batch
API of Git LFS, and commit. Files of a commit are kept by repository and revision.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_writes"


class FakeHub:
    """The repositories, each a dictionary from a revision to its files, and a record of the requests."""

    def __init__(self) -> None:
        self.endpoint = ""
        #: Large files are on another host, as the Hub's are.
        self.storage = ""
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.gated: set[str] = set()
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        #: Every request is answered with this status.
        self.broken: int | None = None
        #: What resolve says of a file's size, in place of the truth.
        self.claimed_size: int | None = None

    def add(self, repository: str, files: dict[str, bytes], revision: str = "main") -> str:
        """Commit files; return the commit's hash."""
        listing = [(name, hashlib.sha256(content).hexdigest()) for name, content in files.items()]
        commit = hashlib.sha1(json.dumps([repository, listing]).encode()).hexdigest()
        self.repositories.setdefault(repository, {}).update({revision: files, commit: files})
        return commit

    def commit_of(self, repository: str, revision: str) -> str:
        known = self.repositories[repository]
        return next(name for name, files in known.items() if len(name) == 40 and files is known[revision])


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        if self.hub.broken:
            return self._answer(self.hub.broken)
        if found := re.fullmatch(r"/cdn/(\w+)", self.path):
            return self._answer(200, self.hub.objects[found[1]])
        if found := re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", self.path):
            return self._resolve(*found.groups())
        return self._answer(404)

    def _resolve(self, repository: str, revision: str, name: str) -> None:
        known = self.hub.repositories.get(repository)
        if known is None or (repository in self.hub.private and not self._may_write()):
            return self._answer(401 if known is None else 404, error="RepoNotFound")
        if repository in self.hub.gated:
            return self._answer(403, error="GatedRepo")
        if revision not in known:
            return self._answer(404, error="RevisionNotFound")
        commit = self.hub.commit_of(repository, revision)
        if name not in known[revision]:
            return self._answer(404, error="EntryNotFound", headers={"X-Repo-Commit": commit})
        content = known[revision][name]
        oid = hashlib.sha256(content).hexdigest()
        self.hub.objects[oid] = content
        size = len(content) if self.hub.claimed_size is None else self.hub.claimed_size
        linked = {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(size), "X-Repo-Commit": commit}
        return self._answer(302, headers={**linked, "Location": f"{self.hub.storage}/cdn/{oid}"})

    def do_PUT(self) -> None:
        self.hub.objects[self.path.rsplit("/", 1)[1]] = self._body()
        self._answer(200)

    def do_POST(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        body = self._body()
        if self.hub.broken:
            return self._answer(self.hub.broken)
        if self.path == "/api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        if not self._may_write():
            return self._answer(401, {"error": "Invalid username or password."})
        if self.path == "/api/repos/create":
            return self._create(json.loads(body))
        if found := re.fullmatch(r"/([\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch", self.path):
            return self._batch(json.loads(body))
        found = re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/(preupload|commit)/main", self.path)
        if found is None or found[1] not in self.hub.repositories:
            return self._answer(404, error="RepoNotFound")
        return self._preupload(json.loads(body)) if found[2] == "preupload" else self._commit(found[1], body)

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.repositories:
            return self._answer(409, {"url": f"{self.hub.endpoint}/{name}"})
        self.hub.repositories[name] = {}
        if asked.get("visibility") == "private" or asked.get("private"):
            self.hub.private.add(name)
        return self._answer(200, {"url": f"{self.hub.endpoint}/{name}"})

    def _preupload(self, asked: dict[str, Any]) -> None:
        modes = [
            {**file, "uploadMode": "lfs" if file["path"].endswith(".onnx") else "regular", "shouldIgnore": False}
            for file in asked["files"]
        ]
        self._answer(200, {"files": modes})

    def _batch(self, asked: dict[str, Any]) -> None:
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.hub.endpoint}/put/{each['oid']}"}}}
            for each in asked["objects"]
        ]
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _commit(self, repository: str, body: bytes) -> None:
        files = {}
        for line in map(json.loads, body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            if line["key"] == "lfsFile":
                content = self.hub.objects[value["oid"]]
                assert hashlib.sha256(content).hexdigest() == value["oid"]
                files[value["path"]] = content
        commit = self.hub.add(repository, files)
        self._answer(200, {"commitUrl": f"{self.hub.endpoint}/{repository}/commit/{commit}", "commitOid": commit})

    def _may_write(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _answer(
        self, status: int, content: Any = b"", *, error: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), **({"X-Error-Code": error} if error else {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """Run a Hub on a free port of this machine until the block ends."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    hub.storage = f"http://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
