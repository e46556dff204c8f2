"""GET /indexes: every index of the credential's tenants, what becomes of it and how fresh it is."""

from __future__ import annotations

import time
from typing import Any

from flask import g
from marshmallow import Schema, fields
from marshmallow.validate import Length, OneOf, Range

from api.authorization import requires
from api.blueprint import Blueprint
from api.reindex_jobs import TOTAL
from api.services import services
from celeriac.catalog.jobs import JobState
from celeriac.errors import Forbidden
from celeriac.overview import IndexState, overview_page, resource
from celeriac.security.principal import Principal, Scope

blueprint = Blueprint(
    "indexes", __name__, url_prefix="/indexes", description="Every index at a glance."
)

_SECONDS = {"description": "Unix seconds."}


class IndexQuery(Schema):
    """Which indexes."""

    tenant = fields.String(
        load_default=None,
        validate=Length(1, 256),
        metadata={"description": "Only this tenant's."},
    )
    page = fields.Integer(data_key="pageNumber", load_default=1, validate=Range(1, 10**6))
    size = fields.Integer(data_key="pageSize", load_default=60, validate=Range(1, 2000))


class LastJob(Schema):
    """The job that ended last."""

    id = fields.String(required=True)
    state = fields.String(required=True, validate=OneOf(list(JobState)))
    finished_at = fields.Integer(required=True, allow_none=True, metadata=_SECONDS)
    message = fields.String(required=True)


class IndexOverview(Schema):
    """An index, or an entity type that was not indexed yet."""

    id = fields.String(required=True)
    tenant = fields.String(required=True)
    entity_type = fields.String(
        required=True, metadata={"description": "Or the key of a knowledge base's index."}
    )
    title = fields.String(required=True, metadata={"description": "What people call it."})
    state = fields.String(required=True, validate=OneOf(list(IndexState)))
    generation = fields.Integer(
        required=True, allow_none=True, metadata={"description": "The live one."}
    )
    model = fields.String(required=True, allow_none=True)
    indexed_at = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "When a job last found it equal to its source, Unix seconds."},
    )
    age_seconds = fields.Integer(
        required=True, allow_none=True, metadata={"description": "For how long that has been."}
    )
    entities = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "As the last reindex that succeeded left it."},
    )
    chunks = fields.Integer(required=True, allow_none=True)
    failing = fields.Integer(
        required=True, metadata={"description": "Entities that cannot be indexed."}
    )
    active_job_id = fields.String(
        required=True, allow_none=True, metadata={"description": "Of the job that runs or waits."}
    )
    last_job = fields.Nested(LastJob, required=True, allow_none=True)


class IndexList(Schema):
    """Indexes, by tenant and name."""

    indexes = fields.List(fields.Nested(IndexOverview), required=True)


@blueprint.get("")
@requires(Scope.AGENT_READ)
@blueprint.arguments(IndexQuery, location="query")
@blueprint.response(200, IndexList, headers=TOTAL)
def list_indexes(query: dict[str, Any]) -> tuple[dict[str, Any], int, dict[str, str]]:
    """The indexes of the credential's tenants; `X-Total-Count` says how many there are."""
    size = query["size"]
    found, total = overview_page(
        services().runtime,
        _tenants(query["tenant"]),
        offset=(query["page"] - 1) * size,
        limit=size,
    )
    now = time.time()
    listed = {"indexes": [resource(one, now) for one in found]}
    return listed, 200, {"X-Total-Count": str(total)}


def _tenants(wanted: str | None) -> frozenset[str] | None:
    """Those of the credential, or the one that is wanted; None for all there are."""
    principal: Principal = g.principal
    if wanted is None:
        return principal.tenants
    if not principal.reaches(wanted):
        raise Forbidden(f"The credential is not of the tenant {wanted!r}.")
    return frozenset([wanted])
