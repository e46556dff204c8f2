"""Documents of a knowledge base, as the source of one of its indexes."""

from __future__ import annotations

from celeriac.catalog import Catalog
from celeriac.catalog.documents import Document
from celeriac.documents import extract_text
from celeriac.errors import UnreadableDocument
from celeriac.model import Entity, EntityFailure, Page

PAGE = 32
"""Documents of a page: one may be 10 MiB."""


class UploadedDocuments:
    """Lists the documents that have an entry in the index, in the order of their ids.

    An entity has the document's id and the fields `title` (where it has one), `text`, `name` and
    `media_type`.
    """

    stable_listing = True

    def __init__(self, catalog: Catalog, knowledge_base_id: str, index_id: str) -> None:
        self._catalog = catalog
        self._knowledge_base_id = knowledge_base_id
        self._index_id = index_id

    def page(self, cursor: str | None) -> Page:
        ids = self._catalog.entries.page(self._index_id, cursor, PAGE + 1)
        found = self._catalog.documents.find_many(self._knowledge_base_id, ids[:PAGE])
        entities: list[Entity] = []
        failures: list[EntityFailure] = []
        for document in (found[one] for one in ids[:PAGE] if one in found):
            try:
                entities.append(self._entity(document))
            except UnreadableDocument as error:
                failures.append(EntityFailure.of(document.id, error))
        return Page(
            entities=tuple(entities),
            next_cursor=ids[PAGE - 1] if len(ids) > PAGE else None,
            failures=tuple(failures),
            bytes_read=sum(document.size_bytes for document in found.values()),
            estimate=self._catalog.entries.count_listed(self._index_id) if cursor is None else None,
        )

    def _entity(self, document: Document) -> Entity:
        content = self._catalog.documents.content(document.id)
        if content is None:
            raise UnreadableDocument(f"The content of {document.name!r} is not there any more.")
        extracted = extract_text(content, document.media_type)
        fields = {"text": extracted.text, "name": document.name, "media_type": document.media_type}
        if extracted.title is not None:
            fields["title"] = extracted.title
        return Entity(document.id, fields)

    def close(self) -> None:
        """Nothing of its own is open."""
