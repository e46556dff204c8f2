"""The CACM collection through the REST API: retrieval as good as the model allows, nothing lost,
nothing embedded twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import servers
from collection import Cacm, ndcg_at_10
from deployment import Service, standalone, write_configuration

from celeriac.catalog.indexes import collection_of
from celeriac.model import Partition
from celeriac.settings import Settings
from celeriac.store import open_store

ARTICLE = {
    "source": {"kind": "files", "path": "documents.jsonl", "id": "id"},
    "text_fields": ["title", "abstract"],
    "index": {"model": "all-minilm-l6-v2", "text_splitting": "SENTENCE", "chunk_size": 256},
}
NDCG_REFERENCE = 0.3855
"""all-MiniLM-L6-v2 on whole documents, title and abstract joined by a newline."""
NDCG_REQUIRED = 0.380


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", ["local", "server"])
def test_cacm(mode: str, tmp_path: Path, cacm: Cacm, request: pytest.FixtureRequest) -> None:
    shutil.copy(cacm.folder / "documents.jsonl", tmp_path)
    configuration = write_configuration(tmp_path, {"acme": {"article": ARTICLE}})
    environment = {}
    if mode == "server":
        server: servers.QdrantServer = request.getfixturevalue("qdrant_server")
        environment["CELERIAC_QDRANT_URL"] = server.url

    with standalone(tmp_path, configuration, **environment) as service:
        first = service.reindex("acme", "article", timeout=2400)
        assert first["state"] == "succeeded"
        assert first["counters"]["indexed"] == len(cacm.documents)
        second = service.reindex("acme", "article")
        assert second["counters"]["unchanged"] == len(cacm.documents)
        assert second["counters"]["embedded"] == 0
        ndcg = mean_ndcg(service, cacm)

    settings = Settings.load({"CELERIAC_CONFIG": str(configuration)})
    declared = settings.configuration.entity_type("acme", "article")
    collection = collection_of(declared.spec, first["index_id"])
    partition = Partition(collection, first["index_id"], first["generation"])
    store = open_store(environment.get("CELERIAC_QDRANT_URL"), tmp_path / "home" / "qdrant")
    entities = {marker.entity_id for batch in store.scan_markers(partition) for marker in batch}
    assert entities == {document["id"] for document in cacm.documents}
    assert store.count(partition) == first["counters"]["chunks"]
    store.delete_partition(partition)
    store.close()
    print(f"nDCG@10 on {mode}: {ndcg:.4f} (reference {NDCG_REFERENCE})")
    assert ndcg >= NDCG_REQUIRED


def mean_ndcg(service: Service, cacm: Cacm) -> float:
    """nDCG@10 over the judged queries, a document ranked by its best chunk."""
    scores = [
        ndcg_at_10(ranking(service, cacm.queries[query]), relevant)
        for query, relevant in cacm.relevant.items()
    ]
    return sum(scores) / len(scores)


def ranking(service: Service, text: str) -> list[str]:
    hits = service.search("acme", "article", text, top_k=60)
    return list(dict.fromkeys(hit["entity_id"] for hit in hits))
