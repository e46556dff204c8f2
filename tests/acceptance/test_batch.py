"""The batch contract as its client meets it, on standalone: every status reached for real."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import yaml
from deployment import Service, standalone
from embedding_support.gemini_server import KEY, GeminiServer, serve_gemini
from word_documents import word

Json = dict[str, Any]
PREFIX = "/v1/voiceai/knowledge-base"
STUB, GEMINI, BROKEN = (
    "multilingual_e5_large_instruct",
    "gemini-embedding-001",
    "e5_mistral_7b_instruct",
)
PATIENCE = 120.0
TEXT = "Celeriac is a variety of celery cultivated for its edible stem or hypocotyl. " * 20
PAGE = f"<html><head><title>Roots</title></head><body><p>{TEXT}</p></body></html>"


@pytest.fixture(scope="module")
def gemini() -> Iterator[GeminiServer]:
    with serve_gemini() as server:
        yield server


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, gemini: GeminiServer) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("batch")
    declared = {
        "tenants": {"acme": {"max_rag_bytes": 2_000_000}},
        "models": {
            STUB: {"engine": "stub"},
            GEMINI: {
                "engine": "gemini",
                "location": gemini.url,
                "dimension": 256,
                "max_length": 2048,
            },
            BROKEN: {"location": str(folder / "nosuch"), "dimension": 64, "max_length": 512},
        },
        "security": {"allowed_networks": ["127.0.0.0/8"], "requests_per_minute": None},
    }
    configuration = folder / "celeriac.yaml"
    configuration.write_text(yaml.safe_dump(declared))
    with standalone(folder, configuration, GEMINI_API_KEY=KEY) as service:
        yield service


@pytest.fixture(scope="module")
def client(service: Service) -> httpx.Client:
    return service.client


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """A server with a page, a redirect to it, and redirects elsewhere."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            target = {"/moved": "/page", "/inward": "http://[::1]:9/", "/round": "/round"}
            if self.path in target:
                self.send_response(302)
                self.send_header("Location", target[self.path])
                self.end_headers()
                return
            body = PAGE.encode()
            self.send_response(200 if self.path == "/page" else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def add(client: httpx.Client, text: str = TEXT, **body: Any) -> str:
    answer = client.post(f"{PREFIX}/text", json={"text": text, **body})
    assert answer.status_code == 200, answer.text
    document: str = answer.json()["id"]
    return document


def ask(client: httpx.Client, *documents: str, model: str = STUB, create: bool = True) -> Json:
    items = [{"document_id": one, "create_if_missing": create, "model": model} for one in documents]
    answer = client.post(f"{PREFIX}/rag-index", json={"items": items})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def status(client: httpx.Client, document: str, model: str = STUB, create: bool = True) -> str:
    item = ask(client, document, model=model, create=create)[document]
    assert item["status"] == "success", item
    found: str = item["data"]["status"]
    return found


def until(read: Callable[[], str], wanted: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while (found := read()) != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_a_rag_index_is_made_and_succeeds(client: httpx.Client) -> None:
    document = add(client)
    item = ask(client, document)[document]
    assert item["data"]["document_model_index_usage"] == {"used_bytes": len(TEXT)}
    until(lambda: status(client, document), "succeeded")
    again = ask(client, document, create=False)[document]["data"]
    assert (again["id"], again["progress_percentage"]) == (item["data"]["id"], 100.0)
    chunks = client.get(f"{PREFIX}/{document}/chunks", params={"model": STUB}).json()
    assert "".join(one["content"] for one in chunks["chunks"]).startswith("Celeriac is")


def test_created_then_processing_with_progress_then_succeeded(
    client: httpx.Client, gemini: GeminiServer
) -> None:
    gemini.permits = threading.Semaphore(0)
    document = add(client, " ".join(f"word{number}" for number in range(60_000)))
    first = ask(client, document, model=GEMINI)[document]["data"]
    assert (first["status"], first["progress_percentage"]) in {("created", 0), ("processing", 0)}
    until(lambda: status(client, document, GEMINI), "processing")
    seen: list[float] = []
    deadline = time.monotonic() + PATIENCE
    while (now := ask(client, document, model=GEMINI)[document]["data"])["status"] == "processing":
        assert time.monotonic() < deadline, seen
        if not seen or now["progress_percentage"] != seen[-1]:
            seen.append(now["progress_percentage"])
            # Everything is embedded then but for what the gate asks for.
            gemini.permits.release(1000 if seen[-1] > 90 else 2)
        time.sleep(0.05)
    gemini.permits = None
    assert now["status"] == "succeeded"
    assert seen == sorted(seen)
    assert len(seen) >= 4
    assert seen[-1] < 100


def test_a_document_waits_as_created_while_the_index_is_busy(
    client: httpx.Client, gemini: GeminiServer
) -> None:
    gemini.permits = threading.Semaphore(0)
    busy, waiting = add(client, TEXT + "busy"), add(client, TEXT + "waiting")
    ask(client, busy, model=GEMINI)
    until(lambda: status(client, busy, GEMINI), "processing")
    assert status(client, waiting, GEMINI) == "created"
    gemini.permits.release(1000)
    gemini.permits = None
    until(lambda: status(client, waiting, GEMINI), "succeeded")


def test_a_model_that_cannot_be_had_fails(client: httpx.Client) -> None:
    document = add(client)
    ask(client, document, model=BROKEN)
    until(lambda: status(client, document, BROKEN), "failed")


def test_a_broken_file_fails_alone(client: httpx.Client) -> None:
    files = {"file": ("a.pdf", b"not a PDF" * 100, "application/pdf")}
    broken = client.post(f"{PREFIX}/file", files=files, data={"name": "A paper"}).json()
    assert broken["name"] == "A paper"
    sound = add(client, TEXT + "sound")
    ask(client, broken["id"], sound)
    until(lambda: status(client, broken["id"]), "failed")
    until(lambda: status(client, sound), "succeeded")


def test_a_word_document_has_a_rag_index(client: httpx.Client) -> None:
    files = {"file": ("celeriac.docx", word(TEXT), "application/octet-stream")}
    document = client.post(f"{PREFIX}/file", files=files).json()["id"]
    ask(client, document)
    until(lambda: status(client, document), "succeeded")
    chunks = client.get(f"{PREFIX}/{document}/chunks", params={"model": STUB}).json()["chunks"]
    assert chunks[0]["content"].startswith("Celeriac is a variety")


def test_small_folder_and_over_quota_are_statuses(client: httpx.Client) -> None:
    small = add(client, "Short.")
    folder = client.post(f"{PREFIX}/folder", json={"name": "Papers"}).json()["id"]
    large = add(client, "x " * 1_000_000)
    found = ask(client, small, folder, large)
    assert {found[one]["data"]["status"] for one in (small,)} == {"document_too_small"}
    assert found[folder]["data"]["status"] == "cannot_index_folder"
    assert found[large]["data"]["status"] == "rag_limit_exceeded"
    assert found[large]["data"]["document_model_index_usage"] == {"used_bytes": 0}
    overview = client.get(f"{PREFIX}/rag-index").json()
    assert overview["total_max_bytes"] == 2_000_000
    assert 0 < overview["total_used_bytes"] <= 2_000_000
    assert overview["total_used_bytes"] == sum(one["used_bytes"] for one in overview["models"])


def test_one_answer_mixes_successes_and_failures(client: httpx.Client) -> None:
    indexed, plain = add(client), add(client)
    ask(client, indexed)
    found = ask(client, indexed, plain, "nosuch", create=False)
    assert found[indexed]["status"] == "success"
    for document, error in ((plain, "rag_index_not_found"), ("nosuch", "document_not_found")):
        failure = found[document]
        assert failure.pop("error_message")
        assert failure == {"status": "failure", "error_code": 404, "error_status": error}
    assert client.get(f"{PREFIX}/{plain}/rag-index").json() == {"indexes": []}


def test_identical_requests_at_once_make_one_index(client: httpx.Client) -> None:
    document = add(client, TEXT + "at once")
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda _: ask(client, document)[document], range(24)))
    assert len({one["data"]["id"] for one in found}) == 1
    assert len(client.get(f"{PREFIX}/{document}/rag-index").json()["indexes"]) == 1


