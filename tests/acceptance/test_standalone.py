"""Standalone as a user meets it: started, called over HTTP, stopped, started again."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from articles import Articles
from collection import Cacm, JsonObject
from deployment import ROOT, Service, standalone, write_configuration

JOB_KEYS = {
    *("id", "tenant", "entity_type", "index_id", "generation", "state", "created_at"),
    *("started_at", "finished_at", "progress_percentage", "eta_seconds", "counters", "errors"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("standalone")


@pytest.fixture(scope="module")
def documents(cacm: Cacm) -> list[JsonObject]:
    with_abstract = [one for one in cacm.documents if one["abstract"]]
    return with_abstract[:150]


@pytest.fixture(scope="module")
def articles(folder: Path, documents: list[JsonObject]) -> Articles:
    articles = Articles.declare(folder, page_size=20)
    articles.write(documents)
    return articles


@pytest.fixture(scope="module")
def service(folder: Path, articles: Articles) -> Iterator[Service]:
    with standalone(folder, articles.configuration) as service:
        yield service


def test_a_reindex_leads_to_a_job_that_succeeds(service: Service) -> None:
    job = service.reindex("acme", "article")
    assert job.keys() >= JOB_KEYS
    assert (job["state"], job["progress_percentage"], job["errors"]) == ("succeeded", 100.0, [])
    counters = job["counters"]
    assert counters["listed"] == counters["indexed"] == 150
    assert counters["embedded"] == counters["chunks"] >= 150


def test_a_second_reindex_embeds_nothing(service: Service) -> None:
    service.reindex("acme", "article")
    counters = service.reindex("acme", "ARTICLE")["counters"]
    assert (counters["unchanged"], counters["indexed"], counters["embedded"]) == (150, 0, 0)


def test_changes_in_the_source_are_followed(
    service: Service, articles: Articles, documents: list[JsonObject]
) -> None:
    service.reindex("acme", "article")
    changed = [dict(document) for document in documents[3:]]
    changed[0]["abstract"] = "A new abstract about celeriac."
    articles.write(changed)
    counters = service.reindex("acme", "article")["counters"]
    assert (counters["indexed"], counters["unchanged"], counters["removed"]) == (1, 146, 3)
    articles.write(documents)
    counters = service.reindex("acme", "article")["counters"]
    assert (counters["indexed"], counters["unchanged"], counters["removed"]) == (4, 146, 0)


def test_search_finds_a_chunk_by_its_own_text(
    service: Service, documents: list[JsonObject]
) -> None:
    service.reindex("acme", "article")
    first = service.search("acme", "article", "anything", top_k=3)
    assert len(first) == 3
    assert first[0].keys() == {"entity_id", "chunk", "score", "text", "metadata"}
    published = first[0]["metadata"]["published"]
    found = service.search(
        "acme", "article", first[0]["text"], top_k=5, filter={"published": published}
    )
    assert found[0]["entity_id"] == first[0]["entity_id"]
    assert found[0]["score"] == pytest.approx(1.0, abs=1e-3)
    assert {hit["metadata"]["published"] for hit in found} == {published}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "text"),
        ({"text": ""}, "text"),
        ({"text": "a", "top_k": 0}, "top_k"),
        ({"text": "a", "top_k": "many"}, "top_k"),
        ({"text": "a", "filter": []}, "filter"),
        ({"text": "a", "topk": 3}, "topk"),
    ],
)
def test_a_bad_search_says_which_field_is_wrong(
    service: Service, body: JsonObject, field: str
) -> None:
    answer = service.client.post("/ai-rag-indexer/acme/article/search", json=body)
    assert answer.status_code == 400
    assert [detail["field"] for detail in answer.json()["details"]] == [field]


def test_an_undeclared_filter_is_refused_with_those_that_are(service: Service) -> None:
    service.reindex("acme", "article")
    body = {"text": "a", "filter": {"colour": "red"}}
    answer = service.client.post("/ai-rag-indexer/acme/article/search", json=body)
    assert answer.status_code == 400
    assert "published" in answer.json()["message"]


def test_a_filter_value_of_another_type_is_refused(service: Service) -> None:
    service.reindex("acme", "article")
    body = {"text": "a", "filter": {"published": {"year": 1970}}}
    answer = service.client.post("/ai-rag-indexer/acme/article/search", json=body)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("The filter 'published' is declared as string")


@pytest.mark.parametrize("content", ['{"text": "a"', '["a"]', '{"text": "a"}'])
def test_a_body_that_is_no_json_object_is_told_what_to_send(service: Service, content: str) -> None:
    headers = {"Content-Type": "text/plain"} if content.endswith("}") else {}
    answer = service.client.post(
        "/ai-rag-indexer/acme/article/search", content=content, headers=headers
    )
    assert answer.status_code == 400
    assert "Content-Type: application/json" in answer.json()["details"][0]["message"]


@pytest.mark.parametrize("path", ["acme/articel", "nobody/article"])
def test_an_unknown_type_or_tenant_is_a_bad_request(service: Service, path: str) -> None:
    answer = service.client.post(f"/ai-rag-indexer/{path}/reindex")
    assert answer.status_code == 400
    assert answer.json().keys() >= {"code", "type", "message"}


def test_without_a_valid_key_nothing_is_told(service: Service) -> None:
    for headers in ({}, {"x-api-key": "wrong"}, {"Authorization": "Bearer wrong"}):
        answer = httpx.post(f"{service.url}/ai-rag-indexer/acme/article/reindex", headers=headers)
        assert answer.status_code == 401
        fault = answer.json()["fault"]
        assert fault["faultstring"]
        assert fault["detail"]["errorcode"]
    key = service.client.headers["x-api-key"]
    answer = httpx.get(f"{service.url}/jobs/x", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 404
    assert httpx.get(f"{service.url}/healthz").status_code == 200


def test_a_wrong_method_or_path_gets_an_error_message(service: Service) -> None:
    answer = service.client.get("/ai-rag-indexer/acme/article/reindex")
    assert (answer.status_code, answer.json()["code"]) == (405, 405)
    assert service.client.get("/nothing").status_code == 404


def test_a_poisoned_file_does_not_stop_the_others(
    articles: Articles, service: Service, documents: list[JsonObject]
) -> None:
    poison = '{"title": "no id"}\n{"id": "broken", \n{"id": "empty", "title": " "}\n'
    articles.write(documents, also=poison)
    job = service.reindex("acme", "article")
    articles.write(documents)
    assert job["state"] == "succeeded"
    assert job["counters"]["failed"] == 3
    assert {error["class"] for error in job["errors"]} >= {"MissingId", "EmptyText"}


def test_two_requests_at_once_are_one_running_and_one_waiting_job(service: Service) -> None:
    locations = [service.request_reindex("acme", "article") for _ in range(6)]
    assert len(set(locations)) <= 2 + 4  # a job may have ended between two requests
    states = {service.await_job(location)["state"] for location in locations}
    assert states == {"succeeded"}


def test_what_was_indexed_is_there_after_a_restart_and_equals_the_source(
    tmp_path: Path, documents: list[JsonObject]
) -> None:
    articles = Articles.declare(tmp_path)
    articles.write(documents)
    with standalone(tmp_path, articles.configuration) as service:
        first = service.reindex("acme", "article")
    with standalone(tmp_path, articles.configuration) as service:
        second = service.reindex("acme", "article")
        hits = service.search("acme", "article", "anything", top_k=1)
    assert second["counters"]["unchanged"] == first["counters"]["indexed"] == 150
    assert len(hits) == 1
    articles.assert_index_equals(second, documents, path=tmp_path / "home" / "qdrant")


def test_a_second_standalone_on_the_same_data_says_why_it_does_not_start(
    service: Service, folder: Path, articles: Articles
) -> None:
    refused = pytest.raises(AssertionError, match="is in use by process")
    with refused, standalone(folder, articles.configuration):
        pass


def test_a_wrong_configuration_says_where(tmp_path: Path) -> None:
    articles = Articles.declare(tmp_path, text_feilds=["title"])
    refused = pytest.raises(AssertionError, match="did you mean 'text_fields'")
    with refused, standalone(tmp_path, articles.configuration):
        pass


def test_a_job_that_fails_says_why_and_so_does_the_log(
    service: Service, articles: Articles, documents: list[JsonObject]
) -> None:
    (articles.folder / "documents.jsonl").unlink()
    job = service.reindex("acme", "article")
    articles.write(documents)
    assert "does not exist; check the source's `path`" in job["message"]
    line = f"job failed, action=fail job={job['id']} reason={job['message']}"
    assert line in service.processes["standalone"].log.read_text()


def test_a_job_that_waits_for_its_source_says_so(tmp_path: Path) -> None:
    source = {"kind": "rest", "url": "http://127.0.0.1:1/articles", "max_attempts": 1}
    article = {"source": source, "text_fields": ["title"], "index": {"model": "stub"}}
    configuration = write_configuration(tmp_path, {"acme": {"article": article}})
    with standalone(tmp_path, configuration) as service:
        location = service.request_reindex("acme", "article")
        while not (job := service.job(location))["message"]:
            assert job["state"] in ("queued", "running")
        service.client.post(f"{location}/cancel")
    assert job["state"] == "running"
    assert job["message"].startswith("Page 0 is tried again: http://127.0.0.1:1/articles cannot be")


def test_killed_in_the_middle_of_a_job_it_goes_on_when_started_again(
    tmp_path: Path, documents: list[JsonObject]
) -> None:
    articles = Articles.declare(tmp_path, page_size=1)
    articles.write(documents)
    with standalone(tmp_path, articles.configuration) as service:
        location = service.request_reindex("acme", "article")
        while service.job(location)["counters"]["indexed"] < 5:
            pass
        service.processes["standalone"].kill()
        hold_pages_for_a_day(tmp_path / "home" / "catalog.sqlite")
        service.processes["standalone"].start()
        service.await_ready()
        job = service.await_job(location)
    assert (job["state"], job["counters"]["listed"]) == ("succeeded", 150)


def hold_pages_for_a_day(catalog: Path) -> None:
    """As if leases were that long: who starts again must not wait for them to run out."""
    with closing(sqlite3.connect(catalog)) as connection, connection:
        connection.execute("UPDATE pages SET lease_until = lease_until + 86400")


def started(folder: Path, **environment: str) -> subprocess.Popen[str]:
    """`python -m api.standalone` in this folder, without a configuration file."""
    inherited = {name: value for name, value in os.environ.items() if "CELERIAC" not in name}
    return subprocess.Popen(
        [sys.executable, "-m", "api.standalone"],
        cwd=folder,
        env={**inherited, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("key", ["chosen", None])
def test_it_says_where_everything_is_and_that_ctrl_c_is_safe(
    tmp_path: Path, key: str | None
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    given = {} if key is None else {"CELERIAC_API_KEY": key}
    process = started(tmp_path, CELERIAC_PORT=str(port), **given)
    assert process.stdout is not None
    with process.stdout as output:
        said = list(itertools.takewhile(lambda line: "nothing is declared" not in line, output))
        process.send_signal(signal.SIGINT)
        after = output.read()
    assert process.wait(60) == 0
    assert f"http://127.0.0.1:{port}/docs" in "".join(said)
    assert ("x-api-key: celeriac_" in "".join(said)) == (key is None)
    assert "chosen" not in "".join(said)
    assert "This is safe" in after
    assert "terminating" not in after
    assert [one.name for one in tmp_path.iterdir()] == [".celeriac"]


def test_a_port_that_is_taken_is_named_with_its_variable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = started(tmp_path, CELERIAC_PORT=str(port))
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.count("\n") == 1
    assert f"Port {port}" in said
    assert "CELERIAC_PORT" in said
