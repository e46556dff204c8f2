"""The control contract, `/api/v1/control`: knowledge bases, indexes, documents, data sources."""

from __future__ import annotations

from api.control import data_sources, documents, indexes, indexings, knowledge_bases

BLUEPRINTS = tuple(
    module.blueprint for module in (knowledge_bases, indexes, indexings, documents, data_sources)
)
