"""What can be done to a job that has not ended: /jobs/{id}/pause, resume, throttle, priority."""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint, Response, g, jsonify, request
from marshmallow import Schema, ValidationError, fields
from marshmallow.validate import OneOf, Range

from api.authorization import requires
from api.jobs import find_job, job_resource
from api.services import services
from celeriac.catalog.jobs import Job
from celeriac.model import MAX_RATE, MIN_RATE, PRIORITIES, Priority
from celeriac.security.principal import Scope
from celeriac.steering import Steering

blueprint = Blueprint("steering", __name__, url_prefix="/jobs/<job_id>")


class Number(fields.Float):
    """A number; not one in quotes."""

    def _validated(self, value: Any) -> float:
        if isinstance(value, str):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class ThrottleSchema(Schema):
    """How fast a job may list its source."""

    entities_per_second = Number(required=True, allow_none=True, validate=Range(MIN_RATE, MAX_RATE))


class PrioritySchema(Schema):
    """How a job stands to others."""

    priority = fields.String(required=True, validate=OneOf(PRIORITIES))


@blueprint.post("/pause")
@requires(Scope.AGENT_MANAGE)
def pause(job_id: str) -> tuple[Response, int]:
    """Hold a job up; it writes nothing more after its next checkpoint."""
    job = find_job(job_id)
    return _resource(_steering().pause(job.id, g.principal.subject)), 202


@blueprint.post("/resume")
@requires(Scope.AGENT_MANAGE)
def resume(job_id: str) -> tuple[Response, int]:
    """Let a paused job go on."""
    return _resource(_steering().resume(find_job(job_id).id)), 202


@blueprint.put("/throttle")
@requires(Scope.AGENT_MANAGE)
def throttle(job_id: str) -> Response:
    """Let a job list so many entities a second at most; null lifts that."""
    job = find_job(job_id)
    rate = _body(ThrottleSchema())["entities_per_second"]
    return _resource(_steering().throttle(job.id, rate))


@blueprint.put("/priority")
@requires(Scope.AGENT_MANAGE)
def priority(job_id: str) -> Response:
    """Give a job another priority."""
    job = find_job(job_id)
    label = _body(PrioritySchema())["priority"]
    return _resource(_steering().prioritise(job.id, Priority.labelled(label)))


def _steering() -> Steering:
    return Steering(services().runtime, services().dispatcher)


def _resource(job: Job) -> Response:
    return jsonify(job_resource(job, [], time.time()))


def _body(schema: Schema) -> dict[str, Any]:
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise ValidationError(f"Send a JSON object with the key '{next(iter(schema.fields))}'.")
    loaded: dict[str, Any] = schema.load(body)
    return loaded
