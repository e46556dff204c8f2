"""The data sources linked to a knowledge base, listed one after the other as its documents."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from celeriac.errors import EntityError
from celeriac.model import Entity, EntityFailure, Page
from celeriac.rendering import Renderer
from celeriac.sources.base import Source

MEDIA_TYPE = "text/plain"


@dataclass(frozen=True, slots=True)
class Link:
    """One linked data source."""

    data_source_id: str
    source: Source
    renderer: Renderer
    """What makes the text of its entities."""


class LinkedSources:
    """Lists the entities of every link, in the order of the data sources' ids.

    An entity has the id that the knowledge base knows it by, and the fields `text`, `name`,
    `origin_ref`, `data_source_id`, `media_type`, `size_bytes` and `sha256`.
    """

    def __init__(self, knowledge_base_id: str, links: Callable[[], Sequence[Link]]) -> None:
        """`links` is asked for each page: what is linked may change while a job runs."""
        self._namespace = uuid.UUID(knowledge_base_id)
        self._links = links

    @property
    def stable_listing(self) -> bool:
        return all(link.source.stable_listing for link in self._links())

    def page(self, cursor: str | None) -> Page:
        data_source_id, inner = json.loads(cursor) if cursor else ("", None)
        links = [link for link in self._links() if link.data_source_id >= data_source_id]
        if not links:
            return Page(entities=(), next_cursor=None)
        link, later = links[0], links[1:]
        if link.data_source_id != data_source_id:
            inner = None  # the one that the cursor was in is not linked any more
        return self._page(link, inner, later[0].data_source_id if later else None)

    def _page(self, link: Link, inner: str | None, following: str | None) -> Page:
        page = link.source.page(inner)
        entities: list[Entity] = []
        failures = [self._failure(link, failure) for failure in page.failures]
        for entity in page.entities:
            try:
                entities.append(self._document(link, entity))
            except EntityError as error:
                failures.append(EntityFailure.of(self.document_id(link, entity.id), error))
        return replace(
            page,
            entities=tuple(entities),
            failures=tuple(failures),
            next_cursor=_cursor(link.data_source_id, page.next_cursor, following),
            total=None,
            estimate=None if following else page.total or page.estimate,
        )

    def document_id(self, link: Link, entity_id: str) -> str:
        """The id under which the knowledge base knows an entity of a data source."""
        return str(uuid.uuid5(self._namespace, f"{link.data_source_id}/{entity_id}"))

    def _document(self, link: Link, entity: Entity) -> Entity:
        text = link.renderer.render(entity).text
        content = text.encode()
        return Entity(
            self.document_id(link, entity.id),
            {
                "text": text,
                "name": entity.id,
                "origin_ref": entity.id,
                "data_source_id": link.data_source_id,
                "media_type": MEDIA_TYPE,
                "size_bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            },
        )

    def _failure(self, link: Link, failure: EntityFailure) -> EntityFailure:
        if failure.entity_id is None:
            return failure
        return replace(failure, entity_id=self.document_id(link, failure.entity_id))

    def close(self) -> None:
        """Close what the links opened."""
        for link in self._links():
            link.source.close()


def _cursor(data_source_id: str, inner: str | None, following: str | None) -> str | None:
    if inner is not None:
        return json.dumps([data_source_id, inner])
    return json.dumps([following, None]) if following is not None else None
