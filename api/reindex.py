"""POST /ai-rag-indexer/{tenant}/{type}/reindex: the entity reindex contract."""

from __future__ import annotations

from flask import Blueprint, Response, url_for

from api.authorization import requires
from api.services import services
from celeriac.errors import ConfigurationError, NotFound
from celeriac.jobs import request_job
from celeriac.security.principal import Scope

blueprint = Blueprint("reindex", __name__, url_prefix="/ai-rag-indexer/<tenant>/<entity_type>")


@blueprint.post("/reindex")
@requires(Scope.AGENT_MANAGE)
def reindex(tenant: str, entity_type: str) -> Response:
    """Schedule a reindex of all entities of a type; 204 once it is scheduled."""
    job_id = schedule(tenant, entity_type)
    return Response(status=204, headers={"Location": url_for("jobs.get_job", job_id=job_id)})


def schedule(tenant: str, entity_type: str, *, removal_limit: float | None = None) -> str:
    """The id of the job that a request was given or joined to."""
    services().store_check.require()
    try:
        request = request_job(
            services().runtime,
            services().dispatcher,
            tenant,
            entity_type,
            removal_limit=removal_limit,
        )
    except NotFound as error:
        # The contract knows no 404: an unknown tenant or type is a bad request.
        raise ConfigurationError(str(error)) from error
    return request.job.id
