"""/jobs/{id}: where every Location of an accepted request leads."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any, ClassVar

from flask import Response, url_for
from marshmallow import Schema, fields, validate

from api.authorization import owned, requires
from api.blueprint import Blueprint
from api.bodies import Strict, Truth
from api.reindex import LOCATION, schedule
from api.services import services
from celeriac.catalog.jobs import FINAL, Job, JobMode, JobState
from celeriac.errors import ConfigurationError, Conflict, NotFound
from celeriac.jobs import JobRunner
from celeriac.model import COUNTERS, PRIORITIES, Counters, EntityFailure, Selection
from celeriac.picture import Cause
from celeriac.retrying import request_retry
from celeriac.security.principal import Scope
from celeriac.stages import Stage, Timing
from celeriac.watching import Watched

blueprint = Blueprint(
    "jobs", __name__, url_prefix="/jobs", description="Jobs: where accepted requests lead."
)

MAX_CLASS = 128
ALMOST = 99.9
"""What a running job shows at most: only a job that succeeded is done."""


_SECONDS = {"description": "Unix seconds."}

CountersView = Schema.from_dict(
    {name: fields.Integer(required=True) for name in COUNTERS}, name="Counters"
)


class Rates(Schema):
    """Per second since the job started, without the time in which it did nothing but wait for its
    model to be loaded."""

    entities_per_second = fields.Float(required=True)
    embedded_per_second = fields.Float(required=True)
    tokens_per_second = fields.Float(required=True)


class FailureView(Schema):
    """An entity that could not be indexed."""

    entity_id = fields.String(required=True)
    error_class = fields.String(required=True, data_key="class", attribute="class")
    message = fields.String(required=True)
    retryable = fields.Boolean(required=True)


class JobView(Schema):
    """A job."""

    id = fields.String(required=True)
    tenant = fields.String(required=True)
    entity_type = fields.String(required=True)
    index_id = fields.String(required=True)
    generation = fields.Integer(required=True, allow_none=True)
    state = fields.String(required=True, validate=validate.OneOf(list(JobState)))
    mode = fields.String(required=True, validate=validate.OneOf(list(JobMode)))
    retries = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "Ids of the jobs whose failed entities it takes."},
    )
    paused = fields.Boolean(metadata={"description": "There where it is true."})
    priority = fields.String(required=True, validate=validate.OneOf(PRIORITIES))
    throttle = fields.Float(
        required=True, allow_none=True, metadata={"description": "Entities a second at most."}
    )
    message = fields.String(required=True, allow_none=True)
    created_at = fields.Integer(required=True, metadata=_SECONDS)
    started_at = fields.Integer(required=True, allow_none=True, metadata=_SECONDS)
    finished_at = fields.Integer(required=True, allow_none=True, metadata=_SECONDS)
    progress_percentage = fields.Float(required=True, metadata={"minimum": 0, "maximum": 100})
    eta_seconds = fields.Integer(required=True, allow_none=True)
    rates = fields.Nested(Rates, required=True)
    counters = fields.Nested(CountersView, required=True)
    gate = fields.Dict(
        required=True,
        allow_none=True,
        metadata={"description": "What was found before a new generation went live."},
    )
    errors = fields.List(
        fields.Nested(FailureView), required=True, metadata={"description": "The first ones."}
    )


class StageView(Schema):
    """How much went through a stage, and how fast while a thread was at it; what was done again
    counts again."""

    items = fields.Integer(required=True)
    seconds = fields.Float(required=True)
    per_second = fields.Float(required=True, allow_none=True)


class WatchedJobView(JobView):
    """A job, and what holds it up."""

    stages = fields.Dict(
        keys=fields.String(validate=validate.OneOf(list(Stage))),
        values=fields.Nested(StageView),
        required=True,
    )
    waiting = fields.String(
        required=True, allow_none=True, metadata={"description": "Why it does not move."}
    )
    waiting_for = fields.String(
        required=True, allow_none=True, validate=validate.OneOf([*Cause, None])
    )
    queue_position = fields.Integer(required=True, allow_none=True)


@blueprint.get("/<job_id>")
@requires(Scope.AGENT_READ)
@blueprint.raises(NotFound)
@blueprint.response(200, WatchedJobView)
def get_job(job_id: str) -> dict[str, Any]:
    """A job's state, counters, rates, ETA, first errors, and what holds it up."""
    return watched_resource(owned("job", job_id, services().watch.job))


@blueprint.post("/<job_id>/cancel")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound, Conflict)
@blueprint.response(202, JobView)
def cancel_job(job_id: str) -> dict[str, Any]:
    """Cancel a job; it writes nothing more after its next checkpoint."""
    job = JobRunner(services().runtime, services().dispatcher).cancel(find_job(job_id).id)
    if job.state in FINAL and job.state != JobState.CANCELLED:
        raise Conflict(f"The job has {job.state} already; there is nothing to cancel.")
    return job_resource(job, [], time.time())


