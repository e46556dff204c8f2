"""RAG indexes: asked for in batches, or a document's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response, jsonify

from api.authorization import requires
from api.batch.common import PREFIX, library
from api.batch.schemas import (
    ANSWER,
    ModelRequest,
    Overview,
    RagIndexList,
    RagIndexRequests,
    RagIndexView,
)
from api.blueprint import Blueprint
from api.services import services
from celeriac.catalog.entries import EntryState
from celeriac.errors import NotFound
from celeriac.security.principal import Scope
from celeriac.voice import RagIndex, VoiceLibrary

blueprint = Blueprint("rag_indexes", __name__, url_prefix=PREFIX, description="RAG indexes.")

STATUSES: Mapping[EntryState, str] = {
    EntryState.QUEUED: "created",
    EntryState.EMBEDDING: "processing",
    EntryState.INDEXED: "succeeded",
    EntryState.FAILED: "failed",
    EntryState.CANCELLED: "failed",
    EntryState.DELETING: "failed",
}
ALMOST = 99.9
"""What an index shows at most while it is made."""


@blueprint.post("/rag-index")
@requires(Scope.AGENT_MANAGE)
@blueprint.arguments(RagIndexRequests)
@blueprint.response(200, ANSWER)
def compute_rag_indexes(batch: dict[str, Any]) -> Response:
    """Retrieve, and make where they are missing, RAG indexes of 1 to 100 documents."""
    if any(item["create_if_missing"] for item in batch["items"]):
        services().store_check.require()
    ours = library()
    return jsonify({item["document_id"]: _answer(ours, item) for item in batch["items"]})


def _answer(ours: VoiceLibrary, item: Mapping[str, Any]) -> dict[str, Any]:
    try:
        found = ours.rag_index(item["document_id"], item["model"], create=item["create_if_missing"])
    except NotFound as error:
        return {
            "status": "failure",
            "error_code": 404,
            "error_status": error.code,
            "error_message": str(error),
        }
    return {"status": "success", "data": shown(found)}


@blueprint.get("/rag-index")
@requires(Scope.AGENT_READ)
@blueprint.response(200, Overview)
def get_overview() -> dict[str, Any]:
    """What the tenant's RAG indexes use, and may use."""
    used = library().usage()
    return {
        "total_used_bytes": sum(used.values()),
        "total_max_bytes": library().max_bytes,
        "models": [{"model": model, "used_bytes": used[model]} for model in sorted(used)],
    }


@blueprint.post("/<document_id>/rag-index")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound)
@blueprint.arguments(ModelRequest)
@blueprint.response(200, RagIndexView)
def compute_rag_index(asked: dict[str, Any], document_id: str) -> dict[str, Any]:
    """Retrieve, and make where it is missing, a document's RAG index."""
    services().store_check.require()
    return shown(library().rag_index(document_id, asked["model"], create=True))


@blueprint.get("/<document_id>/rag-index")
@requires(Scope.AGENT_READ)
@blueprint.raises(NotFound)
@blueprint.response(200, RagIndexList)
def list_rag_indexes(document_id: str) -> dict[str, Any]:
    """Every RAG index of a document."""
    return {"indexes": [shown(one) for one in library().rag_indexes(document_id)]}


@blueprint.delete("/<document_id>/rag-index/<rag_index_id>")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound)
@blueprint.response(200, RagIndexView)
def delete_rag_index(document_id: str, rag_index_id: str) -> dict[str, Any]:
    """Take a document out of one index."""
    return shown(library().delete_rag_index(document_id, rag_index_id))


def shown(found: RagIndex) -> dict[str, Any]:
    """A RAG index as clients see it."""
    entry = found.entry
    succeeded = entry.state == EntryState.INDEXED
    progress = 100.0 if succeeded else min(round(100 * found.progress, 1), ALMOST)
    return {
        "id": entry.id,
        "model": found.model,
        # A refusal's reason is the contract's own word for it.
        "status": STATUSES.get(entry.state) or entry.reason,
        "progress_percentage": progress,
        "document_model_index_usage": {"used_bytes": entry.used_bytes},
    }
