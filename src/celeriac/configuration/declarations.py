"""What a configuration file declares, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from celeriac.configuration.problems import suggestion
from celeriac.configuration.schedule import Schedule
from celeriac.configuration.security import Security
from celeriac.embedding.models import EmbeddingModel
from celeriac.errors import NotFound
from celeriac.model import IndexSpec, Priority

DEFAULT_MAX_RAG_BYTES = 1024**3
DEFAULT_REMOVAL_LIMIT = 0.2


def entity_type_name(name: str) -> str:
    """The spelling under which an entity type is kept: `car-parts` for `CAR_PARTS`."""
    return name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True)
class Canary:
    """A search that a new generation has to answer before it goes live."""

    text: str
    expect: tuple[str, ...]
    """Ids of entities, at least one of which has to be found."""
    top_k: int
    """Among so many entities."""


@dataclass(frozen=True, slots=True)
class EntityType:
    """A declared source and the index that is kept equal to it."""

    tenant: str
    name: str
    """In lower case and with dashes, however it was declared."""
    source: Mapping[str, Any] = field(repr=False)
    """Options of the source with their defaults, `kind` among them; they may hold secrets."""
    spec: IndexSpec
    schedule: Schedule | None
    """When it is reindexed. None: on request only."""
    removal_limit: float
    """The share of the index that a sweep may remove without confirmation, 0 to 1."""
    priority: Priority = Priority.NORMAL
    """How its jobs stand to others."""
    max_entities_per_second: float | None = None
    """How fast a job lists the source at most; None: as fast as it can."""
    canaries: tuple[Canary, ...] = ()
    """They shape no vector: a change of them alone builds no new generation."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A name behind a credential, and what is visible to it."""

    name: str
    entity_types: Mapping[str, EntityType]
    """By name."""
    max_rag_bytes: int = DEFAULT_MAX_RAG_BYTES
    """Bytes of documents that its RAG indexes may hold together."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """All that is declared, and the embedding models there are."""

    tenants: Mapping[str, Tenant]
    """By name."""
    models: Mapping[str, EmbeddingModel]
    """Built-in and declared ones, by name."""
    path: Path | None
    """The file; None where there is none."""
    variables: frozenset[str] = frozenset()
    """Names of the environment variables that the file refers to."""
    security: Security = field(default_factory=Security)

    def entity_type(self, tenant: str, name: str) -> EntityType:
        """The entity type of that name, in either spelling: `car-parts` or `CAR_PARTS`.

        Raises:
            NotFound: the message names other entity types of this tenant, and no other tenant.
        """
        if self.path is None:
            raise NotFound(
                "No entity types are declared: there is no configuration file; "
                "declare them in one and name it in CELERIAC_CONFIG"
            )
        declared = self.tenants.get(tenant)
        if declared is None:
            raise NotFound(f"There is no tenant '{tenant}' in the configuration file")
        entity_type = declared.entity_types.get(entity_type_name(name))
        if entity_type is None:
            hint = suggestion(entity_type_name(name), declared.entity_types)
            raise NotFound(f"The tenant '{tenant}' has no entity type '{name}'; {hint}")
        return entity_type
