"""/indexing/{tenant}/reindex-jobs: the successor of the reindex contract."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, ClassVar

from flask import Response, jsonify, url_for
from marshmallow import Schema, ValidationError, fields
from marshmallow.validate import Length, Range

from api.authorization import owned, requires
from api.blueprint import Blueprint
from api.bodies import Strict, Truth
from api.problems import Invalid
from api.reindex import LOCATION, request_reindex
from api.services import services
from celeriac.catalog.jobs import Job, JobState
from celeriac.catalog.knowledge_bases import KEY_PREFIX
from celeriac.configuration.declarations import entity_type_name
from celeriac.errors import ConfigurationError, NotFound
from celeriac.security.principal import Scope

blueprint = Blueprint(
    "reindex_jobs",
    __name__,
    url_prefix="/indexing/<tenant>/reindex-jobs",
    description="The successor of the reindex contract.",
)

STATUS: Mapping[JobState, str] = {
    JobState.QUEUED: "PENDING",
    JobState.RUNNING: "IN_PROGRESS",
    JobState.SUCCEEDED: "SUCCESS",
    JobState.FAILED: "FAILURE",
    JobState.CANCELLED: "FAILURE",
}
PUBLISHED = "PUBLISHED"
"""A running job whose listing is complete."""
STATES: Mapping[str, tuple[JobState, ...]] = {
    "PENDING": (JobState.QUEUED,),
    "IN_PROGRESS": (JobState.RUNNING,),
    PUBLISHED: (JobState.RUNNING,),
    "SUCCESS": (JobState.SUCCEEDED,),
    "FAILURE": (JobState.FAILED, JobState.CANCELLED),
}
SORTED_BY = {"metadata.createdAt": "created_at", "entityType": "entity_type", "id": "id"}
TOTAL = {"X-Total-Count": {"description": "How many there are.", "schema": {"type": "string"}}}
RESOURCE_FIELDS = (
    *("id", "entityType", "message", "status", "expectedCount", "processedCount", "metadata"),
)


class NewReindexJob(Strict):
    """What is to be reindexed."""

    EXAMPLE: ClassVar = {"entityType": "PRODUCT", "rag": True}

    entityType = fields.String(required=True, validate=Length(1, 256))
    rag = Truth(
        load_default=False,
        metadata={"description": "Taken as it comes: here every reindex is for RAG."},
    )


class ListQuery(Schema):
    """Which jobs, in what order, and what of them."""

    q = fields.String(
        metadata={"description": "`field:value` with the fields entityType, status and id."}
    )
    sort = fields.String(
        load_default="metadata.createdAt:desc",
        metadata={
            "description": "`field:asc` or `field:desc`.",
            "pattern": f"^({'|'.join(SORTED_BY)})(:|:asc|:desc)?$",
        },
    )
    fields_ = fields.String(
        data_key="fields", metadata={"description": "Names of the fields wanted, with commas."}
    )
    pageNumber = fields.Integer(load_default=1, validate=Range(1, 10**6))
    pageSize = fields.Integer(load_default=60, validate=Range(1, 2000))


class Times(Schema):
    """When the job was made and changed last: ISO 8601, UTC."""

    createdAt = fields.String(required=True)
    modifiedAt = fields.String(required=True)


class ReindexJob(Schema):
    """A job."""

    id = fields.String()
    entityType = fields.String()
    message = fields.String()
    status = fields.String()
    expectedCount = fields.Integer(allow_none=True)
    processedCount = fields.Integer()
    metadata = fields.Nested(Times)


@blueprint.post("")
@requires(Scope.SEARCH_MANAGE)
@blueprint.raises(ConfigurationError)
@blueprint.arguments(NewReindexJob)
@blueprint.response(201, ReindexJob, headers=LOCATION)
@blueprint.alt_response(200, schema=ReindexJob, description="One waits already.", headers=LOCATION)
def create_reindex_job(new: dict[str, Any], tenant: str) -> Response:
    """Reindex an entity type, or be told of the job that waits to do so."""
    request = request_reindex(tenant, new["entityType"])
    location = url_for("reindex_jobs.get_reindex_job", tenant=tenant, job_id=request.job.id)
    response = jsonify(shown(request.job))
    response.status_code = 200 if request.joined else 201
    response.headers["Location"] = location
    return response


@blueprint.get("")
@requires(Scope.SEARCH_VIEW)
@blueprint.arguments(ListQuery, location="query")
@blueprint.response(200, ReindexJob(many=True), headers=TOTAL)
def list_reindex_jobs(query: dict[str, Any], tenant: str) -> Response:
    """The tenant's jobs; `X-Total-Count` says how many there are."""
    wanted = _wanted(query.get("q", ""))
    order, descending = _order(query["sort"])
    jobs = services().runtime.catalog.jobs
    found, total = jobs.search(
        tenant,
        **wanted,
        order=order,
        descending=descending,
        offset=(query["pageNumber"] - 1) * query["pageSize"],
        limit=query["pageSize"],
    )
    response = jsonify([_only(shown(job), query.get("fields_")) for job in found])
    response.headers["X-Total-Count"] = str(total)
    return response


