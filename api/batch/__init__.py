"""The batch contract, `/v1/voiceai/knowledge-base`: documents and their RAG indexes."""

from __future__ import annotations

from api.batch import documents, rag_indexes

BLUEPRINTS = (rag_indexes.blueprint, documents.blueprint)