@blueprint.post("/<job_id>/confirm-removal")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound, ConfigurationError)
@blueprint.response(202, headers=LOCATION)
def confirm_removal(job_id: str) -> Response:
    """Reindex once more, with leave to remove whatever the source no longer lists."""
    job = find_job(job_id)
    return _accepted(schedule(job.tenant, job.entity_type, removal_limit=1.0))


class RetryRequest(Strict):
    """Which of the entities that failed are retried; all of them where nothing is said."""

    EXAMPLE: ClassVar = {"retryable_only": False}

    error_class = fields.String(
        data_key="class", load_default=None, validate=validate.Length(1, MAX_CLASS)
    )
    retryable_only = Truth(load_default=False)


@blueprint.post("/<job_id>/retry")
@requires(Scope.AGENT_MANAGE)
@blueprint.raises(NotFound, Conflict)
@blueprint.arguments(RetryRequest)
@blueprint.response(202, headers=LOCATION)
def retry_job(options: dict[str, Any], job_id: str) -> Response:
    """Retry the entities that failed in a job, and nothing else."""
    selection = Selection(find_job(job_id).id, **options)
    services().store_check.require()
    accepted = request_retry(services().runtime, services().dispatcher, selection)
    return _accepted(accepted.job.id)


def _accepted(job_id: str) -> Response:
    return Response(status=202, headers={"Location": url_for("jobs.get_job", job_id=job_id)})


def find_job(job_id: str) -> Job:
    """The job, if it is of a tenant of the one who asks; NotFound otherwise."""
    return owned("job", job_id, services().runtime.catalog.jobs.get)


def job_resource(job: Job, errors: list[EntityFailure], now: float) -> dict[str, Any]:
    """The job as clients see it; times are Unix seconds. The time in which its model was loaded
    counts neither in rates nor in the ETA."""
    elapsed = job.working_seconds(now) if job.started_at else None
    return {
        "id": job.id,
        "tenant": job.tenant,
        "entity_type": job.entity_type,
        "index_id": job.index_id,
        "generation": job.generation,
        "state": job.state,
        "mode": job.mode,
        "retries": list(dict.fromkeys(one.job_id for one in job.retries)),
        **({"paused": True} if job.paused else {}),
        "priority": job.priority.label,
        "throttle": job.throttle,
        "message": job.message,
        "created_at": int(job.created_at),
        "started_at": _seconds(job.started_at),
        "finished_at": _seconds(job.finished_at),
        "progress_percentage": progress_percentage(job),
        "eta_seconds": _eta(job, elapsed),
        "rates": _rates(job, elapsed),
        "counters": asdict(job.counters),
        "gate": job.gate,
        "errors": [
            {
                "entity_id": error.entity_id,
                "class": error.error_class,
                "message": error.message,
                "retryable": error.retryable,
            }
            for error in errors
        ],
    }


def watched_resource(found: Watched) -> dict[str, Any]:
    """The job, and what holds it up."""
    job = replace(found.job, counters=found.counters, message=found.message)
    waiting = found.waiting
    return {
        **job_resource(job, list(found.errors), time.time()),
        "stages": {stage: _stage(timing) for stage, timing in found.stages.items()},
        "waiting": waiting.text if waiting else None,
        "waiting_for": waiting.cause if waiting else None,
        "queue_position": waiting.position if waiting else None,
    }


def _stage(timing: Timing) -> dict[str, float | None]:
    """How much went through a stage, and how fast while a thread was at it."""
    return {
        "items": timing.items,
        "seconds": round(timing.seconds, 3),
        "per_second": round(timing.items / timing.seconds, 1) if timing.seconds else None,
    }


def progress_percentage(job: Job) -> float:
    """0 to 100; 100 only for a job that succeeded."""
    if job.state == JobState.SUCCEEDED:
        return 100.0
    return percentage(job.counters, job.expected)


def percentage(counters: Counters, expected: int | None) -> float:
    """Of a job that has not succeeded: the entities that are done of those that are expected."""
    return round(min(100.0 * counters.done / expected, ALMOST), 1) if expected else 0.0


def _eta(job: Job, elapsed: float | None) -> int | None:
    moves = job.state == JobState.RUNNING and not job.paused
    done = job.counters.done
    if not moves or not job.expected or not done or not elapsed:
        return None
    left = max(job.expected - done, 0)
    return round(left * elapsed / done)


def _rates(job: Job, elapsed: float | None) -> dict[str, float]:
    """Entities, chunks embedded and tokens a second since the job started."""
    counts = {
        "entities_per_second": job.counters.done,
        "embedded_per_second": job.counters.embedded,
        "tokens_per_second": job.counters.tokens,
    }
    return {name: round(count / elapsed, 1) if elapsed else 0.0 for name, count in counts.items()}


def _seconds(moment: float | None) -> int | None:
    return None if moment is None else int(moment)
