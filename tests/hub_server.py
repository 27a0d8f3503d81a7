"""A small Hugging Face hub on this machine: real HTTP, the routes that its client uses, models from folders.

    with HubServer() as hub:
        hub.add("tester/clip", folder)

It answers as the hub does: model info with sizes and hashes, files with ETag, X-Repo-Commit and Range, 401 for gated
models and unknown names, 404 for revisions and files that are not there. Weights are at another host, as behind the
hub's own redirects.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LFS = (".safetensors", ".bin", ".pt")


@dataclass
class HubModel:
    """A repository at one commit."""

    files: dict[str, bytes]
    commit: str
    card: dict[str, Any] = field(default_factory=dict)
    gated: bool = False


class HubServer:
    """The server, on a free port of the loopback address.

    Args:
        cut_after: bytes after which the answer with a file breaks off; 0 for never. `cuts` more answers break off.
    """

    def __init__(self) -> None:
        self.models: dict[str, HubModel] = {}
        self.cut_after = 0
        self.cuts = 0
        self.requests: list[tuple[str, str, str]] = []  # method, path, Range
        self.tokens_at_cdn = False  # whether large files, which are elsewhere, were asked for with a token
        self.sent: Counter[str] = Counter()  # bytes of each file that were asked for
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """Its port."""
        return int(self._server.server_port)

    def add(self, name: str, folder: Path, **facts: Any) -> HubModel:
        """Offer the files of a folder as the model `name`."""
        files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.models[name] = HubModel(files, commit, **facts)
        return self.models[name]

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            return None

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            path = unquote(url.path)
            hub.requests.append((self.command, path, self.headers.get("Range", "")))
            if path == "/api/models":
                author = parse_qs(url.query).get("author", [""])[0]
                found = [{"id": name} for name in hub.models if name.startswith(f"{author}/")]
                return self._json(200, found)
            if path.startswith("/api/models/"):
                return self._api(path.removeprefix("/api/models/"))
            if path.startswith("/cdn/"):
                hub.tokens_at_cdn |= "Authorization" in self.headers
                author, name, file = path.removeprefix("/cdn/").split("/", 2)
                return self._content(f"{author}/{name}", file, {})
            name, _, rest = path.removeprefix("/").partition("/resolve/")
            return self._file(name, *rest.split("/", 1))

        def _api(self, rest: str) -> None:
            name, _, revision = rest.partition("/revision/")
            model = hub.models.get(name.removesuffix("/refs"))
            if model is None:
                return self._refuse(401, "RepoNotFound")
            if name.endswith("/refs"):
                refs = [{"name": "main", "ref": "refs/heads/main", "targetCommit": model.commit}]
                return self._json(200, {"branches": refs, "tags": [], "converts": []})
            if revision not in ("", "main", model.commit):
                return self._refuse(404, "RevisionNotFound")
            siblings = [self._sibling(file, data) for file, data in model.files.items()]
            return self._json(
                200, {"id": name, "sha": model.commit, "siblings": siblings, "cardData": model.card,
                      "gated": "auto" if model.gated else False, "private": False, "tags": [], "downloads": 0},
            )  # fmt: skip

        def _sibling(self, name: str, data: bytes) -> dict[str, Any]:
            found: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": _git(data)}
            if name.endswith(LFS):
                found["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            return found

        def _file(self, name: str, revision: str, file: str) -> None:
            model = hub.models.get(name)
            if model is None:
                return self._refuse(401, "RepoNotFound")
            if model.gated and self.headers.get("Authorization") != "Bearer hf_accepted":
                return self._refuse(401, "GatedRepo")
            if revision not in ("main", model.commit):
                return self._refuse(404, "RevisionNotFound")
            if file not in model.files:
                return self._refuse(404, "EntryNotFound")
            headers = {"ETag": f'"{_etag(file, model.files[file])}"', "X-Repo-Commit": model.commit}
            if not file.endswith(LFS):
                return self._content(name, file, headers)
            elsewhere = f"http://localhost:{hub.port}/cdn/{name}/{file}"
            linked = {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(len(model.files[file]))}
            return self._json(302, {}, headers | linked | {"Location": elsewhere})

        def _content(self, name: str, file: str, headers: dict[str, str]) -> None:
            data = hub.models[name].files[file]
            start = int(self.headers["Range"].removeprefix("bytes=").split("-")[0]) if "Range" in self.headers else 0
            self.send_response(206 if start else 200)
            for header, value in headers.items():
                self.send_header(header, value)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(data) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            if self.command == "GET":
                self._send(file, data[start:])

        def _send(self, file: str, data: bytes) -> None:
            if hub.cut_after and hub.cuts and len(data) > hub.cut_after:
                hub.cuts -= 1
                data = data[: hub.cut_after]
                self.close_connection = True
            hub.sent[file] += len(data)
            self.wfile.write(data)

        def _refuse(self, code: int, reason: str) -> None:
            self._json(code, {"error": reason}, {"X-Error-Code": reason})

        def _json(self, code: int, value: Any, headers: dict[str, str] | None = None) -> None:
            body = json.dumps(value).encode()
            self.send_response(code)
            for name, each in {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                **(headers or {}),
            }.items():
                self.send_header(name, each)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    return Handler


def _etag(file: str, data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if file.endswith(LFS) else _git(data)


def _git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def asked_for(hub: HubServer, cache: Path, monkeypatch: Any) -> None:
    """Make the client ask this hub, without a token, and keep what it gives in `cache`."""
    from huggingface_hub import constants, file_download

    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)
    monkeypatch.setattr(file_download.time, "sleep", lambda _: None)  # between two tries
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
