"""Documents of the batch contract: texts, pages of the web, files and folders."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request

from api.authorization import requires
from api.batch.common import PREFIX, library
from api.batch.schemas import (
    MAX_NAME,
    Added,
    ChunkList,
    ChunkQuery,
    DocumentList,
    DocumentView,
    ListQuery,
    NewFile,
    NewFolder,
    NewText,
    NewUrl,
    Rename,
)
from api.blueprint import Blueprint
from api.services import services
from celeriac.catalog.documents import Document, DocumentKind
from celeriac.catalog.lists import Window
from celeriac.errors import DependencyUnavailable, ForbiddenAddress, NotFound
from celeriac.knowledge import MAX_DOCUMENT
from celeriac.security.principal import Scope
from celeriac.voice import new_document
from celeriac.web_documents import fetch

blueprint = Blueprint("voice_documents", __name__, url_prefix=PREFIX, description="Documents.")

MULTIPART = 64 * 1024
"""Bytes that a body may have beside its document."""


@blueprint.post("/text")
@requires(Scope.AGENT_MANAGE)
@blueprint.arguments(NewText)
@blueprint.response(200, Added)
def add_text(new: dict[str, Any]) -> Document:
    """Add a text."""
    name = new["name"] or new["text"].strip().splitlines()[0][:80]
    content = new["text"].encode()
    parent_id = new["parent_folder_id"]
    return library().add(
        new_document(DocumentKind.TEXT, name, content, media_type="text/plain", parent_id=parent_id)
    )


@blueprint.post("/url")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(DependencyUnavailable, ForbiddenAddress)
@blueprint.arguments(NewUrl)
@blueprint.response(200, Added)
def add_url(new: dict[str, Any]) -> Document:
    """Add what is at a URL now."""
    library().require_folder(new["parent_folder_id"])
    networks = services().runtime.settings.configuration.security.allowed_networks
    found = fetch(new["url"], networks, max_bytes=MAX_DOCUMENT)
    name = new["name"] or found.name.replace("\0", "")[:MAX_NAME]
    return library().add(
        new_document(
            DocumentKind.URL,
            name,
            found.content,
            media_type=found.media_type,
            origin_ref=new["url"],
            parent_id=new["parent_folder_id"],
        )
    )


@blueprint.post("/file")
@requires(Scope.AGENT_MANAGE)
@blueprint.arguments(NewFile, location="multipart")
@blueprint.response(200, Added)
def add_file(new: dict[str, Any]) -> Document:
    """Add a file: text, Markdown, HTML, PDF or DOCX, of 10 MiB at most."""
    file = new["file"]
    return library().add(
        new_document(
            DocumentKind.FILE,
            new["name"] or file.filename,
            file.stream.read(MAX_DOCUMENT + 1),
            media_type=file.mimetype,
            origin_ref=file.filename,
            parent_id=new["parent_folder_id"],
        )
    )


@blueprint.post("/folder")
@requires(Scope.AGENT_MANAGE)
@blueprint.arguments(NewFolder)
@blueprint.response(200, Added)
def add_folder(new: dict[str, Any]) -> Document:
    """Add a folder."""
    folder = new_document(DocumentKind.FOLDER, new["name"], parent_id=new["parent_folder_id"])
    return library().add(folder)


@blueprint.get("")
@requires(Scope.AGENT_READ)
@blueprint.arguments(ListQuery, location="query")
@blueprint.response(200, DocumentList)
def list_documents(query: dict[str, Any]) -> dict[str, Any]:
    """The tenant's documents, newest first."""
    window = Window(limit=query["page_size"], after=query["cursor"], descending=True)
    found, more = library().documents(
        window, prefix=query["search"], parent_id=query["parent_folder_id"]
    )
    return {
        "documents": [shown(one) for one in found],
        "next_cursor": found[-1].id if more else None,
        "has_more": more,
    }


@blueprint.get("/<document_id>")
@requires(Scope.AGENT_READ)
@blueprint.raises(NotFound)
@blueprint.response(200, DocumentView)
def get_document(document_id: str) -> dict[str, Any]:
    """One document."""
    return shown(library().document(document_id))


@blueprint.patch("/<document_id>")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound)
@blueprint.arguments(Rename)
@blueprint.response(200, DocumentView)
def rename_document(change: dict[str, Any], document_id: str) -> dict[str, Any]:
    """Give a document another name; nothing is indexed anew."""
    return shown(library().rename(document_id, change["name"]))


@blueprint.delete("/<document_id>")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound)
@blueprint.response(200, {"type": "object"})
def delete_document(document_id: str) -> Response:
    """Delete a document, or a folder with what is in it, and take it out of every index."""
    library().delete(document_id)
    return jsonify({})


@blueprint.get("/<document_id>/content")
@requires(Scope.AGENT_READ)
@blueprint.raises(NotFound)
@blueprint.response(200, {"type": "string", "format": "binary"}, content_type="*/*")
def get_content(document_id: str) -> Response:
    """A document as it was added."""
    media_type = library().document(document_id).media_type or "application/octet-stream"
    response = Response(library().content(document_id), content_type=media_type)
    # What tenants add is never run on this origin.
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Disposition"] = "attachment"
    return response


@blueprint.get("/<document_id>/chunks")
@requires(Scope.AGENT_READ)
@blueprint.raises(NotFound)
@blueprint.arguments(ChunkQuery, location="query")
@blueprint.response(200, ChunkList)
def list_chunks(query: dict[str, Any], document_id: str) -> dict[str, Any]:
    """A document's chunks as a model's index has them, in the order of the text."""
    chunks, more = library().chunks(
        document_id, query["model"], query["cursor"], query["page_size"]
    )
    return {
        "chunks": [
            {"id": str(one.chunk), "chunk": one.chunk, "content": one.text} for one in chunks
        ],
        "next_cursor": str(query["cursor"] + len(chunks)) if more else None,
        "has_more": more,
    }


@blueprint.before_request
def _allow_documents() -> None:
    if request.method == "POST":
        # JSON may write a character as six: \u00e9.
        request.max_content_length = 6 * MAX_DOCUMENT + MULTIPART


def shown(document: Document) -> dict[str, Any]:
    """A document as clients see it."""
    view: dict[str, Any] = {
        "id": document.id,
        "name": document.name,
        "type": document.kind,
        "parent_folder_id": document.parent_id,
        "metadata": {
            "created_at_unix_secs": int(document.created_at),
            "last_updated_at_unix_secs": int(document.updated_at),
            "size_bytes": document.size_bytes,
        },
    }
    if document.kind == DocumentKind.URL:
        view["url"] = document.origin_ref
    return view
