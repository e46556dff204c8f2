"""Generations that switch back and forth under queries, through API, command and real workers on
Redis, PostgreSQL and Qdrant servers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import servers
from articles import Articles
from click.testing import CliRunner
from collection import Cacm
from deployment import API_KEY, Json, Service, deployment

from celeriac.catalog import Catalog
from celeriac.cli import main
from celeriac.sealing import UNLISTED

PATH = "/ai-rag-indexer/acme/article"
DOCUMENTS = 60
TURNS = 3


class Searches:
    """Searches through the API in several threads, without a pause, until the block is left."""

    def __init__(self, url: str, threads: int = 4) -> None:
        self.answered = 0
        self.seen: set[str] = set()
        self._url = url
        self._stop = threading.Event()
        self._failures: list[str] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> Searches:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def check(self) -> None:
        assert self._failures == []

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, headers={"x-api-key": API_KEY}, timeout=30) as client:
            while not self._stop.is_set() and not self._failures:
                answer = client.post(f"{PATH}/search", json={"text": "anything", "top_k": 20})
                self._judge(answer)

    def _judge(self, answer: httpx.Response) -> None:
        if answer.status_code != 200:
            self._failures.append(answer.text)
            return
        hits = answer.json()["hits"]
        editions = {hit["metadata"]["edition"] for hit in hits}
        if len(hits) != 20 or len(editions) != 1:
            self._failures.append(f"{len(hits)} hits, of {editions}")
        self.answered += 1
        self.seen |= editions


class Command:
    """`celeriac`, in this process, with the environment of a deployment."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment

    def __call__(self, *arguments: str, status: int = 0) -> str:
        answer = CliRunner().invoke(main, arguments, env=self._environment)
        assert answer.exit_code == status, answer.output
        return str(answer.output)

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))


@pytest.fixture
def site(tmp_path: Path, redis_url: str, postgres_url: str, cacm: Cacm) -> Iterator[Site]:
    (tmp_path / "qdrant").mkdir()
    with servers.qdrant(tmp_path / "qdrant", own=True) as qdrant:
        yield Site(tmp_path, redis_url, postgres_url, qdrant.url, cacm)


class Site:
    """Servers, and a deployment on them under one declaration or the other."""

    def __init__(
        self, folder: Path, redis_url: str, database_url: str, qdrant_url: str, cacm: Cacm
    ) -> None:
        self._folder = folder
        self.environment = {
            "CELERIAC_REDIS_URL": redis_url,
            "CELERIAC_DATABASE_URL": database_url,
            "CELERIAC_QDRANT_URL": qdrant_url,
        }
        self.documents = [
            {**one, "first": "first", "second": "second"}
            for one in cacm.documents
            if one["abstract"]
        ][:DOCUMENTS]

    @contextmanager
    def running(self, edition: str, **declaration: Any) -> Iterator[tuple[Service, Command]]:
        """Every text begins with the edition, and says it in its metadata."""
        articles = Articles.declare(
            self._folder,
            text_fields=[edition, "title", "abstract"],
            filter_fields=[{"key": "edition", "path": edition}],
            **declaration,
        )
        articles.write(self.documents)
        with deployment(
            self._folder,
            articles.configuration,
            redis_url=self.environment["CELERIAC_REDIS_URL"],
            database_url=self.environment["CELERIAC_DATABASE_URL"],
            qdrant_url=self.environment["CELERIAC_QDRANT_URL"],
        ) as service:
            environment = {
                **self.environment,
                "CELERIAC_CONFIG": str(articles.configuration),
                "CELERIAC_API_KEY": API_KEY,
                "CELERIAC_HOST": "127.0.0.1",
                "CELERIAC_PORT": service.url.rpartition(":")[2],
            }
            yield service, Command(environment)


def rolled_back(service: Service, body: Json | None = None) -> Json:
    answer = service.client.post(f"{PATH}/rollback", json=body)
    assert answer.status_code == 200, answer.text
    done: Json = answer.json()
    return done


def assert_succeeded(job: Json, generation: int) -> None:
    assert (job["state"], job["generation"]) == ("succeeded", generation)
    assert job["message"] in ("", UNLISTED)


