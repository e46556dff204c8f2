"""The batch contract's documents and RAG indexes: one hidden knowledge base a tenant, with one
index a model; a RAG index is a document's entry in the index of its model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from celeriac.catalog.documents import Document, DocumentKind, NewDocument
from celeriac.catalog.entries import Entry, EntryState, Quota, Refusal, Requested
from celeriac.catalog.knowledge_bases import KnowledgeBase, KnowledgeIndex
from celeriac.catalog.lists import Window
from celeriac.configuration.declarations import DEFAULT_MAX_RAG_BYTES
from celeriac.dispatch import Dispatcher
from celeriac.documents import media_type_of
from celeriac.errors import ConfigurationError, NotFound
from celeriac.knowledge import Knowledge, require_size
from celeriac.model import Splitting
from celeriac.runtime import Runtime
from celeriac.store.base import StoredChunk

MIN_DOCUMENT = 500
"""Bytes below which a document is too small for a RAG index."""
JUDGED_ANEW = (EntryState.REFUSED, EntryState.CANCELLED)


@dataclass(frozen=True, slots=True)
class RagIndex:
    """A document's entry in the index of a model."""

    entry: Entry
    model: str
    progress: float
    """How much of the document is embedded, 0 to 1."""


class VoiceLibrary:
    """One tenant's documents and their RAG indexes. NotFound is raised for what is not there."""

    def __init__(self, runtime: Runtime, dispatcher: Dispatcher, tenant: str) -> None:
        self._runtime = runtime
        self._catalog = runtime.catalog
        self._knowledge = Knowledge(runtime, dispatcher)
        self._tenant = tenant

    @property
    def base(self) -> KnowledgeBase:
        """The knowledge base that holds the documents."""
        return self._catalog.knowledge_bases.ensure_voice(self._tenant)

    @property
    def max_bytes(self) -> int:
        """Bytes that the documents of all RAG indexes may have together."""
        tenant = self._runtime.settings.configuration.tenants.get(self._tenant)
        return tenant.max_rag_bytes if tenant else DEFAULT_MAX_RAG_BYTES

    def add(self, new: NewDocument) -> Document:
        """Add a document, or a folder. Nothing is indexed until a RAG index is asked for.

        Raises:
            EmptyDocument, TooLarge: of its content.
            ConfigurationError: what it is to be put into is no folder.
        """
        self.require_folder(new.parent_id)
        if new.content is not None:
            require_size(new.content)
        return self._catalog.documents.add(
            self.base.id, self._tenant, new, unique=False, entries=False
        )

    def require_folder(self, parent_id: str | None) -> None:
        """Refuse what a document cannot be put into.

        Raises:
            ConfigurationError: there is no such folder.
        """
        if parent_id is None:
            return
        parent = self._catalog.documents.find(self.base.id, parent_id)
        if parent is None or parent.kind != DocumentKind.FOLDER:
            raise ConfigurationError(f"There is no folder {parent_id!r}.")

    def document(self, document_id: str) -> Document:
        found = self._catalog.documents.find(self.base.id, document_id)
        if found is None:
            message = f"There is no document {document_id!r}."
            raise NotFound(message, code="document_not_found")
        return found

    def documents(
        self, window: Window, *, prefix: str | None = None, parent_id: str | None = None
    ) -> tuple[list[Document], bool]:
        """A part of the documents, and whether more follow: of a folder, of names that begin so."""
        return self._catalog.documents.list(
            self.base.id, window, prefix=prefix, parent_id=parent_id
        )

    def rename(self, document_id: str, name: str) -> Document:
        """Give a document another name; nothing is indexed anew."""
        self._catalog.documents.rename(self.document(document_id).id, name)
        return self.document(document_id)

    def delete(self, document_id: str) -> None:
        """Delete a document, or a folder with what is in it, and take it out of every index."""
        self._knowledge.delete_document(self.base, self.document(document_id).id)

    def content(self, document_id: str) -> bytes:
        """What was added, as it was; empty for a folder."""
        return self._catalog.documents.content(self.document(document_id).id) or b""

    def rag_index(self, document_id: str, model: str, *, create: bool) -> RagIndex:
        """The RAG index of a document under a model, made with `create` when there is none.

        Raises:
            NotFound: there is no such document; or no such index, and it is not to be made.
            ConfigurationError: there is no such embedding model.
        """
        document = self.document(document_id)
        self._knowledge.require_model(model)
        index = self._catalog.knowledge_bases.index_named(self.base.id, model)
        entry = self._catalog.entries.find(index.id, document.id) if index else None
        if create and (entry is None or entry.state in JUDGED_ANEW):
            entry = self._request(document, model)
        if entry is None:
            message = f"The document has no RAG index under {model}."
            raise NotFound(message, code="rag_index_not_found")
        return self._rag_index(entry, model)

    def rag_indexes(self, document_id: str) -> list[RagIndex]:
        """Every RAG index of a document, oldest first."""
        document = self.document(document_id)
        models = {one.id: one.model for one in self._indexes()}
        return [
            self._rag_index(entry, models[entry.index_id])
            for entry in self._catalog.entries.of_document(document.id)
        ]

    def delete_rag_index(self, document_id: str, entry_id: str) -> RagIndex:
        """Take a document out of one index; it stays in the others."""
        found = next(
            (one for one in self.rag_indexes(document_id) if one.entry.id == entry_id), None
        )
        if found is None:
            message = f"The document has no RAG index {entry_id!r}."
            raise NotFound(message, code="rag_index_not_found")
        self._catalog.entries.discard(found.entry.index_id, document_id)
        for index in self._indexes():
            if index.id == found.entry.index_id:
                self._knowledge.request(index)
        return found

    def usage(self) -> Mapping[str, int]:
        """Bytes used by the RAG indexes, by model."""
        indexes = self._indexes()
        used = self._catalog.entries.used_bytes([one.id for one in indexes])
        return {one.model: used[one.id] for one in indexes}

    def chunks(
        self, document_id: str, model: str, start: int, limit: int
    ) -> tuple[list[StoredChunk], bool]:
        """A document's chunks from `start` as a model's index has them, and whether more follow."""
        found = self.rag_index(document_id, model, create=False)
        live = self._catalog.indexes.live(found.entry.index_id)
        if live is None or found.entry.state != EntryState.INDEXED:
            return [], False
        wanted = [(document_id, number) for number in range(start, start + limit + 1)]
        chunks = self._runtime.store.chunks(live.partition, wanted)
        chunks.sort(key=lambda chunk: chunk.chunk)
        return chunks[:limit], len(chunks) > limit

    def _indexes(self) -> list[KnowledgeIndex]:
        return self._catalog.knowledge_bases.all_indexes(self.base.id)

    def _request(self, document: Document, model: str) -> Entry:
        base = self.base
        index = self._catalog.knowledge_bases.ensure_index(base, model, model, Splitting())
        requested = Requested(document.id, document.size_bytes, _refusal(document))
        quota = Quota(base.id, self.max_bytes)
        entry = self._catalog.entries.request(index.id, requested, quota)
        if entry.state == EntryState.QUEUED:
            self._knowledge.request(index)
        return entry

    def _rag_index(self, entry: Entry, model: str) -> RagIndex:
        progress = 1.0 if entry.state == EntryState.INDEXED else 0.0
        if entry.state == EntryState.EMBEDDING and entry.job_id:
            progress = self._runtime.progress.entry(entry.job_id, entry.document_id)
        return RagIndex(entry, model, progress)


def new_document(
    kind: DocumentKind,
    name: str,
    content: bytes | None = None,
    *,
    media_type: str = "",
    origin_ref: str = "",
    parent_id: str | None = None,
) -> NewDocument:
    """A document to be added; what kind of file it is its origin's name says, or `media_type`."""
    named = media_type_of(origin_ref) if kind == DocumentKind.FILE else None
    return NewDocument(
        kind,
        name,
        origin_ref=origin_ref,
        media_type=named or media_type,
        content=content,
        sha256=hashlib.sha256(content).hexdigest() if content is not None else "",
        parent_id=parent_id,
    )


def _refusal(document: Document) -> Refusal | None:
    if document.kind == DocumentKind.FOLDER:
        return Refusal.FOLDER
    return Refusal.TOO_SMALL if document.size_bytes < MIN_DOCUMENT else None
