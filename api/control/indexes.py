"""Indexes of knowledge bases, and searches in them."""

from __future__ import annotations

from typing import Any

from api import availability
from api.authorization import requires
from api.control.common import blueprint as make_blueprint
from api.control.common import knowledge, listed, seconds, the_base, the_index, window_of
from api.control.schemas import (
    IndexView,
    ListQuery,
    NewIndex,
    SearchRequest,
    SearchView,
    list_of,
)
from api.services import services
from api.tenancy import current_tenant
from celeriac.catalog.entries import EntryState
from celeriac.catalog.knowledge_bases import KnowledgeIndex
from celeriac.errors import NotFound, WorkerTimeout
from celeriac.model import Splitting
from celeriac.security.principal import Scope
from workers import searching

blueprint = make_blueprint("indexes", "Indexes of knowledge bases. They cannot be changed.")

PATH = "/knowledge-bases/<knowledge_base_id>/indexes"


@blueprint.post(PATH)
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound)
@blueprint.arguments(NewIndex)
@blueprint.response(201, IndexView)
def create_index(new: dict[str, Any], knowledge_base_id: str) -> dict[str, Any]:
    """Build an index over a knowledge base."""
    splitting = Splitting(new["text_splitting"], new["chunk_size"], new["chunk_overlap"])
    index = knowledge().create_index(
        current_tenant(),
        knowledge_base_id,
        name=new["name"],
        description=new["description"],
        model=new["embeddings_model_endpoint"],
        splitting=splitting,
    )
    return shown(index)


@blueprint.get(PATH)
@requires(Scope.AGENT_READ)
@blueprint.raises(NotFound)
@blueprint.arguments(ListQuery, location="query")
@blueprint.response(200, list_of(IndexView))
def list_indexes(query: dict[str, Any], knowledge_base_id: str) -> dict[str, Any]:
    """The indexes of a knowledge base."""
    base, name = the_base(knowledge_base_id), query.get("name")
    bases = services().runtime.catalog.knowledge_bases
    found, more = bases.list_indexes(base.id, window_of(query), name)
    return listed(found, more, query, lambda: bases.count_indexes(base.id, name), shown)


@blueprint.get(f"{PATH}/<index_id>")
@requires(Scope.AGENT_READ)
@blueprint.raises(NotFound)
@blueprint.response(200, IndexView)
def get_index(knowledge_base_id: str, index_id: str) -> dict[str, Any]:
    """One index, and whether its embedding model is available."""
    return shown(the_index(knowledge_base_id, index_id))


@blueprint.post(f"{PATH}/<index_id>/search")
@requires(Scope.AGENT_READ)
@blueprint.raises(NotFound, WorkerTimeout)
@blueprint.arguments(SearchRequest)
@blueprint.response(200, SearchView)
def search_index(asked: dict[str, Any], knowledge_base_id: str, index_id: str) -> dict[str, Any]:
    """The chunks nearest to a text, best first."""
    index = the_index(knowledge_base_id, index_id)
    if index.last_indexed_at is None:
        return {"chunks": []}
    runtime = services().runtime
    hits = searching.ask(
        runtime.redis, index.tenant, index.key, asked["text"], top_k=asked["top_k"], filters={}
    )
    cutoff = asked["similarity_cutoff"]
    kept = [hit for hit in hits if cutoff is None or hit["score"] >= cutoff]
    ids = {hit["entity_id"] for hit in kept}
    documents = runtime.catalog.documents.find_many(knowledge_base_id, ids)
    return {
        "chunks": [
            {
                "origin_name": documents[hit["entity_id"]].name,
                "origin_ref": documents[hit["entity_id"]].origin_ref,
                "document_id": hit["entity_id"],
                "score": hit["score"],
                "media_type": documents[hit["entity_id"]].media_type,
                "text": hit["text"],
            }
            for hit in kept
            if hit["entity_id"] in documents  # one that was deleted is not served any more
        ]
    }


def shown(index: KnowledgeIndex) -> dict[str, Any]:
    """An index as clients see it."""
    errors = availability.status_errors(index.model)
    entries = services().runtime.catalog.entries
    return {
        "id": index.id,
        "name": index.name,
        "description": index.description,
        "embeddings_model_endpoint": index.model,
        "text_splitting": index.splitting.method,
        "chunk_size": index.splitting.chunk_size,
        "chunk_overlap": index.splitting.chunk_overlap,
        "knowledge_base_id": index.knowledge_base_id,
        "created_at": seconds(index.created_at),
        "last_indexed_at": seconds(index.last_indexed_at),
        "last_indexed_by_id": index.last_job_id,
        "num_documents": entries.count(index.id, EntryState.INDEXED),
        "status": "ERROR" if errors else "AVAILABLE",
        "status_errors": errors,
    }
