"""What /metrics says: of all processes, of jobs that ran, of what is away, to whom."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import promtool
import pytest
import servers
from flask.testing import FlaskClient
from harness import World, article, local_world
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from redis.exceptions import RedisError

from api import create_app
from celeriac import measured
from celeriac.embedding.batching import Batch
from celeriac.errors import SourceUnavailable
from celeriac.measured import METRICS, Kind
from celeriac.metrics import MOST_SERIES, Metrics, count_batch
from celeriac.model import Entity
from celeriac.security.principal import Scope

ENTITIES = [article(number, words=100) for number in range(30)]
ROOT = Path(__file__).parent.parent.parent
KEY = "the key of these tests"

Samples = dict[tuple[str, tuple[str, ...]], float]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[servers.RedisServer]:
    """One that a test may stop."""
    with servers.redis(tmp_path) as server:
        yield server


@pytest.fixture
def world(tmp_path: Path, redis: servers.RedisServer) -> Iterator[World]:
    with local_world(tmp_path, redis_url=redis.url, api_key=KEY) as world:
        world.source.entities = list(ENTITIES)
        yield world


@pytest.fixture
def client(world: World) -> FlaskClient:
    app = create_app(world.runtime)
    # Celery's own is one a process, on the Redis of whichever test asked first.
    services = replace(app.extensions["celeriac"], dispatcher=world.messages)
    app.extensions["celeriac"] = services
    return app.test_client()


def text(client: FlaskClient) -> str:
    answer = client.get("/metrics", headers={"x-api-key": KEY})
    assert answer.status_code == 200, answer.text
    assert answer.content_type.startswith("text/plain; version=")
    return answer.text


def samples(client: FlaskClient) -> Samples:
    """Values by name and labels, in the order in which they are declared."""
    order = {metric.name: metric.labels for metric in METRICS}
    order |= {f"{metric.name}_bucket": (*metric.labels, "le") for metric in METRICS}
    found: Samples = {}
    for family in text_string_to_metric_families(text(client)):
        for sample in family.samples:
            labels = order.get(sample.name, order.get(family.name, ()))
            found[sample.name, tuple(sample.labels[name] for name in labels)] = sample.value
    return found


def test_what_jobs_did_is_counted(world: World, client: FlaskClient) -> None:
    world.source.entities[3] = Entity("a3", {})
    job = world.reindex()
    found = samples(client)
    counted = job.counters
    assert found["celeriac_entities_total", ("acme", "indexed")] == counted.indexed == 29
    assert found["celeriac_entities_total", ("acme", "failed")] == 1
    assert found["celeriac_chunks_total", ("acme",)] == counted.chunks
    assert found["celeriac_embedded_chunks_total", ("acme",)] == counted.embedded
    assert found["celeriac_tokens_total", ("acme",)] == counted.tokens
    assert found["celeriac_source_bytes_total", ("acme",)] == counted.bytes
    assert found["celeriac_entity_failures_total", ("EmptyText",)] == 1
    assert found["celeriac_jobs_ended_total", ("acme", "succeeded")] == 1
    assert found["celeriac_stage_items_total", ("list",)] == 30
    assert found["celeriac_stage_items_total", ("embed",)] == counted.embedded
    assert found["celeriac_stage_duration_seconds_count", ("list",)] == 3
    assert found["celeriac_index_last_success_timestamp_seconds", ("acme", "article")] > 1e9
    assert found["celeriac_index_lag_seconds", ("acme", "article")] == 0
    world.source.entities = ENTITIES[:28]
    world.reindex()
    again = samples(client)
    assert again["celeriac_entities_total", ("acme", "removed")] == 2
    assert again["celeriac_entities_total", ("acme", "unchanged")] == 27


def test_what_waits_and_what_fails_is_told(world: World, client: FlaskClient) -> None:
    def fail(number: int) -> None:
        raise SourceUnavailable

    world.source.before_page = fail
    world.request()
    waits = samples(client)
    assert waits["celeriac_jobs", ("acme", "queued")] == 1
    assert waits["celeriac_oldest_waiting_seconds", ()] > 0
    assert waits["celeriac_index_lag_seconds", ("acme", "article")] > 0
    assert waits["celeriac_workers", ()] == 0
    assert waits["celeriac_queue_messages", ()] == 1
    world.deliver(world.messages.waiting.pop(0))
    assert samples(client)["celeriac_pages_waiting", ("acme",)] == 1
    world.deliver(world.messages.waiting.pop(0))
    world.jobs.fail(world.request().id, "Given up.", SourceUnavailable())
    found = samples(client)
    assert found["celeriac_page_retries_total", ("SourceUnavailable",)] == 1
    assert found["celeriac_job_failures_total", ("SourceUnavailable",)] == 1


def test_the_models_batches_are_counted(world: World, client: FlaskClient) -> None:
    count_batch(world.runtime.metrics, "minilm", Batch(8, 100, 20, 0.03))
    found = samples(client)
    assert found["celeriac_model_tokens_total", ("minilm",)] == 100
    assert found["celeriac_model_padding_tokens_total", ("minilm",)] == 20
    assert found["celeriac_model_batch_duration_seconds_bucket", ("minilm", "0.05")] == 1
    assert found["celeriac_model_batch_duration_seconds_bucket", ("minilm", "0.025")] == 0


def test_requests_are_measured_by_their_endpoints(client: FlaskClient) -> None:
    client.get("/jobs/none", headers={"x-api-key": KEY})
    client.get("/nowhere/at/all", headers={"x-api-key": KEY})
    found = samples(client)
    count = "celeriac_http_request_duration_seconds_count"
    assert found[count, ("jobs.get_job", "4xx")] == 1
    assert {labels[0] for name, labels in found if name == count} == {"jobs.get_job"}


def test_what_several_processes_count_adds_up(world: World, client: FlaskClient) -> None:
    script = (
        "import os, sys\n"
        "from redis import Redis\n"
        "from celeriac.measured import STAGES, TOKENS\n"
        "from celeriac.metrics import Metrics\n"
        "os.fork()\n"
        "metrics = Metrics(lambda: Redis.from_url(sys.argv[1]))\n"
        "for _ in range(100): metrics.count(TOKENS, 'acme', by=3)\n"
        "metrics.observe(STAGES, 0.3, 'embed')\n"
        "metrics.close()\n"
    )
    command = [sys.executable, "-c", script, str(world.runtime.settings.redis_url)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    processes = [subprocess.Popen(command, env=environment) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    world.runtime.metrics.count(measured.TOKENS, "acme", by=5)
    found = samples(client)
    # A process that was forked may be a moment behind the one it came of.
    for _ in range(100):
        if found["celeriac_tokens_total", ("acme",)] == 1805:
            break
        found = samples(client)
    assert found["celeriac_tokens_total", ("acme",)] == 1805
    assert found["celeriac_stage_duration_seconds_bucket", ("embed", "0.5")] == 6
    assert found["celeriac_stage_duration_seconds_sum", ("embed",)] == pytest.approx(1.8)


def test_labels_are_bounded(world: World, client: FlaskClient) -> None:
    metrics = world.runtime.metrics
    for number in range(MOST_SERIES + 20):
        metrics.count(measured.TOKENS, f"tenant{number}")
    found = {labels: value for (name, labels), value in samples(client).items() if "tokens" in name}
    assert len(found) == MOST_SERIES + 1
    assert found["other",] == 20


def test_what_redis_did_not_take_is_kept(redis: servers.RedisServer) -> None:
    with Redis.from_url(redis.url, socket_timeout=1) as client:
        metrics = Metrics(lambda: client)
        redis.stop()
        metrics.count(measured.TOKENS, "acme", by=2)
        with pytest.raises(RedisError):
            metrics.flush()
        metrics.count(measured.TOKENS, "acme", by=3)
        redis.start()
        assert metrics.found()[measured.TOKENS]["acme",].value == 5
        metrics.close()


def test_without_redis_the_rest_is_told(
    world: World, client: FlaskClient, redis: servers.RedisServer
) -> None:
    world.request()
    redis.stop()
    found = samples(client)
    assert found["celeriac_dependency_up", ("redis",)] == 0
    assert found["celeriac_dependency_up", ("catalog",)] == 1
    assert found["celeriac_jobs", ("acme", "queued")] == 1
    redis.start()
    assert samples(client)["celeriac_dependency_up", ("redis",)] == 1


def test_it_is_prometheus_format_as_promtool_reads_it(world: World, client: FlaskClient) -> None:
    world.reindex()
    promtool.checked("check", "metrics", given=text(client))


def test_every_metric_has_its_help_and_type_before_anything_happened(client: FlaskClient) -> None:
    lines = text(client).splitlines()
    for metric in METRICS:
        name = metric.name
        assert f"# TYPE {name} {metric.kind}" in lines
        assert f"# HELP {name} {metric.help}" in lines
    kinds = {
        family.name: family.type for family in text_string_to_metric_families("\n".join(lines))
    }
    assert kinds["celeriac_tokens"] == Kind.COUNTER


def test_it_takes_the_scope_and_every_tenant(world: World, client: FlaskClient) -> None:
    keys = world.runtime.catalog.api_keys
    _, good = keys.create(tenants=["*"], scopes=[Scope.METRICS_READ])
    _, of_one = keys.create(tenants=["acme"], scopes=[Scope.METRICS_READ])
    _, reader = keys.create(tenants=["*"], scopes=[Scope.AGENT_READ])
    for secret, status in ((good, 200), (of_one, 403), (reader, 403)):
        headers = {"Authorization": f"Bearer {secret.reveal()}"}
        assert client.get("/metrics", headers=headers).status_code == status
    assert client.get("/metrics").status_code == 401