@pytest.mark.parametrize(
    "items",
    [
        [],
        [{"document_id": "a", "create_if_missing": True, "model": STUB}] * 101,
        [{"document_id": "a", "create_if_missing": True, "model": "nosuch"}],
        [{"document_id": "a", "create_if_missing": "yes", "model": STUB}],
        [{"document_id": "a", "model": STUB}],
        [
            {"document_id": "a", "create_if_missing": True, "model": STUB},
            {"document_id": "a", "create_if_missing": True, "model": GEMINI},
        ],
    ],
)
def test_a_body_that_is_not_valid_is_a_422(client: httpx.Client, items: list[Json]) -> None:
    answer = client.post(f"{PREFIX}/rag-index", json={"items": items})
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert all(one["loc"][:2] == ["body", "items"] for one in detail)


def test_a_rag_index_can_be_deleted_and_made_again(client: httpx.Client) -> None:
    document = add(client, TEXT + "again")
    until(lambda: status(client, document), "succeeded")
    [index] = client.get(f"{PREFIX}/{document}/rag-index").json()["indexes"]
    answer = client.delete(f"{PREFIX}/{document}/rag-index/{index['id']}")
    assert answer.status_code == 200
    assert ask(client, document, create=False)[document]["status"] == "failure"
    until(lambda: status(client, document), "succeeded")


