"""Documents of a knowledge base, as they stand in one of its indexes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask import request

from api.authorization import requires
from api.control.common import blueprint as make_blueprint
from api.control.common import knowledge, listed, seconds, the_base, the_index, window_of
from api.control.schemas import (
    DOCUMENT_STATES,
    Deleted,
    DocumentView,
    ListQuery,
    UploadForm,
    list_of,
)
from api.services import services
from celeriac.catalog.documents import Document
from celeriac.catalog.entries import Entry, EntryState, Refusal
from celeriac.catalog.knowledge_bases import KnowledgeIndex
from celeriac.documents import MEDIA_TYPES
from celeriac.errors import Conflict, EmptyDocument, NotFound, TooLarge
from celeriac.knowledge import MAX_DOCUMENT
from celeriac.security.principal import Scope

blueprint = make_blueprint("documents", "Documents of a knowledge base, in one of its indexes.")

PATH = "/knowledge-bases/<knowledge_base_id>/indexes/<index_id>/documents"
MULTIPART = 64 * 1024
"""Bytes that a multipart body may have beside its file."""


@blueprint.post(PATH)
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound, Conflict, TooLarge, EmptyDocument)
@blueprint.arguments(UploadForm, location="multipart")
@blueprint.response(201, DocumentView)
def upload_document(files: dict[str, Any], knowledge_base_id: str, index_id: str) -> dict[str, Any]:
    """Add a file: text, Markdown, HTML, PDF or DOCX, of 10 MiB at most. It is indexed at once, in
    every index of the knowledge base."""
    index, base = the_index(knowledge_base_id, index_id), the_base(knowledge_base_id)
    file = files["file"]
    content = file.stream.read(MAX_DOCUMENT + 1)
    document = knowledge().upload(base, file.filename, content, file.mimetype)
    return _shown_in(index, [document])[0]


@blueprint.get(PATH)
@requires(Scope.AGENT_READ)
@blueprint.raises(NotFound)
@blueprint.arguments(ListQuery, location="query")
@blueprint.response(200, list_of(DocumentView))
def list_documents(query: dict[str, Any], knowledge_base_id: str, index_id: str) -> dict[str, Any]:
    """The documents of an index."""
    index = the_index(knowledge_base_id, index_id)
    documents = services().runtime.catalog.documents
    found, more = documents.list(index.knowledge_base_id, window_of(query), name=query.get("name"))
    entries = _entries(index, found)
    return listed(
        found,
        more,
        query,
        lambda: documents.count(index.knowledge_base_id, name=query.get("name")),
        lambda document: shown(document, index, entries.get(document.id)),
    )


@blueprint.get(f"{PATH}/<document_id>")
@requires(Scope.AGENT_READ)
@blueprint.raises(NotFound)
@blueprint.response(200, DocumentView)
def get_document(knowledge_base_id: str, index_id: str, document_id: str) -> dict[str, Any]:
    """One document."""
    index = the_index(knowledge_base_id, index_id)
    return _shown_in(index, [knowledge().document(the_base(knowledge_base_id), document_id)])[0]


@blueprint.delete(f"{PATH}/<document_id>")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound, Conflict)
@blueprint.response(200, Deleted)
def delete_document(knowledge_base_id: str, index_id: str, document_id: str) -> dict[str, Any]:
    """Delete a document from the knowledge base, and so from every index of it."""
    the_index(knowledge_base_id, index_id)
    knowledge().delete_document(the_base(knowledge_base_id), document_id)
    return {"id": document_id, "object": "document"}


@blueprint.before_request
def _allow_uploads() -> None:
    if request.method == "POST":
        request.max_content_length = MAX_DOCUMENT + MULTIPART


def _entries(index: KnowledgeIndex, documents: Sequence[Document]) -> Mapping[str, Entry]:
    ids = [document.id for document in documents]
    return services().runtime.catalog.entries.of_documents(index.id, ids)


def _shown_in(index: KnowledgeIndex, documents: Sequence[Document]) -> list[dict[str, Any]]:
    entries = _entries(index, documents)
    return [shown(document, index, entries.get(document.id)) for document in documents]


def shown(document: Document, index: KnowledgeIndex, entry: Entry | None) -> dict[str, Any]:
    """A document as clients see it in an index."""
    state = entry.state if entry else EntryState.QUEUED
    return {
        "id": document.id,
        "origin_name": document.name,
        "origin_ref": document.origin_ref,
        "state": DOCUMENT_STATES[state],
        "state_reason": _reason(entry),
        "media_type": document.media_type,
        "knowledge_base_id": document.knowledge_base_id,
        "index_id": index.id,
        "data_source_id": document.data_source_id,
        "created_at": seconds(document.created_at),
        "last_embedded_at": seconds(entry.embedded_at) if entry else None,
        "last_indexed_by_id": entry.job_id if entry else None,
        "size_bytes": document.size_bytes,
        "hash_sha256": document.sha256,
        "reindexing_needed": state not in (EntryState.INDEXED, EntryState.REFUSED),
    }


def _reason(entry: Entry | None) -> str | None:
    """Why the document is not indexed, in words."""
    if entry is None or entry.reason != Refusal.UNREADABLE:
        return (entry.reason if entry else "") or None
    return f"No reader for files of this kind; {', '.join(MEDIA_TYPES)} can be read."
