"""The published contracts as oracles: a running service is driven through each operation, its
successes and its errors, and every answer is held against the contract's document, and ours."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from live_service import AWAY, BATCH, BROKEN, CONTROL, GONE, MODEL, PROSE, World
from openapi_document import Document
from openapi_spec_validator import OpenAPIV31SpecValidator

Json = dict[str, Any]
MISSING = "00000000-0000-0000-0000-000000000000"


@pytest.fixture(scope="module")
def ours(world: World) -> Document:
    return Document(world.get("/openapi.json"))


@pytest.fixture(scope="module")
def reindex() -> Document:
    return Document.published("reindex")


@pytest.fixture(scope="module")
def control() -> Document:
    return Document.published("control")


@pytest.fixture(scope="module")
def batch() -> Document:
    return Document.published("batch")


@pytest.mark.parametrize("name", ["reindex", "control", "batch"])
def test_the_documents_are_valid(name: str) -> None:
    contents = Document.published(name).contents
    assert [str(error) for error in OpenAPIV31SpecValidator(contents).iter_errors()] == []


class TestReindex:
    PATH = "/ai-rag-indexer/acme/product/reindex"

    @pytest.mark.parametrize("entity_type", ["product", "PRODUCT"])
    def test_it_is_scheduled(
        self, world: World, reindex: Document, ours: Document, entity_type: str
    ) -> None:
        answer = world.client.post(f"/ai-rag-indexer/acme/{entity_type}/reindex")
        assert answer.status_code == 204
        assert answer.headers["Location"].startswith("/jobs/")
        reindex.check(answer)
        ours.check(answer)

    @pytest.mark.parametrize("path", ["acme/nosuch", "nosuch/product"])
    def test_what_is_not_declared(
        self, world: World, reindex: Document, ours: Document, path: str
    ) -> None:
        answer = world.client.post(f"/ai-rag-indexer/{path}/reindex")
        assert answer.status_code == 400
        reindex.check(answer)
        ours.check(answer)

    @pytest.mark.parametrize("credential", [None, "nosuch", "a.b.c"])
    def test_without_a_valid_credential(
        self, world: World, reindex: Document, ours: Document, credential: str | None
    ) -> None:
        with world.with_credential(credential) as client:
            answer = client.post(self.PATH)
        assert answer.status_code == 401
        assert answer.json()["fault"]["detail"]["errorcode"]
        reindex.check(answer)
        ours.check(answer)

    @pytest.mark.parametrize(
        ("scope", "tenant"), [("ai.agent_read", "acme"), ("ai.agent_manage", "globex")]
    )
    def test_without_the_scope_or_the_tenant(
        self, world: World, reindex: Document, ours: Document, scope: str, tenant: str
    ) -> None:
        with world.with_credential(world.key(scope, tenants=(tenant,))["key"]) as client:
            answer = client.post(self.PATH)
        assert answer.status_code == 403
        reindex.check(answer)
        ours.check(answer)


class TestControl:
    @staticmethod
    def path(base: str, index: str) -> str:
        return f"{CONTROL}/knowledge-bases/{base}/indexes/{index}"

    def test_an_index_that_was_indexed(
        self, world: World, control: Document, ours: Document
    ) -> None:
        ids = world.knowledge()
        answer = world.client.get(self.path(ids["knowledge_base_id"], ids["index_id"]))
        assert answer.status_code == 200
        published = control.contents["components"]["schemas"]["Index"]["properties"]
        assert answer.json().keys() == published.keys()
        assert answer.json()["status"] == "AVAILABLE"
        control.check(answer)
        ours.check(answer)

    def test_an_index_that_was_not(self, world: World, control: Document, ours: Document) -> None:
        base = world.knowledge_base()
        answer = world.client.get(self.path(base, world.index(base)))
        assert answer.status_code == 200
        assert "last_indexed_at" not in answer.json()
        control.check(answer)
        ours.check(answer)

    @pytest.mark.parametrize(
        ("model", "error"),
        [
            (AWAY, "EMBEDDING_MODEL_ENDPOINT_UNAVAILABLE"),
            (BROKEN, "INVALID_RESPONSE_FROM_MODEL_ENDPOINT"),
        ],
    )
    def test_an_index_whose_model_is_not_available(
        self, world: World, control: Document, ours: Document, model: str, error: str
    ) -> None:
        base = world.knowledge_base()
        path = self.path(base, world.index(base, model))
        world.until(path, lambda index: index["status_errors"] == [error])
        answer = world.client.get(path)
        assert answer.json()["status"] == "ERROR"
        control.check(answer)
        ours.check(answer)

    def test_an_index_whose_model_is_not_declared_any_more(
        self, world: World, control: Document, ours: Document
    ) -> None:
        answer = world.client.get(self.path(*world.gone))
        assert answer.json()["embeddings_model_endpoint"] == GONE
        assert answer.json()["status_errors"] == ["ROUTE_TO_MODEL_NOT_FOUND"]
        control.check(answer)
        ours.check(answer)

    def test_what_is_not_there(self, world: World, control: Document, ours: Document) -> None:
        base, other = world.knowledge_base(), world.knowledge_base()
        index = world.index(base)
        for path in (
            self.path(base, MISSING),
            self.path(MISSING, index),
            self.path(other, index),
            self.path("no such", "%00"),
        ):
            answer = world.client.get(path)
            assert (answer.status_code, answer.content) == (404, b""), path
            control.check(answer)
            ours.check(answer)

    def test_a_credential_of_two_tenants_that_names_none(
        self, world: World, control: Document, ours: Document
    ) -> None:
        key = world.key("ai.agent_read", tenants=("acme", "globex"))["key"]
        with world.with_credential(key) as client:
            answer = client.get(self.path(MISSING, MISSING))
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["header", "x-tenant"]
        control.check(answer)
        ours.check(answer)


def item(document: str, model: str = MODEL, create: bool = True) -> Json:
    """A RAG index that is asked for."""
    return {"document_id": document, "create_if_missing": create, "model": model}


class TestBatch:
    PATH = f"{BATCH}/rag-index"

    def ask(self, world: World, *items: Json) -> httpx.Response:
        return world.client.post(self.PATH, json={"items": list(items)})

    def test_every_status(self, world: World, batch: Document, ours: Document) -> None:
        done, small, broken = world.document(), world.document("Short."), world.document()
        folder = world.post(f"{BATCH}/folder", name="Manuals")["id"]
        large = world.document("Root. " * 200_000)
        items = [item(one) for one in (done, small, folder, large)]
        items.append(item(broken, BROKEN))
        items.append(item(MISSING))
        items.append(item(world.document(), create=False))
        ended = {
            done: "succeeded",
            small: "document_too_small",
            folder: "cannot_index_folder",
            large: "rag_limit_exceeded",
            broken: "failed",
        }
        seen: dict[str, str] = {}
        while seen != ended:
            answer = self.ask(world, *items)
            assert answer.status_code == 200
            batch.check(answer)
            ours.check(answer)
            found = answer.json()
            seen = {one: found[one]["data"]["status"] for one in ended}
        failures = {
            one["error_status"] for one in answer.json().values() if one["status"] == "failure"
        }
        assert failures == {"document_not_found", "rag_index_not_found"}

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"items": []},
            {"items": None},
            {"items": [item("x", "nosuch")]},
            {"items": [{"document_id": "x"}]},
            {"items": [{**item("x"), "create_if_missing": 1}]},
            {"items": [{**item("x"), "document_id": 7}]},
            {"items": [{**item("x"), "more": 7}]},
            {"items": [item("x"), item("x", AWAY)]},
            {"items": [item(str(number)) for number in range(101)]},
            {"items": [item("a\0b")]},
            {"items": [item("\ud800")]},
            [],
            "items",
            7,
            None,
        ],
    )
    def test_what_is_not_valid(
        self, world: World, batch: Document, ours: Document, body: Any
    ) -> None:
        self.check_refused(world, batch, ours, json.dumps(body).encode())

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"\xff",
            b'{"items": NaN}',
            b'{"items": ' + b"9" * 5_000 + b"}",
            b"[" * 100_000,
        ],
    )
    def test_what_is_no_json(
        self, world: World, batch: Document, ours: Document, content: bytes
    ) -> None:
        self.check_refused(world, batch, ours, content)

    @pytest.mark.parametrize("media_type", ["text/plain", "application/xml", ""])
    def test_what_is_said_to_be_no_json(
        self, world: World, batch: Document, ours: Document, media_type: str
    ) -> None:
        content = json.dumps({"items": [item(MISSING, create=False)]}).encode()
        self.check_refused(world, batch, ours, content, media_type)

    def check_refused(
        self,
        world: World,
        batch: Document,
        ours: Document,
        content: bytes,
        media_type: str = "application/json",
    ) -> None:
        headers = {"Content-Type": media_type}
        answer = world.client.post(self.PATH, content=content, headers=headers)
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"][0] == "body"
        batch.check(answer)
        ours.check(answer)

    def test_without_a_credential(self, world: World, ours: Document) -> None:
        with world.with_credential(None) as client:
            answer = client.post(self.PATH, json={"items": [item(MISSING)]})
        assert answer.status_code == 401
        ours.check(answer)

    def test_a_text_that_is_too_large(self, world: World, ours: Document) -> None:
        answer = world.client.post(f"{BATCH}/text", json={"text": PROSE * 100_000})
        assert answer.status_code == 413
        ours.check(answer)
