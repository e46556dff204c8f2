"""POST /ai-rag-indexer/{tenant}/{type}/reindex: the entity reindex contract."""

from __future__ import annotations

from flask import Response, url_for

from api.authorization import requires
from api.blueprint import Blueprint
from api.services import services
from celeriac.catalog.requests import Request
from celeriac.configuration import EntityType
from celeriac.errors import ConfigurationError, NotFound
from celeriac.jobs import request_job
from celeriac.security.principal import Scope

PREFIX = "/ai-rag-indexer/<tenant>/<entity_type>"

LOCATION = {"Location": {"description": "The job's path.", "schema": {"type": "string"}}}

blueprint = Blueprint(
    "reindex", __name__, url_prefix=PREFIX, description="Reindexing of an entity type."
)


@blueprint.post("/reindex")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(ConfigurationError)
@blueprint.response(204, description="It is scheduled.", headers=LOCATION)
def reindex(tenant: str, entity_type: str) -> Response:
    """Schedule a reindex of all entities of a type; 204 once it is scheduled."""
    job_id = schedule(tenant, entity_type)
    return Response(status=204, headers={"Location": url_for("jobs.get_job", job_id=job_id)})


def schedule(tenant: str, entity_type: str, *, removal_limit: float | None = None) -> str:
    """The id of the job that a request was given or joined to."""
    return request_reindex(tenant, entity_type, removal_limit=removal_limit).job.id


def request_reindex(
    tenant: str, entity_type: str, *, removal_limit: float | None = None
) -> Request:
    """Queue a reindex, or join the one that waits."""
    declared(tenant, entity_type)
    services().store_check.require()
    return request_job(
        services().runtime,
        services().dispatcher,
        tenant,
        entity_type,
        removal_limit=removal_limit,
    )


def declared(tenant: str, entity_type: str) -> EntityType:
    """What is declared under these names.

    Raises:
        ConfigurationError: nothing is. The contract knows no 404: it is a bad request.
    """
    try:
        return services().runtime.entity_type(tenant, entity_type)
    except NotFound as error:
        raise ConfigurationError(str(error)) from error
