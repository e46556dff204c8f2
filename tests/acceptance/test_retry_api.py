"""Retries over HTTP, on a running standalone: of files, which are listed, and of rows, which are
looked up."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from articles import Articles, JsonObject
from deployment import Json, Service, standalone, write_configuration

ARTICLE: Json = {
    "source": {"kind": "files", "path": "documents.jsonl", "id": "id", "page_size": 7},
    "text_fields": ["title"],
    "index": {"model": "stub", "chunk_size": 100, "chunk_overlap": 0},
}


def documents(*, bad: range = range(0), empty: range = range(0)) -> list[JsonObject]:
    """Thirty, of which some are no text and some have none."""

    def title(number: int) -> str:
        return "\0" if number in bad else " " if number in empty else f"Title {number}"

    return [{"id": f"d{number}", "title": title(number)} for number in range(30)]


@pytest.fixture(scope="module")
def articles(tmp_path_factory: pytest.TempPathFactory) -> Articles:
    folder = tmp_path_factory.mktemp("retry")
    rows = {"kind": "sql", "url": f"sqlite:///{folder / 'shop.db'}", "table": "products"}
    types = {"article": ARTICLE, "product": {**ARTICLE, "source": rows}}
    with sqlite3.connect(folder / "shop.db") as shop:
        shop.execute("CREATE TABLE products (id TEXT PRIMARY KEY, title TEXT)")
    return Articles(folder, write_configuration(folder, {"acme": types}))


@pytest.fixture(scope="module")
def service(articles: Articles) -> Iterator[Service]:
    with standalone(articles.folder, articles.configuration) as service:
        yield service


def write(articles: Articles, written: list[JsonObject]) -> None:
    """Make both sources hold these documents."""
    articles.write(written)
    with sqlite3.connect(articles.folder / "shop.db") as shop:
        shop.execute("DELETE FROM products")
        shop.executemany("INSERT INTO products VALUES (:id, :title)", written)


@pytest.fixture(params=["article", "product"])
def job(request: pytest.FixtureRequest, service: Service, articles: Articles) -> Json:
    """A job in which three entities were no text and two had none; the source is mended since."""
    write(articles, documents(bad=range(3, 6), empty=range(20, 22)))
    job = service.reindex("acme", request.param)
    assert (job["state"], job["counters"]["failed"]) == ("succeeded", 5)
    assert (job["mode"], job["retries"]) == ("reindex", [])
    write(articles, documents())
    return job


def retry(service: Service, job: Json, **body: Any) -> Json:
    answer = service.client.post(f"/jobs/{job['id']}/retry", **({"json": body} if body else {}))
    assert answer.status_code == 202, answer.text
    return service.await_job(answer.headers["Location"])


def test_a_retry_is_a_job_of_its_own(service: Service, job: Json) -> None:
    retried = retry(service, job)
    assert (retried["state"], retried["mode"]) == ("succeeded", "retry")
    assert retried["retries"] == [job["id"]]
    assert (retried["index_id"], retried["generation"]) == (job["index_id"], job["generation"])
    counters = retried["counters"]
    assert counters["listed"] == counters["indexed"] + counters["unchanged"] == 5
    assert "5 now equal the source" in retried["message"]
    found = service.search("acme", job["entity_type"], "Title 4", top_k=30)
    assert len({hit["entity_id"] for hit in found}) == 30


def test_a_retry_may_be_of_one_class(service: Service, job: Json) -> None:
    retried = retry(service, job, **{"class": "NotText", "retryable_only": False})
    assert retried["counters"]["listed"] == 3
    found = service.search("acme", job["entity_type"], "Title 4", top_k=30)
    assert len({hit["entity_id"] for hit in found}) == 28


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"class": "NoSuchError"}, "by class: EmptyText: 2, NotText: 3"),
        ({"retryable_only": True}, "may succeed as it stands"),
    ],
)
def test_a_retry_of_nothing_is_a_conflict(
    service: Service, job: Json, body: Json, words: str
) -> None:
    answer = service.client.post(f"/jobs/{job['id']}/retry", json=body)
    assert answer.status_code == 409
    assert (answer.json()["code"], answer.json()["type"]) == (409, "conflict")
    assert words in answer.json()["message"]


def test_a_job_that_has_not_ended_is_a_conflict(service: Service, articles: Articles) -> None:
    write(articles, documents())
    locations = [service.request_reindex("acme", "article") for _ in range(2)]
    answers = [service.client.post(f"{location}/retry") for location in locations]
    assert {answer.status_code for answer in answers} == {409}
    for location in locations:
        service.await_job(location)


def test_a_retry_is_asked_for_with_a_key_of_a_job_that_exists(service: Service) -> None:
    path = "/jobs/00000000-0000-0000-0000-000000000000/retry"
    assert httpx.post(f"{service.url}{path}").status_code == 401
    answer = service.client.post(path)
    assert (answer.status_code, answer.json()["type"]) == (404, "not_found")
    assert service.client.get(path).status_code == 405


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"class": ""}, "class"),
        ({"class": 7}, "class"),
        ({"class": "x" * 129}, "class"),
        ({"retryable_only": "yes"}, "retryable_only"),
        ({"error_class": "NotText"}, "error_class"),
        ([], ""),
        ("NotText", ""),
    ],
)
def test_a_bad_request_says_which_field_is_wrong(service: Service, body: Any, field: str) -> None:
    answer = service.client.post("/jobs/x/retry", json=body)
    assert answer.status_code == 400
    assert [detail["field"] for detail in answer.json()["details"]] == [field]


def test_a_body_that_is_no_json_is_not_taken_for_none(service: Service) -> None:
    for content in (b"class=NotText", iter([b"{"])):
        answer = service.client.post("/jobs/x/retry", content=content)
        assert answer.status_code == 400
