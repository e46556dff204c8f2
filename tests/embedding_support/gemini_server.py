"""A loopback server that answers like the Generative Language API's embedding methods."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

KEY = "AIza-secret-key-of-the-test"
JsonObject = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """One answer to give instead of the right one."""

    status: int
    body: JsonObject | str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class GeminiServer:
    """Counts a token a word; embeds deterministically; records requests."""

    url: str = ""
    queued: list[Answer] = field(default_factory=list)
    """Given first, in order."""
    calls: list[tuple[str, JsonObject]] = field(default_factory=list)
    """Method and body of each request that came."""
    targets: list[str] = field(default_factory=list)
    """Request targets, with the query string."""
    permits: threading.Semaphore | None = None
    """Where given: one is taken for each embedding request, which waits for it."""

    def texts(self, method: str) -> list[list[str]]:
        """The texts of each request of a method."""
        return [
            [request["content"]["parts"][0]["text"] for request in body["requests"]]
            for called, body in self.calls
            if called == method
        ]

    def answer(self, method: str, key: str | None, body: JsonObject) -> Answer:
        self.calls.append((method, body))
        if self.queued:
            return self.queued.pop(0)
        if key != KEY:
            return error(400, "API key not valid. Please pass a valid API key.", API_KEY_INVALID)
        match method:
            case "countTokens":
                (content,) = body["contents"]
                words = sum(len(part["text"].split()) for part in content["parts"])
                return Answer(200, {"totalTokens": words})
            case "batchEmbedContents":
                if self.permits is not None:
                    assert self.permits.acquire(timeout=120)
                return self._embed(body["requests"])
            case _:
                return error(404, f"method {method} not found")

    @staticmethod
    def _embed(requests: list[JsonObject]) -> Answer:
        if len(requests) > 100:
            return error(
                400,
                "* BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch",
            )
        return Answer(200, {"embeddings": [{"values": embedding(**r)} for r in requests]})


def embedding(
    *, model: str, content: JsonObject, taskType: str, outputDimensionality: int
) -> list[float]:
    """A vector that depends on the text and the task; of length 1 only when it is full."""
    (part,) = content["parts"]
    random = np.random.default_rng(zlib.crc32(f"{taskType}/{part['text']}".encode()))
    full = random.standard_normal(3072)
    values: list[float] = (full / np.linalg.norm(full))[:outputDimensionality].tolist()
    return values


API_KEY_INVALID = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "API_KEY_INVALID",
    "domain": "googleapis.com",
}


def error(status: int, message: str, *details: JsonObject, **headers: str) -> Answer:
    """An error in the API's form; keywords are headers, `Retry_After` for Retry-After."""
    body = {"error": {"code": status, "message": message, "details": list(details)}}
    return Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def quota_exceeded(retry_delay: str) -> Answer:
    """As the API words it when a quota a minute is used up."""
    return error(
        429,
        "You exceeded your current quota, please check your plan and billing details.",
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [
                {
                    "quotaMetric": "generativelanguage.googleapis.com/embed_content_requests",
                    "quotaId": "EmbedContentRequestsPerMinutePerProjectPerModel-FreeTier",
                }
            ],
        },
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": retry_delay},
    )


@contextmanager
def serve_gemini() -> Iterator[GeminiServer]:
    state = GeminiServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            state.targets.append(self.path)
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            _, _, method = self.path.rpartition(":")
            self._send(state.answer(method, self.headers.get("x-goog-api-key"), body))

        def _send(self, answer: Answer) -> None:
            text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
            payload = text.encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/v1beta"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
