"""Knowledge bases."""

from __future__ import annotations

from typing import Any

from api.authorization import requires
from api.control.common import blueprint as make_blueprint
from api.control.common import knowledge, listed, seconds, the_base, window_of
from api.control.schemas import (
    Deleted,
    KnowledgeBaseChange,
    KnowledgeBaseView,
    ListQuery,
    NewKnowledgeBase,
    list_of,
)
from api.services import services
from api.tenancy import current_tenant
from celeriac.catalog.knowledge_bases import KnowledgeBase
from celeriac.errors import NotFound
from celeriac.security.principal import Scope

blueprint = make_blueprint("knowledge_bases", "Knowledge bases: sets of documents.")


@blueprint.post("/knowledge-bases")
@requires(Scope.AGENT_MANAGE)
@blueprint.arguments(NewKnowledgeBase)
@blueprint.response(201, KnowledgeBaseView)
def create_knowledge_base(new: dict[str, Any]) -> dict[str, Any]:
    """Make a knowledge base."""
    base = services().runtime.catalog.knowledge_bases.create(
        current_tenant(),
        new["name"],
        new["description"],
        new["data_origin_type"],
        new["index_refresh_policy"],
    )
    return shown(base)


@blueprint.get("/knowledge-bases")
@requires(Scope.AGENT_READ)
@blueprint.arguments(ListQuery, location="query")
@blueprint.response(200, list_of(KnowledgeBaseView))
def list_knowledge_bases(query: dict[str, Any]) -> dict[str, Any]:
    """The knowledge bases of the tenant."""
    tenant, name = current_tenant(), query.get("name")
    bases = services().runtime.catalog.knowledge_bases
    found, more = bases.list(tenant, window_of(query), name)
    return listed(found, more, query, lambda: bases.count(tenant, name), shown)


@blueprint.get("/knowledge-bases/<knowledge_base_id>")
@requires(Scope.AGENT_READ)
@blueprint.raises(NotFound)
@blueprint.response(200, KnowledgeBaseView)
def get_knowledge_base(knowledge_base_id: str) -> dict[str, Any]:
    """One knowledge base."""
    return shown(the_base(knowledge_base_id))


@blueprint.patch("/knowledge-bases/<knowledge_base_id>")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound)
@blueprint.arguments(KnowledgeBaseChange)
@blueprint.response(200, KnowledgeBaseView)
def change_knowledge_base(change: dict[str, Any], knowledge_base_id: str) -> dict[str, Any]:
    """Change a knowledge base's name, description or refresh policy."""
    base = the_base(knowledge_base_id)
    if "index_refresh_policy" in change:
        change["refresh_policy"] = change.pop("index_refresh_policy")
    services().runtime.catalog.knowledge_bases.update(base.id, change)
    return shown(the_base(knowledge_base_id))


@blueprint.delete("/knowledge-bases/<knowledge_base_id>")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound)
@blueprint.response(200, Deleted)
def delete_knowledge_base(knowledge_base_id: str) -> dict[str, Any]:
    """Delete a knowledge base with its documents and indexes."""
    knowledge().delete_knowledge_base(current_tenant(), knowledge_base_id)
    return {"id": knowledge_base_id, "object": "knowledge_base"}


def shown(base: KnowledgeBase) -> dict[str, Any]:
    """A knowledge base as clients see it."""
    return {
        "id": base.id,
        "name": base.name,
        "description": base.description,
        "index_refresh_policy": base.refresh_policy,
        "data_origin_type": base.data_origin_type,
        "created_at": seconds(base.created_at),
    }
