"""/jobs/{id}: where every Location of an accepted request leads."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any

from flask import Blueprint, Response, jsonify, request, url_for
from marshmallow import Schema, ValidationError, fields, validate

from api.authorization import owned, requires
from api.reindex import schedule
from api.services import services
from celeriac.catalog.jobs import Job, JobState
from celeriac.jobs import JobRunner
from celeriac.model import EntityFailure, Selection
from celeriac.retrying import request_retry
from celeriac.security.principal import Scope

blueprint = Blueprint("jobs", __name__, url_prefix="/jobs")

MAX_CLASS = 128
ALMOST = 99.9
"""What a running job shows at most: only a job that succeeded is done."""


@blueprint.get("/<job_id>")
@requires(Scope.AGENT_READ)
def get_job(job_id: str) -> Response:
    """A job's state, counters, rate, ETA and first errors."""
    job = current(find_job(job_id))
    errors = services().runtime.catalog.jobs.errors(job.id)
    return jsonify(job_resource(job, errors, time.time()))


def current(job: Job) -> Job:
    """The job with what its pages in hand have counted so far, and what they wait for."""
    if job.state != JobState.RUNNING:
        return job
    runtime = services().runtime
    counters = job.counters + runtime.progress.in_hand(job.id)
    return replace(job, counters=counters, message=runtime.catalog.pages.trouble(job.id))


@blueprint.post("/<job_id>/cancel")
@requires(Scope.AGENT_MANAGE)
def cancel_job(job_id: str) -> tuple[Response, int]:
    """Cancel a job; it writes nothing more after its next checkpoint."""
    job = JobRunner(services().runtime, services().dispatcher).cancel(find_job(job_id).id)
    return jsonify(job_resource(job, [], time.time())), 202


@blueprint.post("/<job_id>/confirm-removal")
@requires(Scope.AGENT_MANAGE)
def confirm_removal(job_id: str) -> Response:
    """Reindex once more, with leave to remove whatever the source no longer lists."""
    job = find_job(job_id)
    return _accepted(schedule(job.tenant, job.entity_type, removal_limit=1.0))


class RetrySchema(Schema):
    """Which of the entities that failed are retried; all of them where nothing is said."""

    error_class = fields.String(
        data_key="class", load_default=None, validate=validate.Length(1, MAX_CLASS)
    )
    retryable_only = fields.Boolean(load_default=False, truthy={True}, falsy={False})


@blueprint.post("/<job_id>/retry")
@requires(Scope.AGENT_MANAGE)
def retry_job(job_id: str) -> Response:
    """Retry the entities that failed in a job, and nothing else."""
    options = _retry_options()
    selection = Selection(find_job(job_id).id, **options)
    services().store_check.require()
    accepted = request_retry(services().runtime, services().dispatcher, selection)
    return _accepted(accepted.job.id)


def _retry_options() -> dict[str, Any]:
    body = request.get_json(silent=True) if request.get_data() else {}
    if not isinstance(body, dict):
        raise ValidationError("Send a JSON object, or no body at all.")
    options: dict[str, Any] = RetrySchema().load(body)
    return options


def _accepted(job_id: str) -> Response:
    return Response(status=202, headers={"Location": url_for("jobs.get_job", job_id=job_id)})


def find_job(job_id: str) -> Job:
    """The job, if it is of a tenant of the one who asks; NotFound otherwise."""
    return owned("job", job_id, services().runtime.catalog.jobs.get)


def job_resource(job: Job, errors: list[EntityFailure], now: float) -> dict[str, Any]:
    """The job as clients see it; times are Unix seconds."""
    elapsed = max(job.seconds(now), 0.001) if job.started_at else None
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


def progress_percentage(job: Job) -> float:
    """0 to 100; 100 only for a job that succeeded."""
    if job.state == JobState.SUCCEEDED:
        return 100.0
    if not job.expected:
        return 0.0
    return round(min(100.0 * job.counters.listed / job.expected, ALMOST), 1)


def _eta(job: Job, elapsed: float | None) -> int | None:
    moves = job.state == JobState.RUNNING and not job.paused
    if not moves or not job.expected or not job.counters.listed or not elapsed:
        return None
    left = max(job.expected - job.counters.listed, 0)
    return round(left * elapsed / job.counters.listed)


def _rates(job: Job, elapsed: float | None) -> dict[str, float]:
    """Entities, chunks embedded and tokens a second since the job started."""
    counts = {
        "entities_per_second": job.counters.listed,
        "embedded_per_second": job.counters.embedded,
        "tokens_per_second": job.counters.tokens,
    }
    return {name: round(count / elapsed, 1) if elapsed else 0.0 for name, count in counts.items()}


def _seconds(moment: float | None) -> int | None:
    return None if moment is None else int(moment)
