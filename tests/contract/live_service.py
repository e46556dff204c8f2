"""A running celeriac with something of everything in it, for tests that speak to all of the API."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import rest_server
import yaml
from deployment import API_KEY, Service, standalone

Json = dict[str, Any]
CONTROL = "/api/v1/control"
BATCH = "/v1/voiceai/knowledge-base"
MODEL, AWAY, BROKEN = (
    "multilingual_e5_large_instruct",
    "gemini-embedding-001",
    "e5_mistral_7b_instruct",
)
"""Of the batch contract: one that answers, one whose endpoint does not, one without its files."""
GONE = "gone"
"""A model that is declared at first, and not any more later."""
PATIENCE = 120.0
PROSE = "Celeriac is a variety of celery cultivated for its edible stem or hypocotyl. " * 20


@dataclass
class World:
    """A service with a tenant `acme` alone, and ids of what is in it."""

    service: Service
    page: str
    """URL of a page that the service may fetch."""
    gone: tuple[str, str]
    """Ids of a knowledge base and of its index under a model that is not declared any more."""

    @property
    def client(self) -> httpx.Client:
        return self.service.client

    def post(self, path: str, **body: Any) -> Json:
        answer = self.client.post(path, json=body)
        assert answer.is_success, answer.text
        found: Json = answer.json()
        return found

    def get(self, path: str) -> Json:
        answer = self.client.get(path)
        assert answer.is_success, answer.text
        found: Json = answer.json()
        return found

    def until(self, path: str, done: Callable[[Json], bool]) -> Json:
        deadline = time.monotonic() + PATIENCE
        while not done(found := self.get(path)):
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
        return found

    def keys(self, *arguments: str) -> Json:
        """`celeriac keys`, on the service's catalog."""
        answer = subprocess.run(
            [sys.executable, "-m", "celeriac.cli", "keys", *arguments, "--json"],
            env=dict(self.service.processes["standalone"].environment),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        found: Json = json.loads(answer.stdout)
        return found

    def key(self, *scopes: str, tenants: tuple[str, ...] = ("acme",)) -> Json:
        """A key with these scopes on these tenants: `key`, `client_id`, `client_secret`."""
        options = [part for scope in scopes for part in ("--scope", scope)]
        options += [part for tenant in tenants for part in ("--tenant", tenant)]
        return self.keys("create", *options)

    def with_credential(self, credential: str | None) -> httpx.Client:
        headers = {} if credential is None else {"Authorization": f"Bearer {credential}"}
        return httpx.Client(base_url=self.service.url, headers=headers, timeout=30)

    @cached_property
    def ended_job(self) -> str:
        """A job that succeeded, but for one entity."""
        job = self.service.reindex("acme", "product")
        assert (job["state"], job["counters"]["failed"]) == ("succeeded", 1)
        return str(job["id"])

    @cached_property
    def endless_job(self) -> str:
        """A job that runs as long as anybody looks."""
        location = self.service.request_reindex("acme", "endless")
        self.until(location, lambda job: job["state"] == "running")
        return location.rpartition("/")[2]

    def schedule(self) -> str:
        path = "/indexing/acme/schedules"
        return str(self.post(path, entity_type="product", cron="0 3 1 1 *")["id"])

    def knowledge_base(self, origin: str = "LOCAL_FILES") -> str:
        policy = {"policy_type": "MANUAL"}
        made = self.post(
            f"{CONTROL}/knowledge-bases",
            name="Handbook",
            index_refresh_policy=policy,
            data_origin_type=origin,
        )
        return str(made["id"])

    def index(self, base: str, model: str = "stub") -> str:
        made = self.post(
            f"{CONTROL}/knowledge-bases/{base}/indexes",
            embeddings_model_endpoint=model,
            text_splitting="SENTENCE",
            chunk_size=100,
        )
        return str(made["id"])

    def upload(self, base: str, index: str, name: str = "celeriac.md") -> str:
        path = f"{CONTROL}/knowledge-bases/{base}/indexes/{index}/documents"
        answer = self.client.post(path, files={"file": (name, PROSE.encode())})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def data_source(self) -> str:
        made = self.post(
            f"{CONTROL}/data-sources", name="p", type="ENTITY_TYPE", origin_url="product"
        )
        return str(made["id"])

    def document(self, text: str = PROSE) -> str:
        """Of the batch contract."""
        return str(self.post(f"{BATCH}/text", text=text)["id"])

    def rag_index(self, document: str, model: str = MODEL) -> Json:
        return self.post(f"{BATCH}/{document}/rag-index", model=model)

    def knowledge(self) -> dict[str, str]:
        """Ids of an indexed knowledge base, by the names that they have in paths."""
        base = self.knowledge_base()
        index = self.index(base)
        document = self.upload(base, index)
        path = f"{CONTROL}/knowledge-bases/{base}/indexes/{index}/active-indexing"
        indexing = self.until(path, lambda one: one["state"] == "DONE")
        return {
            "knowledge_base_id": base,
            "index_id": index,
            "document_id": document,
            "indexing_id": str(indexing["id"]),
        }

    def crawled(self) -> dict[str, str]:
        """Ids of a knowledge base and a data source that it is not linked to."""
        base = self.knowledge_base("DATA_SOURCES")
        return {"knowledge_base_id": base, "data_source_id": self.data_source()}

    def voice(self) -> dict[str, str]:
        """Ids of a document of the batch contract and its RAG index."""
        document = self.document()
        return {"document_id": document, "rag_index_id": str(self.rag_index(document)["id"])}


def _entity_type(path: str, chunk_size: int = 100, **more: Any) -> Json:
    return {
        "source": {"kind": "files", "path": path, "id": "id"},
        "text_fields": ["name", "description"],
        "filter_fields": [{"key": key, "type": key} for key in ("string", "integer", "float")],
        "index": {"model": "stub", "chunk_size": chunk_size},
        **more,
    }


def _declare(folder: Path, *, chunk_size: int, models: Mapping[str, Json]) -> Path:
    endless = _entity_type("products.jsonl", max_entities_per_second=0.001)
    endless["source"]["page_size"] = 1
    types = {
        "product": _entity_type("products.jsonl"),
        "edition": _entity_type("products.jsonl", chunk_size),
        "endless": endless,
    }
    declared = {
        "tenants": {"acme": {"entity_types": types, "max_rag_bytes": 1_000_000}},
        "models": {
            MODEL: {"engine": "stub"},
            "all-minilm-l6-v2": {"engine": "stub"},
            AWAY: {
                "engine": "gemini",
                "location": "http://127.0.0.1:9",
                "dimension": 8,
                "max_length": 512,
            },
            BROKEN: {"location": str(folder / "nosuch"), "dimension": 8, "max_length": 512},
            **models,
        },
        "security": {
            "allowed_networks": ["127.0.0.0/8"],
            "requests_per_minute": None,
            "failures_per_minute": None,
        },
    }
    path = folder / "celeriac.yaml"
    path.write_text(yaml.safe_dump(declared), encoding="utf-8")
    return path


@contextlib.contextmanager
def world(folder: Path) -> Iterator[World]:
    """A service whose entity type `edition` has two generations."""
    products = [{"id": f"p{n}", "name": f"Coat {n}", "description": PROSE[:300]} for n in range(10)]
    products.append({"id": "empty", "name": "", "description": ""})
    (folder / "products.jsonl").write_text("".join(json.dumps(one) + "\n" for one in products))
    page = rest_server.Response(PROSE.encode(), headers={"Content-Type": "text/plain"})
    with rest_server.rest_server(lambda _: page) as server:
        before = _declare(folder, chunk_size=100, models={GONE: {"engine": "stub"}})
        with standalone(folder, before, GEMINI_API_KEY=API_KEY) as service:
            assert service.reindex("acme", "edition")["state"] == "succeeded"
            first = World(service, server.url, ("", ""))
            base = first.knowledge_base()
            gone = base, first.index(base, GONE)
        after = _declare(folder, chunk_size=120, models={})
        with standalone(folder, after, GEMINI_API_KEY=API_KEY) as service:
            assert service.reindex("acme", "edition")["state"] == "succeeded"
            yield World(service, server.url, gone)
