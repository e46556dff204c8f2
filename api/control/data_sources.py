"""Data sources, and their links to knowledge bases."""

from __future__ import annotations

from typing import Any

from api.authorization import requires
from api.control.common import blueprint as make_blueprint
from api.control.common import knowledge, listed, seconds, the_base, window_of
from api.control.schemas import (
    DataSourceView,
    Deleted,
    LinkRequest,
    ListQuery,
    NewDataSource,
    list_of,
)
from api.services import services
from api.tenancy import current_tenant
from celeriac.catalog.data_sources import DataSource
from celeriac.errors import Conflict, NotFound
from celeriac.security.principal import Scope

blueprint = make_blueprint("data_sources", "Where the documents of knowledge bases come from.")

LINKS = "/knowledge-bases/<knowledge_base_id>/data-sources"


@blueprint.post("/data-sources")
@requires(Scope.AGENT_MANAGE)
@blueprint.arguments(NewDataSource)
@blueprint.response(201, DataSourceView)
def create_data_source(new: dict[str, Any]) -> dict[str, Any]:
    """Make a data source; nothing is read yet."""
    made = knowledge().create_data_source(
        current_tenant(),
        new["name"],
        new["description"],
        new["type"],
        new["origin_url"],
        options=new["options"],
        credentials=new["credentials"],
    )
    return shown(made)


@blueprint.get("/data-sources")
@requires(Scope.AGENT_READ)
@blueprint.arguments(ListQuery, location="query")
@blueprint.response(200, list_of(DataSourceView))
def list_data_sources(query: dict[str, Any]) -> dict[str, Any]:
    """The data sources of the tenant."""
    tenant, name = current_tenant(), query.get("name")
    sources = services().runtime.catalog.data_sources
    found, more = sources.list(tenant, window_of(query), name)
    return listed(found, more, query, lambda: sources.count(tenant, name), shown)


@blueprint.get("/data-sources/<data_source_id>")
@requires(Scope.AGENT_READ)
@blueprint.raises(NotFound)
@blueprint.response(200, DataSourceView)
def get_data_source(data_source_id: str) -> dict[str, Any]:
    """One data source."""
    return shown(knowledge().data_source(current_tenant(), data_source_id))


@blueprint.delete("/data-sources/<data_source_id>")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound, Conflict)
@blueprint.response(200, Deleted)
def delete_data_source(data_source_id: str) -> dict[str, Any]:
    """Delete a data source that no knowledge base is linked to."""
    knowledge().delete_data_source(current_tenant(), data_source_id)
    return {"id": data_source_id, "object": "data_source"}


@blueprint.post(LINKS)
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound, Conflict)
@blueprint.arguments(LinkRequest)
@blueprint.response(201, DataSourceView)
def link_data_source(asked: dict[str, Any], knowledge_base_id: str) -> dict[str, Any]:
    """Link a data source to a knowledge base, which is indexed at once."""
    return shown(knowledge().link(the_base(knowledge_base_id), asked["data_source_id"]))


@blueprint.get(LINKS)
@requires(Scope.AGENT_READ)
@blueprint.raises(NotFound)
@blueprint.response(200, list_of(DataSourceView))
def list_links(knowledge_base_id: str) -> dict[str, Any]:
    """The data sources that a knowledge base is linked to: all of them."""
    base = the_base(knowledge_base_id)
    found = services().runtime.catalog.data_sources.linked(base.id)
    return listed(found, False, {"set_num_objects": True}, lambda: len(found), shown)


@blueprint.delete(f"{LINKS}/<data_source_id>")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound)
@blueprint.response(200, Deleted)
def unlink_data_source(knowledge_base_id: str, data_source_id: str) -> dict[str, Any]:
    """Unlink a data source; what it listed leaves the knowledge base's indexes."""
    knowledge().unlink(the_base(knowledge_base_id), data_source_id)
    return {"id": data_source_id, "object": "data_source_link"}


def shown(data_source: DataSource) -> dict[str, Any]:
    """A data source as clients see it."""
    return {
        "id": data_source.id,
        "name": data_source.name,
        "description": data_source.description,
        "type": data_source.type,
        "origin_url": data_source.origin_url,
        "options": data_source.options,
        "created_at": seconds(data_source.created_at),
    }
