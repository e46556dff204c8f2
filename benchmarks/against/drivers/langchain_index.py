"""LangChain's `index()`: QdrantVectorStore, SQLRecordManager on SQLite, HuggingFaceEmbeddings.

As "How to use the LangChain indexing API" has it: the namespace is the store's kind and the
collection, the loader splits what it yields, `source` is the source id. The rest are defaults:
`key_encoder`, too, for Qdrant refuses the ids that the encoders recommended in its place give.

Options: `cleanup`, "full" or "incremental"; `force_update`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import counting
import tiktoken
import wire
from langchain_classic.indexes import SQLRecordManager
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document
from langchain_core.indexing import index
from langchain_huggingface import HuggingFaceEmbeddings
from langchain_qdrant import QdrantVectorStore
from langchain_text_splitters import TokenTextSplitter
from qdrant_client import QdrantClient
from qdrant_client.models import Distance, VectorParams

PACKAGES = ("langchain-core", "langchain-classic", "langchain-qdrant", "langchain-huggingface")
_models: dict[str, HuggingFaceEmbeddings] = {}


class Loader(BaseLoader):
    """The source's documents in chunks, lazily."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._splitter = TokenTextSplitter(
            encoding_name=wire.ENCODING,
            chunk_size=wire.CHUNK_SIZE,
            chunk_overlap=wire.CHUNK_OVERLAP,
        )

    def lazy_load(self) -> Iterator[Document]:
        for name, text in wire.documents(self._source):
            document = Document(page_content=text, metadata={"source": name})
            yield from self._splitter.split_documents([document])


class System:
    def __init__(self, setup: wire.Setup, gauge: wire.Gauge) -> None:
        self._setup = setup
        self._embeddings = model(setup.model)
        counting.count_into(gauge)

    def about(self) -> wire.Json:
        return {"versions": {name: version(name) for name in PACKAGES}, **counting.environment()}

    def index(self) -> wire.Json:
        setup, options = self._setup, self._setup.options
        records = SQLRecordManager(
            f"qdrant/{setup.collection}",
            db_url=f"sqlite:///{Path(setup.state) / 'record_manager_cache.sql'}",
        )
        records.create_schema()
        result = index(
            Loader(setup.source),
            records,
            self._store(),
            cleanup=options["cleanup"],
            source_id_key="source",
            force_update=options.get("force_update", False),
        )
        return {"counters": dict(result), "served": {"collection": setup.collection}}

    def split(self) -> dict[str, list[str]]:
        chunks: dict[str, list[str]] = {}
        for document in Loader(self._setup.source).lazy_load():
            chunks.setdefault(document.metadata["source"], []).append(document.page_content)
        return chunks

    def _store(self) -> QdrantVectorStore:
        setup = self._setup
        client = QdrantClient(url=setup.qdrant_url, grpc_port=setup.grpc_port, prefer_grpc=True)
        if not client.collection_exists(setup.collection):
            client.create_collection(
                setup.collection,
                vectors_config=VectorParams(size=setup.dimension, distance=Distance.COSINE),
            )
        return QdrantVectorStore(
            client=client, collection_name=setup.collection, embedding=self._embeddings
        )


def model(folder: str) -> HuggingFaceEmbeddings:
    """Loaded once a process, as is the tokenizer; it has embedded one text."""
    if folder not in _models:
        _models[folder] = HuggingFaceEmbeddings(model_name=folder, model_kwargs={"device": "cpu"})
        _models[folder].embed_query("ready")
        tiktoken.get_encoding(wire.ENCODING)
    return _models[folder]


if __name__ == "__main__":
    wire.serve(System)
