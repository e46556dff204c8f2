"""A real HTTP server on loopback that answers as a test says, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes

    def param(self, name: str, default: str = "") -> str:
        """The only value of a parameter."""
        (value,) = self.query.get(name, [default])
        return value


@dataclass(frozen=True)
class Response:
    body: Any = None
    """Bytes as they are, anything else as JSON."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    """Bytes of the body after which the connection is closed."""
    seconds: float = 0.0
    """To wait before answering."""

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


Respond = Callable[[Request], Response]


@dataclass
class RestServer:
    """`respond` may be replaced at any time."""

    url: str
    respond: Respond
    requests: list[Request] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def to(self, path: str) -> list[Request]:
        """The requests to a path."""
        return [request for request in self.requests if request.path == path]


@contextlib.contextmanager
def rest_server(respond: Respond) -> Iterator[RestServer]:
    with _Server(("127.0.0.1", 0), _Handler) as httpd:
        server = RestServer(f"http://127.0.0.1:{httpd.server_address[1]}", respond)
        httpd.rest = server  # type: ignore[attr-defined]
        thread = Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            httpd.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may leave at any time
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        rest: RestServer = self.server.rest  # type: ignore[attr-defined]
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = parse_qs(parts.query, keep_blank_values=True)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, parts.path, query, headers, body)
        with rest.lock:
            rest.requests.append(request)
            response = rest.respond(request)
        time.sleep(response.seconds)
        with contextlib.suppress(ConnectionError):  # the client did not want to wait
            self._send(response)

    do_POST = do_GET

    def _send(self, response: Response) -> None:
        content = response.content
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if response.status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if response.status == 204:
            return
        if response.cut_after is not None:
            self.wfile.write(content[: response.cut_after])
            self.close_connection = True
            return
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
