"""Counts in the libraries that LangChain and LlamaIndex both use: sentence-transformers and
qdrant-client. Each hook counts after the call and changes nothing."""

from __future__ import annotations

from typing import Any

import torch
from qdrant_client import QdrantClient
from qdrant_client.uploader import grpc_uploader
from sentence_transformers import SentenceTransformer
from wire import Gauge

_gauge: list[Gauge] = []


def count_into(gauge: Gauge) -> None:
    """Have all calls counted, from the first time this is called."""
    if not _gauge:
        _hook()
    _gauge[:] = [gauge]


def environment() -> dict[str, Any]:
    """What the benchmark says beside the versions."""
    return {"threads": torch.get_num_threads()}


def _hook() -> None:
    encode, upsert = SentenceTransformer.encode, QdrantClient.upsert
    upload_batch = grpc_uploader.upload_batch_grpc

    def counted_encode(self: Any, inputs: Any, *arguments: Any, **options: Any) -> Any:
        vectors = encode(self, inputs, *arguments, **options)
        texts = [inputs] if isinstance(inputs, str) else inputs
        _gauge[0].embedded(text.encode() for text in texts)
        return vectors

    def counted_upsert(self: Any, **options: Any) -> Any:
        result = upsert(self, **options)
        _gauge[0].add("written", len(options["points"]))
        return result

    def counted_upload(client: Any, collection: str, batch: Any, **options: Any) -> Any:
        ids, vectors, payloads = (list(part) for part in batch)
        result = upload_batch(client, collection, (ids, vectors, payloads), **options)
        _gauge[0].add("written", len(ids))
        return result

    SentenceTransformer.encode = counted_encode
    QdrantClient.upsert = counted_upsert
    grpc_uploader.upload_batch_grpc = counted_upload
