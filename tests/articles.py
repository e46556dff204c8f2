"""A source of articles in a file, declared on the stub model, and the comparison with its index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployment import write_configuration
from oracle import Comparison, compare

from celeriac.catalog.indexes import collection_of
from celeriac.configuration import EntityType
from celeriac.model import Entity, Partition
from celeriac.settings import Settings
from celeriac.store import open_store
from celeriac.store.base import StoredChunk, VectorStore

JsonObject = dict[str, Any]


def article_declaration(
    path: str = "documents.jsonl", *, page_size: int = 5, **declaration: Any
) -> JsonObject:
    """The entity type `article`; `declaration` goes over what is declared."""
    return {
        "source": {"kind": "files", "path": path, "id": "id", "page_size": page_size},
        "text_fields": ["title", "abstract"],
        "filter_fields": [{"key": "published", "type": "string"}],
        "index": {"model": "stub", "chunk_size": 100, "chunk_overlap": 10},
        **declaration,
    }


@dataclass(frozen=True)
class Articles:
    """`documents.jsonl` in a folder, as the entity type `article` of a tenant."""

    folder: Path
    configuration: Path
    tenant: str = "acme"

    @classmethod
    def declare(cls, folder: Path, **declaration: Any) -> Articles:
        """Write a configuration with this entity type alone; see `article_declaration`."""
        article = article_declaration(**declaration)
        return cls(folder, write_configuration(folder, {"acme": {"article": article}}))

    def write(self, documents: list[JsonObject], *, also: str = "") -> None:
        """Make the source hold these documents, and the lines `also`."""
        lines = "".join(json.dumps(document) + "\n" for document in documents)
        (self.folder / "documents.jsonl").write_text(lines + also, encoding="utf-8")

    def assert_index_equals(
        self,
        job: JsonObject,
        documents: list[JsonObject],
        *,
        url: str | None = None,
        path: Path | None = None,
    ) -> None:
        """Every document, every chunk, its text and its fingerprint in the job's generation on the
        server at `url` or in local mode at `path`; nothing else."""
        self.compare(job, documents, url=url, path=path).assert_equal()

    def compare(
        self,
        job: JsonObject,
        documents: list[JsonObject],
        *,
        url: str | None = None,
        path: Path | None = None,
    ) -> Comparison:
        """What the job's generation must hold of the documents, and what it does hold."""
        declared = self._declared()
        entities = [Entity(document["id"], document) for document in documents]
        with _store(url, path) as store:
            return compare(store, _partition(declared, job), declared, entities)

    def points(self, job: JsonObject, *, url: str) -> dict[tuple[str, int], StoredChunk]:
        """The points of the job's generation with their vectors, by entity and chunk."""
        partition = _partition(self._declared(), job)
        with _store(url, None) as store:
            names = [(one.entity_id, one.chunk) for few in store.scan(partition) for one in few]
            chunks = store.chunks(partition, names, with_vectors=True)
        return {(one.entity_id, one.chunk): one for one in chunks}

    def _declared(self) -> EntityType:
        settings = Settings.load({"CELERIAC_CONFIG": str(self.configuration)})
        return settings.configuration.entity_type(self.tenant, "article")


def _partition(declared: EntityType, job: JsonObject) -> Partition:
    collection = collection_of(declared.spec, job["index_id"])
    return Partition(collection, job["index_id"], job["generation"])


@contextmanager
def _store(url: str | None, path: Path | None) -> Iterator[VectorStore]:
    store = open_store(url, path)
    try:
        yield store
    finally:
        store.close()
