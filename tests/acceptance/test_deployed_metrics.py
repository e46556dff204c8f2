"""Metrics of a real deployment: what its workers counted is there once, and stays when they end."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from articles import Articles
from collection import Cacm
from deployment import Json, Process
from prometheus_client.parser import text_string_to_metric_families
from sites import Site

SECONDS_TO_ADD = 60.0


@pytest.fixture
def documents(cacm: Cacm) -> list[Json]:
    return cacm.documents[:120]


@pytest.fixture
def workers() -> int:
    return 1


@pytest.fixture
def second_worker(site: Site, tmp_path: Path) -> Iterator[Process]:
    """Asked for a pool of processes, by the word that Celery takes for the pool of its settings."""
    first = site.service.processes["worker-0"]
    second = dataclasses.replace(
        first,
        name="worker-1",
        command=[*first.command[:-1], "worker-1@localhost", "--pool", "prefork", "-c", "2"],
        log=tmp_path / "worker-1.log",
    )
    second.start()
    second.await_logged("worker-1@localhost ready", SECONDS_TO_ADD)
    yield second
    second.stop()


def counted(site: Site) -> dict[str, float]:
    """What was done, by outcome and by name."""
    families = text_string_to_metric_families(site.service.client.get("/metrics").text)
    return {
        sample.labels.get("outcome", sample.labels.get("stage", sample.name)): sample.value
        for family in families
        for sample in family.samples
        if family.name
        in ("celeriac_entities", "celeriac_chunks", "celeriac_jobs_ended", "celeriac_workers")
    }


def await_counted(site: Site, wanted: dict[str, float]) -> None:
    deadline = time.monotonic() + SECONDS_TO_ADD
    while (found := counted(site)) != {**found, **wanted}:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def of(jobs: list[Json]) -> dict[str, float]:
    """What the metrics of these jobs come to."""
    sums = {name: sum(job["counters"][name] for job in jobs) for name in jobs[0]["counters"]}
    done = {name: sums[name] for name in ("indexed", "unchanged", "removed") if sums[name]}
    return {
        **done,
        "celeriac_chunks_total": sums["chunks"],
        "celeriac_jobs_ended_total": len(jobs),
    }


def test_what_workers_count_is_complete_and_not_doubled(
    site: Site, articles: Articles, second_worker: Process, cacm: Cacm
) -> None:
    tenant, name = articles.tenant, "article"
    jobs = [site.service.reindex(tenant, name)]
    assert jobs[0]["state"] == "succeeded"
    await_counted(site, {**of(jobs), "celeriac_workers": 2})
    articles.write(cacm.documents[10:140])
    jobs.append(site.service.reindex(tenant, name))
    assert second_worker.stop() == 0
    assert site.service.processes["worker-0"].stop() == 0
    # Whatever they had not added yet, they did at their end.
    found = counted(site)
    assert found == {**found, **of(jobs), "celeriac_workers": 0}
