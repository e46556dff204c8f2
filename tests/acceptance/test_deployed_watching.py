"""Watching a real deployment: events through gunicorn, metrics of all processes, dead workers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import deployment
import pytest
import servers
import sites
from event_stream import watching
from prometheus_client.parser import text_string_to_metric_families
from sites import Site

ENTITIES = 300


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("watching")
    with (folder / "articles.jsonl").open("w", encoding="utf-8") as lines:
        for number in range(ENTITIES):
            body = " ".join(f"word{number}x{position}" for position in range(200))
            lines.write(json.dumps({"id": f"a{number}", "body": body}) + "\n")
    article = {
        "source": {"kind": "files", "path": "articles.jsonl", "id": "id", "page_size": 10},
        "text_fields": ["body"],
        "index": {"model": "stub", "chunk_size": 100},
    }
    configuration = deployment.write_configuration(folder, {"acme": {"article": article}})
    with sites.site(folder, configuration) as site:
        yield site


def metrics(site: Site) -> dict[tuple[str, str], float]:
    """Values by name and labels, in the order of the labels' names."""
    answer = site.service.client.get("/metrics")
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def awaited(site: Site, name: str, labels: str, value: float) -> None:
    """Return once a metric has this value."""
    deadline = time.monotonic() + 60
    while metrics(site).get((name, labels)) != value:
        assert time.monotonic() < deadline, metrics(site)
        time.sleep(0.2)


def test_a_job_is_watched_to_its_end_and_counted_by_all_workers(site: Site) -> None:
    location = site.service.request_reindex("acme", "article")
    with watching(site.service.client, f"{location}/events") as events:
        told = [one for one in events if one.kind is not None]
    job = site.service.job(location)
    assert (told[0].kind, told[-1].kind) == ("job", "end")
    assert told[-1].data == job
    assert (job["state"], job["counters"]["indexed"]) == ("succeeded", ENTITIES)
    assert job["stages"]["list"]["items"] == ENTITIES
    assert job["stages"]["embed"]["items"] == job["counters"]["embedded"]

    awaited(site, "celeriac_entities_total", "indexed,acme", ENTITIES)
    awaited(site, "celeriac_tokens_total", "acme", job["counters"]["tokens"])
    awaited(site, "celeriac_jobs_ended_total", "succeeded,acme", 1)
    found = metrics(site)
    assert found["celeriac_workers", ""] == 2
    assert found["celeriac_queue_messages", ""] >= 0
    for dependency in ("catalog", "redis", "qdrant"):
        assert found["celeriac_dependency_up", dependency] == 1


def test_a_job_without_workers_says_so_and_goes_on_with_the_next(site: Site) -> None:
    workers = [site.service.processes[f"worker-{number}"] for number in range(2)]
    for worker in workers:
        worker.kill()
    location = site.service.request_reindex("acme", "article")
    with watching(site.service.client, f"{location}/events") as events:
        waits: Any = next(
            one.data for one in events if one.data and one.data["waiting_for"] == "worker"
        )
        assert waits["state"] == "queued"
        for worker in workers:
            worker.start()
        end = [one for one in events if one.kind is not None][-1]
    assert (end.kind, end.data["state"], end.data["waiting"]) == ("end", "succeeded", None)


@pytest.mark.parametrize("dependency", ["catalog", "redis", "qdrant"])
def test_readiness_is_told_in_time_whatever_hangs(site: Site, dependency: str) -> None:
    server: servers.Server = {
        "catalog": site.postgres,
        "redis": site.redis,
        "qdrant": site.qdrant,
    }[dependency]
    server.freeze()
    try:
        begin = time.monotonic()
        # Qdrant's last answer is believed for a second.
        while (answer := site.service.client.get("/readyz")).status_code == 200:
            assert time.monotonic() < begin + 10
        found = answer.json()
        assert time.monotonic() < begin + 15
    finally:
        server.thaw()
    others = {"catalog", "redis", "qdrant"} - {dependency}
    assert found["status"] == "unavailable"
    assert found[dependency] != "ok"
    assert {found[other] for other in others} == {"ok"}
    assert deployment.API_KEY not in answer.text
    site.service.await_ready()
