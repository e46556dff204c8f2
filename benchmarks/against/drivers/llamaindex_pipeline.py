"""LlamaIndex's IngestionPipeline: QdrantVectorStore, a docstore with upserts and delete.

As "Ingestion Pipeline + Document Management" has it: documents have ids of their own, the pipeline
is loaded from its folder before a run and persisted there after it. With the option `redis`, a URL,
docstore and cache are in Redis instead, as in "Redis Ingestion Pipeline". The rest are defaults.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import counting
import tiktoken
import wire
from llama_index.core import Document
from llama_index.core.ingestion import DocstoreStrategy, IngestionCache, IngestionPipeline
from llama_index.core.node_parser import TokenTextSplitter
from llama_index.core.schema import MetadataMode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.storage.docstore.redis import RedisDocumentStore
from llama_index.storage.kvstore.redis import RedisKVStore
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import QdrantClient

PACKAGES = (
    "llama-index-core",
    "llama-index-vector-stores-qdrant",
    "llama-index-embeddings-huggingface",
)
_models: dict[str, HuggingFaceEmbedding] = {}


class System:
    def __init__(self, setup: wire.Setup, gauge: wire.Gauge) -> None:
        self._setup = setup
        self._embedding = model(setup.model)
        self._splitter = TokenTextSplitter(
            chunk_size=wire.CHUNK_SIZE,
            chunk_overlap=wire.CHUNK_OVERLAP,
            tokenizer=tiktoken.get_encoding(wire.ENCODING).encode,
        )
        counting.count_into(gauge)

    def about(self) -> wire.Json:
        return {"versions": {name: version(name) for name in PACKAGES}, **counting.environment()}

    def index(self) -> wire.Json:
        pipeline = self._pipeline()
        folder = Path(self._setup.state) / "pipeline_storage"
        in_files = "redis" not in self._setup.options
        if in_files and folder.exists():
            pipeline.load(str(folder))
        nodes = pipeline.run(documents=self._documents())
        if in_files:
            pipeline.persist(str(folder))
        served = {"collection": self._setup.collection}
        return {"counters": {"nodes": len(nodes)}, "served": served}

    def split(self) -> dict[str, list[str]]:
        chunks: dict[str, list[str]] = {}
        for node in self._splitter.get_nodes_from_documents(self._documents()):
            text = node.get_content(MetadataMode.NONE)
            chunks.setdefault(node.ref_doc_id or "", []).append(text)
        return chunks

    def _documents(self) -> list[Document]:
        return [Document(text=text, id_=name) for name, text in wire.documents(self._setup.source)]

    def _pipeline(self) -> IngestionPipeline:
        setup = self._setup
        client = QdrantClient(url=setup.qdrant_url, grpc_port=setup.grpc_port, prefer_grpc=True)
        return IngestionPipeline(
            transformations=[self._splitter, self._embedding],
            vector_store=QdrantVectorStore(setup.collection, client=client),
            docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
            **self._memory(),
        )

    def _memory(self) -> dict[str, Any]:
        if "redis" not in self._setup.options:
            return {"docstore": SimpleDocumentStore()}
        address = urlsplit(self._setup.options["redis"])
        host, port = address.hostname or "", address.port or 0
        return {
            "docstore": RedisDocumentStore.from_host_and_port(host, port, namespace="documents"),
            "cache": IngestionCache(
                cache=RedisKVStore.from_host_and_port(host, port), collection="cache"
            ),
        }


def model(folder: str) -> HuggingFaceEmbedding:
    """Loaded once a process, as is the tokenizer; it has embedded one text."""
    if folder not in _models:
        _models[folder] = HuggingFaceEmbedding(model_name=folder, device="cpu")
        _models[folder].get_text_embedding("ready")
    return _models[folder]


if __name__ == "__main__":
    wire.serve(System)
