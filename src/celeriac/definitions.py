"""What an index of a knowledge base is, in the terms in which an entity type is declared."""

from __future__ import annotations

from collections.abc import Mapping

from celeriac.catalog.knowledge_bases import DataOriginType, KnowledgeIndex
from celeriac.configuration import EntityType
from celeriac.configuration.declarations import DEFAULT_REMOVAL_LIMIT
from celeriac.embedding.models import EmbeddingModel
from celeriac.errors import ConfigurationError
from celeriac.model import IndexSpec, TextField

UPLOADS, LINKED = "uploads", "linked"
"""The source kinds of a knowledge base's own documents, and of those that its data sources list. No
configuration file can name them."""
EVERYTHING = 1.0
"""Documents leave a knowledge base one by one, each on somebody's request: nothing to confirm."""


def knowledge_entity_type(
    index: KnowledgeIndex, models: Mapping[str, EmbeddingModel]
) -> EntityType:
    """The index as jobs and searches see it.

    Raises:
        ConfigurationError: its embedding model is not declared any more.
    """
    model = models.get(index.model)
    if model is None:
        raise ConfigurationError(
            f"The index {index.id} is built with the model {index.model!r}, which is not declared "
            "any more; declare it under `models:` again, or build another index."
        )
    linked = index.data_origin_type == DataOriginType.DATA_SOURCES
    return EntityType(
        tenant=index.tenant,
        name=index.key,
        source={
            "kind": LINKED if linked else UPLOADS,
            "knowledge_base_id": index.knowledge_base_id,
            "index_id": index.id,
        },
        spec=IndexSpec(
            model=model.name,
            model_digest=model.digest,
            dimension=model.dimension,
            splitting=index.splitting,
            text_fields=(TextField("text"),),
        ),
        schedule=None,
        removal_limit=DEFAULT_REMOVAL_LIMIT if linked else EVERYTHING,
    )