@blueprint.get("/<job_id>")
@requires(Scope.SEARCH_VIEW)
@blueprint.raises(NotFound)
@blueprint.response(200, ReindexJob)
def get_reindex_job(tenant: str, job_id: str) -> dict[str, Any]:
    """One job."""
    return shown(owned("reindex job", job_id, lambda id: _find(tenant, id)))


def _find(tenant: str, job_id: str) -> Job | None:
    job = services().runtime.catalog.jobs.get(job_id)
    if job is None or job.tenant != tenant or job.entity_type.startswith(KEY_PREFIX):
        return None
    return job


def _wanted(q: str) -> dict[str, Any]:
    """What the jobs must be, of a query such as `entityType:PRODUCT status:SUCCESS`."""
    wanted: dict[str, Any] = {}
    for term in q.split():
        name, _, value = term.partition(":")
        match name:
            case "entityType" if value:
                wanted["entity_type"] = entity_type_name(value)
            case "status" if value in STATES:
                wanted["states"] = STATES[value]
                wanted["listed"] = {PUBLISHED: True, "IN_PROGRESS": False}.get(value)
            case "id" if value:
                wanted["job_id"] = value
            case _:
                known = "entityType:TYPE, status:STATUS and id:ID"
                raise Invalid({"q": [f"{term!r} is none of {known}."]}, "query")
    return wanted


def _order(sort: str) -> tuple[str, bool]:
    name, _, direction = sort.partition(":")
    if name not in SORTED_BY or direction not in ("", "asc", "desc"):
        known = ", ".join(SORTED_BY)
        raise Invalid({"sort": [f"Must be one of {known}, with :asc or :desc."]}, "query")
    return SORTED_BY[name], direction == "desc"


def _only(resource: dict[str, Any], names: str | None) -> dict[str, Any]:
    if names is None:
        return resource
    wanted = [name.strip() for name in names.split(",")]
    unknown = [name for name in wanted if name not in RESOURCE_FIELDS]
    if unknown:
        raise ValidationError({"fields": [f"There is no field {unknown[0]!r}."]})
    return {name: resource[name] for name in wanted}


def shown(job: Job) -> dict[str, Any]:
    """A job as clients of the contract see it."""
    runtime = services().runtime
    listed = job.state == JobState.RUNNING and runtime.catalog.rounds.all_listed(job.id)
    return {
        "id": job.id,
        "entityType": job.entity_type.upper().replace("-", "_"),
        "message": job.message,
        "status": PUBLISHED if listed else STATUS[job.state],
        "expectedCount": _expected(job, listed=listed),
        "processedCount": job.counters.listed,
        "metadata": {
            "createdAt": _iso(job.created_at),
            "modifiedAt": _iso(job.finished_at or job.started_at or job.created_at),
        },
    }


def _expected(job: Job, *, listed: bool) -> int | None:
    """How many entities the source has: as many as were listed, once all of them are."""
    if job.state == JobState.SUCCEEDED:
        return job.counters.listed
    picture = services().runtime.progress.picture(job.id) if listed else None
    return picture.job.expected if picture is not None else job.expected


def _iso(moment: float) -> str:
    return dt.datetime.fromtimestamp(moment, dt.UTC).isoformat(timespec="milliseconds")
