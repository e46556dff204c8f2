"""Requests that no schema keeps from being sent: each is refused as our document says, and none is
an error of the service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from live_service import BATCH, CONTROL, World
from openapi_document import Document

Json = dict[str, Any]
SEARCH = "/ai-rag-indexer/acme/product/search"
BASES = f"{CONTROL}/knowledge-bases"


@pytest.fixture(scope="module")
def ours(world: World) -> Document:
    return Document(world.get("/openapi.json"))


@pytest.fixture(scope="module", autouse=True)
def _no_failure_in_the_log(world: World) -> Iterator[None]:
    yield
    log = world.service.processes["standalone"].log.read_text("utf-8", "replace")
    assert "request failed" not in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    "wanted",
    [
        {"integer": 2**63},
        {"integer": 10**400},
        {"integer": True},
        {"integer": 1.5},
        {"float": "NaN"},
        {"float": 10**400},
        {"string": {"a": 1}},
        {"string": "a\0b"},
        {"string": "\ud800"},
        {"\ud800": "a"},
    ],
)
def test_filters(world: World, ours: Document, wanted: Json) -> None:
    assert world.ended_job
    body = json.dumps({"text": "coat", "filter": wanted})
    answer = world.client.post(
        SEARCH, content=body, headers={"Content-Type": "application/json; charset=utf-8"}
    )
    assert answer.status_code == 400
    ours.check(answer)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{BASES}?name=a%00b", 422),
        (f"{BASES}?a%00b=1", 422),
        (f"{BASES}?offset={'9' * 5_000}", 422),
        (f"{BASES}?limit=1e3", 422),
        (f"{BASES}?limit=1&limit=2", 422),
        (f"{BASES}?after={'x' * 5_000}", 200),
        (f"{BASES}?name=%ed%a0%80", 200),
        (f"{BASES}/%00", 404),
        (f"{BASES}/%ff%fe", 404),
        ("/jobs/%00", 404),
        ("/jobs/%ed%a0%80", 404),
        (f"{BATCH}/a%00b/content", 404),
        ("/ai-rag-indexer/acme/a%00b/rag-metadata", 400),
        ("/indexing/acme/reindex-jobs?q=id:a%00b", 400),
        ("/indexing/acme/reindex-jobs?pageNumber=1000000&pageSize=2000", 200),
    ],
)
def test_paths_and_queries(world: World, ours: Document, path: str, status: int) -> None:
    answer = world.client.get(path)
    assert answer.status_code == status, answer.text
    ours.check(answer)


def part(head: bytes) -> bytes:
    return b"--x\r\nContent-Disposition: form-data; " + head + b"\r\n\r\nSome text.\r\n--x--\r\n"


FILES = {
    "no filename": part(b'name="file"'),
    "an empty filename": part(b'name="file"; filename=""'),
    "NUL in the filename": part(b'name="file"; filename="a\0b.txt"'),
    "a long filename": part(b'name="file"; filename="' + b"x" * 5_000 + b'.txt"'),
    "a long media type": part(b'name="file"; filename="x"\r\nContent-Type: a/' + b"b" * 5_000),
    "another name": part(b'name="nofile"; filename="a.txt"'),
    "two files": part(b'name="file"; filename="a.txt"').removesuffix(b"--x--\r\n")
    + part(b'name="file"; filename="b.txt"'),
    "no end": b"--x\r\nabc",
    "nothing": b"",
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
@pytest.mark.parametrize("batch", [False, True])
def test_files(world: World, ours: Document, batch: bool, content: bytes) -> None:
    base = world.knowledge_base()
    control = f"{BASES}/{base}/indexes/{world.index(base)}/documents"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    path = f"{BATCH}/file" if batch else control
    answer = world.client.post(path, content=content, headers=headers)
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"][0]["loc"][0] == "body"
    ours.check(answer)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{BATCH}/text", {"text": "\n \n"}),
        (f"{BATCH}/text", {"text": "a\0b"}),
        (f"{BATCH}/text", {"text": "\u2003"}),
        (f"{BATCH}/text", {"text": "a", "parent_folder_id": "0"}),
        (f"{BATCH}/url", {"url": "http://[::1"}),
        (f"{BATCH}/url", {"url": "file:///etc/passwd"}),
        (
            f"{CONTROL}/data-sources",
            {"name": "x", "type": "REST", "origin_url": "http://x", "a": 1},
        ),
        (
            f"{CONTROL}/data-sources",
            {"name": "x", "type": "REST", "origin_url": "http://x", "credentials": {"kind": 7}},
        ),
    ],
)
def test_bodies(world: World, ours: Document, path: str, body: Json) -> None:
    answer = world.client.post(path, json=body)
    assert answer.status_code == 422, answer.text
    ours.check(answer)


@pytest.mark.parametrize("rate", ["true", '"10"', "1e999", "NaN", "9" * 400, "0"])
def test_rates(world: World, ours: Document, rate: str) -> None:
    answer: httpx.Response = world.client.put(
        f"/jobs/{world.endless_job}/throttle",
        content=f'{{"entities_per_second": {rate}}}',
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 400, answer.text
    ours.check(answer)


def test_a_page_whose_path_is_no_text(world: World, ours: Document) -> None:
    for path in ("a%00b", "x" * 2_000):
        answer = world.client.post(f"{BATCH}/url", json={"url": f"{world.page}/{path}"})
        assert answer.status_code == 200, answer.text
        assert "\0" not in answer.json()["name"]
        ours.check(answer)
