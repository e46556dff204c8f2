"""A loopback model hub: one repository, served as huggingface_hub asks for it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class Hub:
    """What it serves and what was taken."""

    url: str
    fetched: set[str] = field(default_factory=set)
    """Names of the files whose content was sent."""


@contextmanager
def serve_hub(repository: str, commit: str, folder: Path) -> Iterator[Hub]:
    """Serve `folder` as the repository's only commit."""
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            resolve = f"/{repository}/resolve/{commit}/"
            if path == f"/api/models/{repository}/revision/{commit}":
                self._send(json.dumps(_listing(repository, commit, names)).encode(), with_body)
            elif path.startswith(f"/api/models/{repository}/tree/{commit}"):
                self._send(json.dumps(_tree(folder, names)).encode(), with_body)
            elif path.startswith(resolve) and (name := path.removeprefix(resolve)) in names:
                if with_body:
                    hub.fetched.add(name)
                self._send((folder / name).read_bytes(), with_body)
            else:
                self.send_response(404)
                self.send_header("content-length", "0")
                self.end_headers()

        def _send(self, content: bytes, with_body: bool) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.send_header("etag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("x-repo-commit", commit)
            self.end_headers()
            if with_body:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _listing(repository: str, commit: str, names: list[str]) -> dict[str, object]:
    return {
        "id": repository,
        "sha": commit,
        "private": False,
        "tags": [],
        "downloads": 0,
        "likes": 0,
        "siblings": [{"rfilename": name} for name in names],
    }


def _tree(folder: Path, names: list[str]) -> list[dict[str, object]]:
    return [
        {
            "type": "file",
            "path": name,
            "size": (folder / name).stat().st_size,
            "oid": hashlib.sha1((folder / name).read_bytes()).hexdigest(),
        }
        for name in names
    ]