def test_generations_switch_back_and_forth_under_queries(site: Site) -> None:
    with site.running("first") as (service, _):
        job = service.reindex("acme", "article")
        assert_succeeded(job, 1)
        assert job["gate"]["entities"] == DOCUMENTS
        assert job["gate"]["sampled"] >= 16

    found = {"text": "anything", "expect": [site.documents[0]["id"]], "top_k": DOCUMENTS}
    with site.running("second", canaries=[found]) as (service, celeriac):
        with Searches(service.url) as searches:
            job = service.reindex("acme", "article")
            assert_succeeded(job, 2)
            assert (job["gate"]["lost"], job["gate"]["canaries"]) == (0, 1)
            for _ in range(TURNS):
                done = rolled_back(service)
                assert (done["generation"], done["rolled_back_from"]) == (1, 2)
                assert_succeeded(service.await_job(f"/jobs/{done['job_id']}"), 1)
                # What is scheduled goes on with the generation that was gone back to.
                assert_succeeded(service.reindex("acme", "article"), 1)
                undone = celeriac.json("rollback", "acme", "article", "--undo")
                assert (undone["accepted"], undone["generation"]) == ([2], 1)
                job = service.await_job(f"/jobs/{undone['job_id']}")
                assert_succeeded(job, 2)
                assert job["counters"]["embedded"] == 0
        searches.check()
        assert searches.seen == {"first", "second"}
        assert searches.answered > 20

        assert_waits_for_a_job(site, service, celeriac)
        shown = celeriac("rollback", "acme", "ARTICLE")
        assert "generation 2" in shown
        assert f"{done['index_id']}:1" in shown
        assert_lists(service, celeriac, done)
        assert_refuses(service, celeriac)


def assert_waits_for_a_job(site: Site, service: Service, celeriac: Command) -> None:
    """A rollback is refused while a job runs, and says which one."""
    for name, process in service.processes.items():
        if name.startswith("worker"):
            process.stop()
    job_id = service.request_reindex("acme", "article").rpartition("/")[2]
    catalog = Catalog(site.environment["CELERIAC_DATABASE_URL"])
    assert catalog.jobs.take_up(job_id) is not None  # as a worker would that does nothing more
    catalog.close()
    answer = service.client.post(f"{PATH}/rollback")
    assert answer.status_code == 409
    assert f"celeriac cancel {job_id}" in answer.json()["message"]
    assert celeriac.json("cancel", job_id)["state"] == "cancelled"


def assert_lists(service: Service, celeriac: Command, done: Json) -> None:
    """Which generation is live, and what its points' partition is."""
    answer = service.client.get(f"{PATH}/generations")
    rejected, live = answer.json()["generations"]
    assert live["indexed_at"] > 1.7e9
    assert {name: live[name] for name in live if name != "indexed_at"} == {
        "generation": 1,
        "state": "live",
        "rejected": False,
        "partition": done["partition"],
        "collection": "celeriac_stub_384",
        "model": "stub",
    }
    assert (rejected["generation"], rejected["state"], rejected["rejected"]) == (2, "retired", True)
    listed = celeriac.json("generations", "acme", "article")
    assert [one["partition"] for one in listed] == [rejected["partition"], live["partition"]]
    assert "retired, rolled back from" in celeriac("generations", "acme", "article")
    planned = celeriac("plan", "acme", "article")
    assert "Generation 2, built as it is declared, was rolled back from" in planned


def assert_refuses(service: Service, celeriac: Command) -> None:
    """There is nothing more to go back to, and some requests are not valid."""
    answer = service.client.post(f"{PATH}/rollback")
    assert (answer.status_code, answer.json()["type"]) == (409, "conflict")
    assert "no generation of acme/article to go back to" in answer.json()["message"]
    assert "to go back to" in celeriac("rollback", "acme", "article", status=1)
    for content in (b"[]", b"{", b'{"undo": "perhaps"}', b'{"redo": true}'):
        answer = service.client.post(
            f"{PATH}/rollback", content=content, headers={"content-type": "application/json"}
        )
        assert (answer.status_code, answer.json()["code"]) == (400, 400), answer.text
    for path in ("/ai-rag-indexer/acme/nothing", "/ai-rag-indexer/nobody/article"):
        assert service.client.post(f"{path}/rollback").status_code == 404
        assert service.client.get(f"{path}/generations").status_code == 404
    plain = httpx.post(f"{service.url}{PATH}/rollback")
    assert plain.status_code == 401
