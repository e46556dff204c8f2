"""The reindex contract's successor and its siblings, on standalone."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from articles import Articles
from collection import Cacm, JsonObject
from deployment import Service, standalone

Json = dict[str, Any]
JOBS = "/indexing/acme/reindex-jobs"


@pytest.fixture(scope="module")
def documents(cacm: Cacm) -> list[JsonObject]:
    return [one for one in cacm.documents if one["abstract"]][:60]


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, documents: list[JsonObject]
) -> Iterator[Service]:
    folder: Path = tmp_path_factory.mktemp("jobs")
    fields = [
        {"key": "published", "type": "string", "description": "When it came out."},
        {"key": "who", "type": "list", "path": "authors"},
    ]
    articles = Articles.declare(folder, filter_fields=fields)
    articles.write(documents)
    with standalone(folder, articles.configuration) as service:
        yield service


@pytest.fixture(scope="module")
def client(service: Service) -> httpx.Client:
    return service.client


def ended(client: httpx.Client, job_id: str) -> Json:
    deadline = time.monotonic() + 120
    seen = []
    while time.monotonic() < deadline:
        job: Json = client.get(f"{JOBS}/{job_id}").json()
        seen.append(job["status"])
        if job["status"] in ("SUCCESS", "FAILURE"):
            assert set(seen) <= {"PENDING", "IN_PROGRESS", "PUBLISHED", "SUCCESS"}
            return job
        time.sleep(0.02)
    raise AssertionError(seen)


def test_a_job_is_made_and_succeeds(client: httpx.Client) -> None:
    answer = client.post(JOBS, json={"entityType": "ARTICLE", "rag": True})
    assert answer.status_code == 201
    made = answer.json()
    assert answer.headers["Location"].endswith(f"{JOBS}/{made['id']}")
    assert (made["entityType"], made["status"], made["message"]) == ("ARTICLE", "PENDING", "")
    job = ended(client, made["id"])
    assert job["processedCount"] == 60
    created, modified = (
        dt.datetime.fromisoformat(job["metadata"][name]) for name in ("createdAt", "modifiedAt")
    )
    assert created <= modified


def test_a_waiting_job_is_joined(client: httpx.Client) -> None:
    answers = [client.post(JOBS, json={"entityType": "article"}) for _ in range(20)]
    assert {one.status_code for one in answers} == {200, 201}
    by_id = {one.json()["id"] for one in answers}
    assert len(by_id) == sum(one.status_code == 201 for one in answers)
    for job_id in by_id:
        ended(client, job_id)


def test_jobs_are_listed(client: httpx.Client) -> None:
    ended(client, client.post(JOBS, json={"entityType": "article"}).json()["id"])
    answer = client.get(JOBS, params={"pageSize": 1})
    total = int(answer.headers["X-Total-Count"])
    assert len(answer.json()) == 1
    everything = client.get(JOBS, params={"pageSize": 2000}).json()
    assert len(everything) == total
    created = [one["metadata"]["createdAt"] for one in everything]
    assert created == sorted(created, reverse=True)
    second = client.get(JOBS, params={"pageSize": 1, "pageNumber": 2}).json()
    assert second == everything[1:2]
    found = client.get(JOBS, params={"q": f"id:{everything[0]['id']}", "fields": "id,status"})
    assert found.json() == [{"id": everything[0]["id"], "status": "SUCCESS"}]
    assert client.get(JOBS, params={"q": "status:FAILURE"}).json() == []
    assert client.get(JOBS, params={"q": "entityType:NOSUCH"}).json() == []


@pytest.mark.parametrize(
    "query",
    [{"pageNumber": 0}, {"pageSize": 2001}, {"sort": "x"}, {"q": "x:y"}, {"fields": "x"}],
)
def test_a_query_that_is_not_valid_is_a_400(client: httpx.Client, query: Json) -> None:
    answer = client.get(JOBS, params=query)
    assert answer.status_code == 400
    body = answer.json()
    assert body["code"] == 400
    assert body["details"][0]["field"] == next(iter(query))


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "entityType"), ({"entityType": 1}, "entityType"), ({"entityType": "nosuch"}, None)],
)
def test_a_body_that_is_not_valid_is_a_400(
    client: httpx.Client, body: Json, field: str | None
) -> None:
    answer = client.post(JOBS, json=body)
    assert answer.status_code == 400
    if field is not None:
        assert answer.json()["details"][0]["field"] == field


def test_what_is_not_there_is_a_404(client: httpx.Client) -> None:
    answer = client.get(f"{JOBS}/nosuch")
    assert (answer.status_code, answer.json()["code"]) == (404, 404)


@pytest.mark.parametrize("name", ["article", "ARTICLE"])
def test_what_is_declared_can_be_read(client: httpx.Client, name: str) -> None:
    answer = client.get(f"/ai-rag-indexer/acme/{name}/rag-metadata")
    assert answer.json() == ["title", "abstract"]
    answer = client.get(f"/ai-rag-indexer/acme/{name}/filter-metadata")
    assert answer.json() == [
        {
            "key": "published",
            "type": "string",
            "name": "published",
            "description": "When it came out.",
        },
        {"key": "who", "type": "list", "name": "authors", "description": ""},
    ]


def test_metadata_of_an_unknown_type_is_a_400(client: httpx.Client) -> None:
    for kind in ("rag-metadata", "filter-metadata"):
        answer = client.get(f"/ai-rag-indexer/acme/nosuch/{kind}")
        assert (answer.status_code, answer.json()["code"]) == (400, 400)
