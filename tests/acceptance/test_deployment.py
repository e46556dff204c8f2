"""A real deployment: API behind gunicorn, two workers and beat, on Redis, PostgreSQL and Qdrant
servers, each a process of its own."""

from __future__ import annotations

import time

import pytest
import servers
from articles import Articles
from collection import Cacm, JsonObject
from sites import Site

SECONDS_TO_ANSWER = 10.0
"""More than any answer may take when a server is away; far less than a hang."""


@pytest.fixture(scope="module")
def documents(cacm: Cacm) -> list[JsonObject]:
    return [one for one in cacm.documents if one["abstract"]][:400]


def test_it_reindexes_exactly_searches_and_finds_nothing_to_do_again(
    site: Site, articles: Articles, documents: list[JsonObject]
) -> None:
    job = site.service.reindex("acme", "article")
    assert (job["state"], job["counters"]["indexed"]) == ("succeeded", 400)
    articles.assert_index_equals(job, documents, url=site.qdrant.url)

    again = site.service.reindex("acme", "article")
    assert (again["counters"]["unchanged"], again["counters"]["embedded"]) == (400, 0)
    hits = site.service.search("acme", "article", "time sharing", top_k=3)
    assert len(hits) == 3
    audit = site.service.check("acme", "article", "audit")
    assert (audit["state"], audit["listed"], audit["result"]["equal"]) == ("done", 400, True)
    (index,) = site.service.client.get("/indexes").json()["indexes"]
    assert (index["state"], index["entities"]) == ("live", 400)
    # Both workers had a part in it.
    for name in ("worker-0", "worker-1"):
        log = site.service.processes[name].log.read_text()
        assert "celeriac.index_page" in log


def test_a_worker_killed_in_the_middle_loses_nothing(
    site: Site, articles: Articles, documents: list[JsonObject]
) -> None:
    location = site.service.request_reindex("acme", "article")
    while site.service.job(location)["counters"]["indexed"] < 40:
        time.sleep(0.05)
    site.service.processes["worker-0"].kill()
    job = site.service.await_job(location)
    assert (job["state"], job["message"]) == ("succeeded", "")
    # What was written but not committed is found unchanged by who goes on with it.
    counters = job["counters"]
    assert counters["listed"] == counters["indexed"] + counters["unchanged"] == 400
    articles.assert_index_equals(job, documents, url=site.qdrant.url)


def test_a_qdrant_killed_in_the_middle_delays_the_job(
    site: Site, articles: Articles, documents: list[JsonObject]
) -> None:
    location = site.service.request_reindex("acme", "article")
    while site.service.job(location)["counters"]["indexed"] < 40:
        time.sleep(0.05)
    site.qdrant.kill()
    time.sleep(2)
    site.qdrant.start()
    job = site.service.await_job(location)
    assert (job["state"], job["message"]) == ("succeeded", "")
    articles.assert_index_equals(job, documents, url=site.qdrant.url)


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


def test_sql_that_is_down_is_answered_with_503(site: Site) -> None:
    site.service.reindex("acme", "article")
    site.postgres.stop()
    for method, path in (
        ("POST", "/ai-rag-indexer/acme/article/reindex"),
        ("GET", "/jobs/00000000-0000-0000-0000-000000000000"),
    ):
        started = time.monotonic()
        answer = site.service.client.request(method, path)
        assert time.monotonic() - started < SECONDS_TO_ANSWER
        assert (answer.status_code, answer.json()["code"]) == (503, 503)
    site.postgres.start()
    site.service.await_ready()
    assert site.service.reindex("acme", "article")["state"] == "succeeded"
