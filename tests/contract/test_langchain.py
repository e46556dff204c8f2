"""LangChain's QdrantVectorStore, with its default keys, reads what the store wrote."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import servers
from langchain_core.embeddings import Embeddings
from langchain_qdrant import QdrantVectorStore
from qdrant_client import QdrantClient, models
from store_contract import DIMENSION, FIELDS, METADATA, new_partition, points_of, vector_of

from celeriac.model import Partition
from celeriac.store import open_store
from celeriac.store.base import VectorStore


class TextVectors(Embeddings):
    """The vectors that `points_of` gives its texts."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return vector_of(text).tolist()


@pytest.fixture
def partition(collection_name: str) -> Partition:
    return new_partition(collection_name)


@pytest.fixture(params=["server", "local"])
def client(
    request: pytest.FixtureRequest, tmp_path: Path, partition: Partition
) -> Iterator[QdrantClient]:
    """A client of the place that holds two entities of one partition."""
    if request.param == "server":
        server: servers.QdrantServer = request.getfixturevalue("qdrant_server")
        write_entities(open_store(server.url), partition)
        client = QdrantClient(url=server.url, check_compatibility=False)
    else:
        write_entities(open_store(path=tmp_path), partition)
        client = QdrantClient(path=str(tmp_path))
    yield client
    client.close()


def write_entities(store: VectorStore, partition: Partition) -> None:
    store.ensure_collection(partition.collection, DIMENSION, FIELDS)
    store.upsert(partition, points_of("a", ["celery root", "stalks"], metadata=METADATA))
    store.upsert(partition, points_of("b", ["celeriac", "salad"], metadata={"code": "B-1"}))
    store.close()


@pytest.fixture
def retriever(client: QdrantClient, partition: Partition) -> QdrantVectorStore:
    return QdrantVectorStore(client, partition.collection, embedding=TextVectors())


def test_documents_have_text_and_metadata(retriever: QdrantVectorStore) -> None:
    (document,) = retriever.similarity_search("celery root", k=1)

    assert document.page_content == "celery root"
    own = {key: value for key, value in document.metadata.items() if not key.startswith("_")}
    assert own == {
        **METADATA,
        "tenant": "acme",
        "entity_type": "product",
        "entity_id": "a",
        "chunk": 0,
        "chunk_count": 2,
    }


def test_the_partition_keeps_generations_apart(
    retriever: QdrantVectorStore, client: QdrantClient, partition: Partition
) -> None:
    following = replace(partition, generation=2)
    (point, *_), _ = client.scroll(partition.collection, limit=1, with_vectors=True)
    payload = {**(point.payload or {}), "partition": following.key, "page_content": "the next"}
    changed = models.PointStruct(id=str(uuid.uuid4()), vector=point.vector, payload=payload)
    client.upsert(partition.collection, [changed])

    def found(key: str) -> set[str]:
        live = models.FieldCondition(key="partition", match=models.MatchValue(value=key))
        documents = retriever.similarity_search("x", k=9, filter=models.Filter(must=[live]))
        return {document.page_content for document in documents}

    assert found(partition.key) == {"celery root", "stalks", "celeriac", "salad"}
    assert found(following.key) == {"the next"}


def test_metadata_filters_documents(retriever: QdrantVectorStore, partition: Partition) -> None:
    condition = models.FieldCondition(key="metadata.code", match=models.MatchValue(value="B-1"))

    documents = retriever.similarity_search(
        "celery root", k=9, filter=models.Filter(must=[condition])
    )

    assert {document.page_content for document in documents} == {"celeriac", "salad"}