def test_documents_are_listed_renamed_read_and_deleted(client: httpx.Client) -> None:
    folder = client.post(f"{PREFIX}/folder", json={"name": "Letters"}).json()["id"]
    inside = add(client, TEXT, name="Letter 1", parent_folder_id=folder)
    until(lambda: status(client, inside), "succeeded")
    listed = client.get(PREFIX, params={"parent_folder_id": folder}).json()
    assert [one["id"] for one in listed["documents"]] == [inside]
    renamed = client.patch(f"{PREFIX}/{inside}", json={"name": "Letter One"}).json()
    assert (renamed["name"], renamed["type"]) == ("Letter One", "text")
    found = client.get(PREFIX, params={"search": "Letter O"}).json()["documents"]
    assert [one["id"] for one in found] == [inside]
    content = client.get(f"{PREFIX}/{inside}/content")
    assert content.text == TEXT
    assert content.headers["X-Content-Type-Options"] == "nosniff"
    assert client.delete(f"{PREFIX}/{folder}").status_code == 200
    assert client.get(f"{PREFIX}/{inside}").status_code == 404
    assert client.get(f"{PREFIX}/{inside}").json()["detail"]["status"] == "document_not_found"
    assert add_into(client, "nosuch").status_code == 422


def add_into(client: httpx.Client, folder: str) -> httpx.Response:
    return client.post(f"{PREFIX}/text", json={"text": TEXT, "parent_folder_id": folder})


def test_the_list_has_cursors(client: httpx.Client) -> None:
    made = [add(client, TEXT, name=f"cursor {number}") for number in range(5)]
    query = {"search": "cursor ", "page_size": 2}
    seen: list[str] = []
    page = client.get(PREFIX, params=query).json()
    while True:
        seen += [one["id"] for one in page["documents"]]
        if not page["has_more"]:
            break
        page = client.get(PREFIX, params={**query, "cursor": page["next_cursor"]}).json()
    assert sorted(seen) == sorted(made)
    assert len(seen) == 5


def test_a_page_of_the_web_is_indexed(client: httpx.Client, web: str) -> None:
    answer = client.post(f"{PREFIX}/url", json={"url": f"{web}/moved"})
    assert answer.status_code == 200, answer.text
    document = answer.json()["id"]
    shown = client.get(f"{PREFIX}/{document}").json()
    assert (shown["url"], shown["type"], shown["name"]) == (f"{web}/moved", "url", "page")
    until(lambda: status(client, document), "succeeded")
    chunks = client.get(f"{PREFIX}/{document}/chunks", params={"model": STUB}).json()["chunks"]
    assert "<p>" not in chunks[0]["content"]


@pytest.mark.parametrize(
    "url",
    [
        "{web}/inward",
        "http://[::1]/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:10.0.0.1]/",
        "http://[64:ff9b::10.0.0.1]/",
        "http://0x0a000001/",
        "http://167772161/",
        "http://0/",
        "{web}/round",
        "{web}/nosuch",
        "file:///etc/passwd",
        "gopher://example.org/",
        "nonsense",
    ],
)
def test_urls_that_lead_elsewhere_are_refused(client: httpx.Client, web: str, url: str) -> None:
    answer = client.post(f"{PREFIX}/url", json={"url": url.format(web=web)})
    assert answer.status_code == 422, answer.text


def test_another_tenants_document_is_a_missing_one(client: httpx.Client) -> None:
    document = add(client)
    answer = client.get(f"{PREFIX}/{document}", headers={"x-tenant": "nosuch"})
    assert answer.status_code == 403
