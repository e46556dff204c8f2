"""The control contract as its client meets it, on standalone: knowledge bases to search."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from deployment import Service, standalone, write_configuration
from word_documents import bomb, word

from celeriac.documents import DOCX
from celeriac.docx_text import MAX_UNPACKED

Json = dict[str, Any]
CONTROL = "/api/v1/control"
PATIENCE = 120.0
TEXT = "Celeriac is a variety of celery cultivated for its edible stem or hypocotyl. " * 40


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("control")
    (folder / "articles.jsonl").write_text('{"id": "a1", "title": "Roots", "body": "Deep."}\n')
    article = {
        "source": {"kind": "files", "path": "articles.jsonl", "id": "id"},
        "text_fields": ["title", "body"],
        "index": {"model": "stub"},
    }
    configuration = write_configuration(folder, {"acme": {"article": article}})
    with standalone(folder, configuration) as service:
        yield service


@pytest.fixture(scope="module")
def client(service: Service) -> httpx.Client:
    return service.client


@pytest.fixture
def base(client: httpx.Client) -> str:
    return made(
        client,
        "/knowledge-bases",
        name="Handbook",
        index_refresh_policy={"policy_type": "MANUAL"},
        data_origin_type="LOCAL_FILES",
    )["id"]


@pytest.fixture
def index(client: httpx.Client, base: str) -> Json:
    return made(
        client,
        f"/knowledge-bases/{base}/indexes",
        name="small",
        embeddings_model_endpoint="stub",
        text_splitting="SENTENCE",
        chunk_size=100,
    )


def made(client: httpx.Client, path: str, **body: Any) -> Json:
    answer = client.post(CONTROL + path, json=body)
    assert answer.status_code == 201, answer.text
    found: Json = answer.json()
    return found


def got(client: httpx.Client, path: str, **query: Any) -> Json:
    answer = client.get(CONTROL + path, params=query)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def until(read: Callable[[], Json], done: Callable[[Json], bool]) -> Json:
    deadline = time.monotonic() + PATIENCE
    while not done(found := read()):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def path_of(index: Json) -> str:
    return f"/knowledge-bases/{index['knowledge_base_id']}/indexes/{index['id']}"


def upload(client: httpx.Client, index: Json, name: str, content: bytes) -> httpx.Response:
    files = {"file": (name, content, "application/octet-stream")}
    return client.post(f"{CONTROL}{path_of(index)}/documents", files=files)


def test_an_uploaded_document_is_indexed_and_found(client: httpx.Client, index: Json) -> None:
    answer = upload(client, index, "celeriac.md", TEXT.encode())
    assert answer.status_code == 201, answer.text
    document = answer.json()
    assert (document["state"], document["media_type"]) == ("NEW", "text/markdown")
    documents = f"{path_of(index)}/documents"
    document = until(
        lambda: got(client, f"{documents}/{document['id']}"), lambda one: one["state"] == "INDEXED"
    )
    assert document["size_bytes"] == len(TEXT)
    assert not document["reindexing_needed"]
    active = until(
        lambda: got(client, f"{path_of(index)}/active-indexing"),
        lambda one: one["state"] == "DONE",
    )
    assert document["last_indexed_by_id"] == active["id"]
    shown = got(client, path_of(index))
    assert shown["num_documents"] == 1
    assert shown["last_indexed_by_id"] == active["id"]
    assert shown["last_indexed_at"] >= shown["created_at"]
    answer = client.post(
        f"{CONTROL}{path_of(index)}/search", json={"text": "edible stem", "top_k": 2}
    )
    chunks = answer.json()["chunks"]
    assert len(chunks) == 2
    assert chunks[0]["document_id"] == document["id"]
    assert chunks[0]["origin_name"] == "celeriac.md"
    listed = got(client, documents, set_num_objects="true")
    assert (listed["num_objects"], listed["has_more"]) == (1, False)
    assert listed["first_id"] == listed["last_id"] == document["id"]


def test_an_index_has_every_field_of_the_contract(client: httpx.Client, index: Json) -> None:
    shown = until(lambda: got(client, path_of(index)), lambda one: one["status"] == "AVAILABLE")
    assert shown.pop("created_at") > 0
    assert shown == {
        "id": index["id"],
        "name": "small",
        "description": "",
        "embeddings_model_endpoint": "stub",
        "text_splitting": "SENTENCE",
        "chunk_size": 100,
        "chunk_overlap": 0,
        "knowledge_base_id": index["knowledge_base_id"],
        "object": "index",
        "num_documents": 0,
        "status": "AVAILABLE",
        "status_errors": [],
    }


def test_what_is_not_there_is_a_404_without_a_body(
    client: httpx.Client, base: str, index: Json
) -> None:
    elsewhere = made(
        client,
        "/knowledge-bases",
        name="Other",
        index_refresh_policy={"policy_type": "MANUAL"},
        data_origin_type="LOCAL_FILES",
    )["id"]
    for path in (
        "/knowledge-bases/nosuch",
        f"/knowledge-bases/{base}/indexes/nosuch",
        f"/knowledge-bases/{elsewhere}/indexes/{index['id']}",
        f"{path_of(index)}/documents/nosuch",
        f"{path_of(index)}/indexings/nosuch",
        f"{path_of(index)}/active-indexing",
        "/nosuch",
    ):
        answer = client.get(CONTROL + path)
        assert (answer.status_code, answer.content) == (404, b""), path


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"chunk_size": 99}, ["body", "chunk_size"]),
        ({"chunk_overlap": 100}, ["body", "chunk_overlap"]),
        ({"text_splitting": "NOSUCH"}, ["body", "text_splitting"]),
        ({"nosuch": 1}, ["body", "nosuch"]),
        ({"chunk_size": "100"}, ["body", "chunk_size"]),
    ],
)
def test_a_body_that_is_not_valid_is_a_422(
    client: httpx.Client, base: str, change: Json, where: list[str]
) -> None:
    body = {"embeddings_model_endpoint": "stub", "text_splitting": "TOKEN", "chunk_size": 100}
    answer = client.post(f"{CONTROL}/knowledge-bases/{base}/indexes", json={**body, **change})
    assert answer.status_code == 422
    [detail] = answer.json()["detail"]
    assert detail["loc"] == where
    assert detail.keys() == {"loc", "msg", "type"}


def test_an_unknown_model_is_a_422(client: httpx.Client, base: str) -> None:
    body = {"embeddings_model_endpoint": "no", "text_splitting": "TOKEN", "chunk_size": 100}
    answer = client.post(f"{CONTROL}/knowledge-bases/{base}/indexes", json=body)
    assert answer.status_code == 422
    assert "stub" in answer.json()["detail"][0]["msg"]


def test_duplicates_empty_and_oversized_files_are_refused(
    client: httpx.Client, index: Json
) -> None:
    assert upload(client, index, "a.txt", b"some text").status_code == 201
    answer = upload(client, index, "a.txt", b"other text")
    assert (answer.status_code, answer.json()["code"]) == (409, "DOCUMENT_ALREADY_EXISTS")
    assert upload(client, index, "b.txt", b"").status_code == 422
    assert upload(client, index, "c.txt", b"x" * (10 * 1024 * 1024 + 1)).status_code == 413
    assert upload(client, index, "d.txt", b"x" * (10 * 1024 * 1024)).status_code == 201
    answer = upload(client, index, "e.bin", b"\0\1\2")
    refused = answer.json()
    assert (answer.status_code, refused["state"]) == (201, "UNSUPPORTED")
    assert refused["state_reason"].startswith("No reader for files of this kind; .txt, ")
    assert refused["reindexing_needed"] is False


def test_word_documents_are_read_and_hostile_ones_fail_alone(
    client: httpx.Client, index: Json
) -> None:
    sound = upload(client, index, "celeriac.docx", word(TEXT)).json()
    assert (sound["state"], sound["media_type"]) == ("NEW", DOCX)
    hostile = upload(client, index, "bomb.docx", bomb(MAX_UNPACKED + 1)).json()
    path = f"{path_of(index)}/documents"
    until(lambda: got(client, f"{path}/{sound['id']}"), lambda one: one["state"] == "INDEXED")
    failed = until(
        lambda: got(client, f"{path}/{hostile['id']}"), lambda one: one["state"] == "EMBEDDING_FAIL"
    )
    assert "bytes unpacked" in failed["state_reason"]
    answer = client.post(f"{CONTROL}{path_of(index)}/search", json={"text": "edible stem"})
    assert {chunk["document_id"] for chunk in answer.json()["chunks"]} == {sound["id"]}


def test_a_deleted_document_is_found_no_more(client: httpx.Client, index: Json) -> None:
    document = upload(client, index, "a.txt", TEXT.encode()).json()
    path = f"{path_of(index)}/documents/{document['id']}"
    until(lambda: got(client, path), lambda one: one["state"] == "INDEXED")
    answer = client.delete(CONTROL + path)
    assert answer.json() == {"id": document["id"], "object": "document", "deleted": True}
    found = client.post(f"{CONTROL}{path_of(index)}/search", json={"text": "edible"}).json()
    assert found == {"chunks": []}
    assert client.get(CONTROL + path).status_code == 404


def test_a_declared_source_can_be_linked(client: httpx.Client) -> None:
    base = made(
        client,
        "/knowledge-bases",
        name="Crawled",
        index_refresh_policy={"policy_type": "DAILY", "minute": 0, "hour": 3},
        data_origin_type="DATA_SOURCES",
    )["id"]
    index = made(
        client,
        f"/knowledge-bases/{base}/indexes",
        embeddings_model_endpoint="stub",
        text_splitting="TOKEN",
        chunk_size=200,
        chunk_overlap=20,
    )
    source = made(
        client,
        "/data-sources",
        name="articles",
        type="ENTITY_TYPE",
        origin_url="article",
        credentials={"kind": "bearer", "token": "s3cret"},
    )
    assert "credentials" not in source
    made(client, f"/knowledge-bases/{base}/data-sources", data_source_id=source["id"])
    documents = until(
        lambda: got(client, f"{path_of(index)}/documents"),
        lambda found: [one["state"] for one in found["data"]] == ["INDEXED"],
    )
    assert documents["data"][0]["origin_ref"] == "a1"
    answer = client.delete(f"{CONTROL}/data-sources/{source['id']}")
    assert answer.json()["code"] == "DATA_SOURCE_STILL_LINKED_TO_KNOWLEDGE_BASE"
    assert upload(client, index, "a.txt", b"text").status_code == 409


def test_lists_have_their_windows(client: httpx.Client) -> None:
    names = [f"kb {number}" for number in range(5)]
    ids = [
        made(
            client,
            "/knowledge-bases",
            name=name,
            description="windows",
            index_refresh_policy={"policy_type": "MANUAL"},
            data_origin_type="LOCAL_FILES",
        )["id"]
        for name in names
    ]
    page = got(client, "/knowledge-bases", after=ids[0], limit=2)
    assert [one["id"] for one in page["data"]] == ids[1:3]
    assert (page["has_more"], page["first_id"], page["last_id"]) == (True, ids[1], ids[2])
    assert "num_objects" not in page
    named = got(client, "/knowledge-bases", name="kb 3")
    assert [one["id"] for one in named["data"]] == [ids[3]]
    for query in ({"limit": 0}, {"limit": 1001}, {"order": "up"}, {"offset": -1}):
        answer = client.get(f"{CONTROL}/knowledge-bases", params=query)
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"][0] == "query"


def test_without_a_credential_nothing_is_shown(service: Service) -> None:
    answer = httpx.get(f"{service.url}{CONTROL}/knowledge-bases")
    assert answer.status_code == 401
    assert answer.json()["code"] == "UNAUTHORIZED"


def test_two_indexings_wait_never(client: httpx.Client, index: Json) -> None:
    answers = [client.post(f"{CONTROL}{path_of(index)}/indexings") for _ in range(20)]
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert answers[0].status_code == 201
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["code"] == "PENDING_INDEXING_ALREADY_EXISTS_FOR_KB"
    last = [answer.json() for answer in answers if answer.status_code == 201][-1]
    path = f"{path_of(index)}/indexings/{last['id']}"
    assert until(lambda: got(client, path), lambda one: "completed_at" in one)["state"] == "DONE"


def test_a_deleted_knowledge_base_is_gone(client: httpx.Client, index: Json) -> None:
    upload(client, index, "a.txt", TEXT.encode())
    base = index["knowledge_base_id"]
    assert client.delete(f"{CONTROL}/knowledge-bases/{base}").status_code == 200
    assert client.get(f"{CONTROL}/knowledge-bases/{base}").status_code == 404
    assert client.get(f"{CONTROL}{path_of(index)}").status_code == 404
