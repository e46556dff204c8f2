"""Servers that go away in the middle of a job and come back, one of them empty: it ends right."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import servers
from articles import Articles
from collection import Cacm, JsonObject
from deployment import Service, deployment, injection

LEASE = 4.0


@dataclass
class Site:
    """A deployment and its servers."""

    service: Service
    articles: Articles
    documents: list[JsonObject]
    redis: servers.RedisServer
    qdrant: servers.QdrantServer
    postgres: servers.PostgresServer

    def begin(self) -> str:
        """Start a job and wait until it is well under way."""
        location = self.service.request_reindex("acme", "article")
        while self.service.job(location)["counters"]["listed"] < 30:
            time.sleep(0.05)
        return location

    def assert_ends_right(self, location: str) -> None:
        job = self.service.await_job(location)
        assert (job["state"], job["message"]) == ("succeeded", "")
        counters = job["counters"]
        assert counters["listed"] == counters["indexed"] + counters["unchanged"]
        assert counters["listed"] == len(self.documents)
        self.articles.assert_index_equals(job, self.documents, url=self.qdrant.url)


@pytest.fixture
def site(tmp_path: Path, cacm: Cacm) -> Iterator[Site]:
    documents = [one for one in cacm.documents if one["abstract"]][:300]
    articles = Articles.declare(tmp_path)
    articles.write(documents)
    for name in ("redis", "qdrant", "postgres"):
        (tmp_path / name).mkdir()
    with (
        servers.redis(tmp_path / "redis") as redis,
        servers.qdrant(tmp_path / "qdrant", own=True) as qdrant,
        servers.postgres(tmp_path / "postgres") as postgres,
        deployment(
            tmp_path,
            articles.configuration,
            redis_url=redis.url,
            database_url=postgres.url,
            qdrant_url=qdrant.url,
            **injection(LEASE=str(LEASE)),
        ) as service,
    ):
        yield Site(service, articles, documents, redis, qdrant, postgres)


def redis_restarted(site: Site) -> None:
    site.redis.kill()
    site.redis.start()


def redis_emptied(site: Site) -> None:
    site.redis.kill()
    for path in sorted((site.articles.folder / "redis").rglob("*"), reverse=True):
        if path.is_file() and path.suffix != ".log":
            path.unlink()
    site.redis.start()


def redis_away(site: Site) -> None:
    site.redis.stop()
    time.sleep(8)
    site.redis.start()


def sql_away(site: Site) -> None:
    site.postgres.stop()
    time.sleep(8)
    site.postgres.start()


def qdrant_killed(site: Site) -> None:
    site.qdrant.kill()
    time.sleep(3)
    site.qdrant.start()


def every_worker_killed(site: Site) -> None:
    workers = [one for name, one in site.service.processes.items() if name.startswith("worker")]
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.start()


@pytest.mark.parametrize(
    "fault",
    [redis_restarted, redis_emptied, redis_away, sql_away, qdrant_killed, every_worker_killed],
)
def test_a_job_outlives(fault: Callable[[Site], None], site: Site) -> None:
    location = site.begin()
    fault(site)
    # A worker may end when Redis goes away while it acknowledges a message (kombu 5.7); it runs
    # under a restart policy wherever it is deployed.
    time.sleep(LEASE)
    site.service.restart_ended()
    site.service.await_ready()
    site.assert_ends_right(location)


def test_a_worker_asked_to_end_gives_its_pages_back(site: Site) -> None:
    location = site.begin()
    worker = site.service.processes["worker-0"]
    assert worker.stop() == 0
    site.assert_ends_right(location)
