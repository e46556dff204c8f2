"""A real deployment: API behind gunicorn, two workers and beat, on Redis, PostgreSQL and Qdrant
servers, each a process of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import servers
from articles import Articles
from collection import Cacm, JsonObject
from deployment import Json, Service, deployment

SECONDS_TO_ANSWER = 10.0
"""More than any answer may take when a server is away; far less than a hang."""


@dataclass
class Site:
    """A deployment and the servers it runs on."""

    service: Service
    articles: Articles
    redis: servers.RedisServer
    qdrant: servers.QdrantServer

    def assert_index_equals(self, job: Json, documents: list[JsonObject]) -> None:
        self.articles.assert_index_equals(job, documents, url=self.qdrant.url)


@pytest.fixture(scope="module")
def documents(cacm: Cacm) -> list[JsonObject]:
    return [one for one in cacm.documents if one["abstract"]][:400]


@pytest.fixture
def site(tmp_path: Path, documents: list[JsonObject], postgres_url: str) -> Iterator[Site]:
    articles = Articles.declare(tmp_path)
    articles.write(documents)
    (tmp_path / "redis").mkdir()
    (tmp_path / "qdrant").mkdir()
    with (
        servers.redis(tmp_path / "redis") as redis,
        servers.qdrant(tmp_path / "qdrant", own=True) as qdrant,
        deployment(
            tmp_path,
            articles.configuration,
            redis_url=redis.url,
            database_url=postgres_url,
            qdrant_url=qdrant.url,
        ) as service,
    ):
        yield Site(service, articles, redis, qdrant)


def test_it_reindexes_exactly_searches_and_finds_nothing_to_do_again(
    site: Site, documents: list[JsonObject]
) -> None:
    job = site.service.reindex("acme", "article")
    assert (job["state"], job["counters"]["indexed"]) == ("succeeded", 400)
    site.assert_index_equals(job, documents)

    again = site.service.reindex("acme", "article")
    assert (again["counters"]["unchanged"], again["counters"]["embedded"]) == (400, 0)
    hits = site.service.search("acme", "article", "time sharing", top_k=3)
    assert len(hits) == 3
    # Both workers had a part in it.
    for name in ("worker-0", "worker-1"):
        log = site.service.processes[name].log.read_text()
        assert "celeriac.index_page" in log


def test_a_worker_killed_in_the_middle_loses_nothing(
    site: Site, documents: list[JsonObject]
) -> None:
    location = site.service.request_reindex("acme", "article")
    while site.service.job(location)["counters"]["listed"] < 40:
        time.sleep(0.05)
    site.service.processes["worker-0"].kill()
    job = site.service.await_job(location)
    assert (job["state"], job["message"]) == ("succeeded", "")
    # What was written but not committed is found unchanged by who goes on with it.
    counters = job["counters"]
    assert counters["listed"] == counters["indexed"] + counters["unchanged"] == 400
    site.assert_index_equals(job, documents)


def test_a_qdrant_killed_in_the_middle_delays_the_job(
    site: Site, documents: list[JsonObject]
) -> None:
    location = site.service.request_reindex("acme", "article")
    while site.service.job(location)["counters"]["listed"] < 40:
        time.sleep(0.05)
    site.qdrant.kill()
    time.sleep(2)
    site.qdrant.start()
    job = site.service.await_job(location)
    assert (job["state"], job["message"]) == ("succeeded", "")
    site.assert_index_equals(job, documents)


@pytest.mark.parametrize("server", ["redis", "qdrant"])
def test_a_server_that_is_down_is_answered_with_503_and_back_without_a_restart(
    site: Site, server: str
) -> None:
    stopped: servers.Server = getattr(site, server)
    site.service.reindex("acme", "article")
    stopped.stop()
    time.sleep(1.5)  # an answer of the store is believed for a second
    started = time.monotonic()
    answer = site.service.client.post("/ai-rag-indexer/acme/article/reindex")
    assert time.monotonic() - started < SECONDS_TO_ANSWER
    assert answer.status_code == 503
    assert answer.json()["code"] == 503
    assert answer.headers["Retry-After"]
    assert site.service.client.get("/readyz").status_code == 503

    stopped.start()
    site.service.await_ready()
    job = site.service.reindex("acme", "article")
    assert (job["state"], job["counters"]["unchanged"]) == ("succeeded", 400)


def test_sql_that_is_down_is_answered_with_503(tmp_path: Path, documents: list[JsonObject]) -> None:
    articles = Articles.declare(tmp_path)
    articles.write(documents[:20])
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
            workers=1,
        ) as service,
    ):
        service.reindex("acme", "article")
        postgres.stop()
        for path in ("/ai-rag-indexer/acme/article/reindex", None):
            started = time.monotonic()
            if path is None:
                answer = service.client.get("/jobs/00000000-0000-0000-0000-000000000000")
            else:
                answer = service.client.post(path)
            assert time.monotonic() - started < SECONDS_TO_ANSWER
            assert (answer.status_code, answer.json()["code"]) == (503, 503)
        postgres.start()
        service.await_ready()
        assert service.reindex("acme", "article")["state"] == "succeeded"
