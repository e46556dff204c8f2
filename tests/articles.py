"""A source of articles in a file, declared on the stub model, and the comparison with its index."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployment import write_configuration
from oracle import expected_chunks, indexed_chunks

from celeriac.catalog.indexes import collection_of
from celeriac.model import Entity, Partition
from celeriac.settings import Settings
from celeriac.store import open_store

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class Articles:
    """`documents.jsonl` in a folder, as the entity type `article` of the tenant `acme`."""

    folder: Path
    configuration: Path

    @classmethod
    def declare(cls, folder: Path, *, page_size: int = 5, **declaration: Any) -> Articles:
        """Write the configuration; `declaration` goes over what is declared."""
        article = {
            "source": {
                "kind": "files",
                "path": "documents.jsonl",
                "id": "id",
                "page_size": page_size,
            },
            "text_fields": ["title", "abstract"],
            "filter_fields": [{"key": "published", "type": "string"}],
            "index": {"model": "stub", "chunk_size": 100, "chunk_overlap": 10},
            **declaration,
        }
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
        settings = Settings.load({"CELERIAC_CONFIG": str(self.configuration)})
        declared = settings.configuration.entity_type("acme", "article")
        collection = collection_of(declared.spec, job["index_id"])
        partition = Partition(collection, job["index_id"], job["generation"])
        store = open_store(url, path)
        indexed = indexed_chunks(store, partition)
        store.close()
        entities = [Entity(document["id"], document) for document in documents]
        assert indexed == expected_chunks(declared, entities)
