"""Traces, as a collector receives them over OTLP and HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from harness import World, article, local_world

from api import create_app
from celeriac.errors import SourceUnavailable
from celeriac.jobs import request_job
from celeriac.tracing import open_tracing

ENTITIES = [article(number, words=100) for number in range(20)]
KEY = "the key of these tests"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass
class Collector:
    """What was exported."""

    url: str
    exports: list[bytes] = field(default_factory=list)

    @property
    def spans(self) -> list[Any]:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )

        return [
            span
            for export in self.exports
            for resource in ExportTraceServiceRequest.FromString(export).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra `tracing`")
    collector = Collector("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            collector.exports.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    collector.url = f"http://127.0.0.1:{server.server_port}"
    # The SDK reads the environment of the process by itself.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    yield collector
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def world(tmp_path: Path, redis_url: str, collector: Collector) -> Iterator[World]:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    with local_world(tmp_path, redis_url=redis_url, api_key=KEY, environ=environ) as world:
        world.source.entities = list(ENTITIES)
        yield world


def requested(world: World) -> None:
    """A reindex asked for over HTTP, in a trace of the client's."""
    app = create_app(world.runtime)
    services = replace(app.extensions["celeriac"], dispatcher=world.messages)
    app.extensions["celeriac"] = services
    headers = {"x-api-key": KEY, "traceparent": PARENT}
    answer = app.test_client().post("/ai-rag-indexer/acme/article/reindex", headers=headers)
    assert answer.status_code == 204, answer.text


def test_one_trace_goes_from_the_request_to_the_stages_of_the_pages(
    world: World, collector: Collector
) -> None:
    requested(world)
    world.run()
    world.runtime.tracing.close()

    assert {span.trace_id.hex() for span in collector.spans} == {PARENT.split("-")[1]}
    (request,) = collector.named("POST /ai-rag-indexer/<tenant>/<entity_type>/reindex")
    assert request.parent_span_id.hex() == PARENT.split("-")[2]
    assert attributes(request)["http.response.status_code"] == 204
    (job,) = collector.named("job")
    assert job.parent_span_id == request.span_id
    pages = collector.named("page")
    assert [attributes(page)["celeriac.page"] for page in pages] == [0, 1]
    for span in (*pages, *collector.named("start"), *collector.named("finish")):
        assert span.parent_span_id == job.span_id
    for stage in ("list", "chunk", "embed", "write"):
        parents = {span.parent_span_id for span in collector.named(stage)}
        assert parents == {page.span_id for page in pages}


def test_a_message_of_one_job_that_serves_another_is_in_the_others_trace(
    world: World, collector: Collector
) -> None:
    """Whose page runs is settled by the worker, not by the message."""
    requested(world)
    world.deliver(world.messages.waiting.pop(0))
    world.messages.waiting.clear()
    world.deliver(("page", "a job that is gone", 0))
    world.runtime.tracing.close()
    (page,) = collector.named("page")
    assert page.trace_id.hex() == PARENT.split("-")[1]


def test_texts_and_secrets_are_in_no_span(world: World, collector: Collector) -> None:
    def fail(number: int) -> None:
        raise SourceUnavailable("secret-token-of-the-source")

    requested(world)
    world.source.before_page = fail
    for _ in range(2):
        world.deliver(world.messages.waiting.pop(0))
    world.source.before_page = None
    world.jobs.recover()
    world.run()
    world.runtime.tracing.close()

    (failed,) = [span for span in collector.named("list") if span.status.code == 2]
    assert attributes(failed)["error.type"] == "SourceUnavailable"
    exported = b"".join(collector.exports)
    assert exported
    for secret in (b"secret-token", KEY.encode(), b"word1x1", b"Title 1"):
        assert secret not in exported


def test_jobs_that_a_schedule_asked_for_have_a_trace_of_their_own(
    world: World, collector: Collector
) -> None:
    request_job(world.runtime, world.messages, "acme", "article")
    world.run()
    world.runtime.tracing.close()
    assert len({span.trace_id for span in collector.spans}) == 1


def test_without_an_endpoint_nothing_is_loaded_and_nothing_is_traced() -> None:
    def never() -> Any:
        raise AssertionError

    tracing = open_tracing({}, never)
    assert not tracing.enabled
    with tracing.span("a"), tracing.span_of_job("job", "b"):
        tracing.keep("job")
        tracing.note(number=1)
    tracing.close()
