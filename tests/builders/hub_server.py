"""A local Hugging Face hub for tests: the few endpoints that `huggingface_hub` needs to fetch and to push a model."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

WEIGHTS = (".safetensors", ".bin", ".h5")


@dataclass
class Hub:
    """What the server holds, and what it was asked.

    repositories: folder by (id, revision). tokens: by id, for private ones. gated: ids whose files are refused.
    breaks: how often the connection is cut in the middle of a weight file. broken: whether weight files are
    refused with 503. portal: whether everything is answered by a login page. requests: "METHOD path", with the
    range asked for. storage: where pushed models go, which are then served. public: ids of pushed models that
    everybody may see. writers: tokens that may push.
    """

    repositories: dict[tuple[str, str], Path]
    tokens: dict[str, str] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    breaks: int = 0
    broken: bool = False
    portal: bool = False
    requests: list[str] = field(default_factory=list)
    storage: Path | None = None
    public: set[str] = field(default_factory=set)
    writers: set[str] = field(default_factory=set)
    url: str = ""

    def commit(self, folder: Path) -> str:
        """The commit sha of a folder's present contents."""
        whole = hashlib.sha1()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                whole.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
        return whole.hexdigest()

    def find(self, model: str, revision: str) -> Path | None:
        for (known, name), folder in self.repositories.items():
            if known == model and revision in (name, self.commit(folder)):
                return folder
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self._route()

    def do_GET(self) -> None:
        self._route()

    def do_POST(self) -> None:
        self._take()

    def do_PUT(self) -> None:
        self._take()

    def log_message(self, format: str, *args: object) -> None:
        return None

    def _route(self) -> None:
        asked = self.headers.get("Range")
        self.hub.requests.append(f"{self.command} {self.path}" + (f" {asked}" if asked else ""))
        path = unquote(urlsplit(self.path).path)
        if self.hub.portal:
            self._answer(200, b"<html>Please log in</html>", {"Content-Type": "text/html"})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/(.+))?", path):
            model, kind, revision = match.groups()
            self._describe(model, revision or "main", tree=kind == "tree")
        elif match := re.fullmatch(r"/(cdn/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._send_file(*match.groups())
        else:
            self._refuse(404, "EntryNotFound")

    def _take(self) -> None:
        """A part of a push."""
        self.hub.requests.append(f"{self.command} {self.path}")
        length = self.headers.get("Content-Length")
        body = self._chunks() if length is None else self.rfile.read(int(length))
        path, storage = unquote(urlsplit(self.path).path), self.hub.storage
        if storage is None:
            self._refuse(404, "EntryNotFound")
        elif match := re.fullmatch(r"/lfs/([0-9a-f]{64})", path):  # its address is its permission
            (storage / "lfs").mkdir(exist_ok=True)
            (storage / "lfs" / match[1]).write_bytes(body)
            self._json({})
        elif self.headers.get("Authorization", "").removeprefix("Bearer ") not in self.hub.writers:
            self._refuse(403, "Forbidden")
        elif path == "/api/validate-yaml":
            block = re.match(r"---\n(.*?)\n---\n", json.loads(body)["content"], re.S)
            licensed = block is not None and "license" in yaml.safe_load(block[1])
            errors = [] if licensed else [{"message": "the card has no license"}]
            self._json({"errors": errors, "warnings": []}, 200 if licensed else 400)
        elif path == "/api/repos/create":
            self._create(storage, json.loads(body))
        elif re.fullmatch(r"/api/models/[^/]+/[^/]+/preupload/main", path):
            paths = [asked["path"] for asked in json.loads(body)["files"]]
            modes = {name: "lfs" if name.endswith(WEIGHTS) else "regular" for name in paths}
            self._json({"files": [{"path": n, "shouldIgnore": False, "uploadMode": mode} for n, mode in modes.items()]})
        elif path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**asked, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{asked['oid']}"}}}
                for asked in json.loads(body)["objects"]
            ]
            self._json({"transfer": "basic", "objects": objects})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            self._commit(storage, match[1], [json.loads(line) for line in body.splitlines()])
        else:
            self._refuse(404, "EntryNotFound")

    def _create(self, storage: Path, asked: dict[str, Any]) -> None:
        model = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
        if (model, "main") in self.hub.repositories:
            self._json({"error": "You already created this repo", "url": f"{self.hub.url}/{model}"}, 409)
            return
        folder = storage / model
        folder.mkdir(parents=True)
        self.hub.repositories[model, "main"] = folder
        if asked.get("visibility") == "public" or asked.get("private") is False:
            self.hub.public.add(model)
        self._json({"url": f"{self.hub.url}/{model}", "name": model})

    def _commit(self, storage: Path, model: str, lines: list[dict[str, Any]]) -> None:
        folder = self.hub.repositories[model, "main"]
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                continue
            target = folder / value["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            if line["key"] == "lfsFile":
                target.write_bytes((storage / "lfs" / value["oid"]).read_bytes())
            else:
                target.write_bytes(base64.b64decode(value["content"]))
        sha = self.hub.commit(folder)
        self._json({"commitUrl": f"{self.hub.url}/{model}/commit/{sha}", "commitOid": sha, "success": True})

    def _chunks(self) -> bytes:
        """The body of a request that does not say how long it is."""
        parts = []
        while size := int(self.rfile.readline().strip() or b"0", 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _json(self, value: object, status: int = 200) -> None:
        self._answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _describe(self, model: str, revision: str, *, tree: bool) -> None:
        folder = self._folder(model, revision)
        if folder is None:
            return
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        names = {path.relative_to(folder).as_posix(): path for path in files}
        answer: object
        if tree:
            answer = [
                {"type": "file", "path": name, "size": path.stat().st_size, "oid": _etag(path)}
                for name, path in names.items()
            ]
        else:
            siblings = [{"rfilename": name} for name in names]
            answer = {"id": model, "sha": self.hub.commit(folder), "siblings": siblings}
            answer |= {"private": model not in self.hub.public}
        self._answer(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _send_file(self, cdn: str | None, model: str, revision: str, name: str) -> None:
        # The address of a large file is its own permission: tokens are not for the place where it lies.
        folder = self.hub.find(model, revision) if cdn else self._folder(model, revision)
        if folder is None:
            return
        path = folder / name
        if model in self.hub.gated:
            self._refuse(403, "GatedRepo")
        elif not path.is_file():
            self._refuse(404, "EntryNotFound")
        elif name.endswith(WEIGHTS) and not cdn:
            # Like the hub, which keeps large files elsewhere and has them asked for there.
            port = urlsplit(self.hub.url).port
            self._answer(
                302,
                b"",
                {
                    "Location": f"http://localhost:{port}/cdn{self.path}",
                    "X-Linked-Etag": f'"{_etag(path)}"',
                    "X-Linked-Size": str(path.stat().st_size),
                    "X-Repo-Commit": self.hub.commit(folder),
                },
            )
        elif cdn and self.hub.broken:
            self._refuse(503, "Unavailable")
        else:
            self._send_content(path, self.hub.commit(folder))

    def _send_content(self, path: Path, commit: str) -> None:
        content = path.read_bytes()
        headers = {"ETag": f'"{_etag(path)}"', "X-Repo-Commit": commit}
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(asked[1])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._answer(206, content[start:], headers)
        elif path.name.endswith(WEIGHTS) and self.command == "GET" and self.hub.breaks:
            self.hub.breaks -= 1
            self._answer(200, content, headers, send=len(content) // 2)
        else:
            self._answer(200, content, headers)

    def _folder(self, model: str, revision: str) -> Path | None:
        token = self.hub.tokens.get(model)
        known = any(name == model for name, _ in self.hub.repositories)
        if not known or (token and self.headers.get("Authorization") != f"Bearer {token}"):
            self._refuse(401, "RepoNotFound")  # the hub does not tell the two apart
            return None
        folder = self.hub.find(model, revision)
        if folder is None:
            self._refuse(404, "RevisionNotFound")
        return folder

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, b"", {"X-Error-Code": code, "X-Error-Message": code})

    def _answer(self, status: int, body: bytes, headers: dict[str, str], send: int | None = None) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:send])
        if send is not None:
            self.close_connection = True


def _etag(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Serve `hub` at `hub.url` until the block ends."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
