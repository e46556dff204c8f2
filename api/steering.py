"""What can be done to a job that has not ended: /jobs/{id}/pause, resume, throttle, priority."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, ClassVar

from flask import g
from marshmallow import fields
from marshmallow.validate import OneOf, Range

from api.authorization import requires
from api.blueprint import Blueprint
from api.bodies import Number, Strict
from api.jobs import JobView, find_job, job_resource
from api.services import services
from celeriac.catalog.jobs import Job
from celeriac.errors import Conflict, NotFound
from celeriac.model import MAX_RATE, MIN_RATE, PRIORITIES, Priority
from celeriac.security.principal import Scope
from celeriac.steering import Steering

blueprint = Blueprint(
    "steering",
    __name__,
    url_prefix="/jobs/<job_id>",
    description="What can be done to a job that has not ended.",
)


class Throttle(Strict):
    """How fast a job may list its source."""

    EXAMPLE: ClassVar = {"entities_per_second": 10}

    entities_per_second = Number(
        required=True,
        allow_none=True,
        validate=Range(MIN_RATE, MAX_RATE),
        metadata={"description": "null lifts the throttle."},
    )


class PriorityChange(Strict):
    """How a job stands to others."""

    EXAMPLE: ClassVar = {"priority": "high"}

    priority = fields.String(required=True, validate=OneOf(PRIORITIES))


@blueprint.post("/pause")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound, Conflict)
@blueprint.response(202, JobView)
def pause(job_id: str) -> dict[str, Any]:
    """Hold a job up; it writes nothing more after its next checkpoint."""
    return _shown(_steering().pause(find_job(job_id).id, g.principal.subject))


@blueprint.post("/resume")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound, Conflict)
@blueprint.response(202, JobView)
def resume(job_id: str) -> dict[str, Any]:
    """Let a paused job go on."""
    return _shown(_steering().resume(find_job(job_id).id))


@blueprint.put("/throttle")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound, Conflict)
@blueprint.arguments(Throttle)
@blueprint.response(200, JobView)
def throttle(asked: dict[str, Any], job_id: str) -> dict[str, Any]:
    """Let a job list so many entities a second at most; null lifts that."""
    return _shown(_steering().throttle(find_job(job_id).id, asked["entities_per_second"]))


@blueprint.put("/priority")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound, Conflict)
@blueprint.arguments(PriorityChange)
@blueprint.response(200, JobView)
def priority(asked: dict[str, Any], job_id: str) -> dict[str, Any]:
    """Give a job another priority."""
    wanted = Priority.labelled(asked["priority"])
    return _shown(_steering().prioritise(find_job(job_id).id, wanted))


def _steering() -> Steering:
    return Steering(services().runtime, services().dispatcher)


def _shown(job: Job) -> dict[str, Any]:
    picture = services().runtime.progress.picture(job.id)
    waited = picture.load_seconds if picture else 0.0
    return job_resource(replace(job, load_seconds=waited), [], time.time())
